//! The sound library as the session uses it: every sound that is finished is kept there, and sounds of it come to the
//! pads.
//!
//! The library has a thread of its own, [`LibraryWorker`], started when it is first needed. Its answers come on that
//! thread, which holds the session only while it works for it: neither waits for the other's end.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use soundlocd_engine::{
    SAMPLE_RATE,
    clip::{Clip, Provenance, wav::Export},
};

use super::{Audition, Session, Shared, files};
use crate::{
    library::{Entry, LibraryWorker, Shelf},
    preferences,
    sampler::PADS,
    state::Project,
    take::Take,
};

/// Velocity of a sound that is tried out.
const VELOCITY: f32 = 0.9;
/// What the change is called that a sound of the library makes.
const FROM_LIBRARY: &str = "sound from the library";

/// Where finished sounds go.
#[derive(Default)]
pub(super) enum Access {
    /// Nowhere: they are in the project alone.
    #[default]
    Nowhere,
    /// Into the library in this folder; `None` for a user without a home, who is told so.
    Closed(Option<PathBuf>),
    /// Into this one.
    Open(LibraryWorker),
}

/// A sound of the library that the mouse or a key holds down.
#[derive(Debug)]
pub(super) struct Pressed {
    /// Number of the press.
    number: u64,
    /// The pad that it is for.
    pad: u8,
    /// Whether it is there and sounds; then, whether something has changed for it.
    is_placed: Option<bool>,
    /// Whether it is let go already.
    is_released: bool,
}

/// What becomes of a sound that is being read.
#[derive(Clone, Copy)]
enum Wanted {
    /// It is put on the pad and played, unless another one was pressed meanwhile.
    Pressed(u64, u8),
    /// It is put on the pad.
    Placed(u8),
}

/// A sound to write a copy of.
#[derive(Clone, Debug)]
pub enum Original {
    /// A finished one.
    Take(Arc<Take>),
    /// One of the library: its number and name.
    Entry(i64, String),
}

impl Session {
    /// Keeps every sound that is finished from now on in the library in `folder` (usually
    /// [`Library::default_folder`](crate::library::Library::default_folder)). Nothing is opened yet.
    pub fn use_library(&self, folder: Option<PathBuf>) {
        *self.shared.library.lock() = Access::Closed(folder);
    }

    /// The library, its thread started if need be; `None` if sounds are not kept.
    #[must_use]
    pub fn library(&self) -> Option<LibraryWorker> {
        self.shared.library()
    }

    /// Sets the sample rate of the host in Hz.
    pub fn set_host_rate(&self, rate: f32) {
        self.shared.host_rate.store(rate.round() as u32, Ordering::Relaxed);
    }

    /// A sound of the library is pressed: it comes onto the selected pad and sounds, until [`Self::release_entry`].
    pub fn press_entry(&self, id: i64) {
        let pad = u8::try_from(self.with(|model| model.selected)).unwrap_or(0);
        let number = self.shared.next_take();
        let pressed = Pressed { number, pad, is_placed: None, is_released: false };
        let before = self.shared.pressed.lock().replace(pressed);
        self.shared.fall_silent(before);
        self.load(id, Wanted::Pressed(number, pad));
    }

    /// The sound of the library that was pressed is let go.
    pub fn release_entry(&self) {
        let mut slot = self.shared.pressed.lock();
        match slot.as_mut() {
            // One that is not there yet sounds as if it had been let go at once.
            Some(pressed) if pressed.is_placed.is_none() => pressed.is_released = true,
            _ => self.shared.fall_silent(slot.take()),
        }
    }

    /// The sound of the library that was pressed is on its way elsewhere: it leaves the pad again.
    pub fn withdraw_entry(&self) {
        let Some(pressed) = self.shared.pressed.lock().take() else { return };
        let is_last = self.with(|model| model.history.names()[0].as_deref() == Some(FROM_LIBRARY));
        if pressed.is_placed == Some(true) && is_last {
            self.undo();
        }
        self.shared.fall_silent(Some(pressed));
    }

    /// Puts a sound of the library on a pad.
    pub fn place_entry(&self, id: i64, pad: usize) {
        if let Some(pad) = u8::try_from(pad).ok().filter(|pad| usize::from(*pad) < PADS) {
            self.load(id, Wanted::Placed(pad));
        }
    }

    fn load(&self, id: i64, wanted: Wanted) {
        let Some(library) = self.library() else { return };
        let shared = Arc::downgrade(&self.shared);
        library.load(id, move |loaded| {
            if let Some(shared) = shared.upgrade() {
                match loaded {
                    Ok((entry, clip)) => shared.receive(&entry, clip, wanted),
                    Err(reason) => {
                        shared.tell(&reason, true);
                        // The list then shows which files are missing.
                        if let Some(library) = shared.library() {
                            library.refresh();
                        }
                    }
                }
            }
        });
    }

    /// Keeps a take in the library. Of one that is in it already nothing changes.
    pub fn keep(&self, take: &Arc<Take>) {
        self.shared.keep(take);
        self.look_up(take);
    }

    /// Looks for a take in the library; the answer becomes [`Model::looked_up`](super::Model::looked_up).
    pub fn look_up(&self, take: &Arc<Take>) {
        let Some(library) = self.library() else { return };
        let (shared, take) = (Arc::downgrade(&self.shared), Arc::clone(take));
        library.find(Arc::clone(&take.clip), move |found| {
            let (Some(shared), Ok(entry)) = (shared.upgrade(), found) else { return };
            if let Some(entry) = &entry {
                take.file.set(entry.path.clone());
            }
            shared.model.lock().looked_up = Some((take.id, entry));
            shared.repaint.request();
        });
    }

    /// Gives a sound of the library's file another name; takes that are kept in it know the new one.
    pub fn rename_entry(&self, id: i64, name: String) {
        let Some(library) = self.library() else { return };
        library.rename(id, name);
        let shared = Arc::downgrade(&self.shared);
        library.load(id, move |loaded| {
            let (Some(shared), Ok((entry, clip))) = (shared.upgrade(), loaded) else { return };
            let arrangement = shared.model.lock().arrangement.clone();
            let all = arrangement.takes.iter().chain(arrangement.pads.iter().flatten());
            for take in all.filter(|take| take.clip.audio == clip.audio) {
                take.file.set(entry.path.clone());
            }
            shared.repaint.request();
        });
    }

    /// Brings back prompt and seed of a take; see [`Self::recall_origin`].
    pub fn recall(&self, id: u64) {
        let clip = self.with(|model| model.arrangement.find(id).map(|take| Arc::clone(&take.clip)));
        if let Some(clip) = clip {
            self.recall_origin(&clip.provenance);
        }
    }

    /// Brings back prompt and seed of a sound, the seed locked, so that Generate makes it again (with
    /// the same model, adapters and settings).
    pub fn recall_origin(&self, provenance: &Provenance) {
        self.with(|model| {
            model.project = Project {
                prompt: provenance.prompt.clone(),
                negative_prompt: provenance.negative_prompt.clone().unwrap_or_default(),
                seed: provenance.seed,
                seed_locked: true,
                pack: model.project.pack.take(),
                adapters: std::mem::take(&mut model.project.adapters),
            };
        });
        self.shared.changed();
    }

    /// Shows where a file is, in the system's file manager.
    pub fn show_in_folder(&self, path: PathBuf) {
        self.send_to_files(files::Command::ShowInFolder(path));
    }
}

impl Shared {
    /// See [`Session::library`].
    pub(super) fn library(self: &Arc<Self>) -> Option<LibraryWorker> {
        let mut access = self.library.lock();
        if let Access::Closed(folder) = &*access {
            let shared = Arc::downgrade(self);
            let on_change = move || {
                if let Some(shared) = shared.upgrade() {
                    shared.repaint.request();
                }
            };
            match LibraryWorker::start(folder.clone(), Arc::new(on_change)) {
                Ok(library) => *access = Access::Open(library),
                Err(error) => {
                    drop(access);
                    self.tell(&format!("The system gave no thread to work on: {error}"), true);
                    return None;
                }
            }
        }
        match &*access {
            Access::Open(library) => Some(library.clone()),
            Access::Nowhere | Access::Closed(_) => None,
        }
    }

    /// What the library has to show, once it has been started.
    pub(super) fn shelf(&self) -> Option<Shelf> {
        match &*self.library.lock() {
            Access::Open(library) => Some(library.shelf()),
            Access::Nowhere | Access::Closed(_) => None,
        }
    }

    /// Keeps a take in the library, in the background. What cannot be kept is in the project all the same.
    pub(super) fn keep(self: &Arc<Self>, take: &Arc<Take>) {
        let Some(library) = self.library() else { return };
        let preferences = preferences::current();
        // The library keeps the very samples: its files have the clip's own rate.
        let export = export(&take.clip, SAMPLE_RATE, Vec::new());
        let (shared, take) = (Arc::downgrade(self), Arc::clone(take));
        library.add_then(Arc::clone(&take.clip), preferences.naming(), export, move |kept| match kept {
            Ok(entry) => take.file.set(entry.path),
            Err(reason) => {
                if let Some(shared) = shared.upgrade() {
                    let text = format!(
                        "“{}” could not be kept in the library. {reason} It is in the list, and the project keeps it.",
                        take.name()
                    );
                    shared.tell(&text, true);
                }
            }
        });
    }

    /// A sound of the library has been read.
    fn receive(self: &Arc<Self>, entry: &Entry, clip: Clip, wanted: Wanted) {
        let (number, pad) = match wanted {
            Wanted::Pressed(number, pad) => (Some(number), pad),
            Wanted::Placed(pad) => (None, pad),
        };
        let arrangement = self.model.lock().arrangement.clone();
        let mut known = arrangement.takes.iter().chain(arrangement.pads.iter().flatten());
        let take = match known.find(|take| take.clip.audio == clip.audio) {
            Some(take) => Arc::clone(take),
            None => Arc::new(Take::new(self.next_take(), Arc::new(clip))),
        };
        take.file.set(entry.path.clone());
        // Held until the sound is in its place, so that it is let go or withdrawn before or after, not between.
        let mut slot = self.pressed.lock();
        let mut pressed = slot.as_mut().filter(|pressed| Some(pressed.number) == number);
        if number.is_some() && pressed.is_none() {
            return;
        }
        let index = usize::from(pad);
        let is_there =
            arrangement.pads.get(index).and_then(Option::as_ref).is_some_and(|there| there.id == take.id);
        if !is_there {
            self.rearrange(FROM_LIBRARY, |arrangement| {
                arrangement.add(&take);
                // A pad's sound that had left the tray is in it again.
                if let Some(before) = arrangement.pads.get(index).cloned().flatten() {
                    arrangement.add(&before);
                }
                arrangement.place(index, Some(Arc::clone(&take)));
            });
        }
        if let Some(pressed) = &mut pressed {
            let _ = self.auditions.push(Audition::PressPad(pad, VELOCITY));
            pressed.is_placed = Some(!is_there);
            if pressed.is_released {
                self.fall_silent(slot.take());
            }
        }
        // Now rather than when the host saves or the window draws.
        let _ = take.encoded();
        take.illustrate();
        self.repaint.request();
    }

    /// Lets go what was pressed, if it sounds.
    fn fall_silent(&self, pressed: Option<Pressed>) {
        if let Some(Pressed { pad, is_placed: Some(_), .. }) = pressed {
            let _ = self.auditions.push(Audition::ReleasePad(pad));
        }
    }
}

/// What a file of `clip` says besides the sound.
pub(super) fn export(clip: &Clip, sample_rate: u32, keywords: Vec<String>) -> Export {
    Export {
        artist: preferences::current().artist.clone(),
        loop_range: clip.loop_range.map(|(start, end)| start..end),
        keywords,
        ..Export::at(sample_rate)
    }
}

#[cfg(test)]
#[path = "library_tests.rs"]
mod tests;
