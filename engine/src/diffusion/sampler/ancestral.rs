//! Ancestral sampling: each step draws every cell from the posterior of an earlier timestep.

use super::draw::{Logits, NoiseSource, Row, race};
use super::{Canvas, Sampler};
use crate::diffusion::posterior::{LOG_FLOOR, PosteriorKind, Terms};
use crate::diffusion::{DiffusionError, Schedule, noised_by_gumbel};
use rayon::prelude::*;

/// One step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reverse {
    /// The timestep that the network is told.
    pub t: usize,
    terms: Terms,
}

/// The timestep at which a canvas noised by `strength` starts (SPEC 5.7, `filter_ratio`).
pub(super) fn first_timestep(schedule: &Schedule, strength: f32) -> usize {
    let steps = schedule.steps();
    let start = (steps as f64 * f64::from(strength)) as usize;
    start.clamp(1, steps) - 1
}

/// `steps` evenly spaced timesteps from `first` on, each with the exact posterior of the next; the
/// last reaches the clean tokens.
pub(super) fn evenly(schedule: &Schedule, first: usize, steps: usize, kind: PosteriorKind) -> Vec<Reverse> {
    let steps = steps.clamp(1, first + 1);
    // Timestep number n, counting the clean one as 0 and `first` as first + 1.
    let level = |n: usize| ((first + 1) * n + steps / 2) / steps;
    (1..=steps)
        .rev()
        .filter_map(|n| {
            let t = level(n).checked_sub(1)?;
            Some(Reverse { t, terms: Terms::between(schedule, t, level(n - 1).checked_sub(1), kind) })
        })
        .collect()
}

/// Diffsound's own list of timesteps, and its posterior quirk (SPEC 5.7, "fast").
pub(super) fn diffsound(schedule: &Schedule, first: usize, skip: usize, kind: PosteriorKind) -> Vec<Reverse> {
    let mut timesteps: Vec<usize> = (0..=first).rev().step_by(skip.saturating_add(1)).collect();
    if timesteps.last() != Some(&0) {
        timesteps.push(0);
    }
    let reverse = |t: usize| {
        let posterior_t = if t > skip { t - skip } else { t };
        Reverse { t, terms: Terms::new(schedule, posterior_t, kind) }
    };
    timesteps.into_iter().map(reverse).collect()
}

/// The tokens to start from: all masked, or the given ones noised up to timestep `first`.
pub(super) fn start(canvas: &Canvas, first: usize, schedule: &Schedule, noise: &dyn NoiseSource) -> Vec<u32> {
    let rates = schedule.cumulative(first);
    let mut u = vec![0.0; schedule.classes()];
    (0..canvas.batch * canvas.length)
        .map(|cell| match (canvas.kept(cell), canvas.tokens.get(cell)) {
            (Some(token), _) => token,
            (None, Some(&token)) if canvas.strength < 1.0 => {
                noise.classes(0, cell / canvas.length, cell % canvas.length, &mut u);
                noised_by_gumbel(token, rates, &mut u)
            }
            _ => schedule.mask_id(),
        })
        .collect()
}

impl Sampler {
    /// Draws every free cell from the posterior; on the `last` step `[MASK]` is no choice.
    pub(super) fn reverse_step(
        &self,
        logits: &Logits,
        reverse: &Reverse,
        last: bool,
    ) -> Result<(Vec<u32>, Vec<u32>), DiffusionError> {
        let classes = self.schedule.classes();
        let mask = LOG_FLOOR.exp();
        let drawn: Result<Vec<(u32, u32)>, DiffusionError> = self
            .tokens
            .par_iter()
            .enumerate()
            .map_init(Row::default, |row, (cell, &token)| {
                if self.fixed.get(cell) == Some(&true) {
                    return Ok((token, token));
                }
                let best = row.predict(logits, cell, self.config.temperature, self.config.truncation)?;
                row.p.resize(classes, 0.0);
                row.u.resize(classes, 0.0);
                reverse.terms.posterior(token, &row.r, mask, &mut row.p);
                if last && let Some(p) = row.p.last_mut() {
                    *p = 0.0;
                }
                self.noise.classes(self.done + 1, cell / self.length, cell % self.length, &mut row.u);
                Ok((race(&row.p, &mut row.u) as u32, best))
            })
            .collect();
        Ok(drawn?.into_iter().unzip())
    }
}
