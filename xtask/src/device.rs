//! Where the model runs.

use anyhow::{Context, Result};
use candle_core::Device;
use clap::ValueEnum;

/// What `--device` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// The processor.
    Cpu,
    /// The first NVIDIA GPU; needs a build with `--features cuda`.
    Cuda,
    /// The GPU if there is one that can be used, else the processor.
    Auto,
}

impl DeviceChoice {
    /// The device chosen.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda => Device::new_cuda(0).context(if cfg!(feature = "cuda") {
                "the GPU cannot be used"
            } else {
                "this build has no GPU support: run cargo xtask with --features cuda"
            }),
            Self::Auto => Ok(Device::cuda_if_available(0).unwrap_or(Device::Cpu)),
        }
    }
}
