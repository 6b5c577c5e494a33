//! A recording of any supported kind to mono sound at the model's rate.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use soundlocd_engine::SAMPLE_RATE;
use soundlocd_engine::clip::{MAX_RATE, MIN_RATE, resample};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoderOptions};
use symphonia::core::errors::Error as Fault;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::file_kind::{FileKind, HEAD, SUPPORTED};
use super::opus;

/// Longest sound that is kept, in seconds; the rest of a longer recording is dropped.
pub const LONGEST_SECONDS: usize = 10;
/// More channels than any recording has: third-order ambisonics has 16.
const MOST_CHANNELS: usize = 64;
/// More sample frames than any codec packs together (FLAC: 65,535).
const LONGEST_PACKET: u64 = 1 << 17;

/// Decodes `path` ([`SUPPORTED`], told apart by what is in it) to mono at 22.05 kHz, at most
/// [`LONGEST_SECONDS`] long. Of a file that is cut off or damaged further on, what comes before is kept.
///
/// # Errors
/// Where the file cannot be read, is damaged from the start or of another kind. Whoever knows the file by a better name
/// than its path puts it before the message.
pub fn decode(path: &Path) -> Result<Vec<f32>> {
    // A decoder that trips over one strange file of thousands must not end the whole run.
    catch_unwind(AssertUnwindSafe(|| decode_file(path)))
        .unwrap_or_else(|_| Err(anyhow!("it is damaged in a way that the decoder did not expect")))
}

fn decode_file(path: &Path) -> Result<Vec<f32>> {
    let mut file = File::open(path)?;
    let mut head = Vec::with_capacity(HEAD);
    (&mut file).take(HEAD as u64).read_to_end(&mut head)?;
    file.rewind()?;
    ensure!(!head.is_empty(), "the file is empty");
    let (audio, rate) = match FileKind::of(&head) {
        FileKind::Opus => {
            let limit = LONGEST_SECONDS * opus::SAMPLE_RATE as usize;
            (opus::decode(BufReader::new(file), limit)?, opus::SAMPLE_RATE)
        }
        FileKind::Refused(name) => bail!("it is {name}, which cannot be read; convert it to {SUPPORTED}"),
        FileKind::Other => with_symphonia(file)?,
    };
    ensure!(audio.iter().all(|sample| sample.is_finite()), "it has samples that are not numbers");
    Ok(resample(&audio, rate, SAMPLE_RATE)?)
}

/// Decodes what symphonia knows, averaging the channels. Returns samples and their rate.
fn with_symphonia(file: File) -> Result<(Vec<f32>, u32)> {
    let source = MediaSourceStream::new(Box::new(file), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), source, FormatOptions::default(), MetadataOptions::default())
        .map_err(in_words)?;
    let track = format.default_track(TrackType::Audio).context("there is no sound in it")?;
    let id = track.id;
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.context("there is no sound in it")?;
    check(parameters)?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(in_words)?;

    let (mut audio, mut rate, mut limit) = (Vec::new(), 0, usize::MAX);
    let mut interleaved: Vec<f32> = Vec::new();
    let mut first_fault = None;
    while audio.len() < limit {
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
                    ensure!(
                        (MIN_RATE..=MAX_RATE).contains(&rate_now),
                        "its sample rate is {rate_now} Hz; {MIN_RATE} to {MAX_RATE} can be read"
                    );
                    (rate, limit) = (rate_now, LONGEST_SECONDS * rate_now as usize);
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
    audio.truncate(limit);
    match first_fault {
        Some(fault) if audio.is_empty() => Err(in_words(fault)),
        _ => Ok((audio, rate.max(MIN_RATE))),
    }
}

/// Refuses what a header may claim but no recording has: the decoder would allocate by it.
fn check(parameters: &AudioCodecParameters) -> Result<()> {
    let channels = parameters.channels.as_ref().map_or(1, |channels| channels.count());
    ensure!(
        (1..=MOST_CHANNELS).contains(&channels),
        "it claims to have {channels} channels; 1 to {MOST_CHANNELS} can be read"
    );
    let longest = parameters.max_frames_per_packet.unwrap_or_default();
    ensure!(longest <= LONGEST_PACKET, "it claims to have packets of {longest} samples, so it is damaged");
    Ok(())
}

/// symphonia's error as a musician would put it.
fn in_words(fault: Fault) -> Error {
    match fault {
        Fault::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            anyhow!("it is cut off: the file ends before its sound begins")
        }
        Fault::IoError(error) => error.into(),
        Fault::Unsupported(what) if what.contains("no suitable format reader") => {
            anyhow!("it is no sound file of a kind that can be read: {SUPPORTED}")
        }
        Fault::Unsupported(what) => anyhow!("it is a variant that cannot be read ({what})"),
        Fault::DecodeError(what) | Fault::LimitError(what) => anyhow!("it is damaged ({what})"),
        fault => anyhow!("it is damaged ({fault})"),
    }
}

#[cfg(test)]
mod tests;
