//! MelGAN, Diffsound's vocoder (Kumar et al., 2019): transposed convolutions from frames to samples.
//!
//! Parameters carry the names of the published checkpoints (`model.1`, `model.4.block.2`, ...).

use super::weight_norm;
use crate::MEL_BANDS;
use crate::layers::kernel::Precision;
use crate::layers::{Activation, Conv1d, ConvGeometry, ConvTranspose1d};
use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Upsampling of each stage; together one hop of 256 samples.
const RATIOS: [usize; 4] = [8, 8, 2, 2];
/// Before every convolution but the first one and the shortcuts.
const ACTIVATION: Activation = Activation::LeakyRelu(0.2);

/// Sizes of the vocoder. The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Mel bands of the spectrogram.
    #[serde(default = "default_bands")]
    pub bands: usize,
    /// Channels of the last stage; each stage before has twice as many.
    pub ngf: usize,
    /// Residual blocks of a stage, with dilations 1, 3, 9, ...
    pub residual_layers: usize,
}

fn default_bands() -> usize {
    MEL_BANDS
}

impl Default for Config {
    fn default() -> Self {
        Self { bands: MEL_BANDS, ngf: 32, residual_layers: 3 }
    }
}

impl Config {
    /// Checks that the sizes make a vocoder of sane size.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> std::result::Result<(), String> {
        for (name, value, range) in [
            ("bands", self.bands, 1..=1024),
            ("ngf", self.ngf, 1..=256),
            ("residual_layers", self.residual_layers, 1..=6),
        ] {
            if !range.contains(&value) {
                return Err(format!("MelGAN vocoder: {name} is {value}, expected {range:?}"));
            }
        }
        Ok(())
    }
}

/// The generator: spectrogram to waveform.
#[derive(Debug, Clone)]
pub struct MelGan {
    config: Config,
    first: Conv1d,
    stages: Vec<Stage>,
    last: Conv1d,
}

/// One upsampling and the residual blocks after it.
#[derive(Debug, Clone)]
struct Stage {
    upsample: ConvTranspose1d,
    residual: Vec<Residual>,
}

impl MelGan {
    /// Loads (or creates, under a `VarMap`) all weights: folded (`weight`) or weight-normed (`weight_g`, `weight_v`).
    ///
    /// # Errors
    /// When the sizes are out of range or a tensor is missing or of another shape.
    pub fn new(config: &Config, precision: Precision, vs: VarBuilder) -> Result<Self> {
        config.validate().map_err(candle_core::Error::Msg)?;
        let vs = vs.pp("model");
        let conv = |input, output, index: usize| {
            let conv = weight_norm::conv1d(input, output, ConvGeometry::same(7), &vs.pp(index))?;
            Ok::<_, candle_core::Error>(conv.with_precision(precision).mirrored())
        };
        let mut channels = config.ngf << RATIOS.len();
        let first = conv(config.bands, channels, 1)?;
        // Indices count PyTorch's list: padding and convolution come first, an activation before each upsampling.
        let mut index = 3;
        let mut stages = Vec::with_capacity(RATIOS.len());
        for ratio in RATIOS {
            let geometry = ConvGeometry {
                kernel: 2 * ratio,
                stride: ratio,
                padding: ratio / 2 + ratio % 2,
                dilation: 1,
                groups: 1,
            };
            let shape = (channels, channels / 2, 2 * ratio);
            let (weight, bias) = weight_norm::load(shape, channels / 2, &vs.pp(index))?;
            let upsample = ConvTranspose1d::from_tensors(weight, Some(bias), geometry, ratio % 2);
            channels /= 2;
            let residual = (0..config.residual_layers)
                .map(|i| Residual::new(channels, 3usize.pow(i as u32), precision, &vs.pp(index + 1 + i)))
                .collect::<Result<_>>()?;
            stages.push(Stage { upsample: upsample.with_precision(precision), residual });
            index += config.residual_layers + 2;
        }
        // Here the activation and the padding come before the convolution.
        Ok(Self { config: *config, first, stages, last: conv(channels, 1, index + 1)? })
    }

    /// The sizes it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Log-mel spectrogram `[batch, bands, frames]` (y in 0..1) to waveform `[batch, 256 * frames]`.
    ///
    /// # Errors
    /// When the shape is another, or there are fewer than 4 frames.
    pub fn forward(&self, mel: &Tensor) -> Result<Tensor> {
        let (_, bands, frames) = mel.dims3()?;
        if bands != self.config.bands || frames < 4 {
            let expected = self.config.bands;
            bail!("vocoder: expected [batch, {expected}, 4 or more frames], found {:?}", mel.shape());
        }
        let mut x = self.first.forward(mel)?;
        for stage in &self.stages {
            x = stage.upsample.forward_fused(&x, ACTIVATION)?;
            for block in &stage.residual {
                x = block.forward(&x)?;
            }
        }
        self.last.forward_fused(&x, ACTIVATION, None)?.tanh()?.squeeze(1)
    }
}

/// A dilated and a pointwise convolution beside a pointwise shortcut.
#[derive(Debug, Clone)]
struct Residual {
    dilated: Conv1d,
    pointwise: Conv1d,
    shortcut: Conv1d,
}

impl Residual {
    fn new(channels: usize, dilation: usize, precision: Precision, vs: &VarBuilder) -> Result<Self> {
        let conv = |kernel: usize, dilation: usize, vs: VarBuilder| {
            let padding = dilation * (kernel / 2);
            let geometry = ConvGeometry { kernel, stride: 1, padding, dilation, groups: 1 };
            let conv = weight_norm::conv1d(channels, channels, geometry, &vs)?;
            Ok::<_, candle_core::Error>(conv.with_precision(precision).mirrored())
        };
        Ok(Self {
            dilated: conv(3, dilation, vs.pp("block").pp(2))?,
            pointwise: conv(1, 1, vs.pp("block").pp(4))?,
            shortcut: conv(1, 1, vs.pp("shortcut"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.dilated.forward_fused(x, ACTIVATION, None)?;
        self.pointwise.forward_fused(&h, ACTIVATION, Some(&self.shortcut.forward(x)?))
    }
}

#[path = "melgan_parity.rs"]
pub(crate) mod parity;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use std::collections::HashMap;

    fn fixture() -> HashMap<String, Tensor> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/melgan.safetensors");
        candle_core::safetensors::load(path, &Device::Cpu).unwrap()
    }

    fn generator(tensors: HashMap<String, Tensor>) -> MelGan {
        let vs = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu).pp("w");
        MelGan::new(&Config { ngf: 8, ..Config::default() }, Precision::F32, vs).unwrap()
    }

    fn assert_close(name: &str, got: &Tensor, want: &Tensor) {
        assert_eq!(got.dims(), want.dims(), "{name}");
        let difference = (got - want).unwrap().abs().unwrap().flatten_all().unwrap();
        let difference = difference.max(0).unwrap().to_scalar::<f32>().unwrap();
        assert!(difference <= 1e-4, "{name} differs by {difference}");
    }

    #[test]
    fn folded_weights_give_the_same_sound() {
        let mut tensors = fixture();
        let want = tensors["wav"].squeeze(1).unwrap();
        let names: Vec<String> =
            tensors.keys().filter_map(|n| n.strip_suffix("_g").map(String::from)).collect();
        for name in names {
            let (g, v) = (&tensors[&format!("{name}_g")], &tensors[&format!("{name}_v")]);
            let folded = weight_norm::fold(g, v).unwrap();
            tensors.retain(|n, _| *n != format!("{name}_g") && *n != format!("{name}_v"));
            tensors.insert(name, folded);
        }
        let mel = tensors["mel"].clone();
        assert_close("wav", &generator(tensors).forward(&mel).unwrap(), &want);
    }

    #[test]
    fn the_default_is_the_papers_size() {
        let map = candle_nn::VarMap::new();
        let vs = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        MelGan::new(&Config::default(), Precision::F32, vs).unwrap();
        let data = map.data().lock().unwrap();
        // The published count holds one gain for each first-axis entry of a weight as well.
        let gains: usize = data.iter().filter(|(n, _)| n.ends_with("weight")).map(|(_, v)| v.dims()[0]).sum();
        assert_eq!(data.values().map(|v| v.elem_count()).sum::<usize>() + gains, 4_266_050);
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let generator = generator(fixture());
        let mel = |bands: usize, frames: usize| {
            Tensor::zeros((1, bands, frames), DType::F32, &Device::Cpu).unwrap()
        };
        assert!(generator.forward(&mel(79, 16)).is_err());
        assert!(generator.forward(&mel(80, 3)).is_err());
        assert!(generator.forward(&mel(80, 4)).is_ok());
    }
}
