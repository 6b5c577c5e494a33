//! Right factors kept in 16 bits where nothing is lost by that, for machines that multiply in f32.

use super::columns::by_columns;
use super::{Addend, Finish, Matrix, simd};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use rayon::prelude::*;

/// A row-major matrix `[rows, cols]` of 16-bit floats.
#[derive(Debug, Clone)]
pub(super) struct Half {
    bits: Vec<u16>,
    kind: Kind,
    rows: usize,
    cols: usize,
}

/// What the bits mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F16,
    Bf16,
}

impl Half {
    /// Of row-major f32 `values`, if each of them is a bfloat16 or each an f16.
    pub(super) fn exact(values: &[f32], rows: usize, cols: usize) -> Option<Self> {
        let bits =
            narrow(values, |x| (x.to_bits() >> 16) as u16, |bits| f32::from_bits(u32::from(bits) << 16));
        if let Some(bits) = bits {
            return Some(Self { bits, kind: Kind::Bf16, rows, cols });
        }
        let bits = narrow(values, |x| f16::from_f32(x).to_bits(), |bits| f16::from_bits(bits).to_f32())?;
        Some(Self { bits, kind: Kind::F16, rows, cols })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// The values in f32.
    pub(super) fn widen(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.bits.len()];
        out.par_chunks_mut(1 << 16).zip(self.bits.par_chunks(1 << 16)).for_each(|(out, bits)| {
            self.convert(bits, out);
        });
        out
    }

    fn convert(&self, bits: &[u16], out: &mut [f32]) {
        match self.kind {
            Kind::F16 => bits.reinterpret_cast::<f16>().convert_to_f32_slice(out),
            Kind::Bf16 => simd::dispatch(
                #[inline(always)]
                || {
                    for (out, bits) in out.iter_mut().zip(bits) {
                        *out = f32::from_bits(u32::from(*bits) << 16);
                    }
                },
            ),
        }
    }

    /// `out = a b + addend`, then `finish`; on all threads of the current rayon pool, each of which widens some
    /// columns at a time.
    pub(super) fn matmul(&self, a: Matrix, out: &mut [f32], addend: Addend, finish: Finish) {
        by_columns(a, (self.rows, self.cols), out, addend, finish, |columns, wide| {
            for (wide, bits) in wide.chunks_exact_mut(columns.len()).zip(self.bits.chunks_exact(self.cols)) {
                self.convert(&bits[columns.clone()], wide);
            }
        });
    }
}

/// All values in 16 bits, if they survive it.
fn narrow(
    values: &[f32],
    to: impl Fn(f32) -> u16 + Sync,
    from: impl Fn(u16) -> f32 + Sync,
) -> Option<Vec<u16>> {
    const TASK: usize = 1 << 16;
    let survives =
        |values: &[f32]| values.iter().fold(true, |all, x| all & (from(to(*x)).to_bits() == x.to_bits()));
    // A look at the first few tells most of those that do not.
    if !survives(&values[..values.len().min(64)]) || !values.par_chunks(TASK).all(survives) {
        return None;
    }
    let mut bits = vec![0; values.len()];
    bits.par_chunks_mut(TASK).zip(values.par_chunks(TASK)).for_each(|(bits, values)| {
        bits.iter_mut().zip(values).for_each(|(bits, x)| *bits = to(*x));
    });
    Some(bits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_survives_is_narrowed() {
        // Eleven bits, which an f16 has and a bfloat16 has not.
        let fine: Vec<f32> = (0..300).map(|i| (7 * i - 1000) as f32 / 64.0).collect();
        assert_eq!(Half::exact(&fine, 10, 30).unwrap().kind, Kind::F16);
        assert_eq!(Half::exact(&fine, 10, 30).unwrap().widen(), fine);
        // Eight bits, beyond the range of an f16.
        let large: Vec<f32> = (0..300).map(|i| (i % 256) as f32 * 2_f32.powi(70)).collect();
        assert_eq!(Half::exact(&large, 10, 30).unwrap().kind, Kind::Bf16);
        assert_eq!(Half::exact(&large, 10, 30).unwrap().widen(), large);
        let mut thirds = fine;
        thirds[299] = 1.0 / 3.0;
        assert!(Half::exact(&thirds, 10, 30).is_none());
    }

    /// Whole numbers, exact in every type.
    #[test]
    fn products_addends_and_finishes_are_right() {
        for (m, k, n) in [(1, 1, 1), (5, 40, 300), (33, 7, 128)] {
            let a: Vec<f32> = (0..m * k).map(|i| (i * 7 % 29) as f32 - 14.0).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i * 11 % 29) as f32 - 14.0).collect();
            let bias: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let half = Half::exact(&b, k, n).unwrap();
            let mut out = vec![f32::NAN; m * n];
            half.matmul(Matrix::row_major(&a, m, k), &mut out, Addend::Nothing, Finish::Nothing);
            let want: Vec<f32> =
                (0..m * n).map(|i| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum()).collect();
            assert_eq!(out, want);
            half.matmul(Matrix::row_major(&a, m, k), &mut out, Addend::BiasAndOutput(&bias), Finish::Nothing);
            let twice: Vec<f32> = want.iter().enumerate().map(|(i, x)| 2.0 * x + bias[i % n]).collect();
            assert_eq!(out, twice);
            half.matmul(Matrix::row_major(&a, m, k), &mut out, Addend::Bias(&bias), Finish::QuickGelu);
            for (i, got) in out.iter().enumerate() {
                assert_eq!(*got, simd::quick_gelu(want[i] + bias[i % n]));
            }
        }
    }
}
