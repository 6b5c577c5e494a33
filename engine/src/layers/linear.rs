//! Affine maps with weights stored `[in, out]`, the layout that the fast matmul wants.

use super::kernel::{self, Addend, Finish, Frozen, Matrix, Precision};
use super::{gelu_tanh, op, quick_gelu};
use crate::lora::LowRank;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use std::sync::Arc;

/// `y = x W + b` with `W` `[in, out]` (PyTorch's transposed).
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    precision: Precision,
    /// What adapters add to the output.
    changes: Vec<LowRank>,
}

#[derive(Debug, Clone)]
enum Weight {
    /// f32, on any device, with or without a gradient.
    Tensor(Tensor),
    /// On the CPU and without a gradient: in the form that multiplies fastest.
    Frozen(Arc<Frozen>),
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
        Self { weight: Weight::Tensor(weight), bias, precision: Precision::F32, changes: Vec::new() }
    }

    /// The same map, computed with `precision`.
    ///
    /// On the CPU, a weight that takes no gradient is kept in the form that suits the machine from here on: rounded to
    /// bfloat16 if that is how it multiplies, else in 16 bits if they hold it exactly, else in f32. Gradients still pass
    /// to the input.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        if let Weight::Tensor(weight) = &mut self.weight
            && !op::is_fused(weight)
        {
            *weight = op::stored(weight.clone(), precision);
            return self;
        }
        let trains = |tensor: &Tensor| tensor.track_op() || !tensor.device().is_cpu();
        if let Weight::Tensor(weight) = &self.weight
            && !trains(weight)
            && !self.bias.as_ref().is_some_and(trains)
            && let Ok((input, output)) = weight.dims2()
            && let Ok(frozen) = op::with_slice(weight, |values| {
                Ok(Frozen::smallest(Matrix::row_major(values, input, output), precision))
            })
        {
            self.weight = Weight::Frozen(Arc::new(frozen));
        }
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
    pub fn merged_with(self, change: &LowRank) -> Result<Self> {
        let weight = self.weight()?;
        let weight = (&weight + change.delta()?.to_dtype(weight.dtype())?)?;
        let (frozen, precision) = (matches!(self.weight, Weight::Frozen(_)), self.precision);
        let merged = Self { weight: Weight::Tensor(weight), ..self };
        Ok(if frozen { merged.with_precision(precision) } else { merged })
    }

    /// `[..., in]` to `[..., out]`.
    ///
    /// # Errors
    /// When the last dimension of `x` is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.changed(self.run(x, Finish::Nothing)?, x)
    }

    /// The product `y` with `x`, plus what the adapters change.
    fn changed(&self, y: Tensor, x: &Tensor) -> Result<Tensor> {
        self.changes.iter().try_fold(y, |y, change| change.add_to(y, x))
    }

    /// [`quick_gelu`] of [`Linear::forward`].
    ///
    /// # Errors
    /// When the last dimension of `x` is not `in`.
    pub fn forward_quick_gelu(&self, x: &Tensor) -> Result<Tensor> {
        if self.is_all_for(x) { self.run(x, Finish::QuickGelu) } else { quick_gelu(&self.forward(x)?) }
    }

    /// [`gelu_tanh`] of [`Linear::forward`].
    ///
    /// # Errors
    /// When the last dimension of `x` is not `in`.
    pub fn forward_gelu_tanh(&self, x: &Tensor) -> Result<Tensor> {
        if self.is_all_for(x) { self.run(x, Finish::GeluTanh) } else { gelu_tanh(&self.forward(x)?) }
    }

    /// `residual` `[..., out]` plus [`Linear::forward`].
    ///
    /// # Errors
    /// When the last dimension of `x` is not `in`, or the residual is of another shape than the output.
    pub fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Frozen(frozen) if !x.track_op() && !residual.track_op() => {
                let rows = self.rows(x, frozen.rows())?;
                let (flat, onto) = (residual.contiguous()?, rows.contiguous()?);
                let flat = flat.reshape((rows.dim(0)?, frozen.cols()))?;
                let op = Fixed { frozen: frozen.clone(), bias: self.bias_values()?, finish: Finish::Nothing };
                self.changed(onto.apply_op2(&flat, op)?.reshape(residual.shape())?, x)
            }
            _ => residual + self.forward(x)?,
        }
    }

    /// Whether a product with `x` is all there is, and needs no gradient.
    fn is_all_for(&self, x: &Tensor) -> bool {
        matches!(self.weight, Weight::Frozen(_)) && self.changes.is_empty() && !x.track_op()
    }

    /// `x` as `[rows, in]`.
    fn rows(&self, x: &Tensor, input: usize) -> Result<Tensor> {
        match x.dims().last() {
            Some(last) if *last == input => x.reshape(((), input)),
            _ => bail!("linear: expected [..., {input}], found {:?}", x.shape()),
        }
    }

    fn run(&self, x: &Tensor, finish: Finish) -> Result<Tensor> {
        let (input, output) = match &self.weight {
            Weight::Tensor(weight) => weight.dims2()?,
            Weight::Frozen(frozen) => (frozen.rows(), frozen.cols()),
        };
        let rows = self.rows(x, input)?;
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = output;
        }
        let y = match &self.weight {
            Weight::Frozen(frozen) => {
                let op = Fixed { frozen: frozen.clone(), bias: self.bias_values()?, finish };
                rows.contiguous()?.apply_op1(op)?
            }
            Weight::Tensor(weight) if op::is_fused(x) => {
                let op = Affine { precision: self.precision };
                let (rows, weight) = (rows.contiguous()?, weight.contiguous()?);
                match &self.bias {
                    Some(bias) => rows.apply_op3(&weight, &bias.contiguous()?, op)?,
                    None => rows.apply_op2(&weight, op)?,
                }
            }
            Weight::Tensor(weight) => {
                // In the weight's type, sums in f32; everything around the product stays f32.
                let y = rows.to_dtype(weight.dtype())?.matmul(weight)?.to_dtype(x.dtype())?;
                match &self.bias {
                    Some(bias) => y.broadcast_add(bias)?,
                    None => y,
                }
            }
        };
        y.reshape(shape)
    }

    fn bias_values(&self) -> Result<Option<Vec<f32>>> {
        self.bias.as_ref().map(Tensor::to_vec1).transpose()
    }

    /// The weight `[in, out]`, as it multiplies.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn weight(&self) -> Result<Tensor> {
        match &self.weight {
            Weight::Tensor(weight) => Ok(weight.clone()),
            Weight::Frozen(frozen) => {
                Tensor::from_vec(frozen.values(), (frozen.rows(), frozen.cols()), &Device::Cpu)
            }
        }
    }

    /// The bias `[out]`.
    #[must_use]
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

/// `finish(x W (+ b))` or, with a second argument, `x W (+ b) + residual`, with a weight that does not change.
struct Fixed {
    frozen: Arc<Frozen>,
    bias: Option<Vec<f32>>,
    finish: Finish,
}

impl Fixed {
    fn output(&self, rows: usize, y: Vec<f32>) -> (CpuStorage, Shape) {
        (CpuStorage::F32(y), (rows, self.frozen.cols()).into())
    }
}

impl CustomOp1 for Fixed {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, input) = layout.shape().dims2()?;
        let mut y = vec![0.0; rows * self.frozen.cols()];
        let x = Matrix::row_major(op::slice(storage, layout, "linear")?, rows, input);
        let addend = self.bias.as_deref().map_or(Addend::Nothing, Addend::Bias);
        self.frozen.multiply(x, &mut y, addend, self.finish);
        Ok(self.output(rows, y))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if self.finish != Finish::Nothing {
            bail!("linear: a fused activation has no gradient");
        }
        let (rows, input) = x.dims2()?;
        let (weight, output) = (self.frozen.values(), self.frozen.cols());
        let dx = op::with_slice(grad, |grad| {
            let mut dx = vec![0.0; rows * input];
            let (g, w) = (Matrix::row_major(grad, rows, output), Matrix::row_major(&weight, input, output));
            kernel::matmul(g, w.t(), &mut dx, Addend::Nothing, self.frozen.precision());
            Ok(dx)
        })?;
        Ok(Some(Tensor::from_vec(dx, (rows, input), x.device())?))
    }
}

impl CustomOp2 for Fixed {
    fn name(&self) -> &'static str {
        "linear onto a residual"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, input) = l1.shape().dims2()?;
        if l2.shape().dims2()? != (rows, self.frozen.cols()) {
            bail!("linear: a residual {:?} does not fit", l2.shape());
        }
        let mut y = op::slice(s2, l2, "linear")?.to_vec();
        let x = Matrix::row_major(op::slice(s1, l1, "linear")?, rows, input);
        let addend = self.bias.as_deref().map_or(Addend::Output, Addend::BiasAndOutput);
        self.frozen.multiply(x, &mut y, addend, self.finish);
        Ok(self.output(rows, y))
    }
}

/// `x W (+ b)` on the CPU, with its gradients.
struct Affine {
    precision: Precision,
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
        kernel::matmul(x, weight, &mut y, addend, self.precision);
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
