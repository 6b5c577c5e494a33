//! SoundLoCD's engine behind the C interface of [`abi`]: what `cargo xtask build-cuda` builds with CUDA, and programs
//! load where they find it ([`soundlocd_engine::gpu`]).
//!
//! Built without the feature `cuda` it is the same library for the CPU, on which the interface is tested.

mod device;

use soundlocd_engine::clip::state;
use soundlocd_engine::generator::PackGenerator;
use soundlocd_engine::gpu::abi::{self, Bytes, Description, Observer, Opening, Order, Receiver, Status};
use soundlocd_engine::pack::Pack;
use soundlocd_engine::service::{GenerateError, Generator, Progress, caught, disable_candle_pool};
use std::error::Error;
use std::ops::ControlFlow;

/// What an [`abi::Model`] is here.
struct Model(Box<dyn Generator>);

/// How a call went: the bytes that its receiver gets, or the status and words of its failure.
type Outcome = Result<Vec<u8>, (Status, String)>;

/// See [`abi::VersionFn`].
#[unsafe(no_mangle)]
pub extern "C" fn soundlocd_gpu_abi() -> u32 {
    abi::VERSION
}

/// See [`abi::OpenFn`].
///
/// # Safety
/// `opening` must be readable and `model` be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn soundlocd_gpu_open(
    opening: Bytes,
    model: *mut *mut abi::Model,
    reason: Receiver,
) -> Status {
    // SAFETY: the caller lends it for the duration of the call.
    let opening = unsafe { opening.as_slice() };
    let mut opened = None;
    let status = answer(reason, || {
        opened = Some(open(opening).map_err(|error| (Status::FAILED, error.to_string()))?);
        Ok(Vec::new())
    });
    if let Some(opened) = opened {
        let opened = Box::into_raw(Box::new(opened)).cast::<abi::Model>();
        // SAFETY: the caller's promise.
        unsafe { model.write(opened) };
    }
    status
}

/// See [`abi::DescribeFn`].
///
/// # Safety
/// `model` must be open and not in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn soundlocd_gpu_describe(model: *mut abi::Model, description: Receiver) -> Status {
    // SAFETY: only `soundlocd_gpu_open` makes models, and the caller has this one for itself.
    let model = unsafe { &*model.cast::<Model>() };
    answer(description, || {
        let description = Description { info: model.0.describe(), timings: model.0.timings() };
        serde_json::to_vec(&description).map_err(|error| (Status::FAILED, error.to_string()))
    })
}

/// See [`abi::GenerateFn`].
///
/// # Safety
/// `model` must be open and not in use, `order` be readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn soundlocd_gpu_generate(
    model: *mut abi::Model,
    order: Bytes,
    observer: Observer,
    clip: Receiver,
) -> Status {
    // SAFETY: as in `soundlocd_gpu_describe`.
    let model = unsafe { &mut *model.cast::<Model>() };
    // SAFETY: the caller lends it for the duration of the call.
    let order = unsafe { order.as_slice() };
    answer(clip, || generate(model, order, &mut |progress| observe(observer, &progress)))
}

/// See [`abi::CloseFn`].
///
/// # Safety
/// `model` must be open and not in use, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn soundlocd_gpu_close(model: *mut abi::Model) {
    if !model.is_null() {
        // SAFETY: `soundlocd_gpu_open` made it of a box; the caller gives it up.
        let model = unsafe { Box::from_raw(model.cast::<Model>()) };
        // Its memory may be lost with a GPU that was taken away; there is nobody to tell.
        let _ = caught(|| drop(model));
    }
}

/// Does `work`, hands its bytes or its failure's words to `receiver`, and lets no panic out.
fn answer(receiver: Receiver, work: impl FnOnce() -> Outcome) -> Status {
    let (status, bytes) = match caught(work) {
        Ok(Ok(bytes)) => (Status::DONE, bytes),
        Ok(Err((status, words))) => (status, words.into_bytes()),
        Err(panic) => (Status::BROKEN, panic.into_bytes()),
    };
    if !bytes.is_empty() {
        // SAFETY: the receiver and its context are valid during the call that it came with, which is this one.
        unsafe { (receiver.receive)(receiver.context, Bytes::of(&bytes)) };
    }
    status
}

fn open(opening: &[u8]) -> Result<Model, Box<dyn Error>> {
    disable_candle_pool();
    let opening: Opening = serde_json::from_slice(opening)?;
    let pack = match &opening.folder {
        Some(folder) => Pack::open(folder)?,
        None => Pack::embedded()?,
    };
    if pack.hash() != opening.hash {
        return Err(match &opening.folder {
            Some(folder) => format!("another model pack is in {} by now", folder.display()),
            None => "the GPU library was built with another default model: build it anew with cargo xtask \
                     build-cuda"
                .to_owned(),
        }
        .into());
    }
    let device = device::open(opening.target, &pack)?;
    let generator = PackGenerator::load(&pack, &device)?;
    Ok(Model(Box::new(if opening.previews { generator } else { generator.without_previews() })))
}

fn generate(
    model: &mut Model,
    order: &[u8],
    on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Outcome {
    let failed = |error: &dyn Error| (Status::FAILED, error.to_string());
    let Order { request, variation } = serde_json::from_slice(order).map_err(|error| failed(&error))?;
    let request = request.validate().map_err(|error| failed(&error))?;
    match model.0.generate(&request, variation, on_progress) {
        Ok(clip) => Ok(state::encode(&clip)),
        Err(GenerateError::Cancelled) => Err((Status::CANCELLED, String::new())),
        Err(GenerateError::Clip(error)) => Err((Status::UNUSABLE, error.to_string())),
        Err(error) => Err(failed(&error)),
    }
}

/// Passes progress to the caller, with its answer back.
fn observe(observer: Observer, progress: &Progress) -> ControlFlow<()> {
    let preview = progress.preview.as_deref();
    let progress = abi::Progress {
        step: progress.step,
        steps: progress.steps,
        mel: preview.map_or(std::ptr::null(), |preview| preview.mel.as_ptr()),
        frames: preview.map_or(0, |preview| preview.frames),
    };
    // SAFETY: the observer and its context are valid during the call that it came with, which is this one; what
    // `progress` points to lives longer than this call.
    let answer = unsafe { (observer.progress)(observer.context, progress) };
    if answer == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

#[cfg(test)]
mod tests;
