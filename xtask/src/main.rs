//! SoundLoCD's command line, run as `cargo xtask COMMAND`.
//!
//! Each command lives in a module of its own, with an `Args` (what clap parses) and a
//! `run(Args) -> anyhow::Result<()>`.

mod ablate;
mod adapter;
mod bench;
mod build_cuda;
mod bundle;
mod data;
mod device;
mod eval;
mod generate;
mod import;
mod install;
mod licences;
mod pack;
mod parity;
mod resources;
mod test;
mod text_encoder;
mod train;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Generate sounds, train models, build and test the SoundLoCD plugin.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What `cargo xtask` can do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make sounds from a prompt and write them as WAV files.
    Generate(generate::Args),
    /// Turn published checkpoints into a model pack.
    Import(import::Args),
    /// Make, check and describe model packs.
    Pack(Box<pack::Args>),
    /// Check and describe adapters.
    Adapter(adapter::Args),
    /// Prepare a folder of recordings for training.
    Data(data::Args),
    /// Train a codec, a vocoder or a base model.
    Train(train::Args),
    /// Measure a pack on the valid split of a data set.
    Eval(eval::Args),
    /// Make the paper's tables: adapters against fine-tuning, ranks, matrices, contrastive loss.
    Ablate(ablate::Args),
    /// Compare every stage of the model with the reference's numbers.
    Parity(parity::Args),
    /// Time every stage from prompt to clip.
    Bench(bench::Args),
    /// Build the plugin as CLAP and VST3 bundles.
    Bundle(bundle::Args),
    /// Build the engine for NVIDIA GPUs, as a library that the plugin loads where it finds it.
    BuildCuda(build_cuda::Args),
    /// Build the plugin and copy it to your plugin folders.
    Install(install::Args),
    /// Run every check: format, lints, docs, licences, tests, real plugin hosts.
    Test(test::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Never a backtrace: most errors are about what the user typed or has on disk.
            eprintln!("Error: {}", describe(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes on one line, without those that its own message quotes.
fn describe(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Generate(args) => generate::run(args),
        Command::Import(args) => import::run(args),
        Command::Pack(args) => pack::run(*args),
        Command::Adapter(args) => adapter::run(args),
        Command::Data(args) => data::run(args),
        Command::Train(args) => train::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Ablate(args) => ablate::run(&args),
        Command::Parity(args) => parity::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Bundle(args) => bundle::run(args),
        Command::BuildCuda(args) => build_cuda::run(args),
        Command::Install(args) => install::run(args),
        Command::Test(args) => test::run(args),
    }
}
