//! Convolutions as differentiable operations on tensors.

use super::ConvGeometry;
use super::arrange::Before;
use super::lattice::Edge;
use super::problem::{Extent, Fused, Prepared, Problem};
use crate::layers::kernel::Precision;
use crate::layers::op;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

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

impl Direction {
    fn is_transposed(self) -> bool {
        matches!(self, Self::Transposed { .. })
    }
}

/// A convolution's weights.
#[derive(Debug, Clone)]
pub(super) enum Weight {
    /// f32 in PyTorch's layout, on any device, with or without a gradient.
    Tensor(Tensor),
    /// On the CPU and without a gradient: as the products want them, and in that form alone.
    Frozen {
        /// The weights.
        prepared: Arc<Prepared>,
        /// What their shape was.
        shape: Vec<usize>,
    },
}

impl Weight {
    /// Keeps a weight without a gradient in the form that multiplies fastest with `precision`.
    pub fn frozen(self, geometry: ConvGeometry, direction: Direction, precision: Precision) -> Self {
        let Self::Tensor(weight) = &self else { return self };
        if weight.track_op() {
            return self;
        }
        if !op::is_fused(weight) {
            return Self::Tensor(op::stored(weight.clone(), precision));
        }
        let kernel = kernel_problem(weight.dims(), geometry, precision);
        let prepared = kernel.and_then(|kernel| {
            op::with_slice(weight, |values| Ok(prepare(&kernel, values, direction.is_transposed())))
        });
        match prepared {
            Ok(prepared @ Prepared::Products(_)) => {
                Self::Frozen { prepared: Arc::new(prepared), shape: weight.dims().to_vec() }
            }
            _ => self,
        }
    }
}

fn prepare(problem: &Problem, weight: &[f32], transposed: bool) -> Prepared {
    if transposed { problem.prepare_input_gradient(weight) } else { problem.prepare_forward(weight) }
}

/// Convolves `x` `[batch, channels, time]` or `[batch, channels, height, width]`.
pub(super) fn convolve(
    x: &Tensor,
    weight: &Weight,
    bias: Option<&Tensor>,
    geometry: ConvGeometry,
    direction: Direction,
    precision: Precision,
) -> Result<Tensor> {
    match weight {
        Weight::Tensor(weight) if !op::is_fused(x) => composed(x, weight, bias, geometry, direction),
        Weight::Tensor(weight) => {
            let problem = problem(x, weight.dims(), geometry, direction, precision)?;
            let op = Convolve { problem, direction };
            let (x, weight) = (x.contiguous()?, weight.contiguous()?);
            match bias {
                Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
                None => x.apply_op2(&weight, op),
            }
        }
        Weight::Frozen { prepared, shape } => {
            let problem = problem(x, shape, geometry, direction, precision)?;
            let bias = bias.map(Tensor::to_vec1).transpose()?;
            let convolve = Convolve { problem, direction };
            let op = ConvolveFrozen { convolve, prepared: prepared.clone(), bias, before: Before::Nothing };
            x.contiguous()?.apply_op1(op)
        }
    }
}

/// The same with frozen weights and without any gradient, on what `before` makes of `x`, with `edge` around it, added
/// to `residual`.
#[allow(clippy::too_many_arguments)] // one operation's operands
pub(super) fn convolve_fused(
    x: &Tensor,
    (prepared, shape): (&Arc<Prepared>, &[usize]),
    bias: Option<&Tensor>,
    geometry: ConvGeometry,
    direction: Direction,
    precision: Precision,
    (before, edge): (Before, Edge),
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let mut problem = problem(x, shape, geometry, direction, precision)?;
    (problem.rows.edge, problem.cols.edge) = (edge, edge);
    let bias = bias.map(Tensor::to_vec1).transpose()?;
    let convolve = Convolve { problem, direction };
    let op = ConvolveFrozen { convolve, prepared: prepared.clone(), bias, before };
    match residual {
        Some(residual) => x.contiguous()?.apply_op2(&residual.contiguous()?, op),
        None => x.contiguous()?.apply_op1(op),
    }
}

fn problem(
    x: &Tensor,
    weight: &[usize],
    geometry: ConvGeometry,
    direction: Direction,
    precision: Precision,
) -> Result<Problem> {
    let extent = |axis: usize| match (x.dims().get(axis), weight.get(axis)) {
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
    let (rows, cols) = (extent(2)?, extent(3)?);
    let problem = Problem { batch: x.dim(0)?, rows, cols, ..kernel_problem(weight, geometry, precision)? };
    let found = x.dim(1)?;
    let expected = if direction.is_transposed() { problem.output_channels } else { problem.input_channels };
    if x.rank() != weight.len() || !(3..=4).contains(&x.rank()) {
        bail!("convolution: an input {:?} does not fit a weight {weight:?}", x.shape());
    }
    if found != expected {
        bail!("convolution: {found} channels do not fit a weight {weight:?} in {} groups", problem.groups);
    }
    Ok(problem)
}

/// What does not depend on the input.
fn kernel_problem(weight: &[usize], geometry: ConvGeometry, precision: Precision) -> Result<Problem> {
    let extent = |axis: usize| match weight.get(axis) {
        Some(kernel) => Extent::kernel(ConvGeometry { kernel: *kernel, ..geometry }),
        None => Extent::NONE,
    };
    let (rows, cols) = (extent(2), extent(3));
    let (Some(first), Some(second)) = (weight.first(), weight.get(1)) else {
        bail!("convolution: a weight {weight:?} has no channels");
    };
    let groups = geometry.groups;
    let problem = Problem {
        batch: 1,
        groups,
        input_channels: second * groups,
        output_channels: *first,
        rows,
        cols,
        precision,
    };
    problem.check_channels(weight)?;
    Ok(problem)
}

/// Of candle's own operations, for other devices; computed in the weight's type.
fn composed(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: ConvGeometry,
    direction: Direction,
) -> Result<Tensor> {
    let activations = x.dtype();
    let x = &x.to_dtype(weight.dtype())?;
    let y = match direction {
        Direction::Forward if x.rank() == 3 => x.conv1d(weight, g.padding, g.stride, g.dilation, g.groups)?,
        Direction::Forward => x.conv2d(weight, g.padding, g.stride, g.dilation, g.groups)?,
        Direction::Transposed { output_padding } if x.rank() == 3 => {
            x.conv_transpose1d(weight, g.padding, output_padding, g.stride, g.dilation, g.groups)?
        }
        Direction::Transposed { .. } => bail!("transposed convolution: only signals in time are supported"),
    };
    let y = y.to_dtype(activations)?;
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
        weights: &Prepared,
        bias: Option<&[f32]>,
        rank: usize,
        fused: Fused,
    ) -> Result<(CpuStorage, Shape)> {
        let (channels, rows, cols) = self.output();
        if let Some(bias) = bias.filter(|bias| bias.len() != channels) {
            bail!("convolution: expected a bias of {channels}, found {}", bias.len());
        }
        let y = match self.direction {
            Direction::Forward => self.problem.forward(x, weights, bias, fused),
            Direction::Transposed { .. } => self.problem.input_gradient(x, weights, bias, fused.before),
        };
        let shape = match rank {
            3 => Shape::from((self.problem.batch, channels, rows)),
            _ => Shape::from((self.problem.batch, channels, rows, cols)),
        };
        Ok((CpuStorage::F32(y), shape))
    }

    fn prepare(&self, weight: &[f32]) -> Prepared {
        prepare(&self.problem, weight, self.direction.is_transposed())
    }

    /// Gradient of the input.
    fn input_gradient(&self, grad: &[f32], weight: &[f32]) -> Vec<f32> {
        // It runs the other way.
        let weights = prepare(&self.problem, weight, !self.direction.is_transposed());
        match self.direction {
            Direction::Forward => self.problem.input_gradient(grad, &weights, None, &Before::Nothing),
            Direction::Transposed { .. } => self.problem.forward(grad, &weights, None, Fused::NOTHING),
        }
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
                let dx = op::with_slice(weight, |w| Ok(self.input_gradient(g, w)))?;
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
        self.run(x, &self.prepare(weight), None, l1.shape().rank(), Fused::NOTHING)
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
        let bias = op::slice(s3, l3, "convolution")?;
        self.run(x, &self.prepare(weight), Some(bias), l1.shape().rank(), Fused::NOTHING)
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

/// A convolution whose weights and bias do not change; with a second argument, added to that.
struct ConvolveFrozen {
    convolve: Convolve,
    prepared: Arc<Prepared>,
    bias: Option<Vec<f32>>,
    before: Before,
}

impl ConvolveFrozen {
    fn run(&self, x: &[f32], residual: Option<&[f32]>, rank: usize) -> Result<(CpuStorage, Shape)> {
        let fused = Fused { before: &self.before, residual };
        self.convolve.run(x, &self.prepared, self.bias.as_deref(), rank, fused)
    }
}

impl CustomOp1 for ConvolveFrozen {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run(op::slice(storage, layout, "convolution")?, None, layout.shape().rank())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Convolve { problem, direction } = &self.convolve;
        if self.before != Before::Nothing || problem.rows.edge != Edge::Zero {
            bail!("convolution: a fused one has no gradient");
        }
        let weight = problem.restore(&self.prepared, direction.is_transposed());
        let dx = op::with_slice(grad, |g| Ok(self.convolve.input_gradient(g, &weight)))?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

impl CustomOp2 for ConvolveFrozen {
    fn name(&self) -> &'static str {
        "convolution onto a residual"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (channels, rows, cols) = self.convolve.output();
        let residual = op::slice(s2, l2, "convolution")?;
        if residual.len() != self.convolve.problem.batch * channels * rows * cols {
            bail!("convolution: a residual {:?} does not fit", l2.shape());
        }
        self.run(op::slice(s1, l1, "convolution")?, Some(residual), l1.shape().rank())
    }
}
