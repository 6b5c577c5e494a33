//! The default pack's vocoder, of the Vocos kind (Siuzdak 2023): ConvNeXt blocks at the frame rate
//! predict magnitudes and phases, an inverse STFT makes the waveform.

use super::istft::{BINS, InverseStft};
use crate::MEL_BANDS;
use crate::layers::kernel::Precision;
use crate::layers::{ConvNext, LayerNorm, Linear};
use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Frames that a block sees to each side of its own.
const KERNEL: (usize, usize) = (1, 7);

/// Sizes of the vocoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Width of a frame inside.
    pub width: usize,
    /// Hidden width of the blocks' perceptrons.
    pub hidden: usize,
    /// ConvNeXt blocks.
    pub blocks: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { width: 320, hidden: 960, blocks: 6 }
    }
}

impl Config {
    /// Checks that the sizes make a vocoder of sane size.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> std::result::Result<(), String> {
        let ranges = [
            ("width", self.width, 1..=4096),
            ("hidden", self.hidden, 1..=16_384),
            ("blocks", self.blocks, 0..=64),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(format!("vocoder {name}: expected {range:?}, found {value}"));
            }
        }
        Ok(())
    }
}

/// Spectrogram to waveform at the frame rate.
#[derive(Debug, Clone)]
pub struct Vocos {
    config: Config,
    embed: Linear,
    embed_norm: LayerNorm,
    blocks: Vec<ConvNext>,
    norm: LayerNorm,
    head: Linear,
    istft: InverseStft,
}

impl Vocos {
    /// Loads (or creates, under a `VarMap`) all weights.
    ///
    /// # Errors
    /// When the sizes are out of range or a tensor is missing or of another shape.
    pub fn new(config: &Config, precision: Precision, vs: VarBuilder) -> Result<Self> {
        config.validate().map_err(candle_core::Error::Msg)?;
        let width = config.width;
        let blocks = (0..config.blocks)
            .map(|i| ConvNext::new(width, config.hidden, KERNEL, precision, vs.pp("blocks").pp(i)))
            .collect::<Result<_>>()?;
        Ok(Self {
            config: *config,
            embed: Linear::new(MEL_BANDS, width, vs.pp("embed"))?.with_precision(precision),
            embed_norm: LayerNorm::new(width, 1e-6, vs.pp("embed_norm"))?,
            blocks,
            norm: LayerNorm::new(width, 1e-6, vs.pp("norm"))?,
            head: Linear::new(width, 2 * BINS, vs.pp("head"))?.with_precision(precision),
            istft: InverseStft::new(),
        })
    }

    /// The sizes it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Log-mel spectrogram `[batch, 80, frames]` (y in 0..1, SPEC 1) to waveform `[batch, 256 * frames]`.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn forward(&self, mel: &Tensor) -> Result<Tensor> {
        let (_, bands, _) = mel.dims3()?;
        if bands != MEL_BANDS {
            bail!("vocoder: expected [batch, {MEL_BANDS}, frames], found {:?}", mel.shape());
        }
        // A picture of height 1, channels last; the scale makes the input's spread about 1.
        let frames = ((mel.transpose(1, 2)?.contiguous()? - 0.3)? * 4.0)?.unsqueeze(1)?;
        let mut x = self.embed_norm.forward(&self.embed.forward(&frames)?)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        self.istft.forward(&self.head.forward(&self.norm.forward(&x)?)?.squeeze(1)?)
    }
}
