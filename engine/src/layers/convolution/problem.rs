//! Sizes of a convolution, and its products on the CPU: forward, and the gradients of input and weight.

use super::ConvGeometry;
use super::lattice::{Axis, Factor, Groups, Lattice, transpose};
use crate::layers::kernel::{Matrix, Precision, simd};
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
}

impl Extent {
    /// The axis that a 1-D convolution does not have.
    pub const NONE: Self = Self { input: 1, output: 1, kernel: 1, stride: 1, padding: 0, dilation: 1 };

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

    fn new(input: usize, output: usize, g: ConvGeometry) -> Self {
        let ConvGeometry { kernel, stride, padding, dilation, .. } = g;
        Self { input, output, kernel, stride, padding, dilation }
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

    /// The convolution of `x`, with an optional bias for each output channel.
    pub fn forward(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let x = transpose(x, self.input_channels, self.input_cells());
        let lattice = self.forward_lattice();
        let y = if self.is_depthwise() {
            let weight = transpose(weight, self.output_channels, self.taps());
            lattice.correlate_depthwise(&x, self.input_channels, &weight, bias)
        } else {
            let (source, target) = self.group_channels();
            let weight = self.taps_first(weight);
            let depth = self.taps() * source;
            let factors: Vec<Factor> = weight
                .chunks_exact(target * depth)
                .map(|group| Factor::new(Matrix::row_major(group, target, depth).t(), self.precision))
                .collect();
            lattice.correlate(&x, Groups { count: self.groups, source, target }, &factors, bias)
        };
        transpose(&y, self.output_cells(), self.output_channels)
    }

    /// Gradient of the input from that of the output; as a layer of its own, the transposed convolution, for which
    /// `bias` holds a value for each of *its* output channels.
    pub fn input_gradient(&self, grad: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let grad = transpose(grad, self.output_channels, self.output_cells());
        let (target, source) = self.group_channels();
        let weight = self.taps_first(weight);
        let channels = self.input_channels;
        let mut out = Vec::new();
        for row_phase in 0..self.rows.stride {
            for col_phase in 0..self.cols.stride {
                let rows = self.rows.contributes(row_phase);
                let cols = self.cols.contributes(col_phase);
                let lattice = Lattice { batch: self.batch, rows, cols };
                let weight = self.phase_weight(&weight, &lattice);
                let part = if self.is_depthwise() {
                    lattice.correlate_depthwise(&grad, channels, &weight, bias)
                } else {
                    let depth = lattice.taps() * source;
                    let factors: Vec<Factor> = (0..self.groups)
                        .map(|g| &weight[g * depth * target..(g + 1) * depth * target])
                        .map(|group| Factor::new(Matrix::row_major(group, depth, target), self.precision))
                        .collect();
                    lattice.correlate(&grad, Groups { count: self.groups, source, target }, &factors, bias)
                };
                if self.rows.stride * self.cols.stride == 1 {
                    out = part;
                } else {
                    out.resize(self.batch * self.input_cells() * channels, 0.0);
                    self.interleave(&part, (row_phase, col_phase), &lattice, &mut out);
                }
            }
        }
        transpose(&out, self.input_cells(), channels)
    }

    /// Gradient of the weight.
    pub fn weight_gradient(&self, x: &[f32], grad: &[f32]) -> Vec<f32> {
        let x = transpose(x, self.input_channels, self.input_cells());
        let grad = transpose(grad, self.output_channels, self.output_cells());
        let lattice = self.forward_lattice();
        let taps = self.taps();
        if self.is_depthwise() {
            let sums = lattice.weight_gradient_depthwise(&x, &grad, self.input_channels);
            return transpose(&sums, taps, self.input_channels);
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
        transpose(weight, self.group_channels().0, self.taps())
    }

    /// The weights of a phase's taps, `[group][tap][output][input]`, from `[output][tap][input]`.
    fn phase_weight(&self, weight: &[f32], lattice: &Lattice) -> Vec<f32> {
        let (input, output) = self.group_channels();
        let depth = self.taps() * input;
        let taps: Vec<usize> = lattice
            .rows
            .taps
            .iter()
            .flat_map(|row| lattice.cols.taps.iter().map(move |col| row * self.cols.kernel + col))
            .collect();
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

    /// Puts a phase's cells in their places.
    fn interleave(&self, part: &[f32], (row, col): (usize, usize), lattice: &Lattice, out: &mut [f32]) {
        let channels = self.input_channels;
        let (height, width) = (self.rows.input, self.cols.input);
        let line_size = lattice.cols.outputs * channels;
        out.par_chunks_mut(width * channels).enumerate().for_each(|(index, line)| {
            let (picture, y) = (index / height, index % height);
            if y % self.rows.stride != row {
                return;
            }
            let from = (picture * lattice.rows.outputs + y / self.rows.stride) * line_size;
            let cells = part[from..from + line_size].chunks_exact(channels);
            let places = line.chunks_exact_mut(channels).skip(col).step_by(self.cols.stride);
            for (place, cell) in places.zip(cells) {
                place.copy_from_slice(cell);
            }
        });
    }
}
