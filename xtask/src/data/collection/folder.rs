//! A folder from elsewhere, of which nothing outside is read.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use walkdir::{DirEntry, WalkDir};

/// Longest list that is read, in bytes: AudioCaps' has 4 MB.
const LONGEST_LIST: u64 = 256 << 20;

/// Endings of files that are meant as sound, lower case: what can be decoded, and what people try.
const SOUNDS: &[&str] = &[
    "wav", "wave", "bwf", "aif", "aiff", "aifc", "flac", "ogg", "oga", "opus", "mp3", // readable
    "m4a", "mp4", "aac", "caf", "wma", "wv", "ape", "au", "snd", "amr", "rx2", "rex", "w64", "rf64", "webm",
];

/// The folder.
pub struct Folder {
    /// Without symbolic links.
    root: PathBuf,
    /// As its user calls it.
    name: String,
}

impl Folder {
    /// Opens `path`.
    ///
    /// # Errors
    /// Where it is no folder.
    pub fn open(path: &Path) -> Result<Self> {
        let root =
            path.canonicalize().with_context(|| format!("could not open the folder {}", path.display()))?;
        ensure!(root.is_dir(), "{} is not a folder", path.display());
        let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { root, name })
    }

    /// Its full path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its name alone.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The full path of the file `relative`; the reason why it may not or cannot be read, if so.
    pub fn file(&self, relative: &Path) -> Result<PathBuf, String> {
        // A list from elsewhere must not make us read files outside its folder.
        let inside =
            relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if relative.as_os_str().is_empty() || !inside {
            return Err(format!("'{}' is not a path inside the data set", relative.display()));
        }
        let path = self.root.join(relative);
        let real = path.canonicalize().map_err(|_| format!("there is no file {}", relative.display()))?;
        if !real.starts_with(&self.root) {
            return Err(format!("'{}' is a link to a place outside the data set", relative.display()));
        }
        if real.is_file() { Ok(path) } else { Err(format!("'{}' is not a file", relative.display())) }
    }

    /// Whether it holds the file `relative`.
    pub fn has(&self, relative: &str) -> bool {
        self.file(Path::new(relative)).is_ok()
    }

    /// The text of the list `relative`, without a byte order mark.
    ///
    /// # Errors
    /// Where it cannot be read, is far too long or not in UTF-8.
    pub fn text(&self, relative: &Path) -> Result<String> {
        let path = self.file(relative).map_err(anyhow::Error::msg)?;
        let length = fs::metadata(&path)?.len();
        ensure!(length <= LONGEST_LIST, "{} has {length} bytes, too many for a list", relative.display());
        let bytes = fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        let text = String::from_utf8(bytes);
        let text =
            text.with_context(|| format!("{} is not in UTF-8; save it as UTF-8 text", relative.display()))?;
        Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
    }

    /// The files directly in it whose names end in `.extension`, in alphabetic order, relative.
    pub fn lists(&self, extension: &str) -> Vec<PathBuf> {
        self.walk(1).filter(|path| has_extension(path, &[extension])).collect()
    }

    /// All files meant as sound in it and the folders below, in alphabetic order, relative. Hidden ones and those
    /// that macOS adds to archives are left out; links to folders are not followed.
    pub fn sounds(&self) -> Vec<PathBuf> {
        self.walk(usize::MAX).filter(|path| has_extension(path, SOUNDS)).collect()
    }

    fn walk(&self, depth: usize) -> impl Iterator<Item = PathBuf> {
        let shown = |entry: &DirEntry| {
            let name = entry.file_name().to_string_lossy();
            entry.depth() == 0 || !(name.starts_with('.') || name == "__MACOSX")
        };
        let entries = WalkDir::new(&self.root).max_depth(depth).sort_by_file_name().into_iter();
        let files =
            entries.filter_entry(shown).filter_map(Result::ok).filter(|entry| !entry.file_type().is_dir());
        files.filter_map(|entry| entry.path().strip_prefix(&self.root).ok().map(Path::to_owned))
    }
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    extensions.contains(&extension.as_str())
}
