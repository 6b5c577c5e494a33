//! A sound file of any supported kind to mono sound at [`SAMPLE_RATE`].

mod error;
mod kind;
mod opus;

use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use symphonia::core::{
    codecs::audio::{AudioCodecParameters, AudioDecoderOptions},
    errors::Error as Fault,
    formats::{FormatOptions, TrackType, probe::Hint},
    io::MediaSourceStream,
    meta::MetadataOptions,
};

use super::{MAX_RATE, MAX_SAMPLES, MIN_RATE, resample};
use crate::SAMPLE_RATE;
pub use error::DecodeError;
pub use kind::SUPPORTED;
use kind::{FileKind, HEAD};

/// More channels than any recording has: third-order ambisonics has 16.
const MOST_CHANNELS: usize = 64;
/// More sample frames than any codec packs together (FLAC: 65,535).
const LONGEST_PACKET: u64 = 1 << 17;

/// What a sound file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Mono samples at [`SAMPLE_RATE`], full scale 1.0; channels are averaged. Lossy kinds may exceed
    /// full scale a little.
    pub audio: Vec<f32>,
    /// Whether the file goes on where the limit was reached.
    pub is_cut: bool,
}

/// Decodes `path` ([`SUPPORTED`], told apart by what is in it), at most the first `most_seconds`, in memory that follows
/// from these alone. Of a file that is cut off or damaged further on, what comes before is kept.
///
/// # Errors
/// Where the file cannot be read, is damaged from the start or of another kind. The error does not say which file it is:
/// whoever knows it by a better name than its path puts that before the message.
pub fn decode(path: &Path, most_seconds: usize) -> Result<Decoded, DecodeError> {
    let most_seconds = most_seconds.min(MAX_SAMPLES / SAMPLE_RATE as usize);
    // A decoder that trips over one strange file must not end the whole program.
    catch_unwind(AssertUnwindSafe(|| decode_file(path, most_seconds)))
        .unwrap_or_else(|_| Err(DecodeError::damaged("in a way that the decoder did not expect")))
}

fn decode_file(path: &Path, most_seconds: usize) -> Result<Decoded, DecodeError> {
    // A pipe would be waited for.
    if !std::fs::metadata(path)?.is_file() {
        return Err(DecodeError::NoFile);
    }
    let mut file = File::open(path)?;
    let mut head = Vec::with_capacity(HEAD);
    (&mut file).take(HEAD as u64).read_to_end(&mut head)?;
    file.rewind()?;
    if head.is_empty() {
        return Err(DecodeError::Empty);
    }
    let (mut audio, rate) = match FileKind::of(&head) {
        FileKind::Opus => {
            let most = most_seconds * opus::SAMPLE_RATE as usize;
            (opus::decode(BufReader::new(file), most + 1)?, opus::SAMPLE_RATE)
        }
        FileKind::Refused(kind) => return Err(DecodeError::Kind { kind }),
        FileKind::Other => with_symphonia(file, most_seconds)?,
    };
    let most = most_seconds * rate as usize;
    let is_cut = audio.len() > most;
    audio.truncate(most);
    if !audio.iter().all(|sample| sample.is_finite()) {
        return Err(DecodeError::NotNumbers);
    }
    Ok(Decoded { audio: resample(&audio, rate, SAMPLE_RATE)?, is_cut })
}

/// Decodes what symphonia knows, averaging the channels, and some samples beyond the limit if there are more. Returns
/// samples and their rate.
fn with_symphonia(file: File, most_seconds: usize) -> Result<(Vec<f32>, u32), DecodeError> {
    let source = MediaSourceStream::new(Box::new(file), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), source, FormatOptions::default(), MetadataOptions::default())
        .map_err(in_words)?;
    let track = format.default_track(TrackType::Audio).ok_or(DecodeError::NoSound)?;
    let id = track.id;
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or(DecodeError::NoSound)?;
    check(parameters)?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(in_words)?;

    let (mut audio, mut rate, mut limit) = (Vec::new(), 0, usize::MAX);
    let mut interleaved: Vec<f32> = Vec::new();
    let mut first_fault = None;
    while audio.len() <= limit {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(fault) => {
                first_fault.get_or_insert(fault);
                break;
            }
        };
        if packet.track_id != id {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(decoded) => {
                let (channels, rate_now) = (decoded.num_planes(), decoded.spec().rate());
                if rate == 0 {
                    if !(MIN_RATE..=MAX_RATE).contains(&rate_now) {
                        return Err(DecodeError::SampleRate { found: rate_now });
                    }
                    (rate, limit) = (rate_now, most_seconds * rate_now as usize);
                }
                // A stream may be chained to another one; the first is the recording.
                if rate_now != rate || channels == 0 {
                    break;
                }
                decoded.copy_to_vec_interleaved(&mut interleaved);
                let frames = interleaved.chunks_exact(channels);
                audio.extend(frames.map(|frame| frame.iter().sum::<f32>() / channels as f32));
            }
            // An MP3 cut out of a longer one begins with packets that refer to what is not there.
            Err(fault @ Fault::DecodeError(_)) if audio.is_empty() => {
                first_fault.get_or_insert(fault);
            }
            Err(fault) => {
                first_fault.get_or_insert(fault);
                break;
            }
        }
    }
    match first_fault {
        Some(fault) if audio.is_empty() => Err(in_words(fault)),
        _ => Ok((audio, rate.max(MIN_RATE))),
    }
}

/// Refuses what a header may claim but no recording has: the decoder would allocate by it.
fn check(parameters: &AudioCodecParameters) -> Result<(), DecodeError> {
    let channels = parameters.channels.as_ref().map_or(1, |channels| channels.count());
    if !(1..=MOST_CHANNELS).contains(&channels) {
        return Err(DecodeError::Channels { found: channels });
    }
    let longest = parameters.max_frames_per_packet.unwrap_or_default();
    if longest > LONGEST_PACKET {
        return Err(DecodeError::damaged(format!("it claims to have packets of {longest} samples")));
    }
    Ok(())
}

/// symphonia's error as a musician would put it.
fn in_words(fault: Fault) -> DecodeError {
    match fault {
        Fault::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => DecodeError::CutOff,
        Fault::IoError(error) => error.into(),
        Fault::Unsupported(what) if what.contains("no suitable format reader") => DecodeError::Unknown,
        Fault::Unsupported(what) => DecodeError::Variant { what },
        Fault::DecodeError(what) | Fault::LimitError(what) => DecodeError::damaged(what),
        fault => DecodeError::damaged(fault.to_string()),
    }
}

#[cfg(test)]
mod tests;
