//! The loop around every training run: slices, checkpoints, metrics, progress, Ctrl-C.

use super::{Common, plots};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Named numbers of a step or a validation.
pub type Metrics = BTreeMap<&'static str, f64>;

/// A model in training.
pub trait Trainee {
    /// One optimizer step.
    fn step(&mut self, step: u64, rate: f64) -> Result<Metrics>;
    /// Numbers on the valid split, with averaged weights.
    fn validate(&mut self) -> Result<Metrics>;
    /// Example pictures for the run folder.
    fn pictures(&mut self, folder: &Path) -> Result<()>;
    /// Writes the checkpoint and the averaged weights into the run folder.
    fn save(&mut self, folder: &Path, step: u64, seconds: f64) -> Result<()>;
    /// Goes on from the checkpoint in the run folder; returns its step and training time in seconds.
    fn resume(&mut self, folder: &Path) -> Result<(u64, f64)>;
}

/// Where a run's checkpoint lies.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// Where a run's averaged weights lie, ready for `pack build`.
pub const WEIGHTS: &str = "weights.safetensors";

const SAVE_EVERY: Duration = Duration::from_secs(180);

/// Trains until the run's steps or the slice's minutes are over, or Ctrl-C.
pub fn run(common: &Common, peak_rate: f64, validate_every: u64, trainee: &mut dyn Trainee) -> Result<()> {
    let folder = &common.out;
    std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let (mut step, before) =
        if folder.join(CHECKPOINT).exists() { trainee.resume(folder)? } else { (0, 0.0) };
    let stop = Arc::new(AtomicBool::new(false));
    {
        let stop = stop.clone();
        ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed))
            .context("could not watch for Ctrl-C")?;
    }
    let bar = ProgressBar::new(common.steps).with_position(step);
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} [{elapsed_precise}<{eta_precise}] {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.reset_eta();
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("metrics.jsonl"))?;
    let start = Instant::now();
    let limit = common.minutes.map(|m| Duration::from_secs_f64(m.max(0.0) * 60.0));
    let mut last_save = Instant::now();
    let mut running = Running::default();
    while step < common.steps && !stop.load(Ordering::Relaxed) && limit.is_none_or(|l| start.elapsed() < l) {
        let metrics = trainee.step(step, common.rate(step, peak_rate))?;
        step += 1;
        running.add(&metrics);
        bar.set_position(step);
        if step.is_multiple_of(20) {
            let means = running.take();
            bar.set_message(brief(&means));
            let seconds = before + start.elapsed().as_secs_f64();
            write_line(&mut log, "train", step, seconds, &means)?;
            if bar.is_hidden() && step.is_multiple_of(100) {
                println!("step {step} at {seconds:.0} s: {}", brief(&means));
            }
        }
        if step.is_multiple_of(validate_every) || step == common.steps {
            let metrics = trainee.validate()?;
            let seconds = before + start.elapsed().as_secs_f64();
            write_line(&mut log, "valid", step, seconds, &metrics)?;
            bar.suspend(|| println!("step {step}, valid: {}", brief(&metrics)));
            trainee.pictures(folder)?;
            plots::curves(&folder.join("metrics.jsonl"), &folder.join("curves.png"))?;
        }
        if last_save.elapsed() > SAVE_EVERY {
            trainee.save(folder, step, before + start.elapsed().as_secs_f64())?;
            last_save = Instant::now();
        }
    }
    trainee.save(folder, step, before + start.elapsed().as_secs_f64())?;
    bar.abandon();
    println!("stopped at step {step} of {}; saved in {}", common.steps, folder.display());
    Ok(())
}

/// Means over the steps since the last line.
#[derive(Default)]
struct Running {
    sums: BTreeMap<&'static str, (f64, u32)>,
}

impl Running {
    fn add(&mut self, metrics: &Metrics) {
        for (name, value) in metrics {
            let entry = self.sums.entry(name).or_default();
            entry.0 += value;
            entry.1 += 1;
        }
    }

    fn take(&mut self) -> Metrics {
        std::mem::take(&mut self.sums)
            .into_iter()
            .map(|(name, (sum, n))| (name, sum / f64::from(n)))
            .collect()
    }
}

fn brief(metrics: &Metrics) -> String {
    metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join("  ")
}

fn write_line(log: &mut impl Write, split: &str, step: u64, seconds: f64, metrics: &Metrics) -> Result<()> {
    let mut line = serde_json::json!({ "split": split, "step": step, "seconds": seconds });
    if let Some(object) = line.as_object_mut() {
        for (name, value) in metrics {
            object.insert((*name).to_owned(), serde_json::json!(value));
        }
    }
    writeln!(log, "{line}").context("could not write metrics.jsonl")
}

/// Writes averaged weights for `pack build`, with the architecture in the header, through a temporary file.
pub fn save_weights(path: &Path, weights: BTreeMap<String, candle_core::Tensor>, config: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    let header = std::collections::HashMap::from([("config".to_owned(), config.to_owned())]);
    safetensors::serialize_to_file(weights, Some(header), &partial)?;
    std::fs::rename(&partial, path).with_context(|| format!("could not write {}", path.display()))
}
