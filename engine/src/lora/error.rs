//! Why an adapter cannot be used.

use super::MAX_RANK;
use crate::weights::WeightsError;
use std::path::PathBuf;

/// Why an adapter cannot be used. Nothing of it has been applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A name that means no matrix of a transformer.
    #[error("the adapter names {found}, which is no attention matrix such as blocks.0.self_attn.q")]
    UnknownTarget {
        /// The name.
        found: String,
    },
    /// A target that the transformer lacks.
    #[error("the adapter changes {target}, but the model has {layers} blocks only")]
    NoSuchBlock {
        /// The target.
        target: String,
        /// Blocks of the transformer.
        layers: usize,
    },
    /// A matrix of another shape than the target needs.
    #[error("the adapter's {tensor}: expected the shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// What the target and the rank need.
        expected: Vec<usize>,
        /// What is there.
        found: Vec<usize>,
    },
    /// A rank, alpha or strength that cannot be.
    #[error("the adapter's {what} is {found}, expected {expected}")]
    Number {
        /// Which number.
        what: &'static str,
        /// What it is.
        found: f64,
        /// What it can be.
        expected: &'static str,
    },
    /// A rank above [`MAX_RANK`], by the shape of a tensor.
    #[error("the adapter's {tensor} has the rank {found}; at most {MAX_RANK} is possible")]
    Rank {
        /// The tensor.
        tensor: String,
        /// Its rank.
        found: usize,
    },
    /// The file or folder cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file too large or too small to be an adapter.
    #[error("{path} has {found} bytes; an adapter has at most {most}")]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// A folder without an adapter in it.
    #[error("{path} holds no adapter: expected {expected} in it")]
    Empty {
        /// The folder.
        path: PathBuf,
        /// The file that would be there.
        expected: &'static str,
    },
    /// PyTorch's pickles, which may hold programs.
    #[error(
        "{file} is a PyTorch pickle. Such files can run programs when they are opened; ask its author for a \
         .safetensors file, or convert it with PEFT (save_pretrained, safe_serialization=True)"
    )]
    Pickle {
        /// The file.
        file: String,
    },
    /// Another kind of adapter than LoRA.
    #[error("{file} is {kind} (its {found} says so); only plain LoRA can be used")]
    Kind {
        /// The file.
        file: String,
        /// The kind, as in "a DoRA adapter".
        kind: String,
        /// The tensor or setting that tells.
        found: String,
    },
    /// Not readable as safetensors, or a tensor that cannot be decoded.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tensor that means nothing here.
    #[error(
        "{file}: the tensor {tensor} belongs to no attention matrix of this kind of model, so it would go unused"
    )]
    Unused {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
    },
    /// A matrix without its partner.
    #[error("{file}: {found} is there, but {missing} is missing")]
    Missing {
        /// The file.
        file: String,
        /// What is there.
        found: String,
        /// What is not.
        missing: String,
    },
    /// Two tensors for one place.
    #[error("{file}: both {first} and {second} are there, for the same matrix")]
    Twice {
        /// The file.
        file: String,
        /// A tensor.
        first: String,
        /// The other one.
        second: String,
    },
    /// The card, or PEFT's settings, say something that cannot be or does not fit the tensors.
    #[error("{file}: {what}: expected {expected}, found {found}")]
    Card {
        /// The file.
        file: String,
        /// Which field.
        what: &'static str,
        /// What would fit.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Made for another base model.
    #[error(
        "{file} was made for {expected}, not for {found}. It would change the sound in ways nobody intended"
    )]
    Base {
        /// The file.
        file: String,
        /// The base that it names.
        expected: String,
        /// The base that it was to be used with.
        found: String,
    },
    /// The file at the path is another one than was chosen.
    #[error("{path} has changed since it was chosen. Choose it again")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The tensor library failed.
    #[error(transparent)]
    Backend(#[from] candle_core::Error),
}
