//! A token grid in the making, and the sampler's runs over it.

use super::passes::{self, Direction, Pass};
use super::watch::{Picture, Watch};
use crate::diffusion::transformer::{Condition, Transformer};
use crate::diffusion::{Canvas, DiffusionError, Sampler, SamplerConfig, Schedule};
use crate::service::GenerateError;

/// A token grid, some of whose cells are still to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    /// Time-major; a cell that is open holds what it is varied from, or nothing of meaning.
    pub(super) tokens: Vec<u32>,
    /// Cells to be drawn.
    pub(super) open: Vec<bool>,
    /// Rows of the grid.
    pub(super) rows: usize,
    /// Share by which open cells are noised: below 1 they are varied.
    pub(super) strength: f32,
    /// The runs that draw them.
    pub(super) passes: Vec<Pass>,
}

impl Draft {
    /// A grid of `columns` columns, all of it to be drawn by a network that sees `widest` at once.
    pub(super) fn blank(columns: usize, rows: usize, widest: usize) -> Self {
        let order: Vec<usize> = (0..columns).collect();
        let passes = passes::along(&order, 0..columns, &|_| true, widest, Direction::Forwards);
        Self {
            tokens: vec![0; columns * rows],
            open: vec![true; columns * rows],
            rows,
            strength: 1.0,
            passes,
        }
    }

    /// What to show while `sampler` draws `cells`: the tokens now, with `mask` where none is decided.
    fn with(&self, cells: &[usize], sampler: &Sampler, mask: u32) -> Picture {
        let mut picture = Picture { predicted: self.tokens.clone(), tokens: self.tokens.clone() };
        if self.strength >= 1.0 {
            let undecided = picture.tokens.iter_mut().zip(&self.open).filter(|(_, open)| **open);
            undecided.for_each(|(token, _)| *token = mask);
        }
        for (n, &cell) in cells.iter().enumerate() {
            if let (Some(predicted), Some(token)) =
                (picture.predicted.get_mut(cell), picture.tokens.get_mut(cell))
                && let (Some(&likely), Some(&now)) = (sampler.predicted().get(n), sampler.tokens().get(n))
            {
                (*predicted, *token) = (likely, now);
            }
        }
        picture
    }
}

/// The prompt, as far as the transformer knows it; for a morph two, one after the other.
#[derive(Debug)]
pub(super) struct Prompts {
    pub(super) first: Condition,
    /// The second one, and the share of the steps before it.
    pub(super) second: Option<(Condition, f32)>,
}

impl Prompts {
    /// Which one a step follows after `done` of `steps`.
    fn after(&self, done: usize, steps: usize) -> &Condition {
        match &self.second {
            Some((second, at)) if done >= (f64::from(*at) * steps as f64).round() as usize => second,
            _ => &self.first,
        }
    }
}

/// Draws tokens by one request.
pub(super) struct Painter<'a> {
    pub(super) transformer: &'a Transformer,
    pub(super) prompts: &'a Prompts,
    pub(super) schedule: &'a Schedule,
    pub(super) config: SamplerConfig,
    pub(super) seed: u64,
    pub(super) variation: u32,
    /// Runs that this painter has made: each draws its own noise.
    pub(super) runs: u64,
}

/// The seed of a run; the first one's is the attempt's own.
fn run_seed(seed: u64, run: u64) -> u64 {
    seed ^ run.wrapping_mul(0xd1b5_4a32_d192_ed03)
}

impl Painter<'_> {
    /// Draws all open cells of `draft`.
    pub(super) fn paint(&mut self, draft: &mut Draft, watch: &mut Watch) -> Result<(), GenerateError> {
        let passes = std::mem::take(&mut draft.passes);
        let left = passes.len();
        for (number, pass) in passes.into_iter().enumerate() {
            self.run(draft, &pass, left - number - 1, watch)?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        draft: &mut Draft,
        pass: &Pass,
        later: usize,
        watch: &mut Watch,
    ) -> Result<(), GenerateError> {
        let rows = draft.rows;
        let cells: Vec<usize> =
            pass.columns.iter().flat_map(|column| column * rows..(column + 1) * rows).collect();
        let given = cells.iter().map(|&cell| draft.tokens.get(cell).copied().unwrap_or_default()).collect();
        let fixed: Vec<bool> = cells
            .iter()
            .enumerate()
            .map(|(n, &cell)| draft.open.get(cell) != Some(&true) || !pass.drawn.contains(&(n / rows)))
            .collect();
        let seed = run_seed(self.seed, self.runs);
        self.runs += 1;
        if fixed.iter().all(|&fixed| fixed) {
            return Ok(());
        }
        let failed = |error: DiffusionError| GenerateError::stage("shaping the sound", error);
        let canvas = Canvas::vary(given, cells.len(), draft.strength).with_fixed(fixed.clone());
        let mut sampler =
            Sampler::new(self.schedule, self.config, canvas, seed, &[u64::from(self.variation)])
                .map_err(failed)?;
        let mut done = 0;
        watch.begin(sampler.steps() as u32, later as u32)?;
        while !sampler.is_done() {
            let network = self.transformer.bind(self.prompts.after(done, sampler.steps()));
            done = sampler.step(&network).map_err(failed)?.step;
            // The finished grid is decoded anyway.
            let is_last = sampler.is_done() && later == 0;
            let picture = || draft.with(&cells, &sampler, self.schedule.mask_id());
            watch.step(done as u32, (!is_last).then_some(&picture))?;
        }
        watch.end();
        for (n, &cell) in cells.iter().enumerate() {
            if fixed.get(n) == Some(&false)
                && pass.decided.contains(&(n / rows))
                && let (Some(&drawn), Some(token), Some(open)) =
                    (sampler.tokens().get(n), draft.tokens.get_mut(cell), draft.open.get_mut(cell))
            {
                (*token, *open) = (drawn, false);
            }
        }
        Ok(())
    }
}
