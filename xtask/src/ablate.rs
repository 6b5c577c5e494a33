//! `cargo xtask ablate`: the paper's tables at the size of a pack.
//!
//! Each [`variant`] adapts the base to each [`domain`] from several seeds, is [measured](measure) on held-out clips and
//! leaves a line in `results.jsonl`. A run that is there is not made again, so that the whole can be made in slices; the
//! [`report`] is of whatever is there.

mod domain;
mod measure;
mod recordings;
mod report;
mod variant;

use crate::data::Cache;
use crate::eval::classifier::Classifier;
use crate::resources;
use crate::train::adapter::{Material, Method, Trainer};
use crate::train::run::{Plan, is_stopped, run as run_loop};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use domain::Domain;
use measure::{Measures, Yardstick};
use serde::{Deserialize, Serialize};
use soundlocd_engine::lora::{AdapterFile, BaseId};
use soundlocd_engine::pack::Pack;
use soundlocd_engine::service::disable_candle_pool;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use variant::Variant;

/// Arguments of `cargo xtask ablate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder that `data prepare` wrote of the default pack's data.
    #[arg(long)]
    data: PathBuf,
    /// Folder of the base; without it, the default pack inside the program.
    #[arg(long, value_name = "FOLDER")]
    pack: Option<PathBuf>,
    /// Folder for the results and for what is slow to make.
    #[arg(long)]
    work: PathBuf,
    /// Folder for `results.jsonl`, `ablation.md` and `ablation.png` [default: the same].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Only these domains: keyboard, radio, or the folder names given by --domain.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// A further domain: a folder that `data prepare` wrote, of ESC-50 for instance. Can be given several times.
    #[arg(long, value_name = "FOLDER")]
    domain: Vec<PathBuf>,
    /// Also measure this adapter, which `train adapter` made of --recordings; can be given several times.
    #[arg(long, value_name = "FILE")]
    adapter: Vec<PathBuf>,
    /// Only write the recordings that the keyboard domain trains on into this folder, as WAV files named by their
    /// captions (the others are made of spectrograms).
    #[arg(long, value_name = "FOLDER")]
    recordings: Option<PathBuf>,
    /// Runs of each variant, from different seeds.
    #[arg(long, default_value_t = 3)]
    runs: u64,
    /// Steps of a run at most.
    #[arg(long, default_value_t = 160)]
    steps: u64,
    /// Begin no further run after this many minutes (go on later with the same command).
    #[arg(long)]
    minutes: Option<f64>,
    /// Only write the report of what is there.
    #[arg(long)]
    report_only: bool,
}

/// One run of one variant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The domain.
    pub domain: String,
    /// Key of the variant.
    pub variant: String,
    /// Seed of the run.
    pub seed: u64,
    /// SHA-256 of the base's manifest.
    pub base: String,
    /// Trainable numbers.
    pub parameters: usize,
    /// Steps taken, and the one that was kept.
    pub steps: (u64, u64),
    /// Training time by the clock, in seconds.
    pub seconds: f64,
    /// Processor time of the training, in seconds; unknown for one that was interrupted and went on.
    pub cpu_seconds: Option<f64>,
    /// Peak memory of the training, in bytes.
    pub peak_bytes: Option<u64>,
    /// What came out.
    pub measures: Measures,
}

/// Runs `cargo xtask ablate`.
pub fn run(args: &Args) -> Result<()> {
    disable_candle_pool();
    let out = args.out.as_ref().unwrap_or(&args.work);
    for folder in [&args.work, out] {
        std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    }
    let results = out.join("results.jsonl");
    if args.report_only {
        return report::write(&read(&results)?, out);
    }
    let pack = match &args.pack {
        Some(folder) => Pack::open(folder)?,
        None => Pack::embedded()?,
    };
    let others = args.domain.iter().map(|folder| domain::open(folder)).collect::<Result<Vec<_>>>()?;
    let (cache, domains) = domain::arrange(Cache::open(&args.data)?, &others)?;
    for name in &args.only {
        ensure!(domains.iter().any(|domain| domain.name == *name), "--only: there is no domain {name}");
    }
    if let Some(folder) = &args.recordings {
        return recordings::write(&cache, &domains, folder);
    }
    let classifier = Classifier::load_or_fit(&cache, &args.work)?;
    let start = Instant::now();
    let is_over =
        || is_stopped() || args.minutes.is_some_and(|m| start.elapsed() > Duration::from_secs_f64(m * 60.0));
    // Seed by seed: an experiment that is cut short has something of everything.
    for seed in 1..=args.runs {
        for domain in domains.iter().filter(|d| args.only.is_empty() || args.only.contains(&d.name)) {
            let yardstick = Yardstick::new(&cache, &classifier, domain)?;
            println!(
                "{}: {} clips to train on, {} to stop early by, {} to measure on, of which the classifier recognises {:.1} %",
                domain.name,
                domain.train.len(),
                domain.dev.len(),
                domain.test.len(),
                100.0 * yardstick.ceiling()
            );
            let experiment =
                Experiment { args, pack: &pack, cache: &cache, domain, yardstick, results: &results };
            let finished = args.adapter.iter().filter(|_| seed == 1).map(|file| Variant::finished(file));
            for variant in finished.chain(Variant::all(domain.name == "keyboard")) {
                if is_over() {
                    return report::write(&read(&results)?, out);
                }
                experiment.run(&variant, seed)?;
            }
        }
    }
    report::write(&read(&results)?, out)
}

/// One domain's runs.
struct Experiment<'a> {
    args: &'a Args,
    pack: &'a Pack,
    cache: &'a Cache,
    domain: &'a Domain,
    yardstick: Yardstick<'a>,
    results: &'a Path,
}

impl Experiment<'_> {
    /// Makes a run that is not there yet.
    fn run(&self, variant: &Variant, seed: u64) -> Result<()> {
        let there = |outcome: &Outcome| {
            outcome.domain == self.domain.name
                && outcome.variant == variant.key
                && outcome.seed == seed
                && outcome.base == self.pack.hash()
        };
        if read(self.results)?.iter().any(there) {
            return Ok(());
        }
        println!("\n{}, {}, seed {seed}", self.domain.name, variant.key);
        let outcome = self.outcome(variant, seed)?;
        println!("{:?}", outcome.measures);
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.results)?;
        writeln!(file, "{}", serde_json::to_string(&outcome)?)?;
        Ok(())
    }

    fn outcome(&self, variant: &Variant, seed: u64) -> Result<Outcome> {
        let settings = variant.settings(self.args.steps, seed);
        // The same tokens whatever the seed: they are encoded once.
        let material = |valid: &[usize]| {
            let clips = (self.domain.train.clone(), valid);
            Material::new(self.pack, self.cache, clips, (settings.copies, 1), &Device::Cpu)
        };
        let sampler = self
            .pack
            .manifest()
            .sampling
            .config(&self.pack.manifest().recommended, self.pack.manifest().schedule.steps);
        let mut outcome = Outcome {
            domain: self.domain.name.clone(),
            variant: variant.key.clone(),
            seed,
            base: self.pack.hash().to_owned(),
            parameters: 0,
            steps: (0, 0),
            seconds: 0.0,
            cpu_seconds: None,
            peak_bytes: None,
            measures: Measures::default(),
        };
        let model = match variant.method {
            None => {
                let model = self.pack.transformer(&Device::Cpu)?;
                match &variant.file {
                    None => model,
                    Some(path) => {
                        let file = AdapterFile::open(path)?;
                        file.check_base(&BaseId::of(self.pack))?;
                        outcome.parameters = file.parameters();
                        model.adapted(&[(&file.fit(&self.pack.manifest().transformer)?, 1.0)])?
                    }
                }
            }
            Some(method) => {
                let mut material = material(&self.domain.dev)?;
                resources::reset_peak();
                let before = resources::cpu_seconds();
                let mut trainer = Trainer::new(self.pack, method, &settings, &mut material, None)?;
                let name: String =
                    variant.key.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
                let folder = self.args.work.join("runs").join(format!("{}-{name}-{seed}", self.domain.name));
                let is_resumed = folder.exists();
                let plan = Plan {
                    folder: folder.clone(),
                    steps: settings.steps,
                    minutes: None,
                    peak_rate: settings.rate,
                    warm_up: 10,
                    validate_every: settings.validate_every,
                    save_every: Duration::from_secs(60),
                };
                let (step, seconds) = run_loop(&plan, &mut trainer)?;
                ensure!(!is_stopped(), "stopped; the same command goes on");
                outcome.parameters = trainer.parameters();
                outcome.steps = (step, trainer.standing().map_or(step, |(_, at)| at));
                outcome.seconds = seconds;
                outcome.cpu_seconds = before
                    .zip(resources::cpu_seconds())
                    .filter(|_| !is_resumed)
                    .map(|(before, after)| after - before);
                outcome.peak_bytes = resources::peak_bytes();
                let model = trainer.learner().finished(&trainer.result())?;
                if method == Method::Full {
                    // Some hundred megabytes that nobody will ask for.
                    std::fs::remove_dir_all(&folder)?;
                }
                model
            }
        };
        outcome.measures = self.yardstick.measure(&model, &mut material(&self.domain.test)?, sampler)?;
        Ok(outcome)
    }
}

/// The runs so far.
fn read(results: &Path) -> Result<Vec<Outcome>> {
    let Ok(text) = std::fs::read_to_string(results) else { return Ok(Vec::new()) };
    let parse = |line| {
        serde_json::from_str(line)
            .with_context(|| format!("{} has a line that cannot be read", results.display()))
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}
