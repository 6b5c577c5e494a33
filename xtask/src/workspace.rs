//! Where the workspace, its build output and its test artifacts are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// The folder with the workspace's `Cargo.toml`.
///
/// Cargo sets `CARGO_MANIFEST_DIR` when it runs us; a copied binary falls back to where it was
/// built.
pub fn root() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest.parent().unwrap_or(Path::new("."));
    if !root.join("bundler.toml").is_file() {
        bail!("SoundLoCD's source tree is not at {}; run this as `cargo xtask`", root.display());
    }
    Ok(root.to_path_buf())
}

/// Makes [`root`] the current directory, as nice-plug's bundler and cargo expect, and returns it.
pub fn enter_root() -> Result<PathBuf> {
    let root = root()?;
    std::env::set_current_dir(&root).with_context(|| format!("could not enter {}", root.display()))?;
    Ok(root)
}

/// `cargo metadata` of the workspace, with all dependencies on all platforms.
pub fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(root()?.join("Cargo.toml"))
        .exec()
        .context("`cargo metadata` failed in the workspace")
}

/// The folder cargo builds into; `CARGO_TARGET_DIR` moves it.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = MetadataCommand::new()
        .manifest_path(root()?.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("`cargo metadata` failed in the workspace")?;
    Ok(metadata.target_directory.into_std_path_buf())
}

/// A `cargo` command in the workspace's root, run by the cargo that runs us.
pub fn cargo() -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()?);
    Ok(command)
}
