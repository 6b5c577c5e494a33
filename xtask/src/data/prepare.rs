//! A collection of recordings to a [`Cache`](super::Cache): `cargo xtask data prepare`, and training's first step.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use half::f16;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use soundlocd_engine::SAMPLE_RATE;
use soundlocd_engine::clip::decode;
use soundlocd_engine::codec::mel::MelFrontEnd;

use super::cache::CacheWriter;
use super::collection::{self, Collection, Kind, LAYOUTS, Options, Recording, Skipped, split};
use super::{ClipEntry, Split};

/// Peak below which a recording counts as silent (-60 dBFS).
const SILENT_PEAK: f32 = 1e-3;
/// Shortest recording that is used, in samples (0.05 s).
const SHORTEST: usize = SAMPLE_RATE as usize / 20;
/// Longest sound that is kept, in seconds; the rest of a longer recording is dropped.
const LONGEST_SECONDS: usize = 10;
/// Recordings decoded before any of them is written; bounds the memory used.
const BATCH: usize = 128;

/// Arguments of `cargo xtask data prepare`.
#[derive(Debug, clap::Args)]
#[command(after_help = collection::LAYOUTS)]
pub struct Args {
    /// Folder with recordings (WAV, AIFF, FLAC, Ogg Vorbis, Ogg Opus or MP3; the layouts are below).
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    options: Options,
    /// Folder to write the cache to; it must not exist yet.
    #[arg(long)]
    out: PathBuf,
}

/// What became of a collection.
#[derive(Debug)]
pub struct Prepared {
    /// Where its captions came from.
    pub kind: Kind,
    /// Clips in the cache.
    pub clips: usize,
    /// Length of them all, in seconds.
    pub seconds: f64,
    /// One line for each recording that could not be used, with the reason.
    pub skipped: Vec<String>,
}

/// Runs `cargo xtask data prepare`.
pub fn run(args: &Args) -> Result<()> {
    let Prepared { kind, clips, seconds, skipped } = prepare(&args.data, &args.options, &args.out)?;
    for reason in &skipped {
        eprintln!("skipped: {reason}");
    }
    println!(
        "{}: {clips} clips, {:.2} h ({kind}); {} skipped",
        args.out.display(),
        seconds / 3600.0,
        skipped.len()
    );
    Ok(())
}

/// Reads the collection in `data`, decodes and analyses its recordings and writes them to a cache in the new folder
/// `out`, which appears under its name only when it is complete. Recordings that cannot be used are left out.
///
/// # Errors
/// Where `out` exists or cannot be written, `data` or its list cannot be read, or nothing in it can be used; the
/// message then says what was looked for and why how many recordings failed.
pub fn prepare(data: &Path, options: &Options, out: &Path) -> Result<Prepared> {
    ensure!(!out.exists(), "{} exists already; remove it or choose another", out.display());
    let Collection { kind, recordings, mut skipped } = Collection::read(data, options)?;
    let root = data.canonicalize()?;
    let clips = if recordings.is_empty() {
        Vec::new()
    } else {
        let partial = partial_name(out)?;
        let written = write(&root, &recordings, &partial, &mut skipped).and_then(|clips| {
            if !clips.is_empty() {
                std::fs::rename(&partial, out)
                    .with_context(|| format!("could not name the cache {}", out.display()))?;
            }
            Ok(clips)
        });
        // Gone already if all went well.
        let _ = std::fs::remove_dir_all(&partial);
        written?
    };
    if clips.is_empty() {
        bail!("{}", nothing_usable(data, kind, &skipped));
    }
    let samples = clips.iter().map(|clip| clip.samples).sum::<usize>();
    Ok(Prepared {
        kind,
        clips: clips.len(),
        seconds: samples as f64 / f64::from(SAMPLE_RATE),
        skipped: skipped.iter().map(Skipped::to_string).collect(),
    })
}

/// Why a collection is of no use, and what would be.
fn nothing_usable(data: &Path, kind: Kind, skipped: &[Skipped]) -> String {
    let mut message = format!("no recording in {} can be used ({kind})", data.display());
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Skipped { what, why } in skipped {
        reasons.entry(why).or_default().push(what);
    }
    for (why, whats) in reasons {
        let _ = write!(message, "\n  {} x {why}, such as {}", whats.len(), whats.first().unwrap_or(&""));
    }
    if skipped.is_empty() {
        message.push_str("\n  there is no sound file in it");
    }
    message + "\n" + LAYOUTS
}

/// Where the cache grows: beside its final name, so that renaming stays on one file system.
fn partial_name(out: &Path) -> Result<PathBuf> {
    let Some(name) = out.file_name() else { bail!("{} is not a name for a folder", out.display()) };
    let mut name = name.to_os_string();
    // With the process id, so that two runs never write the same files.
    name.push(format!(".partial-{}", std::process::id()));
    Ok(out.with_file_name(name))
}

/// A recording, decoded and analysed.
struct Analysed {
    sound: Vec<i16>,
    mel: Vec<f16>,
    /// Of the sound, to find recordings that are there twice.
    digest: [u8; 32],
}

/// Decodes all recordings (below `root`) and writes them to `folder`, adding what could not be used to `skipped`.
fn write(
    root: &Path,
    recordings: &[Recording],
    folder: &Path,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<ClipEntry>> {
    let progress = ProgressBar::new(recordings.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} recordings, {eta} left")?);
    let front_end = MelFrontEnd::new();
    let mut writer = CacheWriter::create(folder)?;
    let mut seen = HashSet::new();
    for batch in recordings.chunks(BATCH) {
        let analysed: Vec<_> =
            batch.par_iter().map(|recording| analyse(&recording.file, &front_end)).collect();
        for (recording, analysed) in batch.iter().zip(analysed) {
            let why = match analysed {
                // The same sound under two captions may not end up in both splits.
                Ok(Analysed { digest, .. }) if !seen.insert(digest) => {
                    "the same sound is there already".into()
                }
                Ok(Analysed { sound, mel, .. }) => {
                    writer.push(entry(recording), &mel, &sound)?;
                    continue;
                }
                Err(error) => format!("{error:#}"),
            };
            let file = recording.file.strip_prefix(root).unwrap_or(&recording.file);
            skipped.push(Skipped { what: file.display().to_string(), why });
        }
        progress.inc(batch.len() as u64);
    }
    progress.finish_and_clear();
    // Those held out may be the ones that could not be read.
    if recordings.iter().any(|recording| recording.split == Split::Valid) {
        split::hold_one_out(writer.clips_mut().iter_mut().map(|clip| (clip.id.as_str(), &mut clip.split)));
    }
    writer.finish()
}

/// Decodes and analyses one recording.
fn analyse(path: &Path, front_end: &MelFrontEnd) -> Result<Analysed> {
    let audio = decode(path, LONGEST_SECONDS)?.audio;
    ensure!(audio.len() >= SHORTEST, "it is shorter than 0.05 s");
    let peak = audio.iter().fold(0f32, |peak, sample| peak.max(sample.abs()));
    ensure!(peak >= SILENT_PEAK, "it is silent (nothing above -60 dBFS)");
    // Decoders and resamplers may overshoot full scale a little.
    let sound: Vec<i16> =
        audio.iter().map(|sample| (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).collect();
    let stored: Vec<f32> = sound.iter().map(|&sample| f32::from(sample) / 32_768.0).collect();
    let mel = front_end.log_mel(&stored).into_iter().map(f16::from_f32).collect();
    let bytes: Vec<u8> = sound.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    Ok(Analysed { digest: Sha256::digest(bytes).into(), sound, mel })
}

/// The recording as a clip whose position is not known yet.
fn entry(recording: &Recording) -> ClipEntry {
    ClipEntry {
        id: recording.id.clone(),
        category: recording.category.clone(),
        captions: recording.captions.clone(),
        split: recording.split,
        frame_start: 0,
        frames: 0,
        sample_start: 0,
        samples: 0,
    }
}

#[cfg(test)]
mod tests;
