//! The default pack's codec: a VQ-VAE whose encoder and decoder are ConvNeXt blocks on patches.
//!
//! It has the token geometry of the paper's codec (SPEC 2: 80 x 16W mel to a 5 x W grid) at a
//! twentieth of its cost: patches of 4 x 4 at a fine level, of 16 x 16 at the token level.

use crate::layers::kernel::Precision;
use crate::layers::{ConvNext, LayerNorm, Linear, layer_norm};
use crate::{GRID_ROWS, MEL_BANDS};
use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Pixels of a fine patch, per axis.
const FINE: usize = 4;
/// Fine patches of a token, per axis.
const MERGE: usize = 4;

/// Sizes of the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Width at the fine level (4 x 4 patches).
    pub fine_width: usize,
    /// ConvNeXt blocks at the fine level of the encoder.
    pub fine_encoder_blocks: usize,
    /// ConvNeXt blocks at the fine level of the decoder.
    pub fine_decoder_blocks: usize,
    /// Width at the token level.
    pub width: usize,
    /// ConvNeXt blocks at the token level of the encoder.
    pub encoder_blocks: usize,
    /// ConvNeXt blocks at the token level of the decoder.
    pub decoder_blocks: usize,
    /// Width of a codebook entry.
    pub code_width: usize,
    /// Codebook entries (K).
    pub codebook: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fine_width: 64,
            fine_encoder_blocks: 1,
            fine_decoder_blocks: 2,
            width: 288,
            encoder_blocks: 3,
            decoder_blocks: 5,
            code_width: 32,
            codebook: 1024,
        }
    }
}

impl Config {
    /// Checks that the sizes make a codec of sane size.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> std::result::Result<(), String> {
        let ranges = [
            ("fine_width", self.fine_width, 1..=1024),
            ("fine_encoder_blocks", self.fine_encoder_blocks, 0..=16),
            ("fine_decoder_blocks", self.fine_decoder_blocks, 0..=16),
            ("width", self.width, 1..=4096),
            ("encoder_blocks", self.encoder_blocks, 0..=32),
            ("decoder_blocks", self.decoder_blocks, 0..=32),
            ("code_width", self.code_width, 1..=1024),
            ("codebook", self.codebook, 2..=65_536),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(format!("codec {name}: expected {range:?}, found {value}"));
            }
        }
        Ok(())
    }
}

fn blocks(
    count: usize,
    (width, hidden): (usize, usize),
    kernel: (usize, usize),
    precision: Precision,
    vs: VarBuilder,
) -> Result<Vec<ConvNext>> {
    (0..count).map(|i| ConvNext::new(width, hidden, kernel, precision, vs.pp(i))).collect()
}

fn run(blocks: &[ConvNext], x: Tensor) -> Result<Tensor> {
    blocks.iter().try_fold(x, |x, block| block.forward(&x))
}

/// Kernel at the fine level.
const FINE_KERNEL: (usize, usize) = (5, 5);
/// Kernel at the token level: the whole height, and 1.3 s of time.
const TOKEN_KERNEL: (usize, usize) = (5, 7);

/// Encoder, codebook and decoder.
#[derive(Debug, Clone)]
pub struct PatchCodec {
    config: Config,
    stem: Linear,
    fine_encoder: Vec<ConvNext>,
    merge: Linear,
    encoder: Vec<ConvNext>,
    to_code: Linear,
    codebook: Tensor,
    from_code: Linear,
    decoder: Vec<ConvNext>,
    unmerge: Linear,
    fine_decoder: Vec<ConvNext>,
    out_norm: LayerNorm,
    out: Linear,
}

impl PatchCodec {
    /// Loads (or creates, under a `VarMap`) all weights.
    ///
    /// # Errors
    /// When the sizes are out of range or a tensor is missing or of another shape.
    pub fn new(config: &Config, precision: Precision, vs: VarBuilder) -> Result<Self> {
        config.validate().map_err(candle_core::Error::Msg)?;
        let c = *config;
        let linear = |input, output, name: &str| -> Result<Linear> {
            Ok(Linear::new(input, output, vs.pp(name))?.with_precision(precision))
        };
        let merged = MERGE * MERGE * c.fine_width;
        // The fine level has 16 times the cells: a narrower perceptron keeps it affordable.
        let (fine, token) = ((c.fine_width, 2 * c.fine_width), (c.width, 4 * c.width));
        let codes = candle_nn::Init::Randn { mean: 0.0, stdev: 1.0 };
        Ok(Self {
            config: c,
            stem: linear(FINE * FINE, c.fine_width, "encoder.stem")?,
            fine_encoder: blocks(c.fine_encoder_blocks, fine, FINE_KERNEL, precision, vs.pp("encoder.fine"))?,
            merge: linear(merged, c.width, "encoder.merge")?,
            encoder: blocks(c.encoder_blocks, token, TOKEN_KERNEL, precision, vs.pp("encoder.token"))?,
            // The code decides between neighbours: keep it in f32 on every machine.
            to_code: Linear::new(c.width, c.code_width, vs.pp("encoder.to_code"))?,
            codebook: vs.get_with_hints((c.codebook, c.code_width), "quantize.embedding.weight", codes)?,
            from_code: linear(c.code_width, c.width, "decoder.from_code")?,
            decoder: blocks(c.decoder_blocks, token, TOKEN_KERNEL, precision, vs.pp("decoder.token"))?,
            unmerge: linear(c.width, merged, "decoder.unmerge")?,
            fine_decoder: blocks(c.fine_decoder_blocks, fine, FINE_KERNEL, precision, vs.pp("decoder.fine"))?,
            out_norm: LayerNorm::new(c.fine_width, 1e-6, vs.pp("decoder.out_norm"))?,
            out: linear(c.fine_width, FINE * FINE, "decoder.out")?,
        })
    }

    /// The sizes it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The codebook `[codebook, code_width]`, rows of mean 0 and variance 1 like the latents.
    #[must_use]
    pub fn codebook(&self) -> &Tensor {
        &self.codebook
    }

    /// Patches `[batch, 20, 4W, 16]` to latents `[batch, 5, W, code_width]`, each of mean 0 and variance 1.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn latents(&self, patches: &Tensor) -> Result<Tensor> {
        let (batch, rows, cols, _) = patches.dims4()?;
        if rows != GRID_ROWS * MERGE || cols % MERGE != 0 {
            bail!("codec: expected patches [batch, 20, 4W, 16], found {:?}", patches.shape());
        }
        let x = run(&self.fine_encoder, self.stem.forward(patches)?)?;
        let (h, w) = (rows / MERGE, cols / MERGE);
        let x = x
            .reshape(&[batch, h, MERGE, w, MERGE, self.config.fine_width][..])?
            .permute([0, 1, 3, 2, 4, 5].as_slice())?
            .contiguous()?
            .reshape((batch, h, w, MERGE * MERGE * self.config.fine_width))?;
        let x = run(&self.encoder, self.merge.forward(&x)?)?;
        layer_norm(&self.to_code.forward(&x)?, 1e-6)
    }

    /// Codebook vectors `[batch, 5, W, code_width]` to patches `[batch, 20, 4W, 16]` of x = 2y - 1.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn decode_latents(&self, codes: &Tensor) -> Result<Tensor> {
        let (batch, h, w, _) = codes.dims4()?;
        let x = run(&self.decoder, self.from_code.forward(codes)?)?;
        let x = self
            .unmerge
            .forward(&x)?
            .reshape(&[batch, h, w, MERGE, MERGE, self.config.fine_width][..])?
            .permute([0, 1, 3, 2, 4, 5].as_slice())?
            .contiguous()?
            .reshape((batch, h * MERGE, w * MERGE, self.config.fine_width))?;
        let x = run(&self.fine_decoder, x)?;
        self.out.forward(&self.out_norm.forward(&x)?)
    }

    /// Nearest codebook entry of every latent: `[..., code_width]` to u32 of the leading shape.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn quantize(&self, latents: &Tensor) -> Result<Tensor> {
        let mut shape = latents.dims().to_vec();
        shape.pop();
        let z = latents.reshape(((), self.config.code_width))?;
        // |z - e|^2 without the |z|^2 that all entries share.
        let cross = (z.contiguous()?.matmul(&self.codebook.t()?.contiguous()?)? * 2.0)?;
        let distance = self.codebook.sqr()?.sum(1)?.broadcast_sub(&cross)?;
        distance.argmin(candle_core::D::Minus1)?.reshape(shape)
    }

    /// Codec input `[batch, 1, 80, 16W]` (x = 2y - 1) to time-major token ids `[batch, 5W]`.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, _, bands, frames) = x.dims4()?;
        if bands != MEL_BANDS || frames == 0 || frames % (FINE * MERGE) != 0 {
            bail!("codec: expected [batch, 1, 80, 16W], found {:?}", x.shape());
        }
        let ids = self.quantize(&self.latents(&to_patches(x)?)?)?;
        ids.transpose(1, 2)?.contiguous()?.reshape((batch, ()))
    }

    /// Time-major token ids `[batch, 5W]` to the spectrogram `[batch, 1, 80, 16W]` (x = 2y - 1).
    ///
    /// # Errors
    /// When an id is not in the codebook or the count is not a multiple of 5.
    pub fn decode(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, length) = ids.dims2()?;
        if length == 0 || length % GRID_ROWS != 0 {
            bail!("codec: expected 5W tokens, found {length}");
        }
        let codes = self
            .codebook
            .index_select(&ids.flatten_all()?, 0)?
            .reshape((batch, length / GRID_ROWS, GRID_ROWS, ()))?
            .transpose(1, 2)?
            .contiguous()?;
        from_patches(&self.decode_latents(&codes)?)
    }
}

/// `[batch, 1, 80, 16W]` to `[batch, 20, 4W, 16]`.
///
/// # Errors
/// When the picture does not divide into 4 x 4 patches.
pub fn to_patches(x: &Tensor) -> Result<Tensor> {
    let (batch, _, height, width) = x.dims4()?;
    x.reshape((batch, height / FINE, FINE, width / FINE, FINE))?
        .permute([0, 1, 3, 2, 4].as_slice())?
        .contiguous()?
        .reshape((batch, height / FINE, width / FINE, FINE * FINE))
}

/// `[batch, 20, 4W, 16]` to `[batch, 1, 80, 16W]`.
///
/// # Errors
/// When the shape is another.
pub fn from_patches(patches: &Tensor) -> Result<Tensor> {
    let (batch, rows, cols, _) = patches.dims4()?;
    patches
        .reshape((batch, rows, cols, FINE, FINE))?
        .permute([0, 1, 3, 2, 4].as_slice())?
        .contiguous()?
        .reshape((batch, 1, rows * FINE, cols * FINE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{DType, Device};
    use candle_nn::VarMap;

    fn tiny() -> (Config, PatchCodec) {
        let config = Config { fine_width: 8, width: 12, code_width: 4, codebook: 16, ..Config::default() };
        let map = VarMap::new();
        let vs = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        (config, PatchCodec::new(&config, Precision::F32, vs).unwrap())
    }

    #[test]
    fn patches_come_back() {
        let x = Tensor::arange(0.0_f32, 2.0 * 80.0 * 32.0, &Device::Cpu).unwrap();
        let x = x.reshape((2, 1, 80, 32)).unwrap();
        let back = from_patches(&to_patches(&x).unwrap()).unwrap();
        assert_eq!(
            x.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            back.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        );
    }

    #[test]
    fn every_width_encodes_and_decodes() {
        let (_, codec) = tiny();
        for columns in [1, 2, 53] {
            let x = Tensor::zeros((1, 1, 80, 16 * columns), DType::F32, &Device::Cpu).unwrap();
            let ids = codec.encode(&x).unwrap();
            assert_eq!(ids.dims(), [1, 5 * columns]);
            assert_eq!(codec.decode(&ids).unwrap().dims(), [1, 1, 80, 16 * columns]);
        }
        assert!(codec.decode(&Tensor::zeros((1, 7), DType::U32, &Device::Cpu).unwrap()).is_err());
    }

    #[test]
    fn quantize_finds_the_entry_itself() {
        let (config, codec) = tiny();
        let ids = codec.quantize(codec.codebook()).unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(ids, (0..config.codebook as u32).collect::<Vec<_>>());
    }
}
