//! Sounds as files to be dragged out of the window.
//!
//! The button is down meanwhile, so it must be quick: a [`Parcel`] is computed when a drag begins within the window, and
//! written when the pointer leaves it, so that a sound that only moves to another pad leaves no file. Each on a
//! thread of its own, since the one for files may be waiting for a slow disk.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
};

use soundlocd_engine::{
    SAMPLE_RATE,
    clip::wav::{self, Export, Naming},
    service::keep_loaded,
};

use super::Session;
use crate::{library::Library, preferences, take::Take};

/// A sound that is to become a file, and what the file says to samplers.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The sound.
    pub take: Arc<Take>,
    /// See [`Export::root_key`].
    pub root_key: Option<f32>,
    /// See [`Export::loop_range`].
    pub loop_range: Option<Range<usize>>,
}

impl Outgoing {
    /// A sound as it is.
    #[must_use]
    pub fn plain(take: Arc<Take>) -> Self {
        Self { take, root_key: None, loop_range: None }
    }
}

/// A file that is there, or what is to be written.
#[derive(Debug)]
enum Content {
    Written(PathBuf),
    Bytes(Vec<u8>),
}

/// Files that are being made.
#[derive(Debug)]
pub struct Parcel {
    sounds: Vec<(Outgoing, Export)>,
    naming: Naming,
    /// Where new files go. `None` for a user without a home.
    folder: Option<PathBuf>,
    contents: OnceLock<Result<Vec<Content>, String>>,
    paths: OnceLock<Result<Vec<PathBuf>, String>>,
}

impl Parcel {
    /// The sounds as 24-bit WAV files at `sample_rate` Hz by the user's preferences. Nothing is done yet.
    fn new(sounds: Vec<Outgoing>, sample_rate: u32, folder: Option<PathBuf>) -> Self {
        let preferences = preferences::current();
        let export = |sound: &Outgoing| Export {
            root_key: sound.root_key,
            loop_range: sound.loop_range.clone(),
            artist: preferences.artist.clone(),
            ..Export::at(sample_rate)
        };
        Self {
            sounds: sounds
                .into_iter()
                .map(|sound| {
                    let export = export(&sound);
                    (sound, export)
                })
                .collect(),
            naming: preferences.naming(),
            folder,
            contents: OnceLock::new(),
            paths: OnceLock::new(),
        }
    }

    /// Files that are there already.
    #[must_use]
    pub fn of_files(paths: Vec<PathBuf>) -> Self {
        let parcel = Self::new(Vec::new(), SAMPLE_RATE, None);
        let _ = parcel.paths.set(Ok(paths));
        parcel
    }

    /// The files in order, once they are there, or why they are not.
    #[must_use]
    pub fn paths(&self) -> Option<&Result<Vec<PathBuf>, String>> {
        self.paths.get()
    }

    fn contents(&self) -> &Result<Vec<Content>, String> {
        self.contents.get_or_init(|| {
            let content = |(sound, export): &(Outgoing, Export)| match existing(sound, export) {
                Some(path) => Ok(Content::Written(path)),
                None => wav::encode(&sound.take.clip, export)
                    .map(Content::Bytes)
                    .map_err(|error| error.to_string()),
            };
            self.sounds.iter().map(content).collect()
        })
    }

    /// Writes the files that are not there. May wait for a disk.
    fn write(&self) -> &Result<Vec<PathBuf>, String> {
        self.paths.get_or_init(|| {
            let contents = self.contents().as_ref().map_err(Clone::clone)?;
            let write = |((sound, export), content): (&(Outgoing, Export), &Content)| {
                let bytes = match content {
                    Content::Written(path) => return Ok(path.clone()),
                    Content::Bytes(bytes) => bytes,
                };
                let folder = self.folder.as_deref().ok_or("There is no home folder to keep sounds in.")?;
                let path = save(folder, &self.naming, sound, bytes)?;
                sound.take.exported.lock().push((export.clone(), path.clone()));
                Ok(path)
            };
            self.sounds.iter().zip(contents).map(write).collect()
        })
    }
}

/// The file in which a sound is already, just as it is to be.
fn existing(sound: &Outgoing, export: &Export) -> Option<PathBuf> {
    // The library's files have the clip's own rate.
    let is_plain =
        sound.root_key.is_none() && sound.loop_range.is_none() && export.sample_rate == SAMPLE_RATE;
    let kept = sound.take.file.get().filter(|_| is_plain);
    let written = || {
        let exported = sound.take.exported.lock();
        exported.iter().find(|(other, _)| other == export).map(|(_, path)| path.clone())
    };
    kept.filter(|path| path.is_file()).or_else(|| written().filter(|path| path.is_file()))
}

/// Writes a file under a new name.
fn save(folder: &Path, naming: &Naming, sound: &Outgoing, bytes: &[u8]) -> Result<PathBuf, String> {
    let stem = naming.stem(&sound.take.clip.provenance);
    let path = wav::write_under_free_name(folder, &stem, bytes).map_err(|error| error.to_string())?;
    // Drags need whole paths, and the user's variable may name one that is not.
    std::path::absolute(&path).map_err(|error| error.to_string())
}

impl Session {
    /// Begins to make files of sounds, in the background. [`Self::write`] is to follow if they are wanted.
    #[must_use]
    pub fn pack(&self, sounds: Vec<Outgoing>) -> Arc<Parcel> {
        let parcel = Arc::new(Parcel::new(sounds, self.shared.export_rate(), Library::default_sounds()));
        let work = Arc::clone(&parcel);
        // Without a thread now it is done by the next one.
        let _ = self.in_background(move || {
            let _ = work.contents();
        });
        parcel
    }

    /// Writes the files of a parcel, in the background, and draws the window when they are there.
    pub fn write(&self, parcel: &Arc<Parcel>) {
        let (work, shared) = (Arc::clone(parcel), Arc::downgrade(&self.shared));
        let started = self.in_background(move || {
            let _ = work.write();
            if let Some(shared) = shared.upgrade() {
                shared.repaint.request();
            }
        });
        if let Err(error) = started {
            let _ = parcel.paths.set(Err(format!("The system gave no thread to work on: {error}.")));
        }
    }

    fn in_background(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        keep_loaded();
        thread::Builder::new().name("soundlocd export".to_owned()).spawn(work).map(drop)
    }
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
