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

    /// Puts the take numbered `id` on the selected pad. Answers with the number of the change, for
    /// [`Self::take_back`].
    pub fn select(&self, id: u64) -> Option<u64> {
        let pad = self.with(|model| model.selected);
        self.place(&[id], pad)
    }

    /// Puts the takes of these numbers on pads: the first on `pad`, the others on the free pads after it. Answers with the
    /// number of the change, for [`Self::take_back`].
    pub fn place(&self, ids: &[u64], pad: usize) -> Option<u64> {
        let name = if ids.len() == 1 { "sound on pad" } else { "sounds on pads" };
        self.shared.rearrange(name, |arrangement| {
            let takes: Vec<_> = ids.iter().filter_map(|id| arrangement.find(*id).cloned()).collect();
            arrangement.spread(&takes, pad);
        })
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

    /// Removes takes from the tray. Pads that play them go on.
    pub fn discard(&self, ids: &[u64]) {
        let name = if ids.len() == 1 { "remove sound" } else { "remove sounds" };
        self.shared.rearrange(name, |arrangement| arrangement.takes.retain(|take| !ids.contains(&take.id)));
    }

    /// Takes the change of this number back as if it had not been made, if it is still the last one.
    pub fn take_back(&self, number: u64) {
        self.travel(|model| model.history.take_back(number, &mut model.arrangement));
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
    /// what has changed. Answers with the change's number, if something came of it.
    pub(super) fn rearrange(&self, name: &str, change: impl FnOnce(&mut Arrangement)) -> Option<u64> {
        let (before, after, number) = {
            let model = &mut *self.model.lock();
            let before = model.arrangement.clone();
            model.history.record(name, &before);
            change(&mut model.arrangement);
            let number = model.history.settle(&model.arrangement);
            (before, model.arrangement.clone(), number)
        };
        for (pad, (old, new)) in before.pads.iter().zip(&after.pads).enumerate() {
            if old.as_ref().map(|take| take.id) != new.as_ref().map(|take| take.id) {
                self.handover.offer(pad, new.as_ref().map(|take| Arc::clone(&take.source)));
            }
        }
        self.changed();
        number
    }

    /// Gives the audio thread the sounds of all pads.
    pub(super) fn offer_pads(&self, arrangement: &Arrangement) {
        for (pad, take) in arrangement.pads.iter().enumerate() {
            self.handover.offer(pad, take.as_ref().map(|take| Arc::clone(&take.source)));
        }
    }
}
