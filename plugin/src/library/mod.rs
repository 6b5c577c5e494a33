//! The sound library: sounds that are kept for good, whatever becomes of the projects they were made in.
//!
//! A folder of WAV files that any program can read, and beside it a database that finds them: by words of the prompt,
//! the name and the tags, as they are typed. The files are what matters: they hold everything but
//! favourites and tags, and a database that was lost or damaged is made again from them.
//!
//! [`Library`] does the work, and is for threads that may wait for a disk; [`LibraryWorker`] is such a thread, with what
//! the window shows in a [`Shelf`]. Several programs may use one library at once.

mod add;
mod entry;
mod error;
mod files;
mod schema;
mod search;
mod worker;

use std::{
    env,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use soundlocd_engine::pack::library::data_folder;

pub use entry::Entry;
pub use error::LibraryError;
pub use files::{Change, Trashed};
pub use search::{Filter, Page};
pub use worker::{LibraryWorker, Search, Shelf};

/// Environment variable that names another folder for the library.
pub const VARIABLE: &str = "SOUNDLOCD_LIBRARY";

/// The folder of sounds within the library's.
const SOUNDS: &str = "Sounds";

/// An open library. Several may be open on one folder, in one program or in many.
#[derive(Debug)]
pub struct Library {
    folder: PathBuf,
    connection: Connection,
    notice: Option<String>,
}

impl Library {
    /// Where the user's library is: where [`VARIABLE`] says, else `SoundLoCD` in the system's folder for data.
    /// `None` for a user without a home.
    #[must_use]
    pub fn default_folder() -> Option<PathBuf> {
        match env::var_os(VARIABLE) {
            Some(folder) if !folder.is_empty() => Some(folder.into()),
            _ => data_folder(),
        }
    }

    /// The folder with the sounds of the user's library, which may be missing. `None` for a user without a home.
    #[must_use]
    pub fn default_sounds() -> Option<PathBuf> {
        Some(Self::default_folder()?.join(SOUNDS))
    }

    /// Opens the library in `folder`, or makes an empty one. A database that is damaged is set aside under
    /// another name and made again from the sounds; [`Self::notice`] says so then.
    ///
    /// # Errors
    /// Where the folder cannot be written, or the library is of a newer version: it is left as it is.
    pub fn open(folder: &Path) -> Result<Self, LibraryError> {
        let opened = schema::open(folder)?;
        let mut library = Self { folder: folder.to_owned(), connection: opened.connection, notice: None };
        if opened.is_new {
            // A new database beside old sounds: it was lost.
            library.refresh()?;
        }
        library.notice = opened.damage;
        Ok(library)
    }

    /// What happened when it was opened, in a sentence for the user, if anything did.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// The folder with the sounds. It may be missing as long as there are none.
    #[must_use]
    pub fn sounds(&self) -> PathBuf {
        self.folder.join(SOUNDS)
    }
}

#[cfg(test)]
mod sharing_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worker_tests;
