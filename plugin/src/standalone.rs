//! The instrument as a program of its own: no project keeps what it holds, so that it goes into a file when the window
//! closes, and comes back from there when it opens.
//!
//! The file is a [preset](crate::presets), "Standalone.soundlocd" in the user's folder for data. One that cannot be read is
//! kept under another name.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use nice_plug::{
    context::{PluginApi, gui::GuiContext},
    prelude::PluginState,
};
use parking_lot::Mutex;
use soundlocd_engine::{
    clip::{wav::move_to_new, write_atomically},
    pack::library::data_folder,
};

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
    let read = read(&file);
    // One that could neither be read nor moved aside is not written over.
    if !(matches!(read, Some(Err(_))) && file.exists()) {
        *OPEN.lock() = Some(context.clone());
    }
    match read? {
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
        let problem = format!("What was open last time could not be read. {error}");
        match move_aside(file) {
            Ok(aside) => format!("{problem} It is kept in {}.", aside.display()),
            Err(error) => format!(
                "{problem} It could not be moved aside either ({error}): what you make now is in the library only."
            ),
        }
    }))
}

/// Gives a file a free name beside its own and returns that.
fn move_aside(file: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let mark = if number == 1 { "damaged".to_owned() } else { format!("damaged {number}") };
        let aside = file.with_extension(format!("{mark}.{EXTENSION}"));
        match move_to_new(file, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            result => return result.map(|()| aside),
        }
    }
}

fn keep(file: &Path, state: &PluginState) -> io::Result<()> {
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

        fs::write(&file, "{ broken again").unwrap();
        let text = read(&file).unwrap().unwrap_err();
        assert!(text.contains("damaged 2.soundlocd"), "{text}");
        for (name, content) in [("damaged.soundlocd", "{ broken"), ("damaged 2.soundlocd", "{ broken again")]
        {
            assert_eq!(fs::read_to_string(file.with_extension(name)).unwrap(), content);
        }
    }
}
