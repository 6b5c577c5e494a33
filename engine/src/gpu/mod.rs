//! The model on an NVIDIA GPU, by way of a library of its own.
//!
//! A program that is linked with CUDA does not even start where there is none. So the engine is built a second time,
//! with CUDA, as a library (`cargo xtask build-cuda`) that this one loads where it finds it. It holds the whole signal
//! path and speaks the C interface of [`abi`]: a request goes in, progress and a finished clip come out. Where the
//! library, the driver, the GPU or its memory is missing, [`load`] says so and the CPU serves.
//!
//! It is looked for, under the name [`file_name`], where [`Places`] says. All of this is work on files: never for an
//! audio thread, nor for one that draws.

pub mod abi;
mod generator;
mod library;
mod places;

pub use generator::GpuGenerator;
pub use library::{GpuError, Library};
pub use places::{LIBRARY_VARIABLE, Places, file_name, user_folder};

use std::sync::atomic::{AtomicU8, Ordering};

use crate::generator::PackGenerator;
use crate::pack::{Pack, PackRef};
use crate::service::{Generator, LoadError};
use candle_core::Device;

/// Environment variable by which a [`Choice`] reaches the plugin: `cpu`, `cuda` or `auto`.
pub const DEVICE_VARIABLE: &str = "SOUNDLOCD_DEVICE";

/// Where the model should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// On the processor.
    Cpu,
    /// On the first NVIDIA GPU, or not at all.
    Cuda,
    /// On the GPU if there is one that can be used, else on the processor.
    #[default]
    Auto,
}

/// The choice where the environment says nothing: what the user has set in this program.
static PREFERRED: AtomicU8 = AtomicU8::new(Choice::Auto as u8);

/// Where models that are loaded from now on should run, unless [`DEVICE_VARIABLE`] is set. Those in memory stay where they are.
pub fn prefer(choice: Choice) {
    PREFERRED.store(choice as u8, Ordering::Relaxed);
}

impl Choice {
    /// What [`DEVICE_VARIABLE`] says; where it is not set, what is [preferred](prefer): [`Choice::Auto`] at first.
    ///
    /// # Errors
    /// When it says anything else.
    pub fn from_environment() -> Result<Self, LoadError> {
        match std::env::var_os(DEVICE_VARIABLE) {
            None => Ok(match PREFERRED.load(Ordering::Relaxed) {
                cpu if cpu == Self::Cpu as u8 => Self::Cpu,
                cuda if cuda == Self::Cuda as u8 => Self::Cuda,
                _ => Self::Auto,
            }),
            Some(value) => match value.to_str() {
                Some("cpu") => Ok(Self::Cpu),
                Some("cuda") => Ok(Self::Cuda),
                Some("auto") => Ok(Self::Auto),
                _ => Err(format!("{DEVICE_VARIABLE} must be cpu, cuda or auto; it is {value:?}").into()),
            },
        }
    }
}

/// Loads `pack` where `choice` says, with or without pictures of the unfinished sound.
///
/// Where [`Choice::Auto`] had to take the CPU although there is a GPU library, [`Generator::notice`] tells why. That
/// there is none needs no words: most computers have none.
///
/// # Errors
/// When the pack cannot be loaded; with [`Choice::Cuda`], when the GPU cannot be used.
pub fn load(
    pack: &Pack,
    choice: Choice,
    places: &Places,
    previews: bool,
) -> Result<Box<dyn Generator>, LoadError> {
    let gpu = || GpuGenerator::load(places.find()?, &PackRef::from(pack), pack.hash(), previews);
    let notice = match choice {
        Choice::Cpu => None,
        Choice::Cuda => return Ok(Box::new(gpu()?)),
        Choice::Auto => match gpu() {
            Ok(generator) => return Ok(Box::new(generator)),
            Err(GpuError::Absent { .. }) => None,
            Err(error) => Some(format!("The sound is made on the CPU: {error}")),
        },
    };
    let generator = PackGenerator::load(pack, &Device::Cpu)?.with_notice(notice);
    Ok(Box::new(if previews { generator } else { generator.without_previews() }))
}

#[cfg(test)]
mod tests;
