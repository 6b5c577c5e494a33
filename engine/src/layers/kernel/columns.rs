//! Products whose threads each do some columns, all rows of them.

use super::{Addend, Finish, Matrix, Shared, gemm_f32, simd};
use gemm::Parallelism;
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a task: with 1024 rows of f32, half of a usual second-level cache.
const COLUMNS: usize = 128;

/// `out = a b + addend`, then `finish`, for a right factor `[rows, cols]` whose columns of a range `fill` writes into a
/// row-major matrix. On all threads of the current rayon pool, which need not wait for each other before
/// everything is done.
///
/// # Panics
/// When the sizes disagree.
pub(super) fn by_columns(
    a: Matrix,
    (rows, cols): (usize, usize),
    out: &mut [f32],
    addend: Addend,
    finish: Finish,
    fill: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    assert_eq!(a.cols, rows, "matmul: inner sizes");
    assert_eq!(out.len(), a.rows * cols, "matmul: output size");
    assert!(a.fits(), "matmul: strides leave the slice");
    if let Addend::Bias(bias) | Addend::BiasAndOutput(bias) = addend {
        assert_eq!(bias.len(), cols, "matmul: bias size");
    }
    if out.is_empty() {
        return;
    }
    let output = Shared::new(out);
    (0..cols.div_ceil(COLUMNS)).into_par_iter().with_max_len(1).for_each_init(
        Vec::new,
        |buffer: &mut Vec<f32>, task| {
            let first = task * COLUMNS;
            let width = COLUMNS.min(cols - first);
            let columns = first..first + width;
            buffer.resize(rows * width, 0.0);
            fill(columns.clone(), buffer);
            // SAFETY: no two tasks have the same columns, and here one row is used at a time.
            #[allow(unsafe_code)]
            let lines = (0..a.rows).map(|row| unsafe { output.part(row * cols + first, width) });
            let mut accumulate = false;
            match addend {
                Addend::Nothing => {}
                Addend::Output => accumulate = true,
                Addend::Bias(bias) => {
                    accumulate = true;
                    lines.clone().for_each(|line| line.copy_from_slice(&bias[columns.clone()]));
                }
                Addend::BiasAndOutput(bias) => {
                    accumulate = true;
                    let bias = &bias[columns];
                    for line in lines.clone() {
                        line.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
                    }
                }
            }
            // SAFETY: `a` fits its slice (checked above), the buffer is a whole row-major matrix, and all addresses that
            // are written lie in this task's columns, between the first row's and the last one's.
            #[allow(unsafe_code)]
            unsafe {
                let b = Matrix::row_major(buffer, rows, width);
                gemm_f32(a, b, output.pointer(first), cols, accumulate, Parallelism::None);
            }
            simd::dispatch(
                #[inline(always)]
                || {
                    for line in lines {
                        finish.apply(line);
                    }
                },
            );
        },
    );
}
