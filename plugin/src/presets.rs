//! Presets: settings and sounds of an instance in a file.
//!
//! A file is JSON, `{ "soundlocd_preset": 1, "name": …, "state": … }`, and its state what a project keeps: read as strictly
//! and brought up to date in the same way ([`state::repair`]). Files of the user lie in `Presets` in
//! their folder for data; a few are compiled in.

use std::{
    borrow::Cow,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use nice_plug::{
    plugin::ParamValue,
    prelude::{ParamPtr, Params, PluginState},
};
use serde_json::{Value, json};
use soundlocd_engine::{
    clip::{wav::legal_stem, write_atomically},
    pack::library::data_folder,
    service::Service,
};
use thiserror::Error;

use crate::{params::SoundLocdParams, session::Session, state};

/// Environment variable that names another folder for the user's presets.
pub const VARIABLE: &str = "SOUNDLOCD_PRESETS";
/// Ending of a preset's file.
pub const EXTENSION: &str = "soundlocd";
/// Version of the files' layout.
const FORMAT: u64 = 1;
/// Largest file read, in bytes: many times what sixteen pads of ten seconds need.
const MAX_FILE: u64 = 256 << 20;
/// Most presets listed.
const MAX_LISTED: usize = 1000;
/// Longest name, in characters.
pub const MAX_NAME_CHARS: usize = 60;

/// The presets that come with the program.
const FACTORY: [(&str, &str); 2] = [
    ("Found percussion", include_str!("../../assets/presets/Found percussion.soundlocd")),
    ("Doors and footsteps", include_str!("../../assets/presets/Doors and footsteps.soundlocd")),
];

/// Why a preset could not be kept or read.
#[derive(Debug, Error)]
pub enum PresetError {
    /// Without a home folder.
    #[error("There is no home folder to keep presets in.")]
    NoFolder,
    /// A name of nothing but signs that file names cannot have.
    #[error("“{name}” cannot be the name of a file: use letters and digits.")]
    Name {
        /// What was typed.
        name: String,
    },
    /// The system says no.
    #[error("The preset “{name}” could not be {done}: {source}.")]
    System {
        /// Which preset.
        name: String,
        /// "read", "saved" or "removed".
        done: &'static str,
        /// What it says.
        source: std::io::Error,
    },
    /// Larger than any preset.
    #[error("“{name}” is not a preset: it has {found} MB, and presets have {} at most.", MAX_FILE >> 20)]
    Size {
        /// Which file.
        name: String,
        /// Its size in MB.
        found: u64,
    },
    /// Something else.
    #[error("“{name}” is not a SoundLoCD preset, or it is damaged: {reason}.")]
    Damaged {
        /// Which file.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// A preset that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is called.
    pub name: String,
    /// The user's file; `None` for one that comes with the program.
    pub path: Option<PathBuf>,
}

/// A preset that was read.
#[derive(Clone, Debug)]
pub struct Preset {
    /// What it is called.
    pub name: String,
    /// What it holds, up to date.
    pub state: PluginState,
}

/// Where the user's presets are.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    match env::var_os(VARIABLE) {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => Some(data_folder()?.join("Presets")),
    }
}

/// All presets: those that come with the program, then the user's by name.
#[must_use]
pub fn list(folder: Option<&Path>) -> Vec<Listed> {
    let factory = FACTORY.iter().map(|(name, _)| Listed { name: (*name).to_owned(), path: None });
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let mut own: Vec<Listed> = entries
        .take(MAX_LISTED)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(EXTENSION)))
        .map(|path| Listed { name: stem(&path).into_owned(), path: Some(path) })
        .collect();
    own.sort_by_key(|listed| listed.name.to_lowercase());
    factory.chain(own).collect()
}

impl Listed {
    /// Reads it.
    ///
    /// # Errors
    /// If the file is gone, too large or no preset.
    pub fn read(&self) -> Result<Preset, PresetError> {
        let text = match &self.path {
            None => FACTORY
                .iter()
                .find(|(name, _)| *name == self.name)
                .map_or(Cow::Borrowed(""), |(_, text)| Cow::Borrowed(*text)),
            Some(path) => Cow::Owned(read(path, &self.name)?),
        };
        parse(&self.name, &text)
    }
}

/// Keeps a state as a preset in `folder`, with a number if there is one of this name.
///
/// # Errors
/// If the name cannot be a file's, or the file cannot be written.
pub fn save(folder: &Path, name: &str, state: &PluginState) -> Result<PathBuf, PresetError> {
    let short: String = name.trim().chars().take(MAX_NAME_CHARS).collect();
    let stem = legal_stem(&short).ok_or_else(|| PresetError::Name { name: name.to_owned() })?;
    let failed = |source| PresetError::System { name: stem.clone(), done: "saved", source };
    fs::create_dir_all(folder).map_err(failed)?;
    let names = std::iter::once(stem.clone()).chain((2..).map(|number| format!("{stem} {number}")));
    let free =
        names.map(|name| (folder.join(format!("{name}.{EXTENSION}")), name)).find(|(path, _)| !path.exists());
    let Some((path, name)) = free else { return Err(PresetError::Name { name: name.to_owned() }) };
    write_atomically(&path, write(&name, state).as_bytes()).map_err(failed)?;
    Ok(path)
}

/// Keeps a state in place of what one of the user's presets has: the file is the old one or the new one, whole.
///
/// # Errors
/// If the file cannot be written.
pub fn replace(listed: &Listed, state: &PluginState) -> Result<(), PresetError> {
    let Some(path) = &listed.path else { return Ok(()) };
    let failed = |source| PresetError::System { name: listed.name.clone(), done: "saved", source };
    write_atomically(path, write(&listed.name, state).as_bytes()).map_err(failed)
}

/// The user's preset of this name.
#[must_use]
pub fn of_name<'a>(listed: &'a [Listed], name: &str) -> Option<&'a Listed> {
    let short: String = name.trim().chars().take(MAX_NAME_CHARS).collect();
    let stem = legal_stem(&short)?;
    listed.iter().find(|listed| listed.path.is_some() && listed.name == stem)
}

/// Throws a preset's file away, into the system's rubbish bin.
///
/// # Errors
/// If there is no bin, or the file is gone. Nothing is deleted for good.
pub fn discard(listed: &Listed) -> Result<(), PresetError> {
    let Some(path) = &listed.path else { return Ok(()) };
    trash::delete(path).map_err(|error| PresetError::System {
        name: listed.name.clone(),
        done: "removed",
        source: std::io::Error::other(error.to_string()),
    })
}

/// A preset's file.
#[must_use]
pub fn write(name: &str, state: &PluginState) -> String {
    let state = serde_json::to_value(state).unwrap_or_default();
    format!("{:#}\n", json!({ "soundlocd_preset": FORMAT, "name": name, "state": state }))
}

fn read(path: &Path, name: &str) -> Result<String, PresetError> {
    let failed = |source| PresetError::System { name: name.to_owned(), done: "read", source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(PresetError::Size { name: name.to_owned(), found: size >> 20 });
    }
    fs::read_to_string(path).map_err(failed)
}

fn parse(name: &str, text: &str) -> Result<Preset, PresetError> {
    let damaged = |reason: String| PresetError::Damaged { name: name.to_owned(), reason };
    let mut value: Value = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    match value.get("soundlocd_preset").and_then(Value::as_u64) {
        Some(1..=FORMAT) => {}
        Some(_) => return Err(damaged("it was saved by a newer SoundLoCD".to_owned())),
        None => return Err(damaged("it does not say that it is one".to_owned())),
    }
    let state = value.get_mut("state").map(Value::take).unwrap_or_default();
    let mut state: PluginState = serde_json::from_value(state).map_err(|error| damaged(error.to_string()))?;
    state::repair(&mut state);
    Ok(Preset { name: name.to_owned(), state })
}

/// The name of a preset's file without its ending.
fn stem(path: &Path) -> Cow<'_, str> {
    path.file_stem().map_or(Cow::Borrowed(""), |stem| stem.to_string_lossy())
}

/// The normalised value, 0..=1, of each parameter of a state that has been [repaired](state::repair).
#[must_use]
pub fn normalised(state: &PluginState) -> Vec<(String, f32)> {
    // Parameters of no instance, which know their ranges and choices; nothing connects to the engine.
    let session = Arc::new(Session::new(Box::new(|| Service::shared().client())));
    let parameters = SoundLocdParams::new(session);
    let mut values = Vec::with_capacity(state.params.len());
    for (id, parameter, _) in parameters.param_map() {
        // SAFETY: the pointers are into `parameters`, which lives to the end of this function.
        #[allow(unsafe_code)]
        let value = unsafe {
            match (parameter, state.params.get(&id)) {
                (ParamPtr::FloatParam(_), Some(ParamValue::F32(value))) => {
                    parameter.preview_normalized(*value)
                }
                (ParamPtr::BoolParam(_), Some(ParamValue::Bool(value))) => f32::from(*value),
                (ParamPtr::IntParam(_) | ParamPtr::EnumParam(_), Some(ParamValue::I32(value))) => {
                    parameter.preview_normalized(*value as f32)
                }
                (ParamPtr::EnumParam(choice), Some(ParamValue::String(choice_id))) => {
                    if !(*choice).set_from_id(choice_id) {
                        continue;
                    }
                    parameter.unmodulated_normalized_value()
                }
                _ => continue,
            }
        };
        values.push((id, value));
    }
    values
}

/// One of the text fields of a state; null if it is not there.
#[must_use]
pub fn field(state: &PluginState, name: &str) -> Value {
    state.fields.get(name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

#[cfg(test)]
#[path = "presets_tests.rs"]
mod tests;
