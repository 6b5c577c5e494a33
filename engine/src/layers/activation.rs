//! Pointwise activations, fused and with their derivatives.

use super::kernel::simd;
use super::op;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// GELU with the error function, `x * Phi(x)` (BERT's).
///
/// # Errors
/// Whatever the backend reports.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// GELU, tanh approximation.
///
/// # Errors
/// Whatever the backend reports.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    if op::is_fused(x) { x.contiguous()?.apply_op1(Pointwise::GeluTanh) } else { x.gelu() }
}

/// Diffsound's GELU2 and CLIP's QuickGELU: `x * sigmoid(1.702 x)`.
///
/// # Errors
/// Whatever the backend reports.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    if op::is_fused(x) {
        return x.contiguous()?.apply_op1(Pointwise::QuickGelu);
    }
    x * candle_nn::ops::sigmoid(&(x * 1.702)?)?
}

/// SiLU (swish): `x * sigmoid(x)`.
///
/// # Errors
/// Whatever the backend reports.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    if op::is_fused(x) { x.contiguous()?.apply_op1(Pointwise::Silu) } else { x.silu() }
}

/// Leaky ReLU: `max(x, slope * x)` for `slope < 1`.
///
/// # Errors
/// Whatever the backend reports.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    if op::is_fused(x) {
        return x.contiguous()?.apply_op1(Pointwise::LeakyRelu(slope as f32));
    }
    x.maximum(&(x * slope)?)
}

#[derive(Clone, Copy)]
enum Pointwise {
    GeluTanh,
    QuickGelu,
    Silu,
    LeakyRelu(f32),
}

#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    let (scale, cubic) = simd::GELU_TANH;
    let t = simd::tanh(scale * (x + cubic * x * x * x));
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * scale * (1.0 + 3.0 * cubic * x * x)
}

/// `x * sigmoid(k x)` and its slope.
#[inline(always)]
fn swish_slope(x: f32, k: f32) -> f32 {
    let s = simd::sigmoid(k * x);
    s + k * x * s * (1.0 - s)
}

fn map(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    op::par_rows(out, 1, |first, out| {
        let x = &x[first..first + out.len()];
        simd::dispatch(
            #[inline(always)]
            || {
                for (o, x) in out.iter_mut().zip(x) {
                    *o = f(*x);
                }
            },
        );
    });
}

fn map_grad(x: &[f32], grad: &[f32], out: &mut [f32], slope: impl Fn(f32) -> f32 + Sync) {
    op::par_rows(out, 1, |first, out| {
        let (x, grad) = (&x[first..first + out.len()], &grad[first..first + out.len()]);
        simd::dispatch(
            #[inline(always)]
            || {
                for ((o, x), g) in out.iter_mut().zip(x).zip(grad) {
                    *o = slope(*x) * g;
                }
            },
        );
    });
}

impl CustomOp1 for Pointwise {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = op::slice(storage, layout, "activation")?;
        let mut y = vec![0.0; x.len()];
        match *self {
            Self::GeluTanh => map(
                x,
                &mut y,
                #[inline(always)]
                #[allow(clippy::redundant_closure, reason = "only a closure can be inlined always")]
                |x| simd::gelu_tanh(x),
            ),
            Self::QuickGelu => map(
                x,
                &mut y,
                #[inline(always)]
                #[allow(clippy::redundant_closure, reason = "only a closure can be inlined always")]
                |x| simd::quick_gelu(x),
            ),
            Self::Silu => map(
                x,
                &mut y,
                #[inline(always)]
                #[allow(clippy::redundant_closure, reason = "only a closure can be inlined always")]
                |x| simd::silu(x),
            ),
            Self::LeakyRelu(k) => map(
                x,
                &mut y,
                #[inline(always)]
                |x| if x > 0.0 { x } else { k * x },
            ),
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dx = op::with_slice(x, |x| {
            op::with_slice(grad, |g| {
                let mut dx = vec![0.0; x.len()];
                match *self {
                    Self::GeluTanh => map_grad(
                        x,
                        g,
                        &mut dx,
                        #[inline(always)]
                        #[allow(clippy::redundant_closure, reason = "only a closure can be inlined always")]
                        |x| gelu_slope(x),
                    ),
                    Self::QuickGelu => map_grad(
                        x,
                        g,
                        &mut dx,
                        #[inline(always)]
                        |x| swish_slope(x, 1.702),
                    ),
                    Self::Silu => map_grad(
                        x,
                        g,
                        &mut dx,
                        #[inline(always)]
                        |x| swish_slope(x, 1.0),
                    ),
                    Self::LeakyRelu(k) => {
                        map_grad(
                            x,
                            g,
                            &mut dx,
                            #[inline(always)]
                            |x| if x > 0.0 { 1.0 } else { k },
                        );
                    }
                }
                Ok(dx)
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}
