//! Writing files so that a full disk, a crash or a missing permission never costs what was there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Writes `bytes` to `path`: first all of it to a new file beside it, then that takes the name in
/// one step. On failure `path` is as it was and the new file is gone. A device or pipe of that name
/// is written to: taking its name would remove it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let (mut file, temporary) = create_beside(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    drop(file);
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // The first failure is what the caller should hear of.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// A new, empty file in `path`'s folder: a rename cannot cross file systems.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    if path.is_dir() || path.file_name().is_none() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Short and of our own: the name wanted plus a suffix could be longer than names may be.
        let temporary = path.with_file_name(format!(".soundlocd-{}-{number}.part", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            // Left behind by a process that had our number and was killed: take the next.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clip::test_support::Folder;

    #[test]
    fn replaces_the_old_file_whole() {
        let folder = Folder::new();
        let path = folder.path("a.bin");
        write_atomically(&path, b"first, longer").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(folder.names(), ["a.bin"]);
    }

    #[test]
    fn failure_leaves_everything_as_it_was() {
        let folder = Folder::new();
        let missing = folder.path("none").join("a.bin");
        assert_eq!(write_atomically(&missing, b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        let occupied = folder.path("folder");
        fs::create_dir(&occupied).unwrap();
        assert!(write_atomically(&occupied, b"x").is_err());
        assert_eq!(folder.names(), ["folder"]);
    }

    /// `/dev/full` refuses every byte as a full disk does.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_reported_and_a_device_stays_one() {
        let full = Path::new("/dev/full");
        assert_eq!(write_atomically(full, b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!fs::metadata(full).unwrap().is_file());
    }
}
