//! The BERT encoder (Devlin et al. 2018) in the sizes of MiniLM (Wang et al. 2020), without the pooler.
//!
//! Tensor names are Hugging Face's (`encoder.layer.0.attention.self.query.weight`), linear weights `[in, out]`.

use super::config::{
    MAX_HEADS, MAX_INNER, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, check_epsilon, check_heads, check_sizes,
};
use super::published::{self, Description};
use super::{TextError, bert};
use candle_core::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Sizes of a BERT encoder, under the names of Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Rows of the token embedding table.
    pub vocab_size: usize,
    /// Width of the token vectors.
    pub hidden_size: usize,
    /// Number of encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Hidden width of the feed-forward part.
    pub intermediate_size: usize,
    /// Rows of the position table.
    pub max_position_embeddings: usize,
    /// Rows of the segment table, of which only the first is used.
    pub type_vocab_size: usize,
    /// Epsilon of every LayerNorm.
    pub layer_norm_eps: f64,
    /// Prompts are cut to this many tokens, `[CLS]` and `[SEP]` included.
    pub max_tokens: usize,
}

impl Config {
    /// The published all-MiniLM-L6-v2 (22.7 M parameters), prompts of up to 64 tokens.
    #[must_use]
    pub fn all_minilm_l6_v2() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 384,
            num_hidden_layers: 6,
            num_attention_heads: 12,
            intermediate_size: 1536,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            max_tokens: 64,
        }
    }

    /// Refuses sizes that cannot work, in words.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), String> {
        check_sizes(&[
            ("vocab_size", self.vocab_size, MAX_VOCAB),
            ("hidden_size", self.hidden_size, MAX_WIDTH),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MAX_HEADS),
            ("intermediate_size", self.intermediate_size, MAX_INNER),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 16),
            ("type_vocab_size", self.type_vocab_size, 1 << 10),
        ])?;
        check_heads("hidden_size", self.hidden_size, self.num_attention_heads)?;
        // Three: both markers and a word.
        if self.max_tokens < 3 || self.max_tokens > self.max_position_embeddings {
            return Err(format!(
                "max_tokens is {}, expected 3 to {} (max_position_embeddings)",
                self.max_tokens, self.max_position_embeddings
            ));
        }
        check_epsilon("layer_norm_eps", self.layer_norm_eps)
    }

    /// The sizes of tensors in our layout; what shapes do not tell (heads, epsilon) from `description`, which
    /// defaults to the published model's.
    ///
    /// # Errors
    /// When a tensor that tells a size is missing, or the description is of something else.
    pub fn infer(tensors: &BTreeMap<String, Tensor>, description: &Description) -> Result<Self, TextError> {
        description.expect("hidden_act", "gelu")?;
        let default = Self::all_minilm_l6_v2();
        let (vocab_size, hidden_size) = published::dims2(tensors, "embeddings.word_embeddings.weight")?;
        let (positions, _) = published::dims2(tensors, "embeddings.position_embeddings.weight")?;
        let (segments, _) = published::dims2(tensors, "embeddings.token_type_embeddings.weight")?;
        let (_, inner) = published::dims2(tensors, "encoder.layer.0.intermediate.dense.weight")?;
        Ok(Self {
            vocab_size,
            hidden_size,
            num_hidden_layers: published::count(tensors, "encoder.layer"),
            num_attention_heads: description.size("num_attention_heads", default.num_attention_heads)?,
            intermediate_size: inner,
            max_position_embeddings: positions,
            type_vocab_size: segments,
            layer_norm_eps: description.number("layer_norm_eps", default.layer_norm_eps)?,
            max_tokens: default.max_tokens.min(positions),
        })
    }
}

/// A checkpoint as Hugging Face publishes it, in our layout: linear weights transposed to `[in, out]`, what the
/// encoder does not use (the pooler, the constant position ids) left out.
///
/// # Errors
/// Whatever the backend reports.
pub fn from_hugging_face(
    checkpoint: &HashMap<String, Tensor>,
) -> candle_core::Result<BTreeMap<String, Tensor>> {
    published::convert(
        checkpoint,
        |name| {
            let unused = name.starts_with("pooler.") || name == "embeddings.position_ids";
            (!unused).then(|| name.to_owned())
        },
        |name| name.starts_with("embeddings."),
    )
}

/// The encoder.
#[derive(Debug)]
pub struct MiniLm {
    encoder: bert::Encoder,
}

impl MiniLm {
    /// Loads the encoder's tensors.
    ///
    /// # Errors
    /// When one is missing or of another shape.
    pub fn new(config: &Config, vs: VarBuilder) -> candle_core::Result<Self> {
        let sizes = bert::Sizes {
            vocab: config.vocab_size,
            positions: config.max_position_embeddings,
            segments: config.type_vocab_size,
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            eps: config.layer_norm_eps,
        };
        Ok(Self { encoder: bert::Encoder::new(sizes, vs)? })
    }

    /// u32 ids and a 1/0 mask, both `[batch, tokens]`, to features `[batch, tokens, hidden]`. Vectors at padding
    /// are without meaning.
    ///
    /// # Errors
    /// When an id is out of range or there are more tokens than positions.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
        let tokens = u32::try_from(ids.dim(1)?)?;
        self.encoder.forward(ids, mask, &Tensor::arange(0, tokens, ids.device())?)
    }
}
