//! Tensors on disk: safetensors files in f32, f16, bf16 or int8, decoded to f32 one by one.
//!
//! int8 is symmetric with one scale a channel: `x = q * s`. A tensor `name` of dtype I8 comes with an f32 tensor
//! `name.scale` of the same rank whose dimensions are 1 except, at most, the channel's: `[1, out]` for a linear
//! weight `[in, out]`, `[rows, 1]` for a table. The file's metadata says which [part](PART_KEY) of a pack it is.

mod header;
mod layout;
mod read;
mod stream;
mod summary;
mod write;

pub(crate) use header::{Limits, refuse_text};
pub use layout::{Layout, LayoutError, Misfit};
pub use read::Weights;
pub use stream::{Pending, write_file};
pub use summary::Summary;
pub use write::{Storage, encode};

/// Metadata key of the part that a file holds (`text`, `transformer`, `codec`, `vocoder`).
pub const PART_KEY: &str = "soundlocd.part";

/// Metadata key of the architecture of the weights, as JSON.
pub const CONFIG_KEY: &str = "config";

/// What the name of an int8 tensor's scales ends with.
const SCALE_SUFFIX: &str = ".scale";

/// Why a weights file could not be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The bytes are no safetensors file: truncated, damaged, or something else.
    #[error("{file} is not a valid weights file: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be read.
    #[error("{file} cannot be read: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A tensor cannot be used.
    #[error("{file}: the tensor {tensor} {reason}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be written.
    #[error("{file} cannot be written: {reason}")]
    Write {
        /// The file.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// The backend failed.
    #[error("{file}: {source}")]
    Backend {
        /// The file.
        file: String,
        /// What the backend said.
        source: candle_core::Error,
    },
}

#[cfg(test)]
mod tests;
