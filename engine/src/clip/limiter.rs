//! A look-ahead limiter: makes softer what exceeds a ceiling, where it does, and leaves the rest as it is.

use super::{Ends, resample};
use crate::SAMPLE_RATE;

/// How far around a crest the gain is lowered, in samples (5 ms each way): slow enough not to distort what is heard,
/// short enough not to be heard as a dip.
const REACH: usize = 110;

/// Lowers `audio` around the crests whose true peak exceeds `ceiling`, so that none does.
pub(super) fn limit(audio: &mut [f32], ceiling: f32, ends: Ends) {
    let needed = needed(audio, ceiling);
    if needed.iter().all(|&gain| gain >= 1.0) {
        return;
    }
    let len = audio.len() as isize;
    let at = |n: isize| match ends {
        Ends::Joined => needed.get(n.rem_euclid(len) as usize),
        Ends::Faded => usize::try_from(n).ok().and_then(|n| needed.get(n)),
    };
    let reach = REACH as isize;
    // The least within reach, then the mean of these within reach: each of them counts the sample itself, so the mean
    // is no more than it needs.
    let least: Vec<f32> = (-reach..len + reach)
        .map(|n| (n - reach..=n + reach).filter_map(at).fold(1.0, |least: f32, &gain| least.min(gain)))
        .collect();
    for (sample, around) in audio.iter_mut().zip(least.windows(2 * REACH + 1)) {
        *sample *= around.iter().sum::<f32>() / around.len() as f32;
    }
}

/// The gain that each sample needs, at most 1.
fn needed(audio: &[f32], ceiling: f32) -> Vec<f32> {
    const FINER: usize = 4;
    let fine = resample(audio, SAMPLE_RATE, FINER as u32 * SAMPLE_RATE).unwrap_or_default();
    let gain = |n: usize, sample: f32| {
        let between = fine.get((FINER * n).saturating_sub(FINER - 1)..(FINER * (n + 1)).min(fine.len()));
        let crest = between.unwrap_or_default().iter().fold(sample.abs(), |crest, x| crest.max(x.abs()));
        if crest > ceiling { ceiling / crest } else { 1.0 }
    };
    audio.iter().enumerate().map(|(n, &sample)| gain(n, sample)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(amplitude: f32, len: usize) -> Vec<f32> {
        (0..len).map(|n| amplitude * (n as f32 * 0.3).sin()).collect()
    }

    #[test]
    fn what_is_below_the_ceiling_stays_bit_for_bit() {
        let mut audio = sine(0.5, 5_000);
        limit(&mut audio, 0.6, Ends::Faded);
        assert_eq!(audio, sine(0.5, 5_000));
        limit(&mut [], 0.6, Ends::Joined);
    }

    #[test]
    fn a_crest_at_the_end_of_a_loop_softens_its_beginning() {
        let mut audio = sine(0.5, 5_000);
        audio[4_995] = 2.0;
        let original = audio.clone();
        for (ends, beginning) in [(Ends::Faded, 1.0), (Ends::Joined, 0.7)] {
            let mut audio = original.clone();
            limit(&mut audio, 1.0, ends);
            assert!(audio.iter().all(|x| x.abs() <= 1.0));
            assert!(audio[20].abs() <= beginning * original[20].abs());
            assert_eq!(audio[20] == original[20], ends == Ends::Faded);
            assert_eq!(audio[1_000..4_000], original[1_000..4_000]);
        }
    }
}
