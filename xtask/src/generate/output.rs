//! Where the sounds go: readable names, and folders that can be written, found out before the work.

use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

/// Characters of the prompt that a default name keeps.
const MAX_STEM_CHARS: usize = 60;

/// The files of `variations` sounds: `out` itself for a single one, else numbered from 1 before the extension.
///
/// Without `out` they are named after the prompt and the seed, in the current folder.
pub fn paths(out: Option<&Path>, prompt: &str, seed: u64, variations: u32) -> Result<Vec<PathBuf>> {
    let out = match out {
        None => PathBuf::from(format!("{}-{seed}.wav", stem(prompt))),
        // Devices and pipes have the names they have.
        Some(out) if is_special(out) => return Ok(vec![out.to_owned(); variations as usize]),
        Some(out) => {
            ensure!(!out.is_dir(), "{} is a folder: name a file in it", out.display());
            ensure!(out.file_name().is_some(), "{} does not name a file", out.display());
            let extension = out.extension().map(|extension| extension.to_ascii_lowercase());
            match extension {
                None => out.with_extension("wav"),
                Some(extension) if extension == "wav" => out.to_owned(),
                Some(_) => {
                    anyhow::bail!("{}: only WAV files can be written; end the name in .wav", out.display())
                }
            }
        }
    };
    if variations == 1 {
        return Ok(vec![out]);
    }
    let stem = out.file_stem().unwrap_or_default().to_owned();
    Ok((1..=variations)
        .map(|number| {
            let mut name: OsString = stem.clone();
            name.push(format!("-{number}.wav"));
            out.with_file_name(name)
        })
        .collect())
}

/// Whether something that is neither a file nor a folder has that name.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// The prompt as the stem of a file name: lower-case letters and digits of any script, words joined by hyphens.
fn stem(prompt: &str) -> String {
    let mut stem = String::new();
    for c in prompt.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            stem.push(c);
        } else if !stem.is_empty() && !stem.ends_with('-') {
            stem.push('-');
        }
    }
    let short: String = stem.chars().take(MAX_STEM_CHARS).collect();
    // Cut between words where that leaves some.
    let cut = if short.len() < stem.len() && !stem[short.len()..].starts_with('-') {
        short.rfind('-').filter(|at| *at >= short.len() / 2).unwrap_or(short.len())
    } else {
        short.len()
    };
    let stem = short[..cut].trim_end_matches('-');
    if stem.is_empty() { "sound".into() } else { stem.into() }
}

/// Makes sure, before the work, that every path can be written: its folder exists and takes a new file, and no folder has its name.
pub fn check_writable(paths: &[PathBuf]) -> Result<()> {
    for path in paths.iter().filter(|path| !is_special(path)) {
        ensure!(!path.is_dir(), "{} is a folder", path.display());
        if let Ok(metadata) = fs::metadata(path) {
            ensure!(!metadata.permissions().readonly(), "{} is write-protected", path.display());
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        ensure!(folder.is_dir(), "the folder {} does not exist", folder.display());
        let trial = folder.join(format!(".soundlocd-{}", std::process::id()));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&trial)
            .with_context(|| format!("cannot write into the folder {}", folder.display()))?;
        fs::remove_file(&trial).ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(out: Option<&str>, prompt: &str, variations: u32) -> Vec<String> {
        let paths = paths(out.map(Path::new), prompt, 7, variations).unwrap();
        paths.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn default_names_read_like_the_prompt() {
        assert_eq!(names(None, "A dog barks, twice!", 1), ["a-dog-barks-twice-7.wav"]);
        assert_eq!(names(None, "صوت المطر", 1), ["صوت-المطر-7.wav"]);
        assert_eq!(names(None, "\u{1F3B9}", 1), ["sound-7.wav"]);
        assert_eq!(names(None, "../../etc/passwd", 1), ["etc-passwd-7.wav"]);
        let long = names(None, &"wind and rain ".repeat(30), 1);
        assert_eq!(long, ["wind-and-rain-wind-and-rain-wind-and-rain-wind-and-rain-wind-7.wav"]);
        let endless = names(None, &"é".repeat(500), 1);
        assert_eq!(endless, [format!("{}-7.wav", "é".repeat(60))]);
    }

    #[test]
    fn given_names_are_kept_and_numbered() {
        assert_eq!(names(Some("x/a.wav"), "rain", 1), ["x/a.wav"]);
        assert_eq!(names(Some("a"), "rain", 1), ["a.wav"]);
        assert_eq!(names(Some("a.WAV"), "rain", 2), ["a-1.wav", "a-2.wav"]);
        assert!(paths(Some(&std::env::temp_dir()), "rain", 7, 1).unwrap_err().to_string().contains("folder"));
        assert!(paths(Some(Path::new("a.mp3")), "rain", 7, 1).unwrap_err().to_string().contains(".wav"));
        assert!(paths(Some(Path::new("missing/..")), "rain", 7, 1).is_err());
    }

    #[test]
    fn unwritable_outputs_are_found_before_the_work() {
        let refuse = |path: &Path, part: &str| {
            let message = format!("{:#}", check_writable(&[path.to_owned()]).unwrap_err());
            assert!(message.contains(part), "{message}");
        };
        let temporary = std::env::temp_dir();
        check_writable(&[temporary.join("soundlocd-never-made.wav")]).unwrap();
        assert!(!temporary.join("soundlocd-never-made.wav").exists());
        refuse(&temporary, "is a folder");
        refuse(&temporary.join("soundlocd-no-such-folder/a.wav"), "does not exist");
        #[cfg(target_os = "linux")]
        refuse(Path::new("/proc/a.wav"), "cannot write into");
    }
}
