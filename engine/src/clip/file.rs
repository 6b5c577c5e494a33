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
///
/// # Errors
/// What the system says.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    write_beside(path, bytes, |temporary| fs::rename(temporary, path))
}

/// As [`write_atomically`], but never in place of anything: where `path` is taken, whatever by, it is
/// left alone.
///
/// # Errors
/// `AlreadyExists` then; otherwise those of the file system.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    write_beside(path, bytes, |temporary| move_to_new(temporary, path))
}

/// Gives the file at `from` the name `to` in the same folder or file system, never in place of anything: of several
/// programs that want one name, one gets it.
///
/// # Errors
/// `AlreadyExists` where `to` is taken; otherwise those of the file system. `from` is as it was then.
pub fn move_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => {
            let removed = fs::remove_file(from);
            if removed.is_err() {
                // Rather the old name alone than both.
                let _ = fs::remove_file(to);
            }
            removed
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
            Err(error)
        }
        // A file system without links (FAT): take the name with an empty file, then replace that.
        Err(_) => {
            OpenOptions::new().write(true).create_new(true).open(to)?;
            let renamed = fs::rename(from, to);
            if renamed.is_err() {
                let _ = fs::remove_file(to);
            }
            renamed
        }
    }
}

/// Writes `bytes` to a new file beside `path` and lets `finish` give it its name; removes it if that fails.
fn write_beside(path: &Path, bytes: &[u8], finish: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let (mut file, temporary) = create_beside(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    drop(file);
    let finished = written.and_then(|()| finish(&temporary));
    if finished.is_err() {
        // The first failure is what the caller should hear of.
        let _ = fs::remove_file(&temporary);
    }
    finished
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

    #[test]
    fn new_files_never_take_a_name_that_is_taken() {
        let folder = Folder::new();
        let path = folder.path("a.bin");
        write_new(&path, b"first").unwrap();
        assert_eq!(write_new(&path, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        let other = folder.path("b.bin");
        fs::write(&other, b"other").unwrap();
        assert_eq!(move_to_new(&other, &path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        move_to_new(&other, &folder.path("c.bin")).unwrap();
        assert_eq!(move_to_new(&other, &folder.path("d.bin")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut names = folder.names();
        names.sort();
        assert_eq!(names, ["a.bin", "c.bin"]);
        // A link to nothing is something, too.
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path("nowhere"), folder.path("link")).unwrap();
            assert_eq!(
                write_new(&folder.path("link"), b"x").unwrap_err().kind(),
                io::ErrorKind::AlreadyExists
            );
        }
    }

    #[test]
    fn of_many_that_want_one_name_one_gets_it() {
        let folder = Folder::new();
        let path = folder.path("a.bin");
        let won = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8u8)
                .map(|n| {
                    scope.spawn({
                        let path = &path;
                        move || write_new(path, &[n; 1_000]).is_ok()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes, [bytes[0]; 1_000]);
        assert_eq!(folder.names(), ["a.bin"]);
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
