//! Changes of the pads and the tray, and how they are taken back.

use std::sync::Arc;

use super::{Arrangement, Session, Shared};
use crate::sampler::PADS;

impl Session {
    /// Shows another pad; new sounds go there.
    pub fn select_pad(&self, pad: usize) {
        let is_other = self.with(|model| {
            let is_other = pad < PADS && pad != model.selected;
            if is_other {
                model.selected = pad;
            }
            is_other
        });
        if is_other {
            self.shared.changed();
        }
    }

    /// Puts the take numbered `id` on the selected pad.
    pub fn select(&self, id: u64) {
        let pad = self.with(|model| model.selected);
        self.place(id, pad);
    }

    /// Puts the take numbered `id` on a pad.
    pub fn place(&self, id: u64, pad: usize) {
        self.shared.rearrange("sound on pad", |arrangement| {
            let Some(take) = arrangement.find(id).cloned() else { return };
            // A pad's sound that had left the tray is in it again.
            if let Some(before) = arrangement.pads.get(pad).cloned().flatten() {
                arrangement.add(&before);
            }
            arrangement.place(pad, Some(take));
        });
    }

    /// Exchanges the sounds of two pads.
    pub fn swap_pads(&self, from: usize, to: usize) {
        self.shared.rearrange("exchange pads", |arrangement| {
            if from < PADS && to < PADS {
                arrangement.pads.swap(from, to);
            }
        });
    }

    /// Takes the sound off a pad. It stays in the tray.
    pub fn clear_pad(&self, pad: usize) {
        self.shared.rearrange("clear pad", |arrangement| {
            if let Some(take) = arrangement.pads.get_mut(pad).and_then(Option::take) {
                arrangement.add(&take);
            }
        });
    }

    /// Removes a take from the tray. Pads that play it go on.
    pub fn discard(&self, id: u64) {
        self.shared.rearrange("remove sound", |arrangement| arrangement.takes.retain(|take| take.id != id));
    }

    /// Takes the last change of pads or tray back.
    pub fn undo(&self) {
        self.travel(|model| model.history.undo(&mut model.arrangement));
    }

    /// Makes the last change that was taken back again.
    pub fn redo(&self) {
        self.travel(|model| model.history.redo(&mut model.arrangement));
    }

    fn travel(&self, step: impl FnOnce(&mut super::Model) -> bool) {
        let arrangement = self.with(|model| step(model).then(|| model.arrangement.clone()));
        if let Some(arrangement) = arrangement {
            self.shared.offer_pads(&arrangement);
            self.shared.changed();
        }
    }
}

impl Shared {
    /// Changes pads or tray in a way that can be undone; `name` is what it is called then. The audio thread gets
    /// what has changed.
    pub(super) fn rearrange(&self, name: &str, change: impl FnOnce(&mut Arrangement)) {
        let (before, after) = {
            let model = &mut *self.model.lock();
            let before = model.arrangement.clone();
            model.history.record(name, &before);
            change(&mut model.arrangement);
            model.history.settle(&model.arrangement);
            (before, model.arrangement.clone())
        };
        for (pad, (old, new)) in before.pads.iter().zip(&after.pads).enumerate() {
            if old.as_ref().map(|take| take.id) != new.as_ref().map(|take| take.id) {
                self.handover.offer(pad, new.as_ref().map(|take| Arc::clone(&take.source)));
            }
        }
        self.changed();
    }

    /// Gives the audio thread the sounds of all pads.
    pub(super) fn offer_pads(&self, arrangement: &Arrangement) {
        for (pad, take) in arrangement.pads.iter().enumerate() {
            self.handover.offer(pad, take.as_ref().map(|take| Arc::clone(&take.source)));
        }
    }
}
