//! Multi-head scaled dot-product attention.

use super::kernel::{self, Addend, Matrix, Precision, simd};
use super::op;
use super::softmax::{softmax, softmax_row};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Attention of `q` `[batch, n, width]` over `k`, `v` `[batch, m, width]`, heads being contiguous
/// slices of the width, scores scaled by `1/sqrt(width/heads)`.
///
/// `mask`, if given, is added to the scores and broadcasts to `[batch, heads, n, m]` (0 keeps, a large negative
/// number hides). Returns `[batch, n, width]`, before any output projection.
///
/// # Errors
/// When shapes disagree or the width is not a multiple of `heads`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: Option<&Tensor>) -> Result<Tensor> {
    attention_with(Precision::F32, q, k, v, heads, mask)
}

/// [`attention`] whose two products are computed with `precision`. Gradients are always computed in f32.
///
/// # Errors
/// As [`attention`].
pub fn attention_with(
    precision: Precision,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let (batch, n, width) = q.dims3()?;
    let (_, m, _) = k.dims3()?;
    if heads == 0 || width % heads != 0 {
        bail!("attention: width {width} is not a multiple of {heads} heads");
    }
    if k.dims3()? != (batch, m, width) || v.dims3()? != (batch, m, width) {
        bail!("attention: q {:?}, k {:?} and v {:?} disagree", q.shape(), k.shape(), v.shape());
    }
    if op::is_fused(q) {
        let mask = mask.map(|mask| Mask::new(mask, [batch, heads, n, m])).transpose()?;
        // What a gradient is taken of must be what its backward assumes.
        let tracks = q.track_op() || k.track_op() || v.track_op();
        let precision = if tracks { Precision::F32 } else { precision };
        let op = Attention { heads, mask, precision };
        return q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op);
    }
    let split = |x: &Tensor, len: usize| -> Result<Tensor> {
        x.reshape((batch, len, heads, width / heads))?.transpose(1, 2)?.contiguous()
    };
    let (q, k, v) = (split(q, n)?, split(k, m)?, split(v, m)?);
    let scale = 1.0 / ((width / heads) as f64).sqrt();
    let mut scores = (q.matmul(&k.t()?)? * scale)?;
    if let Some(mask) = mask {
        scores = scores.broadcast_add(mask)?;
    }
    softmax(&scores)?.matmul(&v)?.transpose(1, 2)?.reshape((batch, n, width))
}

/// An additive mask with the strides of its broadcast.
struct Mask {
    data: Vec<f32>,
    strides: [usize; 4],
}

impl Mask {
    fn new(mask: &Tensor, shape: [usize; 4]) -> Result<Self> {
        let mut dims = vec![1; 4_usize.saturating_sub(mask.rank())];
        dims.extend_from_slice(mask.dims());
        let mut strides = [0; 4];
        let mut step = 1;
        for axis in (0..4).rev() {
            match dims.get(axis) {
                Some(1) => {}
                Some(&d) if d == shape[axis] && dims.len() == 4 => strides[axis] = step,
                _ => bail!("attention: mask {:?} does not broadcast to {shape:?}", mask.shape()),
            }
            step *= dims[axis];
        }
        let data = op::with_slice(mask, |data| Ok(data.to_vec()))?;
        Ok(Self { data, strides })
    }
}

struct Attention {
    heads: usize,
    mask: Option<Mask>,
    precision: Precision,
}

/// The sizes of one call.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    n: usize,
    m: usize,
    width: usize,
}

impl Sizes {
    fn head(self) -> usize {
        self.width / self.heads
    }

    fn scale(self) -> f32 {
        1.0 / (self.head() as f32).sqrt()
    }

    /// One head of `[batch, len, width]`.
    fn view(self, data: &[f32], len: usize, batch: usize, head: usize) -> Matrix<'_> {
        let start = batch * len * self.width + head * self.head();
        Matrix { data: &data[start..], rows: len, cols: self.head(), row_stride: self.width, col_stride: 1 }
    }

    /// `[batch, heads, len, head]` (one vector per batch and head) to `[batch, len, width]`.
    fn join(self, parts: &[Vec<f32>], len: usize) -> Vec<f32> {
        let head = self.head();
        let mut out = vec![0.0; self.batch * len * self.width];
        op::par_rows(&mut out, self.width, |first, rows| {
            for (i, row) in rows.chunks_exact_mut(self.width).enumerate() {
                let (batch, token) = ((first + i) / len, (first + i) % len);
                for (h, target) in row.chunks_exact_mut(head).enumerate() {
                    let part = &parts[batch * self.heads + h];
                    target.copy_from_slice(&part[token * head..(token + 1) * head]);
                }
            }
        });
        out
    }
}

impl Attention {
    /// `softmax(scale q k^T + mask)` of one head, `[n, m]`.
    fn weights(&self, s: Sizes, q: &[f32], k: &[f32], batch: usize, head: usize) -> Vec<f32> {
        let mut scores = vec![0.0; s.n * s.m];
        let (q, k) = (s.view(q, s.n, batch, head), s.view(k, s.m, batch, head));
        kernel::matmul_serial(q, k.t(), &mut scores, Addend::Nothing, self.precision);
        simd::dispatch(
            #[inline(always)]
            || {
                for (i, row) in scores.chunks_exact_mut(s.m).enumerate() {
                    if let Some(mask) = &self.mask {
                        let [b, h, n, m] = mask.strides;
                        let start = batch * b + head * h + i * n;
                        for (j, v) in row.iter_mut().enumerate() {
                            *v = *v * s.scale() + mask.data[start + j * m];
                        }
                        softmax_row(row, 1.0);
                    } else {
                        softmax_row(row, s.scale());
                    }
                }
            },
        );
        scores
    }

    fn sizes(&self, q: &Shape, k: &Shape) -> Result<Sizes> {
        let (batch, n, width) = q.dims3()?;
        Ok(Sizes { batch, heads: self.heads, n, m: k.dims3()?.1, width })
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
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
        let s = self.sizes(l1.shape(), l2.shape())?;
        let q = op::slice(s1, l1, "attention")?;
        let k = op::slice(s2, l2, "attention")?;
        let v = op::slice(s3, l3, "attention")?;
        let parts: Vec<Vec<f32>> = (0..s.batch * s.heads)
            .into_par_iter()
            .map(|i| {
                let (batch, head) = (i / s.heads, i % s.heads);
                let weights = self.weights(s, q, k, batch, head);
                let mut out = vec![0.0; s.n * s.head()];
                let weights = Matrix::row_major(&weights, s.n, s.m);
                kernel::matmul_serial(
                    weights,
                    s.view(v, s.m, batch, head),
                    &mut out,
                    Addend::Nothing,
                    self.precision,
                );
                out
            })
            .collect();
        Ok((CpuStorage::F32(s.join(&parts, s.n)), l1.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let s = self.sizes(q.shape(), k.shape())?;
        let (dq, dk, dv) = op::with_slice(q, |q| {
            op::with_slice(k, |k| {
                op::with_slice(v, |v| op::with_slice(grad, |grad| Ok(self.gradients(s, q, k, v, grad))))
            })
        })?;
        let device = q.device();
        Ok((
            Some(Tensor::from_vec(dq, q.shape(), device)?),
            Some(Tensor::from_vec(dk, k.shape(), device)?),
            Some(Tensor::from_vec(dv, v.shape(), device)?),
        ))
    }
}

impl Attention {
    fn gradients(
        &self,
        s: Sizes,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        grad: &[f32],
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        /// Gradients of the query, and of the key and value.
        type Gradients = (Vec<f32>, (Vec<f32>, Vec<f32>));
        let parts: Vec<Gradients> = (0..s.batch * s.heads)
            .into_par_iter()
            .map(|i| {
                let (batch, head) = (i / s.heads, i % s.heads);
                let p = self.weights(s, q, k, batch, head);
                let g = s.view(grad, s.n, batch, head);
                let mut dv = vec![0.0; s.m * s.head()];
                kernel::matmul_serial(
                    Matrix::row_major(&p, s.n, s.m).t(),
                    g,
                    &mut dv,
                    Addend::Nothing,
                    Precision::F32,
                );
                // dS = P (dP - rowsum(dP P)), with dP = g v^T.
                let mut ds = vec![0.0; s.n * s.m];
                kernel::matmul_serial(
                    g,
                    s.view(v, s.m, batch, head).t(),
                    &mut ds,
                    Addend::Nothing,
                    Precision::F32,
                );
                simd::dispatch(
                    #[inline(always)]
                    || {
                        for (ds, p) in ds.chunks_exact_mut(s.m).zip(p.chunks_exact(s.m)) {
                            let total = simd::dot(ds, p);
                            for (d, p) in ds.iter_mut().zip(p) {
                                *d = p * (*d - total) * s.scale();
                            }
                        }
                    },
                );
                let ds = Matrix::row_major(&ds, s.n, s.m);
                let mut dq = vec![0.0; s.n * s.head()];
                kernel::matmul_serial(
                    ds,
                    s.view(k, s.m, batch, head),
                    &mut dq,
                    Addend::Nothing,
                    Precision::F32,
                );
                let mut dk = vec![0.0; s.m * s.head()];
                kernel::matmul_serial(
                    ds.t(),
                    s.view(q, s.n, batch, head),
                    &mut dk,
                    Addend::Nothing,
                    Precision::F32,
                );
                (dq, (dk, dv))
            })
            .collect();
        let (dq, (dk, dv)): (Vec<_>, (Vec<_>, Vec<_>)) = parts.into_iter().unzip();
        (s.join(&dq, s.n), s.join(&dk, s.m), s.join(&dv, s.m))
    }
}
