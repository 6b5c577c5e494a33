//! The generator behind the GPU library's interface.

#![allow(unsafe_code)]

use super::abi::{self, Bytes, Description, Observer, Opening, Order, Receiver, Status, Target};
use super::library::{GpuError, Library};
use crate::MEL_BANDS;
use crate::clip::{Clip, state};
use crate::pack::PackRef;
use crate::service::{GenerateError, Generator, PackInfo, Preview, Progress, Request, Timings};
use std::any::Any;
use std::ffi::c_void;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

/// A model in the GPU library.
#[derive(Debug)]
pub struct GpuGenerator {
    library: Library,
    /// To load the model anew after it broke.
    opening: Opening,
    /// `None` after it broke.
    model: Option<Open>,
    info: PackInfo,
    timings: Timings,
}

impl GpuGenerator {
    /// Loads a pack onto the first GPU; `hash` is [`Pack::hash`](crate::pack::Pack::hash).
    ///
    /// # Errors
    /// When there is no GPU, too little memory on it, or the library cannot load the pack.
    pub fn load(library: Library, pack: &PackRef, hash: &str, previews: bool) -> Result<Self, GpuError> {
        Self::load_onto(Target::Cuda, library, pack, hash, previews)
    }

    /// The same onto another device that the library knows.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_onto(
        target: Target,
        library: Library,
        pack: &PackRef,
        hash: &str,
        previews: bool,
    ) -> Result<Self, GpuError> {
        let folder = match pack {
            PackRef::Embedded => None,
            PackRef::Folder { folder, .. } => Some(folder.clone()),
        };
        let opening = Opening { target, folder, hash: hash.to_owned(), previews };
        let mut generator =
            Self { library, opening, model: None, info: PackInfo::default(), timings: Timings::default() };
        let mut model = generator.open()?;
        generator.info = model.describe().map_err(|reason| GpuError::Refused { reason })?.info;
        generator.model = Some(model);
        Ok(generator)
    }

    fn open(&self) -> Result<Open, GpuError> {
        let refused = |reason| GpuError::Refused { reason };
        let json = serde_json::to_vec(&self.opening).map_err(|error| refused(error.to_string()))?;
        let (mut model, mut reason) = (null_mut(), Vec::new());
        // SAFETY: everything lent outlives the call.
        let status = unsafe { (self.library.open)(Bytes::of(&json), &raw mut model, receiver(&mut reason)) };
        match NonNull::new(model).filter(|_| status == Status::DONE) {
            Some(model) => Ok(Open { library: self.library, model }),
            None => Err(refused(text(&reason))),
        }
    }
}

impl Generator for GpuGenerator {
    fn generate(
        &mut self,
        request: &Request,
        variation: u32,
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Clip, GenerateError> {
        const STAGE: &str = "working on the GPU";
        let failed = |error: String| GenerateError::stage(STAGE, error);
        let mut model = match self.model.take() {
            Some(model) => model,
            None => self.open().map_err(|error| GenerateError::stage(STAGE, error))?,
        };
        let order = Order { request: request.clone(), variation };
        let order = serde_json::to_vec(&order).map_err(|error| GenerateError::stage(STAGE, error))?;
        let (status, received) = model.generate(&order, on_progress);
        if status != Status::BROKEN {
            // Only what a panic left behind cannot be trusted.
            self.model = Some(model);
        }
        match status {
            Status::DONE => {}
            Status::CANCELLED => return Err(GenerateError::Cancelled),
            Status::UNUSABLE => return Err(GenerateError::Unusable(text(&received))),
            _ => return Err(failed(text(&received))),
        }
        let clip = state::decode(&received)?;
        self.timings = match &mut self.model {
            Some(model) => model.describe().map_err(failed)?.timings,
            None => Timings::default(),
        };
        Ok(clip)
    }

    fn timings(&self) -> Timings {
        self.timings
    }

    fn describe(&self) -> PackInfo {
        self.info.clone()
    }
}

/// A model that is closed when dropped.
#[derive(Debug)]
struct Open {
    library: Library,
    model: NonNull<abi::Model>,
}

// SAFETY: the interface lets a model move between threads, and only `&mut self` uses it.
unsafe impl Send for Open {}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: opened by this library, not closed before, and nobody else has it.
        unsafe { (self.library.close)(self.model.as_ptr()) }
    }
}

impl Open {
    fn describe(&mut self) -> Result<Description, String> {
        let mut received = Vec::new();
        // SAFETY: the model is open and ours alone; the receiver outlives the call.
        let status = unsafe { (self.library.describe)(self.model.as_ptr(), receiver(&mut received)) };
        if status != Status::DONE {
            return Err(text(&received));
        }
        serde_json::from_slice(&received).map_err(|error| error.to_string())
    }

    fn generate(
        &mut self,
        order: &[u8],
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> (Status, Vec<u8>) {
        let mut received = Vec::new();
        let mut watcher = Watcher { on_progress, panic: None };
        let observer = Observer { context: (&raw mut watcher).cast::<c_void>(), progress: observe };
        // SAFETY: the model is open and ours alone; what is lent outlives the call.
        let status = unsafe {
            let model = self.model.as_ptr();
            (self.library.generate)(model, Bytes::of(order), observer, receiver(&mut received))
        };
        if let Some(panic) = watcher.panic {
            resume_unwind(panic);
        }
        (status, received)
    }
}

/// Who wants to know of progress, behind an [`Observer`].
struct Watcher<'a> {
    on_progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
    /// A panic of theirs, on its way around the library.
    panic: Option<Box<dyn Any + Send>>,
}

/// The [`Observer`]'s function, for a [`Watcher`].
unsafe extern "C" fn observe(context: *mut c_void, progress: abi::Progress) -> u32 {
    // SAFETY: the watcher of the call that this is part of; nothing else uses it during the call.
    let watcher = unsafe { &mut *context.cast::<Watcher<'_>>() };
    let preview = (!progress.mel.is_null()).then(|| {
        let len = MEL_BANDS.saturating_mul(progress.frames);
        // SAFETY: the library lends so many values for the duration of this call.
        let mel = unsafe { std::slice::from_raw_parts(progress.mel, len) }.to_vec();
        Arc::new(Preview { mel, frames: progress.frames })
    });
    let progress = Progress { step: progress.step, steps: progress.steps, preview };
    match catch_unwind(AssertUnwindSafe(|| (watcher.on_progress)(progress))) {
        Ok(ControlFlow::Continue(())) => 0,
        Ok(ControlFlow::Break(())) => 1,
        Err(panic) => {
            watcher.panic = Some(panic);
            1
        }
    }
}

/// Puts what is received into `bytes`, which must outlive the receiver's use.
fn receiver(bytes: &mut Vec<u8>) -> Receiver {
    unsafe extern "C" fn receive(context: *mut c_void, bytes: Bytes) {
        // SAFETY: the vector of the call that this is part of; nothing else uses it during the call.
        let target = unsafe { &mut *context.cast::<Vec<u8>>() };
        // SAFETY: lent for the duration of this call.
        target.extend_from_slice(unsafe { bytes.as_slice() });
    }
    Receiver { context: (bytes as *mut Vec<u8>).cast::<c_void>(), receive }
}

/// A reason received.
fn text(bytes: &[u8]) -> String {
    match String::from_utf8_lossy(bytes) {
        text if text.is_empty() => "the GPU library gave no reason".to_owned(),
        text => text.into_owned(),
    }
}
