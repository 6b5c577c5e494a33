//! Correlation of channels-last pictures as matrix products over gathered rows.
//!
//! A convolution, its gradient for the input and a transposed convolution are one and the same
//! loop here: every output cell reads a fixed pattern of source cells. In channels-last order
//! the sources of neighbouring taps are neighbours in memory, so that gathering a cell's inputs
//! into a row ("im2col") is a few block copies, and the sum over taps and channels becomes a
//! matrix product of a tile of such rows with the weights.

use super::arrange::{Source, scatter};
use crate::layers::kernel::{self, Addend, Finish, Frozen, Matrix, Precision, Shared, bfloat, simd};
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
    /// What lies outside.
    pub edge: Edge,
}

/// What a convolution reads past the ends of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Edge {
    /// Zeros.
    #[default]
    Zero,
    /// The input mirrored at its first and last sample.
    Mirror,
}

impl Axis {
    fn source(&self, output: usize, tap: usize) -> Option<usize> {
        let at = (output * self.step) as isize + *self.offsets.get(tap)?;
        let last = self.sources as isize - 1;
        let at = match self.edge {
            Edge::Mirror if at < 0 => -at,
            Edge::Mirror if at > last => 2 * last - at,
            _ => at,
        };
        (0..=last).contains(&at).then_some(at as usize)
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

/// Where the rows of gathered inputs go.
trait Rows<T> {
    /// Puts `values` into `row` from element `at` on.
    fn put(&mut self, row: usize, at: usize, values: &[T]);
    /// Puts `count` zeros there.
    fn zero(&mut self, row: usize, at: usize, count: usize);
}

/// Rows of `depth` elements one after the other.
struct Plain<'a> {
    data: &'a mut [f32],
    depth: usize,
}

impl Rows<f32> for Plain<'_> {
    #[inline(always)]
    fn put(&mut self, row: usize, at: usize, values: &[f32]) {
        self.data[row * self.depth + at..][..values.len()].copy_from_slice(values);
    }

    #[inline(always)]
    fn zero(&mut self, row: usize, at: usize, count: usize) {
        self.data[row * self.depth + at..][..count].fill(0.0);
    }
}

impl Rows<u16> for bfloat::Rows {
    #[inline(always)]
    fn put(&mut self, row: usize, at: usize, values: &[u16]) {
        self.put(row, at, values);
    }

    #[inline(always)]
    fn zero(&mut self, row: usize, at: usize, count: usize) {
        const ZEROS: [u16; 512] = [0; 512];
        for start in (0..count).step_by(ZEROS.len()) {
            self.put(row, at + start, &ZEROS[..ZEROS.len().min(count - start)]);
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
    #[inline(always)]
    fn gather<T>(
        &self,
        source: &[T],
        (total, first, count): (usize, usize, usize),
        row_taps: Range<usize>,
        positions: Range<usize>,
        out: &mut impl Rows<T>,
    ) {
        let cols = self.cols.offsets.len();
        let (run, line_size) = (cols * count, self.cols.sources * total);
        // Neighbouring taps that read all channels of neighbouring cells are one block.
        let block = count == total && self.cols.offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        for (row, position) in positions.enumerate() {
            let (picture, y, x) = self.split(position);
            for (index, tap) in row_taps.clone().enumerate() {
                let at = index * run;
                let Some(y) = self.rows.source(y, tap) else {
                    out.zero(row, at, run);
                    continue;
                };
                let line = &source[(picture * self.rows.sources + y) * line_size..][..line_size];
                if block {
                    let start = (x * self.cols.step) as isize + self.cols.offsets[0];
                    let inside = |at: isize| at.clamp(0, cols as isize) as usize;
                    let (from, to) = (inside(-start), inside(self.cols.sources as isize - start));
                    if from < to {
                        let first = (start + from as isize) as usize * total;
                        out.zero(row, at, from * total);
                        out.put(row, at + from * total, &line[first..first + (to - from) * total]);
                        out.zero(row, at + to * total, (cols - to) * total);
                    } else {
                        out.zero(row, at, run);
                    }
                    continue;
                }
                for tap in 0..cols {
                    let at = at + tap * count;
                    match self.cols.source(x, tap) {
                        Some(x) => out.put(row, at, &line[x * total + first..][..count]),
                        None => out.zero(row, at, count),
                    }
                }
            }
        }
    }

    /// `[positions, groups * target]` from channels-last pictures of `groups * source` channels, by one factor
    /// `[taps * source, target]` a group.
    pub fn correlate(
        &self,
        source: &Source,
        groups: Groups,
        factors: &[Frozen],
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        let width = groups.count * groups.target;
        let mut out = vec![0.0; self.positions() * width];
        let tile = self.tile(groups);
        out.par_chunks_mut(tile * width).enumerate().for_each_init(
            Buffers::default,
            |buffers, (index, out)| {
                let first = index * tile;
                self.tile_product(
                    source,
                    groups,
                    first..first + out.len() / width,
                    factors,
                    bias,
                    buffers,
                    out,
                );
            },
        );
        out
    }

    /// The same as channels-first pictures `[batch, groups * target, cells]`, added to `residual` if there is one.
    pub fn correlate_channels_first(
        &self,
        source: &Source,
        groups: Groups,
        factors: &[Frozen],
        bias: Option<&[f32]>,
        residual: Option<&[f32]>,
    ) -> Vec<f32> {
        let width = groups.count * groups.target;
        let (positions, cells) = (self.positions(), self.rows.outputs * self.cols.outputs);
        let mut out = vec![0.0; positions * width];
        let shared = Shared::new(&mut out);
        let tile = self.tile(groups);
        let tiles = (0..positions.div_ceil(tile)).into_par_iter().with_max_len(1);
        tiles.for_each_init(<(Buffers, Vec<f32>)>::default, |(buffers, product), index| {
            let tile = index * tile..((index + 1) * tile).min(positions);
            product.resize(tile.len() * width, 0.0);
            self.tile_product(source, groups, tile.clone(), factors, bias, buffers, product);
            // A tile may reach over the end of a picture.
            let mut first = tile.start;
            while first < tile.end {
                let (picture, cell) = (first / cells, first % cells);
                let count = (cells - cell).min(tile.end - first);
                let rows = &product[(first - tile.start) * width..][..count * width];
                simd::dispatch(
                    #[inline(always)]
                    || scatter(rows, width, residual, &shared, (picture * width * cells + cell, cells)),
                );
                first += count;
            }
        });
        out
    }

    /// Positions of a tile.
    fn tile(&self, groups: Groups) -> usize {
        tile_rows(self.taps() * groups.source).min(share(self.positions()))
    }

    /// The results of the `positions` of a tile, `[positions, groups * target]`.
    #[allow(clippy::too_many_arguments)] // one product's operands
    fn tile_product(
        &self,
        source: &Source,
        groups: Groups,
        positions: Range<usize>,
        factors: &[Frozen],
        bias: Option<&[f32]>,
        buffers: &mut Buffers,
        out: &mut [f32],
    ) {
        let (total, width) = (groups.count * groups.source, groups.count * groups.target);
        if self.taps() * groups.source == 0 {
            // A phase of a transposed convolution that no tap reaches.
            match bias {
                Some(bias) => out.chunks_exact_mut(width).for_each(|cell| cell.copy_from_slice(bias)),
                None => out.fill(0.0),
            }
            return;
        }
        for (g, factor) in factors.iter().enumerate() {
            let addend = bias.map_or(Addend::Nothing, |bias| {
                Addend::Bias(&bias[g * groups.target..(g + 1) * groups.target])
            });
            let channels = (total, g * groups.source, groups.source);
            if groups.count == 1 {
                self.product(source, channels, positions.clone(), factor, addend, buffers, out);
                continue;
            }
            let mut product = std::mem::take(&mut buffers.product);
            product.resize(positions.len() * groups.target, 0.0);
            self.product(source, channels, positions.clone(), factor, addend, buffers, &mut product);
            for (target, result) in out.chunks_exact_mut(width).zip(product.chunks_exact(groups.target)) {
                target[g * groups.target..(g + 1) * groups.target].copy_from_slice(result);
            }
            buffers.product = product;
        }
    }

    /// The product of some positions' inputs with one group's factor.
    #[allow(clippy::too_many_arguments)] // one product's operands
    fn product(
        &self,
        source: &Source,
        channels: (usize, usize, usize),
        positions: Range<usize>,
        factor: &Frozen,
        addend: Addend,
        buffers: &mut Buffers,
        out: &mut [f32],
    ) {
        let (rows, taps) = (positions.len(), 0..self.rows.offsets.len());
        let (total, first, count) = channels;
        let depth = self.taps() * count;
        match (source, factor.packed(), factor.full()) {
            (Source::Rounded(source), Some(packed), _) => {
                let left = &mut buffers.packed;
                left.resize(rows, depth);
                simd::dispatch(
                    #[inline(always)]
                    || self.gather(source, channels, taps, positions, left),
                );
                bfloat::matmul_serial(left, packed, out, addend, Finish::Nothing);
            }
            (Source::Full(source), _, Some(full)) => {
                let left = if self.rows.is_identity() && self.cols.is_identity() {
                    let data = &source[positions.start * total + first..];
                    Matrix { data, rows, cols: count, row_stride: total, col_stride: 1 }
                } else {
                    buffers.plain.resize(rows * depth, 0.0);
                    let mut plain = Plain { data: &mut buffers.plain, depth };
                    self.gather(source, channels, taps, positions, &mut plain);
                    Matrix::row_major(&buffers.plain, rows, depth)
                };
                kernel::matmul_serial(left, full, out, addend, Precision::F32);
            }
            _ => unreachable!("the source was made for these factors"),
        }
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
                let mut plain = Plain { data: &mut gathered, depth };
                self.gather(source, channels, block.row_taps.clone(), first..first + rows, &mut plain);
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

/// Room that a thread needs for tiles.
#[derive(Default)]
struct Buffers {
    plain: Vec<f32>,
    packed: bfloat::Rows,
    product: Vec<f32>,
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

/// A thread's share of `positions`, in whole blocks of the matrix unit.
fn share(positions: usize) -> usize {
    positions.div_ceil(rayon::current_num_threads()).next_multiple_of(32)
}
