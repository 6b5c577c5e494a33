//! A clip made ready for the sampler: padded, with octave-decimated copies for high pitches.

use super::interpolation::{PADDING, kaiser, sinc};

/// Most levels: the last serves playback ratios up to `2^MAX_LEVELS`.
const MAX_LEVELS: usize = 7;
/// Half the length of the decimation filter, in samples of the finer level.
const DECIMATOR_HALF: usize = 32;
/// Levels shorter than this are not decimated further.
const SHORTEST_LEVEL: usize = 16;

/// What the voices play. Built off the audio thread, immutable ever after.
#[derive(Debug)]
pub struct Source {
    /// Level `l` holds every `2^l`-th sample of the low-passed recording, padded by [`PADDING`].
    levels: Vec<Box<[f32]>>,
    /// Samples of the recording itself.
    len: usize,
    /// Rate of the recording in Hz.
    sample_rate: f64,
    /// Number of the clip within its plugin instance; lets the window match play heads to clips.
    id: u64,
}

impl Source {
    /// Prepares `audio` (mono, full scale 1.0, `sample_rate` Hz) for playback.
    #[must_use]
    pub fn new(audio: &[f32], sample_rate: f64, id: u64) -> Self {
        let mut finest = vec![0.0; audio.len() + 2 * PADDING];
        if let Some(middle) = finest.get_mut(PADDING..PADDING + audio.len()) {
            middle.copy_from_slice(audio);
        }
        let mut levels = vec![finest.into_boxed_slice()];
        while levels.len() < MAX_LEVELS
            && let Some(finer) = levels.last()
            && finer.len() - 2 * PADDING >= 2 * SHORTEST_LEVEL
        {
            let coarser = decimate(finer);
            levels.push(coarser);
        }
        Self { levels, len: audio.len(), sample_rate, id }
    }

    /// Number of the clip within its plugin instance.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Length in samples at [`Self::sample_rate`].
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// A sample of the recording; silence before its beginning and after its end.
    #[must_use]
    pub fn sample(&self, index: i64) -> f32 {
        let place = usize::try_from(index.saturating_add(PADDING as i64)).ok();
        place.and_then(|place| self.level(0).get(place)).copied().unwrap_or(0.0)
    }

    /// Rate of the recording in Hz.
    #[must_use]
    pub fn sample_rate(&self) -> f64 {
        self.sample_rate
    }

    /// The level to read at a playback ratio (recording samples per output sample): the one on
    /// which the ratio is in `[1, 2)`, or the finest for ratios below 1.
    #[must_use]
    pub fn level_for(&self, ratio: f64) -> usize {
        if ratio < 2.0 { 0 } else { (ratio.log2().floor() as usize).min(self.levels.len() - 1) }
    }

    /// The samples of a level, padded for [`super::interpolation::KernelBank::read`].
    #[must_use]
    pub fn level(&self, level: usize) -> &[f32] {
        self.levels.get(level).map_or(&[], |samples| samples)
    }
}

/// Half the rate: a zero-phase half-band low-pass, then every second sample. Sample `j` of the
/// result lies on sample `2j` of `finer`; both are padded.
fn decimate(finer: &[f32]) -> Box<[f32]> {
    let half = DECIMATOR_HALF as f64;
    // The cutoff sits a little below a quarter of the rate: what would fold back is gone, at the
    // price of the top tenth of the octave.
    let mut filter: Vec<f64> = (0..=2 * DECIMATOR_HALF)
        .map(|k| {
            let x = k as f64 - half;
            0.46 * sinc(0.46 * x) * kaiser(x / (half + 1.0), 8.0)
        })
        .collect();
    let sum: f64 = filter.iter().sum();
    filter.iter_mut().for_each(|tap| *tap /= sum);

    let len = (finer.len() - 2 * PADDING).div_ceil(2);
    let mut coarser = vec![0.0; len + 2 * PADDING];
    for (j, value) in coarser.iter_mut().skip(PADDING).take(len).enumerate() {
        let centre = PADDING + 2 * j;
        let at = |k: usize| (centre + k).checked_sub(DECIMATOR_HALF).and_then(|i| finer.get(i));
        let sum: f64 =
            filter.iter().enumerate().filter_map(|(k, tap)| at(k).map(|x| tap * f64::from(*x))).sum();
        *value = sum as f32;
    }
    coarser.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(cycles_per_sample: f64, len: usize) -> Vec<f32> {
        (0..len).map(|i| (std::f64::consts::TAU * cycles_per_sample * i as f64).sin() as f32).collect()
    }

    #[test]
    fn levels_keep_low_tones_in_place_and_drop_high_ones() {
        let low = Source::new(&sine(0.02, 4000), 22_050.0, 0);
        for level in 1..3 {
            for j in 200..300 {
                let want = (std::f64::consts::TAU * 0.02 * f64::from(j << level)).sin() as f32;
                let got = low.level(level)[PADDING + j as usize];
                assert!((got - want).abs() < 2e-3, "level {level}, sample {j}: {got} against {want}");
            }
        }
        let high = Source::new(&sine(0.31, 4000), 22_050.0, 0);
        assert!(high.level(1)[PADDING + 100..PADDING + 1800].iter().all(|x| x.abs() < 1e-3));
    }

    #[test]
    fn level_follows_the_ratio() {
        let source = Source::new(&sine(0.1, 100_000), 22_050.0, 0);
        for (ratio, level) in [(0.1, 0), (1.0, 0), (1.99, 0), (2.0, 1), (3.9, 1), (4.0, 2), (1e9, 6)] {
            assert_eq!(source.level_for(ratio), level, "{ratio}");
        }
    }

    #[test]
    fn tiny_and_empty_clips_are_fine() {
        for len in [0, 1, 31, 32, 33] {
            let source = Source::new(&vec![0.5; len], 22_050.0, 0);
            assert_eq!(source.len(), len);
            assert!(source.level_for(64.0) < 3);
        }
    }
}
