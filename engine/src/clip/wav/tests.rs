#![allow(clippy::unwrap_used)]
use std::{fs, path::Path};

use super::*;
use crate::clip::{
    ClipError,
    test_support::{Folder, clip, noise},
};

fn bytes_of(len: usize, rate: u32) -> Vec<u8> {
    let folder = Folder::new();
    let path = folder.path("a.wav");
    write(&path, &clip(noise(len)), rate).unwrap();
    fs::read(&path).unwrap()
}

/// hound is a reader that nobody here wrote.
#[test]
fn another_reader_sees_24_bit_mono_with_the_clip_s_samples() {
    let bytes = bytes_of(1_001, 22_050);
    let reader = hound::WavReader::new(bytes.as_slice()).unwrap();
    let spec = reader.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 22_050, 24));
    let found: Vec<f32> = reader.into_samples::<i32>().map(|k| k.unwrap() as f32 / 8_388_608.0).collect();
    assert_eq!(found, noise(1_001));
}

#[test]
fn everything_comes_back_at_the_original_rate() {
    let folder = Folder::new();
    // Odd lengths, so that the chunk is padded.
    for len in [1, 2, 999, 22_050] {
        let path = folder.path("ü 🔔.wav");
        let original = clip(noise(len));
        write(&path, &original, 22_050).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found.audio, &*original.audio);
        assert_eq!(found.provenance, Some(original.provenance));
    }
}

#[test]
fn any_rate_has_its_length_and_the_provenance() {
    let folder = Folder::new();
    let original = clip(noise(11_025));
    for rate in [44_100, 48_000, 88_200, 96_000, 176_400, 192_000] {
        let path = folder.path("a.wav");
        write(&path, &original, rate).unwrap();
        let found = read(&path).unwrap();
        assert_eq!((found.sample_rate, found.audio.len()), (rate, rate as usize / 2));
        assert_eq!(found.provenance.as_ref(), Some(&original.provenance));
    }
}

#[test]
fn metadata_stands_where_other_programs_look() {
    let bytes = bytes_of(22_050, 48_000);
    let at = |name: &[u8]| bytes.windows(name.len()).position(|w| w == name).unwrap();
    // EBU Tech 3285 2.3: field offsets within bext.
    let bext = &bytes[at(b"bext") + 8..];
    assert!(bext.starts_with(b"Glocken & ? \"l?uten\" <leise> ???\0"));
    assert_eq!(&bext[256..265], b"SoundLoCD");
    assert_eq!(&bext[320..338], b"2023-11-1422:13:20");
    assert_eq!(&bext[346..348], [2, 0]);
    assert!(bext[602..].starts_with(b"A=PCM,F=22050,W=24,M=mono,T=SoundLoCD 0.1.0\r\n"));
    assert!(at(b"INAM") < at(b"data"));
    assert!(bytes[at(b"INAM") + 8..].starts_with("Glocken & \u{1F514}".as_bytes()));
    assert!(bytes[at(b"ICRD") + 8..].starts_with(b"2023-11-14\0"));
    assert!(bytes[at(b"ISFT") + 8..].starts_with(b"SoundLoCD 0.1.0\0"));
    let xml = std::str::from_utf8(&bytes[at(b"<?xml")..at(b"</BWFXML>")]).unwrap();
    assert!(xml.contains("<NOTE>Glocken &amp; \u{1F514} \"läuten\" &lt;leise&gt; صوت</NOTE>"));
    // RIFF's size is that of the file.
    assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize, bytes.len() - 8);
}

#[test]
fn foreign_files_are_read_as_mono() {
    let folder = Folder::new();
    let path = folder.path("a.wav");
    for (bits_per_sample, sample_format) in [
        (8, hound::SampleFormat::Int),
        (16, hound::SampleFormat::Int),
        (24, hound::SampleFormat::Int),
        (32, hound::SampleFormat::Int),
        (32, hound::SampleFormat::Float),
    ] {
        let spec = hound::WavSpec { channels: 2, sample_rate: 44_100, bits_per_sample, sample_format };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        for _ in 0..10 {
            if sample_format == hound::SampleFormat::Float {
                writer.write_sample(0.5f32).unwrap();
                writer.write_sample(0.25f32).unwrap();
            } else {
                writer.write_sample(1i32 << (bits_per_sample - 2)).unwrap();
                writer.write_sample(1i32 << (bits_per_sample - 3)).unwrap();
            }
        }
        writer.finalize().unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found.audio, [0.375; 10]);
        assert_eq!((found.sample_rate, found.provenance), (44_100, None));
    }
}

#[test]
fn truncated_files_are_errors_or_lack_only_metadata() {
    let bytes = bytes_of(300, 22_050);
    for end in 0..bytes.len() - 1 {
        // No panic anywhere; the samples come last, so that no cut leaves a whole file.
        assert!(read::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn flipped_bits_never_panic() {
    let bytes = bytes_of(300, 22_050);
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        if let Ok(found) = read::decode(&damaged) {
            assert!(found.audio.len() <= bytes.len());
        }
    }
}

#[test]
fn giant_declared_sizes_allocate_nothing() {
    let bytes = bytes_of(300, 22_050);
    for name in [b"RIFF", b"fmt ", b"bext", b"LIST", b"ICMT", b"data"] {
        let mut damaged = bytes.clone();
        let at = bytes.windows(4).position(|w| w == name).unwrap();
        damaged[at + 4..at + 8].copy_from_slice(&0xFFFF_FFF0u32.to_le_bytes());
        let _ = read::decode(&damaged);
    }
}

#[test]
fn hostile_provenance_is_no_provenance() {
    let bytes = bytes_of(300, 22_050);
    let text = |from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        read::decode(&changed).unwrap().provenance
    };
    assert!(text("{\"prompt\"", "{\"prompt\"").is_some());
    assert!(text("{\"prompt\"", "[[[[[[[[[").is_none());
    // A length of 9e7 seconds.
    assert!(text("\"seconds\":0.7", "\"seconds\":9e7").is_none());
}

#[test]
fn unusable_paths_are_reported_and_leave_nothing_behind() {
    let folder = Folder::new();
    let clip = clip(noise(100));
    let error = write(&folder.path("none").join("a.wav"), &clip, 48_000).unwrap_err();
    assert!(matches!(error, ClipError::Write { .. }));
    assert!(error.to_string().ends_with("the folder or file does not exist."), "{error}");
    assert!(matches!(read(&folder.path("none.wav")), Err(ClipError::Read { .. })));
    assert!(matches!(write(Path::new(""), &clip, 48_000), Err(ClipError::Write { .. })));
    assert!(matches!(write(&folder.path("a.wav"), &clip, 1), Err(ClipError::SampleRate { .. })));
    assert!(folder.names().is_empty());
}
