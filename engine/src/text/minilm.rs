//! The BERT encoder (Devlin et al. 2018) in the sizes of MiniLM (Wang et al. 2020), without the pooler.
//!
//! Tensor names are Hugging Face's (`encoder.layer.0.attention.self.query.weight`), linear weights `[in, out]`.

use super::additive_mask;
use crate::layers::{Embedding, LayerNorm, Linear, attention, gelu_erf};
use candle_core::{Result, Tensor};
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
    pub fn validate(&self) -> std::result::Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 20),
            ("hidden_size", self.hidden_size, 1 << 14),
            ("num_hidden_layers", self.num_hidden_layers, 256),
            ("num_attention_heads", self.num_attention_heads, 256),
            ("intermediate_size", self.intermediate_size, 1 << 16),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 16),
            ("type_vocab_size", self.type_vocab_size, 1 << 10),
        ];
        for (name, value, most) in sizes {
            if value == 0 || value > most {
                return Err(format!("{name} is {value}, expected 1 to {most}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!(
                "hidden_size {} is not a multiple of {} attention heads",
                self.hidden_size, self.num_attention_heads
            ));
        }
        // Three: both markers and a word.
        if self.max_tokens < 3 || self.max_tokens > self.max_position_embeddings {
            return Err(format!(
                "max_tokens is {}, expected 3 to {} (max_position_embeddings)",
                self.max_tokens, self.max_position_embeddings
            ));
        }
        if !(self.layer_norm_eps.is_finite() && self.layer_norm_eps >= 0.0) {
            return Err(format!("layer_norm_eps is {}", self.layer_norm_eps));
        }
        Ok(())
    }
}

/// A checkpoint as Hugging Face publishes it, in our layout: linear weights transposed to `[in, out]`, what the
/// encoder does not use (the pooler, the constant position ids) left out.
///
/// # Errors
/// Whatever the backend reports.
pub fn from_hugging_face(checkpoint: &HashMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    checkpoint
        .iter()
        .filter(|(name, _)| !name.starts_with("pooler.") && *name != "embeddings.position_ids")
        .map(|(name, tensor)| {
            // Tables are [rows, width] in both layouts.
            let linear = tensor.rank() == 2 && !name.starts_with("embeddings.");
            Ok((name.clone(), if linear { tensor.t()?.contiguous()? } else { tensor.clone() }))
        })
        .collect()
}

/// The encoder.
#[derive(Debug)]
pub struct MiniLm {
    words: Embedding,
    positions: Tensor,
    /// Row 0 of the segment table, `[hidden]`: a prompt is one segment.
    segment: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl MiniLm {
    /// Loads the encoder's tensors.
    ///
    /// # Errors
    /// When one is missing or of another shape.
    pub fn new(config: &Config, vs: VarBuilder) -> Result<Self> {
        let hidden = config.hidden_size;
        let embeddings = vs.pp("embeddings");
        let table = |rows, name: &str| Embedding::new(rows, hidden, embeddings.pp(name));
        let words = table(config.vocab_size, "word_embeddings")?;
        let positions = table(config.max_position_embeddings, "position_embeddings")?;
        let segments = table(config.type_vocab_size, "token_type_embeddings")?;
        let layers = vs.pp("encoder").pp("layer");
        Ok(Self {
            words,
            positions: positions.weight().clone(),
            segment: segments.weight().get(0)?,
            norm: LayerNorm::new(hidden, config.layer_norm_eps, embeddings.pp("LayerNorm"))?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::new(config, layers.pp(index)))
                .collect::<Result<_>>()?,
        })
    }

    /// u32 ids and a 1/0 mask, both `[batch, tokens]`, to features `[batch, tokens, hidden]`. Vectors at padding
    /// are without meaning.
    ///
    /// # Errors
    /// When an id is out of range or there are more tokens than positions.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let tokens = ids.dim(1)?;
        let x = self.words.forward(ids)?.broadcast_add(&self.positions.narrow(0, 0, tokens)?)?;
        let mut x = self.norm.forward(&x.broadcast_add(&self.segment)?)?;
        let mask = additive_mask(mask)?;
        for layer in &self.layers {
            x = layer.forward(&x, &mask)?;
        }
        Ok(x)
    }
}

/// One post-norm encoder layer.
#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    heads: usize,
}

impl Layer {
    fn new(config: &Config, vs: VarBuilder) -> Result<Self> {
        let (hidden, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let attention = vs.pp("attention");
        let project = |name: &str| Linear::new(hidden, hidden, attention.pp("self").pp(name));
        Ok(Self {
            query: project("query")?,
            key: project("key")?,
            value: project("value")?,
            attention_output: Linear::new(hidden, hidden, attention.pp("output").pp("dense"))?,
            attention_norm: LayerNorm::new(hidden, eps, attention.pp("output").pp("LayerNorm"))?,
            intermediate: Linear::new(hidden, inner, vs.pp("intermediate").pp("dense"))?,
            output: Linear::new(inner, hidden, vs.pp("output").pp("dense"))?,
            output_norm: LayerNorm::new(hidden, eps, vs.pp("output").pp("LayerNorm"))?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (q, k, v) = (self.query.forward(x)?, self.key.forward(x)?, self.value.forward(x)?);
        let attended = self.attention_output.forward(&attention(&q, &k, &v, self.heads, Some(mask))?)?;
        let x = self.attention_norm.forward(&(x + attended)?)?;
        let inner = gelu_erf(&self.intermediate.forward(&x)?)?;
        self.output_norm.forward(&(&x + self.output.forward(&inner)?)?)
    }
}
