//! `cargo xtask train vocoder`.

use super::batch::{Sampler, cut};
use super::run::{CHECKPOINT, Metrics, Trainee, WEIGHTS, run as run_loop, save_weights};
use super::{Common, plots};
use crate::data::{Cache, Sound, Split};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use soundlocd_engine::codec::mel::MelFrontEnd;
use soundlocd_engine::diffusion::Noise;
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::train::{AdamW, AdamWConfig, Checkpoint, initialise, scalar_with_gradient};
use soundlocd_engine::vocoder::objective::{SpectralLoss, SpectralWeights};
use soundlocd_engine::vocoder::vocos::{Config, Vocos};
use soundlocd_engine::{FRAMES_PER_COLUMN, HOP, MEL_BANDS};
use std::collections::BTreeMap;
use std::path::Path;

/// Arguments of `cargo xtask train vocoder`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Cuts of a batch.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Token columns of a cut (0.186 s each).
    #[arg(long, default_value_t = 3)]
    columns: usize,
}

/// Peak learning rate.
const RATE: f64 = 1e-3;

struct Vocoder<'a> {
    args: &'a Args,
    device: Device,
    cache: Cache,
    sound: Sound,
    sampler: Sampler,
    config: Config,
    model: Vocos,
    loss: SpectralLoss,
    optimizer: AdamW,
}

/// Trains a vocoder.
pub fn run(args: Args) -> Result<()> {
    let device = args.common.device()?;
    let cache = Cache::open(&args.common.data)?;
    let sound = cache.load_sound()?;
    let sampler = Sampler::new(&cache, Split::Train, 0.6, 0.5, |_| true);
    let config = Config::default();
    let map = VarMap::new();
    let model =
        Vocos::new(&config, Precision::fastest(), VarBuilder::from_varmap(&map, DType::F32, &device))?;
    initialise(&map, args.common.seed, |name, shape| match shape {
        [fan_in, _] if name.ends_with("fc2.weight") => Some(0.3 * (1.0 / *fan_in as f32).sqrt()),
        [fan_in, _] => Some((1.0 / *fan_in as f32).sqrt()),
        _ => None,
    })?;
    let settings = AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() };
    let optimizer = AdamW::new(&map, settings)?;
    println!("vocoder of {} parameters, {} clips", optimizer.parameters(), sampler.clips().len());
    let loss = SpectralLoss::new(SpectralWeights::default());
    let common = &args.common;
    let mut trainee = Vocoder { args: &args, device, cache, sound, sampler, config, model, loss, optimizer };
    run_loop(&common.plan(RATE, 250), &mut trainee).map(drop)
}

impl Vocoder<'_> {
    /// Spectrograms `[batch, 80, 16 columns]` and the sound under them, `[batch, 4096 columns]` flat.
    fn batch(&self, noise: &mut Noise) -> Result<(Tensor, Vec<f32>)> {
        let frames = self.args.columns * FRAMES_PER_COLUMN;
        let (mut mels, mut waves) = (Vec::new(), Vec::new());
        for _ in 0..self.args.batch {
            let index = self.sampler.draw(noise);
            let clip = &self.cache.clips[index];
            let start = noise.below(clip.frames.saturating_sub(frames) + 1);
            // A louder or softer copy of the sound: its spectrogram moves by 0.2 log10 of the factor.
            let gain = 10.0_f32.powf((noise.uniform() - 0.7) * 0.8);
            let sound = self.sound.clip(clip);
            let first = start * HOP;
            waves.extend(
                (0..frames * HOP)
                    .map(|n| sound.get(first + n).map_or(0.0, |s| f32::from(*s) / 32_768.0 * gain)),
            );
            mels.extend(cut(&self.cache, index, start, self.args.columns, 0.2 * gain.log10()));
        }
        let mels = Tensor::from_vec(mels, (self.args.batch, MEL_BANDS, frames), &self.device)?;
        Ok((mels, waves))
    }

    fn averaged(&self) -> Result<(BTreeMap<String, Tensor>, Vocos)> {
        let weights = self.optimizer.averaged();
        let vs = VarBuilder::from_tensors(weights.clone().into_iter().collect(), DType::F32, &self.device);
        Ok((weights, Vocos::new(&self.config, Precision::fastest(), vs)?))
    }

    /// The true spectrogram of a clip (at most `columns`) and that of the vocoded one, `[80, frames]` each.
    fn round_trip(
        &self,
        model: &Vocos,
        mel: &MelFrontEnd,
        index: usize,
        columns: usize,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let columns = self.cache.clips[index].frames.div_ceil(FRAMES_PER_COLUMN).clamp(1, columns);
        let frames = columns * FRAMES_PER_COLUMN;
        let y = cut(&self.cache, index, 0, columns, 0.0);
        let wave = model.forward(&Tensor::from_slice(&y, (1, MEL_BANDS, frames), &self.device)?)?;
        let back = mel.log_mel_bands(&wave.flatten_all()?.to_vec1::<f32>()?);
        // One more frame comes back than went in.
        let back = back.chunks_exact(frames + 1).flat_map(|band| band[..frames].to_vec()).collect();
        Ok((y, back))
    }
}

impl Trainee for Vocoder<'_> {
    fn step(&mut self, step: u64, rate: f64) -> Result<Metrics> {
        let mut noise = Noise::new(self.args.common.seed, 1_000_000 + step);
        let (mels, target) = self.batch(&mut noise)?;
        let output = self.model.forward(&mels)?;
        let values = output.flatten_all()?.to_vec1::<f32>()?;
        let samples = self.args.columns * FRAMES_PER_COLUMN * HOP;
        let (value, terms, gradient) = self.loss.evaluate(&target, &values, samples);
        let gradient = Tensor::from_vec(gradient, output.shape(), &self.device)?;
        let grads = scalar_with_gradient(&output, value, &gradient)?.backward()?;
        let stats = self.optimizer.step(&grads, rate)?;
        Ok(Metrics::from([
            ("loss", f64::from(value)),
            ("log_magnitude", terms.log_magnitude),
            ("magnitude", terms.magnitude),
            ("mel_db", terms.mel * 100.0),
            ("grad_norm", stats.grad_norm),
            ("skipped", f64::from(u8::from(!stats.applied))),
            ("rate", rate),
        ]))
    }

    fn validate(&mut self) -> Result<Metrics> {
        let (_, model) = self.averaged()?;
        let front_end = MelFrontEnd::new();
        let (mut error, mut active) = (0.0_f64, 0_u64);
        for index in self.cache.indices(Split::Valid) {
            let (y, back) = self.round_trip(&model, &front_end, index, 53)?;
            for (y, x) in y.iter().zip(back) {
                if *y > 0.025 {
                    error += f64::from((y - x).abs()) * 100.0;
                    active += 1;
                }
            }
        }
        Ok(Metrics::from([("error_db", error / active.max(1) as f64)]))
    }

    fn pictures(&mut self, folder: &Path) -> Result<()> {
        let (_, model) = self.averaged()?;
        let front_end = MelFrontEnd::new();
        let (mut originals, mut vocoded) = (Vec::new(), Vec::new());
        for index in self.cache.indices(Split::Valid).into_iter().step_by(31) {
            let (y, back) = self.round_trip(&model, &front_end, index, 5)?;
            originals.push(y);
            vocoded.push(back);
        }
        plots::spectrograms(&[originals, vocoded], &folder.join("examples.png"))
    }

    fn save(&mut self, folder: &Path, step: u64, seconds: f64) -> Result<()> {
        let config = serde_json::to_string(&self.config)?;
        let checkpoint = Checkpoint { step, config: config.clone(), seconds };
        checkpoint.save(&folder.join(CHECKPOINT), &[("vocoder", &self.optimizer)], &BTreeMap::new())?;
        save_weights(&folder.join(WEIGHTS), self.averaged()?.0, &config)
    }

    fn resume(&mut self, folder: &Path) -> Result<(u64, f64)> {
        let mut optimizers = [("vocoder", &mut self.optimizer)];
        let (checkpoint, _) = Checkpoint::load(&folder.join(CHECKPOINT), &mut optimizers, &self.device)?;
        Ok((checkpoint.step, checkpoint.seconds))
    }
}
