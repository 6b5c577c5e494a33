//! The sampler: sixteen pads that play clips polyphonically from notes, on the audio thread.
//!
//! Everything here obeys the rules of that thread: after [`Sampler::new`] nothing allocates, frees,
//! locks, waits or logs. The output depends only on the clips, the settings and the events with
//! their times in samples; how the host cuts time into blocks changes no bit of it.
//!
//! A note starts a voice on every [`pad`] that has a clip and whose range has the key. A [`voice`] takes
//! its [`path`] through the clip (range, direction, loop with [`crossfade`]), reads it between its samples
//! ([`interpolation`], from the octave copies of [`source`]), gives it [`air`], and sends it through its [`filter`], its
//! [`width`] and its [`envelope`]. When voices run out, [`steal`] says which goes. What the player does meanwhile
//! is in [`channel`].
//!
//! Nothing clicks: every cut is a fade of at least 2 ms, every change of a level a ramp of 5 ms, of
//! the filter one of 10 ms.

pub mod air;
pub mod channel;
pub mod crossfade;
pub mod engine;
pub mod envelope;
pub mod filter;
pub mod handover;
pub mod interpolation;
pub mod note;
pub mod pad;
pub mod path;
pub mod playheads;
pub mod ramp;
pub mod source;
pub mod steal;
pub mod voice;
pub mod width;

#[cfg(test)]
mod click_tests;
#[cfg(test)]
mod reference;

pub use channel::{Controller, Expression};
pub use engine::{Master, Sampler, StereoOutput};
pub use envelope::EnvelopeTimes;
pub use filter::{FilterMode, FilterTarget};
pub use handover::Handover;
pub use note::NoteTag;
pub use pad::{PADS, PadOutput, PadSettings, PlayMode};
pub use playheads::{Playhead, Playheads};
pub use source::Source;

/// Voices that can sound at once, not counting those in their few milliseconds of being silenced.
pub const MAX_VOICES: usize = 32;
