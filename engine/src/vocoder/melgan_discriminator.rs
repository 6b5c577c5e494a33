//! MelGAN's adversary: discriminators of the waveform at several rates, and their losses (Kumar et al., 2019).

use super::weight_norm;
use crate::layers::{Conv1d, ConvGeometry, leaky_relu, reflect};
use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Slope of the leaky ReLUs below zero.
const SLOPE: f64 = 0.2;
/// Weight of the feature matching loss beside the adversarial one.
const FEATURE_WEIGHT: f64 = 10.0;

/// Sizes of the discriminators. The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of rates, each half of the one before.
    pub scales: usize,
    /// Channels after the first convolution.
    pub ndf: usize,
    /// Strided convolutions of a discriminator.
    pub layers: usize,
    /// Stride of these convolutions, by which the channels grow as well.
    pub factor: usize,
    /// Most channels a layer has.
    pub max_channels: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { scales: 3, ndf: 16, layers: 4, factor: 4, max_channels: 1024 }
    }
}

/// Discriminators of a waveform at falling rates.
#[derive(Debug, Clone)]
pub struct MelGanDiscriminator {
    scales: Vec<Scale>,
    layers: usize,
}

/// The layers' outputs of each scale, the last one being the logits.
pub type Features = Vec<Vec<Tensor>>;

#[derive(Debug, Clone)]
struct Scale {
    first: Conv1d,
    middle: Vec<Conv1d>,
    last: Conv1d,
}

impl MelGanDiscriminator {
    /// Loads (or creates, under a `VarMap`) all weights: folded (`weight`) or weight-normed (`weight_g`, `weight_v`).
    ///
    /// # Errors
    /// When a size is zero or a tensor is missing or of another shape.
    pub fn new(config: &Config, vs: VarBuilder) -> Result<Self> {
        let Config { scales, ndf, layers, factor, max_channels } = *config;
        if [scales, ndf, layers, factor, max_channels].contains(&0) || ndf < 4 {
            bail!("MelGAN discriminator: sizes are too small: {config:?}");
        }
        let scale = |vs: VarBuilder| {
            let layer = |index: usize| vs.pp(format!("layer_{index}"));
            let plain =
                |kernel: usize, padding: usize| ConvGeometry { padding, ..ConvGeometry::same(kernel) };
            let first = weight_norm::conv1d(1, ndf, plain(15, 0), &layer(0).pp(1))?;
            let mut channels = ndf;
            let mut middle = Vec::new();
            for index in 1..=layers {
                let output = (channels * factor).min(max_channels);
                let geometry = ConvGeometry {
                    kernel: 10 * factor + 1,
                    stride: factor,
                    padding: 5 * factor,
                    dilation: 1,
                    groups: channels / 4,
                };
                middle.push(weight_norm::conv1d(channels, output, geometry, &layer(index).pp(0))?);
                channels = output;
            }
            let output = (channels * 2).min(max_channels);
            middle.push(weight_norm::conv1d(channels, output, plain(5, 2), &layer(layers + 1).pp(0))?);
            let last = weight_norm::conv1d(output, 1, plain(3, 1), &layer(layers + 2))?;
            Ok::<_, candle_core::Error>(Scale { first, middle, last })
        };
        let scales = (0..scales)
            .map(|i| scale(vs.pp("model").pp(format!("disc_{i}")).pp("model")))
            .collect::<Result<_>>()?;
        Ok(Self { scales, layers })
    }

    /// The layers' outputs `[batch, channels, time]` of each scale for waveforms `[batch, 1, samples]`.
    ///
    /// # Errors
    /// When the waveform is too short.
    pub fn forward(&self, wave: &Tensor) -> Result<Features> {
        let mut wave = wave.clone();
        let mut features = Vec::with_capacity(self.scales.len());
        for (i, scale) in self.scales.iter().enumerate() {
            if i > 0 {
                wave = halve(&wave)?;
            }
            features.push(scale.forward(&wave)?);
        }
        Ok(features)
    }

    /// `sum over scales of mean relu(1 - D(real)) + mean relu(1 + D(fake))`.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn discriminator_loss(real: &Features, fake: &Features) -> Result<Tensor> {
        let real = sum_of_logits(real, |logits| (1.0 - logits)?.relu()?.mean_all())?;
        let fake = sum_of_logits(fake, |logits| (logits + 1.0)?.relu()?.mean_all())?;
        real + fake
    }

    /// The generator's adversarial loss, `sum over scales of -mean D(fake)`.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn adversarial_loss(fake: &Features) -> Result<Tensor> {
        sum_of_logits(fake, |logits| logits.mean_all()?.neg())
    }

    /// Feature matching: the mean difference of each layer's output but the logits, `4 / (layers + 1)` times their
    /// sum, averaged over scales.
    ///
    /// # Errors
    /// When the two were made of waveforms of different lengths.
    pub fn feature_loss(&self, real: &Features, fake: &Features) -> Result<Tensor> {
        let weight = 4.0 / (self.layers + 1) as f64 / self.scales.len() as f64;
        let mut terms = Vec::new();
        for (real, fake) in real.iter().zip(fake) {
            let layers = real.len().saturating_sub(1);
            for (real, fake) in real.iter().zip(fake).take(layers) {
                terms.push((fake - real.detach())?.abs()?.mean_all()?);
            }
        }
        Tensor::stack(&terms, 0)?.sum_all()? * weight
    }

    /// The generator's loss: adversarial and ten times feature matching.
    ///
    /// # Errors
    /// When the two were made of waveforms of different lengths.
    pub fn generator_loss(&self, real: &Features, fake: &Features) -> Result<Tensor> {
        Self::adversarial_loss(fake)? + (self.feature_loss(real, fake)? * FEATURE_WEIGHT)?
    }
}

impl Scale {
    fn forward(&self, wave: &Tensor) -> Result<Vec<Tensor>> {
        let mut x = leaky_relu(&self.first.forward(&reflect(wave, 7)?)?, SLOPE)?;
        let mut outputs = vec![x.clone()];
        for conv in &self.middle {
            x = leaky_relu(&conv.forward(&x)?, SLOPE)?;
            outputs.push(x.clone());
        }
        outputs.push(self.last.forward(&x)?);
        Ok(outputs)
    }
}

fn sum_of_logits(features: &Features, term: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let terms = features.iter().filter_map(|scale| scale.last()).map(term).collect::<Result<Vec<_>>>()?;
    Tensor::stack(&terms, 0)?.sum_all()
}

/// Half the rate: the mean of 4 samples every 2, of those that lie inside at the ends.
fn halve(wave: &Tensor) -> Result<Tensor> {
    let (_, channels, time) = wave.dims3()?;
    let geometry = ConvGeometry { kernel: 4, stride: 2, padding: 1, dilation: 1, groups: channels };
    let ones = Tensor::ones((channels, 1, 4), wave.dtype(), wave.device())?;
    let window = Conv1d::from_tensors(ones, None, geometry);
    let counts = window.forward(&Tensor::ones((1, channels, time), wave.dtype(), wave.device())?)?;
    window.forward(wave)?.broadcast_div(&counts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn the_default_is_the_papers_size() {
        let map = candle_nn::VarMap::new();
        let vs = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        MelGanDiscriminator::new(&Config::default(), vs).unwrap();
        let data = map.data().lock().unwrap();
        let gains: usize = data.iter().filter(|(n, _)| n.ends_with("weight")).map(|(_, v)| v.dims()[0]).sum();
        assert_eq!(data.values().map(|v| v.elem_count()).sum::<usize>() + gains, 16_924_086);
    }
}
