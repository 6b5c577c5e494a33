//! `cargo xtask generate`: one prompt becomes one or more WAV files.

mod edit;
mod output;

use crate::adapter::Choice;
use crate::device::{self, DeviceChoice};
use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use soundlocd_engine::clip::wav;
use soundlocd_engine::pack::Pack;
use soundlocd_engine::pack::library::{Library, VARIABLE, user_folder};
use soundlocd_engine::service::{
    GenerateError, Generator, Request, SamplerKind, Timings, disable_candle_pool,
};
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Sample rates that a file may have, in Hz.
const SAMPLE_RATES: RangeInclusive<u32> = 22_050..=192_000;

/// Arguments of `cargo xtask generate`. What is not given is as the pack recommends.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What you want to hear.
    prompt: String,
    /// The file to write, or a folder; by default named after the prompt. Variations are numbered.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Length in seconds, 0.2 to 9.845.
    #[arg(long)]
    seconds: Option<f32>,
    /// The same seed gives the same sound; random if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Denoising steps: more is slower and finer.
    #[arg(long)]
    steps: Option<u32>,
    /// How strictly to follow the prompt; 1 is as trained.
    #[arg(long)]
    guidance: Option<f32>,
    /// Share of the probability that stays eligible at each draw, above 0 to 1.
    #[arg(long)]
    truncation: Option<f32>,
    /// The order in which the sound takes shape.
    #[arg(long, value_enum)]
    sampler: Option<Sampler>,
    /// What you do not want to hear.
    #[arg(long, value_name = "PROMPT")]
    negative: Option<String>,
    /// How many different sounds to make, 1 to 8.
    #[arg(long, default_value_t = 1)]
    variations: u32,
    /// Sample rate of the files in Hz, 22050 to 192000.
    #[arg(long, value_name = "HZ", default_value_t = 48_000)]
    sample_rate: u32,
    /// Folder of a model pack, or the name of one in the packs folder or in SOUNDLOCD_PACKS; without it, the
    /// default pack inside the program.
    #[arg(long, value_name = "FOLDER|NAME")]
    pack: Option<PathBuf>,
    /// An adapter to blend in, with its strength from 0 to 2 (1 if not given); can be given several times.
    #[arg(long, value_name = "FILE[:STRENGTH]")]
    adapter: Vec<Choice>,
    /// Use adapters that were made for another base, where their shapes fit.
    #[arg(long)]
    force_base: bool,
    /// Where the model runs [default: auto].
    #[arg(long, value_enum)]
    device: Option<DeviceChoice>,
    #[command(flatten)]
    edit: edit::EditArgs,
}

/// [`SamplerKind`] for the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sampler {
    /// Most confident tokens first.
    Purity,
    /// The reverse diffusion process itself.
    Ancestral,
}

impl From<Sampler> for SamplerKind {
    fn from(sampler: Sampler) -> Self {
        match sampler {
            Sampler::Purity => Self::Purity,
            Sampler::Ancestral => Self::Ancestral,
        }
    }
}

/// Runs `cargo xtask generate`.
pub fn run(args: Args) -> Result<()> {
    disable_candle_pool();
    let pack = match &args.pack {
        Some(which) => open(which)?,
        None => Pack::embedded()?,
    };
    let request = request(&args, &pack)?;
    ensure!(
        SAMPLE_RATES.contains(&args.sample_rate),
        "The sample rate must be between {} and {} Hz; it is {}.",
        SAMPLE_RATES.start(),
        SAMPLE_RATES.end(),
        args.sample_rate
    );
    let paths = output::paths(args.out.as_deref(), &request.prompt, request.seed, request.variations)?;
    output::check_writable(&paths)?;

    let start = Instant::now();
    let mut generator = device::load(args.device, &pack)?;
    println!("loaded {} in {}", pack.manifest().name, seconds(start.elapsed()));
    let (mut made, mut failure) = (0, None);
    for (variation, path) in (0..).zip(&paths) {
        let clip = match one(&mut *generator, &request, variation) {
            Ok(clip) => clip,
            // One unusable sound is no reason to lose the others.
            Err(error @ (GenerateError::Clip(_) | GenerateError::Unusable(_))) if request.variations > 1 => {
                println!("{}  left out: {error}", path.display());
                failure = Some(error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        made += 1;
        wav::write(path, &clip, args.sample_rate)?;
        println!(
            "{}  {:.2} s, {} Hz, seed {}",
            path.display(),
            clip.seconds(),
            args.sample_rate,
            request.seed
        );
        println!("    {}", stages(&generator.timings()));
    }
    match failure {
        Some(error) if made == 0 => Err(error.into()),
        _ => Ok(()),
    }
}

/// The pack in the folder `which`, or the one of that name among those that are installed.
fn open(which: &Path) -> Result<Pack> {
    // Anything with a separator in it is a path, even where there is nothing.
    let is_name = which.components().count() == 1 && !which.is_absolute();
    let Some(name) = which.to_str().filter(|_| is_name && !which.exists()) else {
        return Ok(Pack::open(which)?);
    };
    let library = Library::scan();
    let found: Vec<_> = library.with_name(name).collect();
    match found.as_slice() {
        [(_, pack)] => Ok(pack.reference.open()?),
        [] => {
            let installed: Vec<&str> = library
                .packs()
                .iter()
                .filter(|listed| listed.pack.is_ok())
                .map(|listed| listed.name.as_str())
                .collect();
            bail!(
                "{name:?} is neither a folder nor the name of an installed model pack (those are: {}). Packs are \
                 looked for in {} and where {VARIABLE} says.",
                installed.join(", "),
                user_folder().map_or("no folder".into(), |folder| folder.display().to_string())
            )
        }
        several => {
            let folders: Vec<String> = several
                .iter()
                .filter_map(|(listed, _)| listed.folder.as_ref())
                .map(|folder| folder.display().to_string())
                .collect();
            bail!("Several packs are called {name:?}; give the folder of one: {}", folders.join(", "))
        }
    }
}

/// What is asked for, checked.
fn request(args: &Args, pack: &Pack) -> Result<Request> {
    let mut settings = pack.manifest().recommended.clone();
    settings.seconds = args.seconds.unwrap_or(settings.seconds);
    settings.steps = args.steps.unwrap_or(settings.steps);
    settings.guidance = args.guidance.unwrap_or(settings.guidance);
    settings.truncation = args.truncation.unwrap_or(settings.truncation);
    settings.sampler = args.sampler.map_or(settings.sampler, Into::into);
    let seed = args.seed.unwrap_or_else(|| {
        // Any number will do that differs from run to run; a short one is easier to note down.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_micros()) ^ (now.as_secs() % 1_000_000)
    });
    let request = Request {
        prompt: args.prompt.clone(),
        negative_prompt: args.negative.clone(),
        settings,
        seed,
        variations: args.variations,
        adapters: Vec::new(),
        edit: args.edit.edit()?,
    };
    // Before the adapters are read: what was typed is wrong more often than a file.
    let request = request.validate()?;
    let adapters = args.adapter.iter().map(|choice| choice.resolve(pack, args.force_base));
    let request = Request { adapters: adapters.collect::<Result<_>>()?, ..request };
    Ok(request.validate()?)
}

/// Makes one variation under a progress bar.
fn one(
    generator: &mut dyn Generator,
    request: &Request,
    variation: u32,
) -> Result<soundlocd_engine::clip::Clip, GenerateError> {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(u64::from(request.settings.steps)).with_style(style);
    bar.set_prefix(format!("{}/{}", variation + 1, request.variations));
    let clip = generator.generate(request, variation, &mut |progress| {
        bar.set_length(u64::from(progress.steps));
        bar.set_position(u64::from(progress.step));
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    clip
}

/// The stages of a generation in words.
fn stages(timings: &Timings) -> String {
    let stages = [
        ("text", timings.text),
        ("denoise", timings.diffusion),
        ("decode", timings.codec),
        ("vocode", timings.vocoder),
        ("finish", timings.finish),
    ];
    let all: Duration = stages.iter().map(|(_, time)| *time).sum();
    let stages: Vec<String> =
        stages.iter().map(|(name, time)| format!("{name} {}", seconds(*time))).collect();
    format!("{}: {}", seconds(all), stages.join(", "))
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
