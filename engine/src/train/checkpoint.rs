//! Checkpoints of a training run: one safetensors file, replaced atomically.

use super::AdamW;
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The file system refused.
    #[error("checkpoint {path}: {source}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a safetensors file of this kind.
    #[error("checkpoint {path}: {reason}")]
    Format {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tensors do not fit the model.
    #[error("checkpoint {path}: {source}")]
    Model {
        /// The file concerned.
        path: PathBuf,
        /// Which tensor, expected and found.
        source: candle_core::Error,
    },
}

/// What a checkpoint file holds besides tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Steps taken.
    pub step: u64,
    /// The model's configuration as JSON.
    pub config: String,
    /// Training time so far, in seconds.
    pub seconds: f64,
}

impl Checkpoint {
    /// Writes `self`, the optimizers' states (prefixed by their names) and `extra` tensors to `path`, through a temporary file.
    ///
    /// # Errors
    /// When the file cannot be written; an older checkpoint of that name then still stands.
    pub fn save(
        &self,
        path: &Path,
        optimizers: &[(&str, &AdamW)],
        extra: &BTreeMap<String, Tensor>,
    ) -> Result<(), TrainError> {
        let mut tensors: Vec<(String, Tensor)> =
            extra.iter().map(|(name, t)| (format!("extra.{name}"), t.clone())).collect();
        let mut metadata = HashMap::from([
            ("step".to_owned(), self.step.to_string()),
            ("config".to_owned(), self.config.clone()),
            ("seconds".to_owned(), self.seconds.to_string()),
        ]);
        for (prefix, optimizer) in optimizers {
            tensors.extend(optimizer.tensors().into_iter().map(|(name, t)| (format!("{prefix}.{name}"), t)));
            metadata.insert(format!("{prefix}.step"), optimizer.step_count().to_string());
        }
        let partial = path.with_extension("partial");
        let io = |source| TrainError::Io { path: path.to_owned(), source };
        safetensors::serialize_to_file(tensors, Some(metadata), &partial)
            .map_err(|e| TrainError::Format { path: path.to_owned(), reason: e.to_string() })?;
        std::fs::rename(&partial, path).map_err(io)
    }

    /// Reads a checkpoint back into the optimizers' variables; returns it with the extra tensors.
    ///
    /// # Errors
    /// When the file is damaged or of another model.
    pub fn load(
        path: &Path,
        optimizers: &mut [(&str, &mut AdamW)],
        device: &Device,
    ) -> Result<(Self, BTreeMap<String, Tensor>), TrainError> {
        let format = |reason: String| TrainError::Format { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|source| TrainError::Io { path: path.to_owned(), source })?;
        let (_, header) =
            safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| format(e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let number = |key: &str| -> Result<u64, TrainError> {
            let text = metadata.get(key).ok_or_else(|| format(format!("no `{key}` in the header")))?;
            text.parse().map_err(|_| format(format!("`{key}` should be a number, found {text:?}")))
        };
        let tensors = candle_core::safetensors::load_buffer(&bytes, device)
            .map_err(|source| TrainError::Model { path: path.to_owned(), source })?;
        for (prefix, optimizer) in optimizers.iter_mut() {
            let start = format!("{prefix}.");
            let own = tensors
                .iter()
                .filter_map(|(name, t)| Some((name.strip_prefix(&start)?.to_owned(), t.clone())))
                .collect();
            optimizer
                .restore(&own, number(&format!("{prefix}.step"))?)
                .map_err(|source| TrainError::Model { path: path.to_owned(), source })?;
        }
        let extra = tensors
            .iter()
            .filter_map(|(name, t)| Some((name.strip_prefix("extra.")?.to_owned(), t.clone())))
            .collect();
        let seconds = metadata.get("seconds").and_then(|s| s.parse().ok()).unwrap_or(0.0);
        let config = metadata.get("config").cloned().unwrap_or_default();
        Ok((Self { step: number("step")?, config, seconds }, extra))
    }
}
