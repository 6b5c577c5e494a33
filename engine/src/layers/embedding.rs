//! Lookup tables.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// A table of `[entries, width]` vectors, stored as `weight`.
#[derive(Debug, Clone)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// Loads (or creates, under a `VarMap`, N(0, 0.02)) `weight`.
    ///
    /// # Errors
    /// When the tensor is missing or of another shape.
    pub fn new(entries: usize, width: usize, vs: VarBuilder) -> Result<Self> {
        let init = candle_nn::Init::Randn { mean: 0.0, stdev: 0.02 };
        Ok(Self { weight: vs.get_with_hints((entries, width), "weight", init)? })
    }

    /// From a tensor `[entries, width]`.
    #[must_use]
    pub fn from_tensor(weight: Tensor) -> Self {
        Self { weight }
    }

    /// u32 `ids` of any shape to that shape with `width` appended.
    ///
    /// # Errors
    /// When an id is out of range.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let mut shape = ids.dims().to_vec();
        shape.push(self.weight.dim(1)?);
        self.weight.index_select(&ids.flatten_all()?, 0)?.reshape(shape)
    }

    /// The table `[entries, width]`.
    #[must_use]
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}
