//! Pictures from channels-first, as tensors are, to channels-last, as products read them, and back.

use crate::layers::kernel::{Frozen, Shared, simd};
use rayon::prelude::*;

/// Channels-last pictures in the type that is multiplied.
pub(super) enum Source {
    Full(Vec<f32>),
    /// bfloat16.
    Rounded(Vec<u16>),
}

impl Source {
    /// From channels-first pictures of `channels` times `cells` elements, changed by `before`, as the products by
    /// `factors` want them.
    pub fn new(pictures: &[f32], channels: usize, cells: usize, before: &Before, factors: &[Frozen]) -> Self {
        let packed = factors.iter().any(|factor| factor.packed().is_some());
        let size = (channels, cells);
        match before {
            Before::Nothing => Self::changed(
                pictures,
                size,
                packed,
                #[inline(always)]
                |_, x| x,
            ),
            Before::LeakyRelu(slope) => Self::changed(
                pictures,
                size,
                packed,
                #[inline(always)]
                |_, x| if x > 0.0 { x } else { slope * x },
            ),
            Before::ScaledSilu { scale, shift } => Self::changed(
                pictures,
                size,
                packed,
                #[inline(always)]
                |line, x| simd::silu(x * scale[line] + shift[line]),
            ),
        }
    }

    #[inline(always)]
    fn changed(
        pictures: &[f32],
        (channels, cells): (usize, usize),
        packed: bool,
        change: impl Fn(usize, f32) -> f32 + Sync,
    ) -> Self {
        if packed {
            Self::Rounded(transpose(
                pictures,
                channels,
                cells,
                #[inline(always)]
                |line, x| simd::bf16(change(line, x)),
            ))
        } else {
            Self::Full(transpose(pictures, channels, cells, change))
        }
    }
}

/// What is done to each element of the input of a convolution.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Before {
    /// Nothing.
    #[default]
    Nothing,
    /// The leaky ReLU of this slope.
    LeakyRelu(f32),
    /// SiLU of the input times a scale plus a shift, which all pictures' channels have of their own.
    ScaledSilu { scale: Vec<f32>, shift: Vec<f32> },
}

/// `[batch, rows, cols]` to `[batch, cols, rows]`, each element changed by `to(line, element)`, where lines count the
/// rows of all pictures; a block at a time so that every cache line is read once.
pub(super) fn transpose<T: Copy + Default + Send>(
    source: &[f32],
    rows: usize,
    cols: usize,
    to: impl Fn(usize, f32) -> T + Sync,
) -> Vec<T> {
    const HEIGHT: usize = 16;
    const WIDTH: usize = 64;
    let mut out = vec![T::default(); source.len()];
    let pictures = out.par_chunks_mut((rows * cols).max(1)).zip(source.par_chunks((rows * cols).max(1)));
    pictures.enumerate().for_each(|(picture, (out, source))| {
        let line = picture * rows;
        if rows == 1 {
            let chunks = out.par_chunks_mut(1 << 14).zip(source.par_chunks(1 << 14));
            chunks.for_each(|(out, source)| {
                simd::dispatch(
                    #[inline(always)]
                    || {
                        for (out, x) in out.iter_mut().zip(source) {
                            *out = to(line, *x);
                        }
                    },
                );
            });
            return;
        }
        if cols == 1 {
            out.iter_mut().zip(source).enumerate().for_each(|(row, (out, x))| *out = to(line + row, *x));
            return;
        }
        out.par_chunks_mut(WIDTH * rows).enumerate().for_each(|(index, out)| {
            simd::dispatch(
                #[inline(always)]
                || {
                    let (first, width) = (index * WIDTH, out.len() / rows);
                    let mut changed = [T::default(); WIDTH];
                    for top in (0..rows).step_by(HEIGHT) {
                        let height = HEIGHT.min(rows - top);
                        let mut block = [T::default(); WIDTH * HEIGHT];
                        for i in 0..height {
                            // In a loop of its own, over neighbours, so that it is vectorised.
                            let values = &source[(top + i) * cols + first..][..width];
                            for (changed, x) in changed.iter_mut().zip(values) {
                                *changed = to(line + top + i, *x);
                            }
                            for j in 0..WIDTH {
                                block[j * HEIGHT + i] = changed[j];
                            }
                        }
                        for (target, block) in out.chunks_exact_mut(rows).zip(block.chunks_exact(HEIGHT)) {
                            target[top..top + height].copy_from_slice(&block[..height]);
                        }
                    }
                },
            );
        });
    });
    out
}

/// Writes rows of `width` values as columns: value `c` of row `r` to `first + c * step + r`, added to what `residual`
/// has there.
#[inline(always)]
pub(super) fn scatter(
    rows: &[f32],
    width: usize,
    residual: Option<&[f32]>,
    out: &Shared,
    (first, step): (usize, usize),
) {
    const BLOCK: usize = 16;
    // A few lines of the output at a time: they lie in different pages.
    for left in (0..width).step_by(BLOCK) {
        let count = BLOCK.min(width - left);
        for (index, rows) in rows.chunks(BLOCK * width).enumerate() {
            let height = rows.len() / width;
            let mut block = [[0.0; BLOCK]; BLOCK];
            for (i, row) in rows.chunks_exact(width).enumerate() {
                let values = &row[left..left + count];
                if let Ok(values) = <&[f32; BLOCK]>::try_from(values) {
                    for j in 0..BLOCK {
                        block[j][i] = values[j];
                    }
                } else {
                    block.iter_mut().zip(values).for_each(|(line, value)| line[i] = *value);
                }
            }
            for (j, line) in block.iter().enumerate().take(count) {
                let start = first + (left + j) * step + index * BLOCK;
                // SAFETY: every position belongs to one tile, and every tile to one task.
                #[allow(unsafe_code)]
                let target = unsafe { out.part(start, height) };
                let mut line = *line;
                if let Some(residual) = residual {
                    for (x, r) in line.iter_mut().zip(&residual[start..start + height]) {
                        *x += r;
                    }
                }
                match <&mut [f32; BLOCK]>::try_from(&mut *target) {
                    Ok(target) => *target = line,
                    Err(_) => target.copy_from_slice(&line[..height]),
                }
            }
        }
    }
}
