//! The reverse process: what the network's prediction says about one timestep earlier.
//!
//! `x_t` is one token, so the posterior of SPEC 5.4 is an affine map of the predicted distribution
//! `r` of the clean token. With `'` for the earlier timestep,
//!
//! ```text
//! M_c = p(x_{t'} = c | x_t) = B_c (u_c r_c + v)
//!   x_t masked:      B = c_t / cbar_t,  u = abar',  v = bbar' sum(r)
//!   x_t = x, c != x: B = b_t,           u = abar' / bbar_t,  v = bbar' S
//!   x_t = x, c = x:  B = a_t + b_t,     u = abar' / (abar_t + bbar_t),  v = bbar' S
//!   S = sum_{c != x} r_c / bbar_t + r_x / (abar_t + bbar_t) + surplus
//! ```
//!
//! `surplus` is what the reference's `[MASK]` row adds to its log-sum-exp, see [`PosteriorKind`].

use super::{DiffusionError, Rates, Schedule};
use crate::layers::kernel::simd;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// Lowest log-probability that the reference lets through.
pub(super) const LOG_FLOOR: f64 = -70.0;
/// The reference's probability of an impossible class in a one-hot distribution.
pub(super) const ALMOST_ZERO: f64 = 1e-30;

/// Which code's posterior: they differ in what the `[MASK]` row adds to a normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PosteriorKind {
    /// VQ-Diffusion's first code and Diffsound: the row takes part where `x_t` is not masked.
    Diffsound,
    /// The newer VQ-Diffusion code and CDCD: it does not.
    #[default]
    Cdcd,
}

/// The rates between a timestep and an earlier one that the posterior needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// `a, b, c` from the earlier timestep to the later.
    one: Rates,
    /// `abar, bbar, cbar` of the later timestep.
    total: Rates,
    /// `abar, bbar, cbar` of the earlier timestep.
    before: Rates,
    kind: PosteriorKind,
}

/// The affine map from `r` to `M`, see the module's head.
pub(super) struct Mixture {
    /// `B` of the classes other than `x_t`.
    pub scale: f64,
    /// `u` of the same.
    pub slope: f64,
    /// `v`.
    pub offset: f64,
    /// `d v / d r_c`, for the classes other than `x_t` and for `x_t`.
    pub offset_slope: (f64, f64),
    /// Where `x_t` is not masked: its class, `B` and `u`.
    pub kept: Option<(usize, f64, f64)>,
    /// Probability of `[MASK]`.
    pub mask: f64,
}

impl Terms {
    /// From timestep `t` to `t - 1` (clean for 0).
    pub(super) fn new(schedule: &Schedule, t: usize, kind: PosteriorKind) -> Self {
        Self { one: schedule.step(t), total: schedule.cumulative(t), before: schedule.before(t), kind }
    }

    /// From timestep `t` to an earlier one at once; to clean tokens for `None`.
    pub(super) fn between(
        schedule: &Schedule,
        t: usize,
        earlier: Option<usize>,
        kind: PosteriorKind,
    ) -> Self {
        let total = schedule.cumulative(t);
        let before = schedule.cumulative(earlier.unwrap_or(schedule.steps()));
        let keep = total.keep / before.keep;
        let mask = 1.0 - (1.0 - total.mask) / (1.0 - before.mask);
        Self { one: schedule.rates(keep, mask), total, before, kind }
    }

    /// Whether the earlier timestep is the clean one.
    pub(super) fn reaches_clean(&self) -> bool {
        self.before.mask == 0.0
    }

    /// The map for noisy token `x` (`None`: masked), given the predicted probability of it (`at_x`), of
    /// all other ordinary classes together (`others`) and of `[MASK]`.
    pub(super) fn mixture(&self, x: Option<usize>, others: f64, at_x: f64, mask: f64) -> Mixture {
        let (one, total, before) = (self.one, self.total, self.before);
        let same = total.keep + total.replace;
        // The normaliser S, and the prior probability B of [MASK].
        let (sum, prior) = match (x, self.kind) {
            (None, _) => (others / total.mask, 1.0),
            (Some(_), kind) => {
                let surplus = if kind == PosteriorKind::Diffsound { mask / ALMOST_ZERO } else { 0.0 };
                (others / total.replace + at_x / same + surplus, ALMOST_ZERO)
            }
        };
        let own_mask = match self.kind {
            PosteriorKind::Diffsound => mask / prior,
            PosteriorKind::Cdcd => ALMOST_ZERO * sum,
        };
        let mask = prior * (own_mask * (1.0 - before.mask) + before.mask * sum);
        match x {
            None => Mixture {
                scale: one.mask / total.mask,
                slope: before.keep,
                offset: before.replace * others,
                // Where it matters (training), r adds up to 1 whatever the logits.
                offset_slope: (0.0, 0.0),
                kept: None,
                mask,
            },
            Some(x) => Mixture {
                scale: one.replace,
                slope: before.keep / total.replace,
                offset: before.replace * sum,
                offset_slope: (before.replace / total.replace, before.replace / same),
                kept: Some((x, one.keep + one.replace, before.keep / same)),
                mask,
            },
        }
    }

    /// Writes the posterior probabilities of every class, `[MASK]` last (`[codebook + 1]`), each between
    /// e^-70 and 1, for predicted probabilities `r` `[codebook]` and `mask` of `[MASK]`. They add up
    /// to 1 only roughly, as in the reference.
    #[inline(always)]
    pub(super) fn posterior(&self, xt: u32, r: &[f32], mask: f64, out: &mut [f32]) {
        let x = Some(xt as usize).filter(|&x| x < r.len());
        let at_x = x.and_then(|x| r.get(x)).map_or(0.0, |&p| f64::from(p));
        // Not `sum - at_x`, which would cancel.
        let others = match x.and_then(|x| r.split_at_checked(x)) {
            Some((low, high)) => f64::from(simd::sum(low) + simd::sum(high.get(1..).unwrap_or_default())),
            None => f64::from(simd::sum(r)),
        };
        let m = self.mixture(x, others, at_x, mask);
        let (low, high) = (LOG_FLOOR.exp(), 1.0);
        let (slope, offset) = ((m.scale * m.slope) as f32, (m.scale * m.offset) as f32);
        for (p, &r) in out.iter_mut().zip(r) {
            *p = (slope * r + offset).clamp(low as f32, 1.0);
        }
        if let Some((x, scale, slope)) = m.kept
            && let Some(p) = out.get_mut(x)
        {
            *p = (scale * (slope * at_x + m.offset)).clamp(low, high) as f32;
        }
        if let Some(p) = out.get_mut(r.len()) {
            *p = m.mask.clamp(low, high) as f32;
        }
    }
}

/// `log p(x_0 | x_t)` `[batch, length, codebook + 1]` from the network's logits `[batch, length,
/// codebook]`: their log-softmax, with -70 for `[MASK]`, between -70 and 0 (SPEC 5.3).
///
/// # Errors
/// When the logits have not three dimensions.
pub fn predict_start(logits: &Tensor) -> Result<Tensor, DiffusionError> {
    let (batch, length, codebook) = logits.dims3()?;
    let values = logits.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let mut out = Vec::with_capacity(batch * length * (codebook + 1));
    for row in values.chunks(codebook.max(1)) {
        let highest = f64::from(simd::max(row));
        let sum: f64 = row.iter().map(|&x| (f64::from(x) - highest).exp()).sum();
        let total = highest + sum.ln();
        out.extend(row.iter().map(|&x| (f64::from(x) - total).clamp(LOG_FLOOR, 0.0) as f32));
        out.push(LOG_FLOOR as f32);
    }
    Ok(Tensor::from_vec(out, (batch, length, codebook + 1), logits.device())?)
}

/// `log p(x_{t-1} | x_t)` `[batch, length, codebook + 1]`, between -70 and 0, from
/// `log p(x_0 | x_t)` of the same shape and the noisy tokens `xt` (flat `[batch, length]`), at one
/// timestep per sample (SPEC 5.4).
///
/// # Errors
/// When shapes disagree, or an id or a timestep is out of range.
pub fn q_posterior(
    log_x0: &Tensor,
    xt: &[u32],
    t: &[usize],
    schedule: &Schedule,
    kind: PosteriorKind,
) -> Result<Tensor, DiffusionError> {
    let (batch, length, classes) = log_x0.dims3()?;
    DiffusionError::check_length("classes", schedule.classes(), classes)?;
    DiffusionError::check_length("noisy tokens", batch * length, xt.len())?;
    DiffusionError::check_length("timesteps", batch, t.len())?;
    DiffusionError::check_ids("noisy token", xt, classes)?;
    t.iter().try_for_each(|&t| schedule.check_timestep(t))?;
    let terms: Vec<Terms> = t.iter().map(|&t| Terms::new(schedule, t, kind)).collect();
    let mut values = log_x0.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let mut r = Vec::with_capacity(classes);
    let per_row = terms.iter().flat_map(|terms| std::iter::repeat_n(terms, length));
    for ((row, &xt), terms) in values.chunks_mut(classes).zip(xt).zip(per_row) {
        r.clear();
        r.extend(row.iter().map(|x| x.exp()));
        if let Some((&mask, r)) = r.split_last() {
            terms.posterior(xt, r, f64::from(mask), row);
        }
        row.iter_mut().for_each(|p| *p = p.ln().clamp(LOG_FLOOR as f32, 0.0));
    }
    Ok(Tensor::from_vec(values, log_x0.shape(), log_x0.device())?)
}

#[cfg(test)]
#[path = "posterior_tests.rs"]
mod tests;
