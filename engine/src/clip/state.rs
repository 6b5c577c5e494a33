//! A clip as bytes for a project file: lossless and compressed, so that the project opens with
//! its sound on any machine, without the model and without the library folder.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `SLDCLIP` and a zero |
//! | 2 | format version, 1 |
//! | 2 | sound data: 0 = 24-bit integers, 1 = FLAC |
//! | 4 | samples |
//! | 4 | bytes of provenance |
//! | 4 | bytes of sound data |
//! | 32 | SHA-256 of all of the above and below |
//! | | provenance: JSON, UTF-8 |
//! | | sound data, mono, [`SAMPLE_RATE`] |
//!
//! Integers are little-endian. A later version may lengthen the provenance; whatever changes the
//! rest gets a new format version.
//!
//! [`SAMPLE_RATE`]: crate::SAMPLE_RATE

use sha2::{Digest, Sha256};

use super::{Clip, ClipError, MAX_SAMPLES, Provenance, flac, grid, provenance::MAX_JSON_BYTES};

const MAGIC: [u8; 8] = *b"SLDCLIP\0";
const VERSION: u16 = 1;
/// Everything before the hash.
const HEAD_BYTES: usize = 24;
const HASH_BYTES: usize = 32;
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
    let mut bytes = Vec::with_capacity(HEAD_BYTES + HASH_BYTES + json.len() + sound.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((coding as u16).to_le_bytes());
    for count in [audio.len(), json.len(), sound.len()] {
        // All far below 2^32: MAX_SAMPLES and MAX_JSON_BYTES bound them.
        bytes.extend((count as u32).to_le_bytes());
    }
    bytes.extend(hash(&bytes, &json, &sound));
    bytes.extend(json);
    bytes.extend(sound);
    bytes
}

/// The clip that [`encode`] stored. Its provenance is empty if this version cannot understand it:
/// the sound can still be played.
///
/// # Errors
/// [`ClipError::BadState`] for anything that is not whole and unchanged,
/// [`ClipError::NewerState`] for a later format version.
pub fn decode(bytes: &[u8]) -> Result<Clip, ClipError> {
    let parts = Parts::of(bytes).ok_or_else(|| bad("it is not a sound of SoundLoCD, or cut off"))?;
    if parts.version != VERSION {
        return Err(ClipError::NewerState { found: parts.version, known: VERSION });
    }
    if parts.samples > MAX_SAMPLES {
        return Err(bad(&format!(
            "it declares {} samples, at most {MAX_SAMPLES} are possible",
            parts.samples
        )));
    }
    if hash(parts.head, parts.json, parts.sound) != parts.hash {
        return Err(bad("its bytes were changed (the checksum differs)"));
    }
    let integers = match parts.coding {
        0 => from_integers(parts.sound, parts.samples),
        1 => flac::decode(parts.sound, parts.samples),
        other => Err(format!("its sound data is of an unknown kind ({other})")),
    };
    let audio = integers.map_err(|reason| bad(&reason))?.into_iter().map(grid::from_i24).collect();
    let provenance = Provenance::from_json(parts.json).unwrap_or_default();
    Ok(Clip { audio, provenance })
}

fn bad(reason: &str) -> ClipError {
    ClipError::BadState { reason: reason.to_owned() }
}

/// The fields of the format, still unchecked but for the lengths.
struct Parts<'a> {
    head: &'a [u8],
    version: u16,
    coding: u16,
    samples: usize,
    hash: [u8; HASH_BYTES],
    json: &'a [u8],
    sound: &'a [u8],
}

impl<'a> Parts<'a> {
    /// `None` if the magic is missing or the declared lengths do not add up to that of `bytes`.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let (hash, rest) = rest.split_first_chunk::<HASH_BYTES>()?;
        let fields = head.strip_prefix(&MAGIC)?;
        let (version, fields) = fields.split_first_chunk::<2>()?;
        let (coding, fields) = fields.split_first_chunk::<2>()?;
        let (counts, _) = fields.as_chunks::<4>();
        let [samples, json, sound] = counts.iter().map(|&c| u32::from_le_bytes(c)).collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let (json, rest) = rest.split_at_checked(usize::try_from(json).ok()?)?;
        if rest.len() != usize::try_from(sound).ok()? {
            return None;
        }
        Some(Self {
            head,
            version: u16::from_le_bytes(*version),
            coding: u16::from_le_bytes(*coding),
            samples: usize::try_from(samples).ok()?,
            hash: *hash,
            json,
            sound: rest,
        })
    }
}

fn hash(head: &[u8], json: &[u8], sound: &[u8]) -> [u8; HASH_BYTES] {
    Sha256::new().chain_update(head).chain_update(json).chain_update(sound).finalize().into()
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
    use crate::clip::test_support::{clip, noise};

    /// `bytes` with the right hash, as someone with bad intentions would make it.
    fn rehashed(mut bytes: Vec<u8>) -> Vec<u8> {
        let parts = Parts::of(&bytes).unwrap();
        let hash = hash(parts.head, parts.json, parts.sound);
        bytes[HEAD_BYTES..HEAD_BYTES + HASH_BYTES].copy_from_slice(&hash);
        bytes
    }

    fn stored_as_integers(clip: &Clip) -> Vec<u8> {
        let mut bytes = encode(clip);
        let sound = integers(&clip.audio);
        let old = Parts::of(&bytes).unwrap().sound.len();
        bytes.truncate(bytes.len() - old);
        bytes[10] = Coding::Integers as u8;
        bytes[20..24].copy_from_slice(&(sound.len() as u32).to_le_bytes());
        bytes.extend(sound);
        rehashed(bytes)
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
        let bytes = encode(&clip(noise(300)));
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
        for original in [encode(&clip(noise(100))), stored_as_integers(&clip(noise(20)))] {
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
        for at in [12, 16, 20] {
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
        newer[8] = 2;
        assert!(matches!(decode(&newer), Err(ClipError::NewerState { found: 2, known: 1 })));
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
