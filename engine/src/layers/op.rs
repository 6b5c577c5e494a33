//! What the layers' custom operations share: reading tensors as slices, loops over rows, sums over columns.

use super::kernel::Precision;
use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// Elements a parallel task should at least have.
const GRAIN: usize = 16 * 1024;

/// Whether the layers' own operations over slices take `x`: on the CPU they do, elsewhere candle's are composed.
pub(crate) fn is_fused(x: &Tensor) -> bool {
    #[cfg(test)]
    if COMPOSED.get() {
        return false;
    }
    x.device().is_cpu()
}

#[cfg(test)]
std::thread_local! {
    static COMPOSED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `work` as on another device than the CPU, whose layers are composed: a test of what no test machine has.
#[cfg(test)]
pub(crate) fn composed<T>(work: impl FnOnce() -> T) -> T {
    COMPOSED.set(true);
    let result = work();
    COMPOSED.set(false);
    result
}

/// The f32 elements of a contiguous CPU tensor.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout, op: &str) -> Result<&'a [f32]> {
    let data = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => match data.get(start..end) {
            Some(data) => Ok(data),
            None => bail!("{op}: layout {start}..{end} leaves a storage of {}", data.len()),
        },
        None => bail!("{op}: the input is not contiguous"),
    }
}

/// A weight as products of `precision` want it: on other devices than the CPU in 16 bits, if they are asked for and it
/// takes no gradient.
pub(super) fn stored(weight: Tensor, precision: Precision) -> Tensor {
    if precision != Precision::F16 || is_fused(&weight) || weight.track_op() {
        return weight;
    }
    // f32 is no wrong answer where the device has nothing smaller.
    weight.to_dtype(DType::F16).unwrap_or(weight)
}

/// Runs `read` on the f32 elements of a CPU tensor, made contiguous if need be.
pub(crate) fn with_slice<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => read(slice(storage, layout, "layer")?),
        _ => bail!("layer: expected a CPU tensor"),
    }
}

/// Runs `work(index of the first row, rows)` over chunks of whole rows of `out`, in parallel.
pub(super) fn par_rows(out: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if out.is_empty() || width == 0 {
        return;
    }
    let rows = GRAIN.div_ceil(width).max(1);
    if out.len() <= rows * width {
        work(0, out);
        return;
    }
    out.par_chunks_mut(rows * width).enumerate().for_each(|(i, chunk)| work(i * rows, chunk));
}

/// Sums `rows` partial results of `width` values each, made by `work(row range, partial)`.
///
/// The row ranges have a fixed size, so that the rounding does not depend on the number of threads.
pub(super) fn sum_rows(
    rows: usize,
    width: usize,
    work: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync,
) -> Vec<f32> {
    const ROWS: usize = 256;
    let partial: Vec<Vec<f32>> = (0..rows.div_ceil(ROWS))
        .into_par_iter()
        .map(|chunk| {
            let mut sums = vec![0.0; width];
            work(chunk * ROWS..((chunk + 1) * ROWS).min(rows), &mut sums);
            sums
        })
        .collect();
    let mut total = vec![0.0; width];
    for sums in partial {
        for (t, s) in total.iter_mut().zip(sums) {
            *t += s;
        }
    }
    total
}

/// Sum over the rows of `[rows, width]`.
pub(super) fn column_sums(data: &[f32], width: usize) -> Vec<f32> {
    let rows = data.len().checked_div(width).unwrap_or(0);
    sum_rows(rows, width, |range, sums| {
        super::kernel::simd::dispatch(
            #[inline(always)]
            || {
                for row in data[range.start * width..range.end * width].chunks_exact(width) {
                    for (s, v) in sums.iter_mut().zip(row) {
                        *s += v;
                    }
                }
            },
        );
    })
}
