//! WAV files: 24-bit mono with everything known about the sound inside.
//!
//! Metadata goes in several forms, for the programs that read each: LIST INFO (title, prompt,
//! date, program, a comment), bext (Broadcast Wave, EBU Tech 3285 version 2, with the loudness), iXML (a note, the Universal
//! Category System's fields, and all of the provenance, which [`read()`] gives back), and for samplers and
//! loop players `smpl` and `acid`. [`Naming`] makes the files' names.

mod export;
mod ixml;
mod metadata;
mod naming;
mod read;
mod sampler;
mod ucs;
mod write;

pub use super::file::move_to_new;
pub use export::Export;
pub use metadata::date;
pub use naming::{Naming, file_name, legal_stem};
pub use read::{WavAudio, read, read_loop, read_provenance};
pub use ucs::{Category, categorize};
pub use write::{encode, save, under_free_name, write, write_under_free_name};

#[cfg(test)]
mod tests;
