//! The interface, called as a program of another language would, and through [`soundlocd_engine::gpu`].
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use soundlocd_engine::clip::{Clip, ClipError, Provenance};
use soundlocd_engine::gpu::abi::Target;
use soundlocd_engine::service::{PackInfo, Preview, Request, Settings};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;

/// What a prompt makes of it: a clip, or one of the failures.
struct Scripted;

impl Generator for Scripted {
    fn generate(
        &mut self,
        request: &Request,
        _: u32,
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Clip, GenerateError> {
        for step in 1..=3 {
            let preview = (step == 2).then(|| Arc::new(Preview { mel: vec![0.25; 160], frames: 2 }));
            if on_progress(Progress { step, steps: 3, preview }).is_break() {
                return Err(GenerateError::Cancelled);
            }
        }
        match request.prompt.as_str() {
            "panic" => panic!("the token hit the fan"),
            "silent" => Err(ClipError::Silent { peak_db: -90.0 }.into()),
            "fail" => Err(GenerateError::stage("reading the prompt", "no such word")),
            _ => Ok(Clip::new([0.5; 10], Provenance::default())),
        }
    }

    fn describe(&self) -> PackInfo {
        PackInfo { name: "scripted".to_owned(), ..PackInfo::default() }
    }
}

/// Keeps what it receives.
unsafe extern "C" fn keep(context: *mut c_void, bytes: Bytes) {
    // SAFETY: the vector that `receiver` made it of, and bytes lent for this call.
    unsafe { (*context.cast::<Vec<u8>>()).extend_from_slice(bytes.as_slice()) };
}

fn receiver(bytes: &mut Vec<u8>) -> Receiver {
    Receiver { context: (&raw mut *bytes).cast(), receive: keep }
}

/// Counts steps and pictures, and stops after `most` steps.
#[derive(Default)]
struct Watch {
    most: u32,
    steps: u32,
    pictures: Vec<f32>,
}

unsafe extern "C" fn watch(context: *mut c_void, progress: abi::Progress) -> u32 {
    // SAFETY: the `Watch` that `generate` below made it of.
    let watch = unsafe { &mut *context.cast::<Watch>() };
    watch.steps += 1;
    if !progress.mel.is_null() {
        // SAFETY: so many values are lent for this call.
        let mel = unsafe { std::slice::from_raw_parts(progress.mel, 80 * progress.frames) };
        watch.pictures.extend_from_slice(mel);
    }
    u32::from(watch.steps >= watch.most)
}

fn model(generator: impl Generator + 'static) -> *mut abi::Model {
    Box::into_raw(Box::new(Model(Box::new(generator)))).cast()
}

fn order(prompt: &str) -> Vec<u8> {
    serde_json::to_vec(&Order { request: Request::new(prompt, 1), variation: 0 }).unwrap()
}

fn ask(model: *mut abi::Model, order: &[u8], watcher: &mut Watch) -> (Status, Vec<u8>) {
    let mut received = Vec::new();
    let observer = Observer { context: (&raw mut *watcher).cast(), progress: watch };
    // SAFETY: the model is open, and all that is lent outlives the call.
    let status =
        unsafe { soundlocd_gpu_generate(model, Bytes::of(order), observer, receiver(&mut received)) };
    (status, received)
}

fn patient() -> Watch {
    Watch { most: u32::MAX, ..Watch::default() }
}

#[test]
fn every_end_of_a_sound_has_its_status_and_words() {
    let model = model(Scripted);
    let mut watcher = patient();
    let (status, clip) = ask(model, &order("rain"), &mut watcher);
    assert_eq!(status, Status::DONE);
    assert_eq!(state::decode(&clip).unwrap().audio.len(), 10);
    assert_eq!((watcher.steps, watcher.pictures.len()), (3, 160));
    let text = |prompt: &str| {
        let (status, words) = ask(model, &order(prompt), &mut patient());
        (status, String::from_utf8(words).unwrap())
    };
    let (status, words) = text("silent");
    assert_eq!(status, Status::UNUSABLE);
    assert!(words.contains("came out silent"), "{words}");
    let failed = "Making the sound failed while reading the prompt: no such word";
    assert_eq!(text("fail"), (Status::FAILED, failed.to_owned()));
    assert_eq!(text("panic"), (Status::BROKEN, "the token hit the fan".to_owned()));
    let (status, words) = text("  ");
    assert_eq!(status, Status::FAILED);
    assert!(words.contains("prompt is empty"), "{words}");
    assert_eq!(ask(model, b"{ not json", &mut patient()).0, Status::FAILED);
    // SAFETY: open, and not used afterwards; null is allowed.
    unsafe {
        soundlocd_gpu_close(model);
        soundlocd_gpu_close(null_mut());
    }
}

#[test]
fn the_observer_stops_it() {
    let model = model(Scripted);
    let mut watcher = Watch { most: 2, ..Watch::default() };
    assert_eq!(ask(model, &order("rain"), &mut watcher), (Status::CANCELLED, Vec::new()));
    assert_eq!(watcher.steps, 2);
    // SAFETY: open, and not used afterwards.
    unsafe { soundlocd_gpu_close(model) };
}

/// Opens; the model and the reason why there is none.
fn open_with(opening: &[u8]) -> (*mut abi::Model, String) {
    let (mut model, mut reason) = (null_mut(), Vec::new());
    // SAFETY: all that is lent outlives the call.
    let status = unsafe { soundlocd_gpu_open(Bytes::of(opening), &raw mut model, receiver(&mut reason)) };
    assert_eq!(status == Status::DONE, !model.is_null());
    (model, String::from_utf8(reason).unwrap())
}

#[test]
fn a_pack_is_opened_and_makes_the_sound_that_the_engine_makes() {
    let pack = Pack::embedded().unwrap();
    let opening =
        Opening { target: Target::Cpu, folder: None, hash: pack.hash().to_owned(), previews: false };
    let (model, reason) = open_with(&serde_json::to_vec(&opening).unwrap());
    assert!(!model.is_null(), "{reason}");
    let mut received = Vec::new();
    // SAFETY: the model is open; the receiver outlives the call.
    let status = unsafe { soundlocd_gpu_describe(model, receiver(&mut received)) };
    assert_eq!(status, Status::DONE);
    let description: Description = serde_json::from_slice(&received).unwrap();
    assert_eq!(description.info.hash, pack.hash());

    let settings = Settings { seconds: 0.5, steps: 2, truncation: 0.7, ..Settings::default() };
    let request = Request { settings, ..Request::new("a small bell", 5) };
    let order = serde_json::to_vec(&Order { request: request.clone(), variation: 1 }).unwrap();
    let (status, clip) = ask(model, &order, &mut patient());
    assert_eq!(status, Status::DONE);
    let mut engine = PackGenerator::load(&pack, &candle_core::Device::Cpu).unwrap();
    let want = engine.generate(&request, 1, &mut |_| ControlFlow::Continue(())).unwrap();
    let got = state::decode(&clip).unwrap();
    assert_eq!(got.audio, want.audio);
    assert_eq!(got.provenance.settings, request.settings);
    // SAFETY: open, and not used afterwards.
    unsafe { soundlocd_gpu_close(model) };
}

#[test]
fn what_cannot_be_opened_says_why() {
    let opening = |folder: Option<&str>, hash: &str| {
        let folder = folder.map(Into::into);
        let opening = Opening { target: Target::Cpu, folder, hash: hash.to_owned(), previews: true };
        open_with(&serde_json::to_vec(&opening).unwrap()).1
    };
    let reason = opening(None, "0000");
    assert!(reason.contains("another default model"), "{reason}");
    let reason = opening(Some("/nowhere"), "0000");
    assert!(reason.contains("/nowhere"), "{reason}");
    assert!(open_with(b"[]").0.is_null());
}
