//! What samplers and loop players read: the `smpl` and `acid` chunks.

use std::ops::Range;

use super::Export;
use crate::SAMPLE_RATE;

/// Keys that MIDI has.
const KEYS: f32 = 128.0;
/// The key written where only a loop is known: the sampler's own for a sound as it is.
const MIDDLE_C: f32 = 60.0;

/// Content of the smpl chunk for a clip of `len` samples; `None` where neither a root key nor a loop is known.
///
/// As in "Multimedia Data Standards Update" (Microsoft, 1994): nine numbers, then six for each loop, all of 32 bits.
pub(super) fn smpl(export: &Export, len: usize) -> Option<Vec<u8>> {
    let root_key = export.root_key.filter(|key| (0.0..KEYS).contains(key));
    let looped = export.loop_within(len);
    if root_key.is_none() && looped.is_none() {
        return None;
    }
    let (key, fraction) = key_and_fraction(root_key.unwrap_or(MIDDLE_C));
    let period_ns = (1e9 / f64::from(export.sample_rate)).round() as u32;
    // Manufacturer and product: any sampler. SMPTE format and offset: none. No bytes follow the loops.
    let mut numbers = vec![0, 0, period_ns, key, fraction, 0, 0, u32::from(looped.is_some()), 0];
    if let Some(range) = looped {
        let range = at_rate(&range, export.sample_rate);
        // The first loop, forward, from the first to the last sample played, without a fraction, for ever.
        numbers.extend([0, 0, range.start, range.end - 1, 0, 0]);
    }
    Some(numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
}

/// Content of the acid chunk for a clip of `len` samples that loops as a whole at a known tempo; else `None`.
///
/// The format was never published by its makers; these are the fields that its readers (libsndfile, Reaper's
/// SDK) agree on.
pub(super) fn acid(export: &Export, len: usize) -> Option<Vec<u8>> {
    /// Bits of the first field: neither a one-shot (1) nor read from disk (8).
    const STRETCH: u32 = 4;
    const ROOT_KEY_SET: u32 = 2;
    let tempo = export.tempo.filter(|tempo| (1.0..=1000.0).contains(tempo))?;
    export.loop_within(len).filter(|range| *range == (0..len))?;
    let root_key = export.root_key.filter(|key| (0.0..KEYS).contains(key));
    let beats = (len as f64 / f64::from(SAMPLE_RATE) * f64::from(tempo) / 60.0).round().max(1.0) as u32;
    let flags = STRETCH | if root_key.is_some() { ROOT_KEY_SET } else { 0 };
    let key = key_and_fraction(root_key.unwrap_or(MIDDLE_C)).0 as u16;
    let mut acid = flags.to_le_bytes().to_vec();
    acid.extend(key.to_le_bytes());
    // Two fields whose meaning is not known, as other programs leave them.
    acid.extend(0x8000u16.to_le_bytes());
    acid.extend(0f32.to_le_bytes());
    acid.extend(beats.to_le_bytes());
    // Four quarters in a bar.
    acid.extend([4u16.to_le_bytes(), 4u16.to_le_bytes()].concat());
    acid.extend(tempo.to_le_bytes());
    Some(acid)
}

/// The first loop in a smpl chunk's content, in samples of its file; `None` without one that runs forward and is not
/// empty.
pub(super) fn loop_in(smpl: &[u8]) -> Option<Range<u32>> {
    const FIRST_LOOP: usize = 9;
    const FORWARD: u32 = 0;
    let number = |at: usize| Some(u32::from_le_bytes(*smpl.as_chunks::<4>().0.get(at)?));
    let (count, kind) = (number(FIRST_LOOP - 2)?, number(FIRST_LOOP + 1)?);
    let (start, last) = (number(FIRST_LOOP + 2)?, number(FIRST_LOOP + 3)?);
    (count > 0 && kind == FORWARD && start <= last).then_some(start..last.checked_add(1)?)
}

/// A loop in samples of `rate` Hz as one of a clip of `len` samples; `None` if it does not lie in it.
pub(super) fn of_rate(range: &Range<u32>, rate: u32, len: usize) -> Option<Range<usize>> {
    // A cast saturates, and a rate of 0 gives nothing that lies in a clip.
    let scale = |at: u32| (f64::from(at) * f64::from(SAMPLE_RATE) / f64::from(rate)).round() as usize;
    // A resampled sound may be a sample shorter than its loop.
    let (start, end) = (scale(range.start), scale(range.end));
    (end <= len + 1 && start < end.min(len)).then_some(start..end.min(len))
}

/// The key at or below, and how far above it in 2^-32 semitones.
fn key_and_fraction(key: f32) -> (u32, u32) {
    // In f64 every product of an f32 in range is exact and below 2^32.
    let fraction = f64::from(key.fract()) * 4_294_967_296.0;
    (key.floor() as u32, fraction as u32)
}

/// A loop of the clip in samples of `rate` Hz: at least one, none beyond the file's end.
fn at_rate(range: &Range<usize>, rate: u32) -> Range<u32> {
    let scale = |at: usize| (at as f64 * f64::from(rate) / f64::from(SAMPLE_RATE)).round() as u32;
    let (start, end) = (scale(range.start), scale(range.end).max(1));
    start.min(end - 1)..end
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn numbers(bytes: &[u8]) -> Vec<u32> {
        bytes.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect()
    }

    #[test]
    fn root_keys_have_a_key_and_a_fraction() {
        for (key, unity, fraction) in
            [(60.0, 60, 0), (69.5, 69, 1 << 31), (0.25, 0, 1 << 30), (127.75, 127, 3 << 30)]
        {
            let export = Export { root_key: Some(key), ..Export::default() };
            let numbers = numbers(&smpl(&export, 100).unwrap());
            assert_eq!(numbers, [0, 0, 45_351, unity, fraction, 0, 0, 0, 0], "key {key}");
        }
        for key in [-0.5, 128.0, f32::NAN, f32::INFINITY] {
            assert!(smpl(&Export { root_key: Some(key), ..Export::default() }, 100).is_none());
        }
    }

    #[test]
    fn loops_are_read_as_they_were_written() {
        for rate in [8_000, 22_050, 44_100, 48_000, 192_000] {
            for range in [0..22_050, 100..200, 22_000..22_050] {
                let export = Export { loop_range: Some(range.clone()), ..Export::at(rate) };
                let found = loop_in(&smpl(&export, 22_050).unwrap()).unwrap();
                let found = of_rate(&found, rate, 22_050).unwrap();
                // To the nearest sample of the slower of both rates.
                let most = SAMPLE_RATE.div_ceil(rate) as usize;
                assert!(found.start.abs_diff(range.start) < most && found.end.abs_diff(range.end) < most);
            }
        }
        assert_eq!(loop_in(&smpl(&Export { root_key: Some(60.0), ..Export::default() }, 9).unwrap()), None);
        // As an editor might write them: backward and forward, backwards, endless, cut off.
        let loops = |kind: u32, start: u32, last: u32| {
            let numbers = [0, 0, 0, 60, 0, 0, 0, 1, 0, 0, kind, start, last, 0, 0];
            numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()
        };
        assert_eq!(loop_in(&loops(0, 5, 9)), Some(5..10));
        for wrong in [loops(1, 5, 9), loops(0, 9, 5), loops(0, 0, u32::MAX), loops(0, 5, 9)[..50].to_vec()] {
            assert_eq!(loop_in(&wrong), None);
        }
        assert_eq!(of_rate(&(5..10), 22_050, 8), None);
        assert_eq!(of_rate(&(5..10), 0, 8), None);
        assert_eq!(of_rate(&(5..10), 22_050, 9), Some(5..9));
    }

    #[test]
    fn loops_follow_the_file_s_rate() {
        let export = |rate, range| Export { loop_range: Some(range), ..Export::at(rate) };
        let ends = |rate, range| {
            let numbers = numbers(&smpl(&export(rate, range), 22_050).unwrap());
            assert_eq!(numbers[7], 1);
            (numbers[11], numbers[12])
        };
        assert_eq!(ends(22_050, 0..22_050), (0, 22_049));
        assert_eq!(ends(44_100, 100..200), (200, 399));
        assert_eq!(ends(48_000, 0..22_050), (0, 47_999));
        // Shorter than a sample of the file: still one.
        assert_eq!(ends(8_000, 1..2), (0, 0));
        for range in [0..0, 5..22_051, 22_050..22_050, 0..usize::MAX] {
            assert!(smpl(&export(22_050, range), 22_050).is_none());
        }
    }

    #[test]
    fn whole_loops_with_a_tempo_have_beats() {
        let export = Export {
            loop_range: Some(0..44_100),
            tempo: Some(120.0),
            root_key: Some(69.0),
            ..Export::at(48_000)
        };
        let acid_of = |export: &Export| acid(export, 44_100);
        let bytes = acid_of(&export).unwrap();
        assert_eq!(bytes.len(), 24);
        assert_eq!(numbers(&bytes), [6, 0x8000_0045, 0, 4, 0x0004_0004, 120f32.to_bits()]);
        assert!(acid_of(&Export { tempo: None, ..export.clone() }).is_none());
        assert!(acid_of(&Export { tempo: Some(f32::NAN), ..export.clone() }).is_none());
        assert!(acid_of(&Export { loop_range: Some(0..44_099), ..export.clone() }).is_none());
        assert!(acid_of(&Export { loop_range: None, ..export }).is_none());
    }
}
