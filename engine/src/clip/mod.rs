//! Finished sounds: a [`Clip`] is trimmed, faded, levelled audio with its [`Provenance`].
//!
//! [`wav`] writes it to files and reads it back, [`state`] stores it in a project without loss,
//! [`resample()`] brings it to the host's rate, [`Analysis`] measures it.

mod analysis;
mod error;
mod file;
mod finish;
mod flac;
mod grid;
mod loudness;
mod provenance;
mod resample;
pub mod state;
#[cfg(test)]
mod test_support;
pub mod wav;

pub use analysis::{Analysis, from_db, to_db};
pub use error::ClipError;
pub use finish::{CEILING_DB, SILENCE_DB, TARGET_LUFS};
pub use provenance::{AdapterUse, Provenance};
pub use resample::{MAX_RATE, MIN_RATE, resample};

use std::sync::Arc;

use crate::SAMPLE_RATE;

/// Longest clip that project state and files may hold, in samples (two minutes): a bound on what
/// is allocated for bytes from outside.
pub const MAX_SAMPLES: usize = 120 * SAMPLE_RATE as usize;

/// A finished sound. Cheap to clone; the audio never changes once it exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Mono samples at [`SAMPLE_RATE`], full scale 1.0, each exactly `k / 8388608` for an integer
    /// `-8388608 <= k <= 8388607` (24 bits), so that files and project state keep them bit for bit.
    pub audio: Arc<[f32]>,
    /// What it was made from.
    pub provenance: Provenance,
}

impl Clip {
    /// Makes a clip of the vocoder's `raw` output (mono, [`SAMPLE_RATE`]): cut to
    /// `requested_seconds`, silence at both ends trimmed, short fades, levelled to
    /// [`TARGET_LUFS`] or a true peak of [`CEILING_DB`], whichever comes first, and put on the
    /// 24-bit grid.
    ///
    /// # Errors
    /// [`ClipError::NotFinite`] for NaN or infinity in `raw`, [`ClipError::Silent`] if its peak
    /// is below [`SILENCE_DB`].
    pub fn finish(raw: &[f32], requested_seconds: f32, provenance: Provenance) -> Result<Self, ClipError> {
        let audio = finish::finish(raw, requested_seconds)?;
        Ok(Self { audio: audio.into(), provenance })
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f32 {
        self.audio.len() as f32 / SAMPLE_RATE as f32
    }
}
