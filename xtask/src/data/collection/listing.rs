//! What a layout says about recordings, checked.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::{Collection, Kind, Recording, Skipped, UNSORTED, split};
use crate::data::Split;

/// A recording as its source describes it.
#[derive(Default)]
pub struct Described {
    /// Its name.
    pub id: String,
    /// Relative to the folder.
    pub file: PathBuf,
    /// Kind of sound in any case; empty where the source names none.
    pub category: String,
    /// Its captions; empty ones are dropped.
    pub captions: Vec<String>,
    /// `None` where the source does not say.
    pub split: Option<Split>,
}

/// The recordings found so far, and what had to be left out.
pub struct Listing<'a> {
    folder: &'a Folder,
    recordings: Vec<Recording>,
    by_id: HashMap<String, usize>,
    skipped: Vec<Skipped>,
    /// Whether any recording's source left its split open.
    open_split: bool,
}

impl<'a> Listing<'a> {
    /// An empty one for the recordings in `folder`.
    pub fn new(folder: &'a Folder) -> Self {
        let (recordings, by_id, skipped) = Default::default();
        Self { folder, recordings, by_id, skipped, open_split: false }
    }

    /// Where the recordings lie.
    pub fn folder(&self) -> &'a Folder {
        self.folder
    }

    /// Adds a recording, or skips it with the reason. One that is there already with the same file gets the
    /// captions as well.
    pub fn add(&mut self, described: Described) {
        let Described { id, file, category, captions, split } = described;
        let one_line = |caption: &String| caption.split_whitespace().collect::<Vec<_>>().join(" ");
        let captions: Vec<String> =
            captions.iter().map(one_line).filter(|caption| !caption.is_empty()).collect();
        if captions.is_empty() {
            return self.skip(id, "it has no caption");
        }
        let file = match self.folder.file(&file) {
            Ok(file) => file,
            Err(reason) => return self.skip(id, reason),
        };
        if let Some(recording) = self.by_id.get(&id).and_then(|&i| self.recordings.get_mut(i)) {
            if recording.file != file {
                return self.skip(id, "it is there twice, with two files");
            }
            for caption in captions {
                if !recording.captions.contains(&caption) {
                    recording.captions.push(caption);
                }
            }
            return;
        }
        let category =
            if category.trim().is_empty() { UNSORTED.into() } else { category.trim().to_uppercase() };
        self.open_split |= split.is_none();
        let split = split.unwrap_or_else(|| split::of(&id));
        self.by_id.insert(id.clone(), self.recordings.len());
        self.recordings.push(Recording { id, file, category, captions, split });
    }

    /// Notes that `what` cannot be used.
    pub fn skip(&mut self, what: impl Display, why: impl Into<String>) {
        self.skipped.push(Skipped { what: what.to_string(), why: why.into() });
    }

    /// The collection.
    pub fn finish(mut self, kind: Kind) -> Collection {
        if self.open_split {
            split::balance(self.recordings.iter_mut().map(|r| (r.id.as_str(), &mut r.split)));
        }
        Collection { kind, recordings: self.recordings, skipped: self.skipped }
    }
}

/// `path` with `/` between its parts, the same on every system: recordings are named by it.
pub fn id_of(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}
