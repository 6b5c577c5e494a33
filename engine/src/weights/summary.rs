//! What a weights file holds, by its header alone.

use super::{SCALE_SUFFIX, WeightsError};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use std::collections::BTreeMap;
use std::io::Read;

/// A larger header is refused: the largest models have some hundred kilobytes.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// How many numbers a file holds, and of which types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Numbers in all tensors, the scales of int8 ones not counted.
    pub parameters: u64,
    /// Numbers of each type, by its name in the file (`F16`).
    pub types: BTreeMap<String, u64>,
}

impl Summary {
    /// Reads the header at the start of a safetensors file. `file` is its name for messages.
    ///
    /// # Errors
    /// When it cannot be read or is no such header.
    pub fn read(file: &str, reader: &mut impl Read) -> Result<Self, WeightsError> {
        let malformed = |reason: String| WeightsError::Malformed { file: file.into(), reason };
        let mut size = [0; 8];
        reader.read_exact(&mut size).map_err(|error| malformed(error.to_string()))?;
        let size = u64::from_le_bytes(size);
        if size > MAX_HEADER_BYTES {
            return Err(malformed(format!("its header has {size} bytes")));
        }
        let mut header = Vec::new();
        reader.take(size).read_to_end(&mut header).map_err(|error| malformed(error.to_string()))?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|error| malformed(error.to_string()))?;
        let tensors = header.tensors();
        let mut summary = Self::default();
        for (name, tensor) in &tensors {
            let base = name.strip_suffix(SCALE_SUFFIX).and_then(|base| tensors.get(base));
            if base.is_some_and(|base| base.dtype == Dtype::I8) {
                continue;
            }
            let count = tensor.shape.iter().fold(1u64, |product, size| product.saturating_mul(*size as u64));
            summary.parameters = summary.parameters.saturating_add(count);
            *summary.types.entry(tensor.dtype.to_string()).or_default() += count;
        }
        Ok(summary)
    }
}
