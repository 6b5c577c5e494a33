//! The text tower of CLAP (Wu et al. 2023): a RoBERTa encoder and the projection to the space that texts and sounds
//! share.
//!
//! **What the transformer attends to.** The hidden states are 768 wide, and the paper's transformer takes 512. CLAP has
//! a way from 768 to 512: the head that turns the first token into the text's embedding, a dense layer with tanh and a
//! projection of two layers. [`Features::Projected`] sends every token through that head. Compared with a learned
//! linear map, it needs no training, the tower stays frozen (captions are encoded once and kept), and the first token's
//! features are exactly the embedding that CLAP learned to match with sounds. [`Features::Hidden`] are the plain hidden
//! states, for a transformer of that width.
//!
//! Tensor names are Hugging Face's without `text_model.` (`encoder.layer.0.attention.self.query.weight`,
//! `text_projection.linear1.weight`), linear weights `[in, out]`.

use super::config::{
    MAX_HEADS, MAX_INNER, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, check_epsilon, check_heads, check_sizes,
};
use super::published::{self, Description};
use super::{TextError, bert};
use crate::layers::Linear;
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// What the transformer attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Features {
    /// Every token through CLAP's head, `projection_dim` wide.
    Projected,
    /// The last layer's hidden states, `hidden_size` wide.
    Hidden,
}

/// Sizes of a CLAP text tower, under the names of Hugging Face's `config.json`.
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
    /// RoBERTa's padding token: the first token has the position after it.
    pub pad_token_id: usize,
    /// Width of the space that texts and sounds share.
    pub projection_dim: usize,
    /// Prompts are cut to this many tokens, `<s>` and `</s>` included.
    pub max_tokens: usize,
    /// What the transformer attends to.
    pub features: Features,
}

impl Config {
    /// The text tower of the published clap-htsat models (125 M parameters), prompts of up to 64 tokens.
    #[must_use]
    pub fn htsat() -> Self {
        Self {
            vocab_size: 50_265,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 514,
            type_vocab_size: 1,
            layer_norm_eps: 1e-12,
            pad_token_id: 1,
            projection_dim: 512,
            max_tokens: 64,
            features: Features::Projected,
        }
    }

    /// Width of the features.
    #[must_use]
    pub fn width(&self) -> usize {
        match self.features {
            Features::Projected => self.projection_dim,
            Features::Hidden => self.hidden_size,
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
            ("projection_dim", self.projection_dim, MAX_WIDTH),
        ])?;
        check_heads("hidden_size", self.hidden_size, self.num_attention_heads)?;
        // Three: both markers and a word. Positions up to the padding token's id are no token's.
        let most = self.max_position_embeddings.saturating_sub(self.pad_token_id).saturating_sub(1);
        if self.max_tokens < 3 || self.max_tokens > most {
            return Err(format!(
                "max_tokens is {}, expected 3 to {most} (max_position_embeddings after pad_token_id)",
                self.max_tokens
            ));
        }
        check_epsilon("layer_norm_eps", self.layer_norm_eps)
    }

    /// The sizes of tensors in our layout; what shapes do not tell (heads, epsilon, padding) from `description`, which
    /// defaults to the published models'.
    ///
    /// # Errors
    /// When a tensor that tells a size is missing, or the description is of something else.
    pub fn infer(tensors: &BTreeMap<String, Tensor>, description: &Description) -> Result<Self, TextError> {
        description.expect("hidden_act", "gelu")?;
        description.expect("projection_hidden_act", "relu")?;
        let default = Self::htsat();
        let (vocab_size, hidden_size) = published::dims2(tensors, "embeddings.word_embeddings.weight")?;
        let (positions, _) = published::dims2(tensors, "embeddings.position_embeddings.weight")?;
        let (segments, _) = published::dims2(tensors, "embeddings.token_type_embeddings.weight")?;
        let (_, inner) = published::dims2(tensors, "encoder.layer.0.intermediate.dense.weight")?;
        let (_, projection_dim) = published::dims2(tensors, "text_projection.linear2.weight")?;
        let pad_token_id = description.size("pad_token_id", default.pad_token_id)?;
        let most = positions.saturating_sub(pad_token_id).saturating_sub(1);
        Ok(Self {
            vocab_size,
            hidden_size,
            num_hidden_layers: published::count(tensors, "encoder.layer"),
            num_attention_heads: description.size("num_attention_heads", default.num_attention_heads)?,
            intermediate_size: inner,
            max_position_embeddings: positions,
            type_vocab_size: segments,
            layer_norm_eps: description.number("layer_norm_eps", default.layer_norm_eps)?,
            pad_token_id,
            projection_dim,
            max_tokens: default.max_tokens.min(most),
            features: default.features,
        })
    }
}

/// A checkpoint as Hugging Face publishes it, in our layout: linear weights transposed to `[in, out]`, the sound tower
/// and what the text tower does not use left out.
///
/// # Errors
/// Whatever the backend reports.
pub fn from_hugging_face(
    checkpoint: &HashMap<String, Tensor>,
) -> candle_core::Result<BTreeMap<String, Tensor>> {
    const OTHERS: &[&str] = &["audio_model.", "audio_projection.", "logit_scale"];
    published::convert(
        checkpoint,
        |name| {
            let name = name.strip_prefix("text_model.").unwrap_or(name);
            // Constants that some versions store.
            let constant = matches!(name, "embeddings.position_ids" | "embeddings.token_type_ids");
            let unused = constant || OTHERS.iter().any(|other| name.starts_with(other));
            (!unused).then(|| name.to_owned())
        },
        |name| name.starts_with("embeddings."),
    )
}

/// The text tower.
#[derive(Debug)]
pub struct Clap {
    encoder: bert::Encoder,
    pooler: Linear,
    linear1: Linear,
    linear2: Linear,
    pad_token_id: usize,
    features: Features,
}

impl Clap {
    /// Loads the tower's tensors.
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
        let (hidden, shared, projection) =
            (config.hidden_size, config.projection_dim, vs.pp("text_projection"));
        Ok(Self {
            encoder: bert::Encoder::new(sizes, vs.clone())?,
            pooler: Linear::new(hidden, hidden, vs.pp("pooler").pp("dense"))?,
            linear1: Linear::new(hidden, shared, projection.pp("linear1"))?,
            linear2: Linear::new(shared, shared, projection.pp("linear2"))?,
            pad_token_id: config.pad_token_id,
            features: config.features,
        })
    }

    /// u32 ids and a 1/0 mask, both `[batch, tokens]`, to features `[batch, tokens, width]`. Vectors at padding are
    /// without meaning.
    ///
    /// # Errors
    /// When an id is out of range or there are more tokens than positions.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
        let hidden = self.hidden(ids, mask)?;
        match self.features {
            Features::Projected => self.project(&hidden),
            Features::Hidden => Ok(hidden),
        }
    }

    /// The last layer's hidden states, `[batch, tokens, hidden_size]`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn hidden(&self, ids: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
        // Tokens count from the padding's id on; padding itself stays there.
        let counted = (mask.to_dtype(DType::F32)?.cumsum(1)? * mask.to_dtype(DType::F32)?)?;
        let positions = (counted + self.pad_token_id as f64)?.to_dtype(DType::U32)?;
        self.encoder.forward(ids, mask, &positions)
    }

    /// The embeddings that CLAP compares with those of sounds (before it normalises them), `[batch, projection_dim]`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn embed(&self, ids: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
        self.project(&self.hidden(ids, mask)?.narrow(1, 0, 1)?)?.squeeze(1)
    }

    /// CLAP's head, applied to each vector of `[..., hidden_size]`.
    fn project(&self, hidden: &Tensor) -> candle_core::Result<Tensor> {
        let pooled = self.pooler.forward(hidden)?.tanh()?;
        self.linear2.forward(&self.linear1.forward(&pooled)?.relu()?)
    }
}
