//! The packs on this computer: which there are, what they say of themselves, and where they are.
//!
//! Looked for, in this order: the default pack inside the program; folders with a `pack.json` directly inside of
//! the user's data folder ([`user_folder`]); and the folders that the environment variable [`VARIABLE`] names, each
//! a pack or a folder of packs. Only manifests and the headers of weights files are read. A pack is known by its
//! hash: one that is there twice is listed once, where it was found first.
//!
//! This is work on files: never for an audio thread, nor for one that draws.

use super::{MANIFEST_FILE, Pack, PackError, PackRef};
use crate::lora::BaseId;
use crate::service::{Settings, request::MAX_SECONDS};
use crate::{HOP, SAMPLE_RATE};
use etcetera::BaseStrategy as _;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Environment variable that names more packs or folders of packs, separated as in `PATH`.
pub const VARIABLE: &str = "SOUNDLOCD_PACKS";

/// Names in one folder that are looked at; what else is in it is left out, and the list says so.
const MAX_NAMES: usize = 4096;

/// Packs listed, broken ones too.
const MAX_PACKS: usize = 200;

/// Where the user's own packs are: `SoundLoCD/packs` in the system's folder for data (`$XDG_DATA_HOME` or
/// `~/.local/share`; `~/Library/Application Support`; `%APPDATA%`). `None` for a user without a home.
#[must_use]
pub fn user_folder() -> Option<PathBuf> {
    Some(data_folder()?.join("packs"))
}

/// What the user keeps for this program: `SoundLoCD` in the system's folder for data. `None` for a user without a
/// home.
#[must_use]
pub fn data_folder() -> Option<PathBuf> {
    let strategy = etcetera::base_strategy::choose_native_strategy().ok()?;
    Some(strategy.data_dir().join("SoundLoCD"))
}

/// What a usable pack says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How to open it.
    pub reference: PackRef,
    /// SHA-256 of its manifest: see [`Pack::hash`].
    pub hash: String,
    /// Which base it is to adapters.
    pub base: BaseId,
    /// What it is good for.
    pub description: String,
    /// Licence of its weights.
    pub licence: String,
    /// Size of all its files.
    pub bytes: u64,
    /// Numbers in all its weights, if the files say.
    pub parameters: Option<u64>,
    /// The settings that suit it.
    pub recommended: Settings,
    /// Longest sound that it makes, in seconds.
    pub max_seconds: f32,
}

/// One pack of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The pack's name; of a broken one, its folder's.
    pub name: String,
    /// Where it is; `None` inside of the program.
    pub folder: Option<PathBuf>,
    /// What it is, or in words why it cannot be used.
    pub pack: Result<Summary, String>,
}

/// The packs that were found at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Library {
    packs: Vec<Listed>,
    notes: Vec<String>,
}

impl Library {
    /// Looks for packs in all places.
    #[must_use]
    pub fn scan() -> Self {
        Self::scan_places(user_folder().as_deref(), std::env::var_os(VARIABLE).as_deref())
    }

    /// As [`Self::scan`], with the user's folder and the value of [`VARIABLE`] given.
    #[must_use]
    pub fn scan_places(user: Option<&Path>, variable: Option<&OsStr>) -> Self {
        let mut library = Self::default();
        library.add("the program", None, Pack::embedded().map(|pack| (PackRef::Embedded, pack)));
        if let Some(folder) = user
            && folder.symlink_metadata().is_ok()
        {
            library.add_folders_in(folder);
        }
        for path in variable.iter().flat_map(std::env::split_paths) {
            if path.as_os_str().is_empty() {
                continue;
            }
            if may_be_pack(&path) {
                library.add_folder(&path);
            } else {
                library.add_folders_in(&path);
            }
        }
        library
    }

    /// All packs, in the order of being found.
    #[must_use]
    pub fn packs(&self) -> &[Listed] {
        &self.packs
    }

    /// What could not be looked at, in sentences.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The usable pack with this hash.
    #[must_use]
    pub fn with_hash(&self, hash: &str) -> Option<&Summary> {
        self.packs.iter().filter_map(|listed| listed.pack.as_ref().ok()).find(|pack| pack.hash == hash)
    }

    /// All usable packs of this name, upper or lower case.
    pub fn with_name(&self, name: &str) -> impl Iterator<Item = (&Listed, &Summary)> {
        let name = name.to_lowercase();
        let usable = self.packs.iter().filter_map(|listed| Some((listed, listed.pack.as_ref().ok()?)));
        usable.filter(move |(listed, _)| listed.name.to_lowercase() == name)
    }

    /// Lists the packs directly inside of `folder`, by the names of their folders.
    fn add_folders_in(&mut self, folder: &Path) {
        let entries = match folder.read_dir() {
            Ok(entries) => entries,
            Err(error) => {
                self.notes.push(format!("{} cannot be read: {error}", folder.display()));
                return;
            }
        };
        let mut paths: Vec<PathBuf> =
            entries.take(MAX_NAMES + 1).filter_map(Result::ok).map(|entry| entry.path()).collect();
        if paths.len() > MAX_NAMES {
            paths.truncate(MAX_NAMES);
            self.notes.push(format!(
                "{} holds too much: only {MAX_NAMES} of the things in it were looked at.",
                folder.display()
            ));
        }
        paths.sort();
        for path in paths.iter().filter(|path| may_be_pack(path)) {
            if !self.add_folder(path) {
                return;
            }
        }
    }

    /// Lists the pack in `folder`; answers whether there is room for it.
    fn add_folder(&mut self, folder: &Path) -> bool {
        if self.packs.len() >= MAX_PACKS {
            let note = format!("Only the first {MAX_PACKS} packs are listed.");
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
            return false;
        }
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        let pack = Pack::open(folder)
            .map(|pack| (PackRef::Folder { hash: pack.hash().to_owned(), folder: folder.to_owned() }, pack));
        self.add(&name, Some(folder), pack);
        true
    }

    /// Lists a pack if it is not listed yet.
    fn add(&mut self, fallback: &str, folder: Option<&Path>, pack: Result<(PackRef, Pack), PackError>) {
        let (name, pack) = match pack {
            Ok((reference, pack)) => {
                if self.with_hash(pack.hash()).is_some() {
                    return;
                }
                (pack.manifest().name.clone(), summary(reference, &pack).map_err(|error| error.to_string()))
            }
            Err(error) => (fallback.to_owned(), Err(error.to_string())),
        };
        // It goes into one line of a list.
        let name = name.chars().filter(|c| !c.is_control()).collect();
        let folder = folder.map(Path::to_owned);
        // The same folder twice, by two ways.
        if pack.is_err() && self.packs.iter().any(|listed| folder.is_some() && listed.folder == folder) {
            return;
        }
        self.packs.push(Listed { name, folder, pack });
    }
}

/// Whether there is a manifest in `folder`, or something hinders to see that.
fn may_be_pack(folder: &Path) -> bool {
    match folder.join(MANIFEST_FILE).symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

/// Describes a pack whose files are all there.
fn summary(reference: PackRef, pack: &Pack) -> Result<Summary, PackError> {
    pack.check_sizes()?;
    let manifest = pack.manifest();
    Ok(Summary {
        reference,
        hash: pack.hash().to_owned(),
        base: BaseId::of(pack),
        description: manifest.description.clone(),
        licence: manifest.licence.clone(),
        bytes: pack.bytes(),
        parameters: pack.parameters(),
        recommended: manifest.recommended.clone(),
        max_seconds: seconds(manifest.transformer.max_columns, manifest.codec.frames_per_column()),
    })
}

/// Length of `columns` token columns of `frames` spectrogram frames, as far as a request may ask for it, rounded down to milliseconds so that a
/// request for it needs no further column.
fn seconds(columns: usize, frames: usize) -> f32 {
    let milliseconds = columns * frames * HOP * 1000 / SAMPLE_RATE as usize;
    (milliseconds as f32 / 1000.0).min(MAX_SECONDS)
}

#[cfg(test)]
#[path = "library_tests.rs"]
mod tests;
