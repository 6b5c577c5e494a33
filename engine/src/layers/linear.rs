//! Affine maps with weights stored `[in, out]`, the layout that the fast matmul wants.

use super::kernel::{self, Addend, Matrix, Precision, bfloat};
use super::op;
use crate::lora::LowRank;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use std::sync::{Arc, OnceLock};

/// `y = x W + b` with `W` `[in, out]` (PyTorch's transposed).
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    precision: Precision,
    /// The weight in the matrix unit's layout, made at the first use of a frozen weight.
    packed: Arc<OnceLock<bfloat::Packed>>,
    /// What adapters add to the output.
    changes: Vec<LowRank>,
}

impl Linear {
    /// Loads (or creates, under a `VarMap`: weight N(0, 0.02), bias 0) `weight` `[in, out]` and `bias` `[out]`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn new(input: usize, output: usize, vs: VarBuilder) -> Result<Self> {
        let mut linear = Self::without_bias(input, output, vs.clone())?;
        linear.bias = Some(vs.get_with_hints(output, "bias", candle_nn::init::ZERO)?);
        Ok(linear)
    }

    /// The same, without bias.
    ///
    /// # Errors
    /// When the tensor is missing or of another shape.
    pub fn without_bias(input: usize, output: usize, vs: VarBuilder) -> Result<Self> {
        let init = candle_nn::Init::Randn { mean: 0.0, stdev: 0.02 };
        Ok(Self::from_tensors(vs.get_with_hints((input, output), "weight", init)?, None))
    }

    /// From tensors: `weight` `[in, out]`, `bias` `[out]`.
    #[must_use]
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias, precision: Precision::F32, packed: Arc::default(), changes: Vec::new() }
    }

    /// The same map, computed with `precision`.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Adds what an adapter changes, beside the weight.
    #[must_use]
    pub fn with_change(mut self, change: LowRank) -> Self {
        self.changes.push(change);
        self
    }

    /// A map whose weight holds the change itself; it costs nothing more to apply.
    ///
    /// # Errors
    /// When the shapes disagree.
    pub fn merged_with(mut self, change: &LowRank) -> Result<Self> {
        self.weight = (&self.weight + change.delta()?)?;
        self.packed = Arc::default();
        Ok(self)
    }

    /// `[..., in]` to `[..., out]`.
    ///
    /// # Errors
    /// When the last dimension of `x` is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = self.unchanged(x)?;
        for change in &self.changes {
            y = (y + change.forward(x)?)?;
        }
        Ok(y)
    }

    /// The map without what adapters add.
    fn unchanged(&self, x: &Tensor) -> Result<Tensor> {
        let (input, output) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        match shape.last_mut() {
            Some(last) if *last == input => *last = output,
            _ => bail!("linear: expected [..., {input}], found {:?}", x.shape()),
        }
        let rows = x.reshape(((), input))?;
        let y = if x.device().is_cpu() {
            let op = Affine { precision: self.precision, packed: self.packed_if_frozen() };
            let (rows, weight) = (rows.contiguous()?, self.weight.contiguous()?);
            match &self.bias {
                Some(bias) => rows.apply_op3(&weight, bias, op)?,
                None => rows.apply_op2(&weight, op)?,
            }
        } else {
            let y = rows.matmul(&self.weight)?;
            match &self.bias {
                Some(bias) => y.broadcast_add(bias)?,
                None => y,
            }
        };
        y.reshape(shape)
    }

    fn packed_if_frozen(&self) -> Option<Packing> {
        let unit = bfloat::unit().filter(|_| self.precision == Precision::Bf16 && !self.weight.track_op());
        unit.map(|unit| Packing { unit, packed: self.packed.clone() })
    }

    /// The weight `[in, out]`.
    #[must_use]
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias `[out]`.
    #[must_use]
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

/// `x W (+ b)` on the CPU, with its gradients.
struct Affine {
    precision: Precision,
    packed: Option<Packing>,
}

/// Where a frozen weight's packed form is, or goes.
struct Packing {
    unit: bfloat::Unit,
    packed: Arc<OnceLock<bfloat::Packed>>,
}

impl Affine {
    fn run(
        &self,
        x: &[f32],
        weight: &[f32],
        (input, output): (usize, usize),
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        let rows = x.len() / input.max(1);
        let mut y = vec![0.0; rows * output];
        let addend = bias.map_or(Addend::Nothing, Addend::Bias);
        let (x, weight) = (Matrix::row_major(x, rows, input), Matrix::row_major(weight, input, output));
        match &self.packed {
            Some(Packing { unit, packed }) => {
                let packed = packed.get_or_init(|| bfloat::Packed::new(*unit, weight));
                bfloat::matmul(x, packed, &mut y, addend);
            }
            None => kernel::matmul(x, weight, &mut y, addend, self.precision),
        }
        y
    }

    fn gradients(
        &self,
        x: &Tensor,
        weight: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (input, output) = weight.dims2()?;
        let device = x.device();
        op::with_slice(grad, |grad| {
            let rows = grad.len() / output.max(1);
            let g = Matrix::row_major(grad, rows, output);
            let dx = if x.track_op() {
                let dx = op::with_slice(weight, |w| {
                    let mut dx = vec![0.0; rows * input];
                    let w = Matrix::row_major(w, input, output);
                    kernel::matmul(g, w.t(), &mut dx, Addend::Nothing, self.precision);
                    Ok(dx)
                })?;
                Some(Tensor::from_vec(dx, (rows, input), device)?)
            } else {
                None
            };
            let dw = if weight.track_op() {
                let dw = op::with_slice(x, |x| {
                    let mut dw = vec![0.0; input * output];
                    let x = Matrix::row_major(x, rows, input);
                    kernel::matmul(x.t(), g, &mut dw, Addend::Nothing, self.precision);
                    Ok(dw)
                })?;
                Some(Tensor::from_vec(dw, (input, output), device)?)
            } else {
                None
            };
            Ok((dx, dw))
        })
    }
}

impl CustomOp2 for Affine {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (input, output) = l2.shape().dims2()?;
        let y = self.run(op::slice(s1, l1, "linear")?, op::slice(s2, l2, "linear")?, (input, output), None);
        let rows = y.len() / output.max(1);
        Ok((CpuStorage::F32(y), (rows, output).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, grad)
    }
}

impl CustomOp3 for Affine {
    fn name(&self) -> &'static str {
        "linear"
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
        let (input, output) = l2.shape().dims2()?;
        let bias = op::slice(s3, l3, "linear")?;
        if bias.len() != output {
            bail!("linear: expected a bias of {output}, found {}", bias.len());
        }
        let y =
            self.run(op::slice(s1, l1, "linear")?, op::slice(s2, l2, "linear")?, (input, output), Some(bias));
        let rows = y.len() / output.max(1);
        Ok((CpuStorage::F32(y), (rows, output).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.gradients(x, w, grad)?;
        let db = if b.track_op() {
            let width = b.dim(0)?;
            let sums = op::with_slice(grad, |grad| Ok(op::column_sums(grad, width)))?;
            Some(Tensor::from_vec(sums, width, b.device())?)
        } else {
            None
        };
        Ok((dx, dw, db))
    }
}
