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
    /// Which classes share the probability of replacement.
    pub replaced_by: ReplacedBy,
}

/// Among which classes the probability of replacement is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplacedBy {
    /// The codebook and `[MASK]`, though no token is replaced by that: ordinary rows leak its part. Diffsound.
    #[default]
    AllClasses,
    /// The codebook alone. CDCD.
    Codebook,
}

impl Default for ScheduleConfig {
    /// Diffsound's.
    fn default() -> Self {
        Self {
            steps: 100,
            keep: (0.99999, 0.000_009),
            mask: (0.000_009, 0.9),
            replaced_by: ReplacedBy::AllClasses,
        }
    }
}

impl ScheduleConfig {
    /// CDCD's own: nearly everything is masked at the end.
    #[must_use]
    pub fn cdcd() -> Self {
        Self { mask: (0.000_009, 0.99999), replaced_by: ReplacedBy::Codebook, ..Self::default() }
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
/// Diffsound divides the rest by the number of classes *with* `[MASK]`, so that ordinary rows
/// leak `replace`; trained weights depend on it, so it stays ([`ReplacedBy`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    codebook: usize,
    /// Classes that share the probability of replacement.
    sharers: usize,
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
        let sharers = match config.replaced_by {
            ReplacedBy::AllClasses => codebook + 1,
            ReplacedBy::Codebook => codebook,
        };
        let along =
            |(first, last): (f64, f64), i: usize| first + i as f64 / (steps - 1) as f64 * (last - first);
        let mut previous = IDENTITY;
        let mut step = Vec::with_capacity(steps);
        let mut cumulative = Vec::with_capacity(steps + 1);
        for i in 0..steps {
            let (keep, mask) = (along(config.keep, i), along(config.mask, i));
            let total = Rates { keep, replace: (1.0 - keep - mask) / sharers as f64, mask };
            let a = keep / previous.keep;
            let c = 1.0 - (1.0 - mask) / (1.0 - previous.mask);
            let one = Rates { keep: a, replace: (1.0 - a - c) / sharers as f64, mask: c };
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
        Ok(Self { codebook, sharers, step, cumulative })
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

    /// The noise of `keep` and `mask`, the rest divided among the classes that share it.
    pub(super) fn rates(&self, keep: f64, mask: f64) -> Rates {
        Rates { keep, replace: (1.0 - keep - mask) / self.sharers as f64, mask }
    }

    /// The cumulative rates one timestep before `t`; none at all before timestep 0.
    #[must_use]
    pub fn before(&self, t: usize) -> Rates {
        t.checked_sub(1).map_or(IDENTITY, |t| self.cumulative(t))
    }

    /// The buffers of a Diffsound checkpoint by name (SPEC 5.1): logarithms of the rates, and of one less `c`. The
    /// cumulative ones have one more value than timesteps, the identity's, whose zeros are infinite here.
    #[must_use]
    pub fn log_buffers(&self) -> Vec<(&'static str, Vec<f64>)> {
        // As the reference: the logarithm, then its exponential, and a little to keep off zero.
        let one_less = |log: f64| (1.0 - log.exp() + 1e-40).ln();
        let of =
            |rates: &[Rates], get: fn(&Rates) -> f64| rates.iter().map(|r| get(r).ln()).collect::<Vec<_>>();
        let (one, all) = (self.step.as_slice(), self.cumulative.as_slice());
        let (ct, cumulative_ct) = (of(one, |r| r.mask), of(all, |r| r.mask));
        vec![
            ("log_at", of(one, |r| r.keep)),
            ("log_bt", of(one, |r| r.replace)),
            ("log_1_min_ct", ct.iter().map(|&c| one_less(c)).collect()),
            ("log_ct", ct),
            ("log_cumprod_at", of(all, |r| r.keep)),
            ("log_cumprod_bt", of(all, |r| r.replace)),
            ("log_1_min_cumprod_ct", cumulative_ct.iter().map(|&c| one_less(c)).collect()),
            ("log_cumprod_ct", cumulative_ct),
        ]
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
