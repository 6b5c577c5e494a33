//! The encoder of T5 (Raffel et al. 2020): version 1.0 with ReLU (T5-small is 512 wide) and 1.1 with gated GELU.
//!
//! Tensor names are Hugging Face's (`encoder.block.0.layer.0.SelfAttention.q.weight`), linear weights `[in, out]`.

use super::config::{MAX_HEADS, MAX_INNER, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, check_epsilon, check_sizes};
use super::published::{self, Description};
use super::{TextError, additive_mask};
use crate::layers::{Embedding, Linear, RmsNorm, attention, gelu_tanh};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// The one relative position table, which every block uses.
const BIAS: &str = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";

/// How the feed-forward part works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedForward {
    /// `relu(x wi) wo` (version 1.0).
    Relu,
    /// `(gelu(x wi_0) * x wi_1) wo` (version 1.1).
    GatedGelu,
}

/// Sizes of a T5 encoder, under the names of Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Rows of the token embedding table.
    pub vocab_size: usize,
    /// Width of the token vectors.
    pub d_model: usize,
    /// Width of an attention head; times `num_heads` it need not be `d_model`.
    pub d_kv: usize,
    /// Hidden width of the feed-forward part.
    pub d_ff: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Rows of the relative position table, half of them for either direction.
    pub relative_attention_num_buckets: usize,
    /// Distance in tokens from which on all share the last bucket.
    pub relative_attention_max_distance: usize,
    /// Epsilon of every RMSNorm.
    pub layer_norm_epsilon: f64,
    /// How the feed-forward part works.
    pub feed_forward_proj: FeedForward,
    /// Prompts are cut to this many tokens, `</s>` included.
    pub max_tokens: usize,
}

impl Config {
    /// The published T5-small (35.3 M parameters in the encoder), prompts of up to 64 tokens.
    #[must_use]
    pub fn t5_small() -> Self {
        Self {
            vocab_size: 32_128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: FeedForward::Relu,
            max_tokens: 64,
        }
    }

    /// Refuses sizes that cannot work, in words.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> std::result::Result<(), String> {
        check_sizes(&[
            ("vocab_size", self.vocab_size, MAX_VOCAB),
            ("d_model", self.d_model, MAX_WIDTH),
            ("d_kv", self.d_kv, 1 << 10),
            ("d_ff", self.d_ff, MAX_INNER),
            ("num_layers", self.num_layers, MAX_LAYERS),
            ("num_heads", self.num_heads, MAX_HEADS),
            ("relative_attention_num_buckets", self.relative_attention_num_buckets, 1 << 10),
            ("relative_attention_max_distance", self.relative_attention_max_distance, 1 << 16),
            // No table bounds it, but what attention computes grows with its square.
            ("max_tokens", self.max_tokens, 512),
        ])?;
        // Two directions, and in each of them near buckets and far ones.
        let buckets = self.relative_attention_num_buckets;
        if !buckets.is_multiple_of(4) {
            return Err(format!("relative_attention_num_buckets is {buckets}, expected a multiple of 4"));
        }
        if self.relative_attention_max_distance <= buckets / 4 {
            return Err(format!(
                "relative_attention_max_distance is {}, expected more than the {} near buckets",
                self.relative_attention_max_distance,
                buckets / 4
            ));
        }
        // Two: a word and the end marker.
        if self.max_tokens < 2 {
            return Err(format!("max_tokens is {}, expected at least 2", self.max_tokens));
        }
        check_epsilon("layer_norm_epsilon", self.layer_norm_epsilon)
    }

    /// The sizes of tensors in our layout; what shapes do not tell (the largest distance, epsilon) from
    /// `description`, which defaults to the published models'.
    ///
    /// # Errors
    /// When a tensor that tells a size is missing, or the description is of something else.
    pub fn infer(
        tensors: &BTreeMap<String, Tensor>,
        description: &Description,
    ) -> std::result::Result<Self, TextError> {
        let default = Self::t5_small();
        let (vocab_size, d_model) = published::dims2(tensors, "shared.weight")?;
        let (buckets, num_heads) = published::dims2(tensors, BIAS)?;
        let (_, inner) = published::dims2(tensors, "encoder.block.0.layer.0.SelfAttention.q.weight")?;
        let (d_ff, _) = published::dims2(tensors, "encoder.block.0.layer.1.DenseReluDense.wo.weight")?;
        let gated = tensors.contains_key("encoder.block.0.layer.1.DenseReluDense.wi_0.weight");
        let (feed_forward_proj, name) =
            if gated { (FeedForward::GatedGelu, "gated-gelu") } else { (FeedForward::Relu, "relu") };
        description.expect("feed_forward_proj", name)?;
        Ok(Self {
            vocab_size,
            d_model,
            d_kv: inner.checked_div(num_heads).unwrap_or(0),
            d_ff,
            num_layers: published::count(tensors, "encoder.block"),
            num_heads,
            relative_attention_num_buckets: buckets,
            relative_attention_max_distance: description
                .size("relative_attention_max_distance", default.relative_attention_max_distance)?,
            layer_norm_epsilon: description.number("layer_norm_epsilon", default.layer_norm_epsilon)?,
            feed_forward_proj,
            max_tokens: default.max_tokens,
        })
    }
}

/// A checkpoint as Hugging Face publishes it, in our layout: linear weights transposed to `[in, out]`, the decoder
/// left out.
///
/// # Errors
/// Whatever the backend reports.
pub fn from_hugging_face(checkpoint: &HashMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    // Two names of one table, of which a file may have either or both.
    const SHARED: &str = "shared.weight";
    const OF_ENCODER: &str = "encoder.embed_tokens.weight";
    let has_shared = checkpoint.contains_key(SHARED);
    published::convert(
        checkpoint,
        |name| match name {
            OF_ENCODER if has_shared => None,
            OF_ENCODER => Some(SHARED.to_owned()),
            _ if name.starts_with("decoder.") || name.starts_with("lm_head.") => None,
            _ => Some(name.to_owned()),
        },
        |name| name == SHARED || name == BIAS,
    )
}

/// The encoder.
#[derive(Debug)]
pub struct T5 {
    tokens: Embedding,
    /// `[buckets, heads]`.
    bias: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    max_distance: usize,
}

impl T5 {
    /// Loads the encoder's tensors.
    ///
    /// # Errors
    /// When one is missing or of another shape.
    pub fn new(config: &Config, vs: VarBuilder) -> Result<Self> {
        let encoder = vs.pp("encoder");
        let blocks = encoder.pp("block");
        let bias = blocks.pp(0).pp("layer").pp(0).pp("SelfAttention").pp("relative_attention_bias");
        Ok(Self {
            tokens: Embedding::new(config.vocab_size, config.d_model, vs.pp("shared"))?,
            bias: Embedding::new(config.relative_attention_num_buckets, config.num_heads, bias)?,
            blocks: (0..config.num_layers)
                .map(|index| Block::new(config, blocks.pp(index).pp("layer")))
                .collect::<Result<_>>()?,
            norm: RmsNorm::new(config.d_model, config.layer_norm_epsilon, encoder.pp("final_layer_norm"))?,
            max_distance: config.relative_attention_max_distance,
        })
    }

    /// u32 ids and a 1/0 mask, both `[batch, tokens]`, to features `[batch, tokens, d_model]`. Vectors at padding
    /// are without meaning.
    ///
    /// # Errors
    /// When an id is out of range.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let mut x = self.tokens.forward(ids)?;
        let scores = additive_mask(mask)?.broadcast_add(&self.position_scores(ids.dim(1)?)?)?;
        for block in &self.blocks {
            x = block.forward(&x, &scores)?;
        }
        self.norm.forward(&x)
    }

    /// What relative positions add to the attention scores, `[1, heads, tokens, tokens]`.
    fn position_scores(&self, tokens: usize) -> Result<Tensor> {
        let buckets = self.bias.weight().dim(0)?;
        // Queries are rows, keys columns.
        let ids: Vec<u32> = (0..tokens as i64)
            .flat_map(|query| (0..tokens as i64).map(move |key| key - query))
            .map(|offset| bucket(offset, buckets, self.max_distance))
            .collect();
        let ids = Tensor::from_vec(ids, (tokens, tokens), self.bias.weight().device())?;
        self.bias.forward(&ids)?.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()
    }
}

/// Row of the relative position table for a key `offset` tokens after the query: the second half is for keys that come
/// later; within a half, near distances have a row each and far ones share rows, logarithmically.
fn bucket(offset: i64, buckets: usize, max_distance: usize) -> u32 {
    let half = buckets / 2;
    let near = half / 2;
    let distance = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
    let row = if distance < near {
        distance
    } else {
        // In f32, as the reference computes it: the rounding decides between rows.
        let octaves = (distance as f32 / near as f32).ln() / (max_distance as f64 / near as f64).ln() as f32;
        (near + (octaves * (half - near) as f32) as usize).min(half - 1)
    };
    (row + if offset > 0 { half } else { 0 }) as u32
}

/// One pre-norm block.
#[derive(Debug)]
struct Block {
    attention_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    mlp_norm: RmsNorm,
    /// `wi`, or `wi_0` and `wi_1`.
    inner: (Linear, Option<Linear>),
    outer: Linear,
    heads: usize,
    /// Undoes the scaling of scores, which T5 does without.
    query_scale: f64,
}

impl Block {
    fn new(config: &Config, vs: VarBuilder) -> Result<Self> {
        let (model, heads) = (config.d_model, config.num_heads);
        let inner = heads * config.d_kv;
        let (attention, mlp) = (vs.pp(0), vs.pp(1));
        let norm = |vs: &VarBuilder| RmsNorm::new(model, config.layer_norm_epsilon, vs.pp("layer_norm"));
        let project = |name: &str| Linear::without_bias(model, inner, attention.pp("SelfAttention").pp(name));
        let dense = mlp.pp("DenseReluDense");
        let widen = |name: &str| Linear::without_bias(model, config.d_ff, dense.pp(name));
        Ok(Self {
            attention_norm: norm(&attention)?,
            query: project("q")?,
            key: project("k")?,
            value: project("v")?,
            output: Linear::without_bias(inner, model, attention.pp("SelfAttention").pp("o"))?,
            mlp_norm: norm(&mlp)?,
            inner: match config.feed_forward_proj {
                FeedForward::Relu => (widen("wi")?, None),
                FeedForward::GatedGelu => (widen("wi_0")?, Some(widen("wi_1")?)),
            },
            outer: Linear::without_bias(config.d_ff, model, dense.pp("wo"))?,
            heads,
            query_scale: (config.d_kv as f64).sqrt(),
        })
    }

    fn forward(&self, x: &Tensor, scores: &Tensor) -> Result<Tensor> {
        let normed = self.attention_norm.forward(x)?;
        let q = (self.query.forward(&normed)? * self.query_scale)?;
        let (k, v) = (self.key.forward(&normed)?, self.value.forward(&normed)?);
        let x = (x + self.output.forward(&attention(&q, &k, &v, self.heads, Some(scores))?)?)?;
        let normed = self.mlp_norm.forward(&x)?;
        let inner = self.inner.0.forward(&normed)?;
        let inner = match &self.inner.1 {
            None => inner.relu()?,
            Some(gate) => (gelu_tanh(&inner)? * gate.forward(&normed)?)?,
        };
        &x + self.outer.forward(&inner)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows computed with NumPy by the formula of the published implementation, 32 buckets up to 128.
    #[test]
    fn buckets_are_the_published_ones() {
        let rows = [
            (-500, 15),
            (-128, 15),
            (-91, 15),
            (-90, 14),
            (-64, 14),
            (-33, 12),
            (-32, 12),
            (-16, 10),
            (-15, 9),
            (-9, 8),
            (-8, 8),
            (-7, 7),
            (-1, 1),
            (0, 0),
            (1, 17),
            (7, 23),
            (8, 24),
            (11, 24),
            (12, 25),
            (20, 26),
            (31, 27),
            (64, 30),
            (127, 31),
            (128, 31),
            (400, 31),
        ];
        for (offset, row) in rows {
            assert_eq!(bucket(offset, 32, 128), row, "offset {offset}");
        }
    }
}
