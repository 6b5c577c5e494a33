//! The file itself: RIFF chunks around 24-bit samples.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::{Export, Naming, file_name, ixml::ixml, metadata, sampler};
use crate::{
    SAMPLE_RATE,
    clip::{
        Analysis, Clip, ClipError,
        file::{write_atomically, write_new},
        grid, resample,
    },
};

/// Bytes of a sample.
const SAMPLE_BYTES: u16 = 3;

/// Names tried for one file: the plain one and those with a number.
const MAX_TRIES: u32 = 9_999;

/// Writes `clip` to `path` as 24-bit PCM at `sample_rate` Hz, converted if that is not
/// [`SAMPLE_RATE`]. At [`SAMPLE_RATE`] the samples are those of the clip, bit for bit.
///
/// The file appears under its name when it is complete, in place of one of that name.
///
/// # Errors
/// [`ClipError::SampleRate`] and [`ClipError::Resample`] from the conversion;
/// [`ClipError::Write`] when it cannot be written: whatever was at `path` is unchanged.
pub fn write(path: &Path, clip: &Clip, sample_rate: u32) -> Result<(), ClipError> {
    let bytes = encode(clip, &Export::at(sample_rate))?;
    write_atomically(path, &bytes).map_err(ClipError::write(path))
}

/// Writes `clip` into `folder` under the name that `naming` gives it, or, if that is taken, the same with the next
/// free number. Returns the path. The folder is made if it is missing.
///
/// The file appears under its name when it is complete, and never in place of another, even if two programs
/// write the same at once.
///
/// # Errors
/// As [`write()`].
pub fn save(folder: &Path, clip: &Clip, naming: &Naming, export: &Export) -> Result<PathBuf, ClipError> {
    write_under_free_name(folder, &naming.stem(&clip.provenance), &encode(clip, export)?)
}

/// Writes `bytes` into `folder` under the name that `stem` gives, as [`save()`] does.
///
/// # Errors
/// [`ClipError::Write`].
pub fn write_under_free_name(folder: &Path, stem: &str, bytes: &[u8]) -> Result<PathBuf, ClipError> {
    fs::create_dir_all(folder).map_err(ClipError::write(folder))?;
    under_free_name(folder, stem, |path| write_new(path, bytes))
        .map_err(ClipError::write(&folder.join(file_name(stem, 1))))
}

/// Calls `place` with the paths of the names that `stem` may have in `folder`, one after the other, until it finds one that is
/// free; returns that. `place` must refuse a name that is taken with [`ErrorKind::AlreadyExists`] and then
/// leave everything as it is.
///
/// # Errors
/// Any other error of `place`, and `AlreadyExists` if ten thousand names are taken.
pub fn under_free_name(
    folder: &Path,
    stem: &str,
    mut place: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    for number in 1..=MAX_TRIES {
        let path = folder.join(file_name(stem, number));
        match place(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// The bytes of the file.
///
/// # Errors
/// [`ClipError::SampleRate`] and [`ClipError::Resample`] from the conversion.
pub fn encode(clip: &Clip, export: &Export) -> Result<Vec<u8>, ClipError> {
    let sample_rate = export.sample_rate;
    let audio = resample(&clip.audio, SAMPLE_RATE, sample_rate)?;
    let levels = Analysis::of(&clip.audio);
    let mut body = b"WAVE".to_vec();
    chunk(&mut body, b"fmt ", &format(sample_rate));
    // Before the samples, where programs that stop reading at them find it too.
    chunk(&mut body, b"bext", &metadata::bext(&clip.provenance, &levels, sample_rate));
    chunk(&mut body, b"iXML", &ixml(&clip.provenance, export));
    chunk(&mut body, b"LIST", &metadata::info(&clip.provenance, export));
    if let Some(smpl) = sampler::smpl(export, clip.audio.len()) {
        chunk(&mut body, b"smpl", &smpl);
    }
    if let Some(acid) = sampler::acid(export, clip.audio.len()) {
        chunk(&mut body, b"acid", &acid);
    }
    let samples: Vec<u8> = audio.iter().flat_map(|&x| low_24_bits(grid::to_i24(x))).collect();
    chunk(&mut body, b"data", &samples);
    let mut bytes = Vec::with_capacity(body.len() + 8);
    chunk(&mut bytes, b"RIFF", &body);
    Ok(bytes)
}

/// WAVEFORMAT for one channel of 24-bit PCM.
fn format(sample_rate: u32) -> Vec<u8> {
    const PCM: u16 = 1;
    let mut format = Vec::with_capacity(16);
    format.extend(PCM.to_le_bytes());
    format.extend(1u16.to_le_bytes());
    format.extend(sample_rate.to_le_bytes());
    format.extend((sample_rate * u32::from(SAMPLE_BYTES)).to_le_bytes());
    format.extend(SAMPLE_BYTES.to_le_bytes());
    format.extend((8 * SAMPLE_BYTES).to_le_bytes());
    format
}

/// A sample, little-endian.
fn low_24_bits(value: i32) -> [u8; 3] {
    let [a, b, c, _] = value.to_le_bytes();
    [a, b, c]
}

/// Appends a chunk: name, size, content, and a byte of padding to an even length.
///
/// Sizes are 32 bits wide; clips ([`crate::clip::MAX_SAMPLES`]) stay far below that at any rate.
pub(super) fn chunk(to: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    to.extend(name);
    to.extend((content.len() as u32).to_le_bytes());
    to.extend(content);
    if !content.len().is_multiple_of(2) {
        to.push(0);
    }
}
