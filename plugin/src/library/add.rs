//! Sounds into the library: from the instrument, and from files that lie in its folder.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};
use soundlocd_engine::{
    SAMPLE_RATE,
    clip::{
        Clip, MAX_SAMPLES, Provenance, resample, snap, to_i24,
        wav::{self, Export, Naming, WavAudio},
    },
    pack::sha256_hex,
};

use super::{Entry, Library, LibraryError, entry::COLUMNS};

impl Library {
    /// Keeps `clip`: writes its file under the name that `naming` gives it, with what `export` says of it, and lists it.
    /// The file always has the clip's own rate, [`SAMPLE_RATE`], so that it holds the very samples.
    ///
    /// A sound that is in the library already is not written again, but its file is if that is missing.
    ///
    /// # Errors
    /// Where the file or the database cannot be written; then neither has changed.
    pub fn add(&mut self, clip: &Clip, naming: &Naming, export: &Export) -> Result<Entry, LibraryError> {
        let hash = sample_hash(&clip.audio);
        if let Some(entry) = self.with_hash(&hash)? {
            return self.restore(entry, clip, export);
        }
        let sounds = self.sounds();
        let export = Export { sample_rate: SAMPLE_RATE, ..export.clone() };
        let path = wav::save(&sounds, clip, naming, &export)?;
        let listed = self.list(&path, &hash, &clip.provenance, clip.audio.len());
        let is_ours = matches!(&listed, Ok(entry) if entry.path == path);
        if !is_ours {
            // Not listed, or another program was faster.
            let _ = fs::remove_file(&path);
        }
        listed
    }

    /// Writes the file of a listed sound again if it is missing.
    fn restore(&mut self, entry: Entry, clip: &Clip, export: &Export) -> Result<Entry, LibraryError> {
        if entry.path.is_file() {
            return Ok(entry);
        }
        let export = Export { sample_rate: SAMPLE_RATE, ..export.clone() };
        let bytes = wav::encode(clip, &export)?;
        let stem = wav::legal_stem(&entry.name()).unwrap_or_else(|| Naming::Prompt.stem(&clip.provenance));
        let path = wav::write_under_free_name(&self.sounds(), &stem, &bytes)?;
        self.point_to(entry.id, &path)
    }

    /// Lists the file at `path`. If the same sound is listed by then, that entry is the answer; it gets the file if
    /// its own is missing.
    fn list(
        &mut self,
        path: &Path,
        hash: &str,
        provenance: &Provenance,
        samples: usize,
    ) -> Result<Entry, LibraryError> {
        let file = self.stored(path)?;
        let adapters = serde_json::to_string(&provenance.adapters).unwrap_or_else(|_| "[]".to_owned());
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        free_name(&transaction, &file, hash)?;
        let added = transaction.execute(
            "INSERT INTO sound (file, prompt, negative_prompt, seed, variation, created, seconds, pack_name, \
             pack_hash, adapters, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
             ON CONFLICT (hash) DO NOTHING",
            params![
                file,
                provenance.prompt,
                provenance.negative_prompt,
                provenance.seed.cast_signed(),
                provenance.variation,
                i64::try_from(provenance.created_unix).unwrap_or(i64::MAX),
                samples as f64 / f64::from(SAMPLE_RATE),
                provenance.pack_name,
                provenance.pack_hash,
                adapters,
                hash,
            ],
        )?;
        if added == 1 {
            let id = transaction.last_insert_rowid();
            index(&transaction, id)?;
            transaction.commit()?;
            return self.entry(id);
        }
        drop(transaction);
        let entry = self.with_hash(hash)?.ok_or(LibraryError::Unknown)?;
        if entry.path.is_file() { Ok(entry) } else { self.point_to(entry.id, path) }
    }

    /// Lists files that lie in the folder of sounds, oldest sounds first; returns how many of them can be used.
    pub(super) fn adopt(&mut self, paths: Vec<PathBuf>) -> Result<usize, LibraryError> {
        let mut found: Vec<_> = paths.into_iter().filter_map(examine).collect();
        found.sort_by_key(|found| found.provenance.created_unix);
        for one in &found {
            self.list(&one.path, &one.hash, &one.provenance, one.samples)?;
        }
        Ok(found.len())
    }

    /// Reads the sound of `entry`. What the file does not know of its origin comes from the library.
    ///
    /// # Errors
    /// [`LibraryError::Missing`], or where the file cannot be read.
    pub fn load(&self, entry: &Entry) -> Result<Clip, LibraryError> {
        if !entry.path.is_file() {
            return Err(LibraryError::Missing { path: entry.path.clone() });
        }
        let mut found = wav::read(&entry.path)?;
        found.provenance.get_or_insert_with(|| entry.provenance());
        as_clip(found, &entry.prompt)
    }

    /// The entry of this sound, if it is in the library.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn find(&self, clip: &Clip) -> Result<Option<Entry>, LibraryError> {
        self.with_hash(&sample_hash(&clip.audio))
    }

    /// The sound with these samples.
    fn with_hash(&self, hash: &str) -> Result<Option<Entry>, LibraryError> {
        let sql = format!("SELECT {COLUMNS} FROM sound WHERE hash = ?1");
        let sounds = self.sounds();
        Ok(self.connection.query_row(&sql, [hash], |row| Entry::from_row(row, &sounds)).optional()?)
    }
}

/// Takes the file away from every sound but that with `hash`: it was deleted, and the name is another's now.
pub(super) fn free_name(transaction: &Transaction<'_>, file: &str, hash: &str) -> Result<(), LibraryError> {
    // Still the name that it had, in a folder that never exists.
    let sql =
        "UPDATE sound SET missing = 1, file = 'lost/' || id || '/' || file WHERE file = ?1 AND hash != ?2";
    transaction.execute(sql, params![file, hash])?;
    Ok(())
}

/// Makes the words of the sound `id` what the search finds it by.
pub(super) fn index(transaction: &Transaction<'_>, id: i64) -> Result<(), LibraryError> {
    let (file, prompt, tags): (String, String, String) =
        transaction.query_row("SELECT file, prompt, tags FROM sound WHERE id = ?1", [id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let tags: Vec<String> = serde_json::from_str(&tags).unwrap_or_default();
    transaction.execute("DELETE FROM sound_text WHERE rowid = ?1", [id])?;
    transaction.execute(
        "INSERT INTO sound_text (rowid, name, prompt, tags) VALUES (?1, ?2, ?3, ?4)",
        params![id, name_of(Path::new(&file)), prompt, tags.join(" ")],
    )?;
    Ok(())
}

/// A file that can be listed.
struct Found {
    path: PathBuf,
    hash: String,
    provenance: Provenance,
    samples: usize,
}

/// Reads a file; `None` if it is no sound that can be used.
fn examine(path: PathBuf) -> Option<Found> {
    let clip = as_clip(wav::read(&path).ok()?, &name_of(&path)).ok()?;
    let (hash, samples) = (sample_hash(&clip.audio), clip.audio.len());
    Some(Found { path, hash, provenance: clip.provenance, samples })
}

/// A file's name without extension.
fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// What was read as a clip: at [`SAMPLE_RATE`], on the 24-bit grid. `name` stands for an unknown prompt.
fn as_clip(found: WavAudio, name: &str) -> Result<Clip, LibraryError> {
    let mut audio = resample(&found.audio, found.sample_rate, SAMPLE_RATE)?;
    audio.truncate(MAX_SAMPLES);
    for sample in &mut audio {
        *sample = snap(*sample);
    }
    let unknown = || Provenance { prompt: name.to_owned(), ..Provenance::default() };
    let mut clip = Clip::new(audio, found.provenance.unwrap_or_else(unknown));
    let fits = |range: &Range<usize>| range.end <= clip.audio.len();
    clip.loop_range = found.loop_range.filter(fits).map(|range| (range.start, range.end));
    Ok(clip)
}

/// See [`Entry::hash`].
pub(super) fn sample_hash(audio: &[f32]) -> String {
    let mut bytes = Vec::with_capacity(3 * audio.len());
    for &sample in audio {
        let [a, b, c, _] = to_i24(sample).to_le_bytes();
        bytes.extend([a, b, c]);
    }
    sha256_hex(&bytes)
}
