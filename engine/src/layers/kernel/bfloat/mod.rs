//! Matrix products of bfloat16 factors with f32 sums, on the instructions that x86 has for them:
//! Intel's AMX tiles (`tdpbf16ps`) or AVX-512's dot product (`vdpbf16ps`, also AMD's from Zen 4 on).
//!
//! Both read the same packing. The left factor is packed into tiles of 16 rows x 32 bfloat16, the
//! right one into tiles of 16 *pairs* of rows x 16 columns (the "VNNI" layout); both are padded with
//! zeros to whole tiles, so that the kernels have no edges.

mod amx;
mod avx512;
mod pack;

use super::{Addend, Finish, Matrix, Shared, simd};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

/// Rows and columns of one output block (2 x 2 tiles).
const BLOCK: usize = 32;
/// Depth of one tile, in bfloat16 elements.
const DEPTH: usize = 32;
/// Elements of a packed 16-wide, 32-deep tile.
const TILE: usize = 16 * DEPTH;

/// The environment variable that chooses, for tests and comparisons: `f32` forbids both units, `avx512` the tiles, and
/// takes the other unit even where it does not pay.
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
        let wanted = choice == "avx512" || avx512::pays();
        (wanted && avx512::detect()).then_some(Unit::Avx512)
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
        let panel = panel_size(b.rows);
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

    /// The factor as it multiplies, rounded to bfloat16, row-major.
    #[must_use]
    pub fn unpack(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        let panel = panel_size(self.rows);
        out.par_chunks_mut(self.cols.max(1)).enumerate().for_each(|(row, out)| {
            let (tile, pair, low) = (row / DEPTH, row % DEPTH / 2, row % 2);
            for (half, out) in out.chunks_mut(16).enumerate() {
                let start = half / 2 * panel + half % 2 * panel / 2 + tile * TILE + pair * 32 + low;
                for (value, bits) in out.iter_mut().zip(self.data[start..].iter().step_by(2)) {
                    *value = f32::from_bits(u32::from(*bits) << 16);
                }
            }
        });
        out
    }
}

/// Elements of 32 packed rows or columns of `depth` elements.
fn panel_size(depth: usize) -> usize {
    depth.div_ceil(DEPTH) * TILE * 2
}

/// Rows of a left factor, packed.
#[derive(Debug, Default)]
pub struct Rows {
    data: Vec<u16>,
    rows: usize,
    depth: usize,
}

impl Rows {
    /// Packs `a`, on all threads of the current rayon pool.
    #[must_use]
    pub fn new(a: Matrix) -> Self {
        let mut rows = Self::default();
        rows.resize(a.rows, a.cols);
        rows.data.par_chunks_mut(panel_size(a.cols).max(1)).enumerate().for_each(|(block, out)| {
            for (half, out) in out.chunks_exact_mut(panel_size(a.cols) / 2).enumerate() {
                pack::left(a, block * BLOCK + half * 16, out);
            }
        });
        rows
    }

    /// Makes room for `rows` rows of `depth` elements. What the rows hold then is not defined, but what lies past
    /// the last element of a row is zero.
    pub fn resize(&mut self, rows: usize, depth: usize) {
        if depth != self.depth {
            self.data.clear();
        }
        (self.rows, self.depth) = (rows, depth);
        self.data.resize(rows.div_ceil(BLOCK) * panel_size(depth), 0);
    }

    /// Puts bfloat16 `values` into `row` from element `at` on.
    ///
    /// # Panics
    /// When they leave the row.
    #[inline(always)]
    pub fn put(&mut self, row: usize, mut at: usize, mut values: &[u16]) {
        assert!(row < self.rows && at + values.len() <= self.depth, "packed rows: out of range");
        let half = panel_size(self.depth) / 2;
        let line = row / 16 * half + row % 16 * DEPTH;
        while !values.is_empty() {
            let (piece, rest) = values.split_at(values.len().min(DEPTH - at % DEPTH));
            let target = &mut self.data[line + at / DEPTH * TILE + at % DEPTH..][..piece.len()];
            match (<&mut [u16; DEPTH]>::try_from(&mut *target), <&[u16; DEPTH]>::try_from(piece)) {
                // A whole line of a tile: two vectors, where a copy of any length is a call.
                (Ok(target), Ok(piece)) => *target = *piece,
                _ => target.copy_from_slice(piece),
            }
            (at, values) = (at + piece.len(), rest);
        }
    }
}

/// `out = a b + addend`, then `finish`, with `b` packed; `out` row-major `[a.rows, b.cols]`. On all threads of the
/// current rayon pool.
///
/// # Panics
/// When sizes disagree.
pub fn matmul(a: Matrix, b: &Packed, out: &mut [f32], addend: Addend, finish: Finish) {
    assert_eq!(out.len(), a.rows * b.cols, "matmul: output size");
    if out.is_empty() {
        return;
    }
    let left = Rows::new(a);
    let (blocks, panels) = (a.rows.div_ceil(BLOCK), b.cols.div_ceil(BLOCK));
    // A task takes as many rows as stay in half of a usual second-level cache while the columns pass by, and enough
    // of the columns that each thread gets a few tasks.
    let threads = rayon::current_num_threads();
    let group = (LEFT_BYTES / (2 * panel_size(a.cols)).max(1)).clamp(1, blocks);
    let groups = blocks.div_ceil(group);
    let chunk = panels.div_ceil((4 * threads).div_ceil(groups)).max(1);
    let chunks = panels.div_ceil(chunk);
    let output = Output { data: Shared::new(out), cols: b.cols };
    (0..groups * chunks).into_par_iter().with_max_len(1).for_each(|task| {
        let (group_index, chunk_index) = (task / chunks, task % chunks);
        let blocks = group_index * group..((group_index + 1) * group).min(blocks);
        let panels = chunk_index * chunk..((chunk_index + 1) * chunk).min(panels);
        multiply(&left, blocks, b, panels, &output, addend, finish);
    });
}

/// [`matmul`] with packed rows on the calling thread alone, for use inside parallel loops.
///
/// # Panics
/// When sizes disagree.
pub fn matmul_serial(a: &Rows, b: &Packed, out: &mut [f32], addend: Addend, finish: Finish) {
    assert_eq!(out.len(), a.rows * b.cols, "matmul: output size");
    let (blocks, panels) = (a.rows.div_ceil(BLOCK), b.cols.div_ceil(BLOCK));
    if !out.is_empty() {
        let output = Output { data: Shared::new(out), cols: b.cols };
        multiply(a, 0..blocks, b, 0..panels, &output, addend, finish);
    }
}

/// Bytes of a left factor that one task works on.
const LEFT_BYTES: usize = 1 << 20;
/// Tiles of depth that are multiplied at a time: one panel of the right factor that deep fills two thirds of a usual
/// first-level cache.
const DEPTH_TILES: usize = 16;

/// The product of some blocks of rows with some panels of columns.
///
/// One panel meets all blocks before the next one comes. Every sum runs over the depth in the same order, whatever
/// the ranges.
fn multiply(
    a: &Rows,
    blocks: Range<usize>,
    b: &Packed,
    panels: Range<usize>,
    out: &Output,
    addend: Addend,
    finish: Finish,
) {
    assert_eq!(a.depth, b.rows, "matmul: inner sizes");
    if let Addend::Bias(bias) | Addend::BiasAndOutput(bias) = addend {
        assert_eq!(bias.len(), b.cols, "matmul: bias size");
    }
    let depth_tiles = b.rows.div_ceil(DEPTH);
    let panel = panel_size(b.rows);
    let mut sums: Vec<Block> = blocks.clone().map(|_| Block([0.0; BLOCK * BLOCK])).collect();
    if b.unit == Unit::Tiles {
        amx::configure();
    }
    for column in panels {
        let right = &b.data[column * panel..][..panel];
        let (first, width) = (column * BLOCK, (b.cols - column * BLOCK).min(BLOCK));
        for start in (0..depth_tiles.max(1)).step_by(DEPTH_TILES) {
            let tiles = start..(start + DEPTH_TILES).min(depth_tiles);
            let right = halves(right, tiles.clone());
            for (block, sums) in blocks.clone().zip(&mut sums) {
                let left = halves(&a.data[block * panel..][..panel], tiles.clone());
                let height = (a.rows - block * BLOCK).min(BLOCK);
                match b.unit {
                    Unit::Tiles => amx::multiply(left, right, height, start > 0, sums),
                    Unit::Avx512 => avx512::multiply(left, right, height, start > 0, sums),
                }
                if tiles.end == depth_tiles {
                    out.write(
                        block * BLOCK..block * BLOCK + height,
                        first..first + width,
                        sums,
                        addend,
                        finish,
                    );
                }
            }
        }
    }
    if b.unit == Unit::Tiles {
        amx::release();
    }
}

/// Some tiles of the two halves of a panel.
fn halves(panel: &[u16], tiles: Range<usize>) -> [&[u16]; 2] {
    let (low, high) = panel.split_at(panel.len() / 2);
    [low, high].map(|half| &half[tiles.start * TILE..tiles.end * TILE])
}

/// One 32 x 32 block of sums.
#[repr(align(64))]
struct Block([f32; BLOCK * BLOCK]);

/// An output that tasks write different blocks of at the same time.
struct Output<'a> {
    data: Shared<'a>,
    cols: usize,
}

impl Output<'_> {
    /// Writes one block of `sums`, which are used up. Within one output, the blocks written at the same time must not
    /// overlap: the ranges of [`multiply`] see to that.
    fn write(
        &self,
        rows: Range<usize>,
        cols: Range<usize>,
        sums: &mut Block,
        addend: Addend,
        finish: Finish,
    ) {
        simd::dispatch(
            #[inline(always)]
            || {
                let bias = match addend {
                    Addend::Bias(bias) | Addend::BiasAndOutput(bias) => padded(&bias[cols.clone()]),
                    Addend::Nothing | Addend::Output => [0.0; BLOCK],
                };
                let onto = matches!(addend, Addend::Output | Addend::BiasAndOutput(_));
                let lines = sums.0.as_chunks_mut::<BLOCK>().0;
                for (row, line) in rows.clone().zip(lines.iter_mut()) {
                    let output = if onto { padded(self.line(row, &cols)) } else { [0.0; BLOCK] };
                    for j in 0..BLOCK {
                        line[j] += bias[j] + output[j];
                    }
                }
                // Over all of the block at once: loops over one row would mostly be their own remainder.
                finish.apply(lines.as_flattened_mut());
                for (row, line) in rows.zip(lines) {
                    let target = self.line(row, &cols);
                    match <&mut [f32; BLOCK]>::try_from(&mut *target) {
                        Ok(target) => *target = *line,
                        Err(_) => target.copy_from_slice(&line[..cols.len()]),
                    }
                }
            },
        );
    }

    /// Some columns of a row.
    #[inline(always)]
    #[allow(unsafe_code, clippy::mut_from_ref)]
    fn line(&self, row: usize, cols: &Range<usize>) -> &mut [f32] {
        // SAFETY: of a block that no other task writes (see `write`), and used up before the next call.
        unsafe { self.data.part(row * self.cols + cols.start, cols.len()) }
    }
}

/// A row of a block, zeros past the end.
#[inline(always)]
fn padded(values: &[f32]) -> [f32; BLOCK] {
    match <&[f32; BLOCK]>::try_from(values) {
        Ok(values) => *values,
        Err(_) => {
            let mut row = [0.0; BLOCK];
            row[..values.len()].copy_from_slice(values);
            row
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units() -> Vec<Unit> {
        let units = [(Unit::Tiles, amx::detect()), (Unit::Avx512, avx512::detect())];
        units.into_iter().filter(|(_, there)| *there).map(|(unit, _)| unit).collect()
    }

    fn whole(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|i| (i * step % 29) as f32 - 14.0).collect()
    }

    /// Whole numbers that bfloat16 and the f32 sums hold exactly: any wrong element shows.
    #[test]
    fn every_unit_of_this_machine_is_exact_on_small_whole_numbers() {
        let sizes =
            [(1, 1, 1), (5, 7, 3), (33, 65, 31), (8, 32, 16), (41, 257, 100), (70, 1100, 40), (300, 33, 65)];
        for (m, k, n) in sizes {
            let (a, b) = (whole(m * k, 7), whole(k * n, 11));
            let want: Vec<f32> =
                (0..m * n).map(|i| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum()).collect();
            let a = Matrix::row_major(&a, m, k);
            for unit in units() {
                let packed = Packed::new(unit, Matrix::row_major(&b, k, n));
                assert_eq!(packed.unpack(), b, "{unit:?} {k}x{n}");
                let mut out = vec![f32::NAN; m * n];
                matmul(a, &packed, &mut out, Addend::Nothing, Finish::Nothing);
                assert_eq!(out, want, "{unit:?} {m}x{k}x{n}");
                matmul_serial(&Rows::new(a), &packed, &mut out, Addend::Nothing, Finish::Nothing);
                assert_eq!(out, want, "{unit:?} {m}x{k}x{n}, serial");
            }
        }
    }

    #[test]
    fn addends_and_finishes_come_in_order() {
        let (m, k, n) = (37, 50, 45);
        let (a, b, bias) = (whole(m * k, 7), whole(k * n, 11), whole(n, 3));
        for unit in units() {
            let packed = Packed::new(unit, Matrix::row_major(&b, k, n));
            let run = |addend, finish| {
                let mut out = vec![2.0; m * n];
                matmul(Matrix::row_major(&a, m, k), &packed, &mut out, addend, finish);
                out
            };
            let product = run(Addend::Nothing, Finish::Nothing);
            for (i, got) in run(Addend::BiasAndOutput(&bias), Finish::Nothing).iter().enumerate() {
                assert_eq!(*got, product[i] + bias[i % n] + 2.0);
            }
            for (i, got) in run(Addend::Bias(&bias), Finish::QuickGelu).iter().enumerate() {
                let x = f64::from(product[i] + bias[i % n]);
                let want = x / (1.0 + (-1.702 * x).exp());
                assert!((f64::from(*got) - want).abs() <= 1e-6 * want.abs().max(1.0), "{x}: {got}");
            }
        }
    }

    #[test]
    fn rows_filled_piece_by_piece_are_rows_packed_at_once() {
        let (rows, depth) = (45, 75);
        let values = whole(rows * depth, 13);
        let bits: Vec<u16> = values.iter().map(|x| simd::bf16(*x)).collect();
        let mut filled = Rows::default();
        // Left-overs of another size must not show.
        filled.resize(64, 200);
        (0..64).for_each(|row| filled.put(row, 0, &[0x3f80; 200]));
        filled.resize(rows, depth);
        for (row, bits) in bits.chunks(depth).enumerate() {
            let (a, b) = bits.split_at(35);
            filled.put(row, 0, a);
            filled.put(row, 35, b);
        }
        let packed = Rows::new(Matrix::row_major(&values, rows, depth));
        let used = |rows: &Rows, row: usize| -> Vec<u16> {
            let start = row / 16 * panel_size(depth) / 2 + row % 16 * DEPTH;
            (0..depth.div_ceil(DEPTH)).flat_map(|t| rows.data[start + t * TILE..][..DEPTH].to_vec()).collect()
        };
        for row in 0..rows {
            assert_eq!(used(&filled, row), used(&packed, row), "row {row}");
        }
    }
}
