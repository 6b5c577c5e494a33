#![allow(clippy::unwrap_used)]
use std::{fs, path::Path};

use super::*;
use crate::clip::{
    ClipError,
    test_support::{Folder, clip, noise},
    wav::write::chunk,
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
        assert_eq!(read_provenance(&path), found.provenance);
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
    let history = b"A=PCM,F=22050,W=24,M=mono,T=SoundLoCD 0.1.0\r\nA=PCM,F=48000,W=24,M=mono,T=SRC\r\n";
    assert!(bext[602..].starts_with(history));
    assert!(at(b"INAM") < at(b"data"));
    assert!(bytes[at(b"INAM") + 8..].starts_with("Glocken & \u{1F514}".as_bytes()));
    assert!(bytes[at(b"ICRD") + 8..].starts_with(b"2023-11-14\0"));
    assert!(bytes[at(b"ISFT") + 8..].starts_with(b"SoundLoCD 0.1.0\0"));
    let comment = "Glocken & \u{1F514} \"läuten\" <leise> صوت (seed 18446744073709551615, variation 4, without: hiss, \
                   model: default, adapter: bells at 0.7)\0";
    assert!(bytes[at(b"ICMT") + 8..].starts_with(comment.as_bytes()));
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
    for name in [b"RIFF", b"fmt ", b"bext", b"iXML", b"LIST", b"ICMT", b"data"] {
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

/// A file of the first versions: the provenance is JSON in LIST INFO's comment.
#[test]
fn provenance_in_the_comment_is_understood() {
    let original = clip(noise(100));
    let json = original.provenance.to_json() + "\0";
    let mut list = b"INFO".to_vec();
    chunk(&mut list, b"ICMT", json.as_bytes());
    let bytes = bytes_of(100, 22_050);
    let mut body = b"WAVE".to_vec();
    for (name, content) in parsed(&bytes).0 {
        match &name {
            b"iXML" => {}
            b"LIST" => chunk(&mut body, b"LIST", &list),
            name => chunk(&mut body, name, content),
        }
    }
    let mut old = Vec::new();
    chunk(&mut old, b"RIFF", &body);
    assert_eq!(read::decode(&old).unwrap().provenance, Some(original.provenance));
}

/// Name and content.
type Chunk<'a> = ([u8; 4], &'a [u8]);

/// The chunks of a RIFF file and of its LIST, by the letter of the format: sizes add up to the file's, chunks begin at even
/// places. Written apart from the reader, which forgives.
fn parsed(bytes: &[u8]) -> (Vec<Chunk<'_>>, Vec<Chunk<'_>>) {
    fn walk(bytes: &[u8]) -> Vec<Chunk<'_>> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let size = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
            found.push((bytes[at..at + 4].try_into().unwrap(), &bytes[at + 8..at + 8 + size]));
            assert!(size.is_multiple_of(2) || bytes[at + 8 + size] == 0);
            at += 8 + size + size % 2;
        }
        assert_eq!(at, bytes.len());
        found
    }
    assert_eq!((&bytes[..4], &bytes[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize, bytes.len() - 8);
    let chunks = walk(&bytes[12..]);
    let list = chunks.iter().find(|(name, _)| name == b"LIST").unwrap().1;
    assert_eq!(&list[..4], b"INFO");
    let info = walk(&list[4..]);
    (chunks, info)
}

/// Everything that a file can hold.
fn full_export(len: usize, sample_rate: u32) -> Export {
    Export {
        root_key: Some(57.5),
        loop_range: Some(0..len),
        tempo: Some(90.0),
        artist: "A. \u{1F3A7} Ünal\0".into(),
        keywords: vec!["bell".into(), "a\nb".into()],
        ..Export::at(sample_rate)
    }
}

#[test]
fn chunks_are_whole_and_in_order() {
    for (len, rate) in [(999, 22_050), (1_000, 44_100), (22_050, 48_000)] {
        let bytes = encode(&clip(noise(len)), &full_export(len, rate)).unwrap();
        let (chunks, info) = parsed(&bytes);
        let names: Vec<&[u8]> = chunks.iter().map(|(name, _)| &name[..]).collect();
        let expected: [&[u8]; 7] = [b"fmt ", b"bext", b"iXML", b"LIST", b"smpl", b"acid", b"data"];
        assert_eq!(names, expected);
        let sizes: Vec<usize> = chunks.iter().map(|(_, content)| content.len()).collect();
        assert_eq!((sizes[0], sizes[4], sizes[5]), (16, 36 + 24, 24));
        let text = |wanted: &[u8; 4]| {
            let content = info.iter().find(|(name, _)| name == wanted).unwrap().1;
            let end = content.iter().position(|&b| b == 0).unwrap();
            assert!(content[end..].iter().all(|&b| b == 0));
            std::str::from_utf8(&content[..end]).unwrap()
        };
        assert_eq!(text(b"IART"), "A. \u{1F3A7} Ünal ");
        assert_eq!(text(b"IKEY"), "bell; a b");
    }
    // Without options there is nothing for samplers.
    let bytes = bytes_of(100, 22_050);
    let (chunks, info) = parsed(&bytes);
    assert!(chunks.iter().all(|(name, _)| name != b"smpl" && name != b"acid"));
    assert!(info.iter().all(|(name, _)| name != b"IART" && name != b"IKEY"));
}

/// symphonia is another reader that nobody here wrote.
#[test]
fn a_second_reader_sees_the_same_samples() {
    use symphonia::core::{codecs::audio::AudioDecoderOptions, formats::TrackType, io::MediaSourceStream};

    let original = clip(noise(4_001));
    let bytes = encode(&original, &full_export(4_001, 22_050)).unwrap();
    let source = MediaSourceStream::new(Box::new(std::io::Cursor::new(bytes)), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Default::default(), source, Default::default(), Default::default())
        .unwrap();
    let track = format.default_track(TrackType::Audio).unwrap();
    let parameters = track.codec_params.as_ref().unwrap().audio().unwrap();
    assert_eq!((parameters.sample_rate, parameters.bits_per_sample), (Some(22_050), Some(24)));
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .unwrap();
    let (mut found, mut part) = (Vec::new(), Vec::<f32>::new());
    while let Some(packet) = format.next_packet().unwrap() {
        decoder.decode(&packet).unwrap().copy_to_vec_interleaved(&mut part);
        found.extend_from_slice(&part);
    }
    assert_eq!(found, *original.audio);
}

#[test]
fn hostile_texts_come_back_or_cost_only_themselves() {
    let texts = [
        "\u{0}\u{1}\u{1b}[31m\u{7f}\u{85}\u{9f}".to_owned(),
        "</PROVENANCE></SOUNDLOCD></BWFXML>".to_owned(),
        "<SOUNDLOCD><PROVENANCE>{}</PROVENANCE></SOUNDLOCD>".to_owned(),
        "&amp;lt; &#0; ]]> \u{FFFE}\u{FFFF} \\u0000 \"'".to_owned(),
        "\u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467} \u{202E}abc".repeat(50),
        "\u{10FFFF}".to_owned(),
        "x".repeat(60_000),
        "<".repeat(60_000),
    ];
    for text in texts {
        let mut original = clip(noise(10));
        original.provenance.prompt = text.clone();
        original.provenance.negative_prompt = Some(text.clone());
        original.provenance.adapters[0].name = text.clone();
        original.provenance.pack_name = text.clone();
        let export = Export { artist: text.clone(), keywords: vec![text.clone()], ..full_export(10, 22_050) };
        let bytes = encode(&original, &export).unwrap();
        let (chunks, _) = parsed(&bytes);
        let found = read::decode(&bytes).unwrap();
        assert_eq!(found.audio, *original.audio);
        let fits = original.provenance.to_json().len() <= 64 << 10;
        assert_eq!(found.provenance, fits.then_some(original.provenance), "{:.40}", text);
        let xml = std::str::from_utf8(chunks.iter().find(|(name, _)| name == b"iXML").unwrap().1).unwrap();
        let is_allowed = |c: char| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}');
        assert!(xml.lines().all(|line| line.chars().all(is_allowed)));
        assert_eq!(xml.matches("</BWFXML>").count(), 1);
    }
}

#[test]
fn categories_are_told_to_sound_libraries() {
    let mut original = clip(noise(10));
    original.provenance.prompt = "a heavy wooden door creaks".into();
    let bytes = encode(&original, &Export::default()).unwrap();
    let (chunks, _) = parsed(&bytes);
    let xml = std::str::from_utf8(chunks.iter().find(|(name, _)| name == b"iXML").unwrap().1).unwrap();
    for field in [
        "<SCENE>a heavy wooden door creaks</SCENE><TAKE>4</TAKE>",
        "<FXNAME>A Heavy Wooden Door Creaks</FXNAME>",
        "<CATID>DOORWood</CATID><CATEGORY>DOORS</CATEGORY><SUBCATEGORY>WOOD</SUBCATEGORY>",
    ] {
        assert!(xml.contains(field), "{field} in {xml}");
    }
}

#[test]
fn saving_never_replaces_a_file() {
    let folder = Folder::new();
    let sounds = folder.path("new/sounds");
    let original = clip(noise(100));
    let mut other = clip(noise(50));
    other.provenance = original.provenance.clone();
    let save = |clip| save(&sounds, clip, &Naming::Prompt, &Export::default()).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let paths = [save(&original), save(&other), save(&original)];
    let stem = "Glocken & \u{1F514} läuten leise صوت 18446744073709551615-4";
    assert_eq!(name(&paths[0]), format!("{stem}.wav"));
    assert_eq!(name(&paths[1]), format!("{stem} 2.wav"));
    assert_eq!(name(&paths[2]), format!("{stem} 3.wav"));
    for (path, clip) in paths.iter().zip([&original, &other, &original]) {
        assert_eq!(read(path).unwrap().audio, *clip.audio);
    }
    assert_eq!(fs::read_dir(&sounds).unwrap().count(), 3);
    // A file where the folder should be.
    let error = super::save(&paths[0], &original, &Naming::Prompt, &Export::default()).unwrap_err();
    assert!(matches!(error, ClipError::Write { .. }), "{error}");
}

/// Leaves files with everything in them, for a look at them with programs that are not crates.
#[test]
#[ignore = "by hand, with SOUNDLOCD_EXAMPLES naming a folder"]
fn examples_for_other_programs() {
    let folder = std::path::PathBuf::from(std::env::var_os("SOUNDLOCD_EXAMPLES").unwrap());
    for rate in [22_050, 48_000] {
        save(&folder, &clip(noise(44_100)), &Naming::Prompt, &full_export(44_100, rate)).unwrap();
    }
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
