//! Where the model runs.

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use soundlocd_engine::gpu::{self, Choice, Places};
use soundlocd_engine::pack::Pack;
use soundlocd_engine::service::Generator;

/// What `--device` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// The processor.
    Cpu,
    /// The first NVIDIA GPU; needs the library that `cargo xtask build-cuda` makes.
    Cuda,
    /// The GPU if there is one that can be used, else the processor.
    Auto,
}

impl From<DeviceChoice> for Choice {
    fn from(choice: DeviceChoice) -> Self {
        match choice {
            DeviceChoice::Cpu => Self::Cpu,
            DeviceChoice::Cuda => Self::Cuda,
            DeviceChoice::Auto => Self::Auto,
        }
    }
}

/// Loads `pack` where `choice` says, [`DeviceChoice::Auto`] by default; of a GPU that could not be used it says why.
pub fn load(choice: Option<DeviceChoice>, pack: &Pack) -> Result<Box<dyn Generator>> {
    let places = places();
    let generator = gpu::load(pack, choice.map_or(Choice::Auto, Into::into), &places, false)
        .map_err(|error| anyhow!(error))?;
    match generator.notice() {
        Some(notice) => println!("{notice}"),
        // Whoever asks for a choice wants to know how it fell out.
        None if choice == Some(DeviceChoice::Auto) => {
            if let Err(error) = places.find() {
                println!("The sound is made on the CPU: {error}");
            }
        }
        None => {}
    }
    Ok(generator)
}

/// Where the GPU library may be: where a plugin looks for it, and where `cargo xtask build-cuda` leaves it.
fn places() -> Places {
    let program = std::env::current_exe().ok();
    let target = program.as_deref().and_then(|program| program.parent()?.parent());
    match target {
        Some(target) => Places::usual().and_folder(&target.join("bundled")),
        None => Places::usual(),
    }
}
