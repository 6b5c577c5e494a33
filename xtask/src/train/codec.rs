//! `cargo xtask train codec`.

use super::adversary::{Adversary, blend};
use super::batch::{Sampler, cut, random_start};
use super::run::{CHECKPOINT, Metrics, Trainee, WEIGHTS, run as run_loop};
use super::{Common, plots, source};
use crate::data::{Cache, Split};
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use soundlocd_engine::codec::codebook::CodebookTrainer;
use soundlocd_engine::codec::objective::{ReconstructionWeights, reconstruction};
use soundlocd_engine::codec::patch::{Config, PatchCodec, from_patches, to_patches};
use soundlocd_engine::diffusion::Noise;
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::pack::Part;
use soundlocd_engine::train::{AdamW, AdamWConfig, Checkpoint, initialise, scalar_with_gradient};
use soundlocd_engine::{FRAMES_PER_COLUMN, MEL_BANDS};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Arguments of `cargo xtask train codec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Clips of a batch.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Token columns of a cut (0.186 s each).
    #[arg(long, default_value_t = 8)]
    columns: usize,
    /// Codebook entries (K).
    #[arg(long, default_value_t = 1024)]
    codebook: usize,
    /// Start from these weights of the same sizes: a run's, or a pack folder's.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Train the decoder alone: tokens, and base models trained on them, stay valid.
    #[arg(long, requires = "from")]
    decoder_only: bool,
    /// Step from which a discriminator judges the output [default: after half of the steps].
    #[arg(long)]
    adversarial_from: Option<u64>,
    /// Size of its gradient, as a share of the reconstruction's; 0: no discriminator.
    #[arg(long, default_value_t = 0.3)]
    adversarial_share: f64,
}

/// Bins above this count as sounding (SPEC 1's scale, where 0.01 is 1 dB).
const AUDIBLE: f32 = 0.025;
/// Weight of the commitment term.
const COMMITMENT: f64 = 0.25;
/// Peak learning rate.
const RATE: f64 = 1e-3;
/// Steps that the discriminator learns before its opinion counts.
const JUDGE_AFTER: u64 = 50;

struct Codec<'a> {
    args: &'a Args,
    device: Device,
    cache: Cache,
    sampler: Sampler,
    config: Config,
    model: PatchCodec,
    codebook: Var,
    trainer: CodebookTrainer,
    optimizer: AdamW,
    adversary: Adversary,
}

/// Trains a codec.
pub fn run(args: Args) -> Result<()> {
    let device = args.common.device()?;
    let cache = Cache::open(&args.common.data)?;
    let sampler = Sampler::new(&cache, Split::Train, 0.6, 0.5, |_| true);
    let config = Config { codebook: args.codebook, ..Config::default() };
    let map = VarMap::new();
    let vs = VarBuilder::from_varmap(&map, DType::F32, &device);
    let model = PatchCodec::new(&config, Precision::fastest(), vs)?;
    initialise(&map, args.common.seed, |name, shape| match shape {
        _ if name.starts_with("quantize") => Some(1.0),
        // Small, so that a deep stack starts as a shallow one.
        [fan_in, _] if name.ends_with("fc2.weight") => Some(0.3 * (1.0 / *fan_in as f32).sqrt()),
        [fan_in, _] => Some((1.0 / *fan_in as f32).sqrt()),
        _ => None,
    })?;
    if let Some(path) = &args.from {
        source::start_from(path, Part::Codec, &map, &device)?;
    }
    let codebook = {
        let data = map.data().lock().map_err(|_| anyhow::anyhow!("the variables are poisoned"))?;
        data.get("quantize.embedding.weight").context("the codec has no codebook")?.clone()
    };
    let per_entry = (args.batch * args.columns * 5) as f32 / args.codebook as f32;
    let trainer = CodebookTrainer::new(&codebook, per_entry, 0.98)?;
    let settings = AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() };
    let optimizer = AdamW::new(&map, settings)?;
    println!("codec of {} parameters, {} clips", optimizer.parameters(), sampler.clips().len());
    let adversary = Adversary::new(args.common.seed, &device)?;
    let common = &args.common;
    let mut trainee =
        Codec { args: &args, device, cache, sampler, config, model, codebook, trainer, optimizer, adversary };
    run_loop(&common.plan(RATE, 250), &mut trainee).map(drop)
}

/// How much neighbouring frames of `picture` `[80, frames]` differ where `y` sounds, summed. Blurred spectrograms, which sound
/// dull, have less of it than real ones.
fn roughness(picture: &[f32], y: &[f32], frames: usize) -> f64 {
    let rows = picture.chunks_exact(frames).zip(y.chunks_exact(frames));
    let step = |(row, y): (&[f32], &[f32])| -> f64 {
        let pairs = row.windows(2).zip(y.windows(2));
        pairs
            .filter(|(_, y)| y.iter().all(|y| *y > AUDIBLE))
            .map(|(row, _)| f64::from((row[1] - row[0]).abs()))
            .sum()
    };
    rows.map(step).sum()
}

impl Codec<'_> {
    /// A batch of pictures x = 2y - 1, `[batch, 1, 80, 16 columns]`.
    fn batch(&self, noise: &mut Noise) -> Result<(Vec<f32>, Tensor)> {
        let columns = self.args.columns;
        let mut pictures = Vec::with_capacity(self.args.batch * MEL_BANDS * columns * FRAMES_PER_COLUMN);
        for _ in 0..self.args.batch {
            let index = self.sampler.draw(noise);
            let start = random_start(self.cache.clips[index].frames, columns, noise);
            let gain = (noise.uniform() - 0.5) * 0.16;
            pictures.extend(cut(&self.cache, index, start, columns, gain).iter().map(|y| 2.0 * y - 1.0));
        }
        let shape = (self.args.batch, 1, MEL_BANDS, columns * FRAMES_PER_COLUMN);
        let tensor = Tensor::from_slice(&pictures, shape, &self.device)?;
        Ok((pictures, tensor))
    }

    /// The model with averaged weights (the codebook is an average already).
    fn averaged(&self) -> Result<(BTreeMap<String, Tensor>, PatchCodec)> {
        let mut weights = self.optimizer.averaged();
        weights.insert("quantize.embedding.weight".to_owned(), self.codebook.as_detached_tensor());
        let map = weights.clone().into_iter().collect();
        let vs = VarBuilder::from_tensors(map, DType::F32, &self.device);
        Ok((weights, PatchCodec::new(&self.config, Precision::fastest(), vs)?))
    }
}

impl Trainee for Codec<'_> {
    fn step(&mut self, step: u64, rate: f64) -> Result<Metrics> {
        let mut noise = Noise::new(self.args.common.seed, 1_000_000 + step);
        let (pictures, x) = self.batch(&mut noise)?;
        let latents = self.model.latents(&to_patches(&x)?)?;
        let frozen = latents.detach();
        let ids = self.model.quantize(&frozen)?;
        let codes = self.codebook.as_detached_tensor().index_select(&ids.flatten_all()?, 0)?;
        let codes = codes.reshape(frozen.shape())?;
        let through = if self.args.decoder_only {
            codes.clone()
        } else {
            // Straight through: the decoder sees the codes, the encoder its gradient.
            (&latents + (&codes - &frozen)?)?
        };
        let output = from_patches(&self.model.decode_latents(&through)?)?;
        let values = output.flatten_all()?.to_vec1::<f32>()?;
        let size = (MEL_BANDS, self.args.columns * FRAMES_PER_COLUMN);
        let (value, mut gradient) =
            reconstruction(&pictures, &values, size, ReconstructionWeights::default());
        let mut metrics = Metrics::from([("reconstruction", f64::from(value)), ("rate", rate)]);
        let begins = self.args.adversarial_from.unwrap_or(self.args.common.steps / 2);
        if self.args.adversarial_share > 0.0 && step >= begins {
            metrics.insert("discriminator", self.adversary.learn(&x, &output, rate)?);
            // It must know something before it is listened to.
            if step >= begins + JUDGE_AFTER {
                let (believed, opinion) = self.adversary.judge(&output)?;
                metrics.insert("believed", believed);
                blend(&mut gradient, &opinion, self.args.adversarial_share);
            }
        }
        let gradient = Tensor::from_vec(gradient, output.shape(), &self.device)?;
        let mut loss = scalar_with_gradient(&output, value, &gradient)?;
        if !self.args.decoder_only {
            let commitment = (&latents - &codes)?.sqr()?.mean_all()?;
            metrics.insert("commitment", f64::from(commitment.to_scalar::<f32>()?));
            loss = (loss + (&commitment * COMMITMENT)?)?;
        }
        let grads = loss.backward()?;
        let stats = self.optimizer.step(&grads, rate)?;
        metrics.insert("grad_norm", stats.grad_norm);
        metrics.insert("skipped", f64::from(u8::from(!stats.applied)));
        if !self.args.decoder_only {
            let flat = frozen.flatten_all()?.to_vec1::<f32>()?;
            let ids = ids.flatten_all()?.to_vec1::<u32>()?;
            let (codebook, revived) = self.trainer.update(&flat, &ids, |n| noise.below(n), &self.device)?;
            self.codebook.set(&codebook)?;
            metrics.insert("revived", revived as f64);
            metrics.insert("perplexity", self.trainer.perplexity());
        }
        Ok(metrics)
    }

    fn validate(&mut self) -> Result<Metrics> {
        let (_, model) = self.averaged()?;
        let (mut error, mut active) = (0.0_f64, 0_u64);
        let mut steps = [0.0_f64; 2];
        for index in self.cache.indices(Split::Valid) {
            let columns = self.cache.clips[index].frames.div_ceil(FRAMES_PER_COLUMN).clamp(1, 53);
            let y = cut(&self.cache, index, 0, columns, 0.0);
            let shape = (1, 1, MEL_BANDS, columns * FRAMES_PER_COLUMN);
            let x = ((Tensor::from_slice(&y, shape, &self.device)? * 2.0)? - 1.0)?;
            let back = model.decode(&model.encode(&x)?)?.flatten_all()?.to_vec1::<f32>()?;
            let back: Vec<f32> = back.iter().map(|x| ((x + 1.0) / 2.0).clamp(0.0, 1.0)).collect();
            for (y, back) in y.iter().zip(&back) {
                if *y > AUDIBLE {
                    error += f64::from((y - back).abs()) * 100.0;
                    active += 1;
                }
            }
            for (sum, picture) in steps.iter_mut().zip([&y, &back]) {
                *sum += roughness(picture, &y, columns * FRAMES_PER_COLUMN);
            }
        }
        let [real, decoded] = steps;
        Ok(Metrics::from([("error_db", error / active.max(1) as f64), ("texture", decoded / real.max(1e-9))]))
    }

    fn pictures(&mut self, folder: &Path) -> Result<()> {
        let (_, model) = self.averaged()?;
        let clips: Vec<usize> = self.cache.indices(Split::Valid).into_iter().step_by(31).collect();
        let (mut original, mut decoded) = (Vec::new(), Vec::new());
        for index in clips {
            let columns = 5;
            let y = cut(&self.cache, index, 0, columns, 0.0);
            let shape = (1, 1, MEL_BANDS, columns * FRAMES_PER_COLUMN);
            let x = ((Tensor::from_slice(&y, shape, &self.device)? * 2.0)? - 1.0)?;
            let back = model.decode(&model.encode(&x)?)?.flatten_all()?.to_vec1::<f32>()?;
            original.push(y);
            decoded.push(back.iter().map(|x| (x + 1.0) / 2.0).collect());
        }
        plots::spectrograms(&[original, decoded], &folder.join("examples.png"))
    }

    fn save(&mut self, folder: &Path, step: u64, seconds: f64) -> Result<()> {
        let config = serde_json::to_string(&self.config)?;
        let checkpoint = Checkpoint { step, config: config.clone(), seconds };
        let extra = self.trainer.tensors()?;
        let optimizers = [("codec", &self.optimizer), ("discriminator", &self.adversary.optimizer)];
        checkpoint.save(&folder.join(CHECKPOINT), &optimizers, &extra)?;
        let (weights, _) = self.averaged()?;
        super::run::save_weights(&folder.join(WEIGHTS), weights, &config)
    }

    fn resume(&mut self, folder: &Path) -> Result<(u64, f64)> {
        let mut optimizers =
            [("codec", &mut self.optimizer), ("discriminator", &mut self.adversary.optimizer)];
        let (checkpoint, extra) = Checkpoint::load(&folder.join(CHECKPOINT), &mut optimizers, &self.device)?;
        self.trainer.restore(&extra)?;
        Ok((checkpoint.step, checkpoint.seconds))
    }
}
