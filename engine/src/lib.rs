//! SoundLoCD's engine: a prompt becomes a [`clip::Clip`].
//!
//! The modules mirror the signal path: [`text`] encodes the prompt, [`diffusion`] denoises a
//! token grid under it, [`codec`] turns the grid into a log-mel spectrogram, [`vocoder`] turns
//! that into sound and [`clip`] finishes it. [`pack`] holds the weights and sizes of all of them,
//! [`service`] runs them in the background for many clients. [`checkpoint`] reads what others publish.
#![deny(unsafe_code)]

pub mod checkpoint;
pub mod clip;
pub mod codec;
pub mod diffusion;
pub mod generator;
pub mod gpu;
pub mod layers;
pub mod lora;
pub mod pack;
pub mod parity;
pub mod service;
pub mod text;
pub mod train;
pub mod vocoder;
pub mod weights;

/// Sample rate of everything the model hears and makes, in Hz.
pub const SAMPLE_RATE: u32 = 22_050;
/// Samples per spectrogram frame.
pub const HOP: usize = 256;
/// Spectrogram frames per token column.
pub const FRAMES_PER_COLUMN: usize = 16;
/// Mel bands of the spectrogram.
pub const MEL_BANDS: usize = 80;
/// Rows of the token grid (mel-band blocks, low frequencies first).
pub const GRID_ROWS: usize = 5;
/// Widest token grid, in columns (9.845 s).
pub const MAX_COLUMNS: usize = 53;
