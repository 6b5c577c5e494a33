//! Finished sounds: a [`Clip`] is trimmed, faded, levelled audio with its [`Provenance`].
//!
//! [`wav`] writes it to files and reads it back, [`decode()`] reads the sound files of other programs, [`state`] stores it
//! in a project without loss, [`resample()`] brings it to the host's rate, [`Analysis`] measures it.

mod analysis;
mod decode;
mod error;
mod file;
mod finish;
mod flac;
mod grid;
mod limiter;
mod loudness;
mod provenance;
mod resample;
pub mod state;
#[cfg(test)]
mod test_support;
mod token_bytes;
mod tokens;
pub mod wav;

pub use analysis::{Analysis, from_db, to_db};
pub use decode::{DecodeError, Decoded, SUPPORTED, decode};
pub use error::ClipError;
pub use file::write_atomically;
pub(crate) use finish::Ends;
pub use finish::{CEILING_DB, SILENCE_DB, TARGET_LUFS};
pub use grid::{snap, to_i24};
pub use provenance::{AdapterUse, EditNote, Provenance};
pub use resample::{MAX_RATE, MIN_RATE, resample};
pub use tokens::{GridError, Placement, Region, TokenGrid};

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
    /// The tokens that it was made of, where it comes from a model: what an
    /// [`Edit`](crate::service::Edit) starts from.
    pub grid: Option<Arc<TokenGrid>>,
    /// What goes round while a note is held, where it is made for that: the first sample, and the one after the
    /// last, from which it goes on at the first without a seam.
    pub loop_range: Option<(usize, usize)>,
}

impl Clip {
    /// A clip of samples that are on the 24-bit grid already, without tokens or a loop.
    #[must_use]
    pub fn new(audio: impl Into<Arc<[f32]>>, provenance: Provenance) -> Self {
        Self { audio: audio.into(), provenance, grid: None, loop_range: None }
    }

    /// Makes a clip of the vocoder's `raw` output (mono, [`SAMPLE_RATE`]): cut to
    /// `requested_seconds`, silence at both ends trimmed, short fades, levelled to
    /// [`TARGET_LUFS`] or a true peak of [`CEILING_DB`], whichever comes first, and put on the
    /// 24-bit grid.
    ///
    /// # Errors
    /// [`ClipError::NotFinite`] for NaN or infinity in `raw`, [`ClipError::Silent`] if its peak
    /// is below [`SILENCE_DB`].
    pub fn finish(raw: &[f32], requested_seconds: f32, provenance: Provenance) -> Result<Self, ClipError> {
        let (audio, _) = finish::finish(raw, samples(requested_seconds))?;
        Ok(Self::new(audio, provenance))
    }

    /// The same of the first `asked` samples, and how the clip lies in `raw`.
    pub(crate) fn finish_placed(
        raw: &[f32],
        asked: usize,
        provenance: Provenance,
    ) -> Result<(Self, Placement), ClipError> {
        let (audio, placement) = finish::finish(raw, asked)?;
        Ok((Self::new(audio, provenance), placement))
    }

    /// Makes a clip of a given part of `raw`. With a given gain only what would exceed [`CEILING_DB`] is made softer,
    /// where it does; without one it is levelled as by [`Self::finish`].
    pub(crate) fn cut(
        raw: &[f32],
        (first, samples): (usize, usize),
        gain: Option<f32>,
        ends: Ends,
        provenance: Provenance,
    ) -> Result<(Self, Placement), ClipError> {
        let (audio, placement) = finish::cut(raw, (first, samples), gain, ends)?;
        Ok((Self::new(audio, provenance), placement))
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f32 {
        self.audio.len() as f32 / SAMPLE_RATE as f32
    }
}

/// Seconds to samples; at least one, however short.
pub(crate) fn samples(seconds: f32) -> usize {
    ((f64::from(seconds) * f64::from(SAMPLE_RATE)).round() as usize).max(1)
}
