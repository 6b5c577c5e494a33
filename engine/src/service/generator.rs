//! What the service drives: the [`Generator`] makes one clip at a time, on the engine's thread.

use std::{error::Error, ops::ControlFlow, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{edit::EditError, request::Request};
use crate::clip::{Clip, ClipError};

/// Makes sounds from requests. The real one holds a model pack; tests bring their own.
pub trait Generator: Send {
    /// Makes variation number `variation` (from 0) of `request`, which has been validated.
    ///
    /// `on_progress` is called after each denoising step and may be called between other stages;
    /// when it answers [`ControlFlow::Break`] the generator returns
    /// [`GenerateError::Cancelled`] at once.
    ///
    /// # Errors
    /// [`GenerateError::Cancelled`] as above; anything else is a failure of the model.
    fn generate(
        &mut self,
        request: &Request,
        variation: u32,
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Clip, GenerateError>;

    /// How long the stages of the last successful [`Self::generate`] took.
    fn timings(&self) -> Timings {
        Timings::default()
    }

    /// What is loaded.
    fn describe(&self) -> PackInfo;

    /// What the musician should know of how it was loaded: that it runs on the CPU, say, and why.
    fn notice(&self) -> Option<String> {
        None
    }
}

/// How far the current variation is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Denoising steps done, 0..=`steps`.
    pub step: u32,
    /// Denoising steps in all.
    pub steps: u32,
    /// The partly denoised sound, when the generator has made a picture of it for this step.
    pub preview: Option<Arc<Preview>>,
}

/// A log-mel picture of a sound that is still being made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preview {
    /// `80 x frames` values in [0, 1], row-major, lowest band first.
    pub mel: Vec<f32>,
    /// Frames (columns of the picture), 11.6 ms each.
    pub frames: usize,
}

/// Time spent in each stage of making one clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Tokenizing and encoding the prompt.
    pub text: Duration,
    /// Denoising the token grid.
    pub diffusion: Duration,
    /// Decoding tokens to a mel spectrogram.
    pub codec: Duration,
    /// Turning the spectrogram into sound.
    pub vocoder: Duration,
    /// Trimming, levelling, quantising.
    pub finish: Duration,
    /// From start to end, as the service measured it.
    pub total: Duration,
}

/// What a generator has loaded, for display and provenance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackInfo {
    /// Name of the model pack.
    pub name: String,
    /// SHA-256 of its manifest, in lower-case hexadecimal.
    pub hash: String,
    /// Licence of its weights.
    pub licence: String,
    /// Number of weights in all its parts.
    pub parameters: u64,
}

/// Why no clip was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The client asked to stop.
    #[error("Cancelled.")]
    Cancelled,
    /// The model ran, but its output is not a usable sound.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// The same, in words only: from a generator in another library.
    #[error("{0}")]
    Unusable(String),
    /// An adapter of the request cannot be used.
    #[error("An adapter cannot be used: {0}.")]
    Adapter(String),
    /// The sound that was to be edited does not fit the model.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A stage of the model failed.
    #[error("Making the sound failed while {stage}: {source}")]
    Stage {
        /// What was being done, as in "reading the prompt".
        stage: &'static str,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl GenerateError {
    /// Wraps the failure of a stage; for `map_err(|e| GenerateError::stage("...", e))`.
    pub fn stage(stage: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Stage { stage, source: source.into() }
    }
}
