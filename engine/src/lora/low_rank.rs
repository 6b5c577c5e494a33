//! The change of one matrix.

use crate::layers::Linear;
use candle_core::{Result, Tensor};

/// `sum of s (alpha / r) B A` for one matrix, applied without forming the product.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// All `A` side by side, `[in, sum of ranks]`.
    down: Linear,
    /// All `s (alpha / r) B` one below the other, `[sum of ranks, out]`.
    up: Linear,
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
        Ok(Self { down: Linear::from_tensors(down, None), up: Linear::from_tensors(up, None) })
    }

    /// What is added to the matrix's output: `[..., in]` to `[..., out]`. Gradients reach `A` and `B`.
    ///
    /// # Errors
    /// When the last dimension of `x` is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.up.forward(&self.down.forward(x)?)
    }

    /// The change itself as our weights are stored, `[in, out]`.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn delta(&self) -> Result<Tensor> {
        self.down.weight()?.matmul(&self.up.weight()?)
    }
}
