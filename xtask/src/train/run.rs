//! The loop around every training run: slices, checkpoints, metrics, progress, Ctrl-C.

use super::plots;
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
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
    /// Whether there is no point in going on; asked after each validation.
    fn is_done(&self) -> bool {
        false
    }
    /// Goes on from the checkpoint in the run folder; returns its step and training time in seconds.
    fn resume(&mut self, folder: &Path) -> Result<(u64, f64)>;
}

/// The frame of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder of the run: checkpoint, metrics, pictures.
    pub folder: PathBuf,
    /// Steps of the whole run.
    pub steps: u64,
    /// Minutes of this slice of it.
    pub minutes: Option<f64>,
    /// Peak learning rate.
    pub peak_rate: f64,
    /// Steps until the learning rate is at its peak.
    pub warm_up: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Time between checkpoints.
    pub save_every: Duration,
}

impl Plan {
    /// Learning rate of a step: a linear start, a plateau, and a linear end over the last fifth.
    fn rate(&self, step: u64) -> f64 {
        let start = (step as f64 + 1.0) / self.warm_up.max(1) as f64;
        let tail = self.steps as f64 * 0.2;
        let end = (self.steps.saturating_sub(step)) as f64 / tail.max(1.0);
        self.peak_rate * start.min(1.0) * end.clamp(0.02, 1.0)
    }
}

/// Where a run's checkpoint lies.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// Where a run's averaged weights lie, ready for `pack build`.
pub const WEIGHTS: &str = "weights.safetensors";

/// Trains until the run's steps or the slice's minutes are over, or Ctrl-C. Returns the steps taken and the training
/// time in seconds, of all slices together.
pub fn run(plan: &Plan, trainee: &mut dyn Trainee) -> Result<(u64, f64)> {
    let folder = &plan.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let (mut step, before) =
        if folder.join(CHECKPOINT).exists() { trainee.resume(folder)? } else { (0, 0.0) };
    let log_path = folder.join("metrics.jsonl");
    forget_after(&log_path, step)?;
    let stop = stop_flag()?;
    let bar = ProgressBar::new(plan.steps).with_position(step);
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} [{elapsed_precise}<{eta_precise}] {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.reset_eta();
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(&log_path)?;
    let start = Instant::now();
    let seconds = || before + start.elapsed().as_secs_f64();
    let limit = plan.minutes.map(|m| Duration::from_secs_f64(m.max(0.0) * 60.0));
    let mut last_save = Instant::now();
    let mut running = Running::default();
    let mut done = trainee.is_done();
    while !done
        && step < plan.steps
        && !stop.load(Ordering::Relaxed)
        && limit.is_none_or(|l| start.elapsed() < l)
    {
        let metrics = trainee.step(step, plan.rate(step))?;
        step += 1;
        running.add(&metrics);
        bar.set_position(step);
        if step.is_multiple_of(20) {
            let means = running.take();
            bar.set_message(brief(&means));
            write_line(&mut log, "train", step, seconds(), &means)?;
            if bar.is_hidden() && step.is_multiple_of(100) {
                println!("step {step} at {:.0} s: {}", seconds(), brief(&means));
            }
        }
        let validates = step.is_multiple_of(plan.validate_every) || step == plan.steps;
        if validates {
            let metrics = trainee.validate()?;
            write_line(&mut log, "valid", step, seconds(), &metrics)?;
            bar.suspend(|| println!("step {step}, valid: {}", brief(&metrics)));
            trainee.pictures(folder)?;
            plots::curves(&log_path, &folder.join("curves.png"))?;
            done = trainee.is_done();
        }
        if last_save.elapsed() >= plan.save_every {
            trainee.save(folder, step, seconds())?;
            last_save = Instant::now();
        }
    }
    trainee.save(folder, step, seconds())?;
    bar.abandon();
    let rest = if done || step >= plan.steps { "" } else { "; the same command goes on" };
    println!("stopped at step {step} of {}; saved in {}{rest}", plan.steps, folder.display());
    Ok((step, seconds()))
}

/// Set by Ctrl-C; the second one ends the program at once, which a run survives, too. A program has one such handler,
/// however many runs it makes.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(stop) = STOP.get() {
        return Ok(stop.clone());
    }
    let stop = STOP.get_or_init(Arc::default).clone();
    let flag = stop.clone();
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step, to save (Ctrl-C again: at once)");
    };
    ctrlc::set_handler(handler).context("could not watch for Ctrl-C")?;
    Ok(stop)
}

/// Whether Ctrl-C was pressed in this program's life.
pub fn is_stopped() -> bool {
    stop_flag().is_ok_and(|stop| stop.load(Ordering::Relaxed))
}

/// Drops the lines of steps after `step`: a run that was killed goes on from its last checkpoint and logs them again.
fn forget_after(log: &Path, step: u64) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(log) else { return Ok(()) };
    let keeps = |line: &&str| {
        let value = serde_json::from_str::<serde_json::Value>(line).ok();
        value.and_then(|value| value["step"].as_u64()).is_some_and(|at| at <= step)
    };
    let kept: String = text.lines().filter(keeps).flat_map(|line| [line, "\n"]).collect();
    std::fs::write(log, kept).with_context(|| format!("could not write {}", log.display()))
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
