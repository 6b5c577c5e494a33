//! What the user does with sounds of the library, and what becomes of their files meanwhile.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use rusqlite::{OptionalExtension as _, TransactionBehavior, params};
use soundlocd_engine::clip::wav;

use super::{Entry, Library, LibraryError, add, entry::COLUMNS};

/// Files of the folder that are looked at.
const MAX_FILES: usize = 100_000;
/// Tags of a sound, and characters of each.
const MAX_TAGS: usize = 32;
const MAX_TAG_CHARS: usize = 64;
/// Where sounds go that the system has no rubbish bin for, within the library's folder.
const TRASH: &str = "Trash";

/// What [`Library::refresh`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Files that are listed now and were not.
    pub added: usize,
    /// Sounds whose files are not there.
    pub missing: usize,
    /// Files in the folder that are no sounds, or cannot be read.
    pub unusable: usize,
}

/// Where a sound went that was thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trashed {
    /// Into the system's rubbish bin.
    System,
    /// Here, since the system offers no rubbish bin.
    Folder(PathBuf),
    /// Its file was gone already.
    Gone,
}

impl Library {
    /// The sound `id`.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`] if it is not in the library.
    pub fn entry(&self, id: i64) -> Result<Entry, LibraryError> {
        let sql = format!("SELECT {COLUMNS} FROM sound WHERE id = ?1");
        let sounds = self.sounds();
        let found = self.connection.query_row(&sql, [id], |row| Entry::from_row(row, &sounds)).optional()?;
        found.ok_or(LibraryError::Unknown)
    }

    /// Marks the sound or takes the mark away.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`], or where the database cannot be written.
    pub fn set_favourite(&mut self, id: i64, is_favourite: bool) -> Result<Entry, LibraryError> {
        self.connection
            .execute("UPDATE sound SET favourite = ?2 WHERE id = ?1", params![id, is_favourite])?;
        self.entry(id)
    }

    /// Gives the sound these tags instead of those that it had. Spaces around them, control characters and repetitions
    /// are dropped, and what exceeds 32 tags of 64 characters.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`], or where the database cannot be written.
    pub fn set_tags(&mut self, id: i64, tags: &[String]) -> Result<Entry, LibraryError> {
        let tags = serde_json::to_string(&clean_tags(tags)).unwrap_or_else(|_| "[]".to_owned());
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if transaction.execute("UPDATE sound SET tags = ?2 WHERE id = ?1", params![id, tags])? == 0 {
            return Err(LibraryError::Unknown);
        }
        add::index(&transaction, id)?;
        transaction.commit()?;
        self.entry(id)
    }

    /// Gives the sound's file another name, in the folder where it is. What no system allows in names is left
    /// out, and a number added if the name is taken.
    ///
    /// # Errors
    /// [`LibraryError::BadName`] for a name of which nothing is left, [`LibraryError::Missing`], or where the file or the
    /// database cannot be changed.
    pub fn rename(&mut self, id: i64, name: &str) -> Result<Entry, LibraryError> {
        let entry = self.entry(id)?;
        let stem = wav::legal_stem(name).ok_or(LibraryError::BadName)?;
        if stem == entry.name() {
            return Ok(entry);
        }
        if !entry.path.is_file() {
            return Err(LibraryError::Missing { path: entry.path });
        }
        let folder = entry.path.parent().unwrap_or(Path::new(""));
        let path = wav::under_free_name(folder, &stem, |path| wav::move_to_new(&entry.path, path))
            .map_err(LibraryError::io(&entry.path))?;
        let renamed = self.point_to(id, &path);
        if renamed.is_err() {
            let _ = wav::move_to_new(&path, &entry.path);
        }
        renamed
    }

    /// Throws the sound away: its file goes into the system's rubbish bin, or, where that fails, into the folder
    /// `Trash` of the library; it is no longer listed.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`], or where the file or the database cannot be changed.
    pub fn trash(&mut self, id: i64) -> Result<Trashed, LibraryError> {
        self.trash_with(id, |path| trash::delete(path).is_ok())
    }

    /// As [`Self::trash`], with the system's rubbish bin given: whether it took the file.
    pub(super) fn trash_with(
        &mut self,
        id: i64,
        system: impl Fn(&Path) -> bool,
    ) -> Result<Trashed, LibraryError> {
        let entry = self.entry(id)?;
        let trashed = if !entry.path.is_file() {
            Trashed::Gone
        } else if system(&entry.path) {
            Trashed::System
        } else {
            let folder = self.folder.join(TRASH);
            fs::create_dir_all(&folder).map_err(LibraryError::io(&folder))?;
            let stem = wav::legal_stem(&entry.name()).unwrap_or_else(|| "Sound".to_owned());
            let path = wav::under_free_name(&folder, &stem, |path| wav::move_to_new(&entry.path, path));
            Trashed::Folder(path.map_err(LibraryError::io(&entry.path))?)
        };
        self.forget(id)?;
        Ok(trashed)
    }

    /// Takes the sound off the list and leaves its file alone. If that lies in the folder of sounds it is listed again
    /// at the next [`Self::refresh`].
    ///
    /// # Errors
    /// [`LibraryError::Unknown`], or where the database cannot be written.
    pub fn forget(&mut self, id: i64) -> Result<(), LibraryError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM sound_text WHERE rowid = ?1", [id])?;
        if transaction.execute("DELETE FROM sound WHERE id = ?1", [id])? == 0 {
            return Err(LibraryError::Unknown);
        }
        Ok(transaction.commit()?)
    }

    /// Says where the file of a sound is now. It stays there.
    ///
    /// # Errors
    /// [`LibraryError::OtherSound`] if the file holds other samples, or where it cannot be read.
    pub fn relocate(&mut self, id: i64, path: &Path) -> Result<Entry, LibraryError> {
        let entry = self.entry(id)?;
        let path = std::path::absolute(path).map_err(LibraryError::io(path))?;
        let found = self.load(&Entry { path: path.clone(), ..entry.clone() })?;
        if add::sample_hash(&found.audio) != entry.hash {
            return Err(LibraryError::OtherSound { path });
        }
        self.point_to(id, &path)
    }

    /// Looks which files are there: marks sounds whose files are missing, and lists those that lie in the folder
    /// of sounds and are not listed. A missing sound that turns up there under another name is found again.
    ///
    /// # Errors
    /// Where the folder cannot be read or the database not be written.
    pub fn refresh(&mut self) -> Result<Change, LibraryError> {
        let mut change = Change::default();
        let sounds = self.sounds();
        let mut listed = HashSet::new();
        let mut changed = Vec::new();
        {
            let mut statement = self.connection.prepare("SELECT id, file, missing FROM sound")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (id, file, was_missing): (i64, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let path = sounds.join(file);
                let is_missing = !path.is_file();
                if is_missing != was_missing {
                    changed.push((id, is_missing));
                }
                listed.insert(path);
            }
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (id, is_missing) in changed {
            transaction.execute("UPDATE sound SET missing = ?2 WHERE id = ?1", params![id, is_missing])?;
        }
        transaction.commit()?;
        let new: Vec<PathBuf> =
            wav_files(&sounds)?.into_iter().filter(|path| !listed.contains(path)).collect();
        let count = new.len();
        change.added = self.adopt(new)?;
        change.unusable = count - change.added;
        let missing: i64 =
            self.connection.query_row("SELECT count(*) FROM sound WHERE missing", [], |row| row.get(0))?;
        change.missing = usize::try_from(missing).unwrap_or_default();
        Ok(change)
    }

    /// Makes `path` the file of the sound `id`.
    pub(super) fn point_to(&mut self, id: i64, path: &Path) -> Result<Entry, LibraryError> {
        let file = self.stored(path)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let hash = transaction
            .query_row("SELECT hash FROM sound WHERE id = ?1", [id], |row| row.get(0))
            .optional()?;
        let hash: String = hash.ok_or(LibraryError::Unknown)?;
        add::free_name(&transaction, &file, &hash)?;
        transaction.execute("UPDATE sound SET file = ?2, missing = 0 WHERE id = ?1", params![id, file])?;
        add::index(&transaction, id)?;
        transaction.commit()?;
        self.entry(id)
    }

    /// The path as the database keeps it: of a file in the folder of sounds the name alone, so that the whole
    /// library can be moved.
    pub(super) fn stored(&self, path: &Path) -> Result<String, LibraryError> {
        let path_or_name = path.strip_prefix(self.sounds()).unwrap_or(path);
        let text = path_or_name.to_str().map(str::to_owned);
        text.ok_or_else(|| LibraryError::OddPath { path: path.to_owned() })
    }
}

/// The WAV files directly inside of `folder`, by name; none if it does not exist.
fn wav_files(folder: &Path) -> Result<Vec<PathBuf>, LibraryError> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LibraryError::io(folder)(error)),
    };
    let is_wav =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav"));
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(is_wav).take(MAX_FILES).collect();
    paths.sort();
    Ok(paths)
}

/// Tags as they are stored, see [`Library::set_tags`].
fn clean_tags(tags: &[String]) -> Vec<String> {
    let mut clean: Vec<String> = Vec::new();
    for tag in tags {
        let tag: String = tag.trim().chars().filter(|c| !c.is_control()).take(MAX_TAG_CHARS).collect();
        let tag = tag.trim();
        let is_new = !clean.iter().any(|other| other.to_lowercase() == tag.to_lowercase());
        if !tag.is_empty() && is_new && clean.len() < MAX_TAGS {
            clean.push(tag.to_owned());
        }
    }
    clean
}
