//! `cargo xtask pack`: makes and checks model packs.

mod build;
mod measure;
mod random;

use anyhow::Result;
use clap::Subcommand;
use soundlocd_engine::pack::{MANIFEST_FILE, Pack};
use std::path::{Path, PathBuf};

/// Arguments of `cargo xtask pack`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What `cargo xtask pack` can do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Convert checkpoints to a pack's storage types and write its manifest.
    Build(Box<build::Args>),
    /// Write a pack of a known size with random weights, to measure with.
    Random(random::Args),
    /// Check every file of a pack against its manifest.
    Check(Which),
    /// Describe a pack.
    Show(Which),
}

/// A pack.
#[derive(Debug, clap::Args)]
struct Which {
    /// The pack's folder; without it, the default pack inside the program.
    folder: Option<PathBuf>,
}

/// Runs `cargo xtask pack`.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Build(args) => {
            build::run(&args)?;
            show(&Pack::open(&args.out)?)
        }
        Command::Random(args) => {
            random::run(&args)?;
            show(&Pack::open(&args.out)?)
        }
        Command::Check(which) => {
            let pack = open(which.folder.as_deref())?;
            pack.verify()?;
            println!("{}: every file is as pack.json says", pack.manifest().name);
            Ok(())
        }
        Command::Show(which) => show(&open(which.folder.as_deref())?),
    }
}

fn open(folder: Option<&Path>) -> Result<Pack> {
    Ok(match folder {
        Some(folder) => Pack::open(folder)?,
        None => Pack::embedded()?,
    })
}

fn show(pack: &Pack) -> Result<()> {
    print!("{}", pack.manifest().to_json()?);
    println!("SHA-256 of {MANIFEST_FILE}: {}", pack.hash());
    let total: u64 = pack.manifest().files.iter().map(|file| file.bytes).sum();
    for file in pack.manifest().files.iter() {
        println!("{:>8.2} MB  {}", megabytes(file.bytes), file.name);
    }
    println!("{:>8.2} MB  in all", megabytes(total));
    Ok(())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
