//! Normalisations.

use super::kernel::simd;
use super::op;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use rayon::prelude::*;

/// Normalises the last dimension to mean 0 and variance 1 (biased), without scale or shift.
///
/// # Errors
/// Whatever the backend reports.
pub fn layer_norm(x: &Tensor, eps: f64) -> Result<Tensor> {
    if op::is_fused(x) {
        return x.contiguous()?.apply_op1(Normalise { eps: eps as f32 });
    }
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}

/// Adaptive LayerNorm (SPEC 4): `norm(x) * (1 + scale) + shift`, one scale and shift per batch element.
///
/// `x` `[batch, tokens, width]`, `scale` and `shift` `[batch, width]`.
///
/// # Errors
/// When the shapes disagree.
pub fn adaptive_layer_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f64) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    if scale.dims2()? != (batch, width) || shift.dims2()? != (batch, width) {
        bail!(
            "adaptive layer norm: expected scale and shift [{batch}, {width}], found {:?} and {:?}",
            scale.shape(),
            shift.shape()
        );
    }
    if op::is_fused(x) {
        let op = Modulate { eps: eps as f32, group: tokens, offset: 1.0 };
        return x.contiguous()?.apply_op3(&scale.contiguous()?, &shift.contiguous()?, op);
    }
    let scale = (scale + 1.0)?.unsqueeze(1)?;
    layer_norm(x, eps)?.broadcast_mul(&scale)?.broadcast_add(&shift.unsqueeze(1)?)
}

/// LayerNorm over the last dimension with learned `weight` and `bias` `[width]`.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Loads (or creates, under a `VarMap`: 1 and 0) `weight` and `bias`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn new(width: usize, eps: f64, vs: VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: vs.get_with_hints(width, "weight", candle_nn::init::ONE)?,
            bias: vs.get_with_hints(width, "bias", candle_nn::init::ZERO)?,
            eps,
        })
    }

    /// `[..., width]` to the same shape.
    ///
    /// # Errors
    /// When the last dimension is not `width`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let width = self.weight.dim(0)?;
        if x.dims().last() != Some(&width) {
            bail!("layer norm: expected [..., {width}], found {:?}", x.shape());
        }
        if op::is_fused(x) {
            let group = x.elem_count() / width.max(1);
            let op = Modulate { eps: self.eps as f32, group, offset: 0.0 };
            return x.contiguous()?.apply_op3(&self.weight, &self.bias, op);
        }
        layer_norm(x, self.eps)?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// RMSNorm (Zhang & Sennrich 2019) over the last dimension, `x / sqrt(mean(x^2) + eps) * weight`: T5's.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// Loads (or creates, under a `VarMap`: 1) `weight` `[width]`.
    ///
    /// # Errors
    /// When the tensor is missing or of another shape.
    pub fn new(width: usize, eps: f64, vs: VarBuilder) -> Result<Self> {
        Ok(Self { weight: vs.get_with_hints(width, "weight", candle_nn::init::ONE)?, eps })
    }

    /// `[..., width]` to the same shape.
    ///
    /// # Errors
    /// When the last dimension is not `width`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let rms = (x.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?;
        x.broadcast_div(&rms)?.broadcast_mul(&self.weight)
    }
}

/// GroupNorm over `[batch, channels, ...]` with learned `weight` and `bias` `[channels]`.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Loads (or creates, under a `VarMap`: 1 and 0) `weight` and `bias`.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape, or `channels` is not a multiple of `groups`.
    pub fn new(groups: usize, channels: usize, eps: f64, vs: VarBuilder) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            bail!("group norm: {channels} channels do not divide into {groups} groups");
        }
        Ok(Self {
            weight: vs.get_with_hints(channels, "weight", candle_nn::init::ONE)?,
            bias: vs.get_with_hints(channels, "bias", candle_nn::init::ZERO)?,
            groups,
            eps,
        })
    }

    /// `[batch, channels, ...]` to the same shape.
    ///
    /// # Errors
    /// When the channels disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let shape = x.dims().to_vec();
        let (batch, channels) = (x.dim(0)?, x.dim(1)?);
        let normed = layer_norm(&x.reshape((batch, self.groups, ()))?, self.eps)?;
        normed
            .reshape((batch, channels, ()))?
            .broadcast_mul(&self.weight.reshape((1, channels, 1))?)?
            .broadcast_add(&self.bias.reshape((1, channels, 1))?)?
            .reshape(shape)
    }
}

impl GroupNorm {
    /// The scale and the shift that normalise each channel of each picture of `x` `[batch, channels, ...]`.
    pub(super) fn affine(&self, x: &Tensor) -> Result<(Vec<f32>, Vec<f32>)> {
        let (batch, channels) = (x.dim(0)?, x.dim(1)?);
        let (weight, bias) = (self.weight.to_vec1::<f32>()?, self.bias.to_vec1::<f32>()?);
        let share = channels / self.groups;
        if weight.len() != channels || x.elem_count() == 0 {
            bail!("group norm: expected {} channels, found {:?}", weight.len(), x.shape());
        }
        let size = x.elem_count() / (batch * self.groups);
        let moments: Vec<(f32, f32)> = op::with_slice(x, |x| {
            let group = |group: &[f32]| {
                simd::dispatch(
                    #[inline(always)]
                    || moments(group, self.eps as f32),
                )
            };
            Ok(x.par_chunks(size).map(group).collect())
        })?;
        let mut scales = Vec::with_capacity(batch * channels);
        let mut shifts = Vec::with_capacity(batch * channels);
        for line in 0..batch * channels {
            let (mean, r) = moments[line / share];
            let (weight, bias) = (weight[line % channels], bias[line % channels]);
            scales.push(weight * r);
            shifts.push(bias - mean * weight * r);
        }
        Ok((scales, shifts))
    }
}

/// Mean and `1 / sqrt(variance + eps)` of a row.
#[inline(always)]
fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = simd::sum(row) / n;
    let mut lanes = [0.0_f32; 16];
    let chunks = row.chunks_exact(16);
    let mut variance: f32 = chunks.remainder().iter().map(|v| (v - mean) * (v - mean)).sum();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += (v - mean) * (v - mean);
        }
    }
    variance += lanes.iter().sum::<f32>();
    (mean, 1.0 / (variance / n + eps).sqrt())
}

/// Gradient through the normalisation: `dx = r (g - mean(g) - xhat mean(g xhat))`, where `g` is the
/// gradient of the normalised row and is given in `dx`.
#[inline(always)]
fn normalise_grad(x: &[f32], dx: &mut [f32], eps: f32) {
    let (mean, r) = moments(x, eps);
    let n = x.len() as f32;
    let g_mean = simd::sum(dx) / n;
    let mut lanes = [0.0_f32; 16];
    let split = x.len() - x.len() % 16;
    for (x, g) in x[..split].chunks_exact(16).zip(dx[..split].chunks_exact(16)) {
        for j in 0..16 {
            lanes[j] += g[j] * (x[j] - mean);
        }
    }
    let mut total = lanes.iter().sum::<f32>();
    for (x, g) in x[split..].iter().zip(&dx[split..]) {
        total += g * (x - mean);
    }
    let slope = total * r * r / n;
    for (g, x) in dx.iter_mut().zip(x) {
        *g = r * (*g - g_mean - (x - mean) * slope);
    }
}

/// Normalisation alone.
struct Normalise {
    eps: f32,
}

impl CustomOp1 for Normalise {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = op::slice(storage, layout, "layer norm")?.to_vec();
        let width = layout.shape().dims().last().copied().unwrap_or(1);
        op::par_rows(&mut y, width, |_, rows| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact_mut(width) {
                        let (mean, r) = moments(row, self.eps);
                        for v in row {
                            *v = (*v - mean) * r;
                        }
                    }
                },
            );
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dims().last().copied().unwrap_or(1);
        let dx = op::with_slice(x, |x| {
            op::with_slice(grad, |g| {
                let mut dx = g.to_vec();
                op::par_rows(&mut dx, width, |first, rows| {
                    let x = &x[first * width..first * width + rows.len()];
                    simd::dispatch(
                        #[inline(always)]
                        || {
                            for (dx, x) in rows.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                                normalise_grad(x, dx, self.eps);
                            }
                        },
                    );
                });
                Ok(dx)
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// `norm(x) * (offset + scale) + shift`; `scale` and `shift` change every `group` rows.
struct Modulate {
    eps: f32,
    group: usize,
    offset: f32,
}

impl CustomOp3 for Modulate {
    fn name(&self) -> &'static str {
        "modulated layer norm"
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
        let mut y = op::slice(s1, l1, "layer norm")?.to_vec();
        let scale = op::slice(s2, l2, "layer norm")?;
        let shift = op::slice(s3, l3, "layer norm")?;
        let width = l1.shape().dims().last().copied().unwrap_or(1);
        op::par_rows(&mut y, width, |first, rows| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                        let at = (first + i) / self.group * width;
                        let (scale, shift) = (&scale[at..at + width], &shift[at..at + width]);
                        let (mean, r) = moments(row, self.eps);
                        for ((v, scale), shift) in row.iter_mut().zip(scale).zip(shift) {
                            *v = (*v - mean) * r * (self.offset + scale) + shift;
                        }
                    }
                },
            );
        });
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = x.dims().last().copied().unwrap_or(1);
        let groups = scale.elem_count() / width.max(1);
        let (dx, dscale, dshift) = op::with_slice(x, |x| {
            op::with_slice(scale, |scale| {
                op::with_slice(grad, |g| {
                    let mut dx = g.to_vec();
                    op::par_rows(&mut dx, width, |first, rows| {
                        let x = &x[first * width..first * width + rows.len()];
                        simd::dispatch(
                            #[inline(always)]
                            || {
                                let pairs = rows.chunks_exact_mut(width).zip(x.chunks_exact(width));
                                for (i, (dx, x)) in pairs.enumerate() {
                                    let at = (first + i) / self.group * width;
                                    for (g, s) in dx.iter_mut().zip(&scale[at..at + width]) {
                                        *g *= self.offset + s;
                                    }
                                    normalise_grad(x, dx, self.eps);
                                }
                            },
                        );
                    });
                    let mut sums = Vec::with_capacity(groups);
                    for group in 0..groups {
                        let start = group * self.group;
                        sums.push(op::sum_rows(self.group, 2 * width, |range, sums| {
                            let (dscale, dshift) = sums.split_at_mut(width);
                            simd::dispatch(
                                #[inline(always)]
                                || {
                                    for row in range.clone() {
                                        let at = (start + row) * width;
                                        let (x, g) = (&x[at..at + width], &g[at..at + width]);
                                        let (mean, r) = moments(x, self.eps);
                                        for j in 0..width {
                                            dscale[j] += g[j] * (x[j] - mean) * r;
                                            dshift[j] += g[j];
                                        }
                                    }
                                },
                            );
                        }));
                    }
                    let mut dscale = Vec::with_capacity(groups * width);
                    let mut dshift = Vec::with_capacity(groups * width);
                    for sums in sums {
                        dscale.extend_from_slice(&sums[..width]);
                        dshift.extend_from_slice(&sums[width..]);
                    }
                    Ok((dx, dscale, dshift))
                })
            })
        })?;
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), device)?),
            Some(Tensor::from_vec(dscale, scale.shape(), device)?),
            Some(Tensor::from_vec(dshift, shift.shape(), device)?),
        ))
    }
}
