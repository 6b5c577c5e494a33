//! Convolutions with PyTorch's weight layouts and names (`weight`, `bias`).

mod lattice;
mod operator;
mod problem;
#[cfg(test)]
mod tests;

use super::kernel::Precision;
use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use operator::{Direction, convolve};

/// Kernel, stride, padding, dilation and groups of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Kernel size, per axis.
    pub kernel: usize,
    /// Step between outputs, per axis.
    pub stride: usize,
    /// Zeros added on each side, per axis.
    pub padding: usize,
    /// Distance between kernel taps.
    pub dilation: usize,
    /// Channel groups.
    pub groups: usize,
}

impl ConvGeometry {
    /// A stride-1 convolution of odd kernel that keeps the size.
    #[must_use]
    pub fn same(kernel: usize) -> Self {
        Self { kernel, stride: 1, padding: kernel / 2, dilation: 1, groups: 1 }
    }
}

/// Convolution weights, bias and geometry: what the layers below share.
#[derive(Debug, Clone)]
struct Convolution {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: ConvGeometry,
    precision: Precision,
}

impl Convolution {
    /// Loads (or creates, under a `VarMap`) `weight` and, if wanted, `bias`; `axes` is 1 or 2.
    fn new(
        (input, output): (usize, usize),
        axes: usize,
        geometry: ConvGeometry,
        bias: bool,
        vs: &VarBuilder,
    ) -> Result<Self> {
        if geometry.groups == 0 || !input.is_multiple_of(geometry.groups) {
            bail!("convolution: {input} channels do not divide into {} groups", geometry.groups);
        }
        let mut shape = vec![output, input / geometry.groups];
        shape.resize(2 + axes, geometry.kernel);
        let weight = vs.get_with_hints(shape, "weight", candle_nn::init::DEFAULT_KAIMING_NORMAL)?;
        let bias = bias.then(|| vs.get_with_hints(output, "bias", candle_nn::init::ZERO)).transpose()?;
        Ok(Self { weight, bias, geometry, precision: Precision::F32 })
    }

    fn forward(&self, x: &Tensor, direction: Direction) -> Result<Tensor> {
        convolve(x, &self.weight, self.bias.as_ref(), self.geometry, direction, self.precision)
    }
}

/// 2-D convolution over `[batch, channels, height, width]`; weight `[out, in/groups, k, k]`.
#[derive(Debug, Clone)]
pub struct Conv2d(Convolution);

impl Conv2d {
    /// Loads (or creates, under a `VarMap`) `weight` and `bias`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn new(input: usize, output: usize, geometry: ConvGeometry, vs: VarBuilder) -> Result<Self> {
        Convolution::new((input, output), 2, geometry, true, &vs).map(Self)
    }

    /// The same, without bias.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn without_bias(input: usize, output: usize, geometry: ConvGeometry, vs: VarBuilder) -> Result<Self> {
        Convolution::new((input, output), 2, geometry, false, &vs).map(Self)
    }

    /// From tensors.
    #[must_use]
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>, geometry: ConvGeometry) -> Self {
        Self(Convolution { weight, bias, geometry, precision: Precision::F32 })
    }

    /// The same convolution, computed with `precision`.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.0.precision = precision;
        self
    }

    /// `[batch, in, h, w]` to `[batch, out, h', w']`.
    ///
    /// # Errors
    /// When the channels disagree or the kernel does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x, Direction::Forward)
    }

    /// The weight `[out, in/groups, k, k]`.
    #[must_use]
    pub fn weight(&self) -> &Tensor {
        &self.0.weight
    }
}

/// 1-D convolution over `[batch, channels, time]`; weight `[out, in/groups, k]`.
#[derive(Debug, Clone)]
pub struct Conv1d(Convolution);

impl Conv1d {
    /// Loads (or creates, under a `VarMap`) `weight` and `bias`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn new(input: usize, output: usize, geometry: ConvGeometry, vs: VarBuilder) -> Result<Self> {
        Convolution::new((input, output), 1, geometry, true, &vs).map(Self)
    }

    /// From tensors (weight norm already folded).
    #[must_use]
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>, geometry: ConvGeometry) -> Self {
        Self(Convolution { weight, bias, geometry, precision: Precision::F32 })
    }

    /// The same convolution, computed with `precision`.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.0.precision = precision;
        self
    }

    /// `[batch, in, time]` to `[batch, out, time']`.
    ///
    /// # Errors
    /// When the channels disagree or the kernel does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x, Direction::Forward)
    }
}

/// Transposed 1-D convolution; weight `[in, out/groups, k]`. `geometry.padding` samples are cropped from each end.
#[derive(Debug, Clone)]
pub struct ConvTranspose1d {
    convolution: Convolution,
    output_padding: usize,
}

impl ConvTranspose1d {
    /// From tensors (weight norm already folded).
    #[must_use]
    pub fn from_tensors(
        weight: Tensor,
        bias: Option<Tensor>,
        geometry: ConvGeometry,
        output_padding: usize,
    ) -> Self {
        let convolution = Convolution { weight, bias, geometry, precision: Precision::F32 };
        Self { convolution, output_padding }
    }

    /// The same convolution, computed with `precision`.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.convolution.precision = precision;
        self
    }

    /// `[batch, in, time]` to `[batch, out, (time-1)*stride + dilation*(kernel-1) + 1 - 2*padding + output_padding]`.
    ///
    /// # Errors
    /// When the channels disagree or nothing is left after cropping.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.convolution.forward(x, Direction::Transposed { output_padding: self.output_padding })
    }
}
