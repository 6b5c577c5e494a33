//! Errors of dragging, in words for the musician: they are shown as they are.

use std::{io, path::PathBuf};

/// Why files cannot be dragged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DragError {
    /// No file, or too many.
    #[error("{found} sounds cannot be dragged at once; 1 to {most} can.", most = super::MAX_FILES)]
    Count {
        /// How many there were.
        found: usize,
    },
    /// The names of the files are longer than the display takes.
    #[error("So many sounds cannot be dragged at once. Try fewer.")]
    TooLong,
    /// A file is not there.
    #[error("\"{}\" is not there any more.", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// The drag's thread could not be started.
    #[error("The drag could not begin: {0}.")]
    Thread(#[from] io::Error),
    /// The window system failed.
    #[error("The window system does not let files be dragged: {reason}. Use \"Show in folder\" instead.")]
    System {
        /// What it said.
        reason: String,
    },
    /// There is no way to drag on this system.
    #[error("Files cannot be dragged on this system. Use \"Show in folder\" instead.")]
    Unsupported,
}
