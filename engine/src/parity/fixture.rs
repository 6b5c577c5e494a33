//! A folder of recorded numbers, and reading it.

use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Why a stage could not be compared at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParityError {
    /// A fixture's file is missing or unreadable.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What the system or the format's reader said.
        reason: String,
    },
    /// A fixture lacks a tensor, or it cannot be used.
    #[error("{file}: the tensor {tensor} {reason}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A fixture lacks a size in its metadata, or it cannot be read.
    #[error("{file}: the metadata's {key}: expected {expected}, found {found}")]
    Metadata {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What was expected.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The network failed.
    #[error("the network failed: {0}")]
    Network(#[from] candle_core::Error),
    /// The diffusion process failed.
    #[error(transparent)]
    Diffusion(#[from] crate::diffusion::DiffusionError),
    /// The text encoder failed.
    #[error(transparent)]
    Text(#[from] crate::text::TextError),
    /// An adapter does not fit.
    #[error(transparent)]
    Lora(#[from] crate::lora::LoraError),
}

/// A folder of fixtures.
#[derive(Debug, Clone)]
pub struct Fixtures {
    folder: PathBuf,
    minilm: Option<PathBuf>,
}

impl Fixtures {
    /// The fixtures in `folder`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), minilm: None }
    }

    /// Reads `name.safetensors`.
    ///
    /// # Errors
    /// When the file cannot be read or is no safetensors file.
    pub fn open(&self, name: &str) -> Result<Fixture, ParityError> {
        let file = format!("{name}.safetensors");
        let failed = |reason: String| ParityError::File {
            file: self.folder.join(&file).display().to_string(),
            reason,
        };
        let bytes = std::fs::read(self.folder.join(&file)).map_err(|error| failed(error.to_string()))?;
        let (_, header) =
            safetensors::SafeTensors::read_metadata(&bytes).map_err(|error| failed(error.to_string()))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|error| failed(error.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(Fixture { file, tensors, metadata })
    }

    /// The same, and the published all-MiniLM-L6-v2 (`model.safetensors`, `tokenizer.json`) in another folder.
    #[must_use]
    pub fn with_minilm(mut self, folder: Option<PathBuf>) -> Self {
        self.minilm = folder;
        self
    }

    /// The folder of the published all-MiniLM-L6-v2, if it was given.
    #[must_use]
    pub fn minilm(&self) -> Option<&Path> {
        self.minilm.as_deref()
    }
}

/// One file of recorded numbers.
#[derive(Debug, Clone)]
pub struct Fixture {
    file: String,
    tensors: HashMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

impl Fixture {
    /// The file's name.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// A tensor as it was recorded.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> Result<Tensor, ParityError> {
        self.tensors.get(name).cloned().ok_or_else(|| self.unusable(name, "is missing"))
    }

    /// Whether there is a tensor of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names of all tensors that begin with `prefix`, without it, sorted.
    #[must_use]
    pub fn under(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<_> =
            self.tensors.keys().filter_map(|name| name.strip_prefix(prefix).map(str::to_owned)).collect();
        names.sort();
        names
    }

    /// The tensors whose names begin with `prefix`, under the rest of their names.
    #[must_use]
    pub fn part(&self, prefix: &str) -> HashMap<String, Tensor> {
        let strip = |(name, tensor): (&String, &Tensor)| {
            Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
        };
        self.tensors.iter().filter_map(strip).collect()
    }

    /// A `[batch, classes, length]` tensor as ours, `[batch, length, classes]`.
    ///
    /// # Errors
    /// When it is missing or of another rank.
    pub fn class_last(&self, name: &str) -> Result<Tensor, ParityError> {
        Ok(self.get(name)?.transpose(1, 2)?.contiguous()?)
    }

    /// All elements as f64.
    ///
    /// # Errors
    /// When the tensor is missing.
    pub fn f64(&self, name: &str) -> Result<Vec<f64>, ParityError> {
        Ok(self.get(name)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
    }

    /// All elements as f32.
    ///
    /// # Errors
    /// When the tensor is missing.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, ParityError> {
        Ok(self.get(name)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    /// All elements as ids.
    ///
    /// # Errors
    /// When the tensor is missing, or an element is negative or too large.
    pub fn ids(&self, name: &str) -> Result<Vec<u32>, ParityError> {
        let wide: Vec<i64> = self.get(name)?.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?;
        wide.into_iter()
            .map(|id| u32::try_from(id).map_err(|_| self.unusable(name, &format!("holds {id}, no id"))))
            .collect()
    }

    /// All elements as timesteps or other counts.
    ///
    /// # Errors
    /// As [`Self::ids`].
    pub fn counts(&self, name: &str) -> Result<Vec<usize>, ParityError> {
        Ok(self.ids(name)?.into_iter().map(|id| id as usize).collect())
    }

    /// The one element of a scalar (or of a tensor of one element).
    ///
    /// # Errors
    /// When the tensor is missing or has no element.
    pub fn scalar(&self, name: &str) -> Result<f64, ParityError> {
        self.f64(name)?.first().copied().ok_or_else(|| self.unusable(name, "is empty"))
    }

    /// A number of the metadata.
    ///
    /// # Errors
    /// When it is missing or does not parse.
    pub fn number<T: FromStr>(&self, key: &str) -> Result<T, ParityError> {
        let found = self.metadata.get(key);
        found.and_then(|text| text.trim().parse().ok()).ok_or_else(|| ParityError::Metadata {
            file: self.file.clone(),
            key: key.to_owned(),
            expected: "a number",
            found: found.cloned().unwrap_or_else(|| "nothing".into()),
        })
    }

    /// A number of the metadata, where it is there.
    #[must_use]
    pub fn number_if_any<T: FromStr>(&self, key: &str) -> Option<T> {
        self.metadata.get(key).and_then(|text| text.trim().parse().ok())
    }

    /// A list of numbers of the metadata, as Python prints one: `[1, 2]` or `(1, 2)`.
    ///
    /// # Errors
    /// When it is missing or does not parse.
    pub fn numbers(&self, key: &str) -> Result<Vec<usize>, ParityError> {
        let found = self.metadata.get(key).map_or("nothing", String::as_str);
        let inside = found.trim().trim_matches(['[', ']', '(', ')']);
        inside
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| item.parse().ok())
            .collect::<Option<Vec<usize>>>()
            .filter(|_| self.metadata.contains_key(key))
            .ok_or_else(|| ParityError::Metadata {
                file: self.file.clone(),
                key: key.to_owned(),
                expected: "a list of numbers",
                found: found.to_owned(),
            })
    }

    /// The metadata as one JSON object, numbers and lists among its texts as what they are.
    #[must_use]
    pub fn metadata_as_json(&self) -> String {
        let value = |text: &String| {
            serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::String(text.clone()))
        };
        let fields = self.metadata.iter().map(|(name, text)| (name.clone(), value(text)));
        serde_json::Value::Object(fields.collect()).to_string()
    }

    /// A text of the metadata.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The error about one of its tensors.
    #[must_use]
    pub fn unusable(&self, tensor: &str, reason: &str) -> ParityError {
        ParityError::Tensor { file: self.file.clone(), tensor: tensor.to_owned(), reason: reason.to_owned() }
    }
}
