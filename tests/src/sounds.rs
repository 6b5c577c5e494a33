//! Clips of known pitch, and the measurement of pitch.

use std::sync::Arc;

use soundlocd_engine::SAMPLE_RATE;
use soundlocd_engine::clip::{Clip, Provenance};
use soundlocd_engine::service::Settings;

/// Full scale of a clip's 24-bit grid.
const GRID: f64 = 8_388_608.0;

/// A sine of `hz` for `seconds` at half of full scale, as the engine would hand it to the plugin:
/// mono, 22.05 kHz, every sample on the 24-bit grid.
pub fn sine_clip(hz: f64, seconds: f64) -> Clip {
    clip(format!("a sine of {hz} Hz"), seconds, |n| {
        0.5 * (std::f64::consts::TAU * hz * n as f64 / f64::from(SAMPLE_RATE)).sin()
    })
}

/// White noise of full scale for `seconds`, another one for every `seed`: nothing is harder to compress.
pub fn noise_clip(seed: u64, seconds: f64) -> Clip {
    let mut state = seed;
    clip(format!("noise {seed}"), seconds, |_| {
        // Knuth's MMIX generator; its upper bits are the better ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1u32 << 23) - 1.0
    })
}

/// A clip of the samples that `sample` gives for 0, 1, 2, ...
fn clip(prompt: String, seconds: f64, mut sample: impl FnMut(usize) -> f64) -> Clip {
    let samples = (seconds * f64::from(SAMPLE_RATE)).round() as usize;
    let audio: Arc<[f32]> = (0..samples).map(|n| ((sample(n) * GRID).round() / GRID) as f32).collect();
    let provenance = Provenance {
        prompt,
        negative_prompt: None,
        seed: 7,
        pack_name: "test".to_owned(),
        pack_hash: "0".repeat(64),
        settings: Settings::default(),
        adapters: Vec::new(),
        edit: None,
        engine_version: "0.0.0".to_owned(),
        created_unix: 1_700_000_000,
        variation: 0,
    };
    Clip::new(audio, provenance)
}

/// The frequency of a nearly pure tone in Hz, from the distance between its first and last rising
/// zero crossings, each placed between two samples by a straight line.
///
/// `None` if there are fewer than two crossings.
pub fn frequency(audio: &[f32], rate: f64) -> Option<f64> {
    let crossings: Vec<f64> = audio
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0] < 0.0 && pair[1] >= 0.0)
        .map(|(n, pair)| n as f64 + f64::from(pair[0] / (pair[0] - pair[1])))
        .collect();
    match crossings.as_slice() {
        [first, .., last] => Some((crossings.len() - 1) as f64 * rate / (last - first)),
        _ => None,
    }
}

/// The largest magnitude in `audio`.
pub fn peak(audio: &[f32]) -> f32 {
    audio.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_a_sine() {
        let clip = sine_clip(440.0, 1.0);
        let measured = frequency(&clip.audio, f64::from(SAMPLE_RATE)).unwrap();
        assert!((measured - 440.0).abs() < 0.01, "{measured}");
        assert!((peak(&clip.audio) - 0.5).abs() < 1e-3);
    }

    #[test]
    fn silence_has_no_frequency() {
        assert_eq!(frequency(&[0.0; 100], 44_100.0), None);
    }
}
