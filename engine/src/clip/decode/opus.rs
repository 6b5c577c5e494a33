//! Ogg Opus (RFC 7845) to samples.

use std::io::{ErrorKind, Read, Seek};

use ogg::reading::{OggReadError, PacketReader};
use ropus::{Channels, DecodeMode, Decoder};

use super::DecodeError;

/// The rate that Opus decodes at, in Hz; granule positions count at this rate too.
pub(super) const SAMPLE_RATE: u32 = 48_000;
/// Samples of the longest packet that Opus allows (120 ms).
const LONGEST_PACKET: usize = SAMPLE_RATE as usize * 120 / 1000;

/// The fields we need of an identification header.
struct Head {
    channels: usize,
    pre_skip: usize,
    gain: f32,
}

impl Head {
    fn parse(packet: &[u8]) -> Result<Self, DecodeError> {
        let Some(fields) = packet.strip_prefix(b"OpusHead").and_then(|rest| rest.first_chunk::<11>()) else {
            return Err(DecodeError::damaged("this Ogg stream is not Opus"));
        };
        let &[version, channels, skip_low, skip_high, _, _, _, _, gain_low, gain_high, family] = fields;
        if version >= 16 {
            return Err(DecodeError::Variant { what: "an unknown version of Opus" });
        }
        if family != 0 || !(1..=2).contains(&channels) {
            return Err(DecodeError::Variant { what: "Opus of more than two channels" });
        }
        let gain_db = f32::from(i16::from_le_bytes([gain_low, gain_high])) / 256.0;
        Ok(Self {
            channels: channels.into(),
            pre_skip: u16::from_le_bytes([skip_low, skip_high]).into(),
            gain: 10f32.powf(gain_db / 20.0),
        })
    }
}

/// Decodes the first `limit` samples of an Ogg Opus stream to mono at [`SAMPLE_RATE`]; stereo is
/// averaged. The encoder's pre-skip is removed and the end trimmed to the last granule position, so
/// that the result is as long as what was encoded.
///
/// # Errors
/// Where the container or a packet is malformed, or the stream is not mono or stereo Opus.
pub(super) fn decode<R: Read + Seek>(source: R, limit: usize) -> Result<Vec<f32>, DecodeError> {
    let mut packets = PacketReader::new(source);
    let head = packets.read_packet().map_err(in_words)?.ok_or(DecodeError::CutOff)?;
    let serial = head.stream_serial();
    let head = Head::parse(&head.data)?;
    packets.read_packet().map_err(in_words)?.ok_or(DecodeError::CutOff)?;

    let channels = if head.channels == 1 { Channels::Mono } else { Channels::Stereo };
    let mut decoder = Decoder::new(SAMPLE_RATE, channels).map_err(damaged)?;
    let mut packet_audio = vec![0.0; LONGEST_PACKET * head.channels];
    let mut audio = Vec::new();
    let mut end = None;
    while audio.len() < head.pre_skip + limit {
        let Some(packet) = packets.read_packet().map_err(in_words)? else { break };
        if packet.stream_serial() != serial {
            continue;
        }
        let samples =
            decoder.decode_float(&packet.data, &mut packet_audio, DecodeMode::Normal).map_err(damaged)?;
        let frames = packet_audio.chunks_exact(head.channels).take(samples);
        audio.extend(frames.map(|frame| head.gain * frame.iter().sum::<f32>() / head.channels as f32));
        if packet.last_in_stream() {
            end = usize::try_from(packet.absgp_page()).ok();
            break;
        }
    }
    audio.truncate(end.unwrap_or(usize::MAX).min(head.pre_skip.saturating_add(limit)));
    audio.drain(..head.pre_skip.min(audio.len()));
    Ok(audio)
}

/// The container's error as a musician would put it.
fn in_words(error: OggReadError) -> DecodeError {
    match error {
        OggReadError::ReadError(error) if error.kind() == ErrorKind::UnexpectedEof => DecodeError::CutOff,
        OggReadError::ReadError(error) => error.into(),
        error => damaged(error),
    }
}

fn damaged(error: impl ToString) -> DecodeError {
    DecodeError::damaged(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn refuses_what_is_not_opus() {
        assert!(decode(Cursor::new(b""), 1000).is_err());
        assert!(decode(Cursor::new(b"RIFF....WAVEfmt not an ogg file at all"), 1000).is_err());
        assert!(Head::parse(b"OpusHead").is_err());
        assert!(Head::parse(b"OpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\x01").is_err());
    }

    #[test]
    fn reads_the_identification_header() -> Result<(), DecodeError> {
        let head = Head::parse(b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\x00\x06\x00")?;
        assert_eq!((head.channels, head.pre_skip), (1, 312));
        assert!((head.gain - 10f32.powf(6.0 / 20.0)).abs() < 1e-6);
        Ok(())
    }
}
