//! Spectrogram to sound.

mod istft;
pub mod melgan;
pub mod melgan_discriminator;
pub mod objective;
pub mod vocos;
mod weight_norm;

use crate::layers::kernel::Precision;
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Architecture of a pack's vocoder: `{"kind": "vocos", ...}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum VocoderConfig {
    /// The default pack's: magnitudes and phases, and an inverse STFT.
    Vocos(vocos::Config),
    /// Diffsound's.
    Melgan(melgan::Config),
}

impl VocoderConfig {
    /// Checks that the sizes are sane.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> std::result::Result<(), String> {
        match self {
            Self::Vocos(config) => config.validate(),
            Self::Melgan(config) => config.validate(),
        }
    }
}

/// A vocoder of any kind.
#[derive(Debug, Clone)]
pub enum Vocoder {
    /// The default pack's.
    Vocos(vocos::Vocos),
    /// Diffsound's.
    Melgan(melgan::MelGan),
}

impl Vocoder {
    /// Loads (or creates, under a `VarMap`) all weights.
    ///
    /// # Errors
    /// When the sizes are out of range or a tensor is missing or of another shape.
    pub fn new(config: &VocoderConfig, precision: Precision, vs: VarBuilder) -> Result<Self> {
        Ok(match config {
            VocoderConfig::Vocos(config) => Self::Vocos(vocos::Vocos::new(config, precision, vs)?),
            VocoderConfig::Melgan(config) => Self::Melgan(melgan::MelGan::new(config, precision, vs)?),
        })
    }

    /// Log-mel spectrogram `y` `[batch, 80, frames]`, nominally in 0..1, to waveform `[batch, 256 * frames]`.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn forward(&self, y: &Tensor) -> Result<Tensor> {
        match self {
            // It has heard true spectrograms only, and these are within [0, 1].
            Self::Vocos(vocoder) => vocoder.forward(&y.clamp(0f32, 1f32)?),
            // The reference does not clamp.
            Self::Melgan(vocoder) => vocoder.forward(y),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use candle_nn::VarMap;

    #[test]
    fn every_kind_makes_a_hop_of_samples_a_frame() {
        let melgan = melgan::Config { ngf: 4, residual_layers: 1, ..melgan::Config::default() };
        for config in [VocoderConfig::Vocos(vocos::Config::default()), VocoderConfig::Melgan(melgan)] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<VocoderConfig>(&text).unwrap(), config);
            let map = VarMap::new();
            let vs = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
            let vocoder = Vocoder::new(&config, Precision::F32, vs).unwrap();
            let y = Tensor::rand(0f32, 1f32, (2, 80, 16), &Device::Cpu).unwrap();
            assert_eq!(vocoder.forward(&y).unwrap().dims(), [2, 16 * crate::HOP]);
            assert!(vocoder.forward(&y.narrow(1, 0, 79).unwrap()).is_err());
        }
    }
}
