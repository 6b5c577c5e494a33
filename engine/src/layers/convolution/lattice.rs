//! Correlation of channels-last pictures as matrix products over gathered rows.
//!
//! A convolution, its gradient for the input and a transposed convolution are one and the same
//! loop here: every output cell reads a fixed pattern of source cells. In channels-last order
//! the sources of neighbouring taps are neighbours in memory, so that gathering a cell's inputs
//! into a row ("im2col") is a few block copies, and the sum over taps and channels becomes a
//! matrix product of a tile of such rows with the weights.

use crate::layers::kernel::{self, Addend, Matrix, Precision, bfloat, simd};
use rayon::prelude::*;
use std::ops::Range;

/// Elements of one gathered tile: 1 MiB, half of a usual second-level cache.
const TILE: usize = 256 * 1024;

/// Which source coordinates each output coordinate of one axis reads: `output * step + offset`.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// Number of output coordinates.
    pub outputs: usize,
    /// Number of source coordinates; what lies outside counts as zero.
    pub sources: usize,
    /// Distance between the sources of neighbouring outputs.
    pub step: usize,
    /// Where each tap reads, ascending.
    pub offsets: Vec<isize>,
    /// The kernel index of each tap.
    pub taps: Vec<usize>,
}

impl Axis {
    fn source(&self, output: usize, tap: usize) -> Option<usize> {
        let at = (output * self.step).checked_add_signed(*self.offsets.get(tap)?)?;
        (at < self.sources).then_some(at)
    }

    fn is_identity(&self) -> bool {
        self.offsets == [0] && self.step == 1 && self.outputs == self.sources
    }
}

/// Channel groups: `count` times `source` input and `target` output channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    pub count: usize,
    pub source: usize,
    pub target: usize,
}

/// A group's weights `[taps * source channels, target channels]`, ready for many products.
pub(super) struct Factor<'a> {
    matrix: Matrix<'a>,
    packed: Option<bfloat::Packed>,
}

impl<'a> Factor<'a> {
    pub fn new(matrix: Matrix<'a>, precision: Precision) -> Self {
        let unit = bfloat::unit().filter(|_| precision == Precision::Bf16);
        Self { packed: unit.map(|unit| bfloat::Packed::new(unit, matrix)), matrix }
    }

    fn multiply(&self, left: Matrix, out: &mut [f32], bias: Option<&[f32]>) {
        let addend = bias.map_or(Addend::Nothing, Addend::Bias);
        match &self.packed {
            Some(packed) => bfloat::matmul(left, packed, out, addend),
            None => kernel::matmul_serial(left, self.matrix, out, addend),
        }
    }
}

/// The cells that a correlation reads and writes, in each of `batch` pictures.
#[derive(Debug, Clone)]
pub(super) struct Lattice {
    pub batch: usize,
    pub rows: Axis,
    pub cols: Axis,
}

impl Lattice {
    /// Number of taps of the kernel.
    pub fn taps(&self) -> usize {
        self.rows.offsets.len() * self.cols.offsets.len()
    }

    /// Output cells of all pictures.
    pub fn positions(&self) -> usize {
        self.batch * self.rows.outputs * self.cols.outputs
    }

    /// Picture, row and column of an output position.
    fn split(&self, position: usize) -> (usize, usize, usize) {
        let line = position / self.cols.outputs;
        (line / self.rows.outputs, line % self.rows.outputs, position % self.cols.outputs)
    }

    /// Gathers `[positions, row taps * column taps * channels]` of the given row taps and of the channels
    /// `first..first + count` out of `total`.
    pub fn gather(
        &self,
        source: &[f32],
        (total, first, count): (usize, usize, usize),
        row_taps: Range<usize>,
        positions: Range<usize>,
        out: &mut [f32],
    ) {
        let cols = self.cols.offsets.len();
        let line_size = self.cols.sources * total;
        // Neighbouring taps that read all channels of neighbouring cells are one block.
        let block = count == total && self.cols.offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let rows = out.chunks_exact_mut(row_taps.len() * cols * count);
        for (position, row) in positions.zip(rows) {
            let (picture, y, x) = self.split(position);
            for (tap, run) in row_taps.clone().zip(row.chunks_exact_mut(cols * count)) {
                let Some(y) = self.rows.source(y, tap) else {
                    run.fill(0.0);
                    continue;
                };
                let line = &source[(picture * self.rows.sources + y) * line_size..][..line_size];
                if block {
                    let start = (x * self.cols.step) as isize + self.cols.offsets[0];
                    let inside = |at: isize| at.clamp(0, cols as isize) as usize;
                    let (from, to) = (inside(-start), inside(self.cols.sources as isize - start));
                    if from < to {
                        let at = (start + from as isize) as usize * total;
                        run[..from * total].fill(0.0);
                        run[from * total..to * total].copy_from_slice(&line[at..at + (to - from) * total]);
                        run[to * total..].fill(0.0);
                    } else {
                        run.fill(0.0);
                    }
                    continue;
                }
                for (tap, cell) in run.chunks_exact_mut(count).enumerate() {
                    match self.cols.source(x, tap) {
                        Some(x) => cell.copy_from_slice(&line[x * total + first..][..count]),
                        None => cell.fill(0.0),
                    }
                }
            }
        }
    }

    /// `[positions, groups * target]` from channels-last pictures of `groups * source` channels.
    pub fn correlate(
        &self,
        source: &[f32],
        groups: Groups,
        factors: &[Factor],
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        let (total, width) = (groups.count * groups.source, groups.count * groups.target);
        let depth = self.taps() * groups.source;
        let mut out = vec![0.0; self.positions() * width];
        if depth == 0 {
            // A phase of a transposed convolution that no tap reaches.
            if let Some(bias) = bias {
                out.chunks_exact_mut(width).for_each(|cell| cell.copy_from_slice(bias));
            }
            return out;
        }
        let identity = self.rows.is_identity() && self.cols.is_identity();
        let tile = tile_rows(depth);
        out.par_chunks_mut(tile * width).enumerate().for_each_init(
            || (Vec::new(), Vec::new()),
            |(gathered, product), (index, out)| {
                let first = index * tile;
                let rows = out.len() / width;
                for (g, factor) in factors.iter().enumerate() {
                    let bias = bias.map(|bias| &bias[g * groups.target..(g + 1) * groups.target]);
                    let left = if identity {
                        let data = &source[first * total + g * groups.source..];
                        Matrix { data, rows, cols: groups.source, row_stride: total, col_stride: 1 }
                    } else {
                        gathered.resize(rows * depth, 0.0);
                        let channels = (total, g * groups.source, groups.source);
                        let row_taps = 0..self.rows.offsets.len();
                        self.gather(source, channels, row_taps, first..first + rows, gathered);
                        Matrix::row_major(gathered, rows, depth)
                    };
                    if groups.count == 1 {
                        factor.multiply(left, out, bias);
                        continue;
                    }
                    product.resize(rows * groups.target, 0.0);
                    factor.multiply(left, product, bias);
                    let targets = out.chunks_exact_mut(width);
                    for (target, result) in targets.zip(product.chunks_exact(groups.target)) {
                        target[g * groups.target..(g + 1) * groups.target].copy_from_slice(result);
                    }
                }
            },
        );
        out
    }

    /// Gradient of the weights, one block `[target, row taps * column taps * source]` for every group and slice
    /// of the row taps, given the outputs' gradient `[positions, groups * target]`.
    ///
    /// Blocks are summed over positions in a fixed order, so that rounding does not depend on the threads.
    pub fn weight_gradient(
        &self,
        source: &[f32],
        grad: &[f32],
        groups: Groups,
        precision: Precision,
    ) -> Vec<GradientBlock> {
        let (total, width) = (groups.count * groups.source, groups.count * groups.target);
        let kernel_rows = self.rows.offsets.len();
        let slice = kernel_rows.div_ceil(8).max(1);
        let mut blocks: Vec<GradientBlock> = (0..groups.count)
            .flat_map(|group| {
                (0..kernel_rows).step_by(slice).map(move |first| GradientBlock {
                    group,
                    row_taps: first..(first + slice).min(kernel_rows),
                    sums: Vec::new(),
                })
            })
            .collect();
        blocks.par_iter_mut().for_each(|block| {
            let depth = block.row_taps.len() * self.cols.offsets.len() * groups.source;
            block.sums = vec![0.0; groups.target * depth];
            let (tile, mut gathered) = (tile_rows(depth), Vec::new());
            for first in (0..self.positions()).step_by(tile) {
                let rows = tile.min(self.positions() - first);
                gathered.resize(rows * depth, 0.0);
                let channels = (total, block.group * groups.source, groups.source);
                self.gather(source, channels, block.row_taps.clone(), first..first + rows, &mut gathered);
                let data = &grad[first * width + block.group * groups.target..];
                let grad = Matrix { data, rows, cols: groups.target, row_stride: width, col_stride: 1 };
                let gathered = Matrix::row_major(&gathered, rows, depth);
                kernel::matmul(grad.t(), gathered, &mut block.sums, Addend::Output, precision);
            }
        });
        blocks
    }

    /// [`Lattice::correlate`] with one input and output channel a group; weights `[taps, channels]`.
    pub fn correlate_depthwise(
        &self,
        source: &[f32],
        channels: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        let mut out = vec![0.0; self.positions() * channels];
        let tile = tile_rows(channels);
        out.par_chunks_mut(tile * channels).enumerate().for_each(|(index, out)| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for (i, target) in out.chunks_exact_mut(channels).enumerate() {
                        if let Some(bias) = bias {
                            target.copy_from_slice(bias);
                        }
                        for (tap, weights) in weights.chunks_exact(channels).enumerate() {
                            let Some(cell) = self.source_cell(index * tile + i, tap) else { continue };
                            let source = &source[cell * channels..(cell + 1) * channels];
                            for ((t, w), s) in target.iter_mut().zip(weights).zip(source) {
                                *t += w * s;
                            }
                        }
                    }
                },
            );
        });
        out
    }

    /// Gradient `[taps, channels]` of the weights of [`Lattice::correlate_depthwise`].
    pub fn weight_gradient_depthwise(&self, source: &[f32], grad: &[f32], channels: usize) -> Vec<f32> {
        let mut sums = vec![0.0; self.taps() * channels];
        sums.par_chunks_mut(channels).enumerate().for_each(|(tap, sums)| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for (position, grad) in grad.chunks_exact(channels).enumerate() {
                        let Some(cell) = self.source_cell(position, tap) else { continue };
                        let source = &source[cell * channels..(cell + 1) * channels];
                        for ((t, g), s) in sums.iter_mut().zip(grad).zip(source) {
                            *t += g * s;
                        }
                    }
                },
            );
        });
        sums
    }

    /// The source cell, counted over all pictures, that a tap of an output position reads, if it lies inside.
    fn source_cell(&self, position: usize, tap: usize) -> Option<usize> {
        let (picture, y, x) = self.split(position);
        let cols = self.cols.offsets.len();
        let y = self.rows.source(y, tap / cols)?;
        let x = self.cols.source(x, tap % cols)?;
        Some((picture * self.rows.sources + y) * self.cols.sources + x)
    }
}

/// Part of a weight gradient: see [`Lattice::weight_gradient`].
pub(super) struct GradientBlock {
    pub group: usize,
    pub row_taps: Range<usize>,
    pub sums: Vec<f32>,
}

/// Rows of a tile that holds `depth` elements a row: whole blocks of the matrix unit, enough of them to pay
/// for reading the weights.
fn tile_rows(depth: usize) -> usize {
    (TILE / depth.max(1)).clamp(128, 8192) / 32 * 32
}

/// `[batch, rows, cols]` to `[batch, cols, rows]`, a 16 x 16 block at a time so that every cache line is read once.
pub(super) fn transpose(source: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    const BLOCK: usize = 16;
    if rows == 1 || cols == 1 {
        return source.to_vec();
    }
    let mut out = vec![0.0; source.len()];
    let pictures = out.par_chunks_mut(rows * cols).zip(source.par_chunks(rows * cols));
    pictures.for_each(|(out, source)| {
        out.par_chunks_mut(BLOCK * rows).enumerate().for_each(|(index, out)| {
            simd::dispatch(
                #[inline(always)]
                || {
                    let first = index * BLOCK;
                    let width = out.len() / rows;
                    for top in (0..rows).step_by(BLOCK) {
                        let height = BLOCK.min(rows - top);
                        let mut block = [0.0; BLOCK * BLOCK];
                        for i in 0..height {
                            let line = &source[(top + i) * cols + first..][..width];
                            for (j, value) in line.iter().enumerate() {
                                block[j * BLOCK + i] = *value;
                            }
                        }
                        for (line, block) in out.chunks_exact_mut(rows).zip(block.chunks_exact(BLOCK)) {
                            line[top..top + height].copy_from_slice(&block[..height]);
                        }
                    }
                },
            );
        });
    });
    out
}
