//! What a file is to say beyond the sound and where it comes from.

use std::ops::Range;

use crate::SAMPLE_RATE;

/// How a clip is written to a file, and what the file says to samplers and sound libraries.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// Rate of the file, in Hz: [`crate::clip::MIN_RATE`]..=[`crate::clip::MAX_RATE`].
    pub sample_rate: u32,
    /// The MIDI key at which the sound is what it is, with the fraction of a semitone (60.0 is middle C, 60.5 a
    /// quarter tone above it). Left out of the file unless within 0.0..128.0.
    pub root_key: Option<f32>,
    /// The samples that repeat while a key is held, counted in the clip at [`SAMPLE_RATE`] and converted to the file's
    /// rate. Left out of the file if empty or not within the clip.
    pub loop_range: Option<Range<usize>>,
    /// Tempo in beats per minute. Written if the loop is the whole clip: then the file is a loop for
    /// programs that stretch such. Left out unless within 1.0..=1000.0.
    pub tempo: Option<f32>,
    /// Who made the sound; may be empty.
    pub artist: String,
    /// Words to find the sound by, besides those of the prompt.
    pub keywords: Vec<String>,
}

impl Default for Export {
    /// The clip as it is, at [`SAMPLE_RATE`].
    fn default() -> Self {
        Self::at(SAMPLE_RATE)
    }
}

impl Export {
    /// The plain clip at `sample_rate` Hz.
    #[must_use]
    pub fn at(sample_rate: u32) -> Self {
        Self {
            sample_rate,
            root_key: None,
            loop_range: None,
            tempo: None,
            artist: String::new(),
            keywords: Vec::new(),
        }
    }

    /// The loop of a clip of `len` samples, if there is one.
    pub(super) fn loop_within(&self, len: usize) -> Option<Range<usize>> {
        self.loop_range.clone().filter(|range| range.start < range.end && range.end <= len)
    }
}
