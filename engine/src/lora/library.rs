//! The adapters on this computer.
//!
//! Looked for in the user's data folder ([`user_folder`]) and in the folders that the environment variable
//! [`VARIABLE`] names: `.safetensors` files and folders that PEFT saved into. All of each file is read and checked, so
//! that whatever is listed as usable can be used. This is work on files: never for an audio thread, nor for one that
//! draws.

use super::{AdapterFile, BaseId, Card, LoraError, WEIGHTS_FILE};
use crate::pack::library::data_folder;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Environment variable that names more folders of adapters, separated as in `PATH`.
pub const VARIABLE: &str = "SOUNDLOCD_ADAPTERS";

/// Names in one folder that are looked at.
const MAX_NAMES: usize = 4096;
/// Adapters listed, broken ones too.
const MAX_ADAPTERS: usize = 200;

/// Where the user's own adapters are: `SoundLoCD/adapters` in the system's folder for data (`$XDG_DATA_HOME` or
/// `~/.local/share`; `~/Library/Application Support`; `%APPDATA%`). `None` for a user without a home.
#[must_use]
pub fn user_folder() -> Option<PathBuf> {
    Some(data_folder()?.join("adapters"))
}

/// What a usable adapter says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// SHA-256 of its weights, lower-case hexadecimal.
    pub hash: String,
    /// Its card; an empty one for a file of another program.
    pub card: Card,
    /// The rank of its matrices.
    pub rank: usize,
    /// Numbers in all its matrices.
    pub parameters: usize,
    /// Whether it names its base.
    names_base: bool,
}

impl Summary {
    /// Of an adapter that has been read.
    #[must_use]
    pub fn of(file: &AdapterFile) -> Self {
        Self {
            hash: file.hash().to_owned(),
            card: file.card().cloned().unwrap_or_default(),
            rank: file.rank(),
            parameters: file.parameters(),
            names_base: file.card().is_some(),
        }
    }

    /// Whether it was made for `base`; one that does not say may fit.
    #[must_use]
    pub fn is_for(&self, base: &BaseId) -> bool {
        !self.names_base || self.card.base.serves(base)
    }
}

/// One adapter of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its title; of a broken one, its file's name.
    pub title: String,
    /// The file, or PEFT's folder.
    pub path: PathBuf,
    /// What it is, or in words why it cannot be used.
    pub adapter: Result<Summary, String>,
}

impl Listed {
    /// Reads the adapter at `path`.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        Self::of(path, AdapterFile::open(path))
    }

    fn of(path: &Path, file: Result<AdapterFile, LoraError>) -> Self {
        let name = || path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let title: String = file.as_ref().map_or_else(|_| name(), AdapterFile::title);
        Self {
            // It goes into one line of a list.
            title: title.chars().filter(|c| !c.is_control()).collect(),
            path: path.to_owned(),
            adapter: file.map(|file| Summary::of(&file)).map_err(|error| error.to_string()),
        }
    }
}

/// The adapters that were found at one moment, by title.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Library {
    adapters: Vec<Listed>,
    notes: Vec<String>,
}

impl Library {
    /// Looks for adapters in all places.
    #[must_use]
    pub fn scan() -> Self {
        Self::scan_places(user_folder().as_deref(), std::env::var_os(VARIABLE).as_deref())
    }

    /// As [`Self::scan`], with the user's folder and the value of [`VARIABLE`] given.
    #[must_use]
    pub fn scan_places(user: Option<&Path>, variable: Option<&OsStr>) -> Self {
        let mut library = Self::default();
        // A user who has no adapters yet has no folder for them.
        let user = user.filter(|folder| folder.symlink_metadata().is_ok()).map(Path::to_owned);
        let others = variable.into_iter().flat_map(std::env::split_paths);
        for folder in user.into_iter().chain(others.filter(|path| !path.as_os_str().is_empty())) {
            library.add_folder(&folder);
        }
        library.adapters.sort_by_key(|listed| listed.title.to_lowercase());
        library
    }

    /// All adapters.
    #[must_use]
    pub fn adapters(&self) -> &[Listed] {
        &self.adapters
    }

    /// What could not be looked at, in sentences.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The usable adapter of this hash.
    #[must_use]
    pub fn with_hash(&self, hash: &str) -> Option<(&Listed, &Summary)> {
        self.adapters
            .iter()
            .filter_map(|listed| Some((listed, listed.adapter.as_ref().ok()?)))
            .find(|(_, summary)| summary.hash == hash)
    }

    fn add_folder(&mut self, folder: &Path) {
        let entries = match folder.read_dir() {
            Ok(entries) => entries,
            Err(error) => {
                self.notes.push(format!("{} cannot be read: {error}", folder.display()));
                return;
            }
        };
        let mut paths: Vec<PathBuf> =
            entries.take(MAX_NAMES).filter_map(Result::ok).map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| may_be_adapter(path)) {
            if self.adapters.len() >= MAX_ADAPTERS {
                self.notes.push(format!("Only the first {MAX_ADAPTERS} adapters are listed."));
                return;
            }
            let listed = Listed::read(&path);
            // One that is there twice is listed once, where it was found first.
            let known = listed.adapter.as_ref().is_ok_and(|summary| self.with_hash(&summary.hash).is_some());
            if !known && self.adapters.iter().all(|other| other.path != path) {
                self.adapters.push(listed);
            }
        }
    }
}

/// Whether `path` is called as adapters are, or is a folder of PEFT's.
fn may_be_adapter(path: &Path) -> bool {
    if path.is_dir() {
        return path.join(WEIGHTS_FILE).exists();
    }
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ending == "safetensors"
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_list_survives_whatever_lies_in_the_folder() {
        let folder = std::env::temp_dir().join(format!("soundlocd-adapters-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("empty folder")).unwrap();
        std::fs::create_dir_all(folder.join("peft")).unwrap();
        for (name, bytes) in [
            ("broken.safetensors", &b"not one"[..]),
            ("notes.txt", b"hello"),
            ("peft/adapter_model.safetensors", b""),
        ] {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        let missing = folder.join("missing");
        let library = Library::scan_places(Some(&folder), Some(missing.as_os_str()));
        let titles: Vec<&str> = library.adapters().iter().map(|listed| listed.title.as_str()).collect();
        assert_eq!(titles, ["broken.safetensors", "peft"]);
        assert!(library.adapters().iter().all(|listed| listed.adapter.is_err()));
        assert!(library.notes()[0].contains("missing"), "{:?}", library.notes());
        assert_eq!(Library::scan_places(Some(&missing), None), Library::default());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
