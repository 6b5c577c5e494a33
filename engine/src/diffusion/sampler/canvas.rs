//! What sampling starts from: nothing, or a sound to vary, repaint or extend.

use crate::diffusion::{DiffusionError, Schedule};

/// A batch of token grids before sampling; flat `[batch, length]`, time-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Canvas {
    pub(super) batch: usize,
    pub(super) length: usize,
    /// Clean tokens; empty if nothing is given.
    pub(super) tokens: Vec<u32>,
    /// Cells that keep their token, in every sample.
    pub(super) fixed: Vec<bool>,
    /// Share of the noising that free cells undergo.
    pub(super) strength: f32,
}

impl Canvas {
    /// `batch` grids of `length` cells, all of them to be made.
    #[must_use]
    pub fn blank(batch: usize, length: usize) -> Self {
        Self { batch, length, tokens: Vec::new(), fixed: vec![false; batch * length], strength: 1.0 }
    }

    /// Grids of given `tokens` (flat `[batch, length]`), renoised by `strength`: near 0 they come back, 1 makes them
    /// anew (the reference's `filter_ratio`).
    #[must_use]
    pub fn vary(tokens: Vec<u32>, length: usize, strength: f32) -> Self {
        let batch = tokens.len() / length.max(1);
        Self { batch, length, fixed: vec![false; tokens.len()], tokens, strength }
    }

    /// Keeps the given token of every cell where `fixed` (flat `[batch, length]`): the rest is made to fit
    /// (repainting, extending). Without given tokens this is an error of [`Sampler::new`](super::Sampler::new).
    #[must_use]
    pub fn with_fixed(mut self, fixed: Vec<bool>) -> Self {
        self.fixed = fixed;
        self
    }

    /// Samples.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether this can be sampled under `schedule`.
    pub(super) fn check(&self, schedule: &Schedule) -> Result<(), DiffusionError> {
        let cells = self.batch * self.length;
        let positive = |what: &'static str, n: usize| {
            let range = "the positive numbers".to_owned();
            if n > 0 { Ok(()) } else { Err(DiffusionError::Range { what, value: 0.0, range }) }
        };
        positive("batch", self.batch)?;
        positive("length of the token grid", self.length)?;
        if !(self.strength > 0.0 && self.strength <= 1.0) {
            let (value, range) = (f64::from(self.strength), "0..=1, without 0".to_owned());
            return Err(DiffusionError::Range { what: "variation strength", value, range });
        }
        DiffusionError::check_length("fixed cells", cells, self.fixed.len())?;
        if !self.tokens.is_empty() || self.strength < 1.0 || self.fixed.contains(&true) {
            DiffusionError::check_length("given tokens", cells, self.tokens.len())?;
        }
        DiffusionError::check_ids("given token", &self.tokens, schedule.codebook())
    }

    /// The given token of a cell that keeps it.
    pub(super) fn kept(&self, cell: usize) -> Option<u32> {
        self.tokens.get(cell).copied().filter(|_| self.fixed.get(cell) == Some(&true))
    }
}
