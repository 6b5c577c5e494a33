//! `cargo xtask train base`: the denoising transformer.

use super::captions::Captions;
use super::examples::{Copies, Example, Recipe, as_they_are, encode_once};
use super::grids::{self, Draw, Grids};
use super::run::{CHECKPOINT, Metrics, Trainee, WEIGHTS, run as run_loop, save_weights};
use super::{Common, plots, source};
use crate::data::{Cache, Split};
use crate::text_encoder::Published;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use soundlocd_engine::MAX_COLUMNS;
use soundlocd_engine::codec::Codec;
use soundlocd_engine::diffusion::transformer::{Config, Transformer};
use soundlocd_engine::diffusion::{
    Canvas, LossBatch, Noise, PosteriorKind, Sampler, SamplerConfig, Schedule, ScheduleConfig, TimeSampler,
    loss,
};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::pack::{Pack, Part};
use soundlocd_engine::text::{Kind, TextEncoder};
use soundlocd_engine::train::{AdamW, AdamWConfig, Checkpoint, initialise};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Arguments of `cargo xtask train base`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Codec: weights that `train codec` wrote, or a pack folder [default: the built-in pack's].
    #[arg(long)]
    codec: Option<PathBuf>,
    /// Start from these weights of the same sizes: a run's, or a pack folder's.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Text encoder: minilm, clip, t5 or clap [default: what --text-weights holds, or the built-in pack's minilm].
    #[arg(long, value_name = "KIND")]
    text_encoder: Option<Kind>,
    /// Folder of a published text encoder (config.json, model.safetensors, tokenizer.json).
    #[arg(long, value_name = "FOLDER")]
    text_weights: Option<PathBuf>,
    /// Tokens of a batch.
    #[arg(long, default_value_t = 3000)]
    tokens: usize,
    /// Blocks of the transformer.
    #[arg(long, default_value_t = 8)]
    layers: usize,
    /// Width of the transformer.
    #[arg(long, default_value_t = 384)]
    width: usize,
    /// A category to keep from the model, for adapters to be measured on.
    #[arg(long, value_name = "CATEGORY")]
    hold_out: Option<String>,
    /// Shifted and scaled copies of each clip.
    #[arg(long, default_value_t = 2)]
    copies: usize,
    /// Composed examples ("A while B", "A, then B"), as a share of the clips.
    #[arg(long, default_value_t = 0.5)]
    composed: f64,
}

/// Peak learning rate.
const RATE: f64 = 6e-4;
/// Clips in the example picture, how much of each is shown, and the guidance they are made with.
const EXAMPLES: usize = 12;
const EXAMPLE_FRAMES: usize = 128;
const GUIDANCE: f32 = 3.0;
/// How often a caption is dropped, so that guidance has something to compare with.
const DROP_CAPTION: f32 = 0.1;
/// Factor of the auxiliary term: at 5e-4 (the reference's) it is a tenth of the bound, and a model this
/// small learns faster from plain cross-entropy.
const AUXILIARY: f64 = 0.01;
struct Base<'a> {
    args: &'a Args,
    device: Device,
    codec: Codec,
    captions: Captions,
    grids: Grids,
    valid: Vec<Example>,
    schedule_config: ScheduleConfig,
    schedule: Schedule,
    times: TimeSampler,
    config: Config,
    model: Transformer,
    optimizer: AdamW,
}

/// Trains a base model.
pub fn run(args: Args) -> Result<()> {
    let device = args.common.device()?;
    let cache = Cache::open(&args.common.data)?;
    let (codec, codec_id) = source::codec(args.codec.as_deref(), &device)?;
    let bar = indicatif::ProgressBar::no_length().with_message("encoding clips");
    let copies = Copies { shifted: args.copies, composed: args.composed };
    let held_out = args.hold_out.as_deref();
    let is_known = |category| cache.clips.iter().any(|clip| clip.category == category);
    ensure!(
        held_out.is_none_or(is_known),
        "--hold-out: the data has no category {}",
        held_out.unwrap_or_default()
    );
    let recipe = Recipe::base(&cache, held_out, copies, MAX_COLUMNS, args.common.seed);
    let examples = encode_once(&cache, (&codec, &codec_id), &recipe, |n| bar.inc(n as u64))?;
    bar.finish_and_clear();
    let mut valid = cache.indices(Split::Valid);
    valid.retain(|&clip| held_out != Some(cache.clips[clip].category.as_str()));
    let valid = as_they_are(&cache, &codec, &valid, MAX_COLUMNS)?;
    let encoder = text_encoder(&args, &device)?;
    let grids = Grids::new(examples);
    let codebook = codec.codebook().dim(0)?;
    let config = Config {
        layers: args.layers,
        width: args.width,
        heads: (args.width / 64).max(1),
        rows: codec.rows(),
        ..Config::small(codebook, encoder.width())
    };
    // The sampler starts from all masks: end the noising close to that.
    let schedule_config = ScheduleConfig { mask: (0.000_009, 0.95), ..ScheduleConfig::default() };
    let schedule = Schedule::new(codebook, &schedule_config)?;
    let map = VarMap::new();
    let vs = VarBuilder::from_varmap(&map, DType::F32, &device);
    let model = Transformer::new(&config, Precision::fastest(), vs)?;
    initialise(&map, args.common.seed, |_, shape| (shape.len() > 1).then_some(0.02))?;
    if let Some(path) = &args.from {
        source::start_from(path, Part::Transformer, &map, &device)?;
    }
    let optimizer = AdamW::new(&map, AdamWConfig::default())?;
    let tokens: usize = grids.examples().iter().map(|e| e.tokens.len()).sum();
    println!(
        "base of {} parameters, {} examples, {tokens} tokens, {} widths",
        optimizer.parameters(),
        grids.examples().len(),
        grids.widths()
    );
    let times = TimeSampler::new(schedule.steps());
    let common = &args.common;
    let captions = Captions::new(encoder, config.mask_padding, &device);
    let mut trainee = Base {
        args: &args,
        device,
        codec,
        captions,
        grids,
        valid,
        schedule_config,
        schedule,
        times,
        config,
        model,
        optimizer,
    };
    run_loop(&common.plan(RATE, 500), &mut trainee).map(drop)
}

/// The frozen text encoder that the arguments name.
fn text_encoder(args: &Args, device: &Device) -> Result<TextEncoder> {
    match (&args.text_weights, args.text_encoder) {
        (Some(folder), kind) => Published::open(folder, kind, None)?.encoder(device),
        (None, None | Some(Kind::Minilm)) => Ok(Pack::embedded()?.text_encoder(device)?),
        (None, Some(kind)) => {
            bail!("--text-encoder {kind} needs its weights: name their folder by --text-weights")
        }
    }
}

impl Base<'_> {
    fn averaged(&self) -> Result<(BTreeMap<String, Tensor>, Transformer)> {
        let weights = self.optimizer.averaged();
        let vs = VarBuilder::from_tensors(weights.clone().into_iter().collect(), DType::F32, &self.device);
        Ok((weights, Transformer::new(&self.config, Precision::fastest(), vs)?))
    }

    fn header(&self) -> Result<String> {
        let transformer = serde_json::to_value(self.config)?;
        let schedule = serde_json::to_value(self.schedule_config)?;
        let text = serde_json::to_value(self.captions.encoder().config())?;
        let header = serde_json::json!({ "transformer": transformer, "schedule": schedule, "text": text });
        Ok(header.to_string())
    }

    /// On the valid clips: see [`grids::cross_entropy`].
    fn cross_entropy(&mut self, model: &Transformer, caption_of: impl Fn(usize) -> usize) -> Result<f64> {
        let context = (&mut self.captions, &self.schedule, &self.device);
        grids::cross_entropy(model, &self.valid, context, 1, caption_of)
    }
}

impl Trainee for Base<'_> {
    fn step(&mut self, step: u64, rate: f64) -> Result<Metrics> {
        let started = std::time::Instant::now();
        let mut noise = Noise::new(self.args.common.seed, 1_000_000 + step);
        let draw = Draw { tokens: self.args.tokens, drop_caption: DROP_CAPTION };
        let batch = self.grids.draw(draw, &self.times, &self.schedule, &mut noise)?;
        let captions: Vec<&str> = batch.captions.iter().map(String::as_str).collect();
        let (features, mask) = self.captions.features(&captions)?;
        let condition = self.model.condition(&features, Some(&mask))?;
        let ids = Tensor::from_slice(&batch.xt, (batch.t.len(), batch.length), &self.device)?;
        let logits = self.model.forward(&ids, &batch.t, &condition)?;
        let batch_data = LossBatch {
            x0: &batch.x0,
            xt: &batch.xt,
            t: &batch.t,
            pt: &batch.pt,
            valid: None,
            negatives: &[],
            contrast_weight: 0.0,
            auxiliary_weight: AUXILIARY,
            kind: PosteriorKind::Cdcd,
        };
        let result = loss(&logits, &batch_data, &self.schedule)?;
        for (t, kl) in batch.t.iter().zip(&result.kl) {
            self.times.record(*t, kl / batch.length as f64);
        }
        // A uniform draw has pt = 1/T: scaled so that it weighs 1.
        let total = (&result.loss / self.schedule.steps() as f64)?;
        let value = total.to_scalar::<f32>()?;
        let grads = total.backward()?;
        let stats = self.optimizer.step(&grads, rate)?;
        let tokens = batch.x0.len() as f64;
        Ok(Metrics::from([
            ("loss", f64::from(value)),
            ("bound", result.kl.iter().sum::<f64>() / tokens),
            ("cross_entropy", result.auxiliary.iter().sum::<f64>() / tokens),
            ("grad_norm", stats.grad_norm),
            ("skipped", f64::from(u8::from(!stats.applied))),
            ("tokens_per_second", tokens / started.elapsed().as_secs_f64()),
            ("rate", rate),
        ]))
    }

    fn validate(&mut self) -> Result<Metrics> {
        let (_, model) = self.averaged()?;
        let count = self.valid.len().max(1);
        let own = self.cross_entropy(&model, |i| i)?;
        let other = self.cross_entropy(&model, |i| (i + 101) % count)?;
        Ok(Metrics::from([("cross_entropy", own), ("other_caption", other)]))
    }

    /// Real valid clips above what the model makes of their captions.
    fn pictures(&mut self, folder: &Path) -> Result<()> {
        let (_, model) = self.averaged()?;
        let picture = |model: &Self, tokens: &[u32]| -> Result<Vec<f32>> {
            let ids = Tensor::from_slice(tokens, (1, tokens.len()), &model.device)?;
            let y = model.codec.decode(&ids)?;
            let frames = y.dim(2)?.min(EXAMPLE_FRAMES);
            Ok(y.narrow(2, 0, frames)?.flatten_all()?.to_vec1::<f32>()?)
        };
        let (mut real, mut made) = (Vec::new(), Vec::new());
        for index in (0..self.valid.len()).step_by(self.valid.len().div_ceil(EXAMPLES).max(1)) {
            let tokens = self.valid[index].tokens.clone();
            let caption = self.valid[index].captions.first().cloned().unwrap_or_default();
            let (features, mask) = self.captions.features(&[&caption, ""])?;
            let condition = model.condition(&features, Some(&mask))?;
            let config = SamplerConfig { guidance: GUIDANCE, ..SamplerConfig::default() };
            let canvas = Canvas::blank(1, tokens.len());
            let mut sampler = Sampler::new(&self.schedule, config, canvas, 1, &[index as u64])?;
            while !sampler.is_done() {
                sampler.step(&model.bind(&condition))?;
            }
            real.push(picture(self, &tokens)?);
            made.push(picture(self, sampler.tokens())?);
        }
        plots::spectrograms(&[real, made], &folder.join("examples.png"))
    }

    fn save(&mut self, folder: &Path, step: u64, seconds: f64) -> Result<()> {
        let config = self.header()?;
        let checkpoint = Checkpoint { step, config: config.clone(), seconds };
        let times = serde_json::to_vec(&self.times)?;
        let n = times.len();
        let extra = BTreeMap::from([("times".to_owned(), Tensor::from_vec(times, n, &Device::Cpu)?)]);
        checkpoint.save(&folder.join(CHECKPOINT), &[("transformer", &self.optimizer)], &extra)?;
        save_weights(&folder.join(WEIGHTS), self.averaged()?.0, &config)
    }

    fn resume(&mut self, folder: &Path) -> Result<(u64, f64)> {
        let mut optimizers = [("transformer", &mut self.optimizer)];
        let (checkpoint, extra) = Checkpoint::load(&folder.join(CHECKPOINT), &mut optimizers, &self.device)?;
        // Features of another encoder may have the same width and mean nothing to this transformer.
        let header: serde_json::Value = serde_json::from_str(&checkpoint.config)?;
        let text = serde_json::to_value(self.captions.encoder().config())?;
        ensure!(
            header.get("text").is_none_or(|before| *before == text),
            "the run in {} was started with another text encoder",
            folder.display()
        );
        let times = extra.get("times").context("the checkpoint has no timestep statistics")?;
        self.times = serde_json::from_slice(&times.to_vec1::<u8>()?)?;
        Ok((checkpoint.step, checkpoint.seconds))
    }
}
