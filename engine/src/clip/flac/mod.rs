//! FLAC, lossless, of 24-bit mono samples in memory.

mod bits;
mod encoder;

use std::{
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
};

use symphonia::{
    core::{
        audio::{Audio, GenericAudioBufferRef},
        codecs::audio::{AudioDecoder, AudioDecoderOptions},
        formats::{FormatOptions, FormatReader, TrackType},
        io::MediaSourceStream,
    },
    default::{codecs::FlacDecoder, formats::FlacReader},
};

use super::{MAX_SAMPLES, grid};
use crate::SAMPLE_RATE;

/// Bits per sample.
const BITS: u32 = 24;

/// The FLAC stream of `audio` (on the 24-bit grid, [`SAMPLE_RATE`]); `None` should it not decode
/// to the same samples: a project is no place to find that out later.
pub(super) fn encode(audio: &[f32]) -> Option<Vec<u8>> {
    let samples: Vec<i32> = audio.iter().map(|&x| grid::to_i24(x)).collect();
    let stream = encoder::encode(&samples);
    (decode(&stream, samples.len()).ok()? == samples).then_some(stream)
}

/// The `len` samples of a FLAC `stream` of 24-bit mono, as integers.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(stream: &[u8], len: usize) -> Result<Vec<i32>, String> {
    if len > MAX_SAMPLES {
        return Err(format!("it declares {len} samples, at most {MAX_SAMPLES} are possible"));
    }
    // The decoder takes a stream without frames for one that is cut off.
    if len == 0 && stream == encoder::encode(&[]) {
        return Ok(Vec::new());
    }
    // A decoder that trips over one strange stream must end here and not in the host.
    catch_unwind(AssertUnwindSafe(|| decode_frames(stream, len)))
        .unwrap_or_else(|_| Err("its sound data is malformed".into()))
}

fn decode_frames(stream: &[u8], len: usize) -> Result<Vec<i32>, String> {
    let in_words = |error: symphonia::core::errors::Error| format!("its sound data is damaged ({error})");
    let source = MediaSourceStream::new(Box::new(Cursor::new(stream)), Default::default());
    let mut reader = FlacReader::try_new(source, FormatOptions::default()).map_err(in_words)?;
    let track = reader.default_track(TrackType::Audio);
    let parameters = track.and_then(|track| track.codec_params.as_ref()?.audio());
    let parameters = parameters.ok_or("its sound data is not described")?.clone();
    let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count());
    let bits = parameters.bits_per_sample.unwrap_or_default();
    if channels != 1 || bits != BITS {
        return Err(format!("its sound data has {channels} channels of {bits} bits, not 1 of {BITS}"));
    }
    let mut decoder = FlacDecoder::try_new(&parameters, &AudioDecoderOptions::default()).map_err(in_words)?;
    // No more than the longest sound has: see above.
    let mut samples = Vec::with_capacity(len);
    while let Some(packet) = reader.next_packet().map_err(in_words)? {
        // As they are in the stream, at the top of 32 bits.
        match decoder.decode(&packet).map_err(in_words)? {
            GenericAudioBufferRef::S32(block) if block.num_planes() == 1 => {
                let block = block.plane(0).ok_or("its sound data is malformed")?;
                if samples.len() + block.len() > len {
                    return Err("its sound data does not fit its declared length".into());
                }
                samples.extend(block.iter().map(|sample| sample >> (i32::BITS - BITS)));
            }
            _ => return Err("its sound data does not fit its description".into()),
        }
    }
    if samples.len() != len {
        return Err(format!("it declares {len} samples and holds {}", samples.len()));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clip::test_support::noise;

    fn integers(audio: &[f32]) -> Vec<i32> {
        audio.iter().map(|&x| grid::to_i24(x)).collect()
    }

    #[test]
    fn every_length_comes_back() {
        for len in (0..70).chain([4_095, 4_096, 4_097, 4_100, 30_000]) {
            let audio = noise(len);
            let stream = encode(&audio).unwrap();
            assert_eq!(decode(&stream, len).unwrap(), integers(&audio), "{len} samples");
        }
    }

    #[test]
    fn extremes_come_back() {
        let full: Vec<f32> = (0..5_000).map(|n| grid::snap(if n % 3 == 0 { -1.0 } else { 1.0 })).collect();
        for audio in [vec![0.0; 5_000], full] {
            let stream = encode(&audio).unwrap();
            assert_eq!(decode(&stream, audio.len()).unwrap(), integers(&audio));
        }
    }

    #[test]
    fn it_compresses_what_can_be_and_hardly_enlarges_what_cannot() {
        let sine: Vec<f32> = (0..22_050).map(|n| grid::snap(0.5 * (n as f32 * 0.05).sin())).collect();
        assert!(encode(&sine).unwrap().len() < 22_050 * 3 / 2);
        // Full-scale noise: nothing to gain, a few bytes a frame to lose.
        let noise: Vec<f32> = noise(65_536)
            .iter()
            .zip((0..).map(|n| 3.0 * n as f32 / 65_536.0))
            .map(|(x, t)| grid::snap(x * t.exp()))
            .collect();
        assert!(encode(&noise).unwrap().len() < 65_536 * 3 + 42 + 16 * 16);
        assert!(encode(&[0.25; 22_050]).unwrap().len() < 200);
    }

    /// The format's own documentation of the first frame's beginning (RFC 9639, sections 8 and 9).
    #[test]
    fn headers_are_those_of_the_format() {
        let stream = encode(&noise(5_000)).unwrap();
        assert_eq!(stream[..8], *b"fLaC\x80\x00\x00\x22");
        assert_eq!(stream[8..12], [0x10, 0x00, 0x10, 0x00]);
        // 22,050 in 20 bits, 0 in 3, 23 in 5, 5,000 in 36.
        assert_eq!(stream[18..26], [0x05, 0x62, 0x21, 0x70, 0x00, 0x00, 0x13, 0x88]);
        // Frame 0: sync, size in 16 bits, 22.05 kHz, mono, 24 bits, number 0, size less one.
        assert_eq!(stream[42..49], [0xFF, 0xF8, 0x76, 0x0C, 0x00, 0x0F, 0xFF]);
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        let stream = encode(&noise(5_000)).unwrap();
        for len in [0, 4_999, 5_001, MAX_SAMPLES + 1, usize::MAX] {
            assert!(decode(&stream, len).is_err(), "{len}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let stream = encode(&noise(300)).unwrap();
        for end in 0..stream.len() {
            assert!(decode(&stream[..end], 300).is_err(), "cut at {end}");
        }
        // Bits of the stream's description may flip unnoticed; the frames have checksums.
        for at in 0..stream.len() * 8 {
            let mut damaged = stream.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            if let Ok(samples) = decode(&damaged, 300) {
                assert_eq!(samples, integers(&noise(300)), "bit {at}");
            }
        }
    }
}
