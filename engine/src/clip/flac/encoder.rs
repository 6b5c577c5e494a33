//! A small FLAC encoder (RFC 9639) for 24-bit mono: fixed predictors and Rice codes with 5-bit
//! parameters.
//!
//! An own one because the encoder in pure Rust that there is, flacenc 0.5, knows 4-bit Rice parameters
//! only: made for 16-bit residuals, it writes loud 24-bit sounds larger than they were.

use super::{
    BITS, SAMPLE_RATE,
    bits::{BitWriter, crc8, crc16},
};

/// Samples of a frame; the last may have fewer.
const BLOCK: usize = 4096;
/// Highest order of the fixed predictors.
const MAX_ORDER: usize = 4;
/// Most partitions of a frame's residual, as a power of two.
const MAX_PARTITION_ORDER: u32 = 6;
/// Largest Rice parameter; 31 would announce an unencoded partition.
const MAX_RICE: u32 = 30;
/// Bits of a Rice parameter.
const RICE_BITS: u32 = 5;

/// The FLAC stream of 24-bit `samples`.
pub(super) fn encode(samples: &[i32]) -> Vec<u8> {
    let mut stream = stream_header(samples.len());
    for (number, block) in (0u32..).zip(samples.chunks(BLOCK)) {
        stream.extend(frame(number, block));
    }
    stream
}

/// The marker and the STREAMINFO block (RFC 9639, section 8.2).
fn stream_header(len: usize) -> Vec<u8> {
    let mut writer = BitWriter::default();
    writer.write(u32::from_be_bytes(*b"fLaC"), 32);
    // The last metadata block, of type 0, 34 bytes long.
    writer.write(0x80, 8);
    writer.write(34, 24);
    // Smallest and largest block; the last one does not count.
    writer.write(BLOCK as u32, 16);
    writer.write(BLOCK as u32, 16);
    // Smallest and largest frame: unknown.
    writer.write(0, 24);
    writer.write(0, 24);
    writer.write(SAMPLE_RATE, 20);
    // One channel, less one.
    writer.write(0, 3);
    writer.write(BITS - 1, 5);
    // 36 bits; MAX_SAMPLES is far below 2^32.
    writer.write(0, 4);
    writer.write(len as u32, 32);
    // MD5 of the samples: not computed, for the project state has a checksum of its own.
    for _ in 0..4 {
        writer.write(0, 32);
    }
    writer.bytes().to_vec()
}

/// One frame (RFC 9639, section 9).
fn frame(number: u32, block: &[i32]) -> Vec<u8> {
    let mut writer = BitWriter::default();
    // Sync code, and blocks of fixed size.
    writer.write(0xFFF8, 16);
    // Block size in 16 bits below; sample rate 22.05 kHz.
    writer.write(0x76, 8);
    // One channel; 24 bits.
    writer.write(0x0C, 8);
    write_utf8(&mut writer, number);
    writer.write((block.len() - 1) as u32, 16);
    writer.write(u32::from(crc8(writer.bytes())), 8);
    subframe(&mut writer, block);
    writer.align();
    writer.write(u32::from(crc16(writer.bytes())), 16);
    writer.bytes().to_vec()
}

/// A frame's number, coded as a character is in UTF-8.
fn write_utf8(writer: &mut BitWriter, number: u32) {
    match number {
        0..0x80 => writer.write(number, 8),
        0x80..0x800 => {
            writer.write(0xC0 | number >> 6, 8);
            writer.write(0x80 | number & 0x3F, 8);
        }
        // 2^16 frames are hours.
        _ => {
            writer.write(0xE0 | number >> 12 & 0x0F, 8);
            writer.write(0x80 | number >> 6 & 0x3F, 8);
            writer.write(0x80 | number & 0x3F, 8);
        }
    }
}

/// The samples in the shortest form: constant, predicted or as they are.
fn subframe(writer: &mut BitWriter, block: &[i32]) {
    if let Some((first, rest)) = block.split_first()
        && rest.iter().all(|x| x == first)
    {
        writer.write(0, 8);
        writer.write_signed(*first, BITS);
        return;
    }
    let (order, residual) = predict(block);
    let plan = Plan::of(&residual, block.len(), order);
    if plan.bits + order as u64 * u64::from(BITS) >= block.len() as u64 * u64::from(BITS) {
        writer.write(0b0000_0010, 8);
        for &sample in block {
            writer.write_signed(sample, BITS);
        }
        return;
    }
    writer.write(0b0001_0000 | (order as u32) << 1, 8);
    for &sample in block.iter().take(order) {
        writer.write_signed(sample, BITS);
    }
    plan.write(writer, &residual);
}

/// The fixed predictor that leaves least, and its residual: the order-th difference, `order`
/// samples shorter than `block`, folded to unsigned (0, -1, 1, -2 ... to 0, 1, 2, 3 ...).
fn predict(block: &[i32]) -> (usize, Vec<u32>) {
    let mut difference = block.to_vec();
    let mut best = (0, fold(&difference));
    let mut least = total(&best.1);
    for order in 1..=MAX_ORDER.min(block.len().saturating_sub(1)) {
        // 24 bits grow by one with each order: no overflow.
        difference =
            difference.windows(2).map(|w| w.last().unwrap_or(&0) - w.first().unwrap_or(&0)).collect();
        let folded = fold(&difference);
        let sum = total(&folded);
        if sum < least {
            least = sum;
            best = (order, folded);
        }
    }
    best
}

fn fold(values: &[i32]) -> Vec<u32> {
    values.iter().map(|&x| (x << 1 ^ x >> 31).cast_unsigned()).collect()
}

fn total(values: &[u32]) -> u64 {
    values.iter().map(|&x| u64::from(x)).sum()
}

/// How a residual is cut into partitions, each with its Rice parameter.
struct Plan {
    /// The number of partitions as a power of two.
    partition_order: u32,
    parameters: Vec<u32>,
    /// Length of the coded residual.
    bits: u64,
    /// Samples of a partition; the first has `order` fewer.
    length: usize,
    order: usize,
}

impl Plan {
    /// The shortest for the `residual` of a block of `len` samples.
    fn of(residual: &[u32], len: usize, order: usize) -> Self {
        let mut best = Self::with_partitions(residual, len, order, 0);
        for partition_order in 1..=MAX_PARTITION_ORDER {
            let partitions = 1 << partition_order;
            if !len.is_multiple_of(partitions) || len / partitions <= order {
                break;
            }
            let plan = Self::with_partitions(residual, len, order, partition_order);
            if plan.bits < best.bits {
                best = plan;
            }
        }
        best
    }

    fn with_partitions(residual: &[u32], len: usize, order: usize, partition_order: u32) -> Self {
        let mut plan =
            Self { partition_order, parameters: Vec::new(), bits: 6, length: len >> partition_order, order };
        for partition in plan.partitions(residual) {
            let (parameter, bits) = rice_parameter(partition);
            plan.parameters.push(parameter);
            plan.bits += u64::from(RICE_BITS) + bits;
        }
        plan
    }

    fn partitions<'a>(&self, residual: &'a [u32]) -> impl Iterator<Item = &'a [u32]> + use<'a> {
        let (first, rest) = residual.split_at(self.length.saturating_sub(self.order).min(residual.len()));
        std::iter::once(first).chain(rest.chunks(self.length.max(1)))
    }

    fn write(&self, writer: &mut BitWriter, residual: &[u32]) {
        // Coding method 1: Rice with 5-bit parameters.
        writer.write(1, 2);
        writer.write(self.partition_order, 4);
        for (partition, &parameter) in self.partitions(residual).zip(&self.parameters) {
            writer.write(parameter, RICE_BITS);
            for &value in partition {
                writer.write_unary(value >> parameter);
                writer.write(value, parameter);
            }
        }
    }
}

/// The best Rice parameter for the folded `values`, and the bits that they take with it.
fn rice_parameter(values: &[u32]) -> (u32, u64) {
    let mean = total(values) / values.len().max(1) as u64;
    // The optimum lies within one of the mean's logarithm.
    let guess = (u64::BITS - mean.leading_zeros()).min(MAX_RICE);
    let bits = |parameter: u32| {
        let unary: u64 = values.iter().map(|&x| u64::from(x >> parameter)).sum();
        unary + values.len() as u64 * u64::from(1 + parameter)
    };
    (guess.saturating_sub(2)..=guess)
        .map(|parameter| (parameter, bits(parameter)))
        .min_by_key(|&(_, bits)| bits)
        .unwrap_or((guess, u64::MAX))
}
