//! Tensors to bytes.

use super::{PART_KEY, SCALE_SUFFIX, WeightsError};
use candle_core::{DType, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap};

/// How a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Four bytes a value, exact.
    F32,
    /// Two bytes, 11 bits of mantissa, values up to 65504.
    F16,
    /// Two bytes, 8 bits of mantissa, f32's range.
    Bf16,
    /// One byte and a scale a channel.
    Int8,
}

/// An encoded tensor.
struct Encoded {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Encodes `tensors` (any float dtype) as a safetensors file for the pack's `part`, each as `storage` says.
///
/// The channel of an int8 tensor is whichever dimension loses least, as the file describes it. The bytes depend
/// on nothing but the arguments.
///
/// # Errors
/// When a value is not finite or too large for its storage, or the backend fails; `part` names the file then.
pub fn encode(
    part: &str,
    tensors: &BTreeMap<String, Tensor>,
    storage: impl Fn(&str, &Tensor) -> Storage,
) -> Result<Vec<u8>, WeightsError> {
    let backend = |source| WeightsError::Backend { file: part.into(), source };
    let mut encoded = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let fail = |reason: &str| WeightsError::Tensor {
            file: part.into(),
            tensor: name.clone(),
            reason: reason.into(),
        };
        let shape = tensor.dims().to_vec();
        let values: Vec<f32> = tensor
            .to_dtype(DType::F32)
            .and_then(|tensor| tensor.flatten_all()?.to_vec1())
            .map_err(backend)?;
        let whole = |dtype, bytes| Encoded { name: name.clone(), dtype, shape: shape.clone(), bytes };
        match float_dtype(storage(name, tensor)) {
            Some(dtype) => encoded.push(whole(dtype, float_bytes(&values, dtype).map_err(fail)?)),
            None => {
                check_finite(&values).map_err(fail)?;
                let quantised = quantise(&values, &shape);
                encoded.push(whole(Dtype::I8, quantised.integers));
                encoded.push(Encoded {
                    name: format!("{name}{SCALE_SUFFIX}"),
                    dtype: Dtype::F32,
                    shape: quantised.scale_shape,
                    bytes: quantised.scales.iter().flat_map(|v| v.to_le_bytes()).collect(),
                });
            }
        }
    }
    let malformed = |error: safetensors::SafeTensorError| WeightsError::Malformed {
        file: part.into(),
        reason: error.to_string(),
    };
    let views: Vec<(&str, TensorView<'_>)> = encoded
        .iter()
        .map(|tensor| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?;
            Ok((tensor.name.as_str(), view))
        })
        .collect::<Result<_, _>>()
        .map_err(malformed)?;
    let metadata = HashMap::from([(PART_KEY.to_owned(), part.to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(malformed)
}

/// The safetensors type of a storage that needs no scales; `None` for int8.
pub(super) fn float_dtype(storage: Storage) -> Option<Dtype> {
    match storage {
        Storage::F32 => Some(Dtype::F32),
        Storage::F16 => Some(Dtype::F16),
        Storage::Bf16 => Some(Dtype::BF16),
        Storage::Int8 => None,
    }
}

/// Little-endian `values` of one of the types of [`float_dtype`]; says why where one does not fit it.
pub(super) fn float_bytes(values: &[f32], dtype: Dtype) -> Result<Vec<u8>, &'static str> {
    check_finite(values)?;
    Ok(match dtype {
        Dtype::F16 => {
            let halves: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
            if !halves.iter().all(|half| half.is_finite()) {
                return Err("holds a value that is too large for f16");
            }
            halves.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        Dtype::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    })
}

fn check_finite(values: &[f32]) -> Result<(), &'static str> {
    if values.iter().all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err("holds a value that is not a number")
    }
}

/// An int8 tensor.
struct Quantised {
    integers: Vec<u8>,
    scales: Vec<f32>,
    scale_shape: Vec<usize>,
    squared_error: f64,
}

/// Symmetric int8 along the dimension that leaves the least squared error.
fn quantise(values: &[f32], shape: &[usize]) -> Quantised {
    let mut best = quantise_along(values, shape, None);
    for axis in 0..shape.len() {
        let candidate = quantise_along(values, shape, Some(axis));
        if candidate.squared_error < best.squared_error {
            best = candidate;
        }
    }
    best
}

/// Symmetric int8 with a scale for each index of dimension `axis`, or one for all.
fn quantise_along(values: &[f32], shape: &[usize], axis: Option<usize>) -> Quantised {
    let mut scale_shape = vec![1; shape.len()];
    let (mut channels, mut inner) = (1, values.len().max(1));
    if let Some(axis) = axis {
        channels = shape.get(axis).copied().unwrap_or(1).max(1);
        inner = shape.iter().skip(axis + 1).product::<usize>().max(1);
        if let Some(scales) = scale_shape.get_mut(axis) {
            *scales = channels;
        }
    }
    let mut scales = vec![0f32; channels];
    let channel = |index: usize| (index / inner) % channels;
    for (index, value) in values.iter().enumerate() {
        if let Some(largest) = scales.get_mut(channel(index)) {
            *largest = largest.max(value.abs());
        }
    }
    for scale in &mut scales {
        *scale /= 127.0;
    }
    let mut squared_error = 0f64;
    let integers = values
        .iter()
        .enumerate()
        .map(|(index, &value)| {
            let scale = scales.get(channel(index)).copied().unwrap_or(0.0);
            // A channel of zeros has the scale 0 and the integers 0.
            let q = if scale > 0.0 { (value / scale).round().clamp(-127.0, 127.0) } else { 0.0 };
            squared_error += f64::from(value - q * scale).powi(2);
            // In range by the clamp.
            (q as i8).cast_unsigned()
        })
        .collect();
    Quantised { integers, scales, scale_shape, squared_error }
}
