//! Training the [`Classifier`](super::Classifier).
//!
//! Categories are drawn with the square root of their size, so that the rare ones are heard often
//! without being learned by heart. Each example is a random window of a clip with random speed,
//! gain and band shift, bands and frames blanked (SpecAugment) and, now and then, a second clip
//! mixed in under a mixed label. Everything is drawn from one seed; the averaged weights are kept.

use std::collections::HashMap;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use soundlocd_engine::MEL_BANDS;
use soundlocd_engine::diffusion::Noise;
use soundlocd_engine::layers::log_softmax;
use soundlocd_engine::train::{AdamW, AdamWConfig, initialise};

use super::{FEATURES, Network, WINDOW, level};
use crate::data::{Cache, Split};

/// Goes up when network or training change, so that old files are not used.
const VERSION: u32 = 3;
const SEED: u64 = 7;
const STEPS: usize = 5000;
const BATCH: usize = 32;
const PEAK_RATE: f64 = 3e-3;
const WARM_UP: usize = 60;
/// Probability spread evenly over all categories in every label.
const SMOOTHING: f32 = 0.05;
/// Share of features dropped before the head.
const DROPOUT: f32 = 0.2;

/// Identifies training data and procedure.
pub fn fingerprint(cache: &Cache) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{VERSION} {SEED} {STEPS} {BATCH}"));
    for clip in &cache.clips {
        hash.update(format!("{} {} {:?} {}\n", clip.id, clip.category, clip.split, clip.frames));
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Trains on the train split and returns the averaged weights.
pub fn fit(cache: &Cache) -> Result<HashMap<String, Tensor>> {
    let examples = Examples::new(cache)?;
    let map = VarMap::new();
    let vs = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let network = Network::new(examples.by_category.len(), vs)?;
    initialise(&map, SEED, |_, shape| match shape {
        [inputs, _] => Some((1.0 / *inputs as f32).sqrt()),
        _ => None,
    })?;
    let config = AdamWConfig { beta2: 0.99, weight_decay: 0.05, ema: 0.995, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(&map, config)?;
    let progress = ProgressBar::new(STEPS as u64).with_style(ProgressStyle::with_template(
        "training the classifier {bar:30} {pos}/{len}, {eta} left, loss {msg}",
    )?);
    let mut average = f64::NAN;
    for step in 0..STEPS {
        let loss = examples.loss(&network, step)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        average = if average.is_nan() { value } else { 0.98 * average + 0.02 * value };
        optimizer.step(&loss.backward()?, rate(step))?;
        progress.set_message(format!("{average:.3}"));
        progress.inc(1);
    }
    progress.finish();
    Ok(optimizer.averaged().into_iter().collect())
}

/// Learning rate: a linear rise, then half a cosine down to zero.
fn rate(step: usize) -> f64 {
    let rise = ((step + 1) as f64 / WARM_UP as f64).min(1.0);
    let fall = 0.5 + 0.5 * (std::f64::consts::PI * step as f64 / STEPS as f64).cos();
    PEAK_RATE * rise * fall
}

/// The training clips by category.
struct Examples<'a> {
    cache: &'a Cache,
    /// Train clips of each category.
    by_category: Vec<Vec<usize>>,
    /// Drawing weight of each category.
    weights: Vec<f64>,
}

impl<'a> Examples<'a> {
    fn new(cache: &'a Cache) -> Result<Self> {
        let categories = cache.categories();
        let mut by_category = vec![Vec::new(); categories.len()];
        for clip in cache.indices(Split::Train) {
            if let Ok(category) = categories.binary_search(&cache.clips[clip].category) {
                by_category[category].push(clip);
            }
        }
        let weights: Vec<f64> = by_category.iter().map(|clips| (clips.len() as f64).sqrt()).collect();
        weights.iter().find(|weight| **weight > 0.0).context("the data set has no training clips")?;
        Ok(Self { cache, by_category, weights })
    }

    /// Cross entropy of the batch of `step`.
    fn loss(&self, network: &Network, step: usize) -> Result<Tensor> {
        let classes = self.by_category.len();
        let mut noise = Noise::new(SEED, 1_000 + step as u64);
        let mut windows = Vec::with_capacity(BATCH * WINDOW * MEL_BANDS);
        let mut labels = vec![SMOOTHING / classes as f32; BATCH * classes];
        for label in labels.chunks_exact_mut(classes) {
            let (category, mut window) = self.draw(&mut noise);
            let share = if noise.uniform() < 0.3 { 0.5 * noise.uniform() } else { 0.0 };
            label[category] += (1.0 - SMOOTHING) * (1.0 - share);
            if share > 0.0 {
                let (category, other) = self.draw(&mut noise);
                label[category] += (1.0 - SMOOTHING) * share;
                for (value, other) in window.iter_mut().zip(other) {
                    *value += share * (other - *value);
                }
            }
            windows.extend(window);
        }
        let kept = 1.0 - DROPOUT;
        let mask: Vec<f32> =
            (0..BATCH * FEATURES).map(|_| if noise.uniform() < kept { 1.0 / kept } else { 0.0 }).collect();
        let windows = Tensor::from_vec(windows, (BATCH, WINDOW, MEL_BANDS), &Device::Cpu)?;
        let labels = Tensor::from_vec(labels, (BATCH, classes), &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, (BATCH, FEATURES), &Device::Cpu)?;
        let logits = network.head.forward(&(network.features(&windows)? * mask)?)?;
        Ok(((log_softmax(&logits)? * labels)?.sum_all()? * (-1.0 / BATCH as f64))?)
    }

    /// A category and an augmented window `[128, 80]` of one of its clips.
    fn draw(&self, noise: &mut Noise) -> (usize, Vec<f32>) {
        let category = noise.weighted(&self.weights).unwrap_or_default();
        let clips = &self.by_category[category];
        let mel: Vec<f32> =
            self.cache.mel(clips[noise.below(clips.len())]).iter().map(|y| y.to_f32()).collect();
        (category, augment(&level(&mel), noise))
    }
}

/// A random window `[128, 80]` of a frame-major spectrogram, randomly changed.
fn augment(mel: &[f32], noise: &mut Noise) -> Vec<f32> {
    let frames = mel.len() / MEL_BANDS;
    let speed = 0.85 + 0.3 * noise.uniform();
    let span = (WINDOW as f32 * speed) as usize;
    let start = if frames > span { noise.below(frames - span + 1) } else { 0 };
    // A short clip starts up to 16 frames late.
    let late = if frames > span { 0 } else { noise.below(17) };
    let gain = 0.1 * (noise.uniform() - 0.5);
    let band_shift = noise.below(5) as isize - 2;
    let mut window = vec![0.0; WINDOW * MEL_BANDS];
    for (frame, row) in window.chunks_exact_mut(MEL_BANDS).enumerate().skip(late) {
        let source = start + ((frame - late) as f32 * speed) as usize;
        let Some(values) = mel.chunks_exact(MEL_BANDS).nth(source) else { break };
        for (band, value) in row.iter_mut().enumerate() {
            let source = band.checked_add_signed(band_shift).and_then(|band| values.get(band));
            *value = match source {
                Some(&y) if y > 0.0 => (y + gain).clamp(0.0, 1.0),
                _ => 0.0,
            };
        }
    }
    blank(&mut window, noise);
    window
}

/// SpecAugment: now and then a stripe of bands and one of frames is blanked.
fn blank(window: &mut [f32], noise: &mut Noise) {
    if noise.uniform() < 0.6 {
        let (first, count) = (noise.below(MEL_BANDS), noise.below(13));
        for row in window.chunks_exact_mut(MEL_BANDS) {
            row.iter_mut().skip(first).take(count).for_each(|value| *value = 0.0);
        }
    }
    if noise.uniform() < 0.4 {
        let (first, count) = (noise.below(WINDOW), noise.below(17));
        window.iter_mut().skip(first * MEL_BANDS).take(count * MEL_BANDS).for_each(|value| *value = 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn augmented_windows_keep_size_and_range_for_clips_of_any_length() {
        for frames in [0, 1, 60, 128, 300] {
            let mel = vec![0.6; frames * MEL_BANDS];
            for stream in 0..50 {
                let window = augment(&mel, &mut Noise::new(1, stream));
                assert_eq!(window.len(), WINDOW * MEL_BANDS);
                assert!(window.iter().all(|y| (0.0..=1.0).contains(y)));
            }
        }
    }

    #[test]
    fn the_learning_rate_rises_then_falls_to_nothing() {
        assert!(rate(0) < rate(WARM_UP / 2) && rate(WARM_UP / 2) < rate(WARM_UP));
        assert!(rate(STEPS - 1) < 1e-3 * PEAK_RATE);
    }
}
