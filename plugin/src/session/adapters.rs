//! What the window does with adapters.

use std::{path::PathBuf, sync::Arc};

use soundlocd_engine::{
    lora::library::Listed,
    service::request::{MAX_PROMPT_CHARS, MAX_STRENGTH},
};

use super::{
    Model, Session, Shared,
    files::{self, Command},
};
use crate::adapters::{ChosenAdapter, DEFAULT_STRENGTH, MAX_CHOSEN, too_many, with_caption};

impl Session {
    /// Looks for adapters, in the background.
    pub fn scan_adapters(&self) {
        self.send_to_files(Command::Scan);
    }

    /// Reads adapters, in the background, and switches them on.
    pub fn add_adapters(&self, paths: Vec<PathBuf>) {
        self.send_to_files(Command::Add(paths));
    }

    /// Shows the user's folder for adapters in the system's file manager, making it if need be.
    pub fn open_adapters_folder(&self) {
        self.send_to_files(Command::OpenFolder);
    }

    /// Opens the system's dialog for files and adds what is picked there. One dialog at a time.
    pub fn pick_adapters(&self) {
        let Some(sender) = self.files() else { return };
        if self.with(|model| std::mem::replace(&mut model.is_picking, true)) {
            return;
        }
        if let Err(error) = files::pick(Arc::downgrade(&self.shared), sender) {
            self.with(|model| model.is_picking = false);
            self.shared.tell(&format!("The file dialog could not be opened: {error}"), true);
        }
    }

    /// Makes the next sounds with or without the adapter of this hash.
    pub fn switch_adapter(&self, hash: &str, on: bool) {
        let refused = self.with(|model| {
            if on && let Some(reason) = too_many(&model.project.adapters) {
                return Some(reason);
            }
            if let Some(adapter) = model.chosen_adapter(hash) {
                adapter.is_on = on;
                // As if it were off.
                if on && adapter.strength == 0.0 {
                    adapter.strength = DEFAULT_STRENGTH;
                }
            }
            None
        });
        match refused {
            Some(reason) => self.shared.tell(&reason, true),
            None => self.adapters_edited(),
        }
    }

    /// Sets how strongly the adapter of this hash works, 0..=2. [`Self::project_edited`] is to follow when a
    /// gesture ends.
    pub fn set_adapter_strength(&self, hash: &str, strength: f32) {
        self.with(|model| {
            if let Some(adapter) = model.chosen_adapter(hash) {
                adapter.strength = if strength.is_finite() { strength.clamp(0.0, MAX_STRENGTH) } else { 0.0 };
            }
        });
    }

    /// Whether to use the adapter of this hash with a base that it was not made for.
    pub fn force_adapter(&self, hash: &str, force: bool) {
        self.with(|model| {
            if let Some(adapter) = model.chosen_adapter(hash) {
                adapter.force_base = force;
            }
        });
        self.adapters_edited();
    }

    /// Removes the adapter of this hash from the project. Its file stays.
    pub fn forget_adapter(&self, hash: &str) {
        self.with(|model| model.project.adapters.retain(|adapter| adapter.hash != hash));
        self.adapters_edited();
    }

    /// Puts a caption that brings out what an adapter has learnt into the prompt.
    pub fn add_caption(&self, caption: &str) {
        let fits = self.with(|model| {
            let prompt = with_caption(&model.project.prompt, caption);
            let fits = prompt.chars().count() <= MAX_PROMPT_CHARS;
            if fits {
                model.project.prompt = prompt;
            }
            fits
        });
        if fits {
            self.shared.changed();
        } else {
            self.shared.tell("There is no room left in the text for this caption.", false);
        }
    }

    /// The project has other adapters than before: what was said of them no longer holds.
    fn adapters_edited(&self) {
        self.with(|model| model.message = None);
        self.shared.changed();
    }
}

impl Model {
    /// The project's adapter of this hash; if it names none, the one found, which it names from now on.
    fn chosen_adapter(&mut self, hash: &str) -> Option<&mut ChosenAdapter> {
        let chosen = &mut self.project.adapters;
        let at = chosen.iter().position(|adapter| adapter.hash == hash);
        let at = match (at, self.adapters.as_ref().and_then(|found| found.with_hash(hash))) {
            (Some(at), _) => at,
            (None, Some((listed, summary))) => {
                make_room(chosen);
                chosen.push(ChosenAdapter::of(listed, summary));
                chosen.len() - 1
            }
            (None, None) => return None,
        };
        chosen.get_mut(at)
    }
}

/// Forgets the first adapter that is switched off, if there are as many as a project keeps. Fewer than that can be on.
fn make_room(chosen: &mut Vec<ChosenAdapter>) {
    if chosen.len() >= MAX_CHOSEN
        && let Some(off) = chosen.iter().position(|adapter| !adapter.is_on)
    {
        chosen.remove(off);
    }
}

impl Shared {
    /// Takes over what was read at a place that the user chose: into the project, switched on.
    pub(super) fn add_adapter(&self, listed: Listed) {
        let summary = match &listed.adapter {
            Ok(summary) => summary.clone(),
            Err(reason) => {
                return self
                    .tell(&format!("“{}” cannot be used as an adapter: {reason}.", listed.title), true);
            }
        };
        let message = {
            let mut model = self.model.lock();
            let is_on = model.project.adapters.iter().any(|one| one.hash == summary.hash && one.is_on);
            let refused = if is_on { None } else { too_many(&model.project.adapters) };
            let mut found = model.adapters.as_deref().cloned().unwrap_or_default();
            found.add(listed.clone());
            model.adapters = Some(Arc::new(found));
            if let Some(adapter) = model.chosen_adapter(&summary.hash) {
                // Where it is now.
                let fresh = ChosenAdapter::of(&listed, &summary);
                let strength = if adapter.strength == 0.0 { DEFAULT_STRENGTH } else { adapter.strength };
                *adapter = ChosenAdapter {
                    is_on: adapter.is_on || refused.is_none(),
                    strength,
                    force_base: adapter.force_base,
                    ..fresh
                };
            }
            model.message = None;
            model.was_added = true;
            refused
        };
        if let Some(message) = message {
            self.tell(&format!("“{}” was added, but is off: {message}", listed.title), false);
        }
        self.changed();
    }
}
