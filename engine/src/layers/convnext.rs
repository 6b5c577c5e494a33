//! The ConvNeXt block (Liu et al. 2022), without layer scale.

use super::kernel::Precision;
use super::{Depthwise, LayerNorm, Linear};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// Depthwise convolution, LayerNorm, and a two-layer perceptron, around a residual.
#[derive(Debug, Clone)]
pub struct ConvNext {
    spatial: Depthwise,
    norm: LayerNorm,
    expand: Linear,
    project: Linear,
}

impl ConvNext {
    /// A block of `width` channels that widens to `hidden` inside; `kernel` is `(height, width)`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn new(
        width: usize,
        hidden: usize,
        kernel: (usize, usize),
        precision: Precision,
        vs: VarBuilder,
    ) -> Result<Self> {
        Ok(Self {
            spatial: Depthwise::new(width, kernel, vs.pp("dwconv"))?,
            norm: LayerNorm::new(width, 1e-6, vs.pp("norm"))?,
            expand: Linear::new(width, hidden, vs.pp("fc1"))?.with_precision(precision),
            project: Linear::new(hidden, width, vs.pp("fc2"))?.with_precision(precision),
        })
    }

    /// `[batch, height, width, channels]` to the same shape.
    ///
    /// # Errors
    /// When the channels disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.norm.forward(&self.spatial.forward(x)?)?;
        self.project.forward_onto(&self.expand.forward_gelu_tanh(&h)?, x)
    }
}
