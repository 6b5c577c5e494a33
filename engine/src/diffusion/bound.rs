//! One position's share of the variational bound, in closed form, with its gradient.
//!
//! The network's posterior `M` is an affine map of `r = softmax(logits)`, see
//! [`posterior`](super::posterior). For a one-hot `x_0 = y` the true posterior `Q` has at most three
//! distinct values, hence `KL(Q, M)` needs one exponential a class, and a further target `y` (a
//! contrastive negative) next to nothing. `Q` and `M` agree on `[MASK]`, which drops out.

use super::posterior::{ALMOST_ZERO, LOG_FLOOR, Terms};
use super::vector;
use crate::layers::kernel::simd;

/// What to measure at one position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position<'a> {
    /// The noisy token; the codebook size is `[MASK]`.
    pub xt: u32,
    /// Clean tokens and the weight of their bound; the first is the true one, with weight 1. Others
    /// (contrastive negatives) have negative weights.
    pub targets: &'a [(u32, f64)],
    /// Factor of the bound in the loss.
    pub bound_weight: f64,
    /// Factor of the auxiliary term in the loss.
    pub auxiliary_weight: f64,
}

/// Value of one position.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Value {
    /// KL(Q, M) of the true token, or its negative log-likelihood at timestep 0; in nats.
    pub kl: f64,
    /// `-ln r` of the true token, in nats.
    pub auxiliary: f64,
    /// The weighted sum, with the negatives.
    pub loss: f64,
}

/// Reused between positions.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    probabilities: Vec<f32>,
    /// `u r_c + v`, later its reciprocal.
    mixture: Vec<f32>,
}

/// The true posterior for a clean token: its probability of an ordinary class, of the clean token
/// and of `x_t` (0 where masked or the same as the clean token, then counted as the latter).
struct Truth {
    other: f64,
    clean: f64,
    kept: f64,
}

impl Terms {
    #[inline(always)]
    fn truth(&self, x: Option<usize>, y: usize) -> Truth {
        let same = x == Some(y);
        let (others, at_x) = if same { (0.0, 1.0) } else { (1.0, 0.0) };
        let m = self.mixture(x, others, at_x, ALMOST_ZERO);
        let other = (m.scale * m.offset).min(1.0);
        match m.kept {
            Some((_, scale, slope)) if same => {
                Truth { other, clean: (scale * (slope + m.offset)).min(1.0), kept: 0.0 }
            }
            kept => Truth {
                other,
                clean: (m.scale * (m.slope + m.offset)).min(1.0),
                kept: kept.map_or(0.0, |(_, scale, _)| (scale * m.offset).min(1.0)),
            },
        }
    }
}

/// `p ln p`, 0 at 0.
#[inline(always)]
fn entropy(p: f64) -> f64 {
    if p > 0.0 { p * p.ln() } else { 0.0 }
}

/// Adds to one element, if there.
#[inline(always)]
fn add(row: &mut [f32], index: usize, value: f64) {
    if let Some(x) = row.get_mut(index) {
        *x += value as f32;
    }
}

/// Reads one element.
#[inline(always)]
fn at(row: &[f32], index: usize) -> f64 {
    row.get(index).map_or(f64::NAN, |&x| f64::from(x))
}

/// Value and, into `gradient` (`[codebook]`), the gradient of `loss` with respect to `logits`
/// (`[codebook]`).
#[inline(always)]
pub(super) fn position(
    logits: &[f32],
    position: &Position,
    terms: &Terms,
    scratch: &mut Scratch,
    gradient: Option<&mut [f32]>,
) -> Value {
    let codebook = logits.len();
    let x = Some(position.xt as usize).filter(|&x| x < codebook);
    let Some(&(clean, _)) = position.targets.first() else {
        return Value::default();
    };

    // Softmax. The classes other than x_t are summed on their own: 1 - r_x would cancel.
    let r = &mut scratch.probabilities;
    let highest = simd::max(logits);
    r.clear();
    r.extend(logits.iter().map(|&logit| simd::exp(logit - highest)));
    let exp_x = x.map_or(0.0, |x| at(r, x));
    if let Some(slot) = x.and_then(|x| r.get_mut(x)) {
        *slot = 0.0;
    }
    let exp_others = f64::from(simd::sum(r));
    let total = exp_others + exp_x;
    if let Some(slot) = x.and_then(|x| r.get_mut(x)) {
        *slot = exp_x as f32;
    }
    let factor = (1.0 / total) as f32;
    r.iter_mut().for_each(|p| *p *= factor);
    // ln r from the logits: r itself may have underflowed.
    let log_total = total.ln() + f64::from(highest);
    let exact_log_r = |c: usize| at(logits, c) - log_total;
    let floored = |c: usize| exact_log_r(c) < LOG_FLOOR;
    // `clamp` passes NaN on, as `min` and `max` would not: a broken network must show in the loss.
    let log_r = |c: usize| exact_log_r(c).clamp(LOG_FLOOR, 0.0);

    let auxiliary = -log_r(clean as usize);
    let mut value = Value { kl: auxiliary, auxiliary, loss: position.auxiliary_weight * auxiliary };
    let weight = position.bound_weight;

    if terms.reaches_clean() {
        // M_y is r_y: the bound is the negative log-likelihood.
        let mut softmax_weight = 0.0;
        let with_auxiliary =
            |index: usize, w: f64| weight * w + if index == 0 { position.auxiliary_weight } else { 0.0 };
        for (index, &(y, w)) in position.targets.iter().enumerate() {
            value.loss -= weight * w * log_r(y as usize);
            if !floored(y as usize) {
                softmax_weight += with_auxiliary(index, w);
            }
        }
        if let Some(gradient) = gradient {
            for (g, &p) in gradient.iter_mut().zip(r.iter()) {
                *g = softmax_weight as f32 * p;
            }
            for (index, &(y, w)) in position.targets.iter().enumerate() {
                if !floored(y as usize) {
                    add(gradient, y as usize, -with_auxiliary(index, w));
                }
            }
        }
        return value;
    }

    let m = terms.mixture(x, exp_others / total, exp_x / total, LOG_FLOOR.exp());
    let d = &mut scratch.mixture;
    d.clear();
    let (slope, offset) = (m.slope as f32, m.offset as f32);
    d.extend(r.iter().map(|&p| slope * p + offset));
    let log_scale = m.scale.ln();
    // ln M at x_t, which has its own affine map, and whether the reference's clamp at 0 cuts it off.
    let kept = m.kept.map(|(x, scale, slope)| {
        let mixture = slope * at(r, x) + m.offset;
        let log = (scale * mixture).ln();
        (x, slope / mixture, 1.0 / mixture, log.clamp(f64::NEG_INFINITY, 0.0), log > 0.0)
    });
    let mut sum_log = vector::sum_ln(d) + codebook as f64 * log_scale;
    if let Some((x, ..)) = kept {
        sum_log -= at(d, x).ln() + log_scale;
    }
    let ordinary = codebook - usize::from(kept.is_some());

    // Values. `base` is the weighted Q of every class but x_t; what the targets have beyond it follows.
    let mut base = 0.0;
    let mut at_kept = 0.0;
    for (index, &(y, w)) in position.targets.iter().enumerate() {
        let y = y as usize;
        let truth = terms.truth(x, y);
        let mut kl = -truth.other * sum_log;
        if x == Some(y) {
            kl += ordinary as f64 * entropy(truth.other) + entropy(truth.clean);
            kl -= truth.clean * kept.map_or(0.0, |(.., log, _)| log);
            at_kept += w * truth.clean;
        } else {
            kl += (ordinary - 1) as f64 * entropy(truth.other) + entropy(truth.clean) + entropy(truth.kept);
            kl -= (truth.clean - truth.other) * (at(d, y).ln() + log_scale);
            kl -= truth.kept * kept.map_or(0.0, |(.., log, _)| log);
            at_kept += w * truth.kept;
        }
        base += w * truth.other;
        value.loss += weight * w * kl;
        if index == 0 {
            value.kl = kl;
        }
    }
    let Some(gradient) = gradient else {
        return value;
    };

    // Gradient. With P the weighted Q: dL/dr_c = -(u_c P_c / D_c + offset_slope_c * H), H = sum P_c / D_c.
    d.iter_mut().for_each(|d| *d = 1.0 / *d);
    let mut h = base * f64::from(simd::sum(d));
    let mut dot = base * m.slope * f64::from(simd::dot(r, d));
    if let Some((x, slope, reciprocal, _, cut)) = kept {
        h -= base * at(d, x);
        dot -= base * m.slope * at(r, x) * at(d, x);
        if !cut {
            h += at_kept * reciprocal;
            dot += at_kept * slope * at(r, x);
        }
    }
    let beyond = |y: u32, w: f64| {
        let truth = terms.truth(x, y as usize);
        (x != Some(y as usize)).then_some(w * (truth.clean - truth.other))
    };
    for &(y, w) in position.targets {
        if let Some(p) = beyond(y, w) {
            h += p * at(d, y as usize);
            dot += p * m.slope * at(r, y as usize) * at(d, y as usize);
        }
    }
    let (rest_slope, kept_slope) = m.offset_slope;
    dot += h * (rest_slope * (exp_others / total) + kept_slope * (exp_x / total));
    // Through the softmax: dL/dlogit_c = r_c (dL/dr_c + dot), and the auxiliary term's r - onehot.
    let softmax_weight = if floored(clean as usize) { 0.0 } else { position.auxiliary_weight };
    let constant = weight * (dot - rest_slope * h) + softmax_weight;
    let per_class = (-weight * base * m.slope) as f32;
    let constant_f32 = constant as f32;
    for ((g, &p), &reciprocal) in gradient.iter_mut().zip(r.iter()).zip(d.iter()) {
        *g = p * (per_class * reciprocal + constant_f32);
    }
    for &(y, w) in position.targets {
        if let Some(p) = beyond(y, w) {
            let y = y as usize;
            add(gradient, y, -weight * at(r, y) * m.slope * p * at(d, y));
        }
    }
    if let Some((x, slope, _, _, cut)) = kept
        && let Some(g) = gradient.get_mut(x)
    {
        let own = if cut { 0.0 } else { at_kept * slope };
        *g = (at(r, x) * (weight * (dot - kept_slope * h - own) + softmax_weight)) as f32;
    }
    add(gradient, clean as usize, -softmax_weight);
    value
}
