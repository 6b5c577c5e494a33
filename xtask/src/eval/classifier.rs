//! The judge: a small network that recognises a sound's category from its log-mel spectrogram.
//!
//! It is trained on the real training clips of the data set at hand ([`fit`]) and stands in for
//! Diffsound's Melception, whose weights are not available: its accuracy on real valid clips is the
//! ceiling for generated ones, its penultimate layer gives the features of FID and KID.
//!
//! Windows of 128 frames (1.5 s) become 10 x 32 patches of 8 bands x 4 frames; one ConvNeXt block at
//! width 96, a 2 x 2 reduction, two at width 192; averages over time for each of the 5 remaining
//! frequency rows beside the maxima over time and frequency; 128 features; the categories' logits.
//! A longer clip's features and logits are averaged over windows that cover it. All spectrograms
//! are first shifted to the same loudest value, so that levels play no part.

mod fit;

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use soundlocd_engine::MEL_BANDS;
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::layers::{Depthwise, LayerNorm, Linear, gelu_tanh};

use crate::data::Cache;

/// Frames of a window.
const WINDOW: usize = 128;
/// Bands and frames of a patch.
const PATCH: (usize, usize) = (8, 4);
/// Width before and after the reduction.
const WIDTHS: (usize, usize) = (96, 192);
/// Length of the feature vector.
const FEATURES: usize = 128;
/// Loudest value of a spectrogram after levelling.
const LOUDEST: f32 = 0.8;
/// Windows judged at once; bounds the memory used.
const BATCH: usize = 64;

/// A ConvNeXt block over `[batch, bands, frames, width]`.
struct Block {
    depthwise: Depthwise,
    norm: LayerNorm,
    widen: Linear,
    narrow: Linear,
}

impl Block {
    fn new(width: usize, vs: VarBuilder) -> candle_core::Result<Self> {
        let precision = Precision::fastest();
        Ok(Self {
            depthwise: Depthwise::new(width, (5, 5), vs.pp("depthwise"))?,
            norm: LayerNorm::new(width, 1e-5, vs.pp("norm"))?,
            widen: Linear::new(width, 2 * width, vs.pp("widen"))?.with_precision(precision),
            narrow: Linear::new(2 * width, width, vs.pp("narrow"))?.with_precision(precision),
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let h = self.norm.forward(&self.depthwise.forward(x)?)?;
        x + self.narrow.forward(&gelu_tanh(&self.widen.forward(&h)?)?)?
    }
}

/// The network.
struct Network {
    stem: Linear,
    first: Block,
    norm: LayerNorm,
    reduce: Linear,
    second: Block,
    third: Block,
    pooled_norm: LayerNorm,
    features: Linear,
    head: Linear,
}

impl Network {
    fn new(categories: usize, vs: VarBuilder) -> candle_core::Result<Self> {
        let (narrow, wide) = WIDTHS;
        let pooled = (MEL_BANDS / PATCH.0 / 2 + 1) * wide;
        Ok(Self {
            stem: Linear::new(PATCH.0 * PATCH.1, narrow, vs.pp("stem"))?,
            first: Block::new(narrow, vs.pp("first"))?,
            norm: LayerNorm::new(4 * narrow, 1e-5, vs.pp("norm"))?,
            reduce: Linear::new(4 * narrow, wide, vs.pp("reduce"))?,
            second: Block::new(wide, vs.pp("second"))?,
            third: Block::new(wide, vs.pp("third"))?,
            pooled_norm: LayerNorm::new(pooled, 1e-5, vs.pp("pooled_norm"))?,
            features: Linear::new(pooled, FEATURES, vs.pp("features"))?,
            head: Linear::new(FEATURES, categories, vs.pp("head"))?,
        })
    }

    /// Frame-major windows `[batch, 128, 80]`, values in `[0, 1]`, to features `[batch, 128]`.
    fn features(&self, windows: &Tensor) -> candle_core::Result<Tensor> {
        let (batch, _, _) = windows.dims3()?;
        let (rows, columns) = (MEL_BANDS / PATCH.0, WINDOW / PATCH.1);
        let x = ((windows - 0.4)? * 4.0)?;
        let x = x.reshape((batch, columns, PATCH.1, rows, PATCH.0))?.permute((0, 3, 1, 2, 4))?;
        let x = x.contiguous()?.reshape((batch, rows, columns, PATCH.0 * PATCH.1))?;
        let x = self.first.forward(&self.stem.forward(&x)?)?;

        let x = x.reshape((batch, rows / 2, 2, columns / 2, 2, WIDTHS.0))?.permute([0, 1, 3, 2, 4, 5])?;
        let x = x.contiguous()?.reshape((batch, rows / 2, columns / 2, 4 * WIDTHS.0))?;
        let x = self.reduce.forward(&self.norm.forward(&x)?)?;
        let x = self.third.forward(&self.second.forward(&x)?)?;

        let average = x.mean(2)?.flatten_from(1)?;
        let maximum = x.flatten(1, 2)?.max(1)?;
        let pooled = self.pooled_norm.forward(&Tensor::cat(&[average, maximum], 1)?)?;
        gelu_tanh(&self.features.forward(&pooled)?)
    }
}

/// What the judge thinks of one sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The feature vector.
    pub features: Vec<f32>,
    /// One logit a category.
    pub logits: Vec<f32>,
}

impl Judgement {
    /// Index of the likeliest category.
    pub fn category(&self) -> usize {
        let best = self.logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(index, _)| index)
    }
}

/// A trained classifier.
pub struct Classifier {
    network: Network,
    /// The categories, alphabetic; logits are in this order.
    pub categories: Vec<String>,
    /// The head's bias, for unbiased logits.
    bias: Vec<f32>,
}

impl Classifier {
    /// Loads the classifier that fits `cache` from `folder`, or trains it (minutes) and keeps it
    /// there. Same data, same seed: same classifier.
    pub fn load_or_fit(cache: &Cache, folder: &Path) -> Result<Self> {
        let path = folder.join(format!("classifier-{}.safetensors", fit::fingerprint(cache)));
        if !path.is_file() {
            let weights = fit::fit(cache)?;
            std::fs::create_dir_all(folder)
                .with_context(|| format!("could not make {}", folder.display()))?;
            let partial = path.with_extension("partial");
            candle_core::safetensors::save(&weights, &partial)
                .with_context(|| format!("could not write {}", partial.display()))?;
            std::fs::rename(&partial, &path)?;
        }
        let weights = candle_core::safetensors::load(&path, &Device::Cpu)
            .with_context(|| format!("could not load {}; remove it to train it anew", path.display()))?;
        let categories = cache.categories();
        let vs = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let network = Network::new(categories.len(), vs)
            .with_context(|| format!("{} does not fit; remove it to train it anew", path.display()))?;
        let bias = network.head.bias().map(Tensor::to_vec1).transpose()?.unwrap_or_default();
        Ok(Self { network, categories, bias })
    }

    /// Judges spectrograms, each frame-major `[frames, 80]` with values in `[0, 1]`.
    pub fn judge<'a>(&self, mels: impl IntoIterator<Item = &'a [f32]>) -> Result<Vec<Judgement>> {
        mels.into_iter().map(|mel| self.judge_one(mel)).collect()
    }

    fn judge_one(&self, mel: &[f32]) -> Result<Judgement> {
        let windows = windows(&level(mel));
        let count = windows.len();
        let mut features = vec![0.0; FEATURES];
        for batch in windows.chunks(BATCH) {
            let tensor = Tensor::from_vec(batch.concat(), (batch.len(), WINDOW, MEL_BANDS), &Device::Cpu)?;
            let sum: Vec<f32> = self.network.features(&tensor)?.sum(0)?.to_vec1()?;
            features.iter_mut().zip(sum).for_each(|(total, value)| *total += value / count as f32);
        }
        // The head is linear: the logits of the average are the average of the logits.
        let row = Tensor::from_slice(&features, (1, FEATURES), &Device::Cpu)?;
        let logits = self.network.head.forward(&row)?.i(0)?.to_vec1()?;
        Ok(Judgement { features, logits })
    }

    /// Logits without the head's bias, as the inception score wants them.
    pub fn unbiased(&self, judgement: &Judgement) -> Vec<f32> {
        judgement.logits.iter().zip(&self.bias).map(|(logit, bias)| logit - bias).collect()
    }
}

/// Shifts a spectrogram so that its loudest value is [`LOUDEST`].
fn level(mel: &[f32]) -> Vec<f32> {
    let shift = LOUDEST - mel.iter().copied().fold(0.0, f32::max);
    mel.iter().map(|y| (y + shift).clamp(0.0, 1.0) * f32::from(*y > 0.0)).collect()
}

/// Windows of [`WINDOW`] frames that cover a frame-major spectrogram evenly, overlapping by half
/// or more; a short one is followed by silence.
fn windows(mel: &[f32]) -> Vec<Vec<f32>> {
    let frames = mel.len() / MEL_BANDS;
    let excess = frames.saturating_sub(WINDOW);
    let last = excess.div_ceil(WINDOW / 2);
    (0..=last)
        .map(|i| {
            let start = (i * excess).checked_div(last).unwrap_or(0);
            let end = (start + WINDOW).min(frames);
            let mut window = mel[start * MEL_BANDS..end * MEL_BANDS].to_vec();
            window.resize(WINDOW * MEL_BANDS, 0.0);
            window
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_clips_of_any_length() {
        for frames in [0, 1, 127, 128, 129, 192, 193, 500, 848] {
            let mel: Vec<f32> = (0..frames).flat_map(|f| [f as f32 + 1.0; MEL_BANDS]).collect();
            let windows = windows(&mel);
            assert!(windows.iter().all(|window| window.len() == WINDOW * MEL_BANDS));
            let mut seen: Vec<usize> = windows.iter().flatten().map(|&f| f as usize).collect();
            seen.sort_unstable();
            seen.dedup();
            seen.retain(|&f| f > 0);
            assert_eq!(seen, (1..=frames).collect::<Vec<_>>());
        }
    }

    #[test]
    fn levelling_makes_gain_irrelevant_and_keeps_silence() {
        let quiet = [0.0, 0.2, 0.5];
        let loud = [0.0, 0.4, 0.7];
        for (a, b) in level(&quiet).into_iter().zip(level(&loud)) {
            assert!((a - b).abs() < 1e-6);
        }
        assert_eq!(level(&[0.0; 4]), [0.0; 4]);
    }
}
