//! `cargo xtask install`: copies the bundles to the user's plugin folders.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bundle;

/// Arguments of `cargo xtask install`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the CLAP plugin [default: your own CLAP folder].
    #[arg(long, value_name = "DIR")]
    clap_dir: Option<PathBuf>,
    /// Folder for the VST3 plugin [default: your own VST3 folder].
    #[arg(long, value_name = "DIR")]
    vst3_dir: Option<PathBuf>,
}

/// Runs `cargo xtask install`.
pub fn run(args: Args) -> Result<()> {
    let clap_dir = args.clap_dir.map_or_else(|| user_folder(Format::Clap), Ok)?;
    let vst3_dir = args.vst3_dir.map_or_else(|| user_folder(Format::Vst3), Ok)?;
    let bundles = bundle::build(&bundle::Args { debug: false, standalone: false })?;
    for (bundle, folder) in [(bundles.clap, clap_dir), (bundles.vst3, vst3_dir)] {
        let installed = place(&bundle, &folder)?;
        println!("installed {}", installed.display());
    }
    println!("Rescan plugins in your DAW; {} is listed as an instrument.", bundle::NAME);
    Ok(())
}

/// A plugin format, for the folder it is installed to.
#[derive(Clone, Copy)]
enum Format {
    Clap,
    Vst3,
}

/// The folder in which hosts look for the user's own plugins of `format`.
///
/// From CLAP's `entry.h` and Steinberg's "Plug-in Locations": no administrator rights are needed
/// for any of them.
fn user_folder(format: Format) -> Result<PathBuf> {
    let (variable, clap, vst3) = if cfg!(target_os = "windows") {
        ("LOCALAPPDATA", r"Programs\Common\CLAP", r"Programs\Common\VST3")
    } else if cfg!(target_os = "macos") {
        ("HOME", "Library/Audio/Plug-Ins/CLAP", "Library/Audio/Plug-Ins/VST3")
    } else {
        ("HOME", ".clap", ".vst3")
    };
    let home = std::env::var_os(variable)
        .with_context(|| format!("{variable} is not set: name the folders with --clap-dir and --vst3-dir"))?;
    Ok(PathBuf::from(home).join(match format {
        Format::Clap => clap,
        Format::Vst3 => vst3,
    }))
}

/// Copies `bundle` (a file or a folder) into `folder`, replacing what has its name there.
///
/// The copy is made under another name and then renamed: a DAW that has the old plugin loaded
/// keeps its file until it closes it, and a copy that fails half-way leaves the old one in place.
fn place(bundle: &Path, folder: &Path) -> Result<PathBuf> {
    let name = bundle.file_name().context("the bundle has no file name")?;
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    let wanted = folder.join(name);
    let mut fresh_name = name.to_owned();
    fresh_name.push(".new");
    let fresh = folder.join(fresh_name);

    remove(&fresh)?;
    copy(bundle, &fresh)
        .with_context(|| format!("could not copy {} to {}", bundle.display(), fresh.display()))?;
    if wanted.is_dir() {
        // A folder cannot be renamed over one that has files in it.
        remove(&wanted)?;
    }
    fs::rename(&fresh, &wanted)
        .with_context(|| format!("could not rename {} to {}", fresh.display(), wanted.display()))?;
    Ok(wanted)
}

/// Removes a file or folder if it is there.
fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() {
        fs::remove_dir_all(path)
    } else if path.exists() {
        fs::remove_file(path)
    } else {
        Ok(())
    };
    result.with_context(|| format!("could not remove {}", path.display()))
}

/// Copies a file, or a folder with all in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(|_| ());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// A fresh folder under the system's temporary one, named after the test.
    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("soundlocd-install-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn replaces_an_older_bundle_folder_completely() {
        let home = scratch("folder");
        let bundle = home.join("built/A.vst3");
        fs::create_dir_all(bundle.join("Contents/x86_64-linux")).unwrap();
        fs::write(bundle.join("Contents/x86_64-linux/A.so"), b"new").unwrap();
        let folder = home.join("vst3");
        fs::create_dir_all(folder.join("A.vst3/Contents")).unwrap();
        fs::write(folder.join("A.vst3/Contents/stale"), b"old").unwrap();

        let installed = place(&bundle, &folder).unwrap();

        assert_eq!(fs::read(installed.join("Contents/x86_64-linux/A.so")).unwrap(), b"new");
        assert!(!installed.join("Contents/stale").exists());
        assert!(!folder.join("A.vst3.new").exists());
        fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn replaces_an_older_bundle_file() {
        let home = scratch("file");
        fs::write(home.join("A.clap"), b"new").unwrap();
        let folder = home.join("clap");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("A.clap"), b"old").unwrap();

        let installed = place(&home.join("A.clap"), &folder).unwrap();

        assert_eq!(fs::read(installed).unwrap(), b"new");
        fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn a_failed_copy_leaves_the_old_bundle() {
        let home = scratch("failed");
        let folder = home.join("clap");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("A.clap"), b"old").unwrap();

        assert!(place(&home.join("A.clap"), &folder).is_err());

        assert_eq!(fs::read(folder.join("A.clap")).unwrap(), b"old");
        fs::remove_dir_all(home).unwrap();
    }
}
