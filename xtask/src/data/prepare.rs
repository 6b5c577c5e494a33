//! `cargo xtask data prepare`: a folder of recordings to a [`Cache`](super::Cache).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use half::f16;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use soundlocd_engine::codec::mel::MelFrontEnd;
use soundlocd_engine::{HOP, SAMPLE_RATE};

use super::cache::CacheWriter;
use super::manifest::{self, Row};
use super::{ClipEntry, decode};

/// Peak below which a recording counts as silent (-60 dBFS).
const SILENT_PEAK: f32 = 1e-3;
/// Recordings decoded before any of them is written; bounds the memory used.
const BATCH: usize = 128;

/// Arguments of `cargo xtask data prepare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder with `manifest.tsv` and the recordings (Ogg Opus or WAV).
    #[arg(long)]
    data: PathBuf,
    /// Folder to write the cache to; it must not exist yet.
    #[arg(long)]
    out: PathBuf,
}

/// A recording, decoded and analysed.
struct Analysed {
    sound: Vec<i16>,
    mel: Vec<f16>,
    /// Of the sound, to find recordings that are there twice.
    digest: [u8; 32],
}

/// Runs `cargo xtask data prepare`. The cache appears under its name only when it is complete.
pub fn run(args: &Args) -> Result<()> {
    ensure!(!args.out.exists(), "{} exists already; remove it or choose another", args.out.display());
    let manifest = manifest::read(&args.data)?;
    ensure!(!manifest.rows.is_empty(), "the manifest in {} has no usable row", args.data.display());
    let partial = partial_name(&args.out)?;
    let mut skipped = manifest.skipped;
    let clips = write(&args.data, &manifest.rows, &partial, &mut skipped)?;
    std::fs::rename(&partial, &args.out)
        .with_context(|| format!("could not name the cache {}", args.out.display()))?;

    for reason in &skipped {
        eprintln!("skipped: {reason}");
    }
    let seconds = clips.iter().map(|clip| clip.samples).sum::<usize>() as f64 / f64::from(SAMPLE_RATE);
    println!(
        "{}: {} clips, {:.2} h, {} frames; {} rows skipped",
        args.out.display(),
        clips.len(),
        seconds / 3600.0,
        clips.iter().map(|clip| clip.frames).sum::<usize>(),
        skipped.len()
    );
    Ok(())
}

/// Where the cache grows: beside its final name, so that renaming stays on one file system.
fn partial_name(out: &Path) -> Result<PathBuf> {
    let Some(name) = out.file_name() else { bail!("{} is not a name for a folder", out.display()) };
    let mut name = name.to_os_string();
    // With the process id, so that two runs never write the same files.
    name.push(format!(".partial-{}", std::process::id()));
    Ok(out.with_file_name(name))
}

/// Decodes all rows and writes them to `folder`, adding what could not be used to `skipped`.
fn write(data: &Path, rows: &[Row], folder: &Path, skipped: &mut Vec<String>) -> Result<Vec<ClipEntry>> {
    let progress = ProgressBar::new(rows.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} recordings, {eta} left")?);
    let front_end = MelFrontEnd::new();
    let mut writer = CacheWriter::create(folder)?;
    let mut seen = HashSet::new();
    for batch in rows.chunks(BATCH) {
        let analysed: Vec<_> =
            batch.par_iter().map(|row| analyse(&data.join(&row.file), &front_end)).collect();
        for (row, analysed) in batch.iter().zip(analysed) {
            match analysed {
                // The same sound under two captions may not end up in both splits.
                Ok(Analysed { digest, .. }) if !seen.insert(digest) => {
                    skipped.push(format!("{}: the same sound is there already", row.id));
                }
                Ok(Analysed { sound, mel, .. }) => writer.push(entry(row), &mel, &sound)?,
                Err(error) => skipped.push(format!("{}: {error:#}", row.id)),
            }
        }
        progress.inc(batch.len() as u64);
    }
    progress.finish();
    writer.finish()
}

/// Decodes and analyses one recording.
fn analyse(path: &Path, front_end: &MelFrontEnd) -> Result<Analysed> {
    let audio = decode::decode(path)?;
    ensure!(audio.iter().all(|sample| sample.is_finite()), "it has samples that are not finite");
    ensure!(audio.len() >= HOP, "it is shorter than one frame ({HOP} samples)");
    let peak = audio.iter().fold(0f32, |peak, sample| peak.max(sample.abs()));
    ensure!(peak >= SILENT_PEAK, "it is silent");
    // Decoders and resamplers may overshoot full scale a little.
    let sound: Vec<i16> =
        audio.iter().map(|sample| (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).collect();
    let stored: Vec<f32> = sound.iter().map(|&sample| f32::from(sample) / 32_768.0).collect();
    let mel = front_end.log_mel(&stored).into_iter().map(f16::from_f32).collect();
    let bytes: Vec<u8> = sound.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    Ok(Analysed { digest: Sha256::digest(bytes).into(), sound, mel })
}

/// The row as a clip whose position is not known yet.
fn entry(row: &Row) -> ClipEntry {
    ClipEntry {
        id: row.id.clone(),
        category: row.category.clone(),
        captions: row.captions.clone(),
        split: row.split,
        frame_start: 0,
        frames: 0,
        sample_start: 0,
        samples: 0,
    }
}
