//! The mask-and-replace noise schedule ("alpha1" of VQ-Diffusion).

use super::DiffusionError;
use serde::{Deserialize, Serialize};

/// What a pack says about its noise schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Timesteps `T`.
    pub steps: usize,
    /// Probability that a token is still itself at the first and at the last timestep.
    pub keep: (f64, f64),
    /// Probability that a token is masked at the first and at the last timestep. Diffsound ends at
    /// 0.9 (a tenth of the tokens end as random ones), CDCD at 0.99999.
    pub mask: (f64, f64),
}

impl Default for ScheduleConfig {
    /// Diffsound's.
    fn default() -> Self {
        Self { steps: 100, keep: (0.99999, 0.000_009), mask: (0.000_009, 0.9) }
    }
}

/// The three probabilities of a mask-and-replace kernel: an ordinary token stays with probability
/// `keep + replace`, becomes each other ordinary token with `replace` and `[MASK]` with `mask`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// `a`: the token is left alone.
    pub keep: f64,
    /// `b`: the token is replaced by a given ordinary token.
    pub replace: f64,
    /// `c`: the token is masked.
    pub mask: f64,
}

/// Rates of every timestep, one-step (`a_t, b_t, c_t`) and cumulative (`abar_t, bbar_t, cbar_t`).
///
/// The reference divides the rest by the number of classes *with* `[MASK]`, so that ordinary rows
/// leak `replace`; trained weights depend on it, so it stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    codebook: usize,
    step: Vec<Rates>,
    /// One more than `step`; the last is the identity, used as "timestep -1".
    cumulative: Vec<Rates>,
}

impl Schedule {
    /// The schedule for a codebook of `codebook` ordinary tokens (SPEC 5.1).
    ///
    /// # Errors
    /// When there are fewer than two steps or more than 10,000, no tokens, or the probabilities leave
    /// nothing to replacement at some timestep or do not fall (keep) and rise (mask).
    pub fn new(codebook: usize, config: &ScheduleConfig) -> Result<Self, DiffusionError> {
        let steps = config.steps;
        if !(2..=10_000).contains(&steps) {
            return Err(DiffusionError::Schedule(format!("{steps} steps; expected 2 to 10000")));
        }
        if codebook == 0 || codebook > 1 << 20 {
            return Err(DiffusionError::Schedule(format!("a codebook of {codebook}; expected 1 to 2^20")));
        }
        let classes = (codebook + 1) as f64;
        let along =
            |(first, last): (f64, f64), i: usize| first + i as f64 / (steps - 1) as f64 * (last - first);
        let mut previous = IDENTITY;
        let mut step = Vec::with_capacity(steps);
        let mut cumulative = Vec::with_capacity(steps + 1);
        for i in 0..steps {
            let (keep, mask) = (along(config.keep, i), along(config.mask, i));
            let total = Rates { keep, replace: (1.0 - keep - mask) / classes, mask };
            let a = keep / previous.keep;
            let c = 1.0 - (1.0 - mask) / (1.0 - previous.mask);
            let one = Rates { keep: a, replace: (1.0 - a - c) / classes, mask: c };
            for rates in [&total, &one] {
                let positive = |p: f64| p > 0.0 && p < 1.0;
                if !(positive(rates.keep) && positive(rates.mask) && positive(rates.replace)) {
                    return Err(DiffusionError::Schedule(format!(
                        "at step {i} of {steps}, keep {}, replace {} and mask {} are not all probabilities above 0",
                        rates.keep, rates.replace, rates.mask
                    )));
                }
            }
            step.push(one);
            cumulative.push(total);
            previous = total;
        }
        cumulative.push(IDENTITY);
        Ok(Self { codebook, step, cumulative })
    }

    /// Timesteps `T`.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.step.len()
    }

    /// Ordinary tokens `K`.
    #[must_use]
    pub fn codebook(&self) -> usize {
        self.codebook
    }

    /// Classes: the ordinary tokens and `[MASK]`.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.codebook + 1
    }

    /// The id of `[MASK]`.
    #[must_use]
    pub fn mask_id(&self) -> u32 {
        self.codebook as u32
    }

    /// `a_t, b_t, c_t`: the noise that timestep `t` adds. Past the last timestep: the last one's.
    #[must_use]
    pub fn step(&self, t: usize) -> Rates {
        self.step.get(t).or(self.step.last()).copied().unwrap_or(IDENTITY)
    }

    /// `abar_t, bbar_t, cbar_t`: the noise after timestep `t`.
    /// Past the last timestep: none (the reference's index for "timestep -1").
    #[must_use]
    pub fn cumulative(&self, t: usize) -> Rates {
        self.cumulative.get(t).copied().unwrap_or(IDENTITY)
    }

    /// The cumulative rates one timestep before `t`; none at all before timestep 0.
    #[must_use]
    pub fn before(&self, t: usize) -> Rates {
        t.checked_sub(1).map_or(IDENTITY, |t| self.cumulative(t))
    }

    /// [`DiffusionError::Range`] unless `t` is a timestep.
    pub(super) fn check_timestep(&self, t: usize) -> Result<(), DiffusionError> {
        if t < self.steps() {
            return Ok(());
        }
        let range = format!("0..{}", self.steps());
        Err(DiffusionError::Range { what: "timestep", value: t as f64, range })
    }
}

/// No noise.
const IDENTITY: Rates = Rates { keep: 1.0, replace: 0.0, mask: 0.0 };

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::diffusion::testing::Fixture;

    #[test]
    fn agrees_with_the_reference_in_f64() {
        let fixture = Fixture::load("schedule");
        for (prefix, codebook) in [("small", 16), ("full", 256)] {
            let schedule = Schedule::new(codebook, &ScheduleConfig::default()).unwrap();
            type Get = fn(&Rates) -> f64;
            let columns: [(&str, Get); 3] = [("a", |r| r.keep), ("b", |r| r.replace), ("c", |r| r.mask)];
            for (letter, get) in columns {
                let one = fixture.f64(&format!("{prefix}_{letter}t"));
                let all = fixture.f64(&format!("{prefix}_{letter}tt"));
                assert_eq!((one.len(), all.len()), (100, 101));
                for (t, want) in one.iter().enumerate() {
                    let got = get(&schedule.step(t));
                    assert!((got - want).abs() <= 1e-12 * want.abs(), "{prefix} {letter}[{t}]: {got} {want}");
                }
                for (t, want) in all.iter().enumerate() {
                    let got = get(&schedule.cumulative(t));
                    assert!(
                        (got - want).abs() <= 1e-12 * want.abs(),
                        "{prefix} {letter}{letter}[{t}]: {got} {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn refuses_what_is_no_schedule() {
        let good = ScheduleConfig::default();
        let bad = [
            ScheduleConfig { steps: 1, ..good },
            ScheduleConfig { steps: 1_000_000_000, ..good },
            ScheduleConfig { mask: (0.000_009, 1.0), ..good },
            ScheduleConfig { mask: (0.9, 0.1), ..good },
            ScheduleConfig { keep: (f64::NAN, 0.1), ..good },
        ];
        for config in bad {
            assert!(Schedule::new(16, &config).is_err(), "{config:?}");
        }
        assert!(Schedule::new(0, &good).is_err());
    }
}
