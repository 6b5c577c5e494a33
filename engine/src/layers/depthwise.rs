//! Depthwise convolution over channels-last pictures, the spatial half of a ConvNeXt block.

use super::kernel::simd;
use super::op;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use rayon::prelude::*;

/// One kernel per channel over `[batch, height, width, channels]`, zero padding, size kept.
///
/// Weight `[kernel height * kernel width, channels]` (taps row-major), bias `[channels]`. A signal in time is a picture of height 1.
#[derive(Debug, Clone)]
pub struct Depthwise {
    weight: Tensor,
    bias: Tensor,
    kernel: (usize, usize),
}

impl Depthwise {
    /// Loads (or creates, under a `VarMap`) `weight` and `bias`; `kernel` is `(height, width)`, both odd.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape, or the kernel is even.
    pub fn new(channels: usize, kernel: (usize, usize), vs: VarBuilder) -> Result<Self> {
        if kernel.0.is_multiple_of(2) || kernel.1.is_multiple_of(2) {
            bail!("depthwise convolution: expected an odd kernel, found {kernel:?}");
        }
        let taps = kernel.0 * kernel.1;
        let bound = 1.0 / (taps as f64).sqrt();
        let init = candle_nn::Init::Uniform { lo: -bound, up: bound };
        Ok(Self {
            weight: vs.get_with_hints((taps, channels), "weight", init)?,
            bias: vs.get_with_hints(channels, "bias", candle_nn::init::ZERO)?,
            kernel,
        })
    }

    /// `[batch, height, width, channels]` to the same shape.
    ///
    /// # Errors
    /// When the channels disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, _, channels) = x.dims4()?;
        if self.bias.dims1()? != channels {
            bail!("depthwise convolution: expected {} channels, found {channels}", self.bias.dims1()?);
        }
        if op::is_fused(x) {
            return x.contiguous()?.apply_op3(&self.weight, &self.bias, Convolve { kernel: self.kernel });
        }
        // A sum over the taps: candle's grouped convolution would be one convolution for each channel.
        let (_, height, width, _) = x.dims4()?;
        let (kh, kw) = self.kernel;
        let x = x.pad_with_zeros(1, kh / 2, kh / 2)?.pad_with_zeros(2, kw / 2, kw / 2)?;
        let mut y = self.bias.broadcast_as((x.dim(0)?, height, width, channels))?;
        for i in 0..kh {
            for j in 0..kw {
                let seen = x.narrow(1, i, height)?.narrow(2, j, width)?;
                y = (y + seen.broadcast_mul(&self.weight.get(i * kw + j)?)?)?;
            }
        }
        Ok(y)
    }
}

struct Convolve {
    kernel: (usize, usize),
}

/// Sizes of a channels-last picture.
#[derive(Clone, Copy)]
struct Picture {
    height: usize,
    width: usize,
    channels: usize,
}

impl Convolve {
    /// Calls `visit(tap, start of the source cell)` for every tap of the cell `(y, x)` that lies inside.
    #[inline(always)]
    fn taps(&self, p: Picture, y: usize, x: usize, mut visit: impl FnMut(usize, usize)) {
        let (kh, kw) = self.kernel;
        for i in 0..kh {
            let Some(sy) = (y + i).checked_sub(kh / 2).filter(|sy| *sy < p.height) else { continue };
            for j in 0..kw {
                let Some(sx) = (x + j).checked_sub(kw / 2).filter(|sx| *sx < p.width) else { continue };
                visit(i * kw + j, (sy * p.width + sx) * p.channels);
            }
        }
    }

    /// Correlates each picture with the kernel (`flip`: with the mirrored one, which is the gradient).
    fn correlate(
        &self,
        p: Picture,
        source: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        flip: bool,
    ) -> Vec<f32> {
        let c = p.channels;
        let cells = p.height * p.width;
        let taps = self.kernel.0 * self.kernel.1;
        let mut out = vec![0.0; source.len()];
        op::par_rows(&mut out, c, |first, rows| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for (r, target) in rows.chunks_exact_mut(c).enumerate() {
                        let cell = first + r;
                        let picture = &source[cell / cells * cells * c..][..cells * c];
                        if let Some(bias) = bias {
                            target.copy_from_slice(bias);
                        }
                        let (y, x) = (cell % cells / p.width, cell % p.width);
                        self.taps(
                            p,
                            y,
                            x,
                            #[inline(always)]
                            |tap, start| {
                                let tap = if flip { taps - 1 - tap } else { tap };
                                let weight = &weight[tap * c..(tap + 1) * c];
                                let source = &picture[start..start + c];
                                for ((t, w), s) in target.iter_mut().zip(weight).zip(source) {
                                    *t += w * s;
                                }
                            },
                        );
                    }
                },
            );
        });
        out
    }

    /// Gradient of the weight, one picture a task.
    fn weight_gradient(&self, p: Picture, source: &[f32], grad: &[f32]) -> Vec<f32> {
        let c = p.channels;
        let size = p.height * p.width * c;
        let taps = self.kernel.0 * self.kernel.1;
        let partial: Vec<Vec<f32>> = source
            .par_chunks(size.max(1))
            .zip(grad.par_chunks(size.max(1)))
            .map(|(source, grad)| {
                let mut sums = vec![0.0; taps * c];
                simd::dispatch(
                    #[inline(always)]
                    || {
                        for (cell, g) in grad.chunks_exact(c).enumerate() {
                            let (y, x) = (cell / p.width, cell % p.width);
                            self.taps(
                                p,
                                y,
                                x,
                                #[inline(always)]
                                |tap, start| {
                                    let source = &source[start..start + c];
                                    let sums = &mut sums[tap * c..(tap + 1) * c];
                                    for ((t, g), s) in sums.iter_mut().zip(g).zip(source) {
                                        *t += g * s;
                                    }
                                },
                            );
                        }
                    },
                );
                sums
            })
            .collect();
        let mut total = vec![0.0; taps * c];
        for sums in partial {
            for (t, s) in total.iter_mut().zip(sums) {
                *t += s;
            }
        }
        total
    }
}

fn picture(shape: &Shape) -> Result<Picture> {
    let (_, height, width, channels) = shape.dims4()?;
    Ok(Picture { height, width, channels })
}

impl CustomOp3 for Convolve {
    fn name(&self) -> &'static str {
        "depthwise convolution"
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
        let name = "depthwise convolution";
        let (x, weight, bias) =
            (op::slice(s1, l1, name)?, op::slice(s2, l2, name)?, op::slice(s3, l3, name)?);
        let y = self.correlate(picture(l1.shape())?, x, weight, Some(bias), false);
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let p = picture(x.shape())?;
        let (dx, dw, db) = op::with_slice(x, |source| {
            op::with_slice(weight, |weight| {
                op::with_slice(grad, |grad| {
                    let dx = self.correlate(p, grad, weight, None, true);
                    Ok((dx, self.weight_gradient(p, source, grad), op::column_sums(grad, p.channels)))
                })
            })
        })?;
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), device)?),
            Some(Tensor::from_vec(dw, weight.shape(), device)?),
            Some(Tensor::from_vec(db, bias.shape(), device)?),
        ))
    }
}
