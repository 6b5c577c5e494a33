//! The text tower of CLIP (Radford et al. 2021), used as Diffsound uses it (SPEC 3): the features of all 77
//! positions, padding included, each divided by its own length.
//!
//! Tensor names are those of Hugging Face's `CLIPTextModel` without `text_model.`
//! (`encoder.layers.0.self_attn.q_proj.weight`), linear weights `[in, out]`.

mod clean;
mod convert;
mod vocabulary;

pub use clean::clean;
pub use convert::{from_hugging_face, from_openai};
pub use vocabulary::{tokenizer_json, tokenizer_json_from};

use super::TextError;
use super::config::{
    MAX_HEADS, MAX_INNER, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, check_epsilon, check_heads, check_sizes,
};
use super::published::{self, Description};
use crate::layers::{Embedding, LayerNorm, Linear, attention, quick_gelu};
use candle_core::{D, Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Width of an attention head in every tower that OpenAI published; checkpoints do not store it.
const HEAD_WIDTH: usize = 64;

/// Sizes of a CLIP text tower, under the names of Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Rows of the token embedding table; the last two are the start and the end marker.
    pub vocab_size: usize,
    /// Width of the token vectors.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Hidden width of the feed-forward part.
    pub intermediate_size: usize,
    /// The context: every prompt is padded or cut to this many tokens, markers included.
    pub max_position_embeddings: usize,
    /// Epsilon of every LayerNorm.
    pub layer_norm_eps: f64,
    /// Whether each token's features are divided by their length, as Diffsound does; without, they are those of
    /// Hugging Face's `last_hidden_state`.
    pub normalise: bool,
}

impl Config {
    /// The text tower of ViT-B/32 (63.2 M parameters).
    #[must_use]
    pub fn vit_b_32() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            intermediate_size: 2048,
            max_position_embeddings: 77,
            layer_norm_eps: 1e-5,
            normalise: true,
        }
    }

    /// Refuses sizes that cannot work, in words.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> std::result::Result<(), String> {
        check_sizes(&[
            ("vocab_size", self.vocab_size, MAX_VOCAB),
            ("hidden_size", self.hidden_size, MAX_WIDTH),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MAX_HEADS),
            ("intermediate_size", self.intermediate_size, MAX_INNER),
            // All of it is computed for every prompt.
            ("max_position_embeddings", self.max_position_embeddings, 1 << 10),
        ])?;
        check_heads("hidden_size", self.hidden_size, self.num_attention_heads)?;
        // Three: both markers and a word.
        if self.max_position_embeddings < 3 {
            return Err(format!(
                "max_position_embeddings is {}, expected at least 3",
                self.max_position_embeddings
            ));
        }
        check_epsilon("layer_norm_eps", self.layer_norm_eps)
    }

    /// The sizes of tensors in our layout; what shapes do not tell (heads, epsilon) from `description`, which
    /// defaults to the published models'.
    ///
    /// # Errors
    /// When a tensor that tells a size is missing, or the description is of something else.
    pub fn infer(
        tensors: &BTreeMap<String, Tensor>,
        description: &Description,
    ) -> std::result::Result<Self, TextError> {
        description.expect("hidden_act", "quick_gelu")?;
        let default = Self::vit_b_32();
        let (vocab_size, hidden_size) = published::dims2(tensors, "embeddings.token_embedding.weight")?;
        let (positions, _) = published::dims2(tensors, "embeddings.position_embedding.weight")?;
        let (_, inner) = published::dims2(tensors, "encoder.layers.0.mlp.fc1.weight")?;
        let heads = (hidden_size / HEAD_WIDTH).max(1);
        Ok(Self {
            vocab_size,
            hidden_size,
            num_hidden_layers: published::count(tensors, "encoder.layers"),
            num_attention_heads: description.size("num_attention_heads", heads)?,
            intermediate_size: inner,
            max_position_embeddings: positions,
            layer_norm_eps: description.number("layer_norm_eps", default.layer_norm_eps)?,
            normalise: default.normalise,
        })
    }
}

/// What the tower computes on its way, each `[batch, tokens, hidden]`.
#[derive(Debug, Clone)]
pub struct Activations {
    /// After each block.
    pub blocks: Vec<Tensor>,
    /// After the final LayerNorm.
    pub last_hidden: Tensor,
    /// What the transformer attends to: `last_hidden`, divided by its length where the configuration says so.
    pub features: Tensor,
}

/// The text tower.
#[derive(Debug)]
pub struct Clip {
    tokens: Embedding,
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    normalise: bool,
}

impl Clip {
    /// Loads the tower's tensors.
    ///
    /// # Errors
    /// When one is missing or of another shape.
    pub fn new(config: &Config, vs: VarBuilder) -> Result<Self> {
        let hidden = config.hidden_size;
        let embeddings = vs.pp("embeddings");
        let table = |rows, name: &str| Embedding::new(rows, hidden, embeddings.pp(name));
        let blocks = vs.pp("encoder").pp("layers");
        Ok(Self {
            tokens: table(config.vocab_size, "token_embedding")?,
            positions: table(config.max_position_embeddings, "position_embedding")?.weight().clone(),
            blocks: (0..config.num_hidden_layers)
                .map(|index| Block::new(config, blocks.pp(index)))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(hidden, config.layer_norm_eps, vs.pp("final_layer_norm"))?,
            normalise: config.normalise,
        })
    }

    /// u32 ids `[batch, tokens]`, padding included, to features `[batch, tokens, hidden]`.
    ///
    /// # Errors
    /// When an id is out of range or there are more tokens than positions.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(self.activations(ids)?.features)
    }

    /// The same with everything on the way.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn activations(&self, ids: &Tensor) -> Result<Activations> {
        let tokens = ids.dim(1)?;
        let context = self.positions.dim(0)?;
        if tokens > context {
            bail!("clip: {tokens} tokens are more than the context of {context}");
        }
        let mut x = self.tokens.forward(ids)?.broadcast_add(&self.positions.narrow(0, 0, tokens)?)?;
        let mask = causal_mask(tokens, ids)?;
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            x = block.forward(&x, &mask)?;
            blocks.push(x.clone());
        }
        let last_hidden = self.norm.forward(&x)?;
        let features = if self.normalise {
            last_hidden.broadcast_div(&last_hidden.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?
        } else {
            last_hidden.clone()
        };
        Ok(Activations { blocks, last_hidden, features })
    }
}

/// An additive mask `[tokens, tokens]`, as a `[1, 1, ...]` batch on the device of `like`: a token does not see later ones.
fn causal_mask(tokens: usize, like: &Tensor) -> Result<Tensor> {
    let values = (0..tokens * tokens)
        .map(|at| if at % tokens > at / tokens { super::HIDDEN as f32 } else { 0.0 })
        .collect::<Vec<f32>>();
    Tensor::from_vec(values, (1, 1, tokens, tokens), like.device())
}

/// One pre-norm block.
#[derive(Debug)]
struct Block {
    attention_norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    mlp_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
}

impl Block {
    fn new(config: &Config, vs: VarBuilder) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let norm = |name: &str| LayerNorm::new(hidden, config.layer_norm_eps, vs.pp(name));
        let project = |name: &str| Linear::new(hidden, hidden, vs.pp("self_attn").pp(name));
        Ok(Self {
            attention_norm: norm("layer_norm1")?,
            query: project("q_proj")?,
            key: project("k_proj")?,
            value: project("v_proj")?,
            output: project("out_proj")?,
            mlp_norm: norm("layer_norm2")?,
            fc1: Linear::new(hidden, inner, vs.pp("mlp").pp("fc1"))?,
            fc2: Linear::new(inner, hidden, vs.pp("mlp").pp("fc2"))?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let normed = self.attention_norm.forward(x)?;
        let (q, k, v) =
            (self.query.forward(&normed)?, self.key.forward(&normed)?, self.value.forward(&normed)?);
        let x = (x + self.output.forward(&attention(&q, &k, &v, self.heads, Some(mask))?)?)?;
        let inner = quick_gelu(&self.fc1.forward(&self.mlp_norm.forward(&x)?)?)?;
        &x + self.fc2.forward(&inner)?
    }
}
