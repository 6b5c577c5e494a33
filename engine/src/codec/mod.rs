//! Sound to spectrogram to tokens, and back to a spectrogram.

mod bands;
pub mod codebook;
pub mod mel;
pub mod objective;
pub mod patch;
pub mod patchgan;
pub mod quantizer;
pub mod vqgan;

use crate::layers::kernel::Precision;
use crate::{FRAMES_PER_COLUMN, GRID_ROWS, MEL_BANDS};
use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Architecture of a pack's codec: `{"kind": "patch", ...}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CodecConfig {
    /// The default pack's, of ConvNeXt blocks on patches.
    Patch(patch::Config),
    /// Diffsound's.
    Vqgan(vqgan::Config),
}

impl CodecConfig {
    /// Checks that the sizes are sane.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> std::result::Result<(), String> {
        match self {
            Self::Patch(config) => config.validate(),
            Self::Vqgan(config) => config.validate(),
        }
    }

    /// Checks that it can decode grids of `rows` rows.
    ///
    /// # Errors
    /// Says how many rows it can decode.
    pub fn validate_rows(&self, rows: usize) -> std::result::Result<(), String> {
        let possible = match self {
            Self::Patch(_) => GRID_ROWS..=GRID_ROWS,
            Self::Vqgan(config) => 1..=MEL_BANDS / config.downsampling(),
        };
        if possible.contains(&rows) {
            return Ok(());
        }
        Err(format!("the codec decodes grids of {possible:?} rows, not of {rows}"))
    }

    /// Spectrogram frames of a column of tokens.
    #[must_use]
    pub fn frames_per_column(&self) -> usize {
        match self {
            Self::Patch(_) => FRAMES_PER_COLUMN,
            Self::Vqgan(config) => config.downsampling(),
        }
    }

    /// Entries of its codebook (K).
    #[must_use]
    pub fn codebook(&self) -> usize {
        match self {
            Self::Patch(config) => config.codebook,
            Self::Vqgan(config) => config.n_embed,
        }
    }
}

/// A codec of any kind: spectrograms `y` (nominally in 0..1), `[batch, 80, 16W]`, to tokens `[batch, 5W]` and back.
///
/// The 16 frames of a column and the 5 rows of the grid are the default pack's and Diffsound's; a codec of another size
/// has other [frames](Self::frames_per_column) and [rows](Self::rows), but the 80 bands always.
#[derive(Debug, Clone)]
// A handful of codecs exist in a process: a box would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Codec {
    /// The default pack's.
    Patch(patch::PatchCodec),
    /// Diffsound's.
    Vqgan {
        /// The network.
        network: vqgan::Vqgan,
        /// Rows of its token grids.
        rows: usize,
    },
}

impl Codec {
    /// Loads (or creates, under a `VarMap`) all weights, for token grids of `rows` rows.
    ///
    /// # Errors
    /// When the sizes are out of range or a tensor is missing or of another shape.
    pub fn new(config: &CodecConfig, rows: usize, precision: Precision, vs: VarBuilder) -> Result<Self> {
        config.validate().and_then(|()| config.validate_rows(rows)).map_err(candle_core::Error::Msg)?;
        Ok(match config {
            CodecConfig::Patch(config) => Self::Patch(patch::PatchCodec::new(config, precision, vs)?),
            CodecConfig::Vqgan(config) => {
                Self::Vqgan { network: vqgan::Vqgan::new(config, precision, vs)?, rows }
            }
        })
    }

    /// Spectrogram frames of a column of tokens.
    #[must_use]
    pub fn frames_per_column(&self) -> usize {
        match self {
            Self::Patch(_) => FRAMES_PER_COLUMN,
            Self::Vqgan { network, .. } => network.config().downsampling(),
        }
    }

    /// Rows of its token grids.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Patch(_) => GRID_ROWS,
            Self::Vqgan { rows, .. } => *rows,
        }
    }

    /// Spectrograms `y` `[batch, 80, 16W]`, nominally in 0..1, to time-major token ids, u32 `[batch, 5W]`.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn encode(&self, y: &Tensor) -> Result<Tensor> {
        let (_, bands, frames) = y.dims3()?;
        let column = self.frames_per_column();
        if bands != MEL_BANDS || frames == 0 || !frames.is_multiple_of(column) {
            bail!("codec: expected a spectrogram [batch, {MEL_BANDS}, {column} W], found {:?}", y.shape());
        }
        let x = |y: &Tensor| ((y * 2.0)? - 1.0)?.unsqueeze(1);
        match self {
            Self::Patch(codec) => codec.encode(&x(y)?),
            Self::Vqgan { network, rows } => network.encode(&x(&bands::resample(y, rows * column)?)?),
        }
    }

    /// Time-major token ids, u32 `[batch, 5W]`, to spectrograms `y` `[batch, 80, 16W]`, not clamped.
    ///
    /// # Errors
    /// When an id is not in the codebook or the count is not a multiple of the rows.
    pub fn decode(&self, ids: &Tensor) -> Result<Tensor> {
        let x = match self {
            Self::Patch(codec) => codec.decode(ids)?,
            Self::Vqgan { network, rows } => network.decode(ids, *rows)?,
        };
        bands::resample(&((x + 1.0)? * 0.5)?.squeeze(1)?, MEL_BANDS)
    }

    /// The codebook `[K, width]`.
    #[must_use]
    pub fn codebook(&self) -> &Tensor {
        match self {
            Self::Patch(codec) => codec.codebook(),
            Self::Vqgan { network, .. } => network.codebook(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use candle_nn::VarMap;

    fn small() -> vqgan::Config {
        vqgan::Config {
            ch: 32,
            ch_mult: vec![1; 5],
            num_res_blocks: 1,
            z_channels: 8,
            embed_dim: 8,
            n_embed: 16,
            ..vqgan::Config::default()
        }
    }

    #[test]
    fn every_kind_has_the_same_shapes() {
        for config in [CodecConfig::Patch(patch::Config::default()), CodecConfig::Vqgan(small())] {
            let map = VarMap::new();
            let vs = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
            let codec = Codec::new(&config, GRID_ROWS, Precision::F32, vs).unwrap();
            let y = Tensor::rand(0f32, 1f32, (2, 80, 32), &Device::Cpu).unwrap();
            let ids = codec.encode(&y).unwrap();
            assert_eq!((ids.dims(), ids.dtype()), (&[2, 10][..], DType::U32));
            let decoded = codec.decode(&ids).unwrap();
            assert_eq!(decoded.dims(), [2, 80, 32]);
            assert_eq!(codec.codebook().dim(0).unwrap(), config.codebook());
            assert!(codec.encode(&y.narrow(2, 0, 31).unwrap()).is_err());
            assert!(codec.decode(&ids.narrow(1, 0, 9).unwrap()).is_err());
        }
    }

    #[test]
    fn configurations_are_tagged_by_kind() {
        let config = CodecConfig::Vqgan(vqgan::Config::default());
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.starts_with(r#"{"kind":"vqgan","#), "{text}");
        assert_eq!(serde_json::from_str::<CodecConfig>(&text).unwrap(), config);
        assert!(serde_json::from_str::<CodecConfig>(r#"{"kind":"tape"}"#).is_err());
    }

    #[test]
    fn small_cells_make_small_grids_of_full_spectrograms() {
        // Cells of 2 x 2: four rows are eight bands.
        let config = CodecConfig::Vqgan(vqgan::Config { ch_mult: vec![1, 1], ..small() });
        let vs = VarBuilder::zeros(DType::F32, &Device::Cpu);
        let codec = Codec::new(&config, 4, Precision::F32, vs.clone()).unwrap();
        assert_eq!((codec.frames_per_column(), codec.rows()), (2, 4));
        let y = Tensor::rand(0f32, 1f32, (1, 80, 6), &Device::Cpu).unwrap();
        let ids = codec.encode(&y).unwrap();
        assert_eq!(ids.dims(), [1, 12]);
        assert_eq!(codec.decode(&ids).unwrap().dims(), [1, 80, 6]);
        // 41 rows would be 82 bands.
        assert!(Codec::new(&config, 41, Precision::F32, vs.clone()).is_err());
        let patches = CodecConfig::Patch(patch::Config::default());
        assert!(Codec::new(&patches, 4, Precision::F32, vs).is_err());
    }
}
