#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{f32::consts::TAU, path::PathBuf};

use hound::{SampleFormat, WavSpec, WavWriter};

use super::*;
use crate::clip::test_support::Folder;

/// The first ten seconds.
const MOST_SECONDS: usize = 10;

fn decode(path: &Path) -> Result<Vec<f32>, DecodeError> {
    super::decode(path, MOST_SECONDS).map(|decoded| decoded.audio)
}

/// 0.3 s of 440 Hz at amplitude 0.5, made by other people's encoders: `tests/audio/README.md`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio").join(name)
}

/// Level of the 440 Hz in `audio`, and of all of it, both as a sine's amplitude.
fn tone(audio: &[f32]) -> (f32, f32) {
    // 44 whole periods from the middle, away from codecs' pre-echoes.
    let middle = &audio[SAMPLE_RATE as usize / 10..][..SAMPLE_RATE as usize / 10];
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (t, sample) in middle.iter().enumerate() {
        let phase = TAU * 440.0 * t as f32 / SAMPLE_RATE as f32;
        re += sample * phase.cos();
        im += sample * phase.sin();
        power += sample * sample;
    }
    let n = middle.len() as f32;
    (2.0 / n * re.hypot(im), (2.0 * power / n).sqrt())
}

fn assert_tone(audio: &[f32], name: &str) {
    let seconds = audio.len() as f32 / SAMPLE_RATE as f32;
    assert!((seconds - 0.3).abs() < 0.01, "{name}: {seconds} s");
    let (at_440, all) = tone(audio);
    assert!((at_440 - 0.5).abs() < 0.02 && (all - 0.5).abs() < 0.02, "{name}: {at_440}, {all}");
}

#[test]
fn reads_every_kind() {
    for name in ["tone.flac", "tone.mp3", "tone.ogg", "tone-opus.ogg", "tone.aiff"] {
        assert_tone(&decode(&fixture(name)).unwrap(), name);
    }
    // ADPCM comes in blocks, here of 0.255 s; the encoder has filled the second up.
    let adpcm = decode(&fixture("tone-adpcm.wav")).unwrap();
    assert_tone(&adpcm[..SAMPLE_RATE as usize * 3 / 10], "tone-adpcm.wav");
}

#[test]
fn the_name_does_not_matter() {
    let scratch = Folder::new();
    for (from, to) in
        [("tone-opus.ogg", "a.opus"), ("tone.ogg", "b.mp3"), ("tone.mp3", "c.wav"), ("tone.flac", "d")]
    {
        std::fs::copy(fixture(from), scratch.path(to)).unwrap();
        assert_tone(&decode(&scratch.path(to)).unwrap(), to);
    }
}

#[test]
fn reads_wav_of_all_depths_and_rates() {
    let scratch = Folder::new();
    let kinds = [8, 16, 24, 32].map(|bits| (bits, SampleFormat::Int));
    for ((bits_per_sample, sample_format), sample_rate, channels) in kinds
        .into_iter()
        .chain([(32, SampleFormat::Float)])
        .zip([8_000, 22_050, 44_100, 96_000, 48_000])
        .zip([1u16, 2, 6, 1, 2])
        .map(|((kind, rate), channels)| (kind, rate, channels))
    {
        let spec = WavSpec { channels, sample_rate, bits_per_sample, sample_format };
        let path = scratch.path(&format!("{bits_per_sample}-{channels}.wav"));
        let mut writer = WavWriter::create(&path, spec).unwrap();
        for t in 0..sample_rate * 3 / 10 {
            let sample = 0.5 * (TAU * 440.0 * t as f32 / sample_rate as f32).sin();
            for _ in 0..channels {
                match sample_format {
                    SampleFormat::Float => writer.write_sample(sample).unwrap(),
                    SampleFormat::Int => {
                        let full_scale = 2f64.powi(i32::from(bits_per_sample) - 1);
                        writer.write_sample((f64::from(sample) * full_scale).round() as i32).unwrap();
                    }
                }
            }
        }
        writer.finalize().unwrap();
        assert_tone(&decode(&path).unwrap(), &path.to_string_lossy());
    }
}

/// A 16-bit stereo WAV at the model's rate.
fn stereo(path: &Path, frames: impl Iterator<Item = [i16; 2]>) {
    let spec = WavSpec {
        channels: 2,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut writer = WavWriter::create(path, spec).unwrap();
    for sample in frames.flatten() {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
}

#[test]
fn averages_channels_and_keeps_the_first_seconds() {
    let scratch = Folder::new();
    let path = scratch.path("tone.wav");
    stereo(&path, [[16_384, 0], [-16_384, -16_384]].into_iter());
    assert_eq!(decode(&path).unwrap(), [0.25, -0.5]);

    let limit = MOST_SECONDS * SAMPLE_RATE as usize;
    stereo(&path, (0..limit + 5000).map(|t| [if t < limit { 100 } else { 9 }; 2]));
    let decoded = super::decode(&path, MOST_SECONDS).unwrap();
    assert_eq!((decoded.audio.len(), decoded.is_cut), (limit, true));
    assert!(decoded.audio.iter().all(|&sample| sample == 100.0 / 32_768.0));
    // As long as is allowed is not too long.
    stereo(&path, std::iter::repeat_n([5; 2], limit));
    let decoded = super::decode(&path, MOST_SECONDS).unwrap();
    assert_eq!((decoded.audio.len(), decoded.is_cut), (limit, false));
    let opus = super::decode(&fixture("tone-opus.ogg"), 0).unwrap();
    assert_eq!((opus.audio.len(), opus.is_cut), (0, true));
}

#[test]
fn a_cut_file_is_kept_up_to_the_cut_or_refused() {
    let scratch = Folder::new();
    let path = scratch.path("cut.wav");
    stereo(&path, (0..6000).map(|t| [t; 2]));
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..44 + 4 * 3000]).unwrap();
    let audio = decode(&path).unwrap();
    assert!(audio.len() > 1500 && audio.len() <= 3000, "{}", audio.len());
    assert!(audio.iter().enumerate().all(|(t, &sample)| sample == t as f32 / 32_768.0));

    for name in ["tone.flac", "tone.mp3", "tone.ogg", "tone-opus.ogg", "tone.aiff", "tone-adpcm.wav"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for part in 1..16 {
            std::fs::write(&path, &whole[..whole.len() * part / 16]).unwrap();
            if let Ok(audio) = decode(&path) {
                assert!(audio.len() < SAMPLE_RATE as usize / 2, "{name}, {part}/16: {}", audio.len());
            }
        }
    }
}

/// The header of a WAV that claims more than there is.
fn claiming(channels: u16, rate: u32, align: u16, bits: u16, length: u32) -> Vec<u8> {
    let mut wav = b"RIFF".to_vec();
    wav.extend(u32::MAX.to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    wav.extend(channels.to_le_bytes());
    wav.extend(rate.to_le_bytes());
    wav.extend(rate.wrapping_mul(align.into()).to_le_bytes());
    wav.extend(align.to_le_bytes());
    wav.extend(bits.to_le_bytes());
    wav.extend(b"data");
    wav.extend(length.to_le_bytes());
    wav.extend([7; 400]);
    wav
}

#[test]
fn refuses_in_words_what_is_no_sound() {
    let scratch = Folder::new();
    let not_a_number = {
        let mut wav = claiming(1, 22_050, 4, 32, 8);
        wav[20] = 3;
        let data = wav.len() - 400;
        wav[data..data + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        wav
    };
    let cases: &[(&str, &[u8], &str)] = &[
        ("empty.wav", b"", "empty"),
        ("cut.wav", b"RIFF", "kind that can be read: WAV, AIFF"),
        ("cut.opus", b"OggS\0", "cut off"),
        ("notes.mp3", b"Dear diary, no music today.", "kind that can be read"),
        ("song.m4a", &std::fs::read(fixture("tone.m4a")).unwrap(), "AAC or Apple Lossless"),
        ("channels.wav", &claiming(60_000, 44_100, 60_000, 8, 400), "channel"),
        ("slow.wav", &claiming(1, 3, 2, 16, 400), "sample rate is 3 Hz"),
        ("fast.wav", &claiming(1, u32::MAX, 2, 16, 400), "sample rate"),
        ("none.wav", &claiming(0, 44_100, 0, 16, 400), "damaged"),
        ("nan.wav", &not_a_number, "not numbers"),
    ];
    for (name, bytes, reason) in cases {
        let path = scratch.path(name);
        std::fs::write(&path, bytes).unwrap();
        let message = format!("{:#}", decode(&path).unwrap_err());
        assert!(message.contains(reason), "{name}: {message}");
    }
    // A length of 4 GB with 100 frames behind it is those frames.
    let path = scratch.path("long.wav");
    std::fs::write(&path, claiming(2, 22_050, 4, 16, u32::MAX)).unwrap();
    assert!(decode(&path).unwrap().len() <= 100);
}

#[test]
fn damage_anywhere_is_survived() {
    let scratch = Folder::new();
    let path = scratch.path("damaged");
    // xorshift64, so that every run sees the same damage.
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for name in ["tone.flac", "tone.mp3", "tone.ogg", "tone-opus.ogg", "tone.aiff", "tone-adpcm.wav"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for round in 0..40 {
            let mut bytes = whole.clone();
            let reach = if round % 2 == 0 { 200 } else { bytes.len() };
            for _ in 0..=random(5) {
                bytes[random(reach)] = [0, 0xff, random(256) as u8][random(3)];
            }
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(audio) = decode(&path) {
                assert!(audio.len() <= MOST_SECONDS * SAMPLE_RATE as usize, "{name}, round {round}");
            }
        }
    }
}
