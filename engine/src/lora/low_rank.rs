//! The change of one matrix.

use crate::layers::Linear;
use candle_core::{Result, Tensor};

/// `s (alpha / r) B A` for one matrix, applied without forming the product.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `[rank, in]`.
    a: Tensor,
    /// `[out, rank]`.
    b: Tensor,
    /// `s alpha / r`.
    scale: f64,
}

impl LowRank {
    /// Of `a` `[rank, in]` and `b` `[out, rank]`, whose shapes have been checked.
    pub(super) fn new(a: Tensor, b: Tensor, scale: f64) -> Self {
        Self { a, b, scale }
    }

    /// What is added to the matrix's output: `[..., in]` to `[..., out]`. Gradients reach `A` and `B`.
    ///
    /// # Errors
    /// When the last dimension of `x` is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let down = Linear::from_tensors(self.a.t()?.contiguous()?, None);
        let up = Linear::from_tensors(self.b.t()?.contiguous()?, None);
        up.forward(&down.forward(x)?)? * self.scale
    }

    /// The change itself as our weights are stored, `[in, out]`.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn delta(&self) -> Result<Tensor> {
        self.a.t()?.contiguous()?.matmul(&self.b.t()?.contiguous()?)? * self.scale
    }
}
