//! The cache that `data prepare` writes and that training and evaluation read.
//!
//! A folder with three files: `mels.f16`, the log-mel spectrograms of all clips one after another
//! (little-endian f16, frame-major `[frames, 80]`, values in `[0, 1]`); `audio.i16`, their sound
//! likewise (little-endian i16 at 22.05 kHz); and `clips.json`, which clip lies where.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use half::f16;
use serde::{Deserialize, Serialize};
use soundlocd_engine::pack::sha256_hex;
use soundlocd_engine::{HOP, MEL_BANDS, SAMPLE_RATE};

const MELS: &str = "mels.f16";
const SOUND: &str = "audio.i16";
const CLIPS: &str = "clips.json";
/// Goes up when an old cache can no longer be read.
const FORMAT: u32 = 1;

/// What a clip is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Models are trained on it.
    Train,
    /// Models are judged on it; never trained on.
    Valid,
}

/// One clip of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipEntry {
    /// Its name in the collection that it came from.
    pub id: String,
    /// Kind of sound, upper case.
    pub category: String,
    /// One caption or more.
    pub captions: Vec<String>,
    /// What the clip is for.
    pub split: Split,
    /// First frame in `mels.f16`.
    pub frame_start: usize,
    /// Number of spectrogram frames.
    pub frames: usize,
    /// First sample in `audio.i16`.
    pub sample_start: usize,
    /// Number of samples.
    pub samples: usize,
}

/// `clips.json`.
#[derive(Serialize, Deserialize)]
struct Index {
    format: u32,
    sample_rate: u32,
    hop: usize,
    mel_bands: usize,
    clips: Vec<ClipEntry>,
}

/// A prepared data set: its clips, with their spectrograms in memory.
pub struct Cache {
    /// The clips, in their collection's order.
    pub clips: Vec<ClipEntry>,
    mels: Vec<f16>,
    folder: PathBuf,
    hash: String,
}

impl Cache {
    /// Opens the cache in `folder` and reads its spectrograms (160 bytes a frame) into memory.
    ///
    /// # Errors
    /// Where the folder holds no cache, one of another format, or one that was cut short.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CLIPS);
        let text = std::fs::read(&path).with_context(|| {
            format!("could not read {}; make the cache with `cargo xtask data prepare`", path.display())
        })?;
        let index: Index =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
        let found = (index.format, index.sample_rate, index.hop, index.mel_bands);
        let expected = (FORMAT, SAMPLE_RATE, HOP, MEL_BANDS);
        ensure!(
            found == expected,
            "{} has format, rate, hop and bands {found:?}, this program reads {expected:?}; prepare it anew",
            path.display()
        );
        let frames = end(index.clips.iter().map(|clip| (clip.frame_start, clip.frames)), &path)?;
        let count = frames.checked_mul(MEL_BANDS).context("too many frames")?;
        let mels = read_array(&folder.join(MELS), count, f16::from_le_bytes)?;
        Ok(Self { clips: index.clips, mels, folder: folder.to_path_buf(), hash: sha256_hex(&text) })
    }

    /// The same data with some clips for another purpose and further clips without sound, for an experiment that is
    /// called `name`: caches of what is derived from the data must tell it from others.
    ///
    /// # Panics
    /// Where there is no such clip.
    pub fn rearranged(
        mut self,
        name: &str,
        moved: &[(usize, Split)],
        further: Vec<(ClipEntry, Vec<f16>)>,
    ) -> Self {
        for &(clip, split) in moved {
            self.clips[clip].split = split;
        }
        for (entry, mel) in further {
            let (frame_start, frames) = (self.mels.len() / MEL_BANDS, mel.len() / MEL_BANDS);
            self.mels.extend(mel);
            self.clips.push(ClipEntry {
                frame_start,
                frames,
                sample_start: 0,
                samples: frames * HOP,
                ..entry
            });
        }
        self.hash = sha256_hex(format!("{} {name}", self.hash).as_bytes());
        self
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// SHA-256 of the list of clips, lower-case hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Log-mel spectrogram of clip `i`: frame-major `[frames, 80]`, values in `[0, 1]`.
    ///
    /// # Panics
    /// Where there is no clip `i`.
    pub fn mel(&self, i: usize) -> &[f16] {
        let clip = &self.clips[i];
        &self.mels[clip.frame_start * MEL_BANDS..][..clip.frames * MEL_BANDS]
    }

    /// Indices of the clips of `split`, ascending.
    pub fn indices(&self, split: Split) -> Vec<usize> {
        (0..self.clips.len()).filter(|&i| self.clips[i].split == split).collect()
    }

    /// The categories that occur, in alphabetic order.
    pub fn categories(&self) -> Vec<String> {
        let mut categories: Vec<String> = self.clips.iter().map(|clip| clip.category.clone()).collect();
        categories.sort();
        categories.dedup();
        categories
    }

    /// Reads the sound of all clips (44 kB a second) into memory.
    ///
    /// # Errors
    /// Where the file is missing or was cut short.
    pub fn load_sound(&self) -> Result<Sound> {
        let path = self.folder.join(SOUND);
        let samples = end(self.clips.iter().map(|clip| (clip.sample_start, clip.samples)), &path)?;
        Ok(Sound { samples: read_array(&path, samples, i16::from_le_bytes)? })
    }
}

/// The sound of all clips of a [`Cache`].
pub struct Sound {
    samples: Vec<i16>,
}

impl Sound {
    /// Samples of `clip` (of the cache that this came from) at 22.05 kHz; full scale is 32768.
    ///
    /// # Panics
    /// Where the clip is of another cache and reaches past the end.
    pub fn clip(&self, clip: &ClipEntry) -> &[i16] {
        &self.samples[clip.sample_start..][..clip.samples]
    }

    /// As [`Self::clip`], with full scale 1.
    pub fn clip_f32(&self, clip: &ClipEntry) -> Vec<f32> {
        self.clip(clip).iter().map(|&sample| f32::from(sample) / 32_768.0).collect()
    }
}

/// Where the last of the `(start, length)` ranges ends.
fn end(ranges: impl Iterator<Item = (usize, usize)>, path: &Path) -> Result<usize> {
    let mut end = 0;
    for (start, length) in ranges {
        let range_end = start.checked_add(length);
        end = end.max(range_end.with_context(|| format!("{}: a clip is too long", path.display()))?);
    }
    Ok(end)
}

/// Reads `count` two-byte values, after checking that the file is exactly that long.
fn read_array<T>(path: &Path, count: usize, convert: impl Fn([u8; 2]) -> T) -> Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("could not open {}", path.display()))?;
    let (found, expected) = (file.metadata()?.len(), 2 * count as u64);
    ensure!(
        found == expected,
        "{} has {found} bytes where its clips need {expected}; prepare the cache anew",
        path.display()
    );
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut values = Vec::with_capacity(count);
    let mut block = vec![0; 1 << 20];
    while values.len() < count {
        let bytes = &mut block[..(2 * (count - values.len())).min(1 << 20)];
        reader.read_exact(bytes).with_context(|| format!("could not read {}", path.display()))?;
        values.extend(bytes.as_chunks().0.iter().map(|&pair| convert(pair)));
    }
    Ok(values)
}

/// Writes a cache clip by clip; it can be opened after [`CacheWriter::finish`].
pub struct CacheWriter {
    folder: PathBuf,
    mels: BufWriter<File>,
    sound: BufWriter<File>,
    clips: Vec<ClipEntry>,
    frames: usize,
    samples: usize,
}

impl CacheWriter {
    /// Starts a cache in `folder`, which is made if it is not there.
    pub fn create(folder: &Path) -> Result<Self> {
        let create = |name: &str| {
            let path = folder.join(name);
            File::create(&path)
                .map(BufWriter::new)
                .with_context(|| format!("could not write {}", path.display()))
        };
        std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
        Ok(Self {
            mels: create(MELS)?,
            sound: create(SOUND)?,
            folder: folder.to_path_buf(),
            clips: Vec::new(),
            frames: 0,
            samples: 0,
        })
    }

    /// Appends a clip: `mel` frame-major `[frames, 80]`, `sound` its samples. The positions in
    /// `clip` are filled in.
    pub fn push(&mut self, clip: ClipEntry, mel: &[f16], sound: &[i16]) -> Result<()> {
        let bytes: Vec<u8> = mel.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.mels.write_all(&bytes)?;
        let bytes: Vec<u8> = sound.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        self.sound.write_all(&bytes)?;
        let (frames, samples) = (mel.len() / MEL_BANDS, sound.len());
        let (frame_start, sample_start) = (self.frames, self.samples);
        self.clips.push(ClipEntry { frame_start, frames, sample_start, samples, ..clip });
        self.frames += frames;
        self.samples += samples;
        Ok(())
    }

    /// The clips so far.
    pub fn clips_mut(&mut self) -> &mut [ClipEntry] {
        &mut self.clips
    }

    /// Writes the index and returns the clips.
    pub fn finish(mut self) -> Result<Vec<ClipEntry>> {
        self.mels.flush()?;
        self.sound.flush()?;
        let index = Index {
            format: FORMAT,
            sample_rate: SAMPLE_RATE,
            hop: HOP,
            mel_bands: MEL_BANDS,
            clips: self.clips,
        };
        let mut file = BufWriter::new(File::create(self.folder.join(CLIPS))?);
        serde_json::to_writer(&mut file, &index)?;
        file.flush()?;
        Ok(index.clips)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(id: &str, split: Split) -> ClipEntry {
        ClipEntry {
            id: id.into(),
            category: "BELLS".into(),
            captions: vec!["A bell".into()],
            split,
            frame_start: 0,
            frames: 0,
            sample_start: 0,
            samples: 0,
        }
    }

    #[test]
    fn a_written_cache_reads_back_and_a_cut_one_is_refused() {
        let folder = std::env::temp_dir().join(format!("soundlocd-cache-{}", std::process::id()));
        let mut writer = CacheWriter::create(&folder).unwrap();
        let mel = |frames: usize, y: f32| vec![f16::from_f32(y); frames * MEL_BANDS];
        writer.push(entry("a", Split::Train), &mel(3, 0.25), &[1, -2, 3]).unwrap();
        writer.push(entry("b", Split::Valid), &mel(2, 0.5), &[4, i16::MIN]).unwrap();
        writer.finish().unwrap();

        let cache = Cache::open(&folder).unwrap();
        assert_eq!(cache.mel(0), mel(3, 0.25));
        assert_eq!(cache.mel(1), mel(2, 0.5));
        assert_eq!(cache.indices(Split::Valid), [1]);
        assert_eq!(cache.categories(), ["BELLS"]);
        let sound = cache.load_sound().unwrap();
        assert_eq!(sound.clip(&cache.clips[0]), [1, -2, 3]);
        assert_eq!(sound.clip_f32(&cache.clips[1]), [4.0 / 32_768.0, -1.0]);

        let mels = std::fs::read(folder.join(MELS)).unwrap();
        std::fs::write(folder.join(MELS), &mels[..mels.len() - 1]).unwrap();
        let message = Cache::open(&folder).err().unwrap().to_string();
        assert!(message.contains(MELS), "{message}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
