//! `cargo xtask train`: trains a codec, a vocoder, a base model or an adapter.

pub mod adapter;
mod adversary;
mod allocator;
mod base;
mod batch;
mod captions;
mod codec;
mod examples;
pub mod grids;
pub mod plots;
pub mod run;
mod source;
mod vocoder;

use anyhow::{Result, bail, ensure};
use candle_core::Device;
use run::Plan;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `cargo xtask train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to train.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// The VQ-VAE between spectrogram and tokens.
    Codec(codec::Args),
    /// The network from spectrogram to sound.
    Vocoder(vocoder::Args),
    /// The denoising transformer from caption to tokens.
    Base(base::Args),
    /// An adapter of a pack's transformer to your own recordings.
    Adapter(Box<adapter::Args>),
}

/// What every training command takes.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Folder that `data prepare` wrote.
    #[arg(long)]
    pub data: PathBuf,
    /// Folder of the run: checkpoint, metrics, pictures. A run that is there goes on.
    #[arg(long)]
    pub out: PathBuf,
    /// Steps of the whole run; the learning rate falls over the last fifth of them.
    #[arg(long)]
    pub steps: u64,
    /// Stop after this many minutes (go on later with the same command).
    #[arg(long)]
    pub minutes: Option<f64>,
    /// Peak learning rate.
    #[arg(long)]
    pub lr: Option<f64>,
    /// Seed of all random draws.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// `cpu` or `cuda`.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

impl Common {
    /// The device asked for.
    fn device(&self) -> Result<Device> {
        device(&self.device)
    }

    /// The loop of the run, with its usual peak learning rate.
    fn plan(&self, peak_rate: f64, validate_every: u64) -> Plan {
        Plan {
            folder: self.out.clone(),
            steps: self.steps,
            minutes: self.minutes,
            peak_rate: self.lr.unwrap_or(peak_rate),
            warm_up: 200,
            validate_every,
            save_every: Duration::from_secs(180),
        }
    }
}

/// The device of that name.
fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" => {
            ensure!(
                candle_core::utils::cuda_is_available(),
                "this build has no CUDA (build with --features cuda)"
            );
            Ok(Device::new_cuda(0)?)
        }
        other => bail!("--device: expected cpu or cuda, found {other}"),
    }
}

/// Runs `cargo xtask train`.
pub fn run(args: Args) -> Result<()> {
    allocator::keep_freed_memory();
    // Its spinning threads would take the cores from our own operations.
    soundlocd_engine::service::disable_candle_pool();
    match args.what {
        What::Codec(args) => codec::run(args),
        What::Vocoder(args) => vocoder::run(args),
        What::Base(args) => base::run(args),
        What::Adapter(args) => adapter::run(&args),
    }
}
