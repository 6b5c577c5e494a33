//! The C interface between the engine and its GPU build. Both sides compile this file; [`VERSION`] tells whether they
//! compiled the same.
//!
//! | symbol | type | |
//! |---|---|---|
//! | [`VERSION_SYMBOL`] | [`VersionFn`] | its [`VERSION`]; the first call, and the only one if it is another |
//! | [`OPEN_SYMBOL`] | [`OpenFn`] | loads a pack ([`Opening`]) onto a device |
//! | [`DESCRIBE_SYMBOL`] | [`DescribeFn`] | what is loaded, and how long the last sound took ([`Description`]) |
//! | [`GENERATE_SYMBOL`] | [`GenerateFn`] | makes one sound ([`Order`]) |
//! | [`CLOSE_SYMBOL`] | [`CloseFn`] | frees a model |
//!
//! Structured data crosses as JSON, a clip as [`state`](crate::clip::state) stores it. Bytes are always lent for the
//! duration of a call, in either direction: nothing is allocated on one side and freed on the other. No panic crosses.
//! A model may move between threads; one thread at a time may use it.

use crate::service::{PackInfo, Request, Timings};
use serde::{Deserialize, Serialize};
use std::ffi::c_void;
use std::path::PathBuf;

/// Version of this interface. Any change to this file or to the JSON of its types needs another one.
pub const VERSION: u32 = 2;

/// Name of the [`VersionFn`].
pub const VERSION_SYMBOL: &str = "soundlocd_gpu_abi";
/// Name of the [`OpenFn`].
pub const OPEN_SYMBOL: &str = "soundlocd_gpu_open";
/// Name of the [`DescribeFn`].
pub const DESCRIBE_SYMBOL: &str = "soundlocd_gpu_describe";
/// Name of the [`GenerateFn`].
pub const GENERATE_SYMBOL: &str = "soundlocd_gpu_generate";
/// Name of the [`CloseFn`].
pub const CLOSE_SYMBOL: &str = "soundlocd_gpu_close";

/// How a call ended.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// As wanted; what was asked for has been received.
    pub const DONE: Self = Self(0);
    /// The observer stopped it; nothing has been received.
    pub const CANCELLED: Self = Self(1);
    /// The model ran, but made no usable sound; the reason has been received.
    pub const UNUSABLE: Self = Self(2);
    /// It failed; the reason has been received.
    pub const FAILED: Self = Self(3);
    /// It panicked; the reason has been received, and the model is good for [`CloseFn`] only.
    pub const BROKEN: Self = Self(4);
}

/// A model of the library's; only a pointer to it is known here.
#[repr(C)]
pub struct Model {
    opaque: [u8; 0],
}

/// Bytes that belong to somebody else.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// The first of them; may be anything where there are none.
    pub data: *const u8,
    /// How many.
    pub len: usize,
}

impl Bytes {
    /// Lends a slice.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes lent.
    ///
    /// # Safety
    /// `data` must point to `len` initialised bytes that nobody changes during `'a`, or `len` be 0.
    #[allow(unsafe_code)]
    #[must_use]
    pub unsafe fn as_slice<'a>(self) -> &'a [u8] {
        if self.len == 0 || self.data.is_null() {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// Takes the result of a call: the data, or the reason why there is none (UTF-8).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Receiver {
    /// Handed to `receive`.
    pub context: *mut c_void,
    /// Called at most once, during the call and on its thread. Must not unwind.
    pub receive: unsafe extern "C" fn(context: *mut c_void, bytes: Bytes),
}

/// How far a sound is: [`service::Progress`](crate::service::Progress).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Denoising steps done.
    pub step: u32,
    /// Denoising steps in all.
    pub steps: u32,
    /// `80 x frames` values of a picture of the sound, row-major; null if there is none this time.
    pub mel: *const f32,
    /// Columns of the picture.
    pub frames: usize,
}

/// Follows the making of a sound.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Observer {
    /// Handed to `progress`.
    pub context: *mut c_void,
    /// Called after each step, during the call and on its thread: 0 goes on, anything else cancels. Must not unwind.
    pub progress: unsafe extern "C" fn(context: *mut c_void, progress: Progress) -> u32,
}

/// Where a model may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The first NVIDIA GPU.
    Cuda,
    /// The processor: for tests of this interface.
    Cpu,
}

/// What to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Where it should run.
    pub target: Target,
    /// The pack's folder; without one, the default pack inside of the library.
    pub folder: Option<PathBuf>,
    /// The pack's hash: another pack is refused.
    pub hash: String,
    /// Whether to make pictures of the unfinished sound.
    pub previews: bool,
}

/// What is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The pack.
    pub info: PackInfo,
    /// How long the stages of the last successful sound took.
    pub timings: Timings,
}

/// One sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What to make.
    pub request: Request,
    /// Which variation of it, from 0.
    pub variation: u32,
}

/// The interface's version.
pub type VersionFn = unsafe extern "C" fn() -> u32;

/// Loads the model of an [`Opening`] (JSON) and stores a pointer to it; `reason` receives why not.
///
/// # Safety
/// `opening` must be readable, `model` be writable.
pub type OpenFn = unsafe extern "C" fn(opening: Bytes, model: *mut *mut Model, reason: Receiver) -> Status;

/// Sends a [`Description`] (JSON).
///
/// # Safety
/// `model` must come from an [`OpenFn`] of the same library and not be closed or in use.
pub type DescribeFn = unsafe extern "C" fn(model: *mut Model, description: Receiver) -> Status;

/// Makes the sound of an [`Order`] (JSON); `clip` receives it, or why there is none.
///
/// # Safety
/// As [`DescribeFn`], and `order` must be readable.
pub type GenerateFn =
    unsafe extern "C" fn(model: *mut Model, order: Bytes, observer: Observer, clip: Receiver) -> Status;

/// Frees a model.
///
/// # Safety
/// As [`DescribeFn`]; null is allowed.
pub type CloseFn = unsafe extern "C" fn(model: *mut Model);
