//! Diffsound's codec: the VQGAN autoencoder (Esser et al., 2021) on spectrograms.
//!
//! Parameters carry the names of the published checkpoints (`encoder.down.0.block.0.conv1`, ...).
//! In the paper's size a spectrogram `[80, 848]` becomes 5 x 53 tokens.

use super::quantizer::{BetaTerm, Quantized, Quantizer, QuantizerConfig};
use crate::layers::kernel::Precision;
use crate::layers::{Activation, Conv2d, ConvGeometry, GroupNorm, attention};
use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Groups of every normalisation.
const NORM_GROUPS: usize = 32;
/// Added to variances.
const EPSILON: f64 = 1e-6;

/// Sizes of the codec. The default is the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Channels at full resolution.
    pub ch: usize,
    /// Channels of each level, in multiples of `ch`; every level but the last halves the resolution.
    pub ch_mult: Vec<usize>,
    /// Residual blocks of a level in the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Width of the spectrogram that `attention` refers to.
    pub resolution: usize,
    /// Widths at which a level has attention.
    pub attention: Vec<usize>,
    /// Channels between encoder and quantizer.
    pub z_channels: usize,
    /// Width of a codebook entry.
    pub embed_dim: usize,
    /// Codebook entries (K).
    pub n_embed: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ch: 128,
            ch_mult: vec![1, 1, 2, 2, 4],
            num_res_blocks: 2,
            resolution: 848,
            attention: vec![53],
            z_channels: 256,
            embed_dim: 256,
            n_embed: 256,
        }
    }
}

impl Config {
    /// Checks that the sizes make a codec of sane size.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> std::result::Result<(), String> {
        let largest = self.ch_mult.iter().copied().max().unwrap_or(0);
        let ranges = [
            ("ch", self.ch, 1..=1024),
            ("number of levels (ch_mult)", self.ch_mult.len(), 1..=8),
            ("largest ch_mult", largest, 1..=16),
            ("smallest ch_mult", self.ch_mult.iter().copied().min().unwrap_or(0), 1..=16),
            ("num_res_blocks", self.num_res_blocks, 1..=16),
            ("number of attention widths", self.attention.len(), 0..=8),
            ("z_channels", self.z_channels, 1..=4096),
            ("embed_dim", self.embed_dim, 1..=4096),
            ("n_embed", self.n_embed, 1..=65_536),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(format!("VQGAN codec: {name} is {value}, expected {range:?}"));
            }
        }
        if !self.ch.is_multiple_of(NORM_GROUPS) {
            return Err(format!("VQGAN codec: ch is {}, expected a multiple of {NORM_GROUPS}", self.ch));
        }
        Ok(())
    }

    /// By how much the token grid is coarser than the spectrogram, per axis.
    #[must_use]
    pub fn downsampling(&self) -> usize {
        1 << (self.ch_mult.len().max(1) - 1)
    }

    /// Channels of a level.
    fn channels(&self, level: usize) -> usize {
        self.ch * self.ch_mult.get(level).copied().unwrap_or(1)
    }

    fn has_attention(&self, level: usize) -> bool {
        self.attention.contains(&(self.resolution >> level))
    }

    fn top(&self) -> usize {
        self.channels(self.ch_mult.len().saturating_sub(1))
    }
}

/// Encoder, quantizer and decoder.
#[derive(Debug, Clone)]
pub struct Vqgan {
    config: Config,
    encoder: Encoder,
    quant_conv: Conv2d,
    quantizer: Quantizer,
    post_quant_conv: Conv2d,
    decoder: Decoder,
}

impl Vqgan {
    /// Loads (or creates, under a `VarMap`) all weights.
    ///
    /// # Errors
    /// When the sizes are out of range or a tensor is missing or of another shape.
    pub fn new(config: &Config, precision: Precision, vs: VarBuilder) -> Result<Self> {
        config.validate().map_err(candle_core::Error::Msg)?;
        let (z, embed) = (config.z_channels, config.embed_dim);
        // The published loss weighs the codebook term, not the commitment.
        let quantizer = QuantizerConfig {
            entries: config.n_embed,
            dim: embed,
            beta: 0.25,
            beta_term: BetaTerm::Codebook,
        };
        Ok(Self {
            encoder: Encoder::new(config, precision, &vs.pp("encoder"))?,
            quant_conv: conv(1, z, embed, precision, vs.pp("quant_conv"))?,
            quantizer: Quantizer::new(&quantizer, vs.pp("quantize"))?,
            post_quant_conv: conv(1, embed, z, precision, vs.pp("post_quant_conv"))?,
            decoder: Decoder::new(config, precision, &vs.pp("decoder"))?,
            config: config.clone(),
        })
    }

    /// The sizes it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The codebook `[n_embed, embed_dim]`.
    #[must_use]
    pub fn codebook(&self) -> &Tensor {
        self.quantizer.codebook()
    }

    /// The weight of the decoder's last layer, to which adversarial training adapts its loss; `None` if it is frozen.
    #[must_use]
    pub fn last_layer(&self) -> Option<&Tensor> {
        self.decoder.conv_out.weight()
    }

    /// Spectrograms `[batch, 1, 16h, 16w]` (x = 2y - 1; 16 being the downsampling) to what is quantized,
    /// `[batch, embed_dim, h, w]`.
    ///
    /// # Errors
    /// When the picture does not divide into whole cells.
    pub fn latents(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let cell = self.config.downsampling();
        if height == 0 || width == 0 || height % cell != 0 || width % cell != 0 {
            bail!("codec: expected a spectrogram in cells of {cell} x {cell}, found {:?}", x.shape());
        }
        self.quant_conv.forward(&self.encoder.forward(x)?)
    }

    /// Quantizes latents `[batch, embed_dim, h, w]` for training. Ids are row-major `[batch * h * w]`, vectors
    /// `[batch, embed_dim, h, w]`.
    ///
    /// # Errors
    /// When the channels disagree.
    pub fn quantize(&self, latents: &Tensor) -> Result<Quantized> {
        let (batch, channels, height, width) = latents.dims4()?;
        let rows = latents.permute((0, 2, 3, 1))?.reshape((batch * height * width, channels))?;
        let mut quantized = self.quantizer.forward(&rows)?;
        let vectors = quantized.vectors.reshape((batch, height, width, channels))?;
        quantized.vectors = vectors.permute((0, 3, 1, 2))?.contiguous()?;
        Ok(quantized)
    }

    /// Codebook vectors `[batch, embed_dim, h, w]` to spectrograms `[batch, 1, 16h, 16w]`, unbounded.
    ///
    /// # Errors
    /// When the channels disagree.
    pub fn decode_latents(&self, vectors: &Tensor) -> Result<Tensor> {
        self.decoder.forward(&self.post_quant_conv.forward(vectors)?)
    }

    /// Spectrograms `[batch, 1, 16h, 16w]` (x = 2y - 1) to time-major token ids, u32 `[batch, h * w]`.
    ///
    /// # Errors
    /// When the picture does not divide into whole cells.
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        // Width before height: the order of the rows is the order of the tokens.
        let latents = self.latents(x)?.permute((0, 3, 2, 1))?;
        let (batch, width, height, channels) = latents.dims4()?;
        let ids = self.quantizer.encode(&latents.reshape(((), channels))?)?;
        ids.reshape((batch, width * height))
    }

    /// Time-major token ids, u32 `[batch, rows * w]`, to spectrograms `[batch, 1, 16 * rows, 16w]` (x = 2y - 1),
    /// unbounded.
    ///
    /// # Errors
    /// When the count is not a multiple of `rows`, or an id is not in the codebook.
    pub fn decode(&self, ids: &Tensor, rows: usize) -> Result<Tensor> {
        let (batch, length) = ids.dims2()?;
        if rows == 0 || length == 0 || length % rows != 0 {
            bail!("codec: expected a multiple of {rows} tokens, found {length}");
        }
        let vectors = self.quantizer.lookup(ids)?.reshape((batch, length / rows, rows, ()))?;
        self.decode_latents(&vectors.permute((0, 3, 2, 1))?.contiguous()?)
    }
}

fn conv(kernel: usize, input: usize, output: usize, precision: Precision, vs: VarBuilder) -> Result<Conv2d> {
    Ok(Conv2d::new(input, output, ConvGeometry::same(kernel), vs)?.with_precision(precision))
}

fn norm(channels: usize, vs: VarBuilder) -> Result<GroupNorm> {
    GroupNorm::new(NORM_GROUPS, channels, EPSILON, vs)
}

/// Two 3 x 3 convolutions, each after norm and SiLU, beside a shortcut.
#[derive(Debug, Clone)]
struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResBlock {
    fn new(input: usize, output: usize, precision: Precision, vs: VarBuilder) -> Result<Self> {
        let shortcut = (input != output).then(|| conv(1, input, output, precision, vs.pp("nin_shortcut")));
        Ok(Self {
            norm1: norm(input, vs.pp("norm1"))?,
            conv1: conv(3, input, output, precision, vs.pp("conv1"))?,
            norm2: norm(output, vs.pp("norm2"))?,
            conv2: conv(3, output, output, precision, vs.pp("conv2"))?,
            shortcut: shortcut.transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.conv1.forward_fused(x, Activation::NormSilu(&self.norm1), None)?;
        let shortcut = self.shortcut.as_ref().map(|shortcut| shortcut.forward(x)).transpose()?;
        self.conv2.forward_fused(&h, Activation::NormSilu(&self.norm2), Some(shortcut.as_ref().unwrap_or(x)))
    }
}

/// Self-attention of one head over all positions, with 1 x 1 convolutions as projections.
#[derive(Debug, Clone)]
struct AttnBlock {
    norm: GroupNorm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    proj_out: Conv2d,
}

impl AttnBlock {
    fn new(channels: usize, precision: Precision, vs: VarBuilder) -> Result<Self> {
        let project = |name: &str| conv(1, channels, channels, precision, vs.pp(name));
        Ok(Self {
            norm: norm(channels, vs.pp("norm"))?,
            q: project("q")?,
            k: project("k")?,
            v: project("v")?,
            proj_out: project("proj_out")?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.norm.forward(x)?;
        let positions = |conv: &Conv2d| conv.forward(&h)?.flatten_from(2)?.transpose(1, 2)?.contiguous();
        let h = attention(&positions(&self.q)?, &positions(&self.k)?, &positions(&self.v)?, 1, None)?;
        let h = h.transpose(1, 2)?.contiguous()?.reshape(x.shape())?;
        self.proj_out.forward_fused(&h, Activation::None, Some(x))
    }
}

/// Residual blocks of one resolution, each followed by attention where the level has it, and the change of
/// resolution after them.
#[derive(Debug, Clone)]
struct Level {
    blocks: Vec<ResBlock>,
    attention: Vec<AttnBlock>,
    resample: Option<Conv2d>,
}

impl Level {
    fn blocks(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x)?;
            if let Some(attention) = self.attention.get(i) {
                x = attention.forward(&x)?;
            }
        }
        Ok(x)
    }
}

/// Residual block, attention, residual block at the coarsest resolution.
#[derive(Debug, Clone)]
struct Middle {
    block_1: ResBlock,
    attn_1: AttnBlock,
    block_2: ResBlock,
}

impl Middle {
    fn new(channels: usize, precision: Precision, vs: VarBuilder) -> Result<Self> {
        Ok(Self {
            block_1: ResBlock::new(channels, channels, precision, vs.pp("block_1"))?,
            attn_1: AttnBlock::new(channels, precision, vs.pp("attn_1"))?,
            block_2: ResBlock::new(channels, channels, precision, vs.pp("block_2"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.block_2.forward(&self.attn_1.forward(&self.block_1.forward(x)?)?)
    }
}

#[derive(Debug, Clone)]
struct Encoder {
    conv_in: Conv2d,
    down: Vec<Level>,
    mid: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    fn new(config: &Config, precision: Precision, vs: &VarBuilder) -> Result<Self> {
        let levels = config.ch_mult.len();
        let mut input = config.ch;
        let mut down = Vec::with_capacity(levels);
        for level in 0..levels {
            let vs = vs.pp("down").pp(level);
            let output = config.channels(level);
            let mut blocks = Vec::with_capacity(config.num_res_blocks);
            let mut attention = Vec::new();
            for i in 0..config.num_res_blocks {
                blocks.push(ResBlock::new(input, output, precision, vs.pp("block").pp(i))?);
                if config.has_attention(level) {
                    attention.push(AttnBlock::new(output, precision, vs.pp("attn").pp(i))?);
                }
                input = output;
            }
            let halve = || {
                let geometry = ConvGeometry { kernel: 3, stride: 2, padding: 0, dilation: 1, groups: 1 };
                let conv = Conv2d::new(output, output, geometry, vs.pp("downsample").pp("conv"))?;
                Ok::<_, candle_core::Error>(conv.with_precision(precision))
            };
            let resample = (level + 1 < levels).then(halve).transpose()?;
            down.push(Level { blocks, attention, resample });
        }
        let top = config.top();
        Ok(Self {
            conv_in: conv(3, 1, config.ch, precision, vs.pp("conv_in"))?,
            down,
            mid: Middle::new(top, precision, vs.pp("mid"))?,
            norm_out: norm(top, vs.pp("norm_out"))?,
            conv_out: conv(3, top, config.z_channels, precision, vs.pp("conv_out"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(x)?;
        for level in &self.down {
            x = level.blocks(&x)?;
            if let Some(conv) = &level.resample {
                x = halve(&x, conv)?;
            }
        }
        let x = self.mid.forward(&x)?;
        self.conv_out.forward_fused(&x, Activation::NormSilu(&self.norm_out), None)
    }
}

/// Padding on the right and at the bottom alone, then a convolution of stride 2.
fn halve(x: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    conv.forward(&x.pad_with_zeros(3, 0, 1)?.pad_with_zeros(2, 0, 1)?)
}

#[derive(Debug, Clone)]
struct Decoder {
    conv_in: Conv2d,
    mid: Middle,
    /// Finest level first, as the names count them; they run from the last to the first.
    up: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    fn new(config: &Config, precision: Precision, vs: &VarBuilder) -> Result<Self> {
        let top = config.top();
        let mut input = top;
        let mut up = Vec::with_capacity(config.ch_mult.len());
        for level in (0..config.ch_mult.len()).rev() {
            let vs = vs.pp("up").pp(level);
            let output = config.channels(level);
            let mut blocks = Vec::with_capacity(config.num_res_blocks + 1);
            let mut attention = Vec::new();
            for i in 0..=config.num_res_blocks {
                blocks.push(ResBlock::new(input, output, precision, vs.pp("block").pp(i))?);
                if config.has_attention(level) {
                    attention.push(AttnBlock::new(output, precision, vs.pp("attn").pp(i))?);
                }
                input = output;
            }
            let double = || conv(3, output, output, precision, vs.pp("upsample").pp("conv"));
            let resample = (level > 0).then(double).transpose()?;
            up.push(Level { blocks, attention, resample });
        }
        up.reverse();
        Ok(Self {
            conv_in: conv(3, config.z_channels, top, precision, vs.pp("conv_in"))?,
            mid: Middle::new(top, precision, vs.pp("mid"))?,
            up,
            norm_out: norm(input, vs.pp("norm_out"))?,
            conv_out: conv(3, input, 1, precision, vs.pp("conv_out"))?,
        })
    }

    fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let mut x = self.mid.forward(&self.conv_in.forward(z)?)?;
        for level in self.up.iter().rev() {
            x = level.blocks(&x)?;
            if let Some(conv) = &level.resample {
                x = double(&x, conv)?;
            }
        }
        self.conv_out.forward_fused(&x, Activation::NormSilu(&self.norm_out), None)
    }
}

/// Every cell twice along both axes, then a convolution.
fn double(x: &Tensor, conv: &Conv2d) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    conv.forward(&x.upsample_nearest2d(2 * height, 2 * width)?)
}

#[path = "vqgan_parity.rs"]
pub(crate) mod parity;

#[cfg(test)]
#[path = "vqgan_tests.rs"]
mod tests;
