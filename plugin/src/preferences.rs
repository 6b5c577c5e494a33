//! What the user has chosen once and for all projects: the look of the window, how files are named, and the prompts
//! used last.
//!
//! Kept as JSON in the user's folder for data, read once a program and shared by all its instances. Several
//! programs may write it: each writes only what was changed in it since it was read.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use soundlocd_engine::{
    clip::{wav::Naming, write_atomically},
    gpu,
    pack::library::data_folder,
    service::request::MAX_PROMPT_CHARS,
};

/// Environment variable that names another file for the preferences.
pub const VARIABLE: &str = "SOUNDLOCD_PREFERENCES";

/// Most prompts remembered.
pub const MAX_PROMPTS: usize = 100;
/// Longest name of a maker, in characters.
pub const MAX_ARTIST_CHARS: usize = 80;
/// Largest file read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Those of this program.
static CURRENT: OnceLock<Mutex<Arc<Preferences>>> = OnceLock::new();

/// The choices. A field that is missing or wrong in the file has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// Whether the window is light.
    pub is_light: bool,
    /// Whether files are named after the Universal Category System.
    pub ucs_names: bool,
    /// Whether WAV files have the host's sample rate rather than 22.05 kHz.
    pub host_rate: bool,
    /// Where models run: "cpu", "cuda" (an NVIDIA GPU), anything else for the better one that is there.
    pub device: String,
    /// Who is named as the maker in files.
    pub artist: String,
    /// The prompts used last, the newest first.
    pub prompts: Vec<String>,
}

impl Preferences {
    /// Remembers a prompt as the newest.
    pub fn remember(&mut self, prompt: &str) {
        let prompt = prompt.trim();
        if prompt.is_empty() || prompt.chars().count() > MAX_PROMPT_CHARS {
            return;
        }
        self.prompts.retain(|other| other != prompt);
        self.prompts.insert(0, prompt.to_owned());
        self.prompts.truncate(MAX_PROMPTS);
    }

    /// Reads them from a file; the defaults if there is none or it is no such file.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let is_small =
            fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_FILE);
        let text = if is_small { fs::read_to_string(path).unwrap_or_default() } else { String::new() };
        let Ok(Value::Object(fields)) = serde_json::from_str(&text) else { return Self::default() };
        let is = |name: &str| fields.get(name).and_then(Value::as_bool).unwrap_or_default();
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut read = Self {
            is_light: is("is_light"),
            ucs_names: is("ucs_names"),
            host_rate: is("host_rate"),
            device: one_line(text("device"), 8),
            artist: one_line(text("artist"), MAX_ARTIST_CHARS),
            prompts: Vec::new(),
        };
        let prompts = fields.get("prompts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let prompts = prompts.iter().take(MAX_PROMPTS).filter_map(Value::as_str);
        prompts.rev().for_each(|prompt| read.remember(&one_line(prompt, MAX_PROMPT_CHARS)));
        read
    }

    /// Writes them to a file, whole or not at all.
    ///
    /// # Errors
    /// If the folder cannot be made or written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let fields = json!({
            "is_light": self.is_light,
            "ucs_names": self.ucs_names,
            "host_rate": self.host_rate,
            "device": self.device,
            "artist": self.artist,
            "prompts": self.prompts,
        });
        write_atomically(path, format!("{fields:#}\n").as_bytes())
    }

    /// Where models are to run.
    #[must_use]
    pub fn choice(&self) -> gpu::Choice {
        match self.device.as_str() {
            "cpu" => gpu::Choice::Cpu,
            "cuda" => gpu::Choice::Cuda,
            _ => gpu::Choice::Auto,
        }
    }

    /// How files are named.
    #[must_use]
    pub fn naming(&self) -> Naming {
        if self.ucs_names {
            Naming::Ucs { creator: self.artist.clone(), source: String::new() }
        } else {
            Naming::Prompt
        }
    }
}

/// What holds now; the defaults until [`load`] was called.
#[must_use]
pub fn current() -> Arc<Preferences> {
    CURRENT.get_or_init(Mutex::default).lock().clone()
}

/// Changes what holds in this program, for now. [`save`] keeps it.
pub fn change(change: impl FnOnce(&mut Preferences)) {
    let mut current = CURRENT.get_or_init(Mutex::default).lock();
    change(Arc::make_mut(&mut *current));
    gpu::prefer(current.choice());
}

/// Reads the user's file, on a thread that may wait for a disk.
pub fn load() {
    if let Some(path) = file() {
        let read = Preferences::read(&path);
        change(|current| *current = read);
    }
}

/// Makes a change in the user's file too, beside those of other programs, on a thread that may wait for a disk.
///
/// # Errors
/// If it cannot be written.
pub fn save(change: impl FnOnce(&mut Preferences)) -> io::Result<()> {
    // One at a time in this program; programs that write in the same moment lose one of the two changes, never the file.
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING.lock();
    let Some(path) = file() else { return Ok(()) };
    let mut preferences = Preferences::read(&path);
    change(&mut preferences);
    preferences.write(&path)
}

/// Where they are kept. `None` for a user without a home.
fn file() -> Option<PathBuf> {
    match env::var_os(VARIABLE) {
        Some(path) if !path.is_empty() => Some(path.into()),
        _ => Some(data_folder()?.join("preferences.json")),
    }
}

/// The text without control characters, at most so long.
fn one_line(text: &str, chars: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/preferences.json");
        assert_eq!(Preferences::read(&path), Preferences::default());
        let mut preferences = Preferences {
            is_light: true,
            device: "cpu".to_owned(),
            artist: "M. \"X\" Müller".to_owned(),
            ..Preferences::default()
        };
        for prompt in ["a bell", "rain", "  ", "a bell "] {
            preferences.remember(prompt);
        }
        assert_eq!(preferences.prompts, ["a bell", "rain"]);
        preferences.write(&path).unwrap();
        assert_eq!(Preferences::read(&path), preferences);
        assert_eq!(
            (preferences.choice(), Preferences::default().choice()),
            (gpu::Choice::Cpu, gpu::Choice::Auto)
        );
        (0..2 * MAX_PROMPTS).for_each(|n| preferences.remember(&n.to_string()));
        assert_eq!((preferences.prompts.len(), preferences.prompts[0].as_str()), (MAX_PROMPTS, "199"));
    }

    #[test]
    fn of_a_damaged_file_is_used_what_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("preferences.json");
        fs::write(&path, r#"{"is_light": true, "artist": 7, "prompts": ["a\nb", 3, "c"], "new": {}}"#)
            .unwrap();
        let expected = Preferences {
            is_light: true,
            prompts: vec!["ab".to_owned(), "c".to_owned()],
            ..Preferences::default()
        };
        assert_eq!(Preferences::read(&path), expected);
        for text in ["", "[]", "{\"is_light\": tru", "\u{0}"] {
            fs::write(&path, text).unwrap();
            assert_eq!(Preferences::read(&path), Preferences::default());
        }
        assert_eq!(Preferences::read(folder.path()), Preferences::default());
    }
}
