//! AdamW (decoupled weight decay) with gradient clipping and averaged weights.
//!
//! candle_nn has an AdamW, but its moments cannot be saved and each of its updates makes a dozen
//! temporaries; this one updates in place, in one pass, and its state goes into checkpoints.

use crate::layers::kernel::simd;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Storage, Tensor, Var, bail};
use candle_nn::VarMap;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Hyperparameters of [`AdamW`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, for tensors of two or more dimensions.
    pub weight_decay: f64,
    /// Whether vectors (biases, norms) decay too, as in the reference.
    pub decay_vectors: bool,
    /// Largest norm of the whole gradient; larger ones are scaled down.
    pub clip: f64,
    /// Decay of the averaged weights per step; 0 keeps no average.
    pub ema: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.96,
            eps: 1e-8,
            weight_decay: 0.045,
            decay_vectors: false,
            clip: 1.0,
            ema: 0.999,
        }
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy)]
pub struct StepStats {
    /// Norm of the whole gradient before clipping.
    pub grad_norm: f64,
    /// False if the gradient was not finite and the step was skipped.
    pub applied: bool,
}

struct Slot {
    var: Var,
    first: Var,
    second: Var,
    average: Option<Var>,
}

/// AdamW over the variables of a `VarMap`.
pub struct AdamW {
    slots: BTreeMap<String, Slot>,
    config: AdamWConfig,
    step: u64,
}

/// Steps between updates of the averaged weights.
const EMA_EVERY: u64 = 8;

impl AdamW {
    /// An optimizer at step 0 for all variables of `map`.
    ///
    /// # Errors
    /// When memory for the moments cannot be had.
    pub fn new(map: &VarMap, config: AdamWConfig) -> Result<Self> {
        let data =
            map.data().lock().map_err(|_| candle_core::Error::Msg("a variable map is poisoned".into()))?;
        let mut slots = BTreeMap::new();
        for (name, var) in data.iter() {
            let zeros = || Var::zeros(var.shape(), DType::F32, var.device());
            let average = if config.ema > 0.0 {
                Some(Var::from_tensor(&var.as_detached_tensor().copy()?)?)
            } else {
                None
            };
            slots.insert(name.clone(), Slot { var: var.clone(), first: zeros()?, second: zeros()?, average });
        }
        Ok(Self { slots, config, step: 0 })
    }

    /// Steps taken.
    #[must_use]
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Trainable numbers.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.slots.values().map(|s| s.var.elem_count()).sum()
    }

    /// One update with learning rate `lr`. A gradient that is not finite is skipped, not applied.
    ///
    /// # Errors
    /// When a gradient has another shape than its variable.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<StepStats> {
        let mut square = 0.0_f64;
        for slot in self.slots.values() {
            if let Some(grad) = grads.get(&slot.var) {
                square += sum_of_squares(grad)?;
            }
        }
        let grad_norm = square.sqrt();
        if !grad_norm.is_finite() {
            return Ok(StepStats { grad_norm, applied: false });
        }
        self.step += 1;
        let c = self.config;
        let scale = if c.clip > 0.0 && grad_norm > c.clip { c.clip / grad_norm } else { 1.0 };
        let (bias1, bias2) = (1.0 - c.beta1.powf(self.step as f64), 1.0 - c.beta2.powf(self.step as f64));
        for slot in self.slots.values() {
            let Some(grad) = grads.get(&slot.var) else { continue };
            let decays = c.decay_vectors || slot.var.rank() > 1;
            let update = Update {
                beta1: c.beta1 as f32,
                beta2: c.beta2 as f32,
                eps: c.eps as f32,
                rate: (lr / bias1) as f32,
                root_bias2: (1.0 / bias2.sqrt()) as f32,
                keep: if decays { (1.0 - lr * c.weight_decay) as f32 } else { 1.0 },
                scale: scale as f32,
            };
            update.apply(slot, &grad.contiguous()?)?;
        }
        if c.ema > 0.0 && self.step.is_multiple_of(EMA_EVERY) {
            // Early on the average would be mostly the random start: let it warm up.
            let warm = (1.0 + self.step as f64) / (10.0 + self.step as f64);
            let decay = c.ema.min(warm).powf(EMA_EVERY as f64);
            for slot in self.slots.values() {
                if let Some(average) = &slot.average {
                    blend(average, &slot.var, decay as f32)?;
                }
            }
        }
        Ok(StepStats { grad_norm, applied: true })
    }

    /// The averaged weights (the plain ones if no average is kept), by name.
    #[must_use]
    pub fn averaged(&self) -> BTreeMap<String, Tensor> {
        let pick = |s: &Slot| s.average.as_ref().unwrap_or(&s.var).as_detached_tensor();
        self.slots.iter().map(|(name, slot)| (name.clone(), pick(slot))).collect()
    }

    /// The plain weights, by name: no copies, and without gradients.
    #[must_use]
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        self.slots.iter().map(|(name, slot)| (name.clone(), slot.var.as_detached_tensor())).collect()
    }

    /// Everything a checkpoint needs: `model.*`, `first.*`, `second.*`, `average.*`.
    pub(super) fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut out = BTreeMap::new();
        for (name, slot) in &self.slots {
            out.insert(format!("model.{name}"), slot.var.as_detached_tensor());
            out.insert(format!("first.{name}"), slot.first.as_detached_tensor());
            out.insert(format!("second.{name}"), slot.second.as_detached_tensor());
            if let Some(average) = &slot.average {
                out.insert(format!("average.{name}"), average.as_detached_tensor());
            }
        }
        out
    }

    /// Puts back what [`Self::tensors`] gave.
    pub(super) fn restore(&mut self, tensors: &BTreeMap<String, Tensor>, step: u64) -> Result<()> {
        let find = |name: String, like: &Var| -> Result<Tensor> {
            match tensors.get(&name) {
                Some(t) if t.shape() == like.shape() => Ok(t.clone()),
                Some(t) => bail!("{name}: expected {:?}, found {:?}", like.shape(), t.shape()),
                None => bail!("{name}: missing"),
            }
        };
        for (name, slot) in &self.slots {
            slot.var.set(&find(format!("model.{name}"), &slot.var)?)?;
            slot.first.set(&find(format!("first.{name}"), &slot.first)?)?;
            slot.second.set(&find(format!("second.{name}"), &slot.second)?)?;
            if let Some(average) = &slot.average {
                average.set(&find(format!("average.{name}"), average)?)?;
            }
        }
        self.step = step;
        Ok(())
    }
}

fn sum_of_squares(grad: &Tensor) -> Result<f64> {
    if !grad.device().is_cpu() {
        return Ok(f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?));
    }
    let grad = grad.contiguous()?;
    let (storage, layout) = grad.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("optimizer: expected a CPU gradient") };
    let data = storage.as_slice::<f32>()?;
    let Some(data) = layout.contiguous_offsets().and_then(|(a, b)| data.get(a..b)) else {
        bail!("optimizer: a gradient's layout leaves its storage")
    };
    let parts: Vec<f64> = data
        .par_chunks(1 << 16)
        .map(|chunk| {
            chunk
                .chunks(1 << 10)
                .map(|c| {
                    f64::from(simd::dispatch(
                        #[inline(always)]
                        || simd::dot(c, c),
                    ))
                })
                .sum()
        })
        .collect();
    Ok(parts.iter().sum())
}

/// The constants of one update of one tensor.
#[derive(Clone, Copy)]
struct Update {
    beta1: f32,
    beta2: f32,
    eps: f32,
    rate: f32,
    root_bias2: f32,
    keep: f32,
    scale: f32,
}

impl Update {
    fn apply(self, slot: &Slot, grad: &Tensor) -> Result<()> {
        if slot.var.device().is_cpu() {
            slot.first.inplace_op2(grad, &Moment { factor: self.scale, decay: self.beta1, square: false })?;
            slot.second.inplace_op2(grad, &Moment { factor: self.scale, decay: self.beta2, square: true })?;
            return slot.var.inplace_op3(&slot.first, &slot.second, &Apply(self));
        }
        let grad = (grad * f64::from(self.scale))?;
        let first =
            ((slot.first.as_tensor() * f64::from(self.beta1))? + (&grad * f64::from(1.0 - self.beta1))?)?;
        let second = ((slot.second.as_tensor() * f64::from(self.beta2))?
            + (grad.sqr()? * f64::from(1.0 - self.beta2))?)?;
        let root = ((second.sqrt()? * f64::from(self.root_bias2))? + f64::from(self.eps))?;
        let step = (first.div(&root)? * f64::from(self.rate))?;
        slot.var.set(&((slot.var.as_tensor() * f64::from(self.keep))? - step)?)?;
        slot.first.set(&first)?;
        slot.second.set(&second)
    }
}

/// `m = decay m + (1 - decay) (factor g)^p`.
struct Moment {
    factor: f32,
    decay: f32,
    square: bool,
}

/// `w = keep w - rate m / (sqrt(v) root_bias2 + eps)`.
struct Apply(Update);

fn whole<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let data = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets().and_then(|(a, b)| data.get(a..b)) {
        Some(data) => Ok(data),
        None => bail!("optimizer: a tensor is not contiguous"),
    }
}

fn whole_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let CpuStorage::F32(data) = storage else { bail!("optimizer: expected f32 weights") };
    match layout.contiguous_offsets().and_then(|(a, b)| data.get_mut(a..b)) {
        Some(data) => Ok(data),
        None => bail!("optimizer: a tensor is not contiguous"),
    }
}

const CHUNK: usize = 1 << 14;

impl InplaceOp2 for Moment {
    fn name(&self) -> &'static str {
        "adam moment"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let (moment, grad) = (whole_mut(s1, l1)?, whole(s2, l2)?);
        if moment.len() != grad.len() {
            bail!("optimizer: expected a gradient of {} values, found {}", moment.len(), grad.len());
        }
        moment.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK)).for_each(|(moment, grad)| {
            simd::dispatch(
                #[inline(always)]
                || {
                    let rest = 1.0 - self.decay;
                    for (m, g) in moment.iter_mut().zip(grad) {
                        let g = g * self.factor;
                        let g = if self.square { g * g } else { g };
                        *m = self.decay * *m + rest * g;
                    }
                },
            );
        });
        Ok(())
    }
}

impl candle_core::InplaceOp3 for Apply {
    fn name(&self) -> &'static str {
        "adam update"
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<()> {
        let (w, m, v) = (whole_mut(s1, l1)?, whole(s2, l2)?, whole(s3, l3)?);
        let Update { rate, root_bias2, eps, keep, .. } = self.0;
        w.par_chunks_mut(CHUNK).zip(m.par_chunks(CHUNK)).zip(v.par_chunks(CHUNK)).for_each(|((w, m), v)| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for ((w, m), v) in w.iter_mut().zip(m).zip(v) {
                        *w = keep * *w - rate * m / (v.sqrt() * root_bias2 + eps);
                    }
                },
            );
        });
        Ok(())
    }
}

/// `average = decay average + (1 - decay) value`.
fn blend(average: &Var, value: &Var, decay: f32) -> Result<()> {
    if average.device().is_cpu() {
        return average.inplace_op2(value, &Moment { factor: 1.0, decay, square: false });
    }
    let kept = (average.as_tensor() * f64::from(decay))?;
    average.set(&(kept + (value.as_tensor() * f64::from(1.0 - decay))?)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Device;

    /// Against candle_nn's AdamW, which nobody here wrote.
    #[test]
    fn agrees_with_candle_nn() {
        use candle_nn::Optimizer;
        let map = VarMap::new();
        let start = Tensor::new(&[[0.5_f32, -1.0], [2.0, 0.1]], &Device::Cpu).unwrap();
        let theirs = Var::from_tensor(&start).unwrap();
        let ours = map.get((2, 2), "w", candle_nn::Init::Const(0.0), DType::F32, &Device::Cpu).unwrap();
        map.data().lock().unwrap()["w"].set(&start).unwrap();
        let config = AdamWConfig { clip: 0.0, ema: 0.0, ..AdamWConfig::default() };
        let mut optimizer = AdamW::new(&map, config).unwrap();
        let params = candle_nn::ParamsAdamW {
            lr: 0.01,
            beta1: config.beta1,
            beta2: config.beta2,
            eps: config.eps,
            weight_decay: config.weight_decay,
        };
        let mut reference = candle_nn::AdamW::new(vec![theirs.clone()], params).unwrap();
        for _ in 0..5 {
            let loss = |w: &Tensor| (w.sqr().unwrap() * w).unwrap().sum_all().unwrap();
            let var = map.data().lock().unwrap()["w"].clone();
            let stats = optimizer.step(&loss(var.as_tensor()).backward().unwrap(), 0.01).unwrap();
            assert!(stats.applied);
            reference.backward_step(&loss(theirs.as_tensor())).unwrap();
        }
        let _ = ours;
        let var = map.data().lock().unwrap()["w"].clone();
        let a = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let b = theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        let map = VarMap::new();
        map.get(3, "w", candle_nn::Init::Const(1.0), DType::F32, &Device::Cpu).unwrap();
        let mut optimizer = AdamW::new(&map, AdamWConfig::default()).unwrap();
        let var = map.data().lock().unwrap()["w"].clone();
        let grads = (var.as_tensor() * f64::NAN).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(!optimizer.step(&grads, 0.1).unwrap().applied);
        assert_eq!(var.to_vec1::<f32>().unwrap(), vec![1.0; 3]);
        assert_eq!(optimizer.step_count(), 0);
    }
}
