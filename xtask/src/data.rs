//! `cargo xtask data`: prepares recordings for training, and reads what was prepared.
//!
//! A data set is a folder of recordings that are described in one of several ways ([`collection`]).
//! `prepare` decodes and analyses each recording once and writes a [`Cache`], from which training
//! and evaluation read spectrograms and sound without decoding anything again.

mod cache;
pub mod collection;
pub mod prepare;
#[cfg(test)]
mod scratch;

pub use cache::{Cache, ClipEntry, Sound, Split};

use anyhow::Result;
use clap::Subcommand;

/// Arguments of `cargo xtask data`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What can be done with a data set.
#[derive(Debug, Subcommand)]
enum Command {
    /// Decode, resample and analyse every recording into a cache that training reads.
    Prepare(prepare::Args),
}

/// Runs `cargo xtask data`.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Prepare(args) => prepare::run(&args),
    }
}
