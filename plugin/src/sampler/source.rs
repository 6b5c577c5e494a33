//! A clip made ready for the sampler: padded, with octave-decimated copies for high pitches.

use std::sync::OnceLock;

use pulp::{Simd, WithSimd};

use super::interpolation::{PADDING, kaiser, sinc};

/// Most levels: the last serves playback ratios up to `2^MAX_LEVELS`.
const MAX_LEVELS: usize = 7;
/// Half the length of the decimation filter, in samples of the finer level.
const DECIMATOR_HALF: usize = 32;
/// Vectors of results that the decimation computes side by side.
const VECTORS: usize = 8;
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
        let mut phases = [Vec::new(), Vec::new()];
        while levels.len() < MAX_LEVELS
            && let Some(finer) = levels.last()
            && finer.len() - 2 * PADDING >= 2 * SHORTEST_LEVEL
        {
            let coarser = decimate(finer, &mut phases);
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
/// result lies on sample `2j` of `finer`; both are padded. `phases` is working memory.
fn decimate(finer: &[f32], phases: &mut [Vec<f32>; 2]) -> Box<[f32]> {
    let len = (finer.len() - 2 * PADDING).div_ceil(2);
    let mut coarser = vec![0.0; len + 2 * PADDING];
    // Tap `k` of result `j` falls on `phases[k % 2][j + k / 2]`: even and odd samples apart, silence around them.
    let (pairs, last) = finer.get(PADDING - DECIMATOR_HALF..).unwrap_or_default().as_chunks::<2>();
    for phase in &mut *phases {
        phase.clear();
        phase.reserve(len + 2 * PADDING);
    }
    let [even, odd] = &mut *phases;
    even.extend(pairs.iter().map(|[even, _]| *even).chain(last.iter().copied()));
    odd.extend(pairs.iter().map(|[_, odd]| *odd));
    phases.iter_mut().for_each(|phase| phase.resize(len + 2 * PADDING, 0.0));
    // Nothing into the padding.
    if let Some(results) = coarser.get_mut(PADDING..PADDING + len) {
        pulp::Arch::new().dispatch(Decimate { taps: decimator(), phases, results });
    }
    coarser.into_boxed_slice()
}

/// The half-band low-pass, with a sum of 1.
fn decimator() -> &'static [f32] {
    static TAPS: OnceLock<Vec<f32>> = OnceLock::new();
    TAPS.get_or_init(|| {
        let half = DECIMATOR_HALF as f64;
        // The cutoff sits a little below a quarter of the rate: what would fold back is gone, at the
        // price of the top tenth of the octave.
        let tap = |k: usize| {
            let x = k as f64 - half;
            0.46 * sinc(0.46 * x) * kaiser(x / (half + 1.0), 8.0)
        };
        let sum: f64 = (0..=2 * DECIMATOR_HALF).map(tap).sum();
        (0..=2 * DECIMATOR_HALF).map(|k| (tap(k) / sum) as f32).collect()
    })
}

/// The work of [`decimate`]: results side by side, each a sum in the order of the taps.
struct Decimate<'a> {
    taps: &'a [f32],
    phases: &'a [Vec<f32>; 2],
    results: &'a mut [f32],
}

impl WithSimd for Decimate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let count = self.results.len();
        let (vectors, rest) = S::as_mut_simd_f32s(self.results);
        let taps = || self.taps.iter().zip(self.phases.iter().cycle()).enumerate();
        for (n, results) in vectors.chunks_mut(VECTORS).enumerate() {
            let first = n * VECTORS * S::F32_LANES;
            let mut sums = [simd.splat_f32s(0.0); VECTORS];
            for (k, (tap, phase)) in taps() {
                let (samples, _) = S::as_simd_f32s(phase.get(first + k / 2..).unwrap_or_default());
                let tap = simd.splat_f32s(*tap);
                for (sum, x) in sums.iter_mut().zip(samples) {
                    *sum = simd.mul_add_e_f32s(tap, *x, *sum);
                }
            }
            results.copy_from_slice(sums.get(..results.len()).unwrap_or_default());
        }
        let first = count - rest.len();
        for (j, result) in rest.iter_mut().enumerate() {
            let terms = taps().map(|(k, (tap, phase))| tap * phase.get(first + j + k / 2).unwrap_or(&0.0));
            *result = terms.sum();
        }
    }
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

    /// The definition of [`decimate`], tap by tap.
    fn decimated(finer: &[f32], filter: &[f64], j: usize) -> f32 {
        let place = |k: usize| (PADDING + 2 * j + k).checked_sub(DECIMATOR_HALF);
        let at = |k: usize| place(k).and_then(|i| finer.get(i)).map_or(0.0, |x| f64::from(*x));
        filter.iter().enumerate().fold(0.0, |sum, (k, tap)| sum + tap * at(k)) as f32
    }

    #[test]
    fn decimation_is_the_filter_tap_by_tap() {
        // Its impulse response: two impulses, since each shows every second tap.
        let mut filter = vec![0.0; 2 * DECIMATOR_HALF + 1];
        let unit = |at: usize| {
            let mut audio = vec![0.0; 200 + 2 * PADDING];
            audio[PADDING + at] = 1.0;
            decimate(&audio, &mut [Vec::new(), Vec::new()])
        };
        for (at, response) in [(100, unit(100)), (101, unit(101))] {
            for j in 30..70 {
                if let Some(tap) = (at + DECIMATOR_HALF).checked_sub(2 * j).and_then(|k| filter.get_mut(k)) {
                    *tap = f64::from(response[PADDING + j]);
                }
            }
        }
        assert!((filter.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        assert!((0..DECIMATOR_HALF).all(|k| filter[k] == filter[2 * DECIMATOR_HALF - k]), "not symmetric");
        let mut state = 1u32;
        for len in [0, 1, 7, 16, 31, 32, 33, 64, 65, 500] {
            let mut finer = vec![0.0; len + 2 * PADDING];
            finer[PADDING..PADDING + len].fill_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state as f32 / u32::MAX as f32 - 0.5
            });
            let coarser = decimate(&finer, &mut [vec![9.0; 3], Vec::new()]);
            assert_eq!(coarser.len(), len.div_ceil(2) + 2 * PADDING);
            let (before, rest) = coarser.split_at(PADDING);
            let (results, after) = rest.split_at(len.div_ceil(2));
            assert!(before.iter().chain(after).all(|x| *x == 0.0), "something in the padding");
            for (j, result) in results.iter().enumerate() {
                let wanted = decimated(&finer, &filter, j);
                assert!((result - wanted).abs() < 1e-6, "{len} samples, {j}: {result}, not {wanted}");
            }
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
