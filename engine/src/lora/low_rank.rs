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
        Ok(Self { down: Linear::from_tensors(down, None), up: Linear::from_tensors(up, None), dropout: None })
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

    /// The change itself as our weights are stored, `[in, out]`.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn delta(&self) -> Result<Tensor> {
        self.down.weight()?.matmul(&self.up.weight()?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn dropout_zeroes_its_share_and_keeps_the_mean() {
        let x = Tensor::ones((100, 100), candle_core::DType::F32, &Device::Cpu).unwrap();
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
