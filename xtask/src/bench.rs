//! `cargo xtask bench`: times every stage from prompt to clip, as medians over several runs.
//!
//! `SOUNDLOCD_MATMUL=avx512` or `f32` measures other units than the machine's fastest.

mod adapter;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use soundlocd_engine::diffusion::{Noise, transformer};
use soundlocd_engine::layers::kernel::{Addend, Finish, Frozen, Matrix, Precision, bfloat};
use soundlocd_engine::pack::Pack;
use soundlocd_engine::service::{Generator, Progress, Request, Settings, Timings};

use crate::device::{self, DeviceChoice};
use crate::resources;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often each thing is measured; the median counts.
    #[arg(long, default_value_t = 7)]
    runs: u32,
    /// Length of the sound in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f32,
    /// Denoising steps [default: what the pack recommends].
    #[arg(long)]
    steps: Option<u32>,
    /// What to generate.
    #[arg(long, default_value = "footsteps on gravel, then a heavy wooden door creaks and slams")]
    prompt: String,
    /// Folder of a model pack; without it, the default pack inside the program.
    #[arg(long, value_name = "FOLDER")]
    pack: Option<PathBuf>,
    /// Where the model runs.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Everything measured. Times are medians in seconds.
#[derive(Debug, Serialize)]
struct Report {
    /// Pack, settings and machine.
    pack: String,
    seconds: f32,
    steps: u32,
    guidance: f32,
    runs: u32,
    cores: usize,
    /// The first load in this process, and the later ones.
    first_load: f64,
    warm_load: f64,
    /// The first sound, with cold caches.
    first_sound: f64,
    text: f64,
    /// One denoising step: the median, and what 19 of 20 stay below.
    denoise_step: f64,
    denoise_step_p95: f64,
    denoise: f64,
    decode: f64,
    vocode: f64,
    finish: f64,
    /// The whole sound, warm.
    total: f64,
    /// The sum of the stages for other numbers of steps: 100, the paper's, then 25 and 10.
    total_of_steps: BTreeMap<u32, f64>,
    /// Most memory this process ever had in RAM, in bytes; `None` where the system does not tell.
    peak_resident_bytes: Option<u64>,
    /// What an adapter costs a step on the CPU.
    adapter: adapter::Cost,
    /// Floating-point operations of one denoising step, counted from the architecture.
    step_gflop: f64,
    /// What the denoising reaches.
    denoise_gflops: f64,
    /// What a large matrix product reaches on the CPU at best: in f32, and on the unit that the model uses.
    matmul_gflops: f64,
    unit: &'static str,
    unit_matmul_gflops: f64,
}

/// Numbers of steps of [`Report::total_of_steps`].
const STEPS: [u32; 3] = [100, 25, 10];

/// Runs `cargo xtask bench`.
pub fn run(args: Args) -> Result<()> {
    ensure!(args.runs > 0, "--runs must be at least 1");
    let report = measure(&args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

/// Does all measurements.
fn measure(args: &Args) -> Result<Report> {
    let load = || -> Result<(Box<dyn Generator>, Pack)> {
        let pack = match &args.pack {
            Some(folder) => Pack::open(folder)?,
            None => Pack::embedded()?,
        };
        Ok((device::load(Some(args.device), &pack)?, pack))
    };
    let (loaded, first_load) = timed(load);
    let (mut generator, pack) = loaded?;

    let recommended = &pack.manifest().recommended;
    let settings = Settings {
        seconds: args.seconds,
        steps: args.steps.unwrap_or(recommended.steps),
        ..recommended.clone()
    };
    let request = Request { settings, ..Request::new(args.prompt.clone(), 1) }.validate()?;
    let mut steps = Vec::new();
    let mut sound = |seed: u64| -> Result<Timings> {
        let request = Request { seed, ..request.clone() };
        // Progress is reported before the first step and after each.
        let mut last: Option<Instant> = None;
        let mut note = |progress: Progress| {
            let now = Instant::now();
            steps.extend(last.filter(|_| progress.step > 0).map(|last| now - last));
            last = Some(now);
            ControlFlow::Continue(())
        };
        let (clip, total) = timed(|| generator.generate(&request, 0, &mut note));
        black_box(clip?);
        Ok(Timings { total, ..generator.timings() })
    };
    let first_sound = sound(0)?.total;
    let timings = (1..=u64::from(args.runs)).map(&mut sound).collect::<Result<Vec<_>>>()?;
    // Not those of the first sound, with cold caches.
    let steps = steps.split_off(steps.len().min(request.settings.steps as usize));
    // Before the loads and products below, which a user never has in memory at once.
    let peak_resident_bytes = resources::peak_bytes();

    let mut warm_loads = Vec::new();
    for _ in 0..args.runs.min(3) {
        let (loaded, time) = timed(load);
        drop(loaded?);
        warm_loads.push(time);
    }

    let stage = |stage: fn(&Timings) -> Duration| median(timings.iter().map(stage).collect());
    let config = &pack.manifest().transformer;
    // Guidance evaluates every step twice: with the prompt and without.
    let evaluations = if request.settings.guidance == 1.0 { 1.0 } else { 2.0 };
    let columns = request.settings.columns(pack.manifest().codec.frames_per_column(), config.max_columns);
    let step_gflop = evaluations * forward_flop(config, columns * config.rows) / 1e9;
    let denoise_step = percentile(steps.clone(), 0.5);
    let once = stage(|timings| timings.text + timings.codec + timings.vocoder + timings.finish);
    let (unit, precision) = match bfloat::unit() {
        Some(bfloat::Unit::Tiles) => ("AMX bfloat16", Precision::Bf16),
        Some(bfloat::Unit::Avx512) => ("AVX-512 bfloat16", Precision::Bf16),
        None => ("f32", Precision::F32),
    };
    Ok(Report {
        pack: pack.manifest().name.clone(),
        seconds: request.settings.seconds,
        steps: request.settings.steps,
        guidance: request.settings.guidance,
        runs: args.runs,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        first_load: first_load.as_secs_f64(),
        warm_load: median(warm_loads),
        first_sound: first_sound.as_secs_f64(),
        text: stage(|timings| timings.text),
        denoise_step,
        denoise_step_p95: percentile(steps, 0.95),
        denoise: stage(|timings| timings.diffusion),
        decode: stage(|timings| timings.codec),
        vocode: stage(|timings| timings.vocoder),
        finish: stage(|timings| timings.finish),
        total: stage(|timings| timings.total),
        total_of_steps: STEPS.map(|steps| (steps, once + f64::from(steps) * denoise_step)).into(),
        peak_resident_bytes,
        adapter: adapter::cost(&pack, columns, evaluations as usize, args.runs)?,
        step_gflop,
        denoise_gflops: step_gflop / denoise_step,
        matmul_gflops: matmul_gflops(Precision::F32, args.runs),
        unit,
        unit_matmul_gflops: matmul_gflops(precision, args.runs),
    })
}

/// Floating-point operations of one evaluation of the transformer on `tokens` tokens: two for each
/// multiplication and addition in its matrix products. Keys and values of the prompt and the
/// scales of the timesteps are made once per prompt or per pack, so they do not count, and neither
/// do the prompt's few words in the cross-attention.
fn forward_flop(config: &transformer::Config, tokens: usize) -> f64 {
    let (width, tokens) = (config.width as f64, tokens as f64);
    // Self-attention: query, key, value, output. Cross-attention: query, output.
    let attention_weights = 6.0 * width * width;
    let perceptron_weights = 2.0 * config.mlp_ratio as f64 * width * width;
    // Scores and weighted sum over all tokens.
    let mixing = 2.0 * tokens * width;
    let per_token = config.layers as f64 * (attention_weights + perceptron_weights + mixing)
        + width * config.codebook as f64;
    2.0 * tokens * per_token
}

/// What a product of two 1024 x 1024 matrices reaches at best, in 10^9 operations a second.
fn matmul_gflops(precision: Precision, runs: u32) -> f64 {
    const SIZE: usize = 1024;
    let mut noise = Noise::new(1, 0);
    let mut factor = || (0..SIZE * SIZE).map(|_| noise.uniform() - 0.5).collect::<Vec<f32>>();
    let (left, right) = (factor(), factor());
    let frozen = Frozen::new(Matrix::row_major(&right, SIZE, SIZE), precision);
    let mut out = vec![0.0; SIZE * SIZE];
    let mut best = Duration::MAX;
    for _ in 0..2 * runs + 1 {
        let left = Matrix::row_major(&left, SIZE, SIZE);
        let ((), time) = timed(|| frozen.multiply(left, &mut out, Addend::Nothing, Finish::Nothing));
        black_box(&out);
        best = best.min(time);
    }
    2.0 * (SIZE as f64).powi(3) / 1e9 / best.as_secs_f64()
}

/// A result and how long it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// The middle of the times in seconds; of an even number, the mean of the two in the middle.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    let middle = times.len() / 2;
    match (times.get(middle), times.len() % 2) {
        (None, _) => f64::NAN,
        (Some(upper), 0) => (times[middle - 1] + *upper).as_secs_f64() / 2.0,
        (Some(time), _) => time.as_secs_f64(),
    }
}

/// The time in seconds that a share of all stays below or reaches.
fn percentile(mut times: Vec<Duration>, share: f64) -> f64 {
    times.sort();
    let index = (share * times.len() as f64).ceil() as usize;
    times.get(index.saturating_sub(1)).map_or(f64::NAN, Duration::as_secs_f64)
}

/// The report as a table.
fn print(report: &Report) {
    println!(
        "{}: {} s of sound, {} steps, guidance {}; medians of {} runs on {} cores\n",
        report.pack, report.seconds, report.steps, report.guidance, report.runs, report.cores
    );
    let seconds = |name: &str, value: f64| println!("{name:<28}{value:>9.4} s");
    seconds("load the pack, first", report.first_load);
    seconds("load the pack, again", report.warm_load);
    seconds("first sound", report.first_sound);
    seconds("text", report.text);
    seconds("denoise, one step", report.denoise_step);
    seconds("denoise, 95 % of steps below", report.denoise_step_p95);
    seconds("denoise, all steps", report.denoise);
    seconds("decode", report.decode);
    seconds("vocode", report.vocode);
    seconds("finish", report.finish);
    seconds("whole sound, warm", report.total);
    for (steps, total) in report.total_of_steps.iter().rev() {
        seconds(&format!("the same of {steps} steps"), *total);
    }
    let adapter::Cost { beside, merged } = report.adapter;
    println!("{:<28}{beside:>9.3} times a step, merged {merged:.3} times", "with an adapter of rank 8");
    if let Some(bytes) = report.peak_resident_bytes {
        println!("{:<28}{:>9.0} MB", "peak memory", bytes as f64 / 1e6);
    }
    println!("{:<28}{:>9.2} GFLOP", "one denoising step", report.step_gflop);
    println!(
        "{:<28}{:>9.1} GFLOP/s ({:.0} % of a large matrix product's)",
        "denoising reaches",
        report.denoise_gflops,
        100.0 * report.denoise_gflops / report.unit_matmul_gflops,
    );
    println!("{:<28}{:>9.1} GFLOP/s ({})", "a large matrix product", report.unit_matmul_gflops, report.unit);
    println!("{:<28}{:>9.1} GFLOP/s (f32)", "", report.matmul_gflops);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let seconds = |values: &[u64]| median(values.iter().map(|s| Duration::from_secs(*s)).collect());
        assert_eq!(seconds(&[9, 1, 4]), 4.0);
        assert_eq!(seconds(&[9, 1, 4, 2]), 3.0);
        assert!(seconds(&[]).is_nan());
        let share = |values: &[u64], share: f64| {
            percentile(values.iter().map(|s| Duration::from_secs(*s)).collect(), share)
        };
        assert_eq!(share(&[3, 1, 2, 4], 0.5), 2.0);
        assert_eq!(share(&(1..=100).rev().collect::<Vec<_>>(), 0.95), 95.0);
        assert_eq!(share(&[7], 0.95), 7.0);
    }

    #[test]
    fn counts_a_single_layer_by_hand() {
        let config =
            transformer::Config { layers: 1, width: 8, mlp_ratio: 4, ..transformer::Config::small(16, 4) };
        // Six 8 x 8 matrices, two of 8 x 32, attention over 10 tokens twice, an output of 8 x 16.
        let multiplications = 10.0 * (6.0 * 64.0 + 2.0 * 256.0 + 2.0 * 80.0 + 128.0);
        assert_eq!(forward_flop(&config, 10), 2.0 * multiplications);
    }
}
