//! The prompt becomes features that the denoising transformer attends to.
//!
//! One file an encoder; [`Config`] names the kind, [`TextEncoder`] is the one face they share. Every token's
//! feature vector is used (not a pooled sentence vector), and padding is masked.

pub mod minilm;
mod tokenizer;

pub use tokenizer::Tokenizer;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Architecture of a pack's text encoder, by kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Config {
    /// A BERT encoder with WordPiece tokens, such as all-MiniLM-L6-v2.
    Minilm(minilm::Config),
}

impl Config {
    /// Width of the features, the transformer's `cond_dim`.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Minilm(config) => config.hidden_size,
        }
    }
}

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
    /// The network's tensors are missing or misshapen, or the backend failed.
    #[error("the text encoder failed: {0}")]
    Network(#[from] candle_core::Error),
}

/// What the encoder makes of a batch of prompts.
#[derive(Debug, Clone)]
pub struct TextFeatures {
    /// One vector a token, `[batch, tokens, width]`, padded to the batch's longest prompt.
    pub features: Tensor,
    /// 1 where a token is, 0 at padding, f32 `[batch, tokens]`.
    pub mask: Tensor,
}

/// The network behind a [`TextEncoder`].
#[derive(Debug)]
enum Network {
    Minilm(minilm::MiniLm),
}

/// A tokenizer and a text encoder: prompt in, features out.
#[derive(Debug)]
pub struct TextEncoder {
    tokenizer: Tokenizer,
    network: Network,
    width: usize,
    device: Device,
}

impl TextEncoder {
    /// Builds the encoder of `config` from the pack's `tokenizer.json` and its tensors under `vs`.
    ///
    /// # Errors
    /// When the tokenizer does not parse, the configuration is not valid, or a tensor is missing or misshapen.
    pub fn new(config: &Config, tokenizer_json: &[u8], vs: VarBuilder) -> Result<Self, TextError> {
        let device = vs.device().clone();
        match config {
            Config::Minilm(minilm) => {
                minilm.validate().map_err(TextError::Config)?;
                let tokenizer = Tokenizer::new(tokenizer_json, minilm.max_tokens, minilm.vocab_size)?;
                let network = Network::Minilm(minilm::MiniLm::new(minilm, vs)?);
                Ok(Self { tokenizer, network, width: config.width(), device })
            }
        }
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
        let features = match &self.network {
            Network::Minilm(network) => network.forward(&ids, &mask)?,
        };
        Ok(TextFeatures { features, mask })
    }

    /// Width of the features.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The most tokens that a prompt keeps, markers included.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.tokenizer.max_tokens()
    }
}

/// An additive attention mask `[batch, 1, 1, tokens]`: 0 at tokens, a large negative number at padding,
/// from a 1/0 mask `[batch, tokens]`.
///
/// # Errors
/// When `mask` is not of two dimensions.
pub fn additive_mask(mask: &Tensor) -> candle_core::Result<Tensor> {
    // Large enough that exp() of it is 0 in f32, small enough that adding a score to it stays finite.
    const HIDDEN: f64 = 1e9;
    let (batch, tokens) = mask.dims2()?;
    ((mask.to_dtype(DType::F32)? - 1.0)? * HIDDEN)?.reshape((batch, 1, 1, tokens))
}

#[cfg(test)]
mod tests;
