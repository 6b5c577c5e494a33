//! Packing factors into tiles.
//!
//! Where the source runs along the wrong dimension, pairs of bfloat16 go through a 16 x 16 transpose in
//! registers: writing them one by one took as long as half of the product itself.

use super::super::{Matrix, simd};
use super::{DEPTH, TILE};

/// Pairs of bfloat16, as `[16][16]`.
type Pairs = [[u32; 16]; 16];

/// Packs 16 columns from `col` into tiles of row pairs, `[depth tile][pair][column][2]`; columns and rows past the end
/// become zero.
pub(super) fn right(b: Matrix, col: usize, out: &mut [u16]) {
    let width = b.cols.saturating_sub(col).min(16);
    simd::dispatch(
        #[inline(always)]
        || {
            if b.col_stride == 1 {
                pairs_of_rows(b.data, b.row_stride, col, (b.rows, width), out, false);
            } else {
                pairs_along_rows(b.data, b.col_stride, b.row_stride, col, (width, b.rows), out, true);
            }
        },
    );
}

/// Packs 16 rows from `row` into tiles `[depth tile][row][32]`; rows and columns past the end become zero.
pub(super) fn left(a: Matrix, row: usize, out: &mut [u16]) {
    let height = a.rows.saturating_sub(row).min(16);
    simd::dispatch(
        #[inline(always)]
        || {
            if a.row_stride == 1 && a.col_stride != 1 {
                pairs_of_rows(a.data, a.col_stride, row, (a.cols, height), out, true);
            } else {
                pairs_along_rows(a.data, a.row_stride, a.col_stride, row, (height, a.cols), out, false);
            }
        },
    );
}

/// Tiles from lines of `width` contiguous values that lie across the depth: two lines make a row of pairs.
#[inline(always)]
fn pairs_of_rows(
    data: &[f32],
    stride: usize,
    first: usize,
    (depth, width): (usize, usize),
    out: &mut [u16],
    transposed: bool,
) {
    const ZEROS: [f32; 16] = [0.0; 16];
    if width == 0 {
        out.fill(0);
        return;
    }
    for (tile, out) in out.chunks_exact_mut(TILE).enumerate() {
        let mut pairs: Pairs = [[0; 16]; 16];
        for (pair, target) in pairs.iter_mut().enumerate() {
            let k = tile * DEPTH + 2 * pair;
            let line =
                |k: usize| if k < depth { &data[k * stride + first..][..width] } else { &ZEROS[..width] };
            let (low, high) = (line(k), line(k + 1));
            match (<&[f32; 16]>::try_from(low), <&[f32; 16]>::try_from(high)) {
                (Ok(low), Ok(high)) => {
                    for j in 0..16 {
                        target[j] = joined(low[j], high[j]);
                    }
                }
                _ => {
                    for ((t, low), high) in target.iter_mut().zip(low).zip(high) {
                        *t = joined(*low, *high);
                    }
                }
            }
        }
        if transposed {
            transpose(&mut pairs);
        }
        store(&pairs, out);
    }
}

/// Tiles from lines that run along the depth: neighbours make a pair.
#[inline(always)]
fn pairs_along_rows(
    data: &[f32],
    stride: usize,
    step: usize,
    first: usize,
    (lines, depth): (usize, usize),
    out: &mut [u16],
    transposed: bool,
) {
    for (tile, out) in out.chunks_exact_mut(TILE).enumerate() {
        let mut pairs: Pairs = [[0; 16]; 16];
        let start = tile * DEPTH;
        let count = depth.saturating_sub(start).min(DEPTH);
        for (line, target) in pairs.iter_mut().enumerate().take(lines) {
            let at = (first + line) * stride + start * step;
            if step == 1 && count == DEPTH {
                let source = &data[at..][..DEPTH];
                for j in 0..16 {
                    target[j] = joined(source[2 * j], source[2 * j + 1]);
                }
            } else {
                let value = |k: usize| if k < count { data[at + k * step] } else { 0.0 };
                for (j, t) in target.iter_mut().enumerate() {
                    *t = joined(value(2 * j), value(2 * j + 1));
                }
            }
        }
        if transposed {
            transpose(&mut pairs);
        }
        store(&pairs, out);
    }
}

/// Two values as bfloat16, the first one in the lower half.
#[inline(always)]
fn joined(low: f32, high: f32) -> u32 {
    u32::from(simd::bf16(low)) | u32::from(simd::bf16(high)) << 16
}

#[inline(always)]
fn store(pairs: &Pairs, out: &mut [u16]) {
    for (target, pairs) in out.chunks_exact_mut(DEPTH).zip(pairs) {
        for j in 0..16 {
            target[2 * j] = pairs[j] as u16;
            target[2 * j + 1] = (pairs[j] >> 16) as u16;
        }
    }
}

/// Swaps rows and columns: blocks of 8, then 4, 2 and 1.
#[inline(always)]
fn transpose(pairs: &mut Pairs) {
    swap_blocks::<8>(pairs);
    swap_blocks::<4>(pairs);
    swap_blocks::<2>(pairs);
    swap_blocks::<1>(pairs);
}

#[inline(always)]
fn swap_blocks<const SIZE: usize>(pairs: &mut Pairs) {
    for i in 0..16 {
        if i & SIZE == 0 {
            let (upper, lower) = (pairs[i], pairs[i + SIZE]);
            for j in 0..16 {
                pairs[i][j] = if j & SIZE == 0 { upper[j] } else { lower[j - (j & SIZE)] };
                pairs[i + SIZE][j] = if j & SIZE == 0 { upper[(j + SIZE) & 15] } else { lower[j] };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_swaps_rows_and_columns() {
        let mut pairs: Pairs = [[0; 16]; 16];
        for (i, row) in pairs.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value = (100 * i + j) as u32;
            }
        }
        transpose(&mut pairs);
        for (i, row) in pairs.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                assert_eq!(*value, (100 * j + i) as u32);
            }
        }
    }

    /// Every layout and ragged size against the definition of the packing.
    #[test]
    fn packing_follows_its_definition() {
        let value = |r: usize, c: usize| (r * 37 + c) as f32;
        let half = |x: f32| half::bf16::from_f32(x).to_bits();
        for (rows, cols) in [(1, 1), (16, 32), (5, 70), (33, 17), (64, 64)] {
            let plain: Vec<f32> = (0..rows * cols).map(|i| value(i / cols, i % cols)).collect();
            let turned: Vec<f32> = (0..rows * cols).map(|i| value(i % rows, i / rows)).collect();
            for m in [Matrix::row_major(&plain, rows, cols), Matrix::row_major(&turned, cols, rows).t()] {
                let at = |r: usize, c: usize| if r < rows && c < cols { half(value(r, c)) } else { 0 };
                let start = (rows / 16) * 16;
                let mut out = vec![9_u16; cols.div_ceil(DEPTH) * TILE];
                left(m, start, &mut out);
                for (i, got) in out.iter().enumerate() {
                    let (tile, row, k) = (i / TILE, i % TILE / DEPTH, i % DEPTH);
                    assert_eq!(*got, at(start + row, tile * DEPTH + k), "left {rows}x{cols}");
                }
                let start = (cols / 16) * 16;
                let mut out = vec![9_u16; rows.div_ceil(DEPTH) * TILE];
                right(m, start, &mut out);
                for (i, got) in out.iter().enumerate() {
                    let (tile, pair, rest) = (i / TILE, i % TILE / 32, i % 32);
                    let k = tile * DEPTH + 2 * pair + rest % 2;
                    assert_eq!(*got, at(k, start + rest / 2), "right {rows}x{cols}");
                }
            }
        }
    }
}
