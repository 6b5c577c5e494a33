//! The arithmetic under the layers: matrix products and vectorised loops on plain slices.
//!
//! Two precisions of matrix product exist on the CPU. [`Precision::F32`] runs everywhere (crate `gemm`,
//! AVX-512 or AVX2 or NEON chosen at run time). [`Precision::Bf16`] rounds both factors to
//! bfloat16, accumulates in f32 and uses Intel AMX or AVX-512 BF16 where there is one; a machine
//! without either silently takes the f32 path, which is at least as exact. [`Frozen`] right factors
//! are kept in the form that the chosen path reads, and in no other.

pub mod bfloat;
mod columns;
mod frozen;
mod half;
mod low_rank;
mod shared;
pub mod simd;

pub use frozen::Frozen;
pub use low_rank::LowRank;
pub use shared::Shared;

use candle_core::Device;
use gemm::Parallelism;
use rayon::prelude::*;
use std::borrow::Cow;

/// How a matrix product rounds its factors; sums are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Factors as they are.
    #[default]
    F32,
    /// Factors rounded to bfloat16 (relative error 2^-9 each) where the machine has a unit for it.
    Bf16,
    /// On a GPU, factors rounded to half precision (relative error 2^-11 each: none for weights that a pack keeps in
    /// 16 bits); on the CPU as [`Self::F32`].
    F16,
}

impl Precision {
    /// The fastest precision this machine has: bfloat16 with a unit for it ([`bfloat::unit`]), else f32.
    #[must_use]
    pub fn fastest() -> Self {
        if bfloat::unit().is_some() { Self::Bf16 } else { Self::F32 }
    }

    /// The unit that products of this precision run on; `None` for f32.
    fn unit(self) -> Option<bfloat::Unit> {
        bfloat::unit().filter(|_| self == Self::Bf16)
    }

    /// The fastest precision on `device`, without a gradient.
    #[must_use]
    pub fn fastest_on(device: &Device) -> Self {
        if device.is_cpu() { Self::fastest() } else { Self::F16 }
    }
}

/// A borrowed matrix with arbitrary strides, in elements.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// The elements that the strides walk over.
    pub data: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Distance between rows.
    pub row_stride: usize,
    /// Distance between columns.
    pub col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    #[must_use]
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    fn is_row_major(&self) -> bool {
        self.col_stride == 1 && self.row_stride == self.cols && self.data.len() == self.rows * self.cols
    }

    /// The elements row by row.
    fn to_row_major(self) -> Cow<'a, [f32]> {
        if self.is_row_major() {
            return Cow::Borrowed(self.data);
        }
        let mut out = vec![0.0; self.rows * self.cols];
        out.par_chunks_mut(self.cols.max(1)).enumerate().for_each(|(row, out)| {
            let line = self.data[row * self.row_stride..].iter().step_by(self.col_stride.max(1));
            out.iter_mut().zip(line).for_each(|(out, value)| *out = *value);
        });
        Cow::Owned(out)
    }

    /// Whether every element lies inside the slice.
    fn fits(&self) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride < self.data.len()
    }
}

/// What is added to a product.
#[derive(Clone, Copy)]
pub enum Addend<'a> {
    /// Nothing: the output is overwritten.
    Nothing,
    /// One value per column.
    Bias(&'a [f32]),
    /// What the output holds already.
    Output,
    /// One value per column, and what the output holds already: a residual.
    BiasAndOutput(&'a [f32]),
}

/// What is done to each element of a finished sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Finish {
    /// Nothing.
    #[default]
    Nothing,
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// GELU's tanh approximation.
    GeluTanh,
}

impl Finish {
    // Loops, not iterator methods: those need not be inlined into the caller and its wider instructions.
    #[inline(always)]
    fn apply(self, values: &mut [f32]) {
        match self {
            Self::Nothing => {}
            Self::QuickGelu => {
                for x in values {
                    *x = simd::quick_gelu(*x);
                }
            }
            Self::GeluTanh => {
                for x in values {
                    *x = simd::gelu_tanh(*x);
                }
            }
        }
    }
}

/// `out = a b + addend`, `out` row-major `[a.rows, b.cols]`, on all threads of the current rayon pool.
///
/// # Panics
/// When the sizes disagree: callers check shapes first.
pub fn matmul(a: Matrix, b: Matrix, out: &mut [f32], addend: Addend, precision: Precision) {
    assert_eq!(a.cols, b.rows, "matmul: inner sizes");
    assert_eq!(out.len(), a.rows * b.cols, "matmul: output size");
    assert!(a.fits() && b.fits(), "matmul: strides leave the slice");
    if out.is_empty() {
        return;
    }
    // Below this the packing costs more than the product.
    let small = a.rows * a.cols * b.cols < 32 * 32 * 32;
    if !small && let Some(unit) = precision.unit() {
        bfloat::matmul(a, &bfloat::Packed::new(unit, b), out, addend, Finish::Nothing);
        return;
    }
    // A thin product is over before other threads have woken up.
    let thin = a.cols.min(b.cols).min(a.rows) < 32 && a.rows * a.cols * b.cols < 1 << 22;
    let threads = if small || thin { Parallelism::None } else { Parallelism::Rayon(0) };
    matmul_f32(a, b, out, addend, threads);
}

/// [`matmul`] for use inside parallel loops, where other threads have products of their own.
///
/// # Panics
/// When the sizes disagree.
pub fn matmul_serial(a: Matrix, b: Matrix, out: &mut [f32], addend: Addend, precision: Precision) {
    assert_eq!(a.cols, b.rows, "matmul: inner sizes");
    assert_eq!(out.len(), a.rows * b.cols, "matmul: output size");
    assert!(a.fits() && b.fits(), "matmul: strides leave the slice");
    match precision.unit() {
        Some(unit) => {
            let (a, b) = (bfloat::Rows::new(a), bfloat::Packed::new(unit, b));
            bfloat::matmul_serial(&a, &b, out, addend, Finish::Nothing);
        }
        None => matmul_f32(a, b, out, addend, Parallelism::None),
    }
}

fn matmul_f32(a: Matrix, b: Matrix, out: &mut [f32], addend: Addend, threads: Parallelism) {
    let n = b.cols;
    if a.rows == 0 || n == 0 {
        return;
    }
    let accumulate = match addend {
        Addend::Nothing => false,
        Addend::Bias(bias) => {
            assert_eq!(bias.len(), n, "matmul: bias size");
            out.chunks_exact_mut(n).for_each(|row| row.copy_from_slice(bias));
            true
        }
        Addend::Output => true,
        Addend::BiasAndOutput(bias) => {
            assert_eq!(bias.len(), n, "matmul: bias size");
            for row in out.chunks_exact_mut(n) {
                row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
            }
            true
        }
    };
    // SAFETY: the caller has checked `fits` and the length of `out`, a row-major `[a.rows, n]`.
    #[allow(unsafe_code)]
    unsafe {
        gemm_f32(a, b, out.as_mut_ptr(), n, accumulate, threads);
    }
}

/// `out (+)= a b`, the rows of `out` being `stride` elements apart.
///
/// # Safety
/// Every element of `a` and `b` must lie inside its slice ([`Matrix::fits`]), `out` must be valid for reads and writes
/// of `a.rows` rows of `b.cols` elements `stride` apart, and nothing else may access those meanwhile.
#[allow(unsafe_code)]
unsafe fn gemm_f32(
    a: Matrix,
    b: Matrix,
    out: *mut f32,
    stride: usize,
    accumulate: bool,
    threads: Parallelism,
) {
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out,
            1,
            stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn noise(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    }

    fn reference(a: Matrix, b: Matrix) -> Vec<f64> {
        let mut out = vec![0.0; a.rows * b.cols];
        for i in 0..a.rows {
            for j in 0..b.cols {
                out[i * b.cols + j] = (0..a.cols)
                    .map(|k| {
                        f64::from(a.data[i * a.row_stride + k * a.col_stride])
                            * f64::from(b.data[k * b.row_stride + j * b.col_stride])
                    })
                    .sum();
            }
        }
        out
    }

    #[test]
    fn both_precisions_agree_with_f64_for_every_layout_and_ragged_sizes() {
        for (m, k, n) in [(1, 1, 1), (5, 7, 3), (33, 65, 31), (64, 96, 128), (70, 257, 100)] {
            let (x, y) = (noise(m * k, 1), noise(k * n, 2));
            let bias = noise(n, 3);
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let a = if ta { Matrix::row_major(&x, k, m).t() } else { Matrix::row_major(&x, m, k) };
                let b = if tb { Matrix::row_major(&y, n, k).t() } else { Matrix::row_major(&y, k, n) };
                let want = reference(a, b);
                for (precision, tolerance) in [(Precision::F32, 2e-6), (Precision::Bf16, 8e-3)] {
                    let scale = (k as f64).sqrt();
                    let mut out = vec![f32::NAN; m * n];
                    matmul(a, b, &mut out, Addend::Nothing, precision);
                    for (got, want) in out.iter().zip(&want) {
                        assert!(
                            (f64::from(*got) - want).abs() <= tolerance * scale,
                            "{m}x{k}x{n} {got} {want}"
                        );
                    }
                    matmul(a, b, &mut out, Addend::Bias(&bias), precision);
                    for (i, (got, want)) in out.iter().zip(&want).enumerate() {
                        let want = want + f64::from(bias[i % n]);
                        assert!((f64::from(*got) - want).abs() <= tolerance * scale);
                    }
                    matmul(a, b, &mut out, Addend::Output, precision);
                    for (i, (got, want)) in out.iter().zip(&want).enumerate() {
                        let want = 2.0 * want + f64::from(bias[i % n]);
                        assert!((f64::from(*got) - want).abs() <= 2.0 * tolerance * scale);
                    }
                }
            }
        }
    }
}
