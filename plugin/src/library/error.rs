//! Errors of the library, in words for the musician: they are shown as they are.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;
use soundlocd_engine::clip::ClipError;

/// Why the library could not do what it was asked for. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// The folder or a file in it cannot be read or written.
    #[error("The sound library could not use \"{}\": {source}.", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The database cannot be read or written.
    #[error("The sound library cannot be read or changed: {}.", reason(.0))]
    Database(#[from] rusqlite::Error),
    /// It was made by a later version of SoundLoCD.
    #[error("The sound library needs a newer SoundLoCD (format {found}; this one knows {known}).")]
    Newer {
        /// The library's format version.
        found: i64,
        /// The newest that this version uses.
        known: i64,
    },
    /// A sound could not be written or read.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// The sound is not in the library, or no longer.
    #[error("This sound is no longer in the library.")]
    Unknown,
    /// The sound's file is not where it was.
    #[error("\"{}\" is not there any more. Put it back, show where it is, or remove the sound from the list.", path.display())]
    Missing {
        /// Where it was.
        path: PathBuf,
    },
    /// Nothing of the name can be used for a file.
    #[error("A name needs letters or digits.")]
    BadName,
    /// The file holds something else.
    #[error("\"{}\" is another sound.", path.display())]
    OtherSound {
        /// The file.
        path: PathBuf,
    },
    /// The path cannot be kept as text.
    #[error("The path \"{}\" has characters that cannot be stored.", path.display())]
    OddPath {
        /// The path.
        path: PathBuf,
    },
}

impl LibraryError {
    /// An [`Self::Io`]; for `map_err(LibraryError::io(path))`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// Whether the database is damaged, so that waiting or trying again does not help.
    pub(super) fn is_damage(&self) -> bool {
        let Self::Database(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

/// The database's error without its jargon where it is a common one.
fn reason(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program is using it".into(),
        Some(ErrorCode::DiskFull) => "the disk is full".into(),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "it is write-protected".into(),
        Some(ErrorCode::CannotOpen) => "its folder cannot be used".into(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "it is damaged; try again, and it is made anew from the sounds".into()
        }
        _ => error.to_string(),
    }
}
