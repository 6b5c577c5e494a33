//! Reading WAV files: ours with their provenance, others as far as they are plain audio.

use std::{
    fs::File,
    io::{BufReader, Read},
    ops::Range,
    path::Path,
};

use super::{ixml, sampler};
use crate::{
    SAMPLE_RATE,
    clip::{ClipError, Provenance},
};

/// Largest file read, in bytes: several times the longest clip at the highest rate.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Bytes read in search of metadata before the samples: far more than ours has.
const MAX_HEAD_BYTES: u64 = 1 << 20;
/// Most chunks looked at in search of a loop, and the largest one that may hold it.
const MAX_CHUNKS: usize = 256;
const MAX_LOOP_BYTES: u32 = 1 << 16;

/// What a WAV file held.
#[derive(Clone, Debug, PartialEq)]
pub struct WavAudio {
    /// Mono samples, full scale 1.0; several channels are averaged.
    pub audio: Vec<f32>,
    /// Their rate in Hz.
    pub sample_rate: u32,
    /// Where the sound came from, if the file says so and it can be understood.
    pub provenance: Option<Provenance>,
    /// The part that loops, in samples of a clip at [`SAMPLE_RATE`], if the file has one.
    pub loop_range: Option<Range<usize>>,
}

/// Reads the WAV file at `path`: integer PCM of 8 to 32 bits or 32-bit float.
///
/// # Errors
/// [`ClipError::Read`] when it cannot be read, [`ClipError::BadWav`] when it is not a WAV file,
/// damaged, too large, or has no or non-finite samples. Metadata that is damaged or foreign is no
/// error, just no provenance.
pub fn read(path: &Path) -> Result<WavAudio, ClipError> {
    let file = File::open(path).map_err(ClipError::read(path))?;
    let mut bytes = Vec::new();
    // The limit holds for what is read, not for what the file system claims.
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(ClipError::read(path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let reason = format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20);
        return Err(ClipError::BadWav { path: path.to_owned(), reason });
    }
    decode(&bytes).map_err(|reason| ClipError::BadWav { path: path.to_owned(), reason })
}

/// Where the sound in the WAV file at `path` came from, if it is one and says so before its samples: the rest is not read.
#[must_use]
pub fn read_provenance(path: &Path) -> Option<Provenance> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(MAX_HEAD_BYTES).read_to_end(&mut head).ok()?;
    provenance(body(&head)?)
}

/// The part that loops of the sound in the WAV file at `path`, which has `len` samples at [`SAMPLE_RATE`]. What lies
/// between is passed over.
#[must_use]
pub fn read_loop(path: &Path, len: usize) -> Option<Range<usize>> {
    let mut file = BufReader::new(File::open(path).ok()?);
    let mut head = [0; 12];
    file.read_exact(&mut head).ok()?;
    body(&head)?;
    let (mut format, mut found) = (None, None);
    for _ in 0..MAX_CHUNKS {
        let mut head = [0; 8];
        if file.read_exact(&mut head).is_err() {
            break;
        }
        let (name, size) = head.split_first_chunk::<4>()?;
        let size = u32::from_le_bytes(*size.first_chunk()?);
        let is_wanted = matches!(name, b"fmt " | b"smpl") && size <= MAX_LOOP_BYTES;
        let padded = i64::from(size) + i64::from(size % 2);
        if !is_wanted {
            file.seek_relative(padded).ok()?;
            continue;
        }
        let mut content = Vec::new();
        file.by_ref().take(u64::from(size)).read_to_end(&mut content).ok()?;
        match name {
            b"fmt " => format = format.or(Format::of(&content)),
            _ => found = found.or(sampler::loop_in(&content)),
        }
        file.seek_relative(i64::from(size % 2)).ok()?;
    }
    sampler::of_rate(&found?, format?.sample_rate, len)
}

/// What follows the file's own header.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")
}

/// The file's content, or what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<WavAudio, String> {
    let body = body(bytes).ok_or("it does not begin like one")?;
    let find = |wanted: &[u8; 4]| chunks(body).find(|(name, _)| name == wanted).map(|(_, content)| content);
    let format = find(b"fmt ").and_then(Format::of).ok_or("the description of its samples is missing")?;
    let data = find(b"data").ok_or("it holds no samples, or ends too early")?;
    let audio = format.mono(data)?;
    if audio.is_empty() {
        return Err("it holds no sound".into());
    }
    if !audio.iter().all(|x| x.is_finite()) {
        return Err("it holds samples that are not numbers".into());
    }
    let len = (audio.len() as f64 * f64::from(SAMPLE_RATE) / f64::from(format.sample_rate)).round() as usize;
    let loop_range = find(b"smpl").and_then(sampler::loop_in);
    let loop_range = loop_range.and_then(|range| sampler::of_rate(&range, format.sample_rate, len));
    Ok(WavAudio { audio, sample_rate: format.sample_rate, provenance: provenance(body), loop_range })
}

/// The parts of WAVEFORMAT that matter.
struct Format {
    tag: u16,
    channels: u16,
    sample_rate: u32,
    bits: u16,
}

impl Format {
    const PCM: u16 = 1;
    const FLOAT: u16 = 3;
    const EXTENSIBLE: u16 = 0xFFFE;

    /// From the content of the fmt chunk; `None` if it is too short.
    fn of(content: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| content.get(at..)?.first_chunk().map(|&b| u16::from_le_bytes(b));
        let tag = u16_at(0)?;
        Some(Self {
            // WAVEFORMATEXTENSIBLE: the tag proper begins the sub-format's GUID.
            tag: if tag == Self::EXTENSIBLE { u16_at(24)? } else { tag },
            channels: u16_at(2)?,
            sample_rate: u32::from_le_bytes(*content.get(4..)?.first_chunk()?),
            bits: u16_at(14)?,
        })
    }

    /// The samples of the data chunk, channels averaged; an incomplete frame at the end is left
    /// out.
    fn mono(&self, data: &[u8]) -> Result<Vec<f32>, String> {
        if self.channels == 0 || self.sample_rate == 0 {
            return Err("it declares no channels or no sample rate".into());
        }
        let sample: fn(&[u8]) -> f32 = match (self.tag, self.bits) {
            // 8 bits are unsigned, more are signed.
            (Self::PCM, 8) => |b| match b {
                &[a] => (f32::from(a) - 128.0) / 128.0,
                _ => 0.0,
            },
            (Self::PCM, 16 | 24 | 32) => from_signed,
            (Self::FLOAT, 32) => |b| b.first_chunk().map_or(0.0, |&b| f32::from_le_bytes(b)),
            _ => {
                return Err(format!(
                    "its sample format ({} bits, kind {}) is not supported; integers of 8 to 32 bits and \
                     32-bit floats are",
                    self.bits, self.tag
                ));
            }
        };
        let channels = usize::from(self.channels);
        let sample_bytes = usize::from(self.bits / 8);
        let frames = data.chunks_exact(sample_bytes * channels);
        Ok(frames
            .map(|frame| frame.chunks_exact(sample_bytes).map(sample).sum::<f32>() / channels as f32)
            .collect())
    }
}

/// A little-endian signed integer of two to four bytes, full scale 1.0.
fn from_signed(bytes: &[u8]) -> f32 {
    // At the top of 32 bits whatever their number; full scale is 2^31 then. Exact up to 24 bits.
    let value = match *bytes {
        [a, b] => i32::from_le_bytes([0, 0, a, b]),
        [a, b, c] => i32::from_le_bytes([0, a, b, c]),
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]),
        _ => 0,
    };
    value as f32 / 2_147_483_648.0
}

/// The provenance in iXML; in files of the first versions, LIST INFO's comment.
fn provenance(body: &[u8]) -> Option<Provenance> {
    let mut ixml = chunks(body).filter(|(name, _)| name == b"iXML");
    ixml.find_map(|(_, content)| ixml::provenance(content)).or_else(|| provenance_in_comment(body))
}

fn provenance_in_comment(body: &[u8]) -> Option<Provenance> {
    let list = chunks(body)
        .filter(|(name, _)| name == b"LIST")
        .find_map(|(_, content)| content.strip_prefix(b"INFO"))?;
    let (_, comment) = chunks(list).find(|(name, _)| name == b"ICMT")?;
    let end = comment.iter().position(|&b| b == 0).unwrap_or(comment.len());
    Provenance::from_json(comment.get(..end)?)
}

/// The chunks of `bytes`, up to the first that is not whole.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (name, rest) = bytes.split_first_chunk::<4>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
        let (content, rest) = rest.split_at_checked(size)?;
        // Some programs leave out the padding at the very end.
        bytes = if size.is_multiple_of(2) { rest } else { rest.get(1..).unwrap_or_default() };
        Some((*name, content))
    })
}
