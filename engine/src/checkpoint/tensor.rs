//! Tensors inside a storage: element types, shapes, strides.

use super::value::Storage;
use half::{bf16, f16};

/// Most dimensions of a tensor: PyTorch allows 64, weights have up to 4.
const MAX_RANK: usize = 8;

/// Type of a storage's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementKind {
    /// 4 bytes.
    F32,
    /// 2 bytes.
    F16,
    /// 2 bytes.
    Bf16,
    /// 8 bytes.
    F64,
    /// Integers and truth values, which no weights are made of; of this many bytes.
    Other(u8),
}

impl ElementKind {
    /// Bytes of an element.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::F64 => 8,
            Self::Other(bytes) => bytes.into(),
        }
    }

    /// The kind of PyTorch's storage class `name` (`FloatStorage`, ...).
    pub(super) fn of_storage_class(name: &str) -> Option<Self> {
        Some(match name {
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "DoubleStorage" => Self::F64,
            "LongStorage" => Self::Other(8),
            "IntStorage" => Self::Other(4),
            "ShortStorage" => Self::Other(2),
            "CharStorage" | "ByteStorage" | "BoolStorage" => Self::Other(1),
            _ => return None,
        })
    }

    /// The kind of a safetensors dtype.
    pub(super) fn of_dtype(dtype: safetensors::Dtype) -> Self {
        match dtype {
            safetensors::Dtype::F32 => Self::F32,
            safetensors::Dtype::F16 => Self::F16,
            safetensors::Dtype::BF16 => Self::Bf16,
            safetensors::Dtype::F64 => Self::F64,
            other => Self::Other((other.bitsize() / 8).clamp(1, 16) as u8),
        }
    }

    /// Little-endian elements as f32; `None` where they are no floats.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Vec<f32>> {
        Some(match self {
            Self::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F16 => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Self::Bf16 => bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            Self::F64 => bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
            Self::Other(_) => return None,
        })
    }
}

/// A tensor as the file describes it: nothing of it is checked before [`Self::check`].
#[derive(Debug, Clone)]
pub(super) struct TensorView {
    pub(super) storage: Storage,
    /// First element within the storage.
    pub(super) offset: i64,
    pub(super) shape: Vec<i64>,
    /// Elements from one index to the next, per dimension.
    pub(super) strides: Vec<i64>,
}

/// A tensor that lies within its storage.
#[derive(Debug, Clone)]
pub(super) struct CheckedTensor {
    pub(super) storage: Storage,
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<u64>,
    /// Product of the shape.
    pub(super) elements: u64,
    /// Elements of the storage from the first to the last that the tensor uses.
    pub(super) span: u64,
}

impl TensorView {
    /// The tensor, if it lies within its storage of `available` bytes and repeats no element.
    ///
    /// The storage bounds the tensor's size, so that nothing can be asked for that the file does not hold.
    pub(super) fn check(&self, available: Option<u64>) -> Result<CheckedTensor, String> {
        let Storage { key, kind, elements: declared } = &self.storage;
        let key = key.escape_debug();
        let available = available.ok_or_else(|| format!("lies in the storage {key}, which is missing"))?;
        if declared.checked_mul(kind.bytes()).is_none_or(|bytes| bytes > available) {
            return Err(format!(
                "lies in the storage {key}, which should have {declared} elements but has only {available} bytes"
            ));
        }
        let (shape, strides) = (&self.shape, &self.strides);
        if shape.len() > MAX_RANK || shape.len() != strides.len() {
            return Err(format!(
                "has {} dimensions and {} strides, expected as many of both and at most {MAX_RANK}",
                shape.len(),
                strides.len()
            ));
        }
        let outside = || {
            format!(
                "has the shape {shape:?} with strides {strides:?} from element {}, which its storage of {declared} \
                 elements does not hold",
                self.offset
            )
        };
        let sizes: Vec<usize> = shape
            .iter()
            .map(|size| usize::try_from(*size).map_err(|_| outside()))
            .collect::<Result<_, _>>()?;
        let steps: Vec<u64> = strides
            .iter()
            .map(|step| u64::try_from(*step).map_err(|_| outside()))
            .collect::<Result<_, _>>()?;
        let offset = u64::try_from(self.offset).map_err(|_| outside())?;
        let elements = sizes
            .iter()
            .try_fold(1u64, |product, size| product.checked_mul(*size as u64))
            .ok_or_else(outside)?;
        let last = sizes
            .iter()
            .zip(&steps)
            .try_fold(0u64, |sum, (size, step)| {
                sum.checked_add((*size as u64).saturating_sub(1).checked_mul(*step)?)
            })
            .ok_or_else(outside)?;
        let span = if elements == 0 { 0 } else { last.checked_add(1).ok_or_else(outside)? };
        if elements > *declared || offset.checked_add(span).is_none_or(|end| end > *declared) {
            return Err(outside());
        }
        Ok(CheckedTensor {
            storage: self.storage.clone(),
            offset,
            shape: sizes,
            strides: steps,
            elements,
            span,
        })
    }
}

impl CheckedTensor {
    /// The values in row-major order out of `span`, the storage's elements from the first used to the last.
    pub(super) fn gather(&self, span: Vec<f32>) -> Vec<f32> {
        if self.is_contiguous() {
            return span;
        }
        let mut index = vec![0usize; self.shape.len()];
        let mut values = Vec::with_capacity(self.elements as usize);
        for _ in 0..self.elements {
            let at: u64 = index.iter().zip(&self.strides).map(|(i, step)| *i as u64 * step).sum();
            values.push(span.get(at as usize).copied().unwrap_or(f32::NAN));
            for (i, size) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *size {
                    break;
                }
                *i = 0;
            }
        }
        values
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(size, step)| {
            let fits = *size == 1 || *step == expected;
            expected *= *size as u64;
            fits
        })
    }
}
