//! Prompt to token ids, by the Hugging Face `tokenizer.json` that comes with the weights.

use super::{Config, TextError, clip};
use candle_core::{Device, Tensor};
use std::borrow::Cow;
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

/// A `tokenizer.json` larger than this is refused: the largest in use are a few megabytes.
const MAX_DESCRIPTION_BYTES: usize = 32 << 20;

/// Fills up a batch: masked, or what CLIP pads with.
const PADDING: u32 = 0;

/// What an encoder expects of its prompts besides their vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Convention {
    /// As many tokens as a prompt has; padding to the batch's longest is masked.
    Masked,
    /// CLIP's: the prompt is cleaned first, and padding to the whole context counts like tokens.
    Clip,
}

/// A tokenizer with a limit on the number of tokens.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    max_tokens: usize,
    convention: Convention,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("max_tokens", &self.max_tokens).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json` as the encoder of `config` wants it.
    ///
    /// # Errors
    /// As [`Self::new`], and when CLIP's tower gets a tokenizer that is not CLIP's.
    pub fn of(config: &Config, json: &[u8]) -> Result<Self, TextError> {
        let mut tokenizer = Self::new(json, config.max_tokens(), config.vocab_size())?;
        if matches!(config, Config::Clip(_)) {
            tokenizer.convention = Convention::Clip;
            // The markers are the last two of CLIP's vocabulary: other tokenizers have other ids for other bytes.
            let (found, end) = (tokenizer.encode("")?, config.vocab_size().saturating_sub(1));
            let expected = [end.saturating_sub(1), end];
            if !found.iter().map(|id| *id as usize).eq(expected) {
                return Err(TextError::Tokenizer(format!(
                    "it is not CLIP's: expected the markers {expected:?} around a prompt, found {found:?}"
                )));
            }
        }
        Ok(tokenizer)
    }

    /// Reads a `tokenizer.json`. Prompts are cut to `max_tokens` (markers such as `[CLS]` count, and are kept);
    /// every id must be below `vocab_size`, the rows of the encoder's embedding table.
    ///
    /// # Errors
    /// When the description is too large, does not parse, or has ids that the table lacks.
    pub fn new(json: &[u8], max_tokens: usize, vocab_size: usize) -> Result<Self, TextError> {
        if json.len() > MAX_DESCRIPTION_BYTES {
            return Err(TextError::Tokenizer(format!(
                "its description has {} bytes, more than the {MAX_DESCRIPTION_BYTES} allowed",
                json.len()
            )));
        }
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(describe)?;
        if let Some(id) = inner.get_vocab(true).into_values().max()
            && id as usize >= vocab_size
        {
            return Err(TextError::Tokenizer(format!(
                "it has the id {id}, but the encoder knows only {vocab_size} tokens"
            )));
        }
        // The file's own limits are for other uses (all-MiniLM pads everything to 128): ours replace them.
        inner.with_padding(None);
        inner
            .with_truncation(Some(TruncationParams {
                direction: TruncationDirection::Right,
                max_length: max_tokens,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            }))
            .map_err(describe)?;
        Ok(Self { inner, max_tokens, convention: Convention::Masked })
    }

    /// Ids of one prompt, markers included, at most `max_tokens`.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>, TextError> {
        let prompt = match self.convention {
            Convention::Masked => Cow::Borrowed(prompt),
            Convention::Clip => Cow::Owned(clip::clean(prompt)),
        };
        // encode_fast skips the character offsets, which nothing here uses.
        let mut ids = self.inner.encode_fast(prompt, true).map_err(describe)?.get_ids().to_vec();
        ids.truncate(self.max_tokens);
        if ids.is_empty() {
            return Err(TextError::Tokenizer("it makes no tokens at all of a prompt".into()));
        }
        Ok(ids)
    }

    /// u32 ids `[batch, longest]`, padded with id 0, and their f32 mask (1 token, 0 padding) of the same shape. CLIP's are
    /// padded to its whole context, and nothing is masked.
    ///
    /// # Errors
    /// When the tokenizer fails or there are no prompts.
    pub fn encode_batch<S: AsRef<str>>(
        &self,
        prompts: &[S],
        device: &Device,
    ) -> Result<(Tensor, Tensor), TextError> {
        let rows: Vec<Vec<u32>> =
            prompts.iter().map(|prompt| self.encode(prompt.as_ref())).collect::<Result<_, _>>()?;
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        if longest == 0 {
            return Err(TextError::Tokenizer("there is no prompt to encode".into()));
        }
        let length = match self.convention {
            Convention::Masked => longest,
            Convention::Clip => self.max_tokens,
        };
        let mut ids = Vec::with_capacity(rows.len() * length);
        let mut mask = Vec::with_capacity(rows.len() * length);
        for row in &rows {
            ids.extend(row.iter().copied().chain(std::iter::repeat(PADDING)).take(length));
            let attended = if self.convention == Convention::Clip { length } else { row.len() };
            mask.extend((0..length).map(|at| if at < attended { 1f32 } else { 0.0 }));
        }
        let shape = (rows.len(), length);
        Ok((Tensor::from_vec(ids, shape, device)?, Tensor::from_vec(mask, shape, device)?))
    }

    /// The most tokens that a prompt keeps.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }
}

/// The tokenizer crate's boxed errors as ours.
fn describe(error: tokenizers::Error) -> TextError {
    TextError::Tokenizer(error.to_string())
}
