//! Bytes to tensors.

use super::{PART_KEY, SCALE_SUFFIX, WeightsError};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};

/// Values decoded at a time: a buffer of this many halves stays in the first-level cache.
const CHUNK: usize = 2048;

/// The tensors of one file, f32 on the CPU.
#[derive(Debug, Clone)]
pub struct Weights {
    tensors: HashMap<String, Tensor>,
}

impl Weights {
    /// Decodes a safetensors file, on all cores. `file` is its name for messages.
    ///
    /// Memory needed is at most four times `bytes`: the format's own reader checks every tensor's extent against
    /// the bytes that are there before anything is allocated.
    ///
    /// # Errors
    /// When the bytes are not a safetensors file, a tensor has another dtype than f32, f16, bf16 or scaled int8,
    /// or a value is not finite.
    pub fn decode(file: &str, bytes: &[u8]) -> Result<Self, WeightsError> {
        let decoded = each(file, bytes, |name, view, values| {
            let tensor = Tensor::from_vec(values, view.shape(), &Device::Cpu)
                .map_err(|source| WeightsError::Backend { file: file.into(), source })?;
            Ok((name.to_owned(), tensor))
        })?;
        Ok(Self { tensors: decoded.into_iter().collect() })
    }

    /// Does all that [`Self::decode`] does but keep the values; returns names and shapes.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn check(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, Vec<usize>>, WeightsError> {
        let shapes = each(file, bytes, |name, view, _| Ok((name.to_owned(), view.shape().to_vec())))?;
        Ok(shapes.into_iter().collect())
    }

    /// The tensors as a module's constructor wants them, on `device`.
    #[must_use]
    pub fn var_builder(&self, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.tensors.clone(), DType::F32, device)
    }

    /// How many numbers the tensors hold together.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(|tensor| tensor.elem_count() as u64).sum()
    }

    /// The tensors by name.
    #[must_use]
    pub fn tensors(&self) -> &HashMap<String, Tensor> {
        &self.tensors
    }
}

/// Runs `work` on the finite values of every tensor (int8 ones scaled), on all cores.
fn each<T: Send>(
    file: &str,
    bytes: &[u8],
    work: impl Fn(&str, &TensorView<'_>, Vec<f32>) -> Result<T, WeightsError> + Sync,
) -> Result<Vec<T>, WeightsError> {
    let views = parse(file, bytes)?;
    let named: HashMap<&str, TensorView<'_>> = views.iter().collect();
    let mut jobs: Vec<(&str, &TensorView<'_>)> =
        named.iter().map(|(name, view)| (*name, view)).filter(|(name, _)| !is_scale(name, &named)).collect();
    // The largest first, so that no core is left with it at the end.
    jobs.sort_by_key(|(_, view)| std::cmp::Reverse(view.data().len()));
    jobs.par_iter()
        .with_max_len(1)
        .map(|(name, view)| {
            let fail =
                |reason| WeightsError::Tensor { file: file.into(), tensor: (*name).to_owned(), reason };
            let scale = named.get(format!("{name}{SCALE_SUFFIX}").as_str());
            let values = values(view, scale).map_err(fail)?;
            if !values.iter().fold(true, |finite, value| finite & value.is_finite()) {
                return Err(fail("holds a value that is not a number".into()));
            }
            work(name, view, values)
        })
        .collect()
}

/// The part that a weights file says it holds; `None` where it does not say.
///
/// # Errors
/// When the bytes are no safetensors file.
pub fn part_of(file: &str, bytes: &[u8]) -> Result<Option<String>, WeightsError> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| malformed(file, &error))?;
    Ok(header.metadata().as_ref().and_then(|metadata| metadata.get(PART_KEY).cloned()))
}

fn parse<'a>(file: &str, bytes: &'a [u8]) -> Result<SafeTensors<'a>, WeightsError> {
    SafeTensors::deserialize(bytes).map_err(|error| malformed(file, &error))
}

fn malformed(file: &str, error: &safetensors::SafeTensorError) -> WeightsError {
    WeightsError::Malformed { file: file.into(), reason: error.to_string() }
}

/// Whether `name` is the companion of an int8 tensor.
fn is_scale(name: &str, named: &HashMap<&str, TensorView<'_>>) -> bool {
    name.strip_suffix(SCALE_SUFFIX)
        .and_then(|base| named.get(base))
        .is_some_and(|view| view.dtype() == Dtype::I8)
}

/// A tensor's values as f32.
fn values(view: &TensorView<'_>, scale: Option<&TensorView<'_>>) -> Result<Vec<f32>, String> {
    match view.dtype() {
        Dtype::F32 => Ok(floats(view.data())),
        Dtype::F16 => {
            Ok(halves(view.data(), |bits, out| bits.reinterpret_cast::<f16>().convert_to_f32_slice(out)))
        }
        Dtype::BF16 => {
            Ok(halves(view.data(), |bits, out| bits.reinterpret_cast::<bf16>().convert_to_f32_slice(out)))
        }
        Dtype::I8 => {
            let scale = scale.ok_or("is int8 but has no scales")?;
            dequantise(view, scale)
        }
        other => Err(format!("is of the type {other:?}; expected F32, F16, BF16 or I8")),
    }
}

/// Little-endian f32 bytes, of any alignment.
fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// Little-endian 16-bit words, of any alignment, through `convert` a chunk at a time.
fn halves(bytes: &[u8], convert: impl Fn(&[u16], &mut [f32])) -> Vec<f32> {
    let words = bytes.as_chunks::<2>().0;
    let mut values = vec![0f32; words.len()];
    let mut bits = Vec::with_capacity(CHUNK);
    for (words, values) in words.chunks(CHUNK).zip(values.chunks_mut(CHUNK)) {
        bits.clear();
        bits.extend(words.iter().map(|word| u16::from_le_bytes(*word)));
        convert(&bits, values);
    }
    values
}

/// `q * s`, the scale's one dimension that is not 1 being the channel's.
fn dequantise(view: &TensorView<'_>, scale: &TensorView<'_>) -> Result<Vec<f32>, String> {
    let (shape, scale_shape) = (view.shape(), scale.shape());
    let fits = scale.dtype() == Dtype::F32
        && shape.len() == scale_shape.len()
        && shape.iter().zip(scale_shape).all(|(&size, &scales)| scales == 1 || scales == size)
        && scale_shape.iter().filter(|&&scales| scales != 1).count() <= 1;
    if !fits {
        return Err(format!(
            "has the shape {shape:?}, which its scales {scale_shape:?} ({:?}) do not fit",
            scale.dtype()
        ));
    }
    let scales = floats(scale.data());
    // Elements between one channel's value and the next channel's.
    let axis = scale_shape.iter().position(|&scales| scales != 1).unwrap_or(0);
    let inner: usize = shape.iter().skip(axis + 1).product();
    let integers = view.data();
    let mut values = Vec::with_capacity(integers.len());
    if scales.len() == 1 {
        let by = scales.first().copied().unwrap_or(0.0);
        values.extend(integers.iter().map(|&q| f32::from(q.cast_signed()) * by));
    } else if inner <= 1 {
        for row in integers.chunks(scales.len().max(1)) {
            values.extend(row.iter().zip(&scales).map(|(&q, by)| f32::from(q.cast_signed()) * by));
        }
    } else {
        for (channel, by) in integers.chunks(inner).zip(scales.iter().cycle()) {
            values.extend(channel.iter().map(|&q| f32::from(q.cast_signed()) * by));
        }
    }
    Ok(values)
}
