//! Which timesteps to train on: more often those whose bound varies most (SPEC 5.6).

use super::{DiffusionError, Noise};
use serde::{Deserialize, Serialize};

/// Times a timestep must have been seen before its history is believed.
const WARM_UP: u32 = 10;

/// Importance sampling of timesteps, with the running second moment of each one's bound. Serialise
/// it with a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeSampler {
    /// Running mean of the squared bound of each timestep.
    history: Vec<f32>,
    /// Times each timestep was recorded.
    count: Vec<u32>,
}

impl TimeSampler {
    /// For `steps` timesteps; uniform until each was recorded more than 10 times.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        Self { history: vec![0.0; steps], count: vec![0; steps] }
    }

    /// From a Diffsound checkpoint's `Lt_history` and `Lt_count`.
    ///
    /// # Errors
    /// When their lengths differ or a value is negative or no number.
    pub fn from_history(history: Vec<f32>, count: Vec<u32>) -> Result<Self, DiffusionError> {
        DiffusionError::check_length("timestep counts", history.len(), count.len())?;
        match history.iter().find(|&&h| !(h >= 0.0 && h.is_finite())) {
            None => Ok(Self { history, count }),
            Some(&h) => {
                let (value, range) = (f64::from(h), "the numbers from 0".to_owned());
                Err(DiffusionError::Range { what: "timestep history", value, range })
            }
        }
    }

    /// The probability of each timestep.
    #[must_use]
    pub fn probabilities(&self) -> Vec<f64> {
        let steps = self.history.len();
        if self.count.iter().any(|&n| n <= WARM_UP) {
            return vec![1.0 / steps as f64; steps];
        }
        let mut p: Vec<f64> = self.history.iter().map(|&h| (f64::from(h) + 1e-10).sqrt() + 1e-4).collect();
        // At timestep 0 the bound is a likelihood, on another scale: take the neighbour's.
        if let [first, second, ..] = p.as_mut_slice() {
            *first = *second;
        }
        let total: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= total);
        p
    }

    /// Draws `count` timesteps; each with the probability that it was drawn with.
    pub fn draw(&self, count: usize, noise: &mut Noise) -> Vec<(usize, f32)> {
        let p = self.probabilities();
        (0..count)
            .map(|_| {
                let t = noise.weighted(&p).unwrap_or(0);
                (t, p.get(t).map_or(1.0, |&p| p as f32))
            })
            .collect()
    }

    /// Remembers the bound `kl` of a sample at timestep `t` ([`DiffusionLoss::kl`](super::DiffusionLoss::kl)). The reference sums it
    /// over positions; where lengths vary, divide it by the number of them. Values that are no numbers
    /// are passed over.
    pub fn record(&mut self, t: usize, kl: f64) {
        let square = (kl * kl) as f32;
        if let (Some(history), Some(count), true) =
            (self.history.get_mut(t), self.count.get_mut(t), square.is_finite())
        {
            *history = 0.1 * square + 0.9 * *history;
            *count += 1;
        }
    }

    /// The running second moments, a timestep each.
    #[must_use]
    pub fn history(&self) -> &[f32] {
        &self.history
    }

    /// How often each timestep was recorded.
    #[must_use]
    pub fn counts(&self) -> &[u32] {
        &self.count
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn is_uniform_until_warm_and_survives_what_is_no_number() {
        let mut sampler = TimeSampler::new(4);
        sampler.record(0, f64::NAN);
        sampler.record(9, 1.0);
        assert_eq!(sampler, TimeSampler::new(4));
        let draws = sampler.draw(40, &mut Noise::new(1, 1));
        assert!(draws.iter().all(|&(t, p)| t < 4 && p == 0.25));
        assert!(TimeSampler::from_history(vec![f32::NAN; 4], vec![0; 4]).is_err());
    }
}
