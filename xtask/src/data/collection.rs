//! Recordings with captions, in whichever of the usual layouts a folder holds them.
//!
//! One module a layout, the most specific first: [`manifest`], [`metadata`], [`audiocaps`], [`esc50`] and, for a folder
//! without any list, [`names`]. Each only says which recordings there are and what they sound like, to a [`Listing`],
//! which checks them; nothing is decoded here.

mod audiocaps;
mod esc50;
mod folder;
mod listing;
mod manifest;
mod metadata;
mod names;
pub mod split;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

use self::folder::Folder;
use self::listing::Listing;
use super::Split;

/// The category of recordings whose source names none.
const UNSORTED: &str = "UNSORTED";

/// How a collection is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// ESC-50: the folds to train on, such as `1-4` (the default) or `1,2,5`; the others are held out.
    #[arg(long)]
    pub folds: Option<Folds>,
}

/// Some of ESC-50's five folds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folds(Vec<u8>);

impl Folds {
    /// Whether `fold` is one of them.
    pub fn contains(&self, fold: u8) -> bool {
        self.0.contains(&fold)
    }
}

impl Default for Folds {
    fn default() -> Self {
        Self(vec![1, 2, 3, 4])
    }
}

impl FromStr for Folds {
    type Err = Error;

    /// Folds and ranges of them, separated by commas: `1-3,5`.
    fn from_str(text: &str) -> Result<Self> {
        let fold = |text: &str| {
            let fold = text.trim().parse().ok().filter(|fold| (1..=5).contains(fold));
            fold.with_context(|| format!("'{text}' is not one of the folds 1 to 5"))
        };
        let mut folds = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u8, u8) = (fold(first)?, fold(last)?);
            ensure!(first <= last, "'{part}' runs backwards");
            folds.extend(first..=last);
        }
        Ok(Self(folds))
    }
}

/// Where a collection's captions come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `manifest.tsv`.
    Manifest,
    /// `metadata.csv` or `metadata.jsonl`.
    Metadata,
    /// AudioCaps' lists.
    AudioCaps,
    /// ESC-50's classes.
    Esc50,
    /// The names of files and folders.
    Names,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "captions from manifest.tsv",
            Self::Metadata => "captions from a metadata table",
            Self::AudioCaps => "AudioCaps",
            Self::Esc50 => "ESC-50, captions from its classes",
            Self::Names => "captions from the names of files and folders",
        })
    }
}

/// The layouts, as they are explained where none was found.
pub const LAYOUTS: &str = "\
A folder of recordings may be described by, in this order:
  manifest.tsv         columns id, file, category, caption, split (train or valid), if wanted caption2
  metadata.csv/.jsonl  file_name and caption (or text, description), if wanted split and category;
                       another name is fine for a CSV with these columns
  *.csv of AudioCaps   audiocap_id, youtube_id, start_time, caption; clips anywhere below, named by id
  meta/esc50.csv       ESC-50, with its audio/ folder
  nothing              well named files: \"Doors/heavy wooden creak 03.wav\"";

/// One recording of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Its name, unique in the collection.
    pub id: String,
    /// Where it lies.
    pub file: PathBuf,
    /// Kind of sound, upper case, never empty.
    pub category: String,
    /// One caption or more, none empty.
    pub captions: Vec<String>,
    /// What it is for.
    pub split: Split,
}

/// Something that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What: a recording's id, a line, a file.
    pub what: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// A folder's recordings and their captions.
#[derive(Debug)]
pub struct Collection {
    /// Where the captions come from.
    pub kind: Kind,
    /// The recordings, in their source's order.
    pub recordings: Vec<Recording>,
    /// What the source lists but cannot be used, and lists that were not read.
    pub skipped: Vec<Skipped>,
}

/// A list of recordings that a folder holds.
struct Source {
    kind: Kind,
    /// Relative to the folder.
    lists: Vec<PathBuf>,
}

impl Collection {
    /// Reads what `folder` holds by the most specific list in it. Where that names no split, about a tenth of the
    /// recordings is held out ([`split`]).
    ///
    /// # Errors
    /// Where the folder or its list cannot be read.
    pub fn read(folder: &Path, options: &Options) -> Result<Self> {
        let folder = Folder::open(folder)?;
        let mut sources = sources(&folder)?.into_iter();
        let Source { kind, lists } =
            sources.next().unwrap_or(Source { kind: Kind::Names, lists: Vec::new() });
        if kind != Kind::Esc50 && options.folds.is_some() {
            bail!("only ESC-50 has folds; {} holds none (found: {kind})", folder.root().display());
        }
        let mut listing = Listing::new(&folder);
        match kind {
            Kind::Manifest => manifest::read(&lists, &mut listing),
            Kind::Metadata => metadata::read(&lists, &mut listing),
            Kind::AudioCaps => audiocaps::read(&lists, &mut listing),
            Kind::Esc50 => esc50::read(&lists, &options.folds.clone().unwrap_or_default(), &mut listing),
            Kind::Names => {
                names::read(&mut listing);
                Ok(())
            }
        }
        .with_context(|| format!("in {}", folder.root().display()))?;
        for list in sources.flat_map(|source| source.lists) {
            listing.skip(list.display(), format!("not read, since there is a better list ({kind})"));
        }
        Ok(listing.finish(kind))
    }
}

/// The lists in `folder`, the most specific first.
fn sources(folder: &Folder) -> Result<Vec<Source>> {
    let found = [
        (Kind::Manifest, manifest::find(folder)),
        (Kind::Metadata, metadata::find(folder)?),
        (Kind::AudioCaps, audiocaps::find(folder)),
        (Kind::Esc50, esc50::find(folder)),
    ];
    let sources = found.into_iter().map(|(kind, lists)| Source { kind, lists });
    Ok(sources.filter(|source| !source.lists.is_empty()).collect())
}

#[cfg(test)]
mod tests;
