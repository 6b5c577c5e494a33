//! The BERT encoder (Devlin et al. 2018), which MiniLM and CLAP's RoBERTa share: they differ in how they number
//! positions and in what follows the last layer.
//!
//! Tensor names are Hugging Face's (`encoder.layer.0.attention.self.query.weight`), linear weights `[in, out]`.

use super::additive_mask;
use crate::layers::{Embedding, LayerNorm, Linear, attention, gelu_erf};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// Sizes of a BERT encoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Rows of the token table.
    pub vocab: usize,
    /// Rows of the position table.
    pub positions: usize,
    /// Rows of the segment table, of which only the first is used.
    pub segments: usize,
    /// Width of the token vectors.
    pub hidden: usize,
    /// Hidden width of the feed-forward part.
    pub inner: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Epsilon of every LayerNorm.
    pub eps: f64,
}

/// Embeddings and layers, without a pooler.
#[derive(Debug)]
pub(super) struct Encoder {
    words: Embedding,
    positions: Embedding,
    /// Row 0 of the segment table, `[hidden]`: a prompt is one segment.
    segment: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Encoder {
    pub(super) fn new(sizes: Sizes, vs: VarBuilder) -> Result<Self> {
        let embeddings = vs.pp("embeddings");
        let table = |rows, name: &str| Embedding::new(rows, sizes.hidden, embeddings.pp(name));
        let words = table(sizes.vocab, "word_embeddings")?;
        let positions = table(sizes.positions, "position_embeddings")?;
        let segments = table(sizes.segments, "token_type_embeddings")?;
        let layers = vs.pp("encoder").pp("layer");
        Ok(Self {
            words,
            positions,
            segment: segments.weight().get(0)?,
            norm: LayerNorm::new(sizes.hidden, sizes.eps, embeddings.pp("LayerNorm"))?,
            layers: (0..sizes.layers)
                .map(|index| Layer::new(sizes, layers.pp(index)))
                .collect::<Result<_>>()?,
        })
    }

    /// u32 ids and a 1/0 mask, both `[batch, tokens]`, with the u32 rows of the position table (`[tokens]`, or
    /// `[batch, tokens]`), to features `[batch, tokens, hidden]`.
    pub(super) fn forward(&self, ids: &Tensor, mask: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let x = self.words.forward(ids)?.broadcast_add(&self.positions.forward(positions)?)?;
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
    fn new(sizes: Sizes, vs: VarBuilder) -> Result<Self> {
        let Sizes { hidden, inner, eps, .. } = sizes;
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
            heads: sizes.heads,
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
