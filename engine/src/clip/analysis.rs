//! Levels of a piece of audio.

use super::{loudness, resample};
use crate::SAMPLE_RATE;

/// Levels of mono audio at [`SAMPLE_RATE`]. All are linear, full scale 1.0, unless they say dB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Analysis {
    /// Largest absolute sample.
    pub peak: f32,
    /// Largest absolute value between the samples too, found at four times the rate: what a
    /// converter or a resampler makes of them. Never below [`Self::peak`].
    pub true_peak: f32,
    /// Root mean square.
    pub rms: f32,
    /// Integrated loudness in LUFS (ITU-R BS.1770-4); `-inf` for silence.
    pub loudness: f32,
    /// Length in seconds.
    pub seconds: f32,
}

impl Analysis {
    /// Measures `audio`, mono at [`SAMPLE_RATE`].
    #[must_use]
    pub fn of(audio: &[f32]) -> Self {
        let peak = peak(audio);
        // Four times the rate is what BS.1770-4 (annex 2) asks for.
        let oversampled = resample(audio, SAMPLE_RATE, 4 * SAMPLE_RATE);
        let between = oversampled.map_or(peak, |audio| self::peak(&audio));
        let power = audio.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / audio.len().max(1) as f64;
        Self {
            peak,
            true_peak: peak.max(between),
            rms: power.sqrt() as f32,
            loudness: loudness::integrated(audio, SAMPLE_RATE) as f32,
            seconds: audio.len() as f32 / SAMPLE_RATE as f32,
        }
    }
}

/// Largest absolute sample; 0 for none.
#[must_use]
pub fn peak(audio: &[f32]) -> f32 {
    audio.iter().fold(0.0, |peak, &x| peak.max(x.abs()))
}

/// Amplitude ratio to decibels: 1 is 0 dB, 0 is `-inf`.
#[must_use]
pub fn to_db(ratio: f32) -> f32 {
    20.0 * ratio.log10()
}

/// Decibels to amplitude ratio.
#[must_use]
pub fn from_db(db: f32) -> f32 {
    10f32.powf(db / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_a_sine_are_the_textbook_ones() {
        // A quarter of the sample rate, sampled at 45 degrees: samples are 0.707 of the crest.
        let crest = std::f32::consts::FRAC_1_SQRT_2;
        let audio: Vec<f32> = [crest, crest, -crest, -crest].repeat(22_050 / 4);
        let levels = Analysis::of(&audio);
        assert!((levels.peak - crest).abs() < 1e-6);
        // Away from the hard edges (which ring) the crest is 1.
        assert!(levels.true_peak > 0.99 && levels.true_peak < 1.2, "{}", levels.true_peak);
        assert!((levels.rms - crest).abs() < 1e-6);
        assert_eq!(levels.seconds, 22_048.0 / 22_050.0);
    }

    #[test]
    fn silence_and_nothing_have_levels() {
        for audio in [&[][..], &[0.0; 100][..]] {
            let levels = Analysis::of(audio);
            assert_eq!((levels.peak, levels.true_peak, levels.rms), (0.0, 0.0, 0.0));
            assert_eq!(levels.loudness, f32::NEG_INFINITY);
        }
    }
}
