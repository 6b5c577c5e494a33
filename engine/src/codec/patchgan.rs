//! The codec's adversary: a convolutional discriminator that judges overlapping patches of a
//! spectrogram (Isola et al., 2017), its hinge losses and the weight that VQGAN gives them.

use crate::layers::{Conv2d, ConvGeometry, kernel::Precision, layer_norm, leaky_relu};
use candle_core::{Result, Tensor, Var, bail};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

/// Slope of the leaky ReLUs below zero.
const SLOPE: f64 = 0.2;
/// Added to variances.
const EPSILON: f64 = 1e-5;
/// Share of a new batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// Size of a [`PatchGan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchGanConfig {
    /// Channels of the picture (1 for a spectrogram).
    pub channels: usize,
    /// Channels after the first convolution; they double with each of the following, up to eightfold.
    pub width: usize,
    /// Number of convolutions of stride 2.
    pub layers: usize,
}

impl Default for PatchGanConfig {
    fn default() -> Self {
        Self { channels: 1, width: 64, layers: 3 }
    }
}

/// Discriminator of patches; parameters are named as in VQGAN's `loss.discriminator` (`main.0`, `main.2`, ...).
///
/// 4 x 4 convolutions: `layers` of stride 2, one of stride 1, and one of stride 1 to a single channel; batch norm
/// after all but the first and last, leaky ReLU after all but the last.
#[derive(Debug, Clone)]
pub struct PatchGan {
    first: Conv2d,
    blocks: Vec<(Conv2d, BatchNorm2d)>,
    last: Conv2d,
}

impl PatchGan {
    /// Loads (or creates, under a `VarMap`, weights N(0, 0.02), batch norm N(1, 0.02)) all tensors.
    ///
    /// # Errors
    /// When the configuration holds a zero, or a tensor is missing or of another shape.
    pub fn new(config: &PatchGanConfig, vs: VarBuilder) -> Result<Self> {
        if config.channels == 0 || config.width == 0 || config.layers == 0 {
            bail!("patch discriminator: sizes must not be zero: {config:?}");
        }
        let vs = vs.pp("main");
        let normal = Init::Randn { mean: 0.0, stdev: 0.02 };
        let conv = |input, output, stride, bias: bool, index: usize| {
            let geometry = ConvGeometry { kernel: 4, stride, padding: 1, dilation: 1, groups: 1 };
            let vs = vs.pp(index);
            let weight = vs.get_with_hints((output, input, 4, 4), "weight", normal)?;
            let bias = bias.then(|| vs.get_with_hints(output, "bias", candle_nn::init::ZERO)).transpose()?;
            Ok::<_, candle_core::Error>(Conv2d::from_tensors(weight, bias, geometry))
        };
        let first = conv(config.channels, config.width, 2, true, 0)?;
        let mut blocks = Vec::with_capacity(config.layers);
        let (mut input, mut index) = (config.width, 2);
        for n in 1..=config.layers {
            let output = config.width * (1 << n.min(3));
            let stride = if n < config.layers { 2 } else { 1 };
            let norm = BatchNorm2d::new(output, vs.pp(index + 1))?;
            blocks.push((conv(input, output, stride, false, index)?, norm));
            (input, index) = (output, index + 3);
        }
        Ok(Self { first, blocks, last: conv(input, 1, 1, true, index)? })
    }

    /// The same network, its convolutions computed with `precision`.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.first = self.first.with_precision(precision);
        self.blocks = self.blocks.into_iter().map(|(c, n)| (c.with_precision(precision), n)).collect();
        self.last = self.last.with_precision(precision);
        self
    }

    /// Pictures `[batch, channels, height, width]` to one logit per patch `[batch, 1, h, w]` (positive: real).
    ///
    /// With `train`, batch norm uses the batch's statistics and folds them into the running ones; without, it uses
    /// the running ones.
    ///
    /// # Errors
    /// When the channels disagree or the picture is too small for the convolutions.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = leaky_relu(&self.first.forward(x)?, SLOPE)?;
        for (conv, norm) in &self.blocks {
            x = leaky_relu(&norm.forward(&conv.forward(&x)?, train)?, SLOPE)?;
        }
        self.last.forward(&x)
    }
}

/// Batch normalisation over `[batch, channels, height, width]`, PyTorch's names and momentum.
#[derive(Debug, Clone)]
struct BatchNorm2d {
    weight: Tensor,
    bias: Tensor,
    running_mean: Var,
    running_var: Var,
}

impl BatchNorm2d {
    fn new(channels: usize, vs: VarBuilder) -> Result<Self> {
        // A tensor of a `VarMap` stays that map's variable, so its checkpoints hold the running statistics.
        let variable = |name: &str, init| Var::from_tensor(&vs.get_with_hints(channels, name, init)?);
        Ok(Self {
            weight: vs.get_with_hints(channels, "weight", Init::Randn { mean: 1.0, stdev: 0.02 })?,
            bias: vs.get_with_hints(channels, "bias", candle_nn::init::ZERO)?,
            running_mean: variable("running_mean", candle_nn::init::ZERO)?,
            running_var: variable("running_var", candle_nn::init::ONE)?,
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        if train {
            // Channels first, the norm of a channel is a layer norm of its row.
            let rows = x.transpose(0, 1)?.reshape((channels, batch * height * width))?;
            self.observe(&rows.detach())?;
            return layer_norm(&rows, EPSILON)?
                .broadcast_mul(&self.weight.reshape((channels, 1))?)?
                .broadcast_add(&self.bias.reshape((channels, 1))?)?
                .reshape((channels, batch, height, width))?
                .transpose(0, 1)?
                .contiguous();
        }
        let scale = (&self.weight / (self.running_var.detach() + EPSILON)?.sqrt()?)?;
        let shift = (&self.bias - (self.running_mean.detach() * &scale)?)?;
        let per_channel = (1, channels, 1, 1);
        x.broadcast_mul(&scale.reshape(per_channel)?)?.broadcast_add(&shift.reshape(per_channel)?)
    }

    /// Folds the statistics of `rows` `[channels, n]` into the running ones.
    fn observe(&self, rows: &Tensor) -> Result<()> {
        let n = rows.dim(1)?;
        let mean = rows.mean_keepdim(1)?;
        // Unlike the normalisation itself, the running variance is the unbiased one.
        let variance = (rows.broadcast_sub(&mean)?.sqr()?.sum(1)? / (n.max(2) - 1) as f64)?;
        let fold = |running: &Var, new: Tensor| -> Result<()> {
            running.set(&((running.detach() * (1.0 - MOMENTUM))? + (new.detach() * MOMENTUM)?)?)
        };
        fold(&self.running_mean, mean.flatten_all()?)?;
        fold(&self.running_var, variance)
    }
}

/// The discriminator's hinge loss, `(mean relu(1 - real) + mean relu(1 + fake)) / 2` of its logits.
///
/// # Errors
/// Whatever the backend reports.
pub fn discriminator_loss(real: &Tensor, fake: &Tensor) -> Result<Tensor> {
    let real = (1.0 - real)?.relu()?.mean_all()?;
    let fake = (fake + 1.0)?.relu()?.mean_all()?;
    (real + fake)? * 0.5
}

/// The codec's adversarial loss, `-mean fake`, of the discriminator's logits for its output.
///
/// # Errors
/// Whatever the backend reports.
pub fn generator_loss(fake: &Tensor) -> Result<Tensor> {
    fake.mean_all()?.neg()
}

/// How strongly the adversarial loss pulls, next to the reconstruction loss (Esser et al., 2021, eq. 7).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveWeight {
    /// Smallest ratio of gradients.
    pub min: f64,
    /// Largest ratio of gradients. Diffsound has 1 for both, which makes the weight constant.
    pub max: f64,
    /// What the clamped ratio is multiplied with.
    pub scale: f64,
}

impl AdaptiveWeight {
    /// `scale * clamp(|d reconstruction/d last| / (|d adversarial/d last| + 1e-4), min, max)`, where `last` is the
    /// weight of the decoder's last layer.
    ///
    /// # Errors
    /// When a loss does not depend on `last`.
    pub fn evaluate(&self, reconstruction: &Tensor, adversarial: &Tensor, last: &Tensor) -> Result<f64> {
        if self.min >= self.max {
            return Ok(self.scale * self.max);
        }
        let norm = |loss: &Tensor, name: &str| -> Result<f64> {
            match loss.backward()?.get(last) {
                Some(grad) => Ok(f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt()),
                None => bail!("adaptive weight: the {name} loss does not depend on the last layer"),
            }
        };
        let ratio = norm(reconstruction, "reconstruction")? / (norm(adversarial, "adversarial")? + 1e-4);
        Ok(self.scale * ratio.clamp(self.min, self.max))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn running_statistics_move_a_tenth_towards_the_batch() {
        let norm = BatchNorm2d::new(1, VarBuilder::zeros(DType::F32, &Device::Cpu)).unwrap();
        let x = Tensor::from_vec(vec![1f32, 2.0, 3.0, 6.0], (2, 1, 1, 2), &Device::Cpu).unwrap();
        norm.forward(&x, true).unwrap();
        // Mean 3, unbiased variance (4 + 1 + 0 + 9) / 3; both start from 0.
        assert!((norm.running_mean.to_vec1::<f32>().unwrap()[0] - 0.3).abs() < 1e-6);
        assert!((norm.running_var.to_vec1::<f32>().unwrap()[0] - 1.4 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn the_default_size_has_as_many_parameters_as_pix2pix_reports() {
        let map = candle_nn::VarMap::new();
        let vs = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        PatchGan::new(&PatchGanConfig { channels: 6, ..PatchGanConfig::default() }, vs).unwrap();
        let data = map.data().lock().unwrap();
        let learned = data.iter().filter(|(name, _)| !name.contains("running"));
        // "[Network D] Total number of parameters : 2.769 M", for pairs of RGB pictures.
        assert_eq!((learned.map(|(_, v)| v.elem_count()).sum::<usize>() + 500) / 1000, 2769);
        assert_eq!(data["main.11.weight"].dims(), [1, 512, 4, 4]);
    }
}
