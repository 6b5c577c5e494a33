//! Why a checkpoint cannot be read.

use std::path::PathBuf;

/// Why a published checkpoint, or a tensor of it, cannot be read. Every message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be opened or read.
    #[error("{file} cannot be read: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a checkpoint, is truncated, or exceeds a limit.
    #[error("{file} cannot be used as a checkpoint: {reason}")]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and the way out where there is one.
        reason: String,
    },
    /// The file names a function or class that has no business in a checkpoint.
    #[error(
        "{file} is refused: loading it the usual way would run or make {name}, which no weights need. Nothing of \
         it was run. Get the checkpoint from a source you trust"
    )]
    Forbidden {
        /// The file.
        file: PathBuf,
        /// The function or class, as `module.name`.
        name: String,
    },
    /// A tensor cannot be read.
    #[error("{file}: the tensor {tensor} {reason}")]
    Tensor {
        /// The file.
        file: PathBuf,
        /// The tensor's full name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
}
