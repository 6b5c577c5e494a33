//! Generating a token grid, one denoising step at a time.
//!
//! [`Sampler`] owns the state between steps, so that the caller can report progress, show a preview
//! or stop. Every draw depends on (seed, variation, step, position, class) alone: the result is the
//! same for any number of threads and whatever else shares the batch.

mod ancestral;
mod canvas;
mod config;
mod draw;
mod purity;

pub use canvas::Canvas;
pub use config::{Method, SamplerConfig};

use super::{Denoiser, DiffusionError, Schedule};
use ancestral::Reverse;
use candle_core::{Device, Tensor};
pub(super) use draw::race;
use draw::{Logits, NoiseSource, SeededNoise};
use purity::Unmasking;

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepInfo {
    /// Steps done, from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Cells of the whole batch that are still masked.
    pub masked: usize,
}

/// The steps of a method.
#[derive(Debug)]
enum Plan {
    Ancestral(Vec<Reverse>),
    Purity(Unmasking),
}

/// A batch of token grids being denoised.
#[derive(Debug)]
pub struct Sampler {
    schedule: Schedule,
    config: SamplerConfig,
    length: usize,
    plan: Plan,
    done: usize,
    /// `[batch, length]`, with `[MASK]`.
    tokens: Vec<u32>,
    /// The network's most likely clean tokens at the last step, `[batch, length]`.
    predicted: Vec<u32>,
    fixed: Vec<bool>,
    noise: Box<dyn NoiseSource>,
}

impl Sampler {
    /// Starts from `canvas`; sample `n` of its batch draws the noise of variation `variations[n]` of
    /// `seed`.
    ///
    /// # Errors
    /// When the canvas does not fit the schedule or the number of variations, or a setting is out of
    /// its range.
    pub fn new(
        schedule: &Schedule,
        config: SamplerConfig,
        canvas: Canvas,
        seed: u64,
        variations: &[u64],
    ) -> Result<Self, DiffusionError> {
        DiffusionError::check_length("variations", canvas.batch(), variations.len())?;
        Self::with_noise(schedule, config, canvas, Box::new(SeededNoise::new(seed, variations)))
    }

    /// The same with the draws from elsewhere (the reference's, for parity).
    fn with_noise(
        schedule: &Schedule,
        config: SamplerConfig,
        canvas: Canvas,
        noise: Box<dyn NoiseSource>,
    ) -> Result<Self, DiffusionError> {
        config.validate()?;
        canvas.check(schedule)?;
        let (plan, tokens) = match config.method {
            Method::Purity { steps, .. } => {
                let (unmasking, tokens) = Unmasking::start(&canvas, steps, schedule, noise.as_ref());
                (Plan::Purity(unmasking), tokens)
            }
            Method::Ancestral { steps } => {
                let first = ancestral::first_timestep(schedule, canvas.strength);
                let plan = ancestral::evenly(schedule, first, steps, config.posterior);
                (Plan::Ancestral(plan), ancestral::start(&canvas, first, schedule, noise.as_ref()))
            }
            Method::Diffsound { skip } => {
                let first = ancestral::first_timestep(schedule, canvas.strength);
                let plan = ancestral::diffsound(schedule, first, skip, config.posterior);
                (Plan::Ancestral(plan), ancestral::start(&canvas, first, schedule, noise.as_ref()))
            }
        };
        Ok(Self {
            schedule: schedule.clone(),
            config,
            length: canvas.length,
            plan,
            done: 0,
            predicted: tokens.clone(),
            tokens,
            fixed: canvas.fixed,
            noise,
        })
    }

    /// Steps in all.
    #[must_use]
    pub fn steps(&self) -> usize {
        match &self.plan {
            Plan::Ancestral(steps) => steps.len(),
            Plan::Purity(unmasking) => unmasking.steps(),
        }
    }

    /// Whether all steps are done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done >= self.steps()
    }

    /// The tokens now, `[batch, length]`, time-major. Before the end some are `[MASK]` (the codebook
    /// size); at the end none is.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What the network would make of every cell now, `[batch, length]`: for previews. Free of `[MASK]`
    /// once a step is done.
    #[must_use]
    pub fn predicted(&self) -> &[u32] {
        &self.predicted
    }

    /// Denoises by one step; does nothing once all are done.
    ///
    /// With guidance (a factor other than 1) the network sees the batch twice, first for the prompts, then
    /// for the empty or negative ones: `denoiser` must be bound to conditions in that order.
    ///
    /// # Errors
    /// When the network fails, or returns another shape or values that are no numbers. The state is then
    /// as before the step.
    pub fn step(&mut self, denoiser: &dyn Denoiser) -> Result<StepInfo, DiffusionError> {
        if !self.is_done() {
            let batch = self.tokens.len() / self.length.max(1);
            let t = match &self.plan {
                Plan::Ancestral(steps) => vec![steps.get(self.done).map_or(0, |step| step.t); batch],
                Plan::Purity(unmasking) => unmasking.timesteps(&self.tokens, &self.schedule),
            };
            let logits = self.predict(denoiser, &t)?;
            let (tokens, predicted) = match &self.plan {
                Plan::Ancestral(steps) => match steps.get(self.done) {
                    Some(reverse) => self.reverse_step(&logits, reverse, self.done + 1 == steps.len())?,
                    None => (self.tokens.clone(), self.predicted.clone()),
                },
                Plan::Purity(unmasking) => self.unmask_step(unmasking, &logits)?,
            };
            (self.tokens, self.predicted) = (tokens, predicted);
            self.done += 1;
        }
        let masked = self.tokens.iter().filter(|&&id| id == self.schedule.mask_id()).count();
        Ok(StepInfo { step: self.done, steps: self.steps(), masked })
    }

    /// Runs the network, on the batch doubled if there is guidance.
    fn predict(&self, denoiser: &dyn Denoiser, t: &[usize]) -> Result<Logits, DiffusionError> {
        let guided = self.config.is_guided();
        let copies = if guided { 2 } else { 1 };
        let batch = t.len() * copies;
        let ids = Tensor::from_vec(self.tokens.repeat(copies), (batch, self.length), &Device::Cpu)?;
        let logits = denoiser.logits(&ids, &t.repeat(copies))?;
        let (rows, length, codebook) = logits.dims3()?;
        DiffusionError::check_length("the network's batch", batch, rows)?;
        DiffusionError::check_length("the network's positions", self.length, length)?;
        DiffusionError::check_length("the network's classes", self.schedule.codebook(), codebook)?;
        let values = logits.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(Logits::new(values, codebook, guided.then_some(self.config.guidance)))
    }
}

pub(crate) mod parity;
#[cfg(test)]
mod tests;
