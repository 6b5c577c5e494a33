//! Softmax over the last dimension.

use super::kernel::simd;
use super::op;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

/// `exp(x) / sum exp(x)` over the last dimension.
///
/// # Errors
/// Whatever the backend reports.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if op::is_fused(x) {
        return x.contiguous()?.apply_op1(Softmax { log: false });
    }
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// `x - ln sum exp(x)` over the last dimension.
///
/// # Errors
/// Whatever the backend reports.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    if op::is_fused(x) {
        return x.contiguous()?.apply_op1(Softmax { log: true });
    }
    let centred = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    centred.broadcast_sub(&centred.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// Replaces `scale * row` by its softmax. A row that is all `-inf` becomes zeros.
#[inline(always)]
pub(super) fn softmax_row(row: &mut [f32], scale: f32) {
    let top = simd::max(row);
    if top == f32::NEG_INFINITY {
        row.fill(0.0);
        return;
    }
    for v in row.iter_mut() {
        *v = simd::exp(scale * (*v - top));
    }
    let inverse = 1.0 / simd::sum(row);
    for v in row.iter_mut() {
        *v *= inverse;
    }
}

struct Softmax {
    log: bool,
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = op::slice(storage, layout, "softmax")?.to_vec();
        let width = layout.shape().dims().last().copied().unwrap_or(1);
        op::par_rows(&mut y, width, |_, rows| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact_mut(width) {
                        if self.log {
                            let top = simd::max(row);
                            let mut total = 0.0_f64;
                            for chunk in row.chunks(64) {
                                let mut part = 0.0_f32;
                                for v in chunk {
                                    part += simd::exp(v - top);
                                }
                                total += f64::from(part);
                            }
                            let log = top + total.ln() as f32;
                            for v in row.iter_mut() {
                                *v -= log;
                            }
                        } else {
                            softmax_row(row, 1.0);
                        }
                    }
                },
            );
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = y.dims().last().copied().unwrap_or(1);
        let dx = op::with_slice(y, |y| {
            op::with_slice(grad, |g| {
                let mut dx = vec![0.0; y.len()];
                op::par_rows(&mut dx, width, |first, rows| {
                    let start = first * width;
                    let (y, g) = (&y[start..start + rows.len()], &g[start..start + rows.len()]);
                    simd::dispatch(
                        #[inline(always)]
                        || {
                            let rows = rows.chunks_exact_mut(width);
                            for ((dx, y), g) in rows.zip(y.chunks_exact(width)).zip(g.chunks_exact(width)) {
                                if self.log {
                                    let total = simd::sum(g);
                                    for ((d, y), g) in dx.iter_mut().zip(y).zip(g) {
                                        *d = g - simd::exp(*y) * total;
                                    }
                                } else {
                                    let total = simd::dot(g, y);
                                    for ((d, y), g) in dx.iter_mut().zip(y).zip(g) {
                                        *d = y * (g - total);
                                    }
                                }
                            }
                        },
                    );
                });
                Ok(dx)
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, y.shape(), y.device())?))
    }
}
