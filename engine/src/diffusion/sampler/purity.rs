//! Confidence-ordered sampling: every step draws all masked cells, keeps the draws that the network
//! is surest of and masks the rest again (Chang et al., "MaskGIT"; Tang et al., "Improved Vector
//! Quantized Diffusion Models").
//!
//! The network was trained at timesteps, so each step tells it the one whose share of masked tokens
//! is the grid's.

use super::draw::{Logits, NoiseSource, Row, gumbel, race};
use super::{Canvas, Method, Sampler};
use crate::diffusion::posterior::LOG_FLOOR;
use crate::diffusion::{DiffusionError, Schedule};
use rayon::prelude::*;

/// How many cells each step leaves masked.
#[derive(Debug)]
pub(super) struct Unmasking {
    length: usize,
    steps: usize,
    /// Masked cells at the start, of each sample.
    masked: Vec<usize>,
}

/// Number of masked ids.
fn count(tokens: &[u32], mask: u32) -> usize {
    tokens.iter().filter(|&&id| id == mask).count()
}

impl Unmasking {
    /// The plan, and the tokens to start from: free cells are masked, of given ones a random `strength`.
    pub(super) fn start(
        canvas: &Canvas,
        steps: usize,
        schedule: &Schedule,
        noise: &dyn NoiseSource,
    ) -> (Self, Vec<u32>) {
        let mask = schedule.mask_id();
        let mut tokens = vec![mask; canvas.batch * canvas.length];
        for (sample, grid) in tokens.chunks_mut(canvas.length).enumerate() {
            let first = sample * canvas.length;
            let mut free: Vec<(f32, usize)> = Vec::with_capacity(canvas.length);
            for (position, token) in grid.iter_mut().enumerate() {
                match canvas.kept(first + position) {
                    Some(kept) => *token = kept,
                    None => free.push((noise.order(0, sample, position), position)),
                }
            }
            free.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let renoised = (free.len() as f64 * f64::from(canvas.strength)).ceil() as usize;
            for &(_, position) in free.iter().skip(renoised) {
                if let (Some(slot), Some(&given)) =
                    (grid.get_mut(position), canvas.tokens.get(first + position))
                {
                    *slot = given;
                }
            }
        }
        let masked: Vec<usize> = tokens.chunks(canvas.length).map(|grid| count(grid, mask)).collect();
        let wanted = (steps as f64 * f64::from(canvas.strength)).ceil() as usize;
        let most = masked.iter().copied().max().unwrap_or(0);
        // A step has to decide a cell at least.
        let steps = wanted.clamp(1, most.max(1));
        (Self { length: canvas.length, steps, masked }, tokens)
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Cells of `sample` that are still masked after `done` steps.
    fn left(&self, sample: usize, done: usize) -> usize {
        let masked = self.masked.get(sample).copied().unwrap_or(0);
        if done >= self.steps {
            return 0;
        }
        let along = done as f64 / self.steps as f64;
        let curve = (std::f64::consts::FRAC_PI_2 * along).cos() * masked as f64;
        // One cell a step at least, and something left for every later step where there is enough.
        let most = masked.saturating_sub(done);
        let least = (self.steps - done).min(most);
        (curve as usize).clamp(least, most)
    }

    /// For each sample the timestep whose share of masked tokens is nearest to its own.
    pub(super) fn timesteps(&self, tokens: &[u32], schedule: &Schedule) -> Vec<usize> {
        let share = |grid: &[u32]| count(grid, schedule.mask_id()) as f64 / grid.len().max(1) as f64;
        let distance = |t: usize, share: f64| (schedule.cumulative(t).mask - share).abs();
        tokens
            .chunks(self.length)
            .map(|grid| {
                let share = share(grid);
                (0..schedule.steps())
                    .min_by(|&a, &b| distance(a, share).total_cmp(&distance(b, share)))
                    .unwrap_or(0)
            })
            .collect()
    }
}

/// What a masked cell would become.
struct Proposal {
    token: u32,
    best: u32,
    confidence: f32,
}

impl Sampler {
    /// Draws all masked cells and keeps the surest.
    pub(super) fn unmask_step(
        &self,
        unmasking: &Unmasking,
        logits: &Logits,
    ) -> Result<(Vec<u32>, Vec<u32>), DiffusionError> {
        let mask = self.schedule.mask_id();
        let order_temperature = match self.config.method {
            Method::Purity { order_temperature, .. } => {
                order_temperature * (1.0 - (self.done + 1) as f32 / unmasking.steps as f32)
            }
            _ => 0.0,
        };
        let call = self.done + 1;
        let floor = 2.0 * LOG_FLOOR.exp() as f32;
        let proposals: Result<Vec<Proposal>, DiffusionError> = self
            .tokens
            .par_iter()
            .enumerate()
            .map_init(Row::default, |row, (cell, &token)| {
                if token != mask {
                    return Ok(Proposal { token, best: token, confidence: f32::NEG_INFINITY });
                }
                let (sample, position) = (cell / self.length, cell % self.length);
                let best = row.predict(logits, cell, self.config.temperature, self.config.truncation)?;
                row.u.resize(row.r.len(), 0.0);
                self.noise.classes(call, sample, position, &mut row.u);
                let token = race(&row.r, &mut row.u);
                let p = row.r.get(token).copied().unwrap_or(0.0).max(floor);
                let confidence =
                    p.ln() + order_temperature * gumbel(self.noise.order(call, sample, position));
                Ok(Proposal { token: token as u32, best, confidence })
            })
            .collect();
        let proposals = proposals?;
        let mut tokens = self.tokens.clone();
        let grids = tokens.chunks_mut(self.length).zip(proposals.chunks(self.length));
        for (sample, (grid, proposals)) in grids.enumerate() {
            let mut open: Vec<(usize, &Proposal)> =
                proposals.iter().enumerate().filter(|(l, _)| grid.get(*l) == Some(&mask)).collect();
            open.sort_unstable_by(|a, b| b.1.confidence.total_cmp(&a.1.confidence).then(a.0.cmp(&b.0)));
            let decided = open.len().saturating_sub(unmasking.left(sample, call));
            for &(position, proposal) in open.iter().take(decided) {
                if let Some(slot) = grid.get_mut(position) {
                    *slot = proposal.token;
                }
            }
        }
        Ok((tokens, proposals.into_iter().map(|p| p.best).collect()))
    }
}
