//! Convolutions as differentiable operations on tensors.

use super::ConvGeometry;
use super::problem::{Extent, Problem};
use crate::layers::kernel::Precision;
use crate::layers::op;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

/// Which way a convolution runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the weight's second axis to its first.
    Forward,
    /// The gradient of the forward convolution as a layer: from the weight's first axis to its second.
    Transposed {
        /// Samples appended to the output.
        output_padding: usize,
    },
}

/// Convolves `x` `[batch, channels, time]` or `[batch, channels, height, width]`.
pub(super) fn convolve(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: ConvGeometry,
    direction: Direction,
    precision: Precision,
) -> Result<Tensor> {
    if x.rank() != weight.rank() || !(3..=4).contains(&x.rank()) {
        bail!("convolution: an input {:?} does not fit a weight {:?}", x.shape(), weight.shape());
    }
    if !x.device().is_cpu() {
        return composed(x, weight, bias, geometry, direction);
    }
    let op = Convolve { problem: problem(x, weight, geometry, direction, precision)?, direction };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
        None => x.apply_op2(&weight, op),
    }
}

fn problem(
    x: &Tensor,
    weight: &Tensor,
    geometry: ConvGeometry,
    direction: Direction,
    precision: Precision,
) -> Result<Problem> {
    let extent = |axis: usize| match (x.dims().get(axis), weight.dims().get(axis)) {
        (Some(input), Some(kernel)) => {
            let geometry = ConvGeometry { kernel: *kernel, ..geometry };
            match direction {
                Direction::Forward => Extent::forward(*input, geometry),
                Direction::Transposed { output_padding } => {
                    Extent::transposed(*input, geometry, output_padding)
                }
            }
        }
        _ => Ok(Extent::NONE),
    };
    let (batch, channels, first) = (x.dim(0)?, x.dim(1)?, weight.dim(0)?);
    let (input_channels, output_channels) = match direction {
        Direction::Forward => (channels, first),
        Direction::Transposed { .. } if first == channels => (weight.dim(1)? * geometry.groups, first),
        Direction::Transposed { .. } => {
            bail!("transposed convolution: {channels} channels do not fit a weight {:?}", weight.shape())
        }
    };
    let (rows, cols) = (extent(2)?, extent(3)?);
    let groups = geometry.groups;
    let problem = Problem { batch, groups, input_channels, output_channels, rows, cols, precision };
    problem.check_channels(weight.dims())?;
    Ok(problem)
}

/// Of candle's own operations, for other devices.
fn composed(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: ConvGeometry,
    direction: Direction,
) -> Result<Tensor> {
    let y = match direction {
        Direction::Forward if x.rank() == 3 => x.conv1d(weight, g.padding, g.stride, g.dilation, g.groups)?,
        Direction::Forward => x.conv2d(weight, g.padding, g.stride, g.dilation, g.groups)?,
        Direction::Transposed { output_padding } if x.rank() == 3 => {
            x.conv_transpose1d(weight, g.padding, output_padding, g.stride, g.dilation, g.groups)?
        }
        Direction::Transposed { .. } => bail!("transposed convolution: only signals in time are supported"),
    };
    match bias {
        Some(bias) => {
            let mut shape = vec![1; y.rank()];
            if let Some(channels) = shape.get_mut(1) {
                *channels = bias.elem_count();
            }
            y.broadcast_add(&bias.reshape(shape)?)
        }
        None => Ok(y),
    }
}

struct Convolve {
    problem: Problem,
    direction: Direction,
}

impl Convolve {
    /// Channels, rows and columns of what the operation gives.
    fn output(&self) -> (usize, usize, usize) {
        let p = &self.problem;
        match self.direction {
            Direction::Forward => (p.output_channels, p.rows.output, p.cols.output),
            Direction::Transposed { .. } => (p.input_channels, p.rows.input, p.cols.input),
        }
    }

    fn run(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        rank: usize,
    ) -> Result<(CpuStorage, Shape)> {
        let (channels, rows, cols) = self.output();
        if let Some(bias) = bias.filter(|bias| bias.len() != channels) {
            bail!("convolution: expected a bias of {channels}, found {}", bias.len());
        }
        let y = match self.direction {
            Direction::Forward => self.problem.forward(x, weight, bias),
            Direction::Transposed { .. } => self.problem.input_gradient(x, weight, bias),
        };
        let shape = match rank {
            3 => Shape::from((self.problem.batch, channels, rows)),
            _ => Shape::from((self.problem.batch, channels, rows, cols)),
        };
        Ok((CpuStorage::F32(y), shape))
    }

    /// Gradients of the input and the weight, of those that are wanted.
    fn gradients(
        &self,
        x: &Tensor,
        weight: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let problem = &self.problem;
        op::with_slice(grad, |g| {
            let dx = if x.track_op() {
                let dx = op::with_slice(weight, |w| {
                    Ok(match self.direction {
                        Direction::Forward => problem.input_gradient(g, w, None),
                        Direction::Transposed { .. } => problem.forward(g, w, None),
                    })
                })?;
                Some(Tensor::from_vec(dx, x.shape(), x.device())?)
            } else {
                None
            };
            let dw = if weight.track_op() {
                let dw = op::with_slice(x, |x| {
                    Ok(match self.direction {
                        Direction::Forward => problem.weight_gradient(x, g),
                        Direction::Transposed { .. } => problem.weight_gradient(g, x),
                    })
                })?;
                Some(Tensor::from_vec(dw, weight.shape(), weight.device())?)
            } else {
                None
            };
            Ok((dx, dw))
        })
    }
}

impl CustomOp2 for Convolve {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (op::slice(s1, l1, "convolution")?, op::slice(s2, l2, "convolution")?);
        self.run(x, weight, None, l1.shape().rank())
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, weight, grad)
    }
}

impl CustomOp3 for Convolve {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (op::slice(s1, l1, "convolution")?, op::slice(s2, l2, "convolution")?);
        self.run(x, weight, Some(op::slice(s3, l3, "convolution")?), l1.shape().rank())
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.gradients(x, weight, grad)?;
        let db = if bias.track_op() {
            let (channels, rows, cols) = self.output();
            let sums = op::with_slice(grad, |g| Ok(Problem::channel_sums(g, channels, rows * cols)))?;
            Some(Tensor::from_vec(sums, channels, bias.device())?)
        } else {
            None
        };
        Ok((dx, dw, db))
    }
}
