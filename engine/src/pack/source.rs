//! Where a pack's bytes come from: the program itself, or a folder.

use super::manifest::MAX_MANIFEST_BYTES;
use super::{FileEntry, MANIFEST_FILE, PackError, Part};
use crate::weights::Weights;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

macro_rules! default_pack {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/pack/", $name)))),+]
    };
}

/// The files of the default pack.
static EMBEDDED: &[(&str, &[u8])] = default_pack![
    "pack.json",
    "tokenizer.json",
    "text.safetensors",
    "transformer.safetensors",
    "codec.safetensors",
    "vocoder.safetensors",
];

/// Where a pack lives.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// In the program's binary.
    Embedded,
    /// In a folder of the user's.
    Folder(PathBuf),
}

impl Source {
    /// The bytes of `pack.json`.
    pub(super) fn manifest(&self) -> Result<Cow<'static, [u8]>, PackError> {
        match self {
            Self::Embedded => embedded(MANIFEST_FILE).map(Cow::Borrowed),
            Self::Folder(folder) => {
                let path = folder.join(MANIFEST_FILE);
                let failed = |source| PackError::Io { file: MANIFEST_FILE.into(), source };
                let size = match path.metadata() {
                    // Opening a pipe would wait for ever for somebody to write to it.
                    Ok(metadata) if !metadata.is_file() => return Err(failed(not_a_file())),
                    Ok(metadata) => metadata.len(),
                    Err(error) if is_absent(&error) => {
                        return Err(PackError::NotAPack { folder: folder.clone() });
                    }
                    Err(error) => return Err(failed(error)),
                };
                if size > MAX_MANIFEST_BYTES {
                    return Err(PackError::Manifest(format!(
                        "it has {size} bytes, more than the {MAX_MANIFEST_BYTES} possible"
                    )));
                }
                let mut file = File::open(&path).map_err(failed)?;
                read_all(&mut file, size).map(Cow::Owned).map_err(failed)
            }
        }
    }

    /// Checks that `file` is there in the size that the manifest says, without reading it.
    pub(super) fn check_size(&self, file: &FileEntry) -> Result<(), PackError> {
        match self {
            Self::Embedded => embedded_file(file).map(drop),
            Self::Folder(folder) => check_size(folder, file),
        }
    }

    /// `file`, to be read bit by bit; its size is checked, its hash is not.
    pub(super) fn reader(&self, file: &FileEntry) -> Result<Box<dyn Read>, PackError> {
        Ok(match self {
            Self::Embedded => Box::new(embedded_file(file)?),
            Self::Folder(folder) => {
                check_size(folder, file)?;
                let failed = |source| PackError::Io { file: file.name.clone(), source };
                Box::new(File::open(folder.join(&file.name)).map_err(failed)?.take(file.bytes))
            }
        })
    }

    /// Checks size and hash of `file`, wherever it is.
    pub(super) fn verify(&self, file: &FileEntry) -> Result<(), PackError> {
        match self {
            Self::Embedded => compare(file, Sha256::new_with_prefix(embedded_file(file)?)),
            Self::Folder(folder) => Reader::open(folder, file)?.finish(),
        }
    }

    /// The whole of `file`, checked against its size and, if it comes from a folder, its hash.
    pub(super) fn read(&self, file: &FileEntry) -> Result<Cow<'static, [u8]>, PackError> {
        match self {
            Self::Embedded => embedded_file(file).map(Cow::Borrowed),
            Self::Folder(folder) => {
                let mut reader = Reader::open(folder, file)?;
                let bytes = read_all(&mut reader, file.bytes)
                    .map_err(|source| PackError::Io { file: file.name.clone(), source })?;
                reader.finish()?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// The tensors of `file`, of `part`, checked likewise.
    pub(super) fn weights(&self, file: &FileEntry, part: Part) -> Result<Weights<'static>, PackError> {
        if file.bytes == 0 {
            return Err(PackError::Untrained { file: file.name.clone(), part });
        }
        let of_part = |weights: &Weights| match weights.part() {
            Some(found) if found != part.name() => {
                Err(PackError::WrongPart { file: file.name.clone(), expected: part, found: found.to_owned() })
            }
            _ => Ok(()),
        };
        match self {
            Self::Embedded => {
                let weights = Weights::decode(&file.name, embedded_file(file)?)?;
                of_part(&weights)?;
                Ok(weights)
            }
            Self::Folder(folder) => {
                let mut reader = Reader::open(folder, file)?;
                let weights = Weights::read(&file.name, file.bytes, &mut reader);
                // Before the hash: "this is the codec's file" helps more than "this is not the file". But a damaged
                // file is just that, whatever it decodes to.
                if let Ok(weights) = &weights {
                    of_part(weights)?;
                }
                reader.finish()?;
                Ok(weights?)
            }
        }
    }
}

/// A file of a folder, hashed while it is read.
struct Reader<'a> {
    entry: &'a FileEntry,
    file: std::io::Take<File>,
    hash: Sha256,
}

impl<'a> Reader<'a> {
    /// Opens a regular file of the size that the manifest says; never reads more, should it grow meanwhile.
    fn open(folder: &Path, entry: &'a FileEntry) -> Result<Self, PackError> {
        // Before it is opened, which could wait for ever at a pipe, and after, when it cannot be replaced any more.
        check_size(folder, entry)?;
        let failed = |source| PackError::Io { file: entry.name.clone(), source };
        let file = File::open(folder.join(&entry.name)).map_err(failed)?;
        check_metadata(entry, &file.metadata().map_err(failed)?)?;
        Ok(Self { entry, file: file.take(entry.bytes), hash: Sha256::new() })
    }

    /// Reads what is left and compares the hash of everything with the manifest's.
    fn finish(mut self) -> Result<(), PackError> {
        std::io::copy(&mut self.file, &mut self.hash)
            .map_err(|source| PackError::Io { file: self.entry.name.clone(), source })?;
        compare(self.entry, self.hash)
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Checks that a folder has a regular file of the size that the manifest says.
fn check_size(folder: &Path, entry: &FileEntry) -> Result<(), PackError> {
    // Plain names only: the manifest has been checked for that.
    let metadata = folder.join(&entry.name).metadata().map_err(|source| {
        let file = entry.name.clone();
        if is_absent(&source) {
            PackError::Missing { file, folder: folder.into() }
        } else {
            PackError::Io { file, source }
        }
    })?;
    check_metadata(entry, &metadata)
}

fn check_metadata(entry: &FileEntry, metadata: &std::fs::Metadata) -> Result<(), PackError> {
    let file = entry.name.clone();
    if !metadata.is_file() {
        return Err(PackError::Io { file, source: not_a_file() });
    }
    let (expected, found) = (entry.bytes, metadata.len());
    if expected == found { Ok(()) } else { Err(PackError::Size { file, expected, found }) }
}

fn not_a_file() -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")
}

/// A file of the program itself.
fn embedded_file(file: &FileEntry) -> Result<&'static [u8], PackError> {
    let bytes = embedded(&file.name)?;
    let (expected, found) = (file.bytes, bytes.len() as u64);
    if expected == found {
        Ok(bytes)
    } else {
        Err(PackError::Size { file: file.name.clone(), expected, found })
    }
}

fn embedded(name: &str) -> Result<&'static [u8], PackError> {
    match EMBEDDED.iter().find(|(file, _)| *file == name) {
        Some((_, bytes)) => Ok(bytes),
        None => Err(PackError::Missing { file: name.into(), folder: "the program itself".into() }),
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The `size` bytes of `source`.
fn read_all(source: &mut impl Read, size: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = usize::try_from(size).map_err(|_| ErrorKind::OutOfMemory)?;
    // A huge but honest file is still a refusal, not an abort, where memory is short.
    bytes.try_reserve_exact(length).map_err(|_| ErrorKind::OutOfMemory)?;
    source.take(size).read_to_end(&mut bytes)?;
    if bytes.len() == length { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

impl FileEntry {
    /// The entry of the file `name` in `folder`, as it is now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of(folder: &Path, name: &str) -> Result<Self, PackError> {
        let failed = |source| PackError::Io { file: name.into(), source };
        let mut file = File::open(folder.join(name)).map_err(failed)?;
        let mut hash = Sha256::new();
        let bytes = std::io::copy(&mut file, &mut hash).map_err(failed)?;
        Ok(Self { name: name.into(), bytes, sha256: hexadecimal(hash) })
    }
}

/// Compares a hash with the manifest's.
fn compare(file: &FileEntry, hash: Sha256) -> Result<(), PackError> {
    let found = hexadecimal(hash);
    if found == file.sha256 {
        Ok(())
    } else {
        Err(PackError::Hash { file: file.name.clone(), expected: file.sha256.clone(), found })
    }
}

/// SHA-256 of `bytes`, lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

/// The digest, lower-case hexadecimal.
pub(crate) fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
