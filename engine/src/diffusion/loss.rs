//! The training loss (SPEC 5.5): variational bound, auxiliary and contrastive terms, fused into one
//! differentiable operation.

use super::bound::{self, Position, Scratch, Value};
use super::posterior::Terms;
use super::{DiffusionError, PosteriorKind, Schedule};
use crate::layers::kernel::simd;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// What a training step knows besides the logits; `[batch, length]` arrays are flat, row by row.
#[derive(Debug, Clone, Copy)]
pub struct LossBatch<'a> {
    /// Clean tokens `[batch, length]`, below the codebook size.
    pub x0: &'a [u32],
    /// Noisy tokens `[batch, length]`; the codebook size is `[MASK]`.
    pub xt: &'a [u32],
    /// Timestep of each sample `[batch]`.
    pub t: &'a [usize],
    /// Probability with which each sample's timestep was drawn `[batch]`.
    pub pt: &'a [f32],
    /// Positions that count `[batch, length]`; all of them if `None`.
    pub valid: Option<&'a [bool]>,
    /// Contrastive negatives: clean-token grids `[batch, length]` and the factor of their (subtracted)
    /// bound; [`shuffle_chunks`](super::shuffle_chunks). Empty: none.
    pub negatives: &'a [Vec<u32>],
    /// Factor of the contrastive term, before its `1/N` and `t/T + 1`.
    pub contrast_weight: f64,
    /// Factor of the auxiliary term, before its `t/T + 1`; Diffsound's is 5e-4.
    pub auxiliary_weight: f64,
    /// Which code's posterior.
    pub kind: PosteriorKind,
}

/// A loss and what it was made of.
#[derive(Debug, Clone)]
pub struct DiffusionLoss {
    /// The scalar to descend: the bound over `pt` and its companions, summed and divided by the
    /// number of positions that count. Differentiable with respect to the logits.
    pub loss: Tensor,
    /// Bound of each sample `[batch]`, summed over positions, in nats: what importance sampling of
    /// timesteps ([`TimeSampler`](super::TimeSampler)) remembers.
    pub kl: Vec<f64>,
    /// Auxiliary term of each sample `[batch]`, summed over positions, in nats: the cross-entropy of
    /// the clean tokens.
    pub auxiliary: Vec<f64>,
}

/// The loss of `logits` `[batch, length, codebook]` for a batch.
///
/// On other devices than the CPU the logits travel there and their gradient back.
///
/// # Errors
/// When a length disagrees with the logits' shape, an id, timestep or probability is out of range, or no
/// position counts.
pub fn loss(
    logits: &Tensor,
    batch: &LossBatch,
    schedule: &Schedule,
) -> Result<DiffusionLoss, DiffusionError> {
    let (samples, length, codebook) = logits.dims3()?;
    let rows = samples * length;
    DiffusionError::check_length("logits' classes", schedule.codebook(), codebook)?;
    DiffusionError::check_length("clean tokens", rows, batch.x0.len())?;
    DiffusionError::check_length("noisy tokens", rows, batch.xt.len())?;
    DiffusionError::check_length("timesteps", samples, batch.t.len())?;
    DiffusionError::check_length("timestep probabilities", samples, batch.pt.len())?;
    DiffusionError::check_length("valid positions", rows, batch.valid.map_or(rows, <[bool]>::len))?;
    DiffusionError::check_ids("clean token", batch.x0, codebook)?;
    DiffusionError::check_ids("noisy token", batch.xt, schedule.classes())?;
    for negative in batch.negatives {
        DiffusionError::check_length("negative tokens", rows, negative.len())?;
        DiffusionError::check_ids("negative token", negative, codebook)?;
    }
    batch.t.iter().try_for_each(|&t| schedule.check_timestep(t))?;
    if let Some(&pt) = batch.pt.iter().find(|&&pt| !(pt > 0.0 && pt <= 1.0)) {
        let range = "0..=1, without 0".to_owned();
        return Err(DiffusionError::Range { what: "timestep probability", value: f64::from(pt), range });
    }
    let counted = batch.valid.map_or(rows, |valid| valid.iter().filter(|&&v| v).count());
    if counted == 0 {
        let range = "the positive numbers".to_owned();
        return Err(DiffusionError::Range { what: "number of positions that count", value: 0.0, range });
    }

    let positions = Positions::new(batch, schedule, length, counted);
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let op = Bound {
        positions,
        length,
        codebook,
        wants_gradient: logits.track_op(),
        outcome: Arc::clone(&outcome),
    };
    let loss = logits.to_device(&Device::Cpu)?.contiguous()?.apply_op1(op)?;
    let values = std::mem::take(&mut lock(&outcome).values);
    let per_sample = |get: fn(&Value) -> f64| -> Vec<f64> {
        values.chunks(length.max(1)).map(|sample| sample.iter().map(get).sum()).collect()
    };
    Ok(DiffusionLoss { loss, kl: per_sample(|v| v.kl), auxiliary: per_sample(|v| v.auxiliary) })
}

/// Every position's token ids and weights, gathered so that the operation owns them.
#[derive(Debug)]
struct Positions {
    /// Targets of row `n` are `targets[n * stride ..][.. stride]`.
    targets: Vec<(u32, f64)>,
    stride: usize,
    xt: Vec<u32>,
    /// 0 for positions that do not count.
    counts: Vec<bool>,
    /// Terms, weight of the bound and of the auxiliary term, of each sample.
    samples: Vec<(Terms, f64, f64)>,
}

impl Positions {
    fn new(batch: &LossBatch, schedule: &Schedule, length: usize, counted: usize) -> Self {
        let later = |t: usize| t as f64 / schedule.steps() as f64 + 1.0;
        let contrast = batch.contrast_weight / batch.negatives.len().max(1) as f64;
        let mut targets = Vec::with_capacity(batch.x0.len() * (1 + batch.negatives.len()));
        for (row, &clean) in batch.x0.iter().enumerate() {
            targets.push((clean, 1.0));
            let weight = -contrast * batch.t.get(row / length.max(1)).map_or(0.0, |&t| later(t));
            targets.extend(batch.negatives.iter().filter_map(|n| n.get(row)).map(|&y| (y, weight)));
        }
        let samples = batch
            .t
            .iter()
            .zip(batch.pt)
            .map(|(&t, &pt)| {
                let weight = 1.0 / (f64::from(pt) * counted as f64);
                (Terms::new(schedule, t, batch.kind), weight, later(t) * batch.auxiliary_weight * weight)
            })
            .collect();
        let counts = batch.valid.map_or_else(|| vec![true; batch.x0.len()], <[bool]>::to_vec);
        Self { targets, stride: 1 + batch.negatives.len(), xt: batch.xt.to_vec(), counts, samples }
    }
}

/// What the forward pass leaves behind.
#[derive(Debug, Default)]
struct Outcome {
    values: Vec<Value>,
    /// Of the loss with respect to the logits, `[batch, length, codebook]`.
    gradient: Vec<f32>,
}

fn lock(outcome: &Mutex<Outcome>) -> std::sync::MutexGuard<'_, Outcome> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The operation: logits to the scalar loss. The gradient costs little beyond the value, so the
/// forward pass makes both.
struct Bound {
    positions: Positions,
    length: usize,
    codebook: usize,
    wants_gradient: bool,
    outcome: Arc<Mutex<Outcome>>,
}

impl Bound {
    fn value(
        &self,
        row: usize,
        logits: &[f32],
        scratch: &mut Scratch,
        gradient: Option<&mut [f32]>,
    ) -> Value {
        let p = &self.positions;
        let Some(&(ref terms, bound_weight, auxiliary_weight)) = p.samples.get(row / self.length) else {
            return Value::default();
        };
        let targets = p.targets.get(row * p.stride..(row + 1) * p.stride).unwrap_or_default();
        match (p.xt.get(row), p.counts.get(row)) {
            (Some(&xt), Some(true)) => {
                let position = Position { xt, targets, bound_weight, auxiliary_weight };
                simd::dispatch(
                    #[inline(always)]
                    || bound::position(logits, &position, terms, scratch, gradient),
                )
            }
            _ => Value::default(),
        }
    }
}

impl CustomOp1 for Bound {
    fn name(&self) -> &'static str {
        "variational bound"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("variational bound: the logits are not contiguous");
        };
        let logits = storage.as_slice::<f32>()?.get(start..end).unwrap_or_default();
        let rows = logits.par_chunks(self.codebook).enumerate();
        let (values, gradient) = if self.wants_gradient {
            let mut gradient = vec![0.0_f32; logits.len()];
            let values: Vec<Value> = rows
                .zip(gradient.par_chunks_mut(self.codebook))
                .map_init(Scratch::default, |scratch, ((row, logits), gradient)| {
                    self.value(row, logits, scratch, Some(gradient))
                })
                .collect();
            (values, gradient)
        } else {
            let values = rows
                .map_init(Scratch::default, |scratch, (row, logits)| self.value(row, logits, scratch, None))
                .collect();
            (values, Vec::new())
        };
        let total: f64 = values.iter().map(|v| v.loss).sum();
        *lock(&self.outcome) = Outcome { values, gradient };
        Ok((CpuStorage::F32(vec![total as f32]), Shape::from(())))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad_res: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let mut gradient = std::mem::take(&mut lock(&self.outcome).gradient);
        if gradient.len() != arg.elem_count() {
            candle_core::bail!(
                "variational bound: the gradient was already taken by an earlier backward pass"
            );
        }
        let factor = grad_res.to_scalar::<f32>()?;
        if factor != 1.0 {
            gradient.par_iter_mut().for_each(|g| *g *= factor);
        }
        Ok(Some(Tensor::from_vec(gradient, arg.shape(), arg.device())?))
    }
}

#[cfg(test)]
#[path = "loss_tests.rs"]
mod tests;
