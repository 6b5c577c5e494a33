//! Matrix products of bfloat16 factors with f32 sums, on the instructions that x86 has for them:
//! Intel's AMX tiles (`tdpbf16ps`) or AVX-512's dot product (`vdpbf16ps`, also AMD's from Zen 4 on).
//!
//! Both read the same packing. The left factor is packed into tiles of 16 rows x 32 bfloat16, the
//! right one into tiles of 16 *pairs* of rows x 16 columns (the "VNNI" layout); both are padded with
//! zeros to whole tiles, so that the kernels have no edges.

mod amx;
mod avx512;
mod pack;

use super::{Addend, Matrix};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Rows and columns of one output block (2 x 2 tiles).
const BLOCK: usize = 32;
/// Depth of one tile, in bfloat16 elements.
const DEPTH: usize = 32;
/// Elements of a packed 16-wide, 32-deep tile.
const TILE: usize = 16 * DEPTH;

/// The environment variable that keeps units from being used, for tests and comparisons: `f32` forbids both,
/// `avx512` the tiles.
pub const CHOICE: &str = "SOUNDLOCD_MATMUL";

/// What multiplies bfloat16 matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Intel AMX.
    Tiles,
    /// AVX-512 with the BF16 extension.
    Avx512,
}

/// The fastest unit that this process may use, if there is any.
#[must_use]
pub fn unit() -> Option<Unit> {
    static UNIT: OnceLock<Option<Unit>> = OnceLock::new();
    *UNIT.get_or_init(|| {
        let choice = std::env::var(CHOICE).unwrap_or_default();
        if choice == "f32" {
            return None;
        }
        if choice != "avx512" && amx::detect() {
            return Some(Unit::Tiles);
        }
        avx512::detect().then_some(Unit::Avx512)
    })
}

/// A right factor `[k, n]`, packed once and usable many times.
#[derive(Debug, Clone)]
pub struct Packed {
    unit: Unit,
    data: Vec<u16>,
    rows: usize,
    cols: usize,
}

impl Packed {
    /// Packs `b` for `unit`, on all threads of the current rayon pool.
    #[must_use]
    pub fn new(unit: Unit, b: Matrix) -> Self {
        let depth_tiles = b.rows.div_ceil(DEPTH);
        let panel = depth_tiles * TILE * 2;
        let mut data = vec![0_u16; b.cols.div_ceil(BLOCK) * panel];
        data.par_chunks_mut(panel.max(1)).enumerate().for_each(|(block, out)| {
            for (half, out) in out.chunks_exact_mut(panel / 2).enumerate() {
                pack::right(b, block * BLOCK + half * 16, out);
            }
        });
        Self { unit, data, rows: b.rows, cols: b.cols }
    }

    /// Number of rows of the factor (the inner size).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns of the factor.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }
}

/// `out = a b + addend` with `b` packed; `out` row-major `[a.rows, b.cols]`.
///
/// # Panics
/// When sizes disagree.
pub fn matmul(a: Matrix, b: &Packed, out: &mut [f32], addend: Addend) {
    assert_eq!(a.cols, b.rows, "matmul: inner sizes");
    assert_eq!(out.len(), a.rows * b.cols, "matmul: output size");
    if let Addend::Bias(bias) = addend {
        assert_eq!(bias.len(), b.cols, "matmul: bias size");
    }
    let depth_tiles = a.cols.div_ceil(DEPTH);
    let panel = depth_tiles * TILE * 2;
    if out.is_empty() {
        return;
    }
    let n = b.cols;
    out.par_chunks_mut(BLOCK * n).enumerate().for_each_init(
        || vec![0_u16; panel],
        |left, (block, rows)| {
            for (half, part) in left.chunks_exact_mut(panel / 2).enumerate() {
                pack::left(a, block * BLOCK + half * 16, part);
            }
            let height = rows.len() / n;
            let mut result = Block([0.0; BLOCK * BLOCK]);
            for (column, right) in b.data.chunks_exact(panel.max(1)).enumerate() {
                match b.unit {
                    Unit::Tiles => amx::multiply(depth_tiles, left, right, &mut result),
                    Unit::Avx512 => avx512::multiply(depth_tiles, left, right, height, &mut result),
                }
                let first = column * BLOCK;
                let width = (n - first).min(BLOCK);
                for (row, sums) in rows.chunks_exact_mut(n).zip(result.0.chunks_exact(BLOCK)) {
                    let target = &mut row[first..first + width];
                    match addend {
                        Addend::Nothing => target.copy_from_slice(&sums[..width]),
                        Addend::Bias(bias) => {
                            for ((t, s), b) in target.iter_mut().zip(sums).zip(&bias[first..]) {
                                *t = s + b;
                            }
                        }
                        Addend::Output => {
                            for (t, s) in target.iter_mut().zip(sums) {
                                *t += s;
                            }
                        }
                    }
                }
            }
            if b.unit == Unit::Tiles {
                amx::release();
            }
        },
    );
}

/// One 32 x 32 block of sums.
#[repr(align(64))]
struct Block([f32; BLOCK * BLOCK]);

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers that bfloat16 and the f32 sums hold exactly: any wrong element shows.
    #[test]
    fn every_unit_of_this_machine_is_exact_on_small_whole_numbers() {
        let units = [(Unit::Tiles, amx::detect()), (Unit::Avx512, avx512::detect())];
        for (m, k, n) in [(1, 1, 1), (5, 7, 3), (33, 65, 31), (8, 32, 16), (41, 257, 100)] {
            let value = |i: usize, p: usize| (i * p % 29) as f32 - 14.0;
            let a: Vec<f32> = (0..m * k).map(|i| value(i, 7)).collect();
            let b: Vec<f32> = (0..k * n).map(|i| value(i, 11)).collect();
            let want: Vec<f32> =
                (0..m * n).map(|i| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum()).collect();
            for (unit, _) in units.iter().filter(|(_, there)| *there) {
                let packed = Packed::new(*unit, Matrix::row_major(&b, k, n));
                let mut out = vec![f32::NAN; m * n];
                matmul(Matrix::row_major(&a, m, k), &packed, &mut out, Addend::Nothing);
                assert_eq!(out, want, "{unit:?} {m}x{k}x{n}");
            }
        }
    }
}
