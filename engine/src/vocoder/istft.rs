//! Inverse short-time Fourier transform from log-magnitudes and phases, with its gradient.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Window and transform size, in samples.
pub const WINDOW: usize = 1024;
/// Samples between frames.
pub const HOP: usize = crate::HOP;
/// Frequency bins of a frame.
pub const BINS: usize = WINDOW / 2 + 1;

/// Log-magnitudes above this are cut: `e^7` is ten times what a full-scale sine gives.
const LOUDEST: f32 = 7.0;

/// Turns frames `[batch, frames, 2 * 513]` (log-magnitudes, then phases in radians) into waveforms
/// `[batch, 256 * frames]`: frame i is centred on sample 256 i, windowed (Hann), overlapped and
/// divided by the overlapped squared windows.
#[derive(Clone)]
pub struct InverseStft {
    inverse: Arc<dyn ComplexToReal<f32>>,
    forward: Arc<dyn RealToComplex<f32>>,
    window: Arc<[f32]>,
}

impl std::fmt::Debug for InverseStft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InverseStft").finish_non_exhaustive()
    }
}

impl Default for InverseStft {
    fn default() -> Self {
        Self::new()
    }
}

impl InverseStft {
    /// Plans the transforms.
    #[must_use]
    pub fn new() -> Self {
        let mut planner = RealFftPlanner::new();
        let window = (0..WINDOW)
            .map(|n| (0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / WINDOW as f64).cos()) as f32);
        Self {
            inverse: planner.plan_fft_inverse(WINDOW),
            forward: planner.plan_fft_forward(WINDOW),
            window: window.collect(),
        }
    }

    /// Frames `[batch, frames, 1026]` to waveforms `[batch, 256 * frames]`.
    ///
    /// # Errors
    /// When the last dimension is another.
    pub fn forward(&self, frames: &Tensor) -> Result<Tensor> {
        let (_, _, width) = frames.dims3()?;
        if width != 2 * BINS {
            bail!("inverse STFT: expected [batch, frames, {}], found {:?}", 2 * BINS, frames.shape());
        }
        if frames.device().is_cpu() {
            return frames.contiguous()?.apply_op1(self.clone());
        }
        let device = frames.device().clone();
        if frames.track_op() {
            bail!("inverse STFT: training runs on the CPU only");
        }
        frames.to_device(&candle_core::Device::Cpu)?.contiguous()?.apply_op1(self.clone())?.to_device(&device)
    }

    /// `1 / sum of squared windows` at each of `256 * frames` samples.
    fn envelope(&self, frames: usize) -> Vec<f32> {
        let mut sums = vec![0.0_f32; frames * HOP];
        for frame in 0..frames {
            for (n, w) in self.window.iter().enumerate() {
                if let Some(i) = (frame * HOP + n).checked_sub(WINDOW / 2)
                    && let Some(s) = sums.get_mut(i)
                {
                    *s += w * w;
                }
            }
        }
        sums.into_iter().map(|s| 1.0 / s.max(1e-3)).collect()
    }

    /// One waveform.
    fn synthesize(&self, frames: &[f32], out: &mut [f32]) {
        let mut spectrum = self.inverse.make_input_vec();
        let mut scratch = self.inverse.make_scratch_vec();
        let mut signal = self.inverse.make_output_vec();
        let count = frames.len() / (2 * BINS);
        for (i, frame) in frames.chunks_exact(2 * BINS).enumerate() {
            let (logs, phases) = frame.split_at(BINS);
            for ((bin, log), phase) in spectrum.iter_mut().zip(logs).zip(phases) {
                *bin = Complex32::from_polar(log.min(LOUDEST).exp(), *phase);
            }
            spectrum[0].im = 0.0;
            spectrum[BINS - 1].im = 0.0;
            // Lengths are those of the plan and the two real bins are real: this cannot fail.
            if self.inverse.process_with_scratch(&mut spectrum, &mut signal, &mut scratch).is_err() {
                return;
            }
            for (n, (s, w)) in signal.iter().zip(self.window.iter()).enumerate() {
                if let Some(at) = (i * HOP + n).checked_sub(WINDOW / 2)
                    && let Some(o) = out.get_mut(at)
                {
                    *o += s * w / WINDOW as f32;
                }
            }
        }
        for (o, e) in out.iter_mut().zip(self.envelope(count)) {
            *o *= e;
        }
    }

    /// Gradient of one waveform with respect to its frames.
    fn adjoint(&self, frames: &[f32], grad: &[f32], out: &mut [f32]) {
        let count = frames.len() / (2 * BINS);
        let grad: Vec<f32> = grad.iter().zip(self.envelope(count)).map(|(g, e)| g * e).collect();
        let mut signal = self.forward.make_input_vec();
        let mut spectrum = self.forward.make_output_vec();
        let mut scratch = self.forward.make_scratch_vec();
        let frames = frames.chunks_exact(2 * BINS).zip(out.chunks_exact_mut(2 * BINS));
        for (i, (frame, out)) in frames.enumerate() {
            for (n, (s, w)) in signal.iter_mut().zip(self.window.iter()).enumerate() {
                let at = (i * HOP + n).checked_sub(WINDOW / 2);
                *s = at.and_then(|at| grad.get(at)).map_or(0.0, |g| g * w / WINDOW as f32);
            }
            if self.forward.process_with_scratch(&mut signal, &mut spectrum, &mut scratch).is_err() {
                return;
            }
            for k in 0..BINS {
                let edge = k == 0 || k == BINS - 1;
                let twice = if edge { 1.0 } else { 2.0 };
                // Slope with respect to the real and imaginary parts of the bin.
                let (real, imaginary) =
                    (twice * spectrum[k].re, if edge { 0.0 } else { twice * spectrum[k].im });
                let (log, phase) = (frame[k], frame[BINS + k]);
                let bin = Complex32::from_polar(log.min(LOUDEST).exp(), phase);
                out[k] = if log < LOUDEST { bin.re * real + bin.im * imaginary } else { 0.0 };
                out[BINS + k] = bin.re * imaginary - bin.im * real;
            }
        }
    }
}

impl CustomOp1 for InverseStft {
    fn name(&self) -> &'static str {
        "inverse stft"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, frames, width) = layout.shape().dims3()?;
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("inverse STFT: not contiguous") };
        let Some(data) = storage.as_slice::<f32>()?.get(start..end) else {
            bail!("inverse STFT: bad layout")
        };
        let mut out = vec![0.0; batch * frames * HOP];
        if !out.is_empty() {
            out.par_chunks_mut(frames * HOP)
                .zip(data.par_chunks(frames * width))
                .for_each(|(out, frames)| self.synthesize(frames, out));
        }
        Ok((CpuStorage::F32(out), (batch, frames * HOP).into()))
    }

    fn bwd(&self, arg: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, frames, width) = arg.dims3()?;
        let data = arg.flatten_all()?.to_vec1::<f32>()?;
        let grad = grad.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        let mut out = vec![0.0; data.len()];
        if !out.is_empty() {
            out.par_chunks_mut(frames * width)
                .zip(data.par_chunks(frames * width))
                .zip(grad.par_chunks(frames * HOP))
                .for_each(|((out, frames), grad)| self.adjoint(frames, grad, out));
        }
        Ok(Some(Tensor::from_vec(out, arg.shape(), arg.device())?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{Device, Var};

    /// The transform of a signal's own spectra is the signal.
    #[test]
    fn inverts_the_transform() {
        let istft = InverseStft::new();
        let frames = 12;
        let signal: Vec<f32> =
            (0..frames * HOP).map(|n| (n as f32 * 0.05).sin() + 0.3 * (n as f32 * 0.31).cos()).collect();
        let mut data = Vec::new();
        for i in 0..frames {
            let mut windowed: Vec<f32> = (0..WINDOW)
                .map(|n| {
                    let at = (i * HOP + n).checked_sub(WINDOW / 2);
                    at.and_then(|at| signal.get(at)).map_or(0.0, |s| s * istft.window[n])
                })
                .collect();
            let mut spectrum = istft.forward.make_output_vec();
            istft.forward.process(&mut windowed, &mut spectrum).unwrap();
            data.extend(spectrum.iter().map(|b| b.norm().max(1e-12).ln()));
            data.extend(spectrum.iter().map(|b| b.arg()));
        }
        let frames = Tensor::from_vec(data, (1, frames, 2 * BINS), &Device::Cpu).unwrap();
        let back = istft.forward(&frames).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        // The last half window lacks the frames after the end.
        for (a, b) in signal.iter().zip(&back).take(back.len() - WINDOW / 2) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn the_gradient_is_the_slope() {
        let istft = InverseStft::new();
        let count = 3;
        let wave = |a: f32| (0..count * 2 * BINS).map(|i| (i as f32 * a).sin()).collect::<Vec<_>>();
        let start = wave(0.7);
        let var = Var::from_vec(start.clone(), (1, count, 2 * BINS), &Device::Cpu).unwrap();
        let weights =
            Tensor::from_vec(wave(0.31)[..count * HOP].to_vec(), (1, count * HOP), &Device::Cpu).unwrap();
        let objective = |x: &Tensor| (istft.forward(x).unwrap() * &weights).unwrap().sum_all().unwrap();
        let grads = objective(&var).backward().unwrap();
        let grad = grads.get(&var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for i in [0, 1, 100, 512, 513, 600, 1025, 1026, 1500, 2051, 2100, 3077] {
            let at = |d: f32| {
                let mut moved = start.clone();
                moved[i] += d;
                let x = Tensor::from_vec(moved, (1, count, 2 * BINS), &Device::Cpu).unwrap();
                let y = (istft.forward(&x).unwrap() * &weights).unwrap().flatten_all().unwrap();
                y.to_vec1::<f32>().unwrap().iter().map(|v| f64::from(*v)).sum::<f64>()
            };
            let want = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((f64::from(grad[i]) - want).abs() < 2e-5, "{i}: {} {want}", grad[i]);
        }
    }
}
