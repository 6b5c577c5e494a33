//! The instrument as a program of its own: no project keeps what it holds, so that it goes into a file when the window
//! closes, and comes back from there when it opens.
//!
//! The file is a [preset](crate::presets), "Standalone.soundlocd" in the user's folder for data. One that cannot be read is
//! kept under another name.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use nice_plug::{
    context::{PluginApi, gui::GuiContext},
    prelude::PluginState,
};
use parking_lot::Mutex;
use soundlocd_engine::{clip::write_atomically, pack::library::data_folder};

use crate::{
    presets::{self, EXTENSION, Listed, Preset},
    session::{Message, Session},
};

/// Environment variable that names another file.
pub const VARIABLE: &str = "SOUNDLOCD_STANDALONE";

/// The open window's way to what is to be kept.
static OPEN: Mutex<Option<GuiContext>> = Mutex::new(None);

/// Where it is kept.
fn file() -> Option<PathBuf> {
    match env::var_os(VARIABLE) {
        Some(file) if !file.is_empty() => Some(file.into()),
        _ => Some(data_folder()?.join("Standalone").with_extension(EXTENSION)),
    }
}

/// The window opens: what was open last time, if this is no host.
#[must_use]
pub fn opened(context: &GuiContext, session: &Session) -> Option<PluginState> {
    if context.plugin_api() != PluginApi::Standalone {
        return None;
    }
    let file = file()?;
    *OPEN.lock() = Some(context.clone());
    match read(&file)? {
        Ok(preset) => Some(preset.state),
        Err(text) => {
            session.with(|model| model.message = Some(Message { text, is_error: true }));
            None
        }
    }
}

/// The window has closed, or the program is told to end: keeps what was open.
pub fn closed() {
    let open = OPEN.lock().take();
    if let (Some(context), Some(file)) = (open, file())
        && let Err(error) = keep(&file, &context.get_state())
    {
        nice_plug::nice_error!("What was open could not be kept in {}: {error}", file.display());
    }
}

/// What a file keeps; nothing if there is none. The text of a failure is for the window.
fn read(file: &Path) -> Option<Result<Preset, String>> {
    if !file.exists() {
        return None;
    }
    let listed = Listed { name: "the last session".to_owned(), path: Some(file.to_owned()) };
    Some(listed.read().map_err(|error| {
        let aside = file.with_extension(format!("damaged.{EXTENSION}"));
        match fs::rename(file, &aside) {
            Ok(()) => format!(
                "What was open last time could not be read. {error} It is kept in {}.",
                aside.display()
            ),
            Err(_) => format!("What was open last time could not be read. {error}"),
        }
    }))
}

fn keep(file: &Path, state: &PluginState) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    write_atomically(file, presets::write("Standalone", state).as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::params::SoundLocdParams;
    use std::{collections::BTreeMap, sync::Arc};

    #[test]
    fn what_was_open_comes_back_and_damage_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new").join("Standalone.soundlocd");
        assert!(read(&file).is_none(), "the first time");

        let session = Session::for_tests();
        session.with(|model| model.project.prompt = "rain on a tin roof".to_owned());
        let fields = BTreeMap::from([("project".to_owned(), session.project().to_value().to_string())]);
        let state = PluginState { version: String::new(), params: BTreeMap::new(), fields };
        keep(&file, &state).unwrap();
        let again = read(&file).unwrap().unwrap().state;
        assert_eq!(presets::field(&again, "project")["prompt"], "rain on a tin roof");
        // Complete, as states are after repair.
        let count = SoundLocdParams::new(Arc::new(Session::for_tests()));
        assert_eq!(again.params.len(), nice_plug::prelude::Params::param_map(&count).len());

        fs::write(&file, "{ broken").unwrap();
        let text = read(&file).unwrap().unwrap_err();
        assert!(text.contains("could not be read") && text.contains("damaged.soundlocd"), "{text}");
        assert!(read(&file).is_none(), "the next time it begins anew");
        assert_eq!(fs::read_to_string(file.with_extension("damaged.soundlocd")).unwrap(), "{ broken");
    }
}
