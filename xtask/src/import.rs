//! `cargo xtask import`: checkpoints as others publish them become a model pack, or parts of one.

mod codec;
mod conversion;
mod melgan;
mod pack;
mod text;
mod transformer;

use crate::pack::grouped;
use anyhow::Result;
use clap::Subcommand;
use conversion::Stored;
use soundlocd_engine::checkpoint::Checkpoint;
use soundlocd_engine::pack::{Part, VocoderConfig};
use soundlocd_engine::text::Kind;
use std::path::{Path, PathBuf};

/// Arguments of `cargo xtask import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What can be imported.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make a pack of Diffsound's checkpoints.
    Diffsound(Box<pack::Args>),
    /// Convert a CLIP text tower (OpenAI's, Diffsound's or Hugging Face's names).
    Clip(Single),
    /// Convert a T5 encoder as Hugging Face publishes it.
    T5(Single),
    /// Convert the text tower of a CLAP model as Hugging Face publishes it.
    Clap(Single),
    /// Convert a sentence encoder of BERT's kind as Hugging Face publishes it.
    Minilm(Single),
    /// Convert a MelGAN generator.
    Melgan(Single),
}

/// Arguments of the import of one part.
#[derive(Debug, clap::Args)]
pub struct Single {
    /// The checkpoint: what torch.save writes, or safetensors.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The text encoder's tokenizer.json, or its vocab.json with merges.txt beside it; by default what lies beside the
    /// weights. CLIP's is built in.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// How matrices are stored.
    #[arg(long, value_enum, default_value_t = Stored::F16)]
    storage: Stored,
    /// The folder to write the part's files to.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// Runs `cargo xtask import`.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Diffsound(args) => pack::run(&args),
        Command::Clip(single) => text_encoder(Kind::Clip, &single),
        Command::T5(single) => text_encoder(Kind::T5, &single),
        Command::Clap(single) => text_encoder(Kind::Clap, &single),
        Command::Minilm(single) => text_encoder(Kind::Minilm, &single),
        Command::Melgan(single) => vocoder(&single),
    }
}

fn text_encoder(kind: Kind, single: &Single) -> Result<()> {
    let converted = text::convert(kind, &single.weights, single.tokenizer.as_deref())?;
    pack::with_folder(&single.out, |folder| {
        text::write(&converted, folder, single.storage, false).map(drop)
    })?;
    print_part(Part::Text, text::parameters(&converted), &single.weights, "");
    Ok(())
}

fn vocoder(single: &Single) -> Result<()> {
    let checkpoint = Checkpoint::open(&single.weights)?;
    let dict = melgan::find(&checkpoint)?;
    let config = melgan::config(&dict)?;
    let conversion = melgan::conversion(&dict, &config)?;
    let config = serde_json::to_string(&VocoderConfig::Melgan(config))?;
    pack::with_folder(&single.out, |folder| {
        conversion.write(folder, Part::Vocoder, single.storage, Some(&config)).map(drop)
    })?;
    print_part(Part::Vocoder, conversion.parameters(), &single.weights, "weight norm folded");
    Ok(())
}

/// A line about an imported part.
fn print_part(part: Part, parameters: u64, from: &Path, note: &str) {
    let comma = if note.is_empty() { "" } else { ", " };
    println!(
        "{:<12} {:>13} parameters from {}{comma}{note}",
        part.name(),
        grouped(parameters),
        from.display()
    );
}
