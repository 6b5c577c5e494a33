//! Which key a clip sounds like, if it has a pitch: what the window proposes as its root key.
//!
//! McLeod's method (crate `pitch-detection`) in windows along the clip; a clip is pitched if the loud ones of
//! them agree.

use pitch_detection::detector::{PitchDetector, mcleod::McLeodDetector};
use soundlocd_engine::SAMPLE_RATE;

/// Samples of a window: 93 ms, two periods of 22 Hz.
const WINDOW: usize = 2048;
/// Samples from window to window.
const HOP: usize = 512;
/// Least clarity of a window's pitch, 0..=1: how well it repeats, whatever the period.
const CLARITY: f32 = 0.8;
/// Least clarity as the crate counts it: of a period of `n` samples it takes away the share `n / WINDOW`.
const COUNTED_CLARITY: f32 = 0.55;
/// Windows quieter than this, in relation to the loudest one (-30 dB), say nothing.
const QUIET: f32 = 1e-3;
/// Share of the loud windows that must agree.
const AGREEING: f32 = 0.6;
/// How far windows that agree are from their median, in semitones.
const TOLERANCE: f32 = 0.5;
/// Longest part looked at, in samples: ten seconds.
const MOST: usize = 10 * SAMPLE_RATE as usize;
/// Keys that are proposed, 49 Hz to 1.5 kHz: of lower ones a window has too few periods, of higher ones a period too few
/// samples.
const KEYS: std::ops::RangeInclusive<f32> = 31.0..=90.0;

/// The MIDI key that mono `audio` at [`SAMPLE_RATE`] sounds like, with the fraction of a semitone (69.0 is 440 Hz). `None` if it
/// has no pitch, or several.
#[must_use]
pub fn detect(audio: &[f32]) -> Option<f32> {
    let audio = audio.get(..MOST).unwrap_or(audio);
    let power = |window: &[f32]| window.iter().map(|x| x * x).sum::<f32>();
    let windows = || audio.windows(WINDOW).step_by(HOP);
    let loudest = windows().map(power).fold(0.0, f32::max);
    if !loudest.is_finite() || loudest <= 1e-9 {
        return None;
    }
    let mut detector = McLeodDetector::new(WINDOW, WINDOW / 2);
    let loud = windows().filter(|window| power(window) > QUIET * loudest);
    let keys: Vec<Option<f32>> = loud
        .map(|window| {
            let pitch = detector.get_pitch(window, SAMPLE_RATE as usize, 0.0, COUNTED_CLARITY)?;
            let period = SAMPLE_RATE as f32 / pitch.frequency;
            if pitch.clarity < CLARITY * (1.0 - period / WINDOW as f32) {
                return None;
            }
            let key = 69.0 + 12.0 * (pitch.frequency / 440.0).log2();
            KEYS.contains(&key).then_some(key)
        })
        .collect();
    let mut found: Vec<f32> = keys.iter().flatten().copied().collect();
    found.sort_by(f32::total_cmp);
    let median = *found.get(found.len() / 2)?;
    let agreeing: Vec<f32> = found.into_iter().filter(|key| (key - median).abs() <= TOLERANCE).collect();
    let is_pitched = agreeing.len() as f32 >= AGREEING * keys.len() as f32;
    is_pitched.then(|| agreeing.iter().sum::<f32>() / agreeing.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone with partials, of so many seconds, that dies away.
    fn tone(hz: f32, seconds: f32, partials: &[f32]) -> Vec<f32> {
        let rate = SAMPLE_RATE as f32;
        (0..(seconds * rate) as usize)
            .map(|i| {
                let t = i as f32 / rate;
                let sum: f32 = partials
                    .iter()
                    .zip(1..)
                    .map(|(a, n)| a * (std::f32::consts::TAU * hz * n as f32 * t).sin())
                    .sum();
                0.3 * sum * (-t / seconds).exp()
            })
            .collect()
    }

    fn noise(len: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..len).map(|_| 0.3 * next()).collect()
    }

    #[test]
    fn tones_from_low_to_high_have_their_key() {
        for key in (32..=88).step_by(2) {
            let key = key as f32 + 0.2;
            let hz = 440.0 * 2f32.powf((key - 69.0) / 12.0);
            for partials in [&[1.0][..], &[1.0, 0.5, 0.3, 0.2], &[0.2, 1.0, 0.6], &[1.0, 0.0, 0.5, 0.0, 0.3]]
            {
                let found = detect(&tone(hz, 0.6, partials));
                let error = found.map(|found| (found - key).abs());
                assert!(error.is_some_and(|error| error < 0.12), "{key} with {partials:?}: {found:?}");
            }
        }
    }

    #[test]
    fn noise_silence_clicks_and_glides_have_none() {
        assert_eq!(detect(&[]), None);
        assert_eq!(detect(&[0.0; 8000]), None);
        assert_eq!(detect(&[f32::NAN; 8000]), None);
        assert_eq!(detect(&noise(22_050)), None);
        let mut click = vec![0.0; 8000];
        click[4000] = 1.0;
        assert_eq!(detect(&click), None);
        // Two octaves in a second.
        let mut phase = 0.0f32;
        let glide: Vec<f32> = (0..SAMPLE_RATE)
            .map(|i| {
                phase += 220.0 * 2f32.powf(2.0 * i as f32 / SAMPLE_RATE as f32) / SAMPLE_RATE as f32;
                (std::f32::consts::TAU * phase).sin() * 0.3
            })
            .collect();
        assert_eq!(detect(&glide), None);
    }

    #[test]
    fn a_tone_in_some_noise_still_has_its_key() {
        let mut audio = tone(330.0, 1.0, &[1.0, 0.4]);
        audio.iter_mut().zip(noise(22_050)).for_each(|(x, noise)| *x += noise * 0.1);
        let expected = 69.0 + 12.0 * (330.0f32 / 440.0).log2();
        let found = detect(&audio);
        assert!(found.is_some_and(|found| (found - expected).abs() < 0.1), "{found:?}");
    }
}
