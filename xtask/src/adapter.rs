//! `cargo xtask adapter`: describes adapters, and how the command line names them.

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use soundlocd_engine::lora::{AdapterFile, BaseId, Card, DataSummary};
use soundlocd_engine::pack::Pack;
use soundlocd_engine::service::AdapterRef;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Arguments of `cargo xtask adapter`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What `cargo xtask adapter` can do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Check an adapter and say what it is.
    Inspect {
        /// The adapter: a .safetensors file, or a folder that PEFT saved into.
        adapter: PathBuf,
        /// Folder of the model pack that it is to be used with; without it, the default pack inside the program.
        #[arg(long, value_name = "FOLDER")]
        pack: Option<PathBuf>,
    },
}

/// Runs `cargo xtask adapter`.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Inspect { adapter, pack } => {
            let pack = match pack {
                Some(folder) => Pack::open(&folder)?,
                None => Pack::embedded()?,
            };
            inspect(&AdapterFile::open(&adapter)?, &pack)
        }
    }
}

fn inspect(file: &AdapterFile, pack: &Pack) -> Result<()> {
    let field = |name: &str, value: &str| {
        if !value.is_empty() {
            println!("{name:<14}{value}");
        }
    };
    let unnamed = Card::default();
    let card = file.card().unwrap_or(&unnamed);
    field("title", &file.title());
    field("author", &card.author);
    field("licence", &card.licence);
    field("description", &card.description);
    for trigger in &card.triggers {
        field("try", trigger);
    }
    field("rank, alpha", &format!("{}, {}", file.rank(), file.alpha()));
    field("matrices", &format!("{} of {}", file.targets().count(), card.targets.join(", ")));
    field("parameters", &crate::pack::grouped(file.parameters() as u64));
    field("base", &card.base.name);
    field("base hash", &card.base.pack);
    if card.data.clips > 0 {
        let DataSummary { description, clips, seconds } = &card.data;
        field("trained on", &format!("{clips} clips, {:.1} minutes. {description}", seconds / 60.0));
    }
    if !card.training.is_empty() {
        field("training", &serde_json::to_string(&card.training)?);
    }
    field("made by", &card.engine_version);
    field("hash", file.hash());
    file.fit(&pack.manifest().transformer)?;
    match file.check_base(&BaseId::of(pack)) {
        Ok(()) if file.card().is_none() => {
            println!("\nIt names no base; its shapes fit the pack {}.", pack.manifest().name);
        }
        Ok(()) => println!("\nIt is for the pack {}.", pack.manifest().name),
        Err(error) => println!("\nIts shapes fit the pack {}, but {error}.", pack.manifest().name),
    }
    Ok(())
}

/// An adapter on the command line: `FILE` or `FILE:STRENGTH`.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    path: PathBuf,
    strength: f32,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A colon may be a part of the name, as in C:\adapters.
        let split = text.rsplit_once(':').and_then(|(path, number)| Some((path, number.parse().ok()?)));
        Ok(match split {
            Some((path, strength)) if !Path::new(text).exists() => Self { path: path.into(), strength },
            _ => Self { path: text.into(), strength: 1.0 },
        })
    }
}

impl Choice {
    /// Reads the adapter, to refuse it before a model is loaded.
    pub fn resolve(&self, base: &Pack, force_base: bool) -> Result<AdapterRef> {
        let file = AdapterFile::open(&self.path)?;
        if !force_base {
            file.check_base(&BaseId::of(base)).context("--force-base uses it all the same")?;
        }
        file.fit(&base.manifest().transformer)
            .with_context(|| format!("{} does not fit {}", self.path.display(), base.manifest().name))?;
        ensure!(self.strength.is_finite(), "the strength of {} is not a number", self.path.display());
        Ok(AdapterRef {
            path: self.path.clone(),
            hash: file.hash().to_owned(),
            strength: self.strength,
            force_base,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_strength_follows_the_last_colon() {
        let choice = |text: &str| text.parse::<Choice>().unwrap();
        let is = |text: &str, path: &str, strength| {
            assert_eq!(choice(text), Choice { path: path.into(), strength }, "{text}");
        };
        is("bells.safetensors", "bells.safetensors", 1.0);
        is("bells.safetensors:0.5", "bells.safetensors", 0.5);
        is("C:\\bells.safetensors", "C:\\bells.safetensors", 1.0);
        is("C:\\bells.safetensors:1.5", "C:\\bells.safetensors", 1.5);
    }
}
