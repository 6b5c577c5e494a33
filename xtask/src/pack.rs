//! `cargo xtask pack`: makes, checks and describes model packs.

mod build;
mod measure;
mod random;

use anyhow::Result;
use clap::Subcommand;
use soundlocd_engine::pack::{FileEntry, MANIFEST_FILE, Pack, Part};
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
    /// Check every file and tensor of a pack against its manifest.
    Verify(Which),
    /// Describe a pack and each of its parts.
    Inspect(Which),
    /// Write a pack of a known size with random weights, to measure with.
    Random(random::Args),
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
            inspect(&Pack::open(&args.out)?)
        }
        Command::Random(args) => {
            random::run(&args)?;
            inspect(&Pack::open(&args.out)?)
        }
        Command::Verify(which) => {
            let pack = open(which.folder.as_deref())?;
            pack.verify()?;
            println!("{}: every file is as {MANIFEST_FILE} says", pack.manifest().name);
            Ok(())
        }
        Command::Inspect(which) => inspect(&open(which.folder.as_deref())?),
    }
}

fn open(folder: Option<&Path>) -> Result<Pack> {
    Ok(match folder {
        Some(folder) => Pack::open(folder)?,
        None => Pack::embedded()?,
    })
}

fn inspect(pack: &Pack) -> Result<()> {
    let manifest = pack.manifest();
    let field = |name: &str, value: &str| println!("{name:<14}{value}");
    field("name", &manifest.name);
    field("description", &manifest.description);
    field("licence", &manifest.licence);
    field("trained on", &manifest.training_data);
    field("hash", &format!("{} (SHA-256 of {MANIFEST_FILE})", pack.hash()));
    field("schedule", &serde_json::to_string(&manifest.schedule)?);
    field("recommended", &serde_json::to_string(&manifest.recommended)?);
    field("sampling", &serde_json::to_string(&manifest.sampling)?);
    let (mut bytes, mut parameters) = (manifest.files.tokenizer.bytes, 0);
    for part in Part::ALL {
        let architecture = match part {
            Part::Text => serde_json::to_string(&manifest.text)?,
            Part::Transformer => serde_json::to_string(&manifest.transformer)?,
            Part::Codec => serde_json::to_string(&manifest.codec)?,
            Part::Vocoder => serde_json::to_string(&manifest.vocoder)?,
        };
        let file = manifest.files.weights(part);
        println!("\n{part}");
        field("  is", &architecture);
        // A part that is still to be trained has an empty file.
        if file.bytes > 0 {
            let summary = pack.summary(part)?;
            let types: Vec<String> =
                summary.types.iter().map(|(name, count)| format!("{} {name}", grouped(*count))).collect();
            field("  parameters", &format!("{} ({})", grouped(summary.parameters), types.join(", ")));
            parameters += summary.parameters;
        }
        describe_file(file);
        bytes += file.bytes;
    }
    println!("\ntokenizer");
    describe_file(&manifest.files.tokenizer);
    println!("\nin all {} parameters, {}", grouped(parameters), megabytes(bytes));
    Ok(())
}

fn describe_file(file: &FileEntry) {
    println!("{:<14}{}, {}, SHA-256 {}", "  file", file.name, megabytes(file.bytes), file.sha256);
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// A number with a comma at every thousand.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (383_383_808, "383,383,808")] {
            assert_eq!(grouped(number), expected);
        }
    }
}
