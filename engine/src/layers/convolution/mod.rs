//! Convolutions with PyTorch's weight layouts and names (`weight`, `bias`).

mod arrange;
mod lattice;
mod operator;
mod problem;
#[cfg(test)]
mod tests;

use super::kernel::Precision;
use super::norm::GroupNorm;
use super::{leaky_relu, reflect, silu};
use arrange::Before;
use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use lattice::Edge;
use operator::{Direction, Weight, convolve, convolve_fused};

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

/// What is done to the input of a convolution; in inference while it is read.
#[derive(Debug, Clone, Copy)]
pub enum Activation<'a> {
    /// Nothing.
    None,
    /// [`leaky_relu`] of this slope.
    LeakyRelu(f64),
    /// A normalisation and [`silu`].
    NormSilu(&'a GroupNorm),
}

impl Activation<'_> {
    fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::None => Ok(x.clone()),
            Self::LeakyRelu(slope) => leaky_relu(x, slope),
            Self::NormSilu(norm) => silu(&norm.forward(x)?),
        }
    }

    /// The same as what a convolution can do to each element.
    fn before(self, x: &Tensor) -> Result<Before> {
        Ok(match self {
            Self::None => Before::Nothing,
            Self::LeakyRelu(slope) => Before::LeakyRelu(slope as f32),
            Self::NormSilu(norm) => {
                let (scale, shift) = norm.affine(x)?;
                Before::ScaledSilu { scale, shift }
            }
        })
    }
}

/// Convolution weights, bias and geometry: what the layers below share.
#[derive(Debug, Clone)]
struct Convolution {
    weight: Weight,
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
        Ok(Self::from_tensors(weight, bias, geometry))
    }

    fn from_tensors(weight: Tensor, bias: Option<Tensor>, geometry: ConvGeometry) -> Self {
        Self { weight: Weight::Tensor(weight), bias, geometry, precision: Precision::F32 }
    }

    /// The same, computed with `precision`. On the CPU, weights that take no gradient are kept as its products want
    /// them from here on; gradients still pass to the input.
    fn with_precision(mut self, direction: Direction, precision: Precision) -> Self {
        self.precision = precision;
        if !self.bias.as_ref().is_some_and(Tensor::track_op) {
            self.weight = self.weight.frozen(self.geometry, direction, precision);
        }
        self
    }

    fn forward(&self, x: &Tensor, direction: Direction) -> Result<Tensor> {
        convolve(x, &self.weight, self.bias.as_ref(), self.geometry, direction, self.precision)
    }

    /// The convolution of what `activation` makes of `x`, with `edge` around it, added to `residual`: at once where no
    /// gradient is wanted, else one after the other.
    fn forward_fused(
        &self,
        x: &Tensor,
        direction: Direction,
        (activation, edge): (Activation, Edge),
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let tracks = x.track_op() || residual.is_some_and(Tensor::track_op);
        match &self.weight {
            Weight::Frozen { prepared, shape } if !tracks => convolve_fused(
                x,
                (prepared, shape),
                self.bias.as_ref(),
                self.geometry,
                direction,
                self.precision,
                (activation.before(x)?, edge),
                residual,
            ),
            weight => {
                let x = activation.apply(x)?;
                let y = match edge {
                    Edge::Zero => self.forward(&x, direction)?,
                    Edge::Mirror => {
                        let geometry = ConvGeometry { padding: 0, ..self.geometry };
                        let x = reflect(&x, self.geometry.padding)?;
                        convolve(&x, weight, self.bias.as_ref(), geometry, direction, self.precision)?
                    }
                };
                match residual {
                    Some(residual) => residual + y,
                    None => Ok(y),
                }
            }
        }
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
        Self(Convolution::from_tensors(weight, bias, geometry))
    }

    /// The same convolution, computed with `precision`.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self(self.0.with_precision(Direction::Forward, precision))
    }

    /// `[batch, in, h, w]` to `[batch, out, h', w']`.
    ///
    /// # Errors
    /// When the channels disagree or the kernel does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x, Direction::Forward)
    }

    /// [`Conv2d::forward`] of what `activation` makes of `x`, added to `residual` if there is one.
    ///
    /// # Errors
    /// When the channels disagree, the kernel does not fit, or the residual is of another shape than the output.
    pub fn forward_fused(
        &self,
        x: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.0.forward_fused(x, Direction::Forward, (activation, Edge::Zero), residual)
    }

    /// The weight `[out, in/groups, k, k]`; `None` once it is kept in another form (see [`Conv2d::with_precision`]).
    #[must_use]
    pub fn weight(&self) -> Option<&Tensor> {
        match &self.0.weight {
            Weight::Tensor(weight) => Some(weight),
            Weight::Frozen { .. } => None,
        }
    }
}

/// 1-D convolution over `[batch, channels, time]`; weight `[out, in/groups, k]`.
#[derive(Debug, Clone)]
pub struct Conv1d {
    convolution: Convolution,
    edge: Edge,
}

impl Conv1d {
    /// Loads (or creates, under a `VarMap`) `weight` and `bias`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn new(input: usize, output: usize, geometry: ConvGeometry, vs: VarBuilder) -> Result<Self> {
        let convolution = Convolution::new((input, output), 1, geometry, true, &vs)?;
        Ok(Self { convolution, edge: Edge::Zero })
    }

    /// From tensors (weight norm already folded).
    #[must_use]
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>, geometry: ConvGeometry) -> Self {
        Self { convolution: Convolution::from_tensors(weight, bias, geometry), edge: Edge::Zero }
    }

    /// The same convolution, computed with `precision`.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { convolution: self.convolution.with_precision(Direction::Forward, precision), ..self }
    }

    /// The same convolution, padded with the signal mirrored at its end samples instead of zeros.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self { edge: Edge::Mirror, ..self }
    }

    /// `[batch, in, time]` to `[batch, out, time']`.
    ///
    /// # Errors
    /// When the channels disagree, the kernel does not fit, or mirrored padding is longer than the signal.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_fused(x, Activation::None, None)
    }

    /// [`Conv1d::forward`] of what `activation` makes of `x`, added to `residual` if there is one.
    ///
    /// # Errors
    /// As [`Conv1d::forward`], and when the residual is of another shape than the output.
    pub fn forward_fused(
        &self,
        x: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (time, padding) = (x.dim(2)?, self.convolution.geometry.padding);
        if self.edge == Edge::Mirror && time <= padding {
            bail!("convolution: {padding} mirrored samples do not fit a signal of {time}");
        }
        self.convolution.forward_fused(x, Direction::Forward, (activation, self.edge), residual)
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
        Self { convolution: Convolution::from_tensors(weight, bias, geometry), output_padding }
    }

    /// The same convolution, computed with `precision`.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        let direction = self.direction();
        Self { convolution: self.convolution.with_precision(direction, precision), ..self }
    }

    fn direction(&self) -> Direction {
        Direction::Transposed { output_padding: self.output_padding }
    }

    /// `[batch, in, time]` to `[batch, out, (time-1)*stride + dilation*(kernel-1) + 1 - 2*padding + output_padding]`.
    ///
    /// # Errors
    /// When the channels disagree or nothing is left after cropping.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_fused(x, Activation::None)
    }

    /// [`ConvTranspose1d::forward`] of what `activation` makes of `x`.
    ///
    /// # Errors
    /// As [`ConvTranspose1d::forward`].
    pub fn forward_fused(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.convolution.forward_fused(x, self.direction(), (activation, Edge::Zero), None)
    }
}
