//! How true the codec and the vocoder are to real spectrograms.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use indicatif::{ProgressBar, ProgressStyle};
use soundlocd_engine::MEL_BANDS;
use soundlocd_engine::codec::mel::{DECIBELS_PER_UNIT, MelFrontEnd, to_band_major, to_frame_major};
use soundlocd_engine::pack::Model;

/// Value above which a bin counts as active: 2.5 dB above the floor of the scale.
const ACTIVE: f32 = 0.025;

/// Mean absolute difference of spectrograms over the active bins of the true ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpectralError {
    sum: f64,
    bins: usize,
}

impl SpectralError {
    /// Adds a spectrogram and its imitation, in the same layout; what only one has is ignored.
    pub fn add(&mut self, truth: &[f32], imitation: &[f32]) {
        for (truth, imitation) in truth.iter().zip(imitation).filter(|(truth, _)| **truth > ACTIVE) {
            self.sum += f64::from((truth - imitation).abs());
            self.bins += 1;
        }
    }

    /// The mean in dB; NaN where nothing was active.
    pub fn decibels(&self) -> f64 {
        self.sum / self.bins as f64 * f64::from(DECIBELS_PER_UNIT)
    }
}

/// Errors of a pack's codec and vocoder.
#[derive(Clone, Copy, Debug)]
pub struct Fidelity {
    /// Spectrogram to tokens and back.
    pub codec_db: f64,
    /// True spectrogram to sound, and that sound's spectrogram.
    pub vocoder_db: f64,
    /// Both: spectrogram to tokens to spectrogram to sound to spectrogram.
    pub both_db: f64,
}

/// Measures codec and vocoder on frame-major spectrograms `[frames, 80]` of real sounds.
pub fn measure(model: &Model, device: &Device, mels: &[Vec<f32>]) -> Result<Fidelity> {
    let progress = ProgressBar::new(mels.len() as u64)
        .with_style(ProgressStyle::with_template("codec and vocoder {bar:40} {pos}/{len}, {eta} left")?);
    let front_end = MelFrontEnd::new();
    let (mut codec, mut vocoder, mut both) = Default::default();
    let sound = |mel: &Tensor| -> Result<Vec<f32>> {
        let audio: Vec<f32> = model.vocoder.forward(mel)?.flatten_all()?.to_vec1()?;
        Ok(front_end.log_mel(&audio))
    };
    for mel in mels {
        // Whole columns, the last filled up with silence that is not measured.
        let column = model.codec.frames_per_column();
        let frames = (mel.len() / MEL_BANDS).min(model.transformer.config().max_columns * column);
        let padded_frames = frames.next_multiple_of(column);
        let truth = &mel[..frames * MEL_BANDS];
        let mut padded = truth.to_vec();
        padded.resize(padded_frames * MEL_BANDS, 0.0);
        let input = Tensor::from_vec(to_band_major(&padded), (1, MEL_BANDS, padded_frames), device)?;

        let tokens = model.codec.encode(&input).context("the codec failed to encode")?;
        let decoded = model.codec.decode(&tokens).context("the codec failed to decode")?.clamp(0f32, 1f32)?;
        let add = |error: &mut SpectralError, imitation: &[f32]| error.add(truth, imitation);
        add(&mut codec, &to_frame_major(&decoded.flatten_all()?.to_vec1()?));
        add(&mut vocoder, &sound(&input).context("the vocoder failed")?);
        add(&mut both, &sound(&decoded).context("the vocoder failed")?);
        progress.inc(1);
    }
    progress.finish();
    Ok(Fidelity { codec_db: codec.decibels(), vocoder_db: vocoder.decibels(), both_db: both.decibels() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_in_decibels_over_active_bins_only() {
        let mut error = SpectralError::default();
        error.add(&[0.5, 0.3, 0.0, 0.02], &[0.51, 0.28, 0.9, 0.9]);
        assert!((error.decibels() - 1.5).abs() < 1e-4);
        assert!(SpectralError::default().decibels().is_nan());
    }
}
