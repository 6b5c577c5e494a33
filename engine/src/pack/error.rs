//! Why a pack cannot be used.

use super::Part;
use crate::text::TextError;
use crate::weights::{LayoutError, WeightsError};
use std::path::PathBuf;

/// Why a model pack, or a part of it, cannot be used. Every message names the file at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The folder holds no `pack.json`.
    #[error("{folder} is not a model pack: it has no pack.json")]
    NotAPack {
        /// The folder.
        folder: PathBuf,
    },
    /// Another pack is in the folder than the one that was looked for.
    #[error("the model pack in {folder} has changed since it was found: rescan the packs and choose again")]
    Changed {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of the pack is not there.
    #[error("the model pack is incomplete: {file} is missing from {folder}")]
    Missing {
        /// The file.
        file: String,
        /// The pack's folder.
        folder: PathBuf,
    },
    /// A file could not be read.
    #[error("{file} of the model pack cannot be read: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// `pack.json` is not a manifest, or what it says cannot be.
    #[error("pack.json is not valid: {0}")]
    Manifest(String),
    /// The pack was made for another version.
    #[error(
        "the model pack has format {found}, this version reads format {supported}: get a newer version of the \
         program or another pack"
    )]
    Format {
        /// The pack's format.
        found: u32,
        /// The only one that this engine reads.
        supported: u32,
    },
    /// A file name in the manifest could lead out of the pack's folder.
    #[error(
        "pack.json names the file {name:?}; only plain names of letters, digits, '.', '_' and '-' are allowed"
    )]
    UnsafeName {
        /// The name, shortened.
        name: String,
    },
    /// A file is truncated or too long.
    #[error(
        "{file} of the model pack has {found} bytes instead of {expected}: it is damaged or of another pack"
    )]
    Size {
        /// The file.
        file: String,
        /// Bytes according to the manifest.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A file's content is not what the manifest says.
    #[error(
        "{file} of the model pack is damaged or of another pack: its SHA-256 is {found} instead of {expected}"
    )]
    Hash {
        /// The file.
        file: String,
        /// Hash according to the manifest.
        expected: String,
        /// Hash of what is there.
        found: String,
    },
    /// A weights file of one part lies in the place of another's.
    #[error("{file} of the model pack holds the weights of a {found}, not of the {expected}")]
    WrongPart {
        /// The file.
        file: String,
        /// The part that should be there.
        expected: Part,
        /// The part that is.
        found: String,
    },
    /// The pack is still without weights for a part.
    #[error("{file} of the model pack is empty: the {part} has not been trained yet")]
    Untrained {
        /// The file.
        file: String,
        /// The part.
        part: Part,
    },
    /// A weights file does not decode.
    #[error("the model pack is damaged: {0}")]
    Weights(#[from] WeightsError),
    /// The text encoder cannot be built of its files.
    #[error("{file} of the model pack: {source}")]
    Text {
        /// The weights file.
        file: String,
        /// The cause.
        source: TextError,
    },
    /// The tensors of a part are not those of its architecture.
    #[error("{file} of the model pack does not fit the {part} that pack.json describes: {source}")]
    Layout {
        /// The weights file.
        file: String,
        /// The part.
        part: Part,
        /// All that differs.
        source: LayoutError,
    },
    /// A part cannot be built of its weights: a tensor is missing or of another shape.
    #[error("{file} of the model pack does not fit the {part} that pack.json describes: {source}")]
    Build {
        /// The weights file.
        file: String,
        /// The part.
        part: Part,
        /// The cause, with the tensor's name.
        source: candle_core::Error,
    },
    /// The device did not finish what loading began.
    #[error("the device failed while it loaded the model: {source}")]
    Device {
        /// The cause.
        source: candle_core::Error,
    },
}
