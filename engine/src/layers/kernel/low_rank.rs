//! The product with a change of low rank, added to an output that is there.

use super::{Matrix, simd};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::array::from_fn;

/// Ranks done side by side; further ones are made up of zeros.
const RANKS: usize = 8;
/// Rows of a parallel task.
const ROWS: usize = 64;

/// A change `D U` of a matrix: `D` `[in, rank]`, `U` `[rank, out]`, both of f32.
///
/// A general product wastes most of its time on so thin a factor: it copies the input into its own order first, and
/// writes the result to where it is added from.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `D`, column by column.
    down: Vec<f32>,
    /// `U`, row by row.
    up: Vec<f32>,
    input: usize,
    output: usize,
}

impl LowRank {
    /// Of `down` `[in, rank]` and `up` `[rank, out]`; `None` when they do not belong together.
    #[must_use]
    pub fn new(down: Matrix, up: Matrix) -> Option<Self> {
        if down.cols != up.rows || !down.fits() || !up.fits() {
            return None;
        }
        let ranks = down.cols.next_multiple_of(RANKS);
        let (mut columns, mut rows) = (down.t().to_row_major().into_owned(), up.to_row_major().into_owned());
        columns.resize(ranks * down.rows, 0.0);
        rows.resize(ranks * up.cols, 0.0);
        Some(Self { down: columns, up: rows, input: down.rows, output: up.cols })
    }

    /// Size of the rows it takes.
    #[must_use]
    pub fn input(&self) -> usize {
        self.input
    }

    /// Size of the rows that it changes.
    #[must_use]
    pub fn output(&self) -> usize {
        self.output
    }

    /// `out += x D U`: `x` row-major `[rows, in]`, `out` row-major `[rows, out]`. On all threads of the current rayon
    /// pool.
    ///
    /// # Panics
    /// When the sizes disagree: callers check shapes first.
    pub fn add(&self, x: &[f32], out: &mut [f32]) {
        if self.input == 0 || self.output == 0 {
            return;
        }
        assert_eq!(x.len() / self.input, out.len() / self.output, "low rank: rows");
        let tasks = out.par_chunks_mut(ROWS * self.output).zip(x.par_chunks(ROWS * self.input));
        tasks.for_each(|(out, x)| simd::vectorise(Rows { change: self, x, out }));
    }
}

/// The work for some rows.
struct Rows<'a> {
    change: &'a LowRank,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let LowRank { down, up, input, output } = self.change;
        for (x, out) in self.x.chunks_exact(*input).zip(self.out.chunks_exact_mut(*output)) {
            for (down, up) in down.chunks_exact(RANKS * input).zip(up.chunks_exact(RANKS * output)) {
                spread(simd, &project(simd, x, down), up, out);
            }
        }
    }
}

/// The products of `x` with eight vectors that follow each other in `down`.
#[inline(always)]
fn project<S: Simd>(simd: S, x: &[f32], down: &[f32]) -> [f32; RANKS] {
    let columns: [&[f32]; RANKS] = from_fn(|r| &down[r * x.len()..(r + 1) * x.len()]);
    let (vectors, rest) = S::as_simd_f32s(x);
    let downs = columns.map(|column| &S::as_simd_f32s(column).0[..vectors.len()]);
    let mut sums = [simd.splat_f32s(0.0); RANKS];
    // Loops of a fixed length: the sums stay in registers.
    for (k, x) in vectors.iter().enumerate() {
        for r in 0..RANKS {
            sums[r] = simd.mul_add_e_f32s(*x, downs[r][k], sums[r]);
        }
    }
    let whole = x.len() - rest.len();
    from_fn(|r| {
        let tail: f32 = rest.iter().zip(&columns[r][whole..]).map(|(x, down)| x * down).sum();
        simd.reduce_sum_f32s(sums[r]) + tail
    })
}

/// Adds eight rows of `up`, each times its factor, to `out`.
#[inline(always)]
fn spread<S: Simd>(simd: S, factors: &[f32; RANKS], up: &[f32], out: &mut [f32]) {
    let width = out.len();
    let rows: [&[f32]; RANKS] = from_fn(|r| &up[r * width..(r + 1) * width]);
    let (vectors, rest) = S::as_mut_simd_f32s(out);
    let ups = rows.map(|row| &S::as_simd_f32s(row).0[..vectors.len()]);
    let splats = factors.map(|factor| simd.splat_f32s(factor));
    for (k, out) in vectors.iter_mut().enumerate() {
        // Two sums: half as long a chain of additions.
        let (mut even, mut odd) = (*out, simd.splat_f32s(0.0));
        for r in (0..RANKS).step_by(2) {
            even = simd.mul_add_e_f32s(splats[r], ups[r][k], even);
            odd = simd.mul_add_e_f32s(splats[r + 1], ups[r + 1][k], odd);
        }
        *out = simd.add_f32s(even, odd);
    }
    let whole = width - rest.len();
    for (factor, row) in factors.iter().zip(rows) {
        rest.iter_mut().zip(&row[whole..]).for_each(|(out, up)| *out += factor * up);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::noise;
    use super::*;

    #[test]
    fn it_is_the_product_of_the_two_factors() {
        for (rows, input, rank, output) in
            [(1, 1, 1, 1), (3, 7, 4, 5), (70, 48, 8, 33), (130, 65, 9, 64), (5, 16, 24, 16), (0, 4, 2, 4)]
        {
            let (x, down, up) = (noise(rows * input, 1), noise(input * rank, 2), noise(rank * output, 3));
            let mut out = noise(rows * output, 4);
            let mut want: Vec<f64> = out.iter().map(|y| f64::from(*y)).collect();
            for i in 0..rows {
                for r in 0..rank {
                    let t: f64 =
                        (0..input).map(|k| f64::from(x[i * input + k]) * f64::from(down[k * rank + r])).sum();
                    (0..output).for_each(|j| want[i * output + j] += t * f64::from(up[r * output + j]));
                }
            }
            let (down, up) = (Matrix::row_major(&down, input, rank), Matrix::row_major(&up, rank, output));
            LowRank::new(down, up).unwrap().add(&x, &mut out);
            for (got, want) in out.iter().zip(&want) {
                assert!(
                    (f64::from(*got) - want).abs() < 2e-5,
                    "{rows} {input} {rank} {output}: {got} {want}"
                );
            }
        }
    }

    #[test]
    fn factors_that_do_not_belong_together_are_refused() {
        let data = noise(12, 1);
        assert!(LowRank::new(Matrix::row_major(&data, 4, 3), Matrix::row_major(&data, 4, 3)).is_none());
        assert!(LowRank::new(Matrix::row_major(&data[..11], 4, 3), Matrix::row_major(&data, 3, 4)).is_none());
    }
}
