//! A clip as bytes for a project file: lossless and compressed, so that the project opens with
//! its sound on any machine, without the model and without the library folder.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `SLDCLIP` and a zero |
//! | 2 | format version, 3 |
//! | 2 | sound data: 0 = 24-bit integers, 1 = FLAC |
//! | 4 | samples |
//! | 4 | bytes of provenance |
//! | 4 | bytes of sound data |
//! | 4 | bytes of tokens |
//! | 8 | first sample of the loop and the one after its last; both 0 without a loop |
//! | 4 | CRC-32 (that of zlib) of all of the above and below |
//! | | provenance: JSON, UTF-8 |
//! | | sound data, mono, [`SAMPLE_RATE`] |
//! | | tokens, or nothing; see `token_bytes.rs` |
//!
//! Integers are little-endian. Versions 1 and 2 had 32 bytes of SHA-256 in place of the CRC, of which checking took longer
//! than unpacking the sound; version 1 had neither tokens nor a loop. A later version may lengthen the provenance;
//! whatever changes the rest gets a new format version.
//!
//! [`SAMPLE_RATE`]: crate::SAMPLE_RATE

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Clip, ClipError, MAX_SAMPLES, Provenance, flac, grid, provenance::MAX_JSON_BYTES, token_bytes};

const MAGIC: [u8; 8] = *b"SLDCLIP\0";
const VERSION: u16 = 3;
/// Magic, version and coding.
const START_BYTES: usize = 12;
/// Checksums of versions 1 and 2, and of later ones.
const SHA_BYTES: usize = 32;
const CRC_BYTES: usize = 4;
/// Bytes of a sample stored as an integer.
const SAMPLE_BYTES: usize = 3;

/// How the samples are stored.
#[derive(Clone, Copy)]
enum Coding {
    Integers = 0,
    Flac = 1,
}

/// The clip as bytes. [`decode`] returns the same clip, bit for bit, as long as its samples are
/// on the 24-bit grid (as [`Clip::finish`] leaves them), no more than [`MAX_SAMPLES`] and all
/// numbers of its provenance finite.
#[must_use]
pub fn encode(clip: &Clip) -> Vec<u8> {
    let audio = clip.audio.get(..MAX_SAMPLES).unwrap_or(&clip.audio);
    let (coding, sound) = match flac::encode(audio) {
        Some(stream) => (Coding::Flac, stream),
        // Larger, but never refused.
        None => (Coding::Integers, integers(audio)),
    };
    let mut json = clip.provenance.to_json().into_bytes();
    if json.len() > MAX_JSON_BYTES {
        // No request can cause this. The sound matters more than where it came from.
        json = b"{}".to_vec();
    }
    let tokens = clip.grid.as_deref().map(token_bytes::encode).unwrap_or_default();
    let (start, end) = clip.loop_range.unwrap_or_default();
    let mut bytes = Vec::with_capacity(128 + json.len() + sound.len() + tokens.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((coding as u16).to_le_bytes());
    for count in [audio.len(), json.len(), sound.len(), tokens.len(), start, end] {
        // All far below 2^32: MAX_SAMPLES and MAX_JSON_BYTES bound them; a loop beyond is refused when read.
        bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes.extend(checksum(VERSION, &bytes, &[&json, &sound, &tokens]));
    bytes.extend(json);
    bytes.extend(sound);
    bytes.extend(tokens);
    bytes
}

/// The clip that [`encode`] stored. Its provenance is empty, and it has no tokens, if this version
/// cannot understand them: the sound can still be played.
///
/// # Errors
/// [`ClipError::BadState`] for anything that is not whole and unchanged,
/// [`ClipError::NewerState`] for a later format version.
pub fn decode(bytes: &[u8]) -> Result<Clip, ClipError> {
    let whole = || bad("it is not a sound of SoundLoCD, or cut off");
    let version = version(bytes).ok_or_else(whole)?;
    if version > VERSION {
        return Err(ClipError::NewerState { found: version, known: VERSION });
    }
    let parts = Parts::of(bytes).ok_or_else(whole)?;
    if parts.samples > MAX_SAMPLES {
        return Err(bad(&format!(
            "it declares {} samples, at most {MAX_SAMPLES} are possible",
            parts.samples
        )));
    }
    if checksum(version, parts.head, &[parts.json, parts.sound, parts.tokens]) != parts.checksum {
        return Err(bad("its bytes were changed (the checksum differs)"));
    }
    let integers = match parts.coding {
        0 => from_integers(parts.sound, parts.samples),
        1 => flac::decode(parts.sound, parts.samples),
        other => Err(format!("its sound data is of an unknown kind ({other})")),
    };
    let audio: Arc<[f32]> =
        integers.map_err(|reason| bad(&reason))?.into_iter().map(grid::from_i24).collect();
    let loop_range = match parts.loop_range {
        (0, 0) => None,
        (start, end) if start < end && end <= audio.len() => Some((start, end)),
        _ => return Err(bad("its loop does not lie within it")),
    };
    let provenance = Provenance::from_json(parts.json).unwrap_or_default();
    // A grid is of this sound only if it says so.
    let grid = token_bytes::decode(parts.tokens).filter(|grid| grid.placement().samples == audio.len());
    Ok(Clip { audio, provenance, grid: grid.map(Arc::new), loop_range })
}

fn bad(reason: &str) -> ClipError {
    ClipError::BadState { reason: reason.to_owned() }
}

/// The format version; `None` if the magic is missing.
fn version(bytes: &[u8]) -> Option<u16> {
    bytes.strip_prefix(&MAGIC)?.first_chunk().map(|&version| u16::from_le_bytes(version))
}

/// The fields of the format, still unchecked but for the lengths.
struct Parts<'a> {
    head: &'a [u8],
    coding: u16,
    samples: usize,
    loop_range: (usize, usize),
    checksum: &'a [u8],
    json: &'a [u8],
    sound: &'a [u8],
    tokens: &'a [u8],
}

impl<'a> Parts<'a> {
    /// `None` if it is no known version, or the declared lengths do not add up to that of `bytes`.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (counts, checksum) = match version(bytes)? {
            1 => (3, SHA_BYTES),
            2 => (6, SHA_BYTES),
            3 => (6, CRC_BYTES),
            _ => return None,
        };
        let (head, rest) = bytes.split_at_checked(START_BYTES + 4 * counts)?;
        let (checksum, rest) = rest.split_at_checked(checksum)?;
        let (coding, fields) = head.get(START_BYTES - 2..)?.split_first_chunk::<2>()?;
        let (counts, _) = fields.as_chunks::<4>();
        let mut counts = counts.iter().map(|&count| usize::try_from(u32::from_le_bytes(count)).ok());
        let (samples, json, sound) = (counts.next()??, counts.next()??, counts.next()??);
        // Version 1 ends here.
        let mut count = || counts.next().unwrap_or(Some(0));
        let (tokens, loop_range) = (count()?, (count()?, count()?));
        let (json, rest) = rest.split_at_checked(json)?;
        let (sound, rest) = rest.split_at_checked(sound)?;
        (rest.len() == tokens).then_some(Self {
            head,
            coding: u16::from_le_bytes(*coding),
            samples,
            loop_range,
            checksum,
            json,
            sound,
            tokens: rest,
        })
    }
}

/// What a version keeps to tell damage by: of whoever wants to deceive, neither would protect.
fn checksum(version: u16, head: &[u8], blocks: &[&[u8]]) -> Vec<u8> {
    if version < 3 {
        let start = Sha256::new().chain_update(head);
        return blocks.iter().fold(start, |sha, block| sha.chain_update(block)).finalize().to_vec();
    }
    let mut crc = crc32fast::Hasher::new();
    [head].iter().chain(blocks).for_each(|block| crc.update(block));
    crc.finalize().to_le_bytes().to_vec()
}

fn integers(audio: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(audio.len() * SAMPLE_BYTES);
    for &sample in audio {
        let [a, b, c, _] = grid::to_i24(sample).to_le_bytes();
        bytes.extend([a, b, c]);
    }
    bytes
}

fn from_integers(bytes: &[u8], len: usize) -> Result<Vec<i32>, String> {
    let (samples, rest) = bytes.as_chunks::<SAMPLE_BYTES>();
    if samples.len() != len || !rest.is_empty() {
        return Err(format!("it declares {len} samples and holds {}", samples.len()));
    }
    // From the top, so that the shift back extends the sign.
    Ok(samples.iter().map(|&[a, b, c]| i32::from_le_bytes([0, a, b, c]) >> 8).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clip::test_support::{clip, noise, with_grid};

    /// `bytes` with the right hash, as someone with bad intentions would make it.
    fn rehashed(mut bytes: Vec<u8>) -> Vec<u8> {
        let parts = Parts::of(&bytes).unwrap();
        let version = version(&bytes).unwrap();
        let checksum = checksum(version, parts.head, &[parts.json, parts.sound, parts.tokens]);
        let at = parts.head.len();
        bytes[at..at + checksum.len()].copy_from_slice(&checksum);
        bytes
    }

    fn stored_as_integers(clip: &Clip) -> Vec<u8> {
        let mut bytes = encode(clip);
        let sound = integers(&clip.audio);
        let parts = Parts::of(&bytes).unwrap();
        let (old, tokens) = (parts.sound.len(), parts.tokens.to_vec());
        bytes.truncate(bytes.len() - old - tokens.len());
        bytes[10] = Coding::Integers as u8;
        bytes[20..24].copy_from_slice(&(sound.len() as u32).to_le_bytes());
        bytes.extend(sound);
        bytes.extend(tokens);
        rehashed(bytes)
    }

    /// As version 1 stored a clip: without tokens and a loop; and as version 2 did.
    fn as_version(version: u16, clip: &Clip) -> Vec<u8> {
        let (json, sound) = (clip.provenance.to_json().into_bytes(), integers(&clip.audio));
        let tokens = clip.grid.as_deref().map(token_bytes::encode).unwrap_or_default();
        let (start, end) = clip.loop_range.unwrap_or_default();
        let mut bytes = b"SLDCLIP\0".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend([0, 0]);
        let counts = [clip.audio.len(), json.len(), sound.len(), tokens.len(), start, end];
        for count in &counts[..if version == 1 { 3 } else { 6 }] {
            bytes.extend((*count as u32).to_le_bytes());
        }
        let mut blocks = vec![json, sound];
        blocks.extend((version == 2).then_some(tokens));
        let digest = blocks.iter().fold(Sha256::new().chain_update(&bytes), Digest::chain_update).finalize();
        bytes.extend(digest);
        bytes.extend(blocks.concat());
        bytes
    }

    #[test]
    fn older_versions_are_still_read() {
        for len in [1, 4_096] {
            for version in [1, 2] {
                let mut original = clip(noise(len));
                if version == 2 && len == 4_096 {
                    original = with_grid(original, true);
                    assert!(original.grid.is_some() && original.loop_range.is_some());
                }
                let bytes = as_version(version, &original);
                assert_eq!(decode(&bytes).unwrap(), original);
                assert!(decode(&bytes[..bytes.len() - 1]).is_err());
                // The head of one version is none of another.
                for other in (0..=VERSION as u8).filter(|other| u16::from(*other) != version) {
                    let mut changed = bytes.clone();
                    changed[8] = other;
                    assert!(
                        matches!(decode(&changed), Err(ClipError::BadState { .. })),
                        "{version} as {other}"
                    );
                }
            }
        }
    }

    #[test]
    fn tokens_and_loops_come_back() {
        for (len, is_loop) in [(4_096, true), (8_192, true), (300, false), (40_000, false)] {
            let original = with_grid(clip(noise(len)), is_loop);
            assert!(original.grid.is_some() && original.loop_range.is_some() == is_loop);
            assert_eq!(decode(&encode(&original)).unwrap(), original, "{len} samples");
            assert_eq!(decode(&stored_as_integers(&original)).unwrap(), original, "{len} samples");
        }
    }

    #[test]
    fn tokens_that_cannot_be_cost_only_themselves() {
        let original = with_grid(clip(noise(4_096)), false);
        let stored = encode(&original);
        let tokens = Parts::of(&stored).unwrap().tokens.len();
        for at in 0..tokens {
            let mut damaged = stored.clone();
            let at = damaged.len() - tokens + at;
            damaged[at] ^= 0xFF;
            let found = decode(&rehashed(damaged)).unwrap();
            assert_eq!(found.audio, original.audio);
            assert!(found.grid.is_none_or(|grid| grid.placement().samples == 4_096));
        }
        // The grid of another sound.
        let mut other = original.clone();
        other.grid = with_grid(clip(noise(4_095)), false).grid;
        assert_eq!(decode(&encode(&other)).unwrap().grid, None);
    }

    #[test]
    fn loops_outside_of_the_sound_are_errors() {
        let mut looped = clip(noise(100));
        for (start, end) in [(0, 101), (50, 50), (60, 40), (0, usize::MAX)] {
            looped.loop_range = Some((start, end));
            assert!(matches!(decode(&encode(&looped)), Err(ClipError::BadState { .. })), "{start}..{end}");
        }
        looped.loop_range = Some((10, 100));
        assert_eq!(decode(&encode(&looped)).unwrap(), looped);
    }

    /// A project with ten seconds of noise, the hardest to compress, stays below a megabyte.
    #[test]
    fn ten_seconds_take_less_than_a_megabyte() {
        let bytes = encode(&with_grid(clip(noise(217_088)), true));
        assert!(bytes.len() < 1_000_000, "{}", bytes.len());
    }

    #[test]
    fn clips_come_back_bit_for_bit() {
        for len in [0, 1, 2, 31, 100, 22_050, 217_088] {
            let original = clip(noise(len));
            assert_eq!(decode(&encode(&original)).unwrap(), original, "{len} samples");
            assert_eq!(decode(&stored_as_integers(&original)).unwrap(), original, "{len} samples");
        }
    }

    #[test]
    fn a_finished_clip_comes_back_bit_for_bit() {
        let raw: Vec<f32> = (0..66_150).map(|n| (n as f32 * 0.061).sin() * 0.3).collect();
        let original = Clip::finish(&raw, 3.0, Provenance::default()).unwrap();
        assert_eq!(decode(&encode(&original)).unwrap(), original);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = encode(&with_grid(clip(noise(300)), false));
        for end in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..end]), Err(ClipError::BadState { .. })), "cut at {end}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(decode(&longer).is_err());
    }

    #[test]
    fn every_flipped_bit_is_an_error() {
        let bytes = encode(&clip(noise(100)));
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(decode(&damaged).is_err(), "bit {at}");
        }
    }

    #[test]
    fn flipped_bits_under_a_right_hash_never_panic() {
        for original in [
            encode(&clip(noise(100))),
            stored_as_integers(&with_grid(clip(noise(20)), false)),
            as_version(1, &clip(noise(20))),
            as_version(2, &clip(noise(20))),
        ] {
            for at in 0..original.len() * 8 {
                let mut damaged = original.clone();
                damaged[at / 8] ^= 1 << (at % 8);
                if Parts::of(&damaged).is_some() {
                    let _ = decode(&rehashed(damaged));
                }
            }
        }
    }

    #[test]
    fn giant_declared_sizes_are_errors() {
        let bytes = encode(&clip(noise(100)));
        for at in [12, 16, 20, 24, 28, 32] {
            let mut damaged = bytes.clone();
            damaged[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert!(decode(&damaged).is_err());
            if Parts::of(&damaged).is_some() {
                assert!(matches!(decode(&rehashed(damaged)), Err(ClipError::BadState { .. })));
            }
        }
    }

    #[test]
    fn foreign_bytes_and_newer_versions_are_told_apart() {
        assert!(matches!(decode(b""), Err(ClipError::BadState { .. })));
        assert!(matches!(decode(&[0xAB; 5_000]), Err(ClipError::BadState { .. })));
        let mut newer = encode(&clip(noise(10)));
        newer[8] = 4;
        assert!(matches!(decode(&newer), Err(ClipError::NewerState { found: 4, known: 3 })));
    }

    #[test]
    fn provenance_of_the_future_costs_only_itself() {
        let original = clip(noise(100));
        let bytes = encode(&original);
        let at = bytes.windows(9).position(|w| w == b"ancestral").unwrap();
        let mut changed = bytes;
        changed[at..at + 9].copy_from_slice(b"telepathy");
        let found = decode(&rehashed(changed)).unwrap();
        assert_eq!(found.audio, original.audio);
        assert_eq!(found.provenance, Provenance::default());
    }
}
