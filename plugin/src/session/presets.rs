//! Presets on their way between the window and the files.

use std::sync::Arc;

use nice_plug::prelude::PluginState;

use super::{Session, Shared, files::Command};
use crate::presets::{self, Listed, Preset, PresetError};

/// What the window knows of presets.
#[derive(Debug, Default)]
pub struct Presets {
    /// Those there are, once somebody has looked.
    pub listed: Option<Arc<Vec<Listed>>>,
    /// One that was read and is to be taken over by the window, which alone can set parameters.
    read: Option<Preset>,
}

impl Session {
    /// Looks which presets there are.
    pub fn scan_presets(&self) {
        self.send_to_files(Command::Presets(Box::new(|shared| shared.list_presets())));
    }

    /// Reads a preset; [`Self::take_preset`] gives it when it has been read.
    pub fn read_preset(&self, listed: Listed) {
        let read = move |shared: &Shared| match listed.read() {
            Ok(preset) => {
                shared.model.lock().presets.read = Some(preset);
                shared.repaint.request();
            }
            Err(error) => shared.tell(&error.to_string(), true),
        };
        self.send_to_files(Command::Presets(Box::new(read)));
    }

    /// The preset that was read last, once.
    #[must_use]
    pub fn take_preset(&self) -> Option<Preset> {
        self.with(|model| model.presets.read.take())
    }

    /// Keeps a state as one of the user's presets.
    pub fn save_preset(&self, name: String, state: PluginState) {
        let save = move |shared: &Shared| {
            let folder = presets::folder().ok_or(PresetError::NoFolder);
            match folder.and_then(|folder| presets::save(&folder, &name, &state)) {
                Ok(path) => {
                    shared.list_presets();
                    let name = path.file_stem().unwrap_or_default().to_string_lossy();
                    shared.tell(&format!("Saved as the preset “{name}”."), false);
                }
                Err(error) => shared.tell(&error.to_string(), true),
            }
        };
        self.send_to_files(Command::Presets(Box::new(save)));
    }

    /// Keeps a state in place of what one of the user's presets has.
    pub fn replace_preset(&self, listed: Listed, state: PluginState) {
        let replace = move |shared: &Shared| match presets::replace(&listed, &state) {
            Ok(()) => shared.tell(&format!("The preset “{}” has the new sounds now.", listed.name), false),
            Err(error) => shared.tell(&error.to_string(), true),
        };
        self.send_to_files(Command::Presets(Box::new(replace)));
    }

    /// Throws one of the user's presets into the system's rubbish bin.
    pub fn discard_preset(&self, listed: Listed) {
        let discard = move |shared: &Shared| {
            match presets::discard(&listed) {
                Ok(()) => shared.tell(&format!("The preset “{}” is in the rubbish bin.", listed.name), false),
                Err(error) => shared.tell(&error.to_string(), true),
            }
            shared.list_presets();
        };
        self.send_to_files(Command::Presets(Box::new(discard)));
    }

    /// Shows the folder of the user's presets in the system's file manager.
    pub fn open_presets_folder(&self) {
        let open = |shared: &Shared| match presets::folder() {
            Some(folder) => shared.open_folder(&folder),
            None => shared.tell(&PresetError::NoFolder.to_string(), true),
        };
        self.send_to_files(Command::Presets(Box::new(open)));
    }
}

impl Shared {
    fn list_presets(&self) {
        let listed = presets::list(presets::folder().as_deref());
        self.model.lock().presets.listed = Some(Arc::new(listed));
        self.repaint.request();
    }
}
