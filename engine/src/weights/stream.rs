//! Tensors to a file, one in memory at a time.

use super::write::{float_bytes, float_dtype};
use super::{Storage, WeightsError};
use parking_lot::Mutex;
use safetensors::Dtype;
use safetensors::tensor::View;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

/// A tensor whose values are made when they are written.
pub struct Pending<'a> {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How it is stored: one of the float types.
    pub storage: Storage,
    /// Makes the values, row-major; an error's message says what and where.
    pub values: Box<dyn Fn() -> Result<Vec<f32>, String> + 'a>,
}

/// Writes `tensors` as a safetensors file, labelled with one pair of metadata (several would come in random order): the
/// [part](super::PART_KEY) of a pack that it is, or the [architecture](super::CONFIG_KEY). The bytes depend on nothing
/// but the arguments; a file that is there already is replaced at the end, or stays if anything fails.
///
/// # Errors
/// When values cannot be made, are not finite, do not fit their shape or storage, or the file cannot be written.
pub fn write_file(path: &Path, label: (&str, &str), tensors: Vec<Pending<'_>>) -> Result<(), WeightsError> {
    let file = path.display().to_string();
    let failure = Mutex::new(None);
    let mut views = Vec::with_capacity(tensors.len());
    for Pending { name, shape, storage, values } in tensors {
        let Some(dtype) = float_dtype(storage) else {
            let reason = "is to be int8, which needs all values at once".into();
            return Err(WeightsError::Tensor { file, tensor: name, reason });
        };
        let view = Lazy { name: name.clone(), dtype, shape, values, failure: &failure };
        views.push((name, view));
    }
    let temporary = path.with_extension("partial");
    // The format's writer makes private files; this one is to be as readable as any other of the user's.
    let permissions = File::create(&temporary).and_then(|file| file.metadata()).map(|new| new.permissions());
    let metadata = HashMap::from([(label.0.to_owned(), label.1.to_owned())]);
    let written = safetensors::serialize_to_file(views, Some(metadata), &temporary);
    let result = match failure.into_inner() {
        Some((tensor, reason)) => Err(WeightsError::Tensor { file, tensor, reason }),
        None => written
            .map_err(|error| error.to_string())
            .and_then(|()| {
                permissions
                    .and_then(|permissions| std::fs::set_permissions(&temporary, permissions))
                    .and_then(|()| std::fs::rename(&temporary, path))
                    .map_err(|error| error.to_string())
            })
            .map_err(|reason| WeightsError::Write { file, reason }),
    };
    if result.is_err() {
        // Nobody misses it.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// The format's writer cannot fail within a tensor: the first failure is noted and the file thrown away.
struct Lazy<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    values: Box<dyn Fn() -> Result<Vec<f32>, String> + 'a>,
    failure: &'a Mutex<Option<(String, String)>>,
}

impl Lazy<'_> {
    fn bytes(&self) -> Result<Vec<u8>, String> {
        let values = (self.values)()?;
        let bytes = float_bytes(&values, self.dtype)?;
        if bytes.len() == self.data_len() {
            Ok(bytes)
        } else {
            Err(format!("has {} values, which its shape {:?} does not hold", values.len(), self.shape))
        }
    }
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // After a failure the file is thrown away: no need to make the rest.
        let failed = self.failure.lock().is_some();
        let bytes = if failed { Ok(Vec::new()) } else { self.bytes() };
        Cow::Owned(bytes.unwrap_or_else(|reason| {
            *self.failure.lock() = Some((self.name.clone(), reason));
            Vec::new()
        }))
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}
