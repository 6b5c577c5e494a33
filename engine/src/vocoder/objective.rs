//! Spectral losses between waveforms, with their gradient in closed form.
//!
//! Multi-resolution STFT magnitudes (Yamamoto et al. 2020: L1 of log-magnitudes and of normalised
//! magnitudes) and the L1 distance of SPEC 1's log-mel spectrograms, the scale that the codec speaks.

use crate::MEL_BANDS;
use crate::codec::mel::{self, Band};
use crate::layers::kernel::simd::sign;
use rayon::prelude::*;
use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Weights of the terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpectralWeights {
    /// L1 of natural log-magnitudes, mean over resolutions.
    pub log_magnitude: f32,
    /// L1 of magnitudes over the target's mean magnitude, mean over resolutions.
    pub magnitude: f32,
    /// L1 of log-mels on SPEC 1's scale (0.01 is 1 dB).
    pub mel: f32,
}

impl Default for SpectralWeights {
    fn default() -> Self {
        Self { log_magnitude: 1.0, magnitude: 0.5, mel: 20.0 }
    }
}

/// One transform size, Hann-windowed, hop a quarter of it.
struct Resolution {
    size: usize,
    window: Vec<f32>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl Resolution {
    fn new(size: usize, planner: &mut RealFftPlanner<f32>) -> Self {
        let window = (0..size)
            .map(|n| (0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / size as f64).cos()) as f32)
            .collect();
        Self {
            size,
            window,
            forward: planner.plan_fft_forward(size),
            inverse: planner.plan_fft_inverse(size),
        }
    }

    fn spectrum(&self, signal: &[f32], work: &mut Work, out: &mut [Complex32]) {
        for ((w, s), h) in work.signal.iter_mut().zip(signal).zip(&self.window) {
            *w = s * h;
        }
        // Fails only for buffers of another size than the plan's, and these are its own.
        let done = self.forward.process_with_scratch(&mut work.signal, out, &mut work.forward);
        debug_assert!(done.is_ok());
    }

    /// Adds to `gradient` what a slope `bins` with respect to a frame's real and imaginary parts means for its samples.
    fn adjoint(&self, bins: &mut [Complex32], work: &mut Work, gradient: &mut [f32]) {
        let last = bins.len() - 1;
        // The inverse transform counts the inner bins twice, and takes only real edges.
        for bin in &mut bins[1..last] {
            *bin *= 0.5;
        }
        bins[0].im = 0.0;
        bins[last].im = 0.0;
        let done = self.inverse.process_with_scratch(bins, &mut work.signal, &mut work.inverse);
        debug_assert!(done.is_ok());
        for ((g, s), h) in gradient.iter_mut().zip(&work.signal).zip(&self.window) {
            *g += s * h;
        }
    }

    fn work(&self) -> Work {
        Work {
            signal: vec![0.0; self.size],
            forward: self.forward.make_scratch_vec(),
            inverse: self.inverse.make_scratch_vec(),
        }
    }
}

struct Work {
    signal: Vec<f32>,
    forward: Vec<Complex32>,
    inverse: Vec<Complex32>,
}

/// The loss, with its transforms planned.
pub struct SpectralLoss {
    resolutions: Vec<Resolution>,
    mel_resolution: Resolution,
    bands: Vec<Band>,
    weights: SpectralWeights,
}

/// Value of each term, unweighted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SpectralTerms {
    /// Mean absolute difference of natural log-magnitudes.
    pub log_magnitude: f64,
    /// Mean absolute difference of magnitudes over the target's mean.
    pub magnitude: f64,
    /// Mean absolute difference of log-mels, SPEC 1's scale.
    pub mel: f64,
}

/// Magnitude below which differences fade, as a share of a full-scale sine's.
const FLOOR: f32 = 1e-4;

impl SpectralLoss {
    /// Plans transforms of 256, 512, 1024 and 2048 samples.
    #[must_use]
    pub fn new(weights: SpectralWeights) -> Self {
        let mut planner = RealFftPlanner::new();
        Self {
            resolutions: [256, 512, 1024, 2048].map(|n| Resolution::new(n, &mut planner)).into(),
            mel_resolution: Resolution::new(mel::WINDOW, &mut planner),
            bands: mel::filters(),
            weights,
        }
    }

    /// Loss of `output` against `target` (`[count, samples]`, at least 2048 samples each), its terms, and
    /// its gradient with respect to `output`.
    #[must_use]
    pub fn evaluate(&self, target: &[f32], output: &[f32], samples: usize) -> (f32, SpectralTerms, Vec<f32>) {
        let count = target.len().checked_div(samples).unwrap_or(0);
        let mut gradient = vec![0.0; count * samples];
        let terms: Vec<SpectralTerms> = gradient
            .par_chunks_mut(samples.max(1))
            .zip(target.par_chunks(samples.max(1)).zip(output.par_chunks(samples.max(1))))
            .map(|(gradient, (target, output))| self.one(target, output, gradient))
            .collect();
        let n = count.max(1) as f64;
        for g in &mut gradient {
            *g /= n as f32;
        }
        let mean = |f: fn(&SpectralTerms) -> f64| terms.iter().map(f).sum::<f64>() / n;
        let terms = SpectralTerms {
            log_magnitude: mean(|t| t.log_magnitude),
            magnitude: mean(|t| t.magnitude),
            mel: mean(|t| t.mel),
        };
        let w = self.weights;
        let total = f64::from(w.log_magnitude) * terms.log_magnitude
            + f64::from(w.magnitude) * terms.magnitude
            + f64::from(w.mel) * terms.mel;
        (total as f32, terms, gradient)
    }

    fn one(&self, target: &[f32], output: &[f32], gradient: &mut [f32]) -> SpectralTerms {
        let mut terms = SpectralTerms::default();
        for resolution in &self.resolutions {
            self.magnitudes(resolution, target, output, gradient, &mut terms);
        }
        self.mels(target, output, gradient, &mut terms);
        terms
    }

    fn magnitudes(
        &self,
        r: &Resolution,
        target: &[f32],
        output: &[f32],
        gradient: &mut [f32],
        terms: &mut SpectralTerms,
    ) {
        let hop = r.size / 4;
        let Some(room) = target.len().checked_sub(r.size) else { return };
        let frames = room / hop + 1;
        let bins = r.size / 2 + 1;
        let mut work = r.work();
        let mut wanted = vec![Complex32::default(); bins];
        let mut magnitudes = vec![0.0_f32; frames * bins];
        for (frame, magnitudes) in magnitudes.chunks_exact_mut(bins).enumerate() {
            r.spectrum(&target[frame * hop..frame * hop + r.size], &mut work, &mut wanted);
            for (m, w) in magnitudes.iter_mut().zip(&wanted) {
                *m = w.norm();
            }
        }
        let cells = (frames * bins) as f32;
        let floor = FLOOR * r.size as f32 / 4.0;
        let mean = magnitudes.iter().sum::<f32>() / cells + floor;
        let share = 1.0 / (cells * self.resolutions.len() as f32);
        let log_weight = self.weights.log_magnitude * share;
        let linear_weight = self.weights.magnitude * share / mean;
        let (mut logs, mut linears) = (0.0_f64, 0.0_f64);
        let mut got = vec![Complex32::default(); bins];
        for (frame, magnitudes) in magnitudes.chunks_exact(bins).enumerate() {
            let range = frame * hop..frame * hop + r.size;
            r.spectrum(&output[range.clone()], &mut work, &mut got);
            for (bin, wanted) in got.iter_mut().zip(magnitudes) {
                let magnitude = bin.norm();
                let log = (magnitude + floor).ln() - (wanted + floor).ln();
                let linear = magnitude - wanted;
                logs += f64::from(log.abs());
                linears += f64::from(linear.abs());
                let slope = log_weight * sign(log) / (magnitude + floor) + linear_weight * sign(linear);
                *bin *= slope / magnitude.max(1e-9);
            }
            r.adjoint(&mut got, &mut work, &mut gradient[range]);
        }
        let share = f64::from(share);
        terms.log_magnitude += logs * share;
        terms.magnitude += linears * share / f64::from(mean);
    }

    fn mels(&self, target: &[f32], output: &[f32], gradient: &mut [f32], terms: &mut SpectralTerms) {
        let r = &self.mel_resolution;
        let Some(room) = target.len().checked_sub(r.size) else { return };
        let frames = room / crate::HOP + 1;
        let share = 1.0 / (frames * MEL_BANDS) as f32;
        let mut work = r.work();
        let bins = r.size / 2 + 1;
        let (mut wanted, mut got) = (vec![Complex32::default(); bins], vec![Complex32::default(); bins]);
        let mut slopes = vec![0.0_f32; bins];
        let mut total = 0.0_f64;
        for frame in 0..frames {
            let range = frame * crate::HOP..frame * crate::HOP + r.size;
            r.spectrum(&target[range.clone()], &mut work, &mut wanted);
            r.spectrum(&output[range.clone()], &mut work, &mut got);
            slopes.fill(0.0);
            for band in &self.bands {
                let sum = |bins: &[Complex32]| -> f32 {
                    band.weights.iter().zip(&bins[band.first_bin..]).map(|(w, b)| w * b.norm()).sum()
                };
                let (wanted, got) = (sum(&wanted), sum(&got));
                let difference = mel::compress(got) - mel::compress(wanted);
                total += f64::from(difference.abs());
                // Slope of 0.2 log10(m), none where it is clipped.
                if (1e-4..10.0).contains(&got) {
                    let slope =
                        self.weights.mel * share * sign(difference) * 0.2 / (got * std::f32::consts::LN_10);
                    for (s, w) in slopes[band.first_bin..].iter_mut().zip(&band.weights) {
                        *s += slope * w;
                    }
                }
            }
            for (bin, slope) in got.iter_mut().zip(&slopes) {
                *bin *= slope / bin.norm().max(1e-9);
            }
            r.adjoint(&mut got, &mut work, &mut gradient[range]);
        }
        terms.mel += total * f64::from(share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, a: f32, b: f32) -> Vec<f32> {
        (0..n).map(|i| 0.3 * (a * i as f32).sin() + 0.2 * (b * (i * i % 997) as f32).cos()).collect()
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let n = 2048 + 512;
        let loss = SpectralLoss::new(SpectralWeights::default());
        let (target, output) = (wave(2 * n, 0.11, 0.7), wave(2 * n, 0.23, 1.3));
        let (_, _, gradient) = loss.evaluate(&target, &output, n);
        let largest = gradient.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
        for i in [0, 700, 1024, 1500, 2559, 2560 + 900, 2 * n - 300] {
            let at = |d: f32| {
                let mut moved = output.clone();
                moved[i] += d;
                let (_, t, _) = loss.evaluate(&target, &moved, n);
                let w = SpectralWeights::default();
                f64::from(w.log_magnitude) * t.log_magnitude
                    + f64::from(w.magnitude) * t.magnitude
                    + f64::from(w.mel) * t.mel
            };
            let want = (at(2e-4) - at(-2e-4)) / 4e-4;
            let error = (f64::from(gradient[i]) - want).abs();
            assert!(error < 0.03 * f64::from(largest), "{i}: {} {want} (largest {largest})", gradient[i]);
        }
    }

    #[test]
    fn equal_waves_cost_nothing() {
        let x = wave(4096, 0.1, 0.4);
        let (value, _, gradient) = SpectralLoss::new(SpectralWeights::default()).evaluate(&x, &x, 4096);
        assert_eq!(value, 0.0);
        assert!(gradient.iter().all(|g| *g == 0.0));
    }
}
