//! WAV files: 24-bit mono with everything known about the sound inside.
//!
//! Metadata goes in three forms, for the programs that read each: LIST INFO (title, prompt,
//! date, program; the provenance as JSON in the comment), bext (Broadcast Wave, EBU Tech 3285
//! version 2, with the loudness) and iXML (a note).

mod metadata;
mod read;
mod write;

pub use read::{WavAudio, read};
pub use write::write;

#[cfg(test)]
mod tests;
