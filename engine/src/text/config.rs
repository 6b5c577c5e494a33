//! Which text encoder a pack has, and of what sizes.

use super::published::Description;
use super::{Network, TextError, clap, clip, minilm, t5};
use crate::weights::Layout;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

/// The text encoders of the paper's Table 1, and the default pack's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sentence encoder of BERT's kind.
    Minilm,
    /// CLIP's text tower.
    Clip,
    /// T5's encoder.
    T5,
    /// CLAP's RoBERTa.
    Clap,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Minilm, Self::Clip, Self::T5, Self::Clap];

    /// The name in a manifest and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minilm => "minilm",
            Self::Clip => "clip",
            Self::T5 => "t5",
            Self::Clap => "clap",
        }
    }

    /// A checkpoint as Hugging Face publishes it, in our layout: linear weights `[in, out]`, other parts of the model
    /// left out.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn from_hugging_face(
        self,
        checkpoint: &HashMap<String, Tensor>,
    ) -> candle_core::Result<BTreeMap<String, Tensor>> {
        match self {
            Self::Minilm => minilm::from_hugging_face(checkpoint),
            Self::Clip => clip::from_hugging_face(checkpoint),
            Self::T5 => t5::from_hugging_face(checkpoint),
            Self::Clap => clap::from_hugging_face(checkpoint),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::name);
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("expected one of {}, found {name}", known.join(", ")))
    }
}

/// Architecture of a pack's text encoder, by kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Config {
    /// A BERT encoder with WordPiece tokens, such as all-MiniLM-L6-v2.
    Minilm(minilm::Config),
    /// CLIP's text tower, as Diffsound uses it.
    Clip(clip::Config),
    /// T5's encoder with SentencePiece tokens, such as T5-small.
    T5(t5::Config),
    /// The RoBERTa text tower of CLAP.
    Clap(clap::Config),
}

impl Config {
    /// The sizes of tensors in our layout, and whether they are a text encoder of `kind` at all. `description` tells
    /// what shapes do not; where it is silent, the published model's values are taken.
    ///
    /// # Errors
    /// When tensors are missing, unexpected or of shapes that do not fit each other, with every one's name.
    pub fn infer(
        kind: Kind,
        tensors: &BTreeMap<String, Tensor>,
        description: &Description,
    ) -> Result<Self, TextError> {
        let config = match kind {
            Kind::Minilm => Self::Minilm(minilm::Config::infer(tensors, description)?),
            Kind::Clip => Self::Clip(clip::Config::infer(tensors, description)?),
            Kind::T5 => Self::T5(t5::Config::infer(tensors, description)?),
            Kind::Clap => Self::Clap(clap::Config::infer(tensors, description)?),
        };
        config.layout()?.check(tensors)?;
        Ok(config)
    }

    /// The tensors that an encoder of these sizes loads.
    ///
    /// # Errors
    /// When the sizes cannot work.
    pub fn layout(&self) -> Result<Layout, TextError> {
        self.validate().map_err(TextError::Config)?;
        Ok(Layout::of(|vs| Network::new(self, vs))?)
    }

    /// Refuses sizes that cannot work, in words.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), String> {
        match self {
            Self::Minilm(config) => config.validate(),
            Self::Clip(config) => config.validate(),
            Self::T5(config) => config.validate(),
            Self::Clap(config) => config.validate(),
        }
    }

    /// Which encoder it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Minilm(_) => Kind::Minilm,
            Self::Clip(_) => Kind::Clip,
            Self::T5(_) => Kind::T5,
            Self::Clap(_) => Kind::Clap,
        }
    }

    /// Width of the features, the transformer's `cond_dim`.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Minilm(config) => config.hidden_size,
            Self::Clip(config) => config.hidden_size,
            Self::T5(config) => config.d_model,
            Self::Clap(config) => config.width(),
        }
    }

    /// Rows of the token table.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Minilm(config) => config.vocab_size,
            Self::Clip(config) => config.vocab_size,
            Self::T5(config) => config.vocab_size,
            Self::Clap(config) => config.vocab_size,
        }
    }

    /// The most tokens of a prompt, markers included.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        match self {
            Self::Minilm(config) => config.max_tokens,
            Self::Clip(config) => config.max_position_embeddings,
            Self::T5(config) => config.max_tokens,
            Self::Clap(config) => config.max_tokens,
        }
    }

    /// The same with prompts cut to `max_tokens`. CLIP's are always padded to its whole context and stay so.
    #[must_use]
    pub fn with_max_tokens(mut self, max_tokens: usize) -> Self {
        match &mut self {
            Self::Minilm(config) => config.max_tokens = max_tokens,
            Self::Clip(_) => {}
            Self::T5(config) => config.max_tokens = max_tokens,
            Self::Clap(config) => config.max_tokens = max_tokens,
        }
        self
    }
}

/// Bounds of what [`check_sizes`] is asked for: some four times the largest encoders that are published.
pub(super) const MAX_VOCAB: usize = 1 << 20;
pub(super) const MAX_WIDTH: usize = 1 << 14;
pub(super) const MAX_INNER: usize = 1 << 16;
pub(super) const MAX_LAYERS: usize = 256;
pub(super) const MAX_HEADS: usize = 256;

/// Refuses the first `(name, value, most)` that is not 1 to `most`.
pub(super) fn check_sizes(sizes: &[(&str, usize, usize)]) -> Result<(), String> {
    match sizes.iter().find(|(_, value, most)| *value == 0 || value > most) {
        Some((name, value, most)) => Err(format!("{name} is {value}, expected 1 to {most}")),
        None => Ok(()),
    }
}

/// Refuses a width that does not divide into `heads`.
pub(super) fn check_heads(name: &str, width: usize, heads: usize) -> Result<(), String> {
    if width.is_multiple_of(heads) {
        return Ok(());
    }
    Err(format!("{name} {width} is not a multiple of {heads} attention heads"))
}

/// Refuses what is no epsilon.
pub(super) fn check_epsilon(name: &str, value: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(format!("{name} is {value}, expected 0 to 1")) }
}
