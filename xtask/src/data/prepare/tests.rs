#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::f32::consts::TAU;

use super::*;
use crate::data::Cache;
use crate::data::scratch::Scratch;

/// `seconds` of a sine of `hz` at `amplitude`, written by hound.
fn tone(scratch: &Scratch, name: &str, hz: f32, seconds: f32, amplitude: f32) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let path = scratch.write(name, "");
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for t in 0..(seconds * SAMPLE_RATE as f32) as usize {
        let sample = amplitude * (TAU * hz * t as f32 / SAMPLE_RATE as f32).sin();
        writer.write_sample((sample * 32_767.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
}

#[test]
fn what_cannot_be_used_is_skipped_with_the_reason() {
    let scratch = Scratch::new("prepare");
    for (i, name) in ["low", "middle", "high", "higher", "highest"].iter().enumerate() {
        tone(&scratch, &format!("in/Tones/{name} 1.wav"), 200.0 * (i + 1) as f32, 0.2, 0.5);
    }
    tone(&scratch, "in/Tones/low 2.wav", 200.0, 0.2, 0.5);
    tone(&scratch, "in/Tones/quiet.wav", 200.0, 0.2, 0.0009);
    tone(&scratch, "in/Tones/short.wav", 200.0, 0.04, 0.5);
    scratch.write("in/Tones/damaged.flac", "fLaC");
    scratch.write("in/Tones/other.m4a", b"\0\0\0\x20ftypM4A \0\0\0\0");
    let out = scratch.path("out");
    let prepared = prepare(&scratch.path("in"), &Options::default(), &out).unwrap();
    assert_eq!((prepared.kind, prepared.clips), (Kind::Names, 5));
    assert!((prepared.seconds - 1.0).abs() < 1e-3, "{}", prepared.seconds);
    let has = |what: &str, why: &str| prepared.skipped.iter().any(|s| s.starts_with(what) && s.contains(why));
    assert_eq!(prepared.skipped.len(), 5, "{:?}", prepared.skipped);
    for (what, why) in [
        ("Tones/low 2.wav: ", "the same sound"),
        ("Tones/quiet.wav: ", "silent"),
        ("Tones/short.wav: ", "shorter"),
        ("Tones/damaged.flac: ", "cut off"),
        ("Tones/other.m4a: ", "Apple Lossless"),
    ] {
        assert!(has(what, why), "{what}{why}: {:?}", prepared.skipped);
    }

    let cache = Cache::open(&out).unwrap();
    assert_eq!(cache.categories(), ["TONES"]);
    assert_eq!(cache.clips[0].captions, ["tone high", "high tone"]);
    assert!(!cache.indices(Split::Valid).is_empty() && !cache.indices(Split::Train).is_empty());
    assert_eq!(std::fs::read_dir(scratch.folder()).unwrap().count(), 2, "the partial cache is gone");
    let message = prepare(&scratch.path("in"), &Options::default(), &out).unwrap_err().to_string();
    assert!(message.contains("exists already"), "{message}");
}

#[test]
fn nothing_usable_says_what_was_looked_for_and_why_it_failed() {
    let scratch = Scratch::new("prepare-nothing");
    for name in ["a kick.wav", "a snare.wav"] {
        scratch.write(&format!("in/{name}"), "");
    }
    tone(&scratch, "in/silence.wav", 200.0, 0.2, 0.0);
    let fail = |folder: &str| {
        prepare(&scratch.path(folder), &Options::default(), &scratch.path("out")).unwrap_err().to_string()
    };
    let message = fail("in");
    for part in [
        "2 x the file is empty, such as a kick.wav",
        "1 x it is silent",
        "manifest.tsv",
        "esc50",
        "youtube_id",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    std::fs::create_dir(scratch.path("empty")).unwrap();
    assert!(fail("empty").contains("there is no sound file in it"), "{}", fail("empty"));
    assert!(!scratch.path("out").exists());
    assert_eq!(std::fs::read_dir(scratch.folder()).unwrap().count(), 2, "the partial cache is gone");
}
