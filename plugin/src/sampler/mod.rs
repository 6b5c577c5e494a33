//! The sampler: plays a clip polyphonically from notes, on the audio thread.
//!
//! Everything here obeys the rules of that thread: after [`Sampler::new`] nothing allocates, frees,
//! locks, waits or logs. The output depends only on the clip, the settings and the events with
//! their times in samples; how the host cuts time into blocks changes no bit of it.

pub mod engine;
pub mod envelope;
pub mod handover;
pub mod interpolation;
pub mod playheads;
pub mod source;
pub mod voice;

pub use engine::{NoteTag, Sampler, SamplerSettings};
pub use envelope::EnvelopeTimes;
pub use handover::Handover;
pub use playheads::Playheads;
pub use source::Source;

/// Voices that can sound at once, not counting those in their few milliseconds of being silenced.
pub const MAX_VOICES: usize = 32;
