//! Where a pack's bytes come from: the program itself, or a folder.

use super::manifest::MAX_MANIFEST_BYTES;
use super::{FileEntry, MANIFEST_FILE, PackError};
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
    /// Whether the bytes could have changed since the program was built.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    /// The bytes of `pack.json`.
    pub(super) fn manifest(&self) -> Result<Cow<'static, [u8]>, PackError> {
        match self {
            Self::Embedded => embedded(MANIFEST_FILE).map(Cow::Borrowed),
            Self::Folder(folder) => {
                let path = folder.join(MANIFEST_FILE);
                let failed = |source| PackError::Io { file: MANIFEST_FILE.into(), source };
                let size = match path.metadata() {
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
                read_exactly(&path, size).map(Cow::Owned).map_err(failed)
            }
        }
    }

    /// Checks that `file` is there in the size that the manifest says, without reading it.
    pub(super) fn check_size(&self, file: &FileEntry) -> Result<(), PackError> {
        match self {
            Self::Embedded => embedded_entry(file).map(drop),
            Self::Folder(folder) => path_of(folder, file).map(drop),
        }
    }

    /// The bytes of `file`, whose size (not hash) has been checked.
    pub(super) fn read(&self, file: &FileEntry) -> Result<Cow<'static, [u8]>, PackError> {
        match self {
            Self::Embedded => Ok(Cow::Borrowed(embedded_entry(file)?)),
            Self::Folder(folder) => {
                let path = path_of(folder, file)?;
                let failed = |source| PackError::Io { file: file.name.clone(), source };
                read_exactly(&path, file.bytes).map(Cow::Owned).map_err(failed)
            }
        }
    }

    /// The same, to be read bit by bit.
    pub(super) fn reader(&self, file: &FileEntry) -> Result<Box<dyn Read>, PackError> {
        match self {
            Self::Embedded => Ok(Box::new(embedded_entry(file)?)),
            Self::Folder(folder) => match File::open(path_of(folder, file)?) {
                Ok(opened) => Ok(Box::new(opened.take(file.bytes))),
                Err(source) => Err(PackError::Io { file: file.name.clone(), source }),
            },
        }
    }
}

/// Where `file` is in `folder`; its size has been checked.
fn path_of(folder: &Path, file: &FileEntry) -> Result<PathBuf, PackError> {
    // Plain names only: the manifest has been checked for that.
    let path = folder.join(&file.name);
    let metadata = path.metadata().map_err(|source| {
        if is_absent(&source) {
            PackError::Missing { file: file.name.clone(), folder: folder.into() }
        } else {
            PackError::Io { file: file.name.clone(), source }
        }
    })?;
    check_size(file, metadata.len())?;
    Ok(path)
}

fn check_size(file: &FileEntry, found: u64) -> Result<(), PackError> {
    if found == file.bytes {
        return Ok(());
    }
    Err(PackError::Size { file: file.name.clone(), expected: file.bytes, found })
}

fn embedded_entry(file: &FileEntry) -> Result<&'static [u8], PackError> {
    let bytes = embedded(&file.name)?;
    check_size(file, bytes.len() as u64)?;
    Ok(bytes)
}

fn embedded(name: &str) -> Result<&'static [u8], PackError> {
    match EMBEDDED.iter().find(|(file, _)| *file == name) {
        Some((_, bytes)) => Ok(*bytes),
        None => Err(PackError::Missing { file: name.into(), folder: "the program itself".into() }),
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Reads the first `size` bytes of a regular file.
fn read_exactly(path: &Path, size: u64) -> std::io::Result<Vec<u8>> {
    // Before opening it, too: that would wait for ever at a pipe that nobody writes to.
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    let length = usize::try_from(size).map_err(|_| ErrorKind::OutOfMemory)?;
    // A huge but honest file is still a refusal, not an abort, where memory is short.
    bytes.try_reserve_exact(length).map_err(|_| ErrorKind::OutOfMemory)?;
    file.take(size).read_to_end(&mut bytes)?;
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
        let mut hasher = Sha256::new();
        let bytes = std::io::copy(&mut file, &mut hasher).map_err(failed)?;
        Ok(Self { name: name.into(), bytes, sha256: hex(&hasher.finalize()) })
    }
}

/// Compares `bytes` with the manifest's hash of `file`.
pub(super) fn check_hash(file: &FileEntry, bytes: &[u8]) -> Result<(), PackError> {
    let found = sha256_hex(bytes);
    if found == file.sha256 {
        Ok(())
    } else {
        Err(PackError::Hash { file: file.name.clone(), expected: file.sha256.clone(), found })
    }
}

/// SHA-256 of `bytes`, lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
