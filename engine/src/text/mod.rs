//! The prompt becomes features that the denoising transformer attends to.
//!
//! One file an encoder; [`Config`] names the kind, [`TextEncoder`] is the one face they share. Every token's
//! feature vector is used (not a pooled sentence vector), and padding is masked (except CLIP's).

mod bert;
pub mod clap;
pub mod clip;
mod config;
pub mod minilm;
mod published;
pub mod t5;
mod tokenizer;

pub use config::{Config, Kind};
pub use published::Description;
pub use tokenizer::Tokenizer;

use crate::weights::LayoutError;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

/// Why a text encoder could not be built or could not encode.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The tokenizer's description cannot be used.
    #[error("the text tokenizer cannot be used: {0}")]
    Tokenizer(String),
    /// The architecture in the pack's manifest makes no sense.
    #[error("the text encoder's configuration is not valid: {0}")]
    Config(String),
    /// A checkpoint is not of the architecture.
    #[error("this is not the text encoder that was expected: {0}")]
    Layout(#[from] LayoutError),
    /// The network's tensors are missing or misshapen, or the backend failed.
    #[error("the text encoder failed: {0}")]
    Network(#[from] candle_core::Error),
}

/// What the encoder makes of a batch of prompts.
#[derive(Debug, Clone)]
pub struct TextFeatures {
    /// One vector a token, `[batch, tokens, width]`, padded to the batch's longest prompt (CLIP: to its context).
    pub features: Tensor,
    /// 1 at what is attended to, 0 at padding (which CLIP attends to), f32 `[batch, tokens]`.
    pub mask: Tensor,
}

/// The network behind a [`TextEncoder`].
#[derive(Debug)]
pub(crate) enum Network {
    Minilm(minilm::MiniLm),
    Clip(clip::Clip),
    T5(t5::T5),
    Clap(clap::Clap),
}

impl Network {
    pub(crate) fn new(config: &Config, vs: VarBuilder) -> candle_core::Result<Self> {
        Ok(match config {
            Config::Minilm(config) => Self::Minilm(minilm::MiniLm::new(config, vs)?),
            Config::Clip(config) => Self::Clip(clip::Clip::new(config, vs)?),
            Config::T5(config) => Self::T5(t5::T5::new(config, vs)?),
            Config::Clap(config) => Self::Clap(clap::Clap::new(config, vs)?),
        })
    }

    pub(crate) fn forward(&self, ids: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Minilm(network) => network.forward(ids, mask),
            Self::Clip(network) => network.forward(ids),
            Self::T5(network) => network.forward(ids, mask),
            Self::Clap(network) => network.forward(ids, mask),
        }
    }
}

/// A tokenizer and a text encoder: prompt in, features out.
#[derive(Debug)]
pub struct TextEncoder {
    tokenizer: Tokenizer,
    network: Network,
    config: Config,
    device: Device,
}

impl TextEncoder {
    /// Builds the encoder of `config` from the pack's `tokenizer.json` and its tensors under `vs`.
    ///
    /// # Errors
    /// When the tokenizer does not parse, the configuration is not valid, or a tensor is missing or misshapen.
    pub fn new(config: &Config, tokenizer_json: &[u8], vs: VarBuilder) -> Result<Self, TextError> {
        let device = vs.device().clone();
        config.validate().map_err(TextError::Config)?;
        let tokenizer = Tokenizer::of(config, tokenizer_json)?;
        Ok(Self { tokenizer, network: Network::new(config, vs)?, config: config.clone(), device })
    }

    /// Features of one prompt, `[1, tokens, width]`. The empty prompt is the null condition of guidance.
    ///
    /// # Errors
    /// When the tokenizer or the backend fails.
    pub fn encode(&self, prompt: &str) -> Result<TextFeatures, TextError> {
        self.encode_batch(&[prompt])
    }

    /// Features of several prompts at once, padded to the longest; for training.
    ///
    /// # Errors
    /// When the tokenizer or the backend fails, or there are no prompts.
    pub fn encode_batch<S: AsRef<str>>(&self, prompts: &[S]) -> Result<TextFeatures, TextError> {
        let (ids, mask) = self.tokenizer.encode_batch(prompts, &self.device)?;
        let features = self.network.forward(&ids, &mask)?;
        Ok(TextFeatures { features, mask })
    }

    /// The architecture.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Width of the features.
    #[must_use]
    pub fn width(&self) -> usize {
        self.config.width()
    }

    /// The most tokens that a prompt keeps, markers included.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.tokenizer.max_tokens()
    }
}

/// Added to a score, hides it: exp() of it is 0 in f32, and adding a score to it stays finite.
const HIDDEN: f64 = -1e9;

/// An additive attention mask `[batch, 1, 1, tokens]`: 0 at tokens, a large negative number at padding,
/// from a 1/0 mask `[batch, tokens]`.
///
/// # Errors
/// When `mask` is not of two dimensions.
pub fn additive_mask(mask: &Tensor) -> candle_core::Result<Tensor> {
    let (batch, tokens) = mask.dims2()?;
    ((1.0 - mask.to_dtype(DType::F32)?)? * HIDDEN)?.reshape((batch, 1, 1, tokens))
}

#[cfg(test)]
mod tests;
