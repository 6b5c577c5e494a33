#![allow(clippy::unwrap_used)]

use std::{
    fs,
    time::{Duration, Instant},
};

use soundlocd_engine::clip::wav::Export;

use super::*;
use crate::{sampler::PADS, session::Model};

/// The header of a WAV of 16 or 24 bits.
fn header(channels: u16, rate: u32, bits: u16, data: usize) -> Vec<u8> {
    let frame = channels.wrapping_mul(bits / 8);
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + data as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    wav.extend(channels.to_le_bytes());
    wav.extend(rate.to_le_bytes());
    wav.extend((rate * u32::from(frame)).to_le_bytes());
    wav.extend(frame.to_le_bytes());
    wav.extend(bits.to_le_bytes());
    wav.extend(b"data");
    wav.extend((data as u32).to_le_bytes());
    wav
}

/// Writes a WAV of 16 bits.
fn wav16(path: &Path, channels: u16, rate: u32, samples: &[i16]) {
    let mut wav = header(channels, rate, 16, 2 * samples.len());
    wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    fs::write(path, wav).unwrap();
}

/// A sawtooth of so many samples: no two near ones are the same.
fn saw(samples: usize) -> Vec<i16> {
    (0..samples).map(|n| ((n * 37) % 20_000) as i16 - 10_000).collect()
}

/// Waits until the session says yes.
fn wait(session: &Session, mut done: impl FnMut(&Model) -> bool) {
    let start = Instant::now();
    while !session.with(|model| done(model)) {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing within 20 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn audio(session: &Session, pad: usize) -> Vec<f32> {
    session.with(|model| model.arrangement.pads[pad].as_ref().unwrap().clip.audio.to_vec())
}

fn message(session: &Session) -> (String, bool) {
    session.with(|model| {
        let message = model.message.clone().unwrap();
        (message.text, message.is_error)
    })
}

#[test]
fn a_dropped_sound_is_on_its_pad_sample_for_sample() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Snare_dry  2.WAV");
    let samples = saw(5000);
    wav16(&path, 1, SAMPLE_RATE, &samples);
    let session = Session::for_tests();
    session.take_files(vec![path], Some(6));
    wait(&session, |model| model.arrangement.pads[6].is_some());
    let expected: Vec<f32> = samples.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
    assert_eq!(audio(&session, 6), expected);
    session.with(|model| {
        assert_eq!((model.selected, model.arrangement.takes.len(), model.message.clone()), (6, 1, None));
        let provenance = &model.playing().unwrap().clip.provenance;
        assert_eq!((provenance.prompt.as_str(), provenance.pack_name.as_str()), ("Snare dry 2", ""));
        assert_eq!(model.arrangement.pads.iter().flatten().count(), 1);
    });
    assert!(session.shared().handover.take(6).unwrap().is_some());
    session.undo();
    assert!(session.with(|model| model.arrangement.takes.is_empty() && model.playing().is_none()));
}

#[test]
fn channels_are_averaged_and_other_rates_converted() {
    let folder = tempfile::tempdir().unwrap();
    let stereo = folder.path().join("stereo.wav");
    wav16(&stereo, 2, SAMPLE_RATE, &[16_384, 0, -8_192, 8_192, 100, 300, 1000, 1000]);
    let fast = folder.path().join("fast.wav");
    let hz = 441.0;
    let sine = |n: usize, rate: f32| (std::f32::consts::TAU * hz * n as f32 / rate).sin() * 0.5;
    wav16(&fast, 1, 44_100, &(0..44_100).map(|n| (sine(n, 44_100.0) * 32_768.0) as i16).collect::<Vec<_>>());
    let session = Session::for_tests();
    session.take_files(vec![stereo, fast], None);
    wait(&session, |model| model.arrangement.takes.len() == 2);
    assert_eq!(audio(&session, 0)[..4], [0.25, 0.0, 200.0 / 32_768.0, 1000.0 / 32_768.0]);
    let converted = audio(&session, 1);
    assert_eq!(converted.len(), SAMPLE_RATE as usize);
    let middle = 5_000..15_000;
    let worst = middle.map(|n| (converted[n] - sine(n, 22_050.0)).abs()).fold(0.0, f32::max);
    // 16 bits and the filter's ripple.
    assert!(worst < 2e-4, "{worst}");
}

#[test]
fn several_sounds_go_to_the_free_pads_and_the_rest_to_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..4)
        .map(|n| {
            let path = folder.path().join(format!("{n}.wav"));
            wav16(&path, 1, SAMPLE_RATE, &saw(3000 + n));
            path
        })
        .collect();
    let session = Session::for_tests();
    session.take_files(vec![paths[3].clone()], Some(14));
    wait(&session, |model| model.arrangement.pads[14].is_some());
    session.take_files(paths[..3].to_vec(), Some(13));
    wait(&session, |model| model.arrangement.takes.len() == 4);
    let lengths: Vec<_> = (13..PADS).map(|pad| audio(&session, pad).len()).collect();
    assert_eq!(lengths, [3000, 3003, 3001]);
}

#[test]
fn what_is_no_sound_is_refused_in_words_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let silence = folder.path().join("silence.wav");
    wav16(&silence, 1, SAMPLE_RATE, &[0; 3000]);
    // A header that claims four billion samples of 65,535 channels.
    let mut huge = header(65_535, 44_100, 16, 0);
    let end = huge.len();
    huge[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases = [
        (
            file("notes.wav", b"Dear diary, no music today."),
            "“notes.wav” cannot be used: it is no sound file",
        ),
        (file("notes.txt", b"Dear diary."), "neither an adapter nor a sound"),
        (file("empty.mp3", b""), "empty"),
        (file("huge.wav", &huge), "“huge.wav” cannot be used"),
        (silence, "silent"),
        (folder.path().join("gone.wav"), "does not exist"),
    ];
    let session = Session::for_tests();
    for (path, reason) in cases {
        session.with(|model| model.message = None);
        session.take_files(vec![path], Some(3));
        wait(&session, |model| model.message.is_some());
        let (text, is_error) = message(&session);
        assert!(is_error && text.contains(reason), "{text}");
    }
    // A folder is asked for adapters.
    session.with(|model| model.message = None);
    session.take_files(vec![folder.path().to_owned()], None);
    wait(&session, |model| model.message.is_some());
    session.with(|model| {
        assert!(model.arrangement.takes.is_empty() && model.arrangement.pads.iter().all(Option::is_none));
        assert_eq!(model.selected, 0);
    });
}

#[test]
fn of_a_long_recording_the_first_thirty_seconds_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("long.wav");
    wav16(&long, 1, 8_000, &saw(31 * 8_000));
    let session = Session::for_tests();
    session.take_files(vec![long], None);
    wait(&session, |model| model.message.is_some());
    let (text, is_error) = message(&session);
    assert!(!is_error && text.contains("“long.wav” is longer than 30 s"), "{text}");
    let audio = audio(&session, 0);
    assert_eq!(audio.len(), 30 * SAMPLE_RATE as usize);
    // Without a click at the end.
    assert_eq!(audio.last(), Some(&0.0));
}

#[test]
fn a_sound_of_ours_knows_what_it_was_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::for_tests();
    session.with(|model| model.project.prompt = "a \"tone\"".to_owned());
    session.generate(soundlocd_engine::service::Settings { seconds: 0.3, ..Default::default() }, 1);
    wait(&session, |model| model.job.is_none() && model.playing().is_some());
    let made = session.with(|model| model.playing().unwrap().clip.clone());
    let path = folder.path().join("renamed.wav");
    fs::write(&path, wav::encode(&made, &Export::default()).unwrap()).unwrap();
    session.take_files(vec![path], Some(1));
    wait(&session, |model| model.arrangement.pads[1].is_some());
    let read = session.with(|model| model.arrangement.pads[1].as_ref().unwrap().clip.clone());
    assert_eq!((&read.provenance, &read.audio), (&made.provenance, &made.audio));
}

#[test]
fn names_become_prompts_that_can_be_used() {
    let prompt = |name: &str| of_recording(Path::new(name)).prompt;
    assert_eq!(prompt("/a/b/Kick_01 (dry).wav"), "Kick 01 (dry)");
    assert_eq!(prompt("\u{1b}[31mred\n.wav"), "[31mred");
    assert_eq!(prompt(&"ö".repeat(2000)).chars().count(), MAX_PROMPT_CHARS);
    assert_eq!(prompt("___.wav"), "");
}

#[test]
fn loops_of_dropped_sounds_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip::new(vec![0.25; 22_050], Provenance::default());
    let session = Session::for_tests();
    for (pad, rate) in [22_050, 48_000].into_iter().enumerate() {
        let export = Export { loop_range: Some(2_205..20_000), ..Export::at(rate) };
        let path = folder.path().join(format!("{rate}.wav"));
        fs::write(&path, wav::encode(&clip, &export).unwrap()).unwrap();
        session.take_files(vec![path], Some(pad));
        wait(&session, |model| model.arrangement.pads[pad].is_some());
        let found = session.with(|model| model.arrangement.pads[pad].as_ref().unwrap().clip.loop_range);
        assert_eq!(found, Some((2_205, 20_000)), "{rate} Hz");
    }
    let path = folder.path().join("without.wav");
    wav16(&path, 2, 44_100, &saw(20_000));
    session.take_files(vec![path], Some(2));
    wait(&session, |model| model.arrangement.pads[2].is_some());
    assert_eq!(session.with(|model| model.arrangement.pads[2].as_ref().unwrap().clip.loop_range), None);
}
