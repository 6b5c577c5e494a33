//! `cargo xtask train base`: the denoising transformer.

use super::examples::{Copies, Example, encode_once, valid};
use super::run::{CHECKPOINT, Metrics, Trainee, WEIGHTS, run as run_loop, save_weights};
use super::{Common, plots, source};
use crate::data::Cache;
use crate::text_encoder::Published;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use half::f16;
use soundlocd_engine::codec::Codec;
use soundlocd_engine::diffusion::transformer::{Config, Transformer};
use soundlocd_engine::diffusion::{
    Canvas, LossBatch, Noise, PosteriorKind, Sampler, SamplerConfig, Schedule, ScheduleConfig, TimeSampler,
    loss, q_sample,
};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::pack::{Pack, Part};
use soundlocd_engine::text::{Kind, TextEncoder};
use soundlocd_engine::train::{AdamW, AdamWConfig, Checkpoint, initialise};
use std::collections::{BTreeMap, HashMap};
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
/// A clip's chance grows with its length to this power.
const LENGTH_POWER: f64 = 0.6;

/// Examples of one width.
struct Bucket {
    columns: usize,
    members: Vec<usize>,
    weights: Vec<f64>,
}

struct Base<'a> {
    args: &'a Args,
    device: Device,
    codec: Codec,
    encoder: TextEncoder,
    features: HashMap<String, Vec<f16>>,
    examples: Vec<Example>,
    valid: Vec<Example>,
    buckets: Vec<Bucket>,
    bucket_weights: Vec<f64>,
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
    let examples = encode_once(&cache, (&codec, &codec_id), copies, args.common.seed, |n| bar.inc(n as u64))?;
    bar.finish_and_clear();
    let valid = valid(&cache, &codec)?;
    let encoder = text_encoder(&args, &device)?;
    let (buckets, bucket_weights) = buckets(&examples);
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
    let tokens: usize = examples.iter().map(|e| e.tokens.len()).sum();
    println!(
        "base of {} parameters, {} examples, {tokens} tokens, {} widths",
        optimizer.parameters(),
        examples.len(),
        buckets.len()
    );
    let times = TimeSampler::new(schedule.steps());
    let common = &args.common;
    let mut trainee = Base {
        args: &args,
        device,
        codec,
        encoder,
        features: HashMap::new(),
        examples,
        valid,
        buckets,
        bucket_weights,
        schedule_config,
        schedule,
        times,
        config,
        model,
        optimizer,
    };
    run_loop(common, RATE, 500, &mut trainee)
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

fn buckets(examples: &[Example]) -> (Vec<Bucket>, Vec<f64>) {
    let mut by_width: BTreeMap<usize, Bucket> = BTreeMap::new();
    for (i, example) in examples.iter().enumerate() {
        let bucket = by_width.entry(example.columns).or_insert_with(|| Bucket {
            columns: example.columns,
            members: Vec::new(),
            weights: Vec::new(),
        });
        bucket.members.push(i);
        bucket.weights.push(example.weight);
    }
    let buckets: Vec<Bucket> = by_width.into_values().collect();
    // A batch of a narrow bucket holds more clips: this keeps a clip's chance at weight * length^power.
    let chance = |b: &Bucket| b.weights.iter().sum::<f64>() * (b.columns as f64).powf(LENGTH_POWER);
    let weights = buckets.iter().map(chance).collect();
    (buckets, weights)
}

impl Base<'_> {
    /// Features and mask of captions, `[batch, n, width]` and `[batch, n]`, remembered from the first time on.
    fn text(&mut self, captions: &[&str]) -> Result<(Tensor, Tensor)> {
        let width = self.encoder.width();
        let mut missing: Vec<&str> =
            captions.iter().copied().filter(|c| !self.features.contains_key(*c)).collect();
        missing.sort_unstable();
        missing.dedup();
        for chunk in missing.chunks(64) {
            let encoded = self.encoder.encode_batch(chunk)?;
            let masks = encoded.mask.to_vec2::<f32>()?;
            for (i, (caption, mask)) in chunk.iter().zip(masks).enumerate() {
                let tokens = mask.iter().filter(|m| **m > 0.5).count();
                let values =
                    encoded.features.get(i)?.narrow(0, 0, tokens)?.flatten_all()?.to_vec1::<f32>()?;
                self.features.insert((*caption).to_owned(), values.into_iter().map(f16::from_f32).collect());
            }
        }
        let rows: Vec<&[f16]> =
            captions.iter().map(|c| self.features.get(*c).map_or(&[][..], Vec::as_slice)).collect();
        let longest = rows.iter().map(|r| r.len() / width).max().unwrap_or(1).max(1);
        let mut features = vec![0.0_f32; captions.len() * longest * width];
        let mut mask = vec![0.0_f32; captions.len() * longest];
        for (i, row) in rows.iter().enumerate() {
            let start = i * longest * width;
            for (target, value) in features[start..].iter_mut().zip(row.iter()) {
                *target = value.to_f32();
            }
            mask[i * longest..i * longest + row.len() / width].fill(1.0);
        }
        Ok((
            Tensor::from_vec(features, (captions.len(), longest, width), &self.device)?,
            Tensor::from_vec(mask, (captions.len(), longest), &self.device)?,
        ))
    }

    fn averaged(&self) -> Result<(BTreeMap<String, Tensor>, Transformer)> {
        let weights = self.optimizer.averaged();
        let vs = VarBuilder::from_tensors(weights.clone().into_iter().collect(), DType::F32, &self.device);
        Ok((weights, Transformer::new(&self.config, Precision::fastest(), vs)?))
    }

    fn header(&self) -> Result<String> {
        let transformer = serde_json::to_value(self.config)?;
        let schedule = serde_json::to_value(self.schedule_config)?;
        let text = serde_json::to_value(self.encoder.config())?;
        let header = serde_json::json!({ "transformer": transformer, "schedule": schedule, "text": text });
        Ok(header.to_string())
    }

    /// Mean cross-entropy of the valid clips' tokens under the captions `caption_of` picks, in nats a token.
    fn cross_entropy(&mut self, model: &Transformer, caption_of: impl Fn(usize) -> usize) -> Result<f64> {
        let mut order: Vec<usize> = (0..self.valid.len()).collect();
        order.sort_by_key(|&i| self.valid[i].columns);
        let (mut sum, mut count) = (0.0, 0_usize);
        let steps = self.schedule.steps();
        let mut start = 0;
        while start < order.len() {
            let columns = self.valid[order[start]].columns;
            let same =
                order[start..].iter().take_while(|&&i| self.valid[i].columns == columns).take(32).count();
            let members = order[start..start + same].to_vec();
            start += same;
            let captions: Vec<String> = members
                .iter()
                .map(|&i| self.valid[caption_of(i)].captions.first().cloned().unwrap_or_default())
                .collect();
            let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
            let (features, mask) = self.text(&captions)?;
            let condition = model.condition(&features, Some(&mask))?;
            let (mut x0, mut xt, mut t) = (Vec::new(), Vec::new(), Vec::new());
            for &i in &members {
                // The same noise at every validation.
                let mut noise = Noise::new(7, i as u64);
                let at = steps / 4 + noise.below(steps - steps / 4);
                xt.extend(q_sample(&self.valid[i].tokens, at, &self.schedule, &mut noise)?);
                x0.extend_from_slice(&self.valid[i].tokens);
                t.push(at);
            }
            let length = x0.len() / members.len();
            let ids = Tensor::from_slice(&xt, (members.len(), length), &self.device)?;
            let logits = model.forward(&ids, &t, &condition)?;
            let log_p = soundlocd_engine::layers::log_softmax(&logits)?;
            let targets = Tensor::from_slice(&x0, (members.len(), length, 1), &self.device)?;
            let picked = log_p.gather(&targets, 2)?.flatten_all()?.to_vec1::<f32>()?;
            for (p, x) in picked.iter().zip(&xt) {
                if *x == self.schedule.mask_id() {
                    sum -= f64::from(*p);
                    count += 1;
                }
            }
        }
        Ok(sum / count.max(1) as f64)
    }
}

impl Trainee for Base<'_> {
    fn step(&mut self, step: u64, rate: f64) -> Result<Metrics> {
        let started = std::time::Instant::now();
        let mut noise = Noise::new(self.args.common.seed, 1_000_000 + step);
        let bucket = noise.weighted(&self.bucket_weights).and_then(|i| self.buckets.get(i));
        let bucket = bucket.context("there is nothing to train on")?;
        let length = bucket.columns * self.config.rows;
        let batch = (self.args.tokens / length).max(1);
        let mut members = Vec::with_capacity(batch);
        for _ in 0..batch {
            members.push(noise.weighted(&bucket.weights).map_or(bucket.members[0], |i| bucket.members[i]));
        }
        let drawn = self.times.draw(batch, &mut noise);
        let (mut x0, mut xt, mut captions) = (Vec::new(), Vec::new(), Vec::new());
        for (&member, (t, _)) in members.iter().zip(&drawn) {
            let example = &self.examples[member];
            x0.extend_from_slice(&example.tokens);
            xt.extend(q_sample(&example.tokens, *t, &self.schedule, &mut noise)?);
            let caption =
                example.captions.get(noise.below(example.captions.len())).cloned().unwrap_or_default();
            captions.push(if noise.uniform() < DROP_CAPTION { String::new() } else { caption });
        }
        let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
        let (features, mask) = self.text(&captions)?;
        let condition = self.model.condition(&features, Some(&mask))?;
        let t: Vec<usize> = drawn.iter().map(|d| d.0).collect();
        let pt: Vec<f32> = drawn.iter().map(|d| d.1).collect();
        let ids = Tensor::from_slice(&xt, (batch, length), &self.device)?;
        let logits = self.model.forward(&ids, &t, &condition)?;
        let batch_data = LossBatch {
            x0: &x0,
            xt: &xt,
            t: &t,
            pt: &pt,
            valid: None,
            negatives: &[],
            contrast_weight: 0.0,
            auxiliary_weight: AUXILIARY,
            kind: PosteriorKind::Cdcd,
        };
        let result = loss(&logits, &batch_data, &self.schedule)?;
        for (t, kl) in t.iter().zip(&result.kl) {
            self.times.record(*t, kl / length as f64);
        }
        // A uniform draw has pt = 1/T: scaled so that it weighs 1.
        let total = (&result.loss / self.schedule.steps() as f64)?;
        let value = total.to_scalar::<f32>()?;
        let grads = total.backward()?;
        let stats = self.optimizer.step(&grads, rate)?;
        let tokens = (batch * length) as f64;
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
            let (features, mask) = self.text(&[&caption, ""])?;
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
        let text = serde_json::to_value(self.encoder.config())?;
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
