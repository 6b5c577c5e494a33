//! From the vocoder's raw output to a finished clip: cut, trim, fade, level, quantise.

use std::ops::Range;

use super::{
    ClipError, Placement,
    analysis::{Analysis, from_db, peak, to_db},
    grid, limiter, samples,
};

/// A sound whose peak lies below this is taken for silence, in dBFS.
pub const SILENCE_DB: f32 = -60.0;
/// Highest true peak of a finished clip, in dBFS.
pub const CEILING_DB: f32 = -1.0;
/// Loudness that a finished clip has, unless its crests reach the ceiling first, in LUFS.
pub const TARGET_LUFS: f32 = -14.0;
/// Most amplification, in dB: what is quieter than that is mostly noise.
const MAX_GAIN_DB: f32 = 40.0;
/// The sound begins where it first comes within this of its peak, in dB.
const START_DB: f32 = -48.0;
/// The sound ends where it last comes within this of its peak, in dB: lower, for tails are heard.
const END_DB: f32 = -60.0;
/// Kept before the start, in seconds: the foot of the attack.
const PRE_ROLL: f32 = 0.005;
/// Kept after the end, in seconds.
const POST_ROLL: f32 = 0.05;
/// Fade-in, in seconds: enough against a click, too short to soften an attack.
const FADE_IN: f32 = 0.001;
/// Fade-out, in seconds.
const FADE_OUT: f32 = 0.015;

/// Mono samples on the 24-bit grid from the first `asked` of `raw` ones, both at
/// [`SAMPLE_RATE`](crate::SAMPLE_RATE), and how they lie in it; see [`super::Clip::finish`].
pub(super) fn finish(raw: &[f32], asked: usize) -> Result<(Vec<f32>, Placement), ClipError> {
    check_finite(raw)?;
    // The model works in whole token columns: what is beyond the length asked for is surplus.
    let cut = raw.get(..asked).unwrap_or(raw);
    check_audible(cut)?;
    let kept = trim(cut);
    let mut audio = cut.get(kept.clone()).unwrap_or(cut).to_vec();
    fade(&mut audio);
    let gain = gain(&Analysis::of(&audio));
    let placement = Placement { first: kept.start, samples: audio.len(), asked: cut.len(), gain };
    quantise(&mut audio, gain);
    Ok((audio, placement))
}

/// What the ends of a clip need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Short fades.
    Faded,
    /// Nothing: its end goes on in its beginning.
    Joined,
}

/// Mono samples on the 24-bit grid from `samples` of `raw` from `first` on; see [`super::Clip::cut`].
pub(super) fn cut(
    raw: &[f32],
    (first, samples): (usize, usize),
    level: Option<f32>,
    ends: Ends,
) -> Result<(Vec<f32>, Placement), ClipError> {
    check_finite(raw)?;
    let end = first.saturating_add(samples).min(raw.len());
    let mut audio = raw.get(first..end).unwrap_or_default().to_vec();
    check_audible(&audio)?;
    if ends == Ends::Faded {
        fade(&mut audio);
    }
    let gain = level.unwrap_or_else(|| gain(&Analysis::of(&audio)));
    if level.is_some() {
        limiter::limit(&mut audio, from_db(CEILING_DB) / gain, ends);
    }
    let placement = Placement { first, samples: audio.len(), asked: end, gain };
    quantise(&mut audio, gain);
    Ok((audio, placement))
}

fn check_finite(raw: &[f32]) -> Result<(), ClipError> {
    match raw.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        Some((index, &value)) => Err(ClipError::NotFinite { index, value }),
        None => Ok(()),
    }
}

fn check_audible(audio: &[f32]) -> Result<(), ClipError> {
    let peak_db = to_db(peak(audio));
    if peak_db < SILENCE_DB { Err(ClipError::Silent { peak_db }) } else { Ok(()) }
}

/// Levels `audio` and puts it on the grid.
fn quantise(audio: &mut [f32], gain: f32) {
    // Rounding to the grid may lift the largest sample by half a step: never above the ceiling,
    // for the ceiling itself is snapped first.
    let ceiling = grid::snap(from_db(CEILING_DB));
    for sample in audio {
        *sample = grid::snap((*sample * gain).clamp(-ceiling, ceiling));
    }
}

/// The part of `audio` from shortly before its start to shortly after its end. Never empty
/// unless `audio` is.
fn trim(audio: &[f32]) -> Range<usize> {
    let peak = peak(audio);
    let above = |db: f32| move |x: &f32| x.abs() > 0.0 && x.abs() >= peak * from_db(db);
    let first = audio.iter().position(above(START_DB)).unwrap_or(0);
    let last = audio.iter().rposition(above(END_DB)).unwrap_or(audio.len());
    let start = first.saturating_sub(samples(PRE_ROLL));
    let end = last.saturating_add(1 + samples(POST_ROLL)).min(audio.len());
    start..end
}

/// Fades both ends with a raised cosine; on a short sound over a quarter of it each.
fn fade(audio: &mut [f32]) {
    let quarter = audio.len() / 4;
    let ramp = |i: usize, n: usize| {
        let x = (i as f32 + 0.5) / n as f32;
        0.5 - 0.5 * (std::f32::consts::PI * x).cos()
    };
    let n = samples(FADE_IN).min(quarter);
    for (i, sample) in audio.iter_mut().take(n).enumerate() {
        *sample *= ramp(i, n);
    }
    let n = samples(FADE_OUT).min(quarter);
    for (i, sample) in audio.iter_mut().rev().take(n).enumerate() {
        *sample *= ramp(i, n);
    }
}

/// The factor that brings the sound to the loudness target, as far as ceiling and
/// [`MAX_GAIN_DB`] allow.
fn gain(levels: &Analysis) -> f32 {
    let to_target = TARGET_LUFS - levels.loudness;
    let to_ceiling = CEILING_DB - to_db(levels.true_peak);
    // `min` passes over NaN, and an infinite distance to the target leaves the ceiling to decide.
    from_db(to_target.min(to_ceiling).min(MAX_GAIN_DB))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SAMPLE_RATE;
    use crate::clip::{grid::to_i24, loudness};

    /// As [`super::finish`], of so many seconds, the sound alone.
    fn finish(raw: &[f32], seconds: f32) -> Result<Vec<f32>, ClipError> {
        Ok(super::finish(raw, samples(seconds))?.0)
    }

    const RATE: f32 = SAMPLE_RATE as f32;

    fn sine(amplitude: f32, hz: f32, seconds: f32) -> Vec<f32> {
        (0..samples(seconds))
            .map(|n| amplitude * (std::f32::consts::TAU * hz * n as f32 / RATE).sin())
            .collect()
    }

    /// One sharp click with a fast decay.
    fn click() -> Vec<f32> {
        (0..4_096).map(|n| 0.3 * (-(n as f32) / 40.0).exp() * (n as f32 * 2.0).cos()).collect()
    }

    fn silence(seconds: f32) -> Vec<f32> {
        vec![0.0; samples(seconds)]
    }

    #[test]
    fn a_steady_sound_gets_the_target_loudness() {
        for amplitude in [0.004, 0.05, 0.9, 20.0] {
            let audio = finish(&sine(amplitude, 440.0, 3.0), 3.0).unwrap();
            let found = loudness::integrated(&audio, SAMPLE_RATE);
            assert!((found - f64::from(TARGET_LUFS)).abs() < 0.1, "{amplitude}: {found}");
        }
    }

    #[test]
    fn crests_stay_below_the_ceiling_between_samples_too() {
        let ceiling = from_db(CEILING_DB);
        // Sampled off its crests, so that the true peak lies 3 dB above the samples.
        let between = [1.0, 1.0, -1.0, -1.0].repeat(5_000);
        for raw in [click(), between, sine(30.0, 60.0, 0.5)] {
            let audio = finish(&raw, 5.0).unwrap();
            let levels = Analysis::of(&audio);
            assert!(levels.true_peak <= ceiling * 1.001, "{}", to_db(levels.true_peak));
            assert!(levels.peak <= ceiling);
        }
        // The click's crests decide: it uses all the room there is.
        let levels = Analysis::of(&finish(&click(), 5.0).unwrap());
        assert!(to_db(levels.true_peak) > CEILING_DB - 0.1);
    }

    #[test]
    fn silence_around_the_sound_goes() {
        let raw = [silence(0.5), sine(0.5, 300.0, 1.0), silence(1.5)].concat();
        let audio = finish(&raw, 3.0).unwrap();
        let seconds = audio.len() as f32 / RATE;
        assert!(seconds > 1.0 && seconds < 1.1, "{seconds}");
    }

    #[test]
    fn a_quiet_tail_stays() {
        // Falls by 55 dB over a second: all of it is within the end threshold.
        let raw: Vec<f32> = sine(0.5, 300.0, 1.0)
            .iter()
            .enumerate()
            .map(|(n, x)| x * from_db(-55.0 * n as f32 / RATE))
            .collect();
        let audio = finish(&[raw, silence(1.0)].concat(), 2.0).unwrap();
        assert!(audio.len() as f32 / RATE > 0.98);
    }

    #[test]
    fn the_length_asked_for_is_the_longest() {
        assert_eq!(finish(&sine(0.5, 300.0, 3.2), 3.0).unwrap().len(), 66_150);
        // Nothing is added to a sound that is shorter.
        assert!(finish(&sine(0.5, 300.0, 1.0), 3.0).unwrap().len() <= 22_050);
    }

    #[test]
    fn a_single_sample_survives() {
        let mut raw = silence(1.0);
        raw[10_000] = 0.5;
        let audio = finish(&raw, 1.0).unwrap();
        assert!(peak(&audio) > 0.1);
        assert!(!finish(&[0.5], 1.0).unwrap().is_empty());
    }

    #[test]
    fn both_ends_are_faded() {
        let audio = finish(&vec![0.5; 22_050], 1.0).unwrap();
        let middle = audio[11_025];
        assert!(audio[0] < 0.05 * middle && audio[22_049] < 0.05 * middle);
        assert!((audio[100] - middle).abs() < 1e-6);
    }

    #[test]
    fn every_sample_is_on_the_grid() {
        for sample in finish(&sine(0.37, 123.4, 0.7), 1.0).unwrap() {
            assert_eq!(to_i24(sample) as f32 / 8_388_608.0, sample);
        }
    }

    #[test]
    fn unusable_sounds_are_errors() {
        let mut raw = sine(0.5, 300.0, 0.1);
        raw[77] = f32::NAN;
        assert!(matches!(finish(&raw, 1.0), Err(ClipError::NotFinite { index: 77, .. })));
        raw[77] = f32::INFINITY;
        assert!(matches!(finish(&raw, 1.0), Err(ClipError::NotFinite { index: 77, .. })));
        for raw in [vec![], silence(1.0), sine(0.000_9, 300.0, 1.0)] {
            assert!(matches!(finish(&raw, 1.0), Err(ClipError::Silent { .. })));
        }
    }

    #[test]
    fn the_placement_says_where_the_clip_lies_and_how_loud() {
        let raw = [silence(0.5), sine(0.05, 300.0, 1.0), silence(1.5)].concat();
        let (audio, placement) = super::finish(&raw, samples(2.5)).unwrap();
        assert_eq!((placement.samples, placement.asked), (audio.len(), samples(2.5)));
        // Away from the fades.
        for n in 500..audio.len() - 500 {
            let want = raw[placement.first + n] * placement.gain;
            assert!((audio[n] - want).abs() < 1e-6, "sample {n}");
        }
        // The same part with the same gain is the same clip.
        let part = (placement.first, placement.samples);
        assert_eq!(cut(&raw, part, Some(placement.gain), Ends::Faded).unwrap().0, audio);
    }

    #[test]
    fn a_louder_part_changes_nothing_but_itself() {
        let quiet = sine(0.05, 300.0, 3.0);
        let gain = super::finish(&quiet, quiet.len()).unwrap().1.gain;
        let all = (0, quiet.len());
        let (before, _) = cut(&quiet, all, Some(gain), Ends::Faded).unwrap();
        let mut raw = quiet.clone();
        for sample in &mut raw[30_000..32_000] {
            *sample *= 60.0;
        }
        let (after, placement) = cut(&raw, all, Some(gain), Ends::Faded).unwrap();
        assert_eq!(placement.gain, gain);
        // 20 ms around it.
        assert_eq!(before[..29_500], after[..29_500]);
        assert_eq!(before[32_500..], after[32_500..]);
        assert!(Analysis::of(&after).true_peak <= from_db(CEILING_DB) * 1.001);
        assert!(peak(&after) > 0.9 * from_db(CEILING_DB));
    }

    #[test]
    fn joined_ends_are_left_alone() {
        let raw = sine(0.2, 220.5, 1.0);
        let (audio, placement) = cut(&raw, (0, raw.len()), None, Ends::Joined).unwrap();
        // Every sample in the same proportion, the outermost too.
        assert!(audio.iter().zip(&raw).all(|(a, b)| (a - b * placement.gain).abs() < 1e-6));
    }
}
