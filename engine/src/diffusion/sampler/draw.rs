//! From logits to a drawn token: guidance, softmax, truncation, noise.

use crate::diffusion::{DiffusionError, Noise, Truncation, truncate, vector};
use crate::layers::kernel::simd;

/// Where uniform draws come from.
pub(super) trait NoiseSource: std::fmt::Debug + Send + Sync {
    /// Fills `out` (one value a class) for position `position` of sample `sample` at draw number `call`
    /// of the run; call 0 is the start.
    fn classes(&self, call: usize, sample: usize, position: usize, out: &mut [f32]);

    /// One value for the same, independent of the former.
    fn order(&self, call: usize, sample: usize, position: usize) -> f32;
}

/// [`Noise`], one stream a sample and purpose.
#[derive(Debug)]
pub(super) struct SeededNoise(Vec<(Noise, Noise)>);

/// Stride between positions, and between steps in positions, in the sequence of draws: any grid and
/// codebook fits, so that a step's noise does not depend on either.
const CLASSES: u64 = 1 << 20;
const POSITIONS: u64 = 1 << 20;

impl SeededNoise {
    pub(super) fn new(seed: u64, variations: &[u64]) -> Self {
        let streams = |&v: &u64| {
            let stream = v.wrapping_mul(2);
            (Noise::new(seed, stream), Noise::new(seed, stream.wrapping_add(1)))
        };
        Self(variations.iter().map(streams).collect())
    }
}

/// Number of the first draw of a position.
fn index(call: usize, position: usize) -> u64 {
    (call as u64 * POSITIONS + position as u64) * CLASSES
}

impl NoiseSource for SeededNoise {
    fn classes(&self, call: usize, sample: usize, position: usize, out: &mut [f32]) {
        match self.0.get(sample) {
            Some((noise, _)) => noise.fill_at(index(call, position), out),
            None => out.fill(0.5),
        }
    }

    fn order(&self, call: usize, sample: usize, position: usize) -> f32 {
        self.0.get(sample).map_or(0.5, |(_, noise)| noise.uniform_at(index(call, position)))
    }
}

/// The network's output for a batch, flat `[batch, length, codebook]`; under guidance twice that.
#[derive(Debug)]
pub(super) struct Logits {
    values: Vec<f32>,
    codebook: usize,
    guidance: Option<f32>,
}

impl Logits {
    pub(super) fn new(values: Vec<f32>, codebook: usize, guidance: Option<f32>) -> Self {
        Self { values, codebook, guidance }
    }

    /// Probabilities of row `row` (of `batch * length`) into `out`, before truncation.
    ///
    /// # Errors
    /// When they are no numbers.
    pub(super) fn probabilities(
        &self,
        row: usize,
        temperature: f32,
        out: &mut Vec<f32>,
    ) -> Result<(), DiffusionError> {
        let slice = |row: usize| self.values.get(row * self.codebook..(row + 1) * self.codebook);
        let prompted = slice(row).unwrap_or_default();
        out.clear();
        match self.guidance {
            // The softmax takes no notice of a shift, so log-probabilities need not be normalised first.
            Some(g) => {
                let rows = self.values.len() / self.codebook.max(1) / 2;
                let empty = slice(rows + row).unwrap_or_default();
                out.extend(prompted.iter().zip(empty).map(|(&p, &e)| (e + g * (p - e)) / temperature));
            }
            None => out.extend(prompted.iter().map(|&p| p / temperature)),
        }
        let total = simd::dispatch(
            #[inline(always)]
            || {
                let highest = simd::max(out);
                out.iter_mut().for_each(|x| *x = simd::exp(*x - highest));
                let total = simd::sum(out);
                let factor = 1.0 / total;
                out.iter_mut().for_each(|x| *x *= factor);
                total
            },
        );
        // A NaN anywhere, or infinities only, show in the sum.
        if total.is_finite() && total > 0.0 {
            Ok(())
        } else {
            Err(DiffusionError::NotANumber { position: row })
        }
    }
}

/// The index of the largest value; the first of equals.
pub(super) fn argmax(values: impl Iterator<Item = f32>) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, value) in values.enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

/// Draws a class with probability proportional to `p` by the race of exponentials, with the uniform
/// draws `u`, which it overwrites.
///
/// The same as the reference's `argmax(ln p - ln(-ln(u + 1e-30) + 1e-30))`, the Gumbel trick.
pub(in crate::diffusion) fn race(p: &[f32], u: &mut [f32]) -> usize {
    simd::dispatch(
        #[inline(always)]
        || u.iter_mut().for_each(|u| *u = 1e-30 - vector::ln(*u + 1e-30)),
    );
    argmax(p.iter().zip(u.iter()).map(|(p, wait)| p / wait))
}

/// Standard Gumbel noise from a uniform draw.
pub(super) fn gumbel(u: f32) -> f32 {
    -(1e-30 - (u + 1e-30).ln()).ln()
}

/// Reused between rows.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// Predicted probabilities of the clean token `[codebook]`.
    pub r: Vec<f32>,
    /// Probabilities to draw from `[codebook + 1]`.
    pub p: Vec<f32>,
    /// Uniform draws.
    pub u: Vec<f32>,
}

impl Row {
    /// Fills `r` for row `row`, truncated; returns the most likely clean token.
    pub(super) fn predict(
        &mut self,
        logits: &Logits,
        row: usize,
        temperature: f32,
        truncation: Truncation,
    ) -> Result<u32, DiffusionError> {
        logits.probabilities(row, temperature, &mut self.r)?;
        let best = argmax(self.r.iter().copied()) as u32;
        truncate(&mut self.r, truncation);
        Ok(best)
    }
}
