//! What the tests of the command line share: folders that go, and commands that succeed or are refused.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and no test uses all of this"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A fresh folder, removed at the end of the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("soundlocd-{test}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn is_empty(&self) -> bool {
        fs::read_dir(&self.0).unwrap().next().is_none()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A checkpoint in the published layouts.
pub fn published(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/checkpoints").join(name)
}

/// `cargo xtask` with arguments, then pairs of an option and a path.
pub fn xtask(args: &[&str], paths: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args);
    for (name, path) in paths {
        command.arg(name).arg(path);
    }
    command
}

/// The command succeeds; what it printed.
#[track_caller]
pub fn succeed(args: &[&str], paths: &[(&str, &Path)]) -> String {
    let Output { status, stdout, stderr } = xtask(args, paths).output().unwrap();
    assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}

/// The command fails, its message has all of `parts`, and nobody panicked.
#[track_caller]
pub fn refuse(args: &[&str], paths: &[(&str, &Path)], parts: &[&str]) {
    let output = xtask(args, paths).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "this was accepted: {args:?} {paths:?}");
    assert!(!message.contains("panicked"), "{message}");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
}

/// Imports the small checkpoints, with weights in f32; the pack's folder.
pub fn imported(scratch: &Scratch) -> PathBuf {
    let pack = scratch.path("pack");
    let printed = succeed(
        &["import", "diffsound", "--heads", "4", "--storage", "f32"],
        &[
            ("--diffsound", &published("diffsound_small.pth")),
            ("--vqvae", &published("vqvae_small.ckpt")),
            ("--vocoder", &published("melgan_small.pt")),
            ("--out", &pack),
        ],
    );
    assert!(printed.contains("moving averages (EMA)") && printed.contains("194,896 parameters"), "{printed}");
    pack
}
