//! Which pack, and where it is.

use super::source::Source;
use super::{Pack, PackError};
use std::path::PathBuf;

/// Enough to open a pack again and to tell it from others; nothing of its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PackRef {
    /// The default pack, inside the program.
    #[default]
    Embedded,
    /// A pack in a folder.
    Folder {
        /// SHA-256 of its `pack.json`, lower-case hexadecimal: see [`Pack::hash`].
        hash: String,
        /// The folder that `pack.json` is in.
        folder: PathBuf,
    },
}

impl From<&Pack> for PackRef {
    fn from(pack: &Pack) -> Self {
        match &pack.source {
            Source::Embedded => Self::Embedded,
            Source::Folder(folder) => Self::Folder { hash: pack.hash.clone(), folder: folder.clone() },
        }
    }
}

impl PackRef {
    /// Opens the pack.
    ///
    /// # Errors
    /// As [`Pack::open`]; [`PackError::Changed`] if another pack is in the folder by now.
    pub fn open(&self) -> Result<Pack, PackError> {
        match self {
            Self::Embedded => Pack::embedded(),
            Self::Folder { hash, folder } => {
                let pack = Pack::open(folder)?;
                if pack.hash() == hash {
                    Ok(pack)
                } else {
                    Err(PackError::Changed { folder: folder.clone() })
                }
            }
        }
    }

    /// Whether both are the same pack, wherever it is.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Embedded, Self::Embedded) => true,
            (Self::Folder { hash, .. }, Self::Folder { hash: other, .. }) => hash == other,
            _ => false,
        }
    }
}
