//! Errors of decoding, in words that follow the file's name.

use std::io;

use super::{MAX_RATE, MIN_RATE, MOST_CHANNELS, SUPPORTED};
use crate::clip::{ClipError, error::io_reason};

/// Why a sound file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It could not be read.
    #[error("{}", io_reason(.0))]
    Io(#[from] io::Error),
    /// A folder, a device, a pipe.
    #[error("it is not a file")]
    NoFile,
    /// Not one byte.
    #[error("the file is empty")]
    Empty,
    /// Of a kind that is known but not read.
    #[error("it is {kind}, which cannot be read; convert it to {SUPPORTED}")]
    Kind {
        /// Its name, with an article.
        kind: &'static str,
    },
    /// Nothing that is known.
    #[error("it is no sound file of a kind that can be read: {SUPPORTED}")]
    Unknown,
    /// Of a kind that is read, with a content that is not.
    #[error("it is a variant that cannot be read ({what})")]
    Variant {
        /// What the decoder said.
        what: &'static str,
    },
    /// A container without a track of sound.
    #[error("there is no sound in it")]
    NoSound,
    /// A rate that no recording has.
    #[error("its sample rate is {found} Hz; {MIN_RATE} to {MAX_RATE} can be read")]
    SampleRate {
        /// The rate, in Hz.
        found: u32,
    },
    /// A number of channels that no recording has.
    #[error("it claims to have {found} channels; 1 to {MOST_CHANNELS} can be read")]
    Channels {
        /// The number.
        found: usize,
    },
    /// It ends before the first sample.
    #[error("it is cut off: the file ends before its sound begins")]
    CutOff,
    /// It breaks the rules of its kind.
    #[error("it is damaged ({reason})")]
    Damaged {
        /// How, as the decoder said.
        reason: String,
    },
    /// NaN or infinity among the samples.
    #[error("it has samples that are not numbers")]
    NotNumbers,
    /// The conversion of its sample rate failed.
    #[error(transparent)]
    Convert(#[from] ClipError),
}

impl DecodeError {
    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged { reason: reason.into() }
    }
}
