//! One sound of the library.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use rusqlite::Row;
use soundlocd_engine::clip::{AdapterUse, Provenance};

/// The columns of an [`Entry`], in the order that [`Entry::from_row`] reads them.
pub(super) const COLUMNS: &str = "id, file, prompt, negative_prompt, seed, variation, created, seconds, pack_name, \
                                  pack_hash, adapters, favourite, tags, missing, hash";

/// What the library knows of a sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number in this library; never given to another sound while it is there.
    pub id: i64,
    /// The WAV file.
    pub path: PathBuf,
    /// What it was made from; of a file of unknown origin, its name.
    pub prompt: String,
    /// What it was to be unlike, if that was said.
    pub negative_prompt: Option<String>,
    /// Seed of the request.
    pub seed: u64,
    /// Number of the variation within the request, from 0.
    pub variation: u32,
    /// When it was made, in seconds since 1970-01-01 00:00 UTC.
    pub created_unix: u64,
    /// Length in seconds.
    pub seconds: f32,
    /// Name of the model.
    pub pack_name: String,
    /// The model's hash, see [`Provenance::pack_hash`].
    pub pack_hash: String,
    /// Adapters that took part.
    pub adapters: Vec<AdapterUse>,
    /// Whether the user marked it.
    pub is_favourite: bool,
    /// The user's own words for it.
    pub tags: Vec<String>,
    /// Whether its file was not there when last looked for.
    pub is_missing: bool,
    /// SHA-256 of its samples as 24-bit little-endian integers, in lower-case hexadecimal.
    pub hash: String,
}

impl Entry {
    /// The file's name without extension: what the list shows.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        self.path.file_stem().unwrap_or_default().to_string_lossy()
    }

    /// Where the sound comes from, as far as the library knows; the file itself knows the settings, too.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        Provenance {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone(),
            seed: self.seed,
            variation: self.variation,
            pack_name: self.pack_name.clone(),
            pack_hash: self.pack_hash.clone(),
            adapters: self.adapters.clone(),
            created_unix: self.created_unix,
            ..Provenance::default()
        }
    }

    /// Reads [`COLUMNS`]; `sounds` is the folder that relative paths are in.
    pub(super) fn from_row(row: &Row<'_>, sounds: &Path) -> rusqlite::Result<Self> {
        let file: String = row.get(1)?;
        let json = |column| -> rusqlite::Result<String> { row.get(column) };
        Ok(Self {
            id: row.get(0)?,
            // A whole path stays what it is.
            path: sounds.join(file),
            prompt: row.get(2)?,
            negative_prompt: row.get(3)?,
            seed: row.get::<_, i64>(4)?.cast_unsigned(),
            variation: u32::try_from(row.get::<_, i64>(5)?).unwrap_or_default(),
            created_unix: u64::try_from(row.get::<_, i64>(6)?).unwrap_or_default(),
            seconds: row.get::<_, f64>(7)? as f32,
            pack_name: row.get(8)?,
            pack_hash: row.get(9)?,
            // What is not of this form was written by another version: as if there were none.
            adapters: serde_json::from_str(&json(10)?).unwrap_or_default(),
            is_favourite: row.get(11)?,
            tags: serde_json::from_str(&json(12)?).unwrap_or_default(),
            is_missing: row.get(13)?,
            hash: row.get(14)?,
        })
    }
}
