//! What the engine tells a client about its requests.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::generator::{Preview, Timings};
use crate::clip::Clip;

/// Names one submitted request; unique within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(u64);

impl JobId {
    /// One that no other call returns.
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// News of one request. Each request ends with exactly one of [`Event::Finished`],
/// [`Event::Cancelled`] and [`Event::Failed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// It waits. Sent on submission, and again while it waits whenever `ahead` has changed.
    Queued {
        /// The request.
        job: JobId,
        /// Requests that get a turn before it, as far as is known now.
        ahead: usize,
    },
    /// It is its turn, and the model is being loaded first.
    Loading {
        /// The request.
        job: JobId,
    },
    /// The model is loaded, and there is something to say about it.
    Notice {
        /// The request.
        job: JobId,
        /// For the musician.
        message: String,
    },
    /// A step is done. A later one replaces it if it has not been received by then.
    Progress {
        /// The request.
        job: JobId,
        /// The variation being made, from 0.
        variation: u32,
        /// Denoising steps done.
        step: u32,
        /// Denoising steps in all.
        steps: u32,
        /// Estimated time until this variation's clip, in seconds; `None` until there is a step
        /// to go by.
        eta_seconds: Option<f32>,
        /// The partly denoised sound, the latest that was made.
        preview: Option<Arc<Preview>>,
    },
    /// One variation is finished.
    Clip {
        /// The request.
        job: JobId,
        /// The variation, from 0.
        variation: u32,
        /// The sound.
        clip: Arc<Clip>,
        /// What took how long.
        timings: Timings,
    },
    /// One of several variations gave no usable sound (silence, say); the others go on.
    Skipped {
        /// The request.
        job: JobId,
        /// The variation, from 0.
        variation: u32,
        /// Why, for the musician.
        message: String,
    },
    /// All variations are made.
    Finished {
        /// The request.
        job: JobId,
    },
    /// It was cancelled; variations that had been sent before remain good.
    Cancelled {
        /// The request.
        job: JobId,
    },
    /// It could not be served; variations that had been sent before remain good.
    Failed {
        /// The request.
        job: JobId,
        /// Why, for the musician.
        message: String,
    },
}

impl Event {
    /// The request that this is about.
    #[must_use]
    pub fn job(&self) -> JobId {
        match self {
            Self::Queued { job, .. }
            | Self::Loading { job }
            | Self::Notice { job, .. }
            | Self::Progress { job, .. }
            | Self::Clip { job, .. }
            | Self::Skipped { job, .. }
            | Self::Finished { job }
            | Self::Cancelled { job }
            | Self::Failed { job, .. } => *job,
        }
    }

    /// Whether this is the last event of its request.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Cancelled { .. } | Self::Failed { .. })
    }
}
