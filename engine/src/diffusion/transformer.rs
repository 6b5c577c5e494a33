//! The denoising transformer (SPEC 4): AdaLN by timestep, self-attention over the token grid,
//! cross-attention to the prompt's token features, and a perceptron.

use super::Denoiser;
use crate::layers::kernel::Precision;
use crate::layers::{Embedding, LayerNorm, Linear, adaptive_layer_norm, attention_with, silu};
use crate::lora::{self, Adapter, LoraError, LowRank, Target};
use crate::text::additive_mask;
use candle_core::{Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// What position a token's embedding tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionKind {
    /// The token's true row and column, and its distance to the clip's end.
    #[default]
    Grid,
    /// Diffsound's quirk (SPEC 4, "TRAP"): the time-major sequence is numbered as if it were row-major.
    RowMajor,
}

/// Sizes of the transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of blocks.
    pub layers: usize,
    /// Width of a token inside.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the prompt's features.
    pub cond_width: usize,
    /// Hidden width of the perceptron, as a multiple of `width`.
    pub mlp_ratio: usize,
    /// Codebook entries (K); `[MASK]` is one more class of the input.
    pub codebook: usize,
    /// Rows of the grid.
    pub rows: usize,
    /// Most columns of the grid.
    pub max_columns: usize,
    /// Diffusion timesteps (T).
    pub timesteps: usize,
    /// What the position embedding tells.
    pub position: PositionKind,
    /// Whether padding of the prompt is hidden from the cross-attention (the reference does not).
    pub mask_padding: bool,
}

impl Config {
    /// The default pack's transformer for a codebook of `codebook` entries.
    #[must_use]
    pub fn small(codebook: usize, cond_width: usize) -> Self {
        Self {
            layers: 8,
            width: 384,
            heads: 6,
            cond_width,
            mlp_ratio: 4,
            codebook,
            rows: crate::GRID_ROWS,
            max_columns: crate::MAX_COLUMNS,
            timesteps: 100,
            position: PositionKind::Grid,
            mask_padding: true,
        }
    }

    /// Checks that the sizes make a transformer of sane size.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> std::result::Result<(), String> {
        let ranges = [
            ("layers", self.layers, 1..=128),
            ("width", self.width, 1..=8192),
            ("heads", self.heads, 1..=128),
            ("cond_width", self.cond_width, 1..=8192),
            ("mlp_ratio", self.mlp_ratio, 1..=16),
            ("codebook", self.codebook, 2..=65_536),
            ("rows", self.rows, 1..=64),
            ("max_columns", self.max_columns, 1..=1024),
            ("timesteps", self.timesteps, 1..=10_000),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(format!("transformer {name}: expected {range:?}, found {value}"));
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(format!(
                "transformer width {} is not a multiple of {} heads",
                self.width, self.heads
            ));
        }
        Ok(())
    }
}

/// LayerNorm whose scale and shift follow the timestep.
#[derive(Debug, Clone)]
struct AdaLayerNorm {
    table: Modulation,
}

/// Where the scale and shift come from.
#[derive(Debug, Clone)]
enum Modulation {
    /// `Linear(SiLU(emb[t]))`, trainable.
    Learned { emb: Embedding, linear: Linear },
    /// Its values for all timesteps, `[timesteps, 2 width]`.
    Tabulated(Tensor),
}

impl AdaLayerNorm {
    fn new(config: &Config, vs: VarBuilder) -> Result<Self> {
        let emb = Embedding::new(config.timesteps, config.width, vs.pp("emb"))?;
        let linear = Linear::new(config.width, 2 * config.width, vs.pp("linear"))?;
        let trains = emb.weight().track_op() || linear.weight()?.track_op();
        let mut norm = Self { table: Modulation::Learned { emb, linear } };
        if !trains {
            norm.tabulate()?;
        }
        Ok(norm)
    }

    /// Replaces the computation by its table: exact, because it depends on the timestep alone. Weights that take no
    /// gradient are tabulated as they are loaded, so that not all of them are in memory at once.
    fn tabulate(&mut self) -> Result<()> {
        if let Modulation::Learned { emb, linear } = &self.table {
            self.table = Modulation::Tabulated(linear.forward(&silu(emb.weight())?)?.detach());
        }
        Ok(())
    }

    fn forward(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        let modulation = match &self.table {
            Modulation::Learned { emb, linear } => linear.forward(&silu(&emb.forward(t)?)?)?,
            Modulation::Tabulated(table) => table.index_select(t, 0)?,
        };
        let width = x.dim(2)?;
        let (scale, shift) = (modulation.narrow(1, 0, width)?, modulation.narrow(1, width, width)?);
        adaptive_layer_norm(x, &scale, &shift, 1e-5)
    }
}

/// Query, key, value and output projections.
#[derive(Debug, Clone)]
struct Projections {
    q: Linear,
    k: Linear,
    v: Linear,
    proj: Linear,
}

impl Projections {
    fn new(width: usize, source: usize, precision: Precision, vs: VarBuilder) -> Result<Self> {
        let linear = |input, name: &str| -> Result<Linear> {
            Ok(Linear::new(input, width, vs.pp(name))?.with_precision(precision))
        };
        Ok(Self {
            q: linear(width, "q")?,
            k: linear(source, "k")?,
            v: linear(source, "v")?,
            proj: linear(width, "proj")?,
        })
    }
}

#[derive(Debug, Clone)]
struct Block {
    ln1: AdaLayerNorm,
    self_attn: Projections,
    ln1_1: AdaLayerNorm,
    cross_attn: Projections,
    ln2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    precision: Precision,
}

impl Block {
    fn new(config: &Config, precision: Precision, vs: VarBuilder) -> Result<Self> {
        let (width, hidden) = (config.width, config.width * config.mlp_ratio);
        Ok(Self {
            ln1: AdaLayerNorm::new(config, vs.pp("ln1"))?,
            self_attn: Projections::new(width, width, precision, vs.pp("self_attn"))?,
            ln1_1: AdaLayerNorm::new(config, vs.pp("ln1_1"))?,
            cross_attn: Projections::new(width, config.cond_width, precision, vs.pp("cross_attn"))?,
            ln2: LayerNorm::new(width, 1e-5, vs.pp("ln2"))?,
            fc1: Linear::new(width, hidden, vs.pp("mlp.fc1"))?.with_precision(precision),
            fc2: Linear::new(hidden, width, vs.pp("mlp.fc2"))?.with_precision(precision),
            heads: config.heads,
            precision,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        t: &Tensor,
        keys_values: &(Tensor, Tensor),
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let h = self.mix_tokens(&self.ln1.forward(x, t)?)?;
        let x = self.self_attn.proj.forward_onto(&h, x)?;
        let h = self.mix_prompt(&self.ln1_1.forward(&x, t)?, keys_values, mask)?;
        let x = self.cross_attn.proj.forward_onto(&h, &x)?;
        let h = self.fc1.forward_quick_gelu(&self.ln2.forward(&x)?)?;
        self.fc2.forward_onto(&h, &x)
    }

    /// Self-attention before its output projection.
    fn mix_tokens(&self, h: &Tensor) -> Result<Tensor> {
        let a = &self.self_attn;
        let (q, k, v) = (a.q.forward(h)?, a.k.forward(h)?, a.v.forward(h)?);
        attention_with(self.precision, &q, &k, &v, self.heads, None)
    }

    /// Cross-attention before its output projection.
    fn mix_prompt(&self, h: &Tensor, (k, v): &(Tensor, Tensor), mask: Option<&Tensor>) -> Result<Tensor> {
        attention_with(self.precision, &self.cross_attn.q.forward(h)?, k, v, self.heads, mask)
    }
}

/// A prompt (or a batch of them) as the blocks see it: their cross-attention keys and values,
/// which do not change over the steps.
#[derive(Debug, Clone)]
pub struct Condition {
    keys_values: Vec<(Tensor, Tensor)>,
    mask: Option<Tensor>,
    batch: usize,
}

impl Condition {
    /// Number of prompts.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }
}

/// The denoising transformer.
#[derive(Debug, Clone)]
pub struct Transformer {
    config: Config,
    token: Embedding,
    height: Embedding,
    width: Embedding,
    end: Option<Embedding>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Transformer {
    /// Loads (or creates, under a `VarMap`) all weights.
    ///
    /// # Errors
    /// When the sizes are out of range or a tensor is missing or of another shape.
    pub fn new(config: &Config, precision: Precision, vs: VarBuilder) -> Result<Self> {
        config.validate().map_err(candle_core::Error::Msg)?;
        let emb = vs.pp("content_emb");
        let end = match config.position {
            PositionKind::Grid => Some(Embedding::new(config.max_columns, config.width, emb.pp("end_emb"))?),
            PositionKind::RowMajor => None,
        };
        let blocks = (0..config.layers)
            .map(|i| Block::new(config, precision, vs.pp("blocks").pp(i)))
            .collect::<Result<_>>()?;
        Ok(Self {
            config: *config,
            token: Embedding::new(config.codebook + 1, config.width, emb.pp("emb"))?,
            height: Embedding::new(config.rows, config.width, emb.pp("height_emb"))?,
            width: Embedding::new(config.max_columns, config.width, emb.pp("width_emb"))?,
            end,
            blocks,
            norm: LayerNorm::new(config.width, 1e-5, vs.pp("head.norm"))?,
            head: Linear::new(config.width, config.codebook, vs.pp("head.proj"))?.with_precision(precision),
        })
    }

    /// Tabulates what depends on the timestep alone; exact, and for inference only.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn tabulated(mut self) -> Result<Self> {
        for block in &mut self.blocks {
            block.ln1.tabulate()?;
            block.ln1_1.tabulate()?;
        }
        Ok(self)
    }

    /// The sizes it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same transformer with adapters, each at its strength, beside its weights, which are shared, not copied.
    ///
    /// # Errors
    /// When an adapter was made for a transformer of other sizes.
    pub fn adapted(self, adapters: &[(&Adapter, f64)]) -> std::result::Result<Self, LoraError> {
        self.changed(Adapter::blend(adapters)?)
    }

    /// The same transformer with changes beside its weights.
    ///
    /// # Errors
    /// When one is of a block that the transformer lacks.
    pub fn changed(
        mut self,
        changes: impl IntoIterator<Item = (Target, LowRank)>,
    ) -> std::result::Result<Self, LoraError> {
        for (target, change) in changes {
            let linear = self.matrix_mut(target)?;
            *linear = linear.clone().with_change(change);
        }
        Ok(self)
    }

    /// The same transformer with adapters, each at its strength, added into its weights.
    ///
    /// # Errors
    /// When an adapter was made for a transformer of other sizes.
    pub fn merged(mut self, adapters: &[(&Adapter, f64)]) -> std::result::Result<Self, LoraError> {
        for (target, change) in Adapter::blend(adapters)? {
            let linear = self.matrix_mut(target)?;
            *linear = linear.clone().merged_with(&change)?;
        }
        Ok(self)
    }

    /// The matrix that `target` names, with what adapters add to it.
    #[must_use]
    pub fn matrix(&self, target: Target) -> Option<&Linear> {
        let block = self.blocks.get(target.block)?;
        let attention = match target.attention {
            lora::Attention::SelfAttention => &block.self_attn,
            lora::Attention::CrossAttention => &block.cross_attn,
        };
        Some(match target.projection {
            lora::Projection::Q => &attention.q,
            lora::Projection::K => &attention.k,
            lora::Projection::V => &attention.v,
            lora::Projection::Proj => &attention.proj,
        })
    }

    /// The same, to be replaced.
    fn matrix_mut(&mut self, target: Target) -> std::result::Result<&mut Linear, LoraError> {
        let layers = self.config.layers;
        let block = self
            .blocks
            .get_mut(target.block)
            .ok_or_else(|| LoraError::NoSuchBlock { target: target.to_string(), layers })?;
        let attention = match target.attention {
            lora::Attention::SelfAttention => &mut block.self_attn,
            lora::Attention::CrossAttention => &mut block.cross_attn,
        };
        Ok(match target.projection {
            lora::Projection::Q => &mut attention.q,
            lora::Projection::K => &mut attention.k,
            lora::Projection::V => &mut attention.v,
            lora::Projection::Proj => &mut attention.proj,
        })
    }

    /// Keys and values of every block for prompt features `[batch, n, cond_width]`; `mask` `[batch, n]` is 1
    /// for a token and 0 for padding.
    ///
    /// # Errors
    /// When the shapes disagree.
    pub fn condition(&self, features: &Tensor, mask: Option<&Tensor>) -> Result<Condition> {
        let (batch, _, cond_width) = features.dims3()?;
        if cond_width != self.config.cond_width {
            bail!(
                "transformer: expected prompt features of width {}, found {cond_width}",
                self.config.cond_width
            );
        }
        let keys_values = self
            .blocks
            .iter()
            .map(|b| Ok((b.cross_attn.k.forward(features)?, b.cross_attn.v.forward(features)?)))
            .collect::<Result<_>>()?;
        let mask = match mask {
            Some(mask) if self.config.mask_padding => Some(additive_mask(mask)?),
            _ => None,
        };
        Ok(Condition { keys_values, mask, batch })
    }

    /// Logits `[batch, length, codebook]` for noisy `ids` (u32 `[batch, length]`, time-major) at timesteps `t` `[batch]`.
    ///
    /// # Errors
    /// When shapes disagree, an id or timestep is out of range, or the grid is too wide.
    pub fn forward(&self, ids: &Tensor, t: &[usize], condition: &Condition) -> Result<Tensor> {
        let (batch, length) = ids.dims2()?;
        if t.len() != batch || condition.batch != batch {
            bail!("transformer: {batch} token grids, {} timesteps and {} prompts", t.len(), condition.batch);
        }
        if let Some(t) = t.iter().find(|t| **t >= self.config.timesteps) {
            bail!("transformer: expected a timestep below {}, found {t}", self.config.timesteps);
        }
        let t: Vec<u32> = t.iter().map(|t| *t as u32).collect();
        let t = Tensor::from_vec(t, batch, ids.device())?;
        let positions = self.positions(length, ids.device())?;
        let mut x = self.token.forward(ids)?.broadcast_add(&positions)?;
        for (block, keys_values) in self.blocks.iter().zip(&condition.keys_values) {
            x = block.forward(&x, &t, keys_values, condition.mask.as_ref())?;
        }
        self.head.forward(&self.norm.forward(&x)?)
    }

    /// Position embeddings `[1, length, width]`.
    fn positions(&self, length: usize, device: &Device) -> Result<Tensor> {
        let (rows, most) = (self.config.rows, self.config.max_columns);
        if length == 0 || !length.is_multiple_of(rows) || length / rows > most {
            bail!("transformer: expected {rows} x (1 to {most}) tokens, found {length}");
        }
        let columns = length / rows;
        let numbers = |f: &dyn Fn(usize) -> usize| {
            Tensor::from_vec((0..length).map(|l| f(l) as u32).collect::<Vec<_>>(), length, device)
        };
        let sum = match self.config.position {
            PositionKind::Grid => {
                let sum = (self.height.forward(&numbers(&|l| l % rows)?)?
                    + self.width.forward(&numbers(&|l| l / rows)?)?)?;
                match &self.end {
                    Some(end) => (sum + end.forward(&numbers(&|l| columns - 1 - l / rows)?)?)?,
                    None => sum,
                }
            }
            // The reference divides by the full width of its grid, whatever the length.
            PositionKind::RowMajor => {
                (self.height.forward(&numbers(&|l| l / most)?)?
                    + self.width.forward(&numbers(&|l| l % most)?)?)?
            }
        };
        sum.unsqueeze(0)
    }

    /// The network with its prompt bound.
    #[must_use]
    pub fn bind<'a>(&'a self, condition: &'a Condition) -> Bound<'a> {
        Bound { transformer: self, condition }
    }
}

/// A transformer and the prompt it denoises under.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    transformer: &'a Transformer,
    condition: &'a Condition,
}

impl Denoiser for Bound<'_> {
    /// The tokens may be on another device, as those of a sampler are.
    fn logits(&self, ids: &Tensor, t: &[usize]) -> Result<Tensor> {
        self.transformer.forward(&ids.to_device(self.transformer.token.weight().device())?, t, self.condition)
    }
}

#[path = "transformer_parity.rs"]
pub(crate) mod parity;
