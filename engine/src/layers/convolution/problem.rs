//! Sizes of a convolution, and its products on the CPU: forward, and the gradients of input and weight.

use super::ConvGeometry;
use super::arrange::{Before, Source, transpose};
use super::lattice::{Axis, Edge, Groups, Lattice};
use crate::layers::kernel::{Frozen, Matrix, Precision, simd};
use candle_core::{Result, bail};
use rayon::prelude::*;

/// One axis of a convolution from `input` to `output` coordinates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub input: usize,
    pub output: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    pub edge: Edge,
}

impl Extent {
    /// The axis that a 1-D convolution does not have.
    pub const NONE: Self =
        Self { input: 1, output: 1, kernel: 1, stride: 1, padding: 0, dilation: 1, edge: Edge::Zero };

    /// An axis of a convolution over `input` coordinates.
    pub fn forward(input: usize, g: ConvGeometry) -> Result<Self> {
        let span = kernel_span(g)?;
        let padded = input + 2 * g.padding;
        if padded < span {
            bail!("convolution: a kernel that spans {span} does not fit into {input} (padded {padded})");
        }
        Ok(Self::new(input, (padded - span) / g.stride + 1, g))
    }

    /// An axis of a transposed convolution over `input` coordinates: as a convolution it runs the other way.
    pub fn transposed(input: usize, g: ConvGeometry, output_padding: usize) -> Result<Self> {
        let span = kernel_span(g)?;
        let full = input.saturating_sub(1) * g.stride + span + output_padding;
        match full.checked_sub(2 * g.padding) {
            Some(output) if input > 0 => Ok(Self::new(output, input, g)),
            _ => bail!("transposed convolution: nothing is left of {input} after cropping {}", g.padding),
        }
    }

    /// An axis of no particular size, for what depends on the kernel alone.
    pub fn kernel(g: ConvGeometry) -> Self {
        Self::new(0, 0, g)
    }

    fn new(input: usize, output: usize, g: ConvGeometry) -> Self {
        let ConvGeometry { kernel, stride, padding, dilation, .. } = g;
        Self { input, output, kernel, stride, padding, dilation, edge: Edge::Zero }
    }

    /// What each output coordinate reads.
    fn reads(self) -> Axis {
        let offset = |tap: usize| (tap * self.dilation) as isize - self.padding as isize;
        Axis {
            outputs: self.output,
            sources: self.input,
            step: self.stride,
            offsets: (0..self.kernel).map(offset).collect(),
            taps: (0..self.kernel).collect(),
            edge: self.edge,
        }
    }

    /// Which output coordinates the input coordinates `phase, phase + stride, ...` contribute to.
    ///
    /// Input `i` meets output `o` at tap `k` when `i + padding - k * dilation = o * stride`; for inputs a stride
    /// apart the same taps do, and the outputs are neighbours.
    fn contributes(self, phase: usize) -> Axis {
        let stride = self.stride as isize;
        let reach = |tap: usize| (phase + self.padding) as isize - (tap * self.dilation) as isize;
        let taps: Vec<usize> = (0..self.kernel).rev().filter(|tap| reach(*tap) % stride == 0).collect();
        Axis {
            outputs: self.input.saturating_sub(phase).div_ceil(self.stride),
            sources: self.output,
            step: 1,
            offsets: taps.iter().map(|tap| reach(*tap) / stride).collect(),
            taps,
            edge: Edge::Zero,
        }
    }
}

fn kernel_span(g: ConvGeometry) -> Result<usize> {
    if g.kernel == 0 || g.stride == 0 || g.dilation == 0 {
        bail!("convolution: kernel, stride and dilation must not be zero: {g:?}");
    }
    Ok((g.kernel - 1) * g.dilation + 1)
}

/// A convolution of `batch` pictures; a signal in time is a picture of one column.
///
/// Pictures are channels-first here as in the tensors, `[batch, channels, rows, cols]`, weights
/// `[output channels, input channels / groups, kernel rows, kernel cols]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem {
    pub batch: usize,
    pub groups: usize,
    pub input_channels: usize,
    pub output_channels: usize,
    pub rows: Extent,
    pub cols: Extent,
    pub precision: Precision,
}

impl Problem {
    /// Checks the channels: weight `[output, input / groups, ...]`.
    pub fn check_channels(&self, weight: &[usize]) -> Result<()> {
        let (input, output) = (self.input_channels, self.output_channels);
        if self.groups == 0 || input == 0 || output == 0 || self.batch == 0 {
            bail!("convolution: empty: batch {}, channels {input} to {output}", self.batch);
        }
        if output % self.groups != 0 || weight.get(1).is_none_or(|w| w * self.groups != input) {
            bail!("convolution: {input} channels do not fit a weight {weight:?} in {} groups", self.groups);
        }
        Ok(())
    }

    /// Channels of one group, of the input and of the output.
    fn group_channels(&self) -> (usize, usize) {
        (self.input_channels / self.groups, self.output_channels / self.groups)
    }

    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.group_channels() == (1, 1)
    }

    fn taps(&self) -> usize {
        self.rows.kernel * self.cols.kernel
    }

    fn input_cells(&self) -> usize {
        self.rows.input * self.cols.input
    }

    fn output_cells(&self) -> usize {
        self.rows.output * self.cols.output
    }

    fn forward_lattice(&self) -> Lattice {
        Lattice { batch: self.batch, rows: self.rows.reads(), cols: self.cols.reads() }
    }

    /// The weights `[output channels, input channels / groups, ...]` as [`Problem::forward`] wants them.
    pub fn prepare_forward(&self, weight: &[f32]) -> Prepared {
        if self.is_depthwise() {
            return Prepared::Depthwise(vec![transpose(weight, self.output_channels, self.taps(), |_, x| x)]);
        }
        let (source, target) = self.group_channels();
        let weight = self.taps_first(weight);
        let depth = self.taps() * source;
        let factors = weight.chunks_exact((target * depth).max(1));
        let factors =
            factors.map(|group| Frozen::new(Matrix::row_major(group, target, depth).t(), self.precision));
        Prepared::Products(vec![factors.collect()])
    }

    /// The same for [`Problem::input_gradient`].
    pub fn prepare_input_gradient(&self, weight: &[f32]) -> Prepared {
        let (target, source) = self.group_channels();
        let weight = self.taps_first(weight);
        let phases = self.phases().map(|lattice| (self.phase_weight(&weight, &lattice), lattice));
        if self.is_depthwise() {
            return Prepared::Depthwise(phases.map(|(weight, _)| weight).collect());
        }
        let factors = |(weight, lattice): (Vec<f32>, Lattice)| {
            let depth = lattice.taps() * source;
            let group = |g: usize| &weight[g * depth * target..(g + 1) * depth * target];
            let factor = |g| Frozen::new(Matrix::row_major(group(g), depth, target), self.precision);
            (0..self.groups).map(factor).collect()
        };
        Prepared::Products(phases.map(factors).collect())
    }

    /// The weights that [`Problem::prepare_forward`] or, if `transposed`, [`Problem::prepare_input_gradient`] was
    /// given, as precise as they were kept.
    pub fn restore(&self, prepared: &Prepared, transposed: bool) -> Vec<f32> {
        let (input, output) = self.group_channels();
        let taps = self.taps();
        let mut weight = vec![0.0; self.output_channels * input * taps];
        let Prepared::Products(phases) = prepared else { return weight };
        let lattices = if transposed { self.phases().collect() } else { vec![self.forward_lattice()] };
        for (lattice, factors) in lattices.iter().zip(phases) {
            let used = self.used_taps(lattice);
            for (group, factor) in factors.iter().enumerate() {
                // Rows of [tap][one side's channel], columns of the other side's.
                let (inner, width) = if transposed { (output, input) } else { (input, output) };
                for (row, line) in factor.values().chunks_exact(width.max(1)).enumerate() {
                    let (tap, channel) = (used[row / inner], row % inner);
                    for (column, value) in line.iter().enumerate() {
                        let (o, i) = if transposed { (channel, column) } else { (column, channel) };
                        weight[((group * output + o) * input + i) * taps + tap] = *value;
                    }
                }
            }
        }
        weight
    }

    /// The convolution of `x`, with an optional bias for each output channel.
    pub fn forward(&self, x: &[f32], weights: &Prepared, bias: Option<&[f32]>, fused: Fused) -> Vec<f32> {
        let lattice = self.forward_lattice();
        let (channels, cells) = (self.input_channels, self.input_cells());
        match weights {
            Prepared::Depthwise(phases) => {
                let x = transpose(x, channels, cells, |_, x| x);
                let weight = phases.first().map(Vec::as_slice).unwrap_or_default();
                let y = lattice.correlate_depthwise(&x, channels, weight, bias);
                transpose(&y, self.output_cells(), self.output_channels, |_, x| x)
            }
            Prepared::Products(phases) => {
                let factors = phases.first().map(Vec::as_slice).unwrap_or_default();
                let (source, target) = self.group_channels();
                let groups = Groups { count: self.groups, source, target };
                let x = Source::new(x, channels, cells, fused.before, factors);
                lattice.correlate_channels_first(&x, groups, factors, bias, fused.residual)
            }
        }
    }

    /// Gradient of the input from that of the output; as a layer of its own, the transposed convolution, for which
    /// `bias` holds a value for each of *its* output channels.
    pub fn input_gradient(
        &self,
        grad: &[f32],
        weights: &Prepared,
        bias: Option<&[f32]>,
        before: &Before,
    ) -> Vec<f32> {
        let (target, source) = self.group_channels();
        let (channels, cells) = (self.output_channels, self.output_cells());
        let groups = Groups { count: self.groups, source, target };
        let parts: Vec<Vec<f32>> = match weights {
            Prepared::Depthwise(phases) => {
                let grad = transpose(grad, channels, cells, |_, x| x);
                let part = |(lattice, weight): (Lattice, &Vec<f32>)| {
                    lattice.correlate_depthwise(&grad, self.input_channels, weight, bias)
                };
                self.phases().zip(phases).map(part).collect()
            }
            Prepared::Products(phases) => {
                let factors = phases.first().map(Vec::as_slice).unwrap_or_default();
                let grad = Source::new(grad, channels, cells, before, factors);
                if let ([factors], Some(lattice)) = (phases.as_slice(), self.phases().next()) {
                    return lattice.correlate_channels_first(&grad, groups, factors, bias, None);
                }
                let part = |(lattice, factors): (Lattice, &Vec<Frozen>)| {
                    lattice.correlate(&grad, groups, factors, bias)
                };
                self.phases().zip(phases).map(part).collect()
            }
        };
        transpose(&self.interleaved(parts), self.input_cells(), self.input_channels, |_, x| x)
    }

    /// The phases of the input's coordinates: those that a stride apart read the same taps.
    fn phases(&self) -> impl Iterator<Item = Lattice> + '_ {
        let Self { batch, rows, cols, .. } = *self;
        (0..rows.stride).flat_map(move |row| {
            (0..cols.stride).map(move |col| Lattice {
                batch,
                rows: rows.contributes(row),
                cols: cols.contributes(col),
            })
        })
    }

    /// Gradient of the weight.
    pub fn weight_gradient(&self, x: &[f32], grad: &[f32]) -> Vec<f32> {
        let x = transpose(x, self.input_channels, self.input_cells(), |_, x| x);
        let grad = transpose(grad, self.output_channels, self.output_cells(), |_, x| x);
        let lattice = self.forward_lattice();
        let taps = self.taps();
        if self.is_depthwise() {
            let sums = lattice.weight_gradient_depthwise(&x, &grad, self.input_channels);
            return transpose(&sums, taps, self.input_channels, |_, x| x);
        }
        let (source, target) = self.group_channels();
        let groups = Groups { count: self.groups, source, target };
        let blocks = lattice.weight_gradient(&x, &grad, groups, self.precision);
        // From the blocks' [output][tap][input] to [output][input][tap].
        let mut out = vec![0.0; self.output_channels * source * taps];
        out.par_chunks_mut(source * taps).enumerate().for_each(|(channel, out)| {
            for block in blocks.iter().filter(|block| block.group == channel / target) {
                let width = block.row_taps.len() * self.cols.kernel;
                let row = &block.sums[channel % target * width * source..][..width * source];
                let first = block.row_taps.start * self.cols.kernel;
                for (tap, values) in row.chunks_exact(source).enumerate() {
                    for (input, value) in values.iter().enumerate() {
                        out[input * taps + first + tap] = *value;
                    }
                }
            }
        });
        out
    }

    /// Sum of an output gradient over everything but the channels: the bias's gradient.
    pub fn channel_sums(grad: &[f32], channels: usize, cells: usize) -> Vec<f32> {
        let sum = |channel: usize| {
            let pictures = grad.chunks_exact(channels * cells);
            simd::dispatch(
                #[inline(always)]
                || pictures.map(|p| simd::sum(&p[channel * cells..][..cells])).sum::<f32>(),
            )
        };
        (0..channels).into_par_iter().map(sum).collect()
    }

    /// `[output][input][tap]` to `[output][tap][input]`.
    fn taps_first(&self, weight: &[f32]) -> Vec<f32> {
        transpose(weight, self.group_channels().0, self.taps(), |_, x| x)
    }

    /// The kernel's taps that a lattice reads, in its order.
    fn used_taps(&self, lattice: &Lattice) -> Vec<usize> {
        let mut taps = Vec::with_capacity(lattice.taps());
        for row in &lattice.rows.taps {
            taps.extend(lattice.cols.taps.iter().map(|col| row * self.cols.kernel + col));
        }
        taps
    }

    /// The weights of a phase's taps, `[group][tap][output][input]`, from `[output][tap][input]`.
    fn phase_weight(&self, weight: &[f32], lattice: &Lattice) -> Vec<f32> {
        let (input, output) = self.group_channels();
        let depth = self.taps() * input;
        let taps = self.used_taps(lattice);
        let mut out = vec![0.0; self.groups * taps.len() * output * input];
        if self.is_depthwise() {
            // Here the channel runs fastest, as there is but one a group.
            for (line, tap) in out.chunks_exact_mut(self.groups).zip(&taps) {
                for (channel, value) in line.iter_mut().enumerate() {
                    *value = weight[channel * depth + tap];
                }
            }
            return out;
        }
        out.par_chunks_mut(output * input).enumerate().for_each(|(index, block)| {
            let (group, tap) = (index / taps.len(), taps[index % taps.len()]);
            for (o, line) in block.chunks_exact_mut(input).enumerate() {
                line.copy_from_slice(&weight[(group * output + o) * depth + tap * input..][..input]);
            }
        });
        out
    }

    /// All phases' cells in their places.
    fn interleaved(&self, mut parts: Vec<Vec<f32>>) -> Vec<f32> {
        if parts.len() == 1 {
            return parts.pop().unwrap_or_default();
        }
        let channels = self.input_channels;
        let (height, width) = (self.rows.input, self.cols.input);
        let mut out = vec![0.0; self.batch * height * width * channels];
        let phases: Vec<(Lattice, Vec<f32>)> = self.phases().zip(parts).collect();
        out.par_chunks_mut(width * channels).enumerate().for_each(|(index, line)| {
            let (picture, y) = (index / height, index % height);
            let row = y % self.rows.stride;
            for (col, (lattice, part)) in
                phases.iter().skip(row * self.cols.stride).take(self.cols.stride).enumerate()
            {
                let line_size = lattice.cols.outputs * channels;
                let from = (picture * lattice.rows.outputs + y / self.rows.stride) * line_size;
                let cells = part[from..from + line_size].chunks_exact(channels);
                let places = line.chunks_exact_mut(channels).skip(col).step_by(self.cols.stride);
                for (place, cell) in places.zip(cells) {
                    place.copy_from_slice(cell);
                }
            }
        });
        out
    }
}

/// What a convolution does besides.
#[derive(Clone, Copy)]
pub(super) struct Fused<'a> {
    /// To its input.
    pub before: &'a Before,
    /// Added to its output.
    pub residual: Option<&'a [f32]>,
}

impl Fused<'_> {
    /// Nothing.
    pub const NOTHING: Self = Self { before: &Before::Nothing, residual: None };
}

/// A convolution's weights as its products want them.
#[derive(Debug, Clone)]
pub(super) enum Prepared {
    /// For each phase of the result (one unless it is interleaved of several), for each group a factor
    /// `[taps * channels that are read, channels that are written]`.
    Products(Vec<Vec<Frozen>>),
    /// For each phase `[taps, channels]`.
    Depthwise(Vec<Vec<f32>>),
}
