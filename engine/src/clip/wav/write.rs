//! The file itself: RIFF chunks around 24-bit samples.

use std::path::Path;

use super::metadata;
use crate::{
    SAMPLE_RATE,
    clip::{Analysis, Clip, ClipError, file::write_atomically, grid, resample},
};

/// Bytes of a sample.
const SAMPLE_BYTES: u16 = 3;

/// Writes `clip` to `path` as 24-bit PCM at `sample_rate` Hz, converted if that is not
/// [`SAMPLE_RATE`]. At [`SAMPLE_RATE`] the samples are those of the clip, bit for bit.
///
/// The file appears under its name when it is complete, in place of one of that name.
///
/// # Errors
/// [`ClipError::SampleRate`] and [`ClipError::Resample`] from the conversion;
/// [`ClipError::Write`] when it cannot be written: whatever was at `path` is unchanged.
pub fn write(path: &Path, clip: &Clip, sample_rate: u32) -> Result<(), ClipError> {
    let bytes = encode(clip, sample_rate)?;
    write_atomically(path, &bytes).map_err(ClipError::write(path))
}

/// The bytes of the file.
fn encode(clip: &Clip, sample_rate: u32) -> Result<Vec<u8>, ClipError> {
    let audio = resample(&clip.audio, SAMPLE_RATE, sample_rate)?;
    let levels = Analysis::of(&clip.audio);
    let mut body = b"WAVE".to_vec();
    chunk(&mut body, b"fmt ", &format(sample_rate));
    // Before the samples, where programs that stop reading at them find it too.
    chunk(&mut body, b"bext", &metadata::bext(&clip.provenance, &levels));
    chunk(&mut body, b"iXML", &metadata::ixml(&clip.provenance));
    chunk(&mut body, b"LIST", &metadata::info(&clip.provenance));
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
