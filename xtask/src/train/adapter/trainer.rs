//! The training of an adapter (or, to compare with, of a whole base): its steps, what it is worth on recordings that it
//! has not heard, and where it goes on after an interruption.

use super::learner::{Learner, Method};
use super::listening::Listening;
use super::{Material, Settings};
use crate::train::grids::{Draw, cross_entropy};
use crate::train::run::{CHECKPOINT, Metrics, Trainee};
use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use soundlocd_engine::diffusion::transformer::Transformer;
use soundlocd_engine::diffusion::{LossBatch, Noise, TimeSampler, loss, negatives};
use soundlocd_engine::pack::Pack;
use soundlocd_engine::train::{AdamW, AdamWConfig, Checkpoint};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Grids that a validation measures at least, the same clip under several noises where there are few.
const VALID_GRIDS: usize = 96;

/// The best state so far, by the valid split.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Best {
    /// Cross-entropy in nats a token.
    cross_entropy: f64,
    /// Step that it was reached at.
    step: u64,
    /// Validations since.
    waited: u32,
}

/// See the [module](self).
pub struct Trainer<'a> {
    settings: Settings,
    material: &'a mut Material,
    learner: Learner,
    optimizer: AdamW,
    times: TimeSampler,
    best: Option<Best>,
    /// Values of the variables at the best state.
    kept: BTreeMap<String, Tensor>,
    step: u64,
    /// Cross-entropy of the base on the valid split.
    baseline: Option<f64>,
    listening: Option<Listening>,
}

impl<'a> Trainer<'a> {
    /// At step 0. With `listening`, each validation also writes what the prompts sound like.
    pub fn new(
        pack: &Pack,
        method: Method,
        settings: &Settings,
        material: &'a mut Material,
        listening: Option<Listening>,
    ) -> Result<Self> {
        settings.validate()?;
        let learner = Learner::new(pack, method, settings, &material.device)?;
        // SPEC 6, but for the averaging: its 0.99 every 25 steps is for runs of 100,000.
        let config = AdamWConfig { decay_vectors: true, ema: 0.99, ..AdamWConfig::default() };
        let optimizer = AdamW::new(learner.variables(), config)?;
        let times = TimeSampler::new(material.schedule.steps());
        let settings = settings.clone();
        let mut trainer = Self {
            settings,
            material,
            learner,
            optimizer,
            times,
            best: None,
            kept: BTreeMap::new(),
            step: 0,
            baseline: None,
            listening,
        };
        if !trainer.material.valid.is_empty() {
            let base = pack.transformer(&trainer.material.device)?;
            trainer.baseline = Some(trainer.cross_entropy(&base)?);
        }
        Ok(trainer)
    }

    /// Trainable numbers.
    pub fn parameters(&self) -> usize {
        self.optimizer.parameters()
    }

    /// What is trained.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// The result: the averaged values that were best on the valid split, or the last ones where there is none.
    pub fn result(&self) -> BTreeMap<String, Tensor> {
        if self.kept.is_empty() { self.optimizer.averaged() } else { self.kept.clone() }
    }

    /// Cross-entropy of the result on the valid split in nats a token and the step that it was reached at, if there is
    /// a valid split.
    pub fn standing(&self) -> Option<(f64, u64)> {
        self.best.as_ref().map(|best| (best.cross_entropy, best.step))
    }

    /// The same of the base.
    pub fn baseline(&self) -> Option<f64> {
        self.baseline
    }

    /// On the valid split, in nats a token.
    fn cross_entropy(&mut self, model: &Transformer) -> Result<f64> {
        let Material { captions, schedule, device, valid, .. } = &mut *self.material;
        let repeats = VALID_GRIDS.div_ceil(valid.len().max(1));
        cross_entropy(model, valid, (captions, schedule, device), repeats, |i| i)
    }

    /// Forward and backward pass of one batch; its share of the step's gradient and what it measured.
    fn batch(&mut self, model: &Transformer, noise: &mut Noise) -> Result<(GradStore, Metrics)> {
        let settings = &self.settings;
        let Material { captions, schedule, grids, device, .. } = &mut *self.material;
        let draw = Draw { tokens: settings.tokens, drop_caption: settings.drop_caption };
        let batch = grids.draw(draw, &self.times, schedule, noise)?;
        let texts: Vec<&str> = batch.captions.iter().map(String::as_str).collect();
        let (features, mask) = captions.features(&texts)?;
        let condition = model.condition(&features, Some(&mask))?;
        let ids = Tensor::from_slice(&batch.xt, (batch.t.len(), batch.length), device)?;
        let logits = model.forward(&ids, &batch.t, &condition)?;
        let count = if settings.contrastive > 0.0 { settings.negatives } else { 0 };
        let negatives = negatives(&batch.x0, batch.length, count, noise);
        let of = LossBatch {
            x0: &batch.x0,
            xt: &batch.xt,
            t: &batch.t,
            pt: &batch.pt,
            valid: None,
            negatives: &negatives,
            contrast_weight: settings.contrastive,
            auxiliary_weight: settings.auxiliary,
            kind: settings.posterior_kind()?,
        };
        let result = loss(&logits, &of, schedule)?;
        for (t, kl) in batch.t.iter().zip(&result.kl) {
            self.times.record(*t, kl / batch.length as f64);
        }
        // A uniform draw has pt = 1/T: scaled so that it weighs 1.
        let total = (&result.loss / (schedule.steps() * settings.accumulate) as f64)?;
        let value = f64::from(total.to_scalar::<f32>()?) * settings.accumulate as f64;
        let tokens = batch.x0.len() as f64;
        let metrics = Metrics::from([
            ("loss", value),
            ("bound", result.kl.iter().sum::<f64>() / tokens),
            ("cross_entropy", result.auxiliary.iter().sum::<f64>() / tokens),
            ("tokens", tokens),
        ]);
        Ok((total.backward()?, metrics))
    }

    fn progress(&self) -> Progress {
        Progress { settings: self.settings.clone(), best: self.best.clone(), times: self.times.clone() }
    }
}

/// What a checkpoint knows besides tensors.
#[derive(Serialize, Deserialize)]
struct Progress {
    settings: Settings,
    best: Option<Best>,
    times: TimeSampler,
}

impl Trainee for Trainer<'_> {
    fn step(&mut self, step: u64, rate: f64) -> Result<Metrics> {
        let started = Instant::now();
        // All draws of a step follow from its number: whoever goes on after an interruption draws the same.
        let mut noise = Noise::new(self.settings.seed, 2_000_000 + step);
        let model = self.learner.in_training(step)?;
        let (mut gradients, mut metrics) = self.batch(&model, &mut noise)?;
        for _ in 1..self.settings.accumulate {
            let (more, values) = self.batch(&model, &mut noise)?;
            add(&mut gradients, &more, &self.learner)?;
            for (name, value) in values {
                *metrics.entry(name).or_default() += value;
            }
        }
        let tokens = metrics.remove("tokens").unwrap_or_default();
        metrics.values_mut().for_each(|value| *value /= self.settings.accumulate as f64);
        let stats = self.optimizer.step(&gradients, rate)?;
        self.step = step + 1;
        metrics.extend([
            ("grad_norm", stats.grad_norm),
            ("skipped", f64::from(u8::from(!stats.applied))),
            ("tokens_per_second", tokens / started.elapsed().as_secs_f64()),
            ("rate", rate),
        ]);
        Ok(metrics)
    }

    fn validate(&mut self) -> Result<Metrics> {
        if self.material.valid.is_empty() {
            return Ok(Metrics::new());
        }
        let values = self.optimizer.averaged();
        let model = self.learner.finished(&values)?;
        let found = self.cross_entropy(&model)?;
        match &mut self.best {
            Some(best) if found >= best.cross_entropy => best.waited += 1,
            _ => {
                self.best = Some(Best { cross_entropy: found, step: self.step, waited: 0 });
                // The optimizer goes on writing into its own.
                self.kept = values.into_iter().map(|(n, t)| Ok((n, t.copy()?))).collect::<Result<_>>()?;
            }
        }
        let best = self.best.as_ref().map_or(found, |best| best.cross_entropy);
        let base = self.baseline.unwrap_or(f64::NAN);
        Ok(Metrics::from([("cross_entropy", found), ("best", best), ("base", base)]))
    }

    fn pictures(&mut self, folder: &Path) -> Result<()> {
        let Some(listening) = &mut self.listening else { return Ok(()) };
        let model = self.learner.finished(&self.optimizer.averaged())?;
        listening.write(&model, self.material, folder, self.step)
    }

    fn is_done(&self) -> bool {
        let patience = self.settings.patience;
        patience > 0 && self.best.as_ref().is_some_and(|best| best.waited >= patience)
    }

    fn save(&mut self, folder: &Path, step: u64, seconds: f64) -> Result<()> {
        let config = serde_json::to_string(&self.progress())?;
        let checkpoint = Checkpoint { step, config, seconds };
        checkpoint.save(&folder.join(CHECKPOINT), &[("adapter", &self.optimizer)], &self.kept)?;
        Ok(())
    }

    fn resume(&mut self, folder: &Path) -> Result<(u64, f64)> {
        let mut optimizers = [("adapter", &mut self.optimizer)];
        let path = folder.join(CHECKPOINT);
        let (checkpoint, kept) = Checkpoint::load(&path, &mut optimizers, &Device::Cpu)?;
        let progress: Progress = serde_json::from_str(&checkpoint.config)
            .with_context(|| format!("{} is of another kind of run", path.display()))?;
        let (old, new) = (serde_json::to_value(&progress.settings)?, serde_json::to_value(&self.settings)?);
        for (name, value) in new.as_object().into_iter().flatten() {
            let before = &old[name];
            ensure!(
                before == value,
                "the run in {} was started with {name} {before}, not {value}: remove the folder to start anew",
                folder.display()
            );
        }
        self.best = progress.best;
        self.times = progress.times;
        self.kept = kept.into_iter().collect();
        self.step = checkpoint.step;
        Ok((checkpoint.step, checkpoint.seconds))
    }
}

/// Adds the gradients of the variables.
fn add(sum: &mut GradStore, more: &GradStore, learner: &Learner) -> Result<()> {
    let data =
        learner.variables().data().lock().map_err(|_| anyhow::anyhow!("the variables are poisoned"))?;
    for var in data.values() {
        let total = match (sum.get(var), more.get(var)) {
            (Some(a), Some(b)) => (a + b)?,
            (None, Some(b)) => b.clone(),
            _ => continue,
        };
        sum.insert(var, total);
    }
    Ok(())
}
