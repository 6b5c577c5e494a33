//! The change of one matrix.

use crate::layers::kernel::{self, Matrix};
use crate::layers::{Linear, is_fused, slice, with_slice};
use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Tensor, bail};
use std::sync::Arc;

/// `sum of s (alpha / r) B A` for one matrix, applied without forming the product.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// All `A` side by side, `[in, sum of ranks]`.
    down: Linear,
    /// All `s (alpha / r) B` one below the other, `[sum of ranks, out]`.
    up: Linear,
    /// Both in the form that is applied fastest: on the CPU, without a gradient.
    fixed: Option<Arc<kernel::LowRank>>,
    /// In training only.
    dropout: Option<Dropout>,
}

/// Zeroes a random share of a matrix's input on the way to `A`, as LoRA's training may.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The share, 0 to below 1.
    pub rate: f64,
    /// Seed of the pattern.
    pub seed: u64,
}

impl Dropout {
    /// `x` with a share of its values zeroed and the others scaled up to keep the mean.
    fn apply(self, x: &Tensor) -> Result<Tensor> {
        let keep = 1.0 - self.rate;
        let limit = (keep * 2f64.powi(32)) as u64;
        let mut state = self.seed;
        let pattern = (0..x.elem_count()).map(|_| {
            // splitmix64: cheap, and the same everywhere.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            if (z ^ (z >> 31)) >> 32 < limit { (1.0 / keep) as f32 } else { 0.0 }
        });
        x * Tensor::from_vec(pattern.collect::<Vec<f32>>(), x.shape(), x.device())?
    }
}

impl LowRank {
    /// Of `A` `[rank, in]`, `B` `[out, rank]` and the scale `s alpha / r` of each adapter, whose shapes have been checked.
    pub(super) fn new(pairs: &[(&Tensor, &Tensor, f64)]) -> Result<Self> {
        let mut downs = Vec::with_capacity(pairs.len());
        let mut ups = Vec::with_capacity(pairs.len());
        for (a, b, scale) in pairs {
            downs.push(a.t()?);
            ups.push((b.t()? * *scale)?);
        }
        let (down, up) = (Tensor::cat(&downs, 1)?.contiguous()?, Tensor::cat(&ups, 0)?.contiguous()?);
        let fixed = if is_fixed(&down) && is_fixed(&up) {
            let (input, rank, output) = (down.dim(0)?, down.dim(1)?, up.dim(1)?);
            let matrices = |down: &[f32], up: &[f32]| {
                kernel::LowRank::new(
                    Matrix::row_major(down, input, rank),
                    Matrix::row_major(up, rank, output),
                )
            };
            with_slice(&down, |down| with_slice(&up, |up| Ok(matrices(down, up))))?
        } else {
            None
        };
        Ok(Self {
            down: Linear::from_tensors(down, None),
            up: Linear::from_tensors(up, None),
            fixed: fixed.map(Arc::new),
            dropout: None,
        })
    }

    /// The same with dropout.
    pub(super) fn with_dropout(mut self, dropout: Dropout) -> Self {
        self.dropout = Some(dropout).filter(|dropout| dropout.rate > 0.0);
        self
    }

    /// What is added to the matrix's output: `[..., in]` to `[..., out]`. Gradients reach `A` and `B`.
    ///
    /// # Errors
    /// When the last dimension of `x` is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.dropout {
            Some(dropout) => self.up.forward(&self.down.forward(&dropout.apply(x)?)?),
            None => self.up.forward(&self.down.forward(x)?),
        }
    }

    /// `y` `[..., out]`, which is nobody else's, plus [`Self::forward`].
    ///
    /// # Errors
    /// When the shapes disagree.
    pub fn add_to(&self, y: Tensor, x: &Tensor) -> Result<Tensor> {
        match &self.fixed {
            Some(fixed) if is_fixed(&y) && is_fixed(x) && self.dropout.is_none() => {
                let y = y.contiguous()?;
                y.inplace_op2(&x.contiguous()?, &Fixed(fixed))?;
                Ok(y)
            }
            _ => y + self.forward(x)?,
        }
    }

    /// The change itself as our weights are stored, `[in, out]`.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn delta(&self) -> Result<Tensor> {
        self.down.weight()?.matmul(&self.up.weight()?)
    }
}

/// Whether a tensor of f32 lies on the CPU and takes no gradient.
fn is_fixed(tensor: &Tensor) -> bool {
    is_fused(tensor) && tensor.dtype() == DType::F32 && !tensor.track_op()
}

/// Adds a change to an output in place.
struct Fixed<'a>(&'a kernel::LowRank);

impl InplaceOp2 for Fixed<'_> {
    fn name(&self) -> &'static str {
        "low rank"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, of_y: &Layout, x: &CpuStorage, of_x: &Layout) -> Result<()> {
        let rows = |layout: &Layout, width: usize| match layout.dims().split_last() {
            Some((last, rows)) if *last == width => Ok(rows.iter().product::<usize>()),
            _ => bail!("low rank: expected [..., {width}], found {:?}", layout.shape()),
        };
        if rows(of_y, self.0.output())? != rows(of_x, self.0.input())? {
            bail!("low rank: {:?} does not fit {:?}", of_x.shape(), of_y.shape());
        }
        let CpuStorage::F32(values) = y else { bail!("low rank: expected f32") };
        let part = of_y.contiguous_offsets().and_then(|(start, end)| values.get_mut(start..end));
        let Some(out) = part else { bail!("low rank: the output is not contiguous") };
        self.0.add(slice(x, of_x, "low rank")?, out);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn fixed_factors_change_as_trained_ones_do() {
        let device = Device::Cpu;
        let random = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, &device).unwrap();
        let (a, b, x, y) = (random(&[4, 32]), random(&[20, 4]), random(&[2, 5, 32]), random(&[2, 5, 20]));
        let fixed = LowRank::new(&[(&a, &b, 0.5), (&a, &b, -2.0)]).unwrap();
        let (a, b) = (candle_core::Var::from_tensor(&a).unwrap(), candle_core::Var::from_tensor(&b).unwrap());
        let trained = LowRank::new(&[(&a, &b, 0.5), (&a, &b, -2.0)]).unwrap();
        assert!(fixed.fixed.is_some() && trained.fixed.is_none());
        let want = trained.add_to(y.copy().unwrap(), &x).unwrap();
        let got = fixed.add_to(y.copy().unwrap(), &x).unwrap();
        let error = (want - got).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(error < 1e-4, "{error}");
        // Rows of another size, and another number of them.
        assert!(fixed.add_to(y.copy().unwrap(), &random(&[2, 5, 31])).is_err());
        assert!(fixed.add_to(y.copy().unwrap(), &random(&[2, 4, 32])).is_err());
    }

    #[test]
    fn dropout_zeroes_its_share_and_keeps_the_mean() {
        let x = Tensor::ones((100, 100), DType::F32, &Device::Cpu).unwrap();
        let drop = |seed| {
            Dropout { rate: 0.25, seed }.apply(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let y = drop(1);
        // Of 10,000 draws the share is within four standard deviations.
        let zeros = y.iter().filter(|y| **y == 0.0).count() as f64 / 1e4;
        assert!((zeros - 0.25).abs() < 4.0 * (0.25 * 0.75 / 1e4_f64).sqrt(), "{zeros}");
        assert!(y.iter().all(|y| *y == 0.0 || (*y - 4.0 / 3.0).abs() < 1e-6));
        assert_eq!(y, drop(1));
        assert_ne!(y, drop(2));
    }
}
