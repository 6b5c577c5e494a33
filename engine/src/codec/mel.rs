//! Log-mel front end: sound to the `[0, 1]` spectrogram that codec and vocoder work on.
//!
//! The transform is Diffsound's, to the letter, so that packs imported from published checkpoints
//! see what they were trained on: a centred 1024-point short-time Fourier transform with a hop of
//! 256 samples, a periodic Hann window and reflected edges; magnitudes (not powers) through 80
//! triangular filters on Slaney's mel scale between 125 and 7600 Hz; then
//! `y = clip(0.2 * log10(m) + 0.8, 0, 1)`. One hundredth of `y` is one decibel: 0 is -80 dB
//! (`m = 1e-4`), 1 is +20 dB (`m = 10`).

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

use crate::{HOP, MEL_BANDS, SAMPLE_RATE};

/// Length of the analysis window and of the Fourier transform, in samples.
pub const WINDOW: usize = 1024;
/// Lower edge of the lowest band, in Hz.
pub const LOWEST_HZ: f64 = 125.0;
/// Upper edge of the highest band, in Hz.
pub const HIGHEST_HZ: f64 = 7600.0;
/// Decibels per unit of `y`.
pub const DECIBELS_PER_UNIT: f32 = 100.0;

/// Frequency bins of one spectrum, from 0 Hz to half the sample rate.
const BINS: usize = WINDOW / 2 + 1;
/// Samples by which both ends are extended so that frame `i` is centred on sample `i * HOP`.
const PADDING: usize = WINDOW / 2;

/// Number of frames that [`MelFrontEnd::log_mel`] makes of `samples` samples.
///
/// ```
/// assert_eq!(soundlocd_engine::codec::mel::frame_count(220_500), 862);
/// assert_eq!(soundlocd_engine::codec::mel::frame_count(0), 0);
/// ```
pub fn frame_count(samples: usize) -> usize {
    if samples == 0 { 0 } else { 1 + samples / HOP }
}

/// Magnitude `m` to the scale of the spectrogram, `y` in `[0, 1]`.
pub fn compress(m: f32) -> f32 {
    // Diffsound clamps m to 1e-5 first; the clip at y = 0 (m = 1e-4) makes that floor unreachable,
    // and it still keeps the logarithm finite.
    (0.2 * m.max(1e-5).log10() + 0.8).clamp(0.0, 1.0)
}

/// Inverse of [`compress`]: spectrogram value `y` to magnitude.
pub fn expand(y: f32) -> f32 {
    10f32.powf(5.0 * y - 4.0)
}

/// Frame-major `[frames, 80]` to band-major `[80, frames]`, lowest band first.
pub fn to_band_major(frames_by_bands: &[f32]) -> Vec<f32> {
    transpose(frames_by_bands, MEL_BANDS)
}

/// Band-major `[80, frames]` to frame-major `[frames, 80]`.
pub fn to_frame_major(bands_by_frames: &[f32]) -> Vec<f32> {
    transpose(bands_by_frames, bands_by_frames.len() / MEL_BANDS)
}

/// `[rows, columns]` to `[columns, rows]`; an incomplete last row is dropped.
fn transpose(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| values.chunks_exact(columns).map(move |row| row[c])).collect()
}

/// One triangular filter: its non-zero weights and the bin that the first of them applies to.
pub(crate) struct Band {
    pub(crate) first_bin: usize,
    pub(crate) weights: Vec<f32>,
}

/// What transforming a frame needs, reused between frames.
struct Buffers {
    windowed: Vec<f32>,
    spectrum: Vec<Complex32>,
    magnitudes: Vec<f32>,
    scratch: Vec<Complex32>,
}

/// The front end: window, transform and filters, made once and shared between threads.
pub struct MelFrontEnd {
    transform: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    bands: Vec<Band>,
}

impl Default for MelFrontEnd {
    fn default() -> Self {
        Self::new()
    }
}

impl MelFrontEnd {
    /// Plans the transform and computes window and filters (well under a millisecond).
    pub fn new() -> Self {
        let window = (0..WINDOW)
            .map(|n| 0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / WINDOW as f64).cos())
            .map(|w| w as f32)
            .collect();
        Self { transform: RealFftPlanner::new().plan_fft_forward(WINDOW), window, bands: filters() }
    }

    /// Log-mel spectrogram of mono `audio` at 22.05 kHz: frame-major `[frame_count, 80]`, values in
    /// `[0, 1]`, lowest band first.
    ///
    /// Any length is fine: sound shorter than the padding is reflected as often as needed, and no
    /// sound gives no frames. Samples that are not finite count as silence.
    pub fn log_mel(&self, audio: &[f32]) -> Vec<f32> {
        let frames = frame_count(audio.len());
        let mut mel = Vec::with_capacity(frames * MEL_BANDS);
        let mut buffers = self.buffers();
        for frame in 0..frames {
            let magnitudes = self.transform_frame(audio, frame, &mut buffers);
            mel.extend(self.bands.iter().map(|band| {
                let bins = &magnitudes[band.first_bin..];
                compress(band.weights.iter().zip(bins).map(|(w, m)| w * m).sum())
            }));
        }
        mel
    }

    /// Magnitudes `[bins]` of one frame's spectrum.
    pub(crate) fn magnitudes(&self, audio: &[f32], frame: usize) -> Vec<f32> {
        self.transform_frame(audio, frame, &mut self.buffers()).to_vec()
    }

    fn buffers(&self) -> Buffers {
        Buffers {
            windowed: vec![0.0; WINDOW],
            spectrum: vec![Complex32::default(); BINS],
            magnitudes: vec![0.0; BINS],
            scratch: self.transform.make_scratch_vec(),
        }
    }

    /// Windows and transforms one frame; returns its magnitudes.
    fn transform_frame<'a>(&self, audio: &[f32], frame: usize, buffers: &'a mut Buffers) -> &'a [f32] {
        let Buffers { windowed, spectrum, magnitudes, scratch } = buffers;
        self.window_frame(audio, frame, windowed);
        // Fails only for buffers of the wrong length, and these are the plan's own.
        let transformed = self.transform.process_with_scratch(windowed, spectrum, scratch);
        debug_assert!(transformed.is_ok());
        for (magnitude, bin) in magnitudes.iter_mut().zip(spectrum.iter()) {
            *magnitude = bin.norm_sqr().sqrt();
        }
        magnitudes
    }

    /// As [`Self::log_mel`], band-major: `[80, frame_count]`, the codec's layout.
    pub fn log_mel_bands(&self, audio: &[f32]) -> Vec<f32> {
        to_band_major(&self.log_mel(audio))
    }

    /// Fills `windowed` with the window's worth of samples around sample `frame * HOP`.
    fn window_frame(&self, audio: &[f32], frame: usize, windowed: &mut [f32]) {
        let start = (frame * HOP) as isize - PADDING as isize;
        let inside = usize::try_from(start).ok().and_then(|s| audio.get(s..s + WINDOW));
        for (n, (out, weight)) in windowed.iter_mut().zip(&self.window).enumerate() {
            let sample = match inside {
                Some(samples) => samples[n],
                None => audio[reflect(start + n as isize, audio.len())],
            };
            *out = if sample.is_finite() { sample * weight } else { 0.0 };
        }
    }
}

/// Index into a signal of `length` samples (at least one) extended by reflection about its first
/// and last sample, neither of which is repeated.
fn reflect(index: isize, length: usize) -> usize {
    let last = length as isize - 1;
    if last == 0 {
        return 0;
    }
    let position = index.rem_euclid(2 * last);
    (if position > last { 2 * last - position } else { position }) as usize
}

/// Slaney's mel scale: linear up to 1 kHz, logarithmic above.
fn hz_to_mel(hz: f64) -> f64 {
    if hz < 1000.0 { hz * 3.0 / 200.0 } else { 15.0 + (hz / 1000.0).ln() * 27.0 / 6.4f64.ln() }
}

/// Inverse of [`hz_to_mel`].
fn mel_to_hz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp() }
}

/// Centre frequency of each mel band, in Hz.
#[must_use]
pub fn band_centres() -> Vec<f64> {
    (0..MEL_BANDS).map(|band| hz_at_band(band as f64 + 0.5)).collect()
}

/// The frequency at place `band` of the spectrogram's height, in Hz: band `b` reaches from `b` to
/// `b + 1`, its centre being at `b + 0.5`. Inverse of [`band_at_hz`].
#[must_use]
pub fn hz_at_band(band: f64) -> f64 {
    let (low, high) = (hz_to_mel(LOWEST_HZ), hz_to_mel(HIGHEST_HZ));
    mel_to_hz(low + (high - low) * (band + 0.5) / (MEL_BANDS + 1) as f64)
}

/// The place of a frequency in the spectrogram's height, 0 to 80 bands; what lies outside is at its edges.
#[must_use]
pub fn band_at_hz(hz: f64) -> f64 {
    let (low, high) = (hz_to_mel(LOWEST_HZ), hz_to_mel(HIGHEST_HZ));
    let band = (hz_to_mel(hz.max(0.0)) - low) / (high - low) * (MEL_BANDS + 1) as f64 - 0.5;
    band.clamp(0.0, MEL_BANDS as f64)
}

/// Triangles between neighbouring mel points, each scaled to unit area in Hz (Slaney's norm).
pub(crate) fn filters() -> Vec<Band> {
    let (low, high) = (hz_to_mel(LOWEST_HZ), hz_to_mel(HIGHEST_HZ));
    let edge = |i: usize| mel_to_hz(low + (high - low) * i as f64 / (MEL_BANDS + 1) as f64);
    let bin_hz = f64::from(SAMPLE_RATE) / WINDOW as f64;
    (0..MEL_BANDS)
        .map(|band| {
            let (left, centre, right) = (edge(band), edge(band + 1), edge(band + 2));
            let weight = |bin: usize| {
                let hz = bin as f64 * bin_hz;
                let slope = ((hz - left) / (centre - left)).min((right - hz) / (right - centre));
                (slope.max(0.0) * 2.0 / (right - left)) as f32
            };
            let first_bin = (left / bin_hz).floor() as usize + 1;
            let end_bin = ((right / bin_hz).ceil() as usize).min(BINS);
            Band { first_bin, weights: (first_bin..end_bin).map(weight).collect() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_is_numpys_at_any_length() {
        // numpy.pad([0, 1, 2], 5, mode="reflect"), and of a single sample.
        let padded: Vec<usize> = (-5..8).map(|i| reflect(i, 3)).collect();
        assert_eq!(padded, [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert!((-5..8).all(|i| reflect(i, 1) == 0));
    }

    #[test]
    fn short_silent_and_broken_sound_is_answered_sanely() {
        let front_end = MelFrontEnd::new();
        assert!(front_end.log_mel(&[]).is_empty());
        for length in [1, 2, 255, 256, 511, 512, 513, 1023] {
            let mel = front_end.log_mel(&vec![0.5; length]);
            assert_eq!(mel.len(), (1 + length / HOP) * MEL_BANDS);
            assert!(mel.iter().all(|y| (0.0..=1.0).contains(y)));
        }
        assert!(front_end.log_mel(&[0.0; 4096]).iter().all(|&y| y == 0.0));
        let broken = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].repeat(500);
        assert!(front_end.log_mel(&broken).iter().all(|&y| y == 0.0));
    }

    #[test]
    fn layouts_convert_both_ways() {
        let frame_major: Vec<f32> = (0..3 * MEL_BANDS).map(|i| i as f32).collect();
        let band_major = to_band_major(&frame_major);
        assert_eq!(band_major[..4], [0.0, 80.0, 160.0, 1.0]);
        assert_eq!(to_frame_major(&band_major), frame_major);
        assert!(to_frame_major(&[]).is_empty());
    }

    #[test]
    fn frequencies_have_their_places() {
        // By hand, from Slaney's scale: 125 Hz is 1.875 mel, 7600 Hz 44.4996.
        let centres = band_centres();
        assert!((centres[0] - 160.08).abs() < 0.01 && centres.is_sorted(), "{}", centres[0]);
        for (band, centre) in centres.iter().enumerate() {
            assert!((band_at_hz(*centre) - band as f64 - 0.5).abs() < 1e-9);
        }
        for (hz, band) in [(0.0, 0.0), (-5.0, 0.0), (10.0, 0.0), (11_025.0, 80.0), (f64::INFINITY, 80.0)] {
            assert_eq!(band_at_hz(hz), band, "{hz} Hz");
        }
    }

    #[test]
    fn compression_and_expansion_are_inverse() {
        for y in [0.0, 0.25, 0.5, 0.99] {
            assert!((compress(expand(y)) - y).abs() < 1e-6);
        }
    }
}
