//! Which clips a batch is made of, and cuts of their spectrograms.

use crate::data::{Cache, Split};
use soundlocd_engine::diffusion::Noise;
use soundlocd_engine::{FRAMES_PER_COLUMN, MEL_BANDS};
use std::collections::BTreeMap;

/// Draws training clips, rare categories more often than their share.
pub struct Sampler {
    clips: Vec<usize>,
    weights: Vec<f64>,
}

impl Sampler {
    /// Over the clips of `split` that `keep` lets through. A category of n clips is drawn in proportion to
    /// `n^balance` (1: as it comes, 0: all alike), a clip in it in proportion to `duration^length`.
    pub fn new(cache: &Cache, split: Split, balance: f64, length: f64, keep: impl Fn(&str) -> bool) -> Self {
        let clips = cache.indices(split).into_iter().filter(|&i| keep(&cache.clips[i].category)).collect();
        Self::of(cache, clips, balance, length)
    }

    /// Over these clips, likewise.
    pub fn of(cache: &Cache, clips: Vec<usize>, balance: f64, length: f64) -> Self {
        let size = |i: usize| (cache.clips[i].frames as f64).powf(length);
        let mut totals: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for &i in &clips {
            let total = totals.entry(&cache.clips[i].category).or_default();
            total.0 += size(i);
            total.1 += 1.0;
        }
        let weights = clips
            .iter()
            .map(|&i| {
                let (sum, n) = totals[cache.clips[i].category.as_str()];
                size(i) / sum * n.powf(balance)
            })
            .collect();
        Self { clips, weights }
    }

    /// One clip's index.
    pub fn draw(&self, noise: &mut Noise) -> usize {
        noise.weighted(&self.weights).and_then(|i| self.clips.get(i)).copied().unwrap_or_default()
    }

    /// The weight of each of [`Self::clips`].
    pub fn weights(&self) -> impl Iterator<Item = f64> + '_ {
        self.weights.iter().copied()
    }

    /// All clips that can be drawn.
    pub fn clips(&self) -> &[usize] {
        &self.clips
    }
}

/// Cuts `columns` token columns from frame `start` of clip `index`, as `[80, 16 columns]` row-major, y in 0..1,
/// silence where the clip is over, all sounding bins shifted by `gain` (0.01 is 1 dB).
pub fn cut(cache: &Cache, index: usize, start: usize, columns: usize, gain: f32) -> Vec<f32> {
    let frames = columns * FRAMES_PER_COLUMN;
    let mel = cache.mel(index);
    let mut out = vec![0.0; MEL_BANDS * frames];
    for (frame, bands) in mel.chunks_exact(MEL_BANDS).skip(start).take(frames).enumerate() {
        for (band, value) in bands.iter().enumerate() {
            let value = value.to_f32();
            out[band * frames + frame] = if value > 0.0 { (value + gain).clamp(0.0, 1.0) } else { 0.0 };
        }
    }
    out
}

/// A random start for a cut of `columns`: anywhere in a long clip, at most a few frames before a short one's.
pub fn random_start(frames: usize, columns: usize, noise: &mut Noise) -> usize {
    let wanted = columns * FRAMES_PER_COLUMN;
    if frames > wanted {
        noise.below(frames - wanted + 1)
    } else {
        noise.below(frames.min(FRAMES_PER_COLUMN))
    }
}
