//! Errors of the clip module, in words for the musician: they are shown as they are.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a sound could not be finished, converted, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// The model produced NaN or infinity.
    #[error("The sound is broken: sample {index} is {value}. Try another seed.")]
    NotFinite {
        /// Index of the first such sample.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// The model produced nothing audible.
    #[error("The sound came out silent (peak {peak_db:.0} dBFS). Try another seed or other words.")]
    Silent {
        /// Peak level in dB below full scale (`-inf` for digital silence).
        peak_db: f32,
    },
    /// A sample rate that cannot be converted from or to.
    #[error("A sample rate of {found} Hz is not possible: it must be between {least} and {most} Hz.")]
    SampleRate {
        /// The rate given, in Hz.
        found: u32,
        /// Lowest rate possible, in Hz.
        least: u32,
        /// Highest rate possible, in Hz.
        most: u32,
    },
    /// The sample-rate conversion failed.
    #[error("Converting the sound from {from_hz} to {to_hz} Hz failed: {reason}")]
    Resample {
        /// Rate of the input, in Hz.
        from_hz: u32,
        /// Rate wanted, in Hz.
        to_hz: u32,
        /// What the converter said.
        reason: String,
    },
    /// A file could not be written; a file that was there before is unchanged.
    #[error("Could not save \"{}\": {}.", path.display(), io_reason(source))]
    Write {
        /// The file to be written.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("Could not open \"{}\": {}.", path.display(), io_reason(source))]
    Read {
        /// The file to be read.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is not a WAV file that can be used.
    #[error("\"{}\" is not a usable WAV file: {reason}.", path.display())]
    BadWav {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The sound stored in a project cannot be restored.
    #[error("The sound saved in this project cannot be restored: {reason}.")]
    BadState {
        /// What is wrong with it.
        reason: String,
    },
    /// The sound stored in a project comes from a later version of SoundLoCD.
    #[error(
        "The sound saved in this project needs a newer SoundLoCD (format {found}; this one knows {known})."
    )]
    NewerState {
        /// The state's format version.
        found: u16,
        /// The newest that this version reads.
        known: u16,
    },
}

impl ClipError {
    /// A [`Self::Write`]; for `map_err(ClipError::write(path))`.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    /// A [`Self::Read`]; for `map_err(ClipError::read(path))`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { path: path.to_owned(), source }
    }
}

/// The cause of a file error without the operating system's jargon where it is a common one.
pub(super) fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full".into(),
        io::ErrorKind::PermissionDenied => "you may not write or read there".into(),
        io::ErrorKind::ReadOnlyFilesystem => "the disk is write-protected".into(),
        io::ErrorKind::NotFound => "the folder or file does not exist".into(),
        io::ErrorKind::NotADirectory => "part of the path is a file, not a folder".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        io::ErrorKind::AlreadyExists => "there is another file of that name".into(),
        _ => error.to_string(),
    }
}
