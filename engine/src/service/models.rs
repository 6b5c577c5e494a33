//! The models in memory: the default pack's, and at most one other's.
//!
//! A pack of the paper's size takes one or two gigabytes, so that a second one must go before a third is loaded. The
//! default one is small and stays: whoever goes back to it does not wait.

use std::time::Duration;

use super::{
    contain::contain,
    generator::{Generator, PackInfo},
};
use crate::pack::PackRef;

/// A model in memory.
pub(super) struct Loaded {
    pack: PackRef,
    pub(super) generator: Box<dyn Generator>,
    pub(super) info: PackInfo,
    /// Time from the last denoising step to the clip, as it last was: for estimates.
    pub(super) tail: Duration,
}

impl Loaded {
    pub(super) fn new(pack: PackRef, generator: Box<dyn Generator>, info: PackInfo) -> Self {
        Self { pack, generator, info, tail: Duration::ZERO }
    }
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Models {
    default: Option<Loaded>,
    other: Option<Loaded>,
}

impl Models {
    /// Whether the model of `pack` is loaded.
    pub(super) fn has(&self, pack: &PackRef) -> bool {
        [&self.default, &self.other].into_iter().flatten().any(|loaded| loaded.pack.is_same(pack))
    }

    /// The model of `pack`, if it is loaded.
    pub(super) fn get(&mut self, pack: &PackRef) -> Option<&mut Loaded> {
        self.place(pack).as_mut().filter(|loaded| loaded.pack.is_same(pack))
    }

    /// Frees what is in the place of `pack`.
    pub(super) fn make_room(&mut self, pack: &PackRef) {
        free(self.place(pack));
    }

    /// Frees the model of `pack`, if it is loaded.
    pub(super) fn unload(&mut self, pack: &PackRef) {
        if self.has(pack) {
            free(self.place(pack));
        }
    }

    /// Keeps a model, in place of another.
    pub(super) fn put(&mut self, loaded: Loaded) {
        let pack = loaded.pack.clone();
        free(self.place(&pack));
        *self.place(&pack) = Some(loaded);
    }

    /// Frees all.
    pub(super) fn clear(&mut self) {
        free(&mut self.default);
        free(&mut self.other);
    }

    fn place(&mut self, pack: &PackRef) -> &mut Option<Loaded> {
        match pack {
            PackRef::Embedded => &mut self.default,
            PackRef::Folder { .. } => &mut self.other,
        }
    }
}

/// Frees a model, surviving a panic of its destructor.
fn free(place: &mut Option<Loaded>) {
    let loaded = place.take();
    // Its message is of no use to anybody: what matters was told before.
    let _ = contain(None, || drop(loaded));
}
