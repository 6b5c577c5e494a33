#![allow(clippy::unwrap_used)]

use std::fs;

use soundlocd_engine::service::{Request, Settings};

use super::*;
use crate::testing::tone;

fn take(seed: u64) -> Arc<Take> {
    let settings = Settings { seconds: 0.2, ..Settings::default() };
    Arc::new(Take::new(seed, Arc::new(tone(&Request { settings, ..Request::new("a tone", seed) }, 0))))
}

/// Writes sounds into a folder.
fn write(sounds: Vec<Outgoing>, folder: &Path) -> Vec<PathBuf> {
    Parcel::new(sounds, SAMPLE_RATE, Some(folder.to_owned())).write().clone().unwrap()
}

/// The chunk `smpl` of a WAV file as 32-bit numbers: found by its name, which is in nothing else here.
fn smpl(path: &Path) -> Option<Vec<u32>> {
    let bytes = fs::read(path).unwrap();
    let at = bytes.windows(4).position(|name| name == b"smpl")?;
    let numbers: Vec<u32> =
        bytes[at + 4..].chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect();
    Some(numbers[1..=numbers[0] as usize / 4].to_vec())
}

#[test]
fn files_hold_the_samples_in_24_bits_in_the_order_asked() {
    let folder = tempfile::tempdir().unwrap();
    let takes = [take(5), take(3)];
    let paths = write(takes.iter().cloned().map(Outgoing::plain).collect(), &folder.path().join("new"));
    for (path, take) in paths.iter().zip(&takes) {
        let bytes = fs::read(path).unwrap();
        let data = bytes.windows(4).position(|name| name == b"data").unwrap() + 8;
        let samples = bytes[data..].chunks_exact(3).map(|b| i32::from_le_bytes([0, b[0], b[1], b[2]]) >> 8);
        let expected: Vec<i32> = take.clip.audio.iter().map(|x| (x * 8_388_608.0) as i32).collect();
        assert_eq!(samples.take(expected.len()).collect::<Vec<_>>(), expected);
        assert_eq!(smpl(path), None);
    }
}

#[test]
fn a_file_is_written_once_for_the_same_settings() {
    let folder = tempfile::tempdir().unwrap();
    let take = take(7);
    let pad = |root_key, loop_range| Outgoing { take: Arc::clone(&take), root_key, loop_range };
    let plain = write(vec![pad(None, None)], folder.path());
    assert_eq!(write(vec![pad(None, None)], folder.path()), plain);
    let c3 = write(vec![pad(Some(48.0), None)], folder.path());
    let looped = write(vec![pad(Some(48.0), Some(100..2000))], folder.path());
    assert_eq!(write(vec![pad(Some(48.0), None)], folder.path()), c3);
    let mut all = vec![plain[0].clone(), c3[0].clone(), looped[0].clone()];
    all.sort();
    all.dedup();
    assert_eq!((all.len(), fs::read_dir(folder.path()).unwrap().count()), (3, 3));
    // MIDI unity note is the fourth number, the number of loops the eighth; a loop's ends are both played.
    assert_eq!(smpl(&c3[0]).unwrap()[3], 48);
    let numbers = smpl(&looped[0]).unwrap();
    assert_eq!((numbers[3], numbers[7], numbers[11], numbers[12]), (48, 1, 100, 1999));
    // What the user has deleted is written again.
    fs::remove_file(&plain[0]).unwrap();
    assert!(write(vec![pad(None, None)], folder.path())[0].is_file());
}

#[test]
fn the_file_of_the_library_is_used_for_the_plain_sound_alone() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept.wav");
    fs::write(&kept, b"RIFF").unwrap();
    let take = take(9);
    take.file.set(kept.clone());
    let sounds = folder.path().join("Sounds");
    assert_eq!(write(vec![Outgoing::plain(Arc::clone(&take))], &sounds), std::slice::from_ref(&kept));
    assert!(!sounds.exists());
    let pad = Outgoing { take: Arc::clone(&take), root_key: Some(60.0), loop_range: None };
    assert_ne!(write(vec![pad], &sounds), std::slice::from_ref(&kept));
    let fast = Parcel::new(vec![Outgoing::plain(Arc::clone(&take))], 48_000, Some(sounds.clone()));
    assert!(fast.write().clone().unwrap()[0].starts_with(&sounds));
    fs::remove_file(&kept).unwrap();
    assert!(write(vec![Outgoing::plain(take)], &sounds)[0].starts_with(&sounds));
}

#[test]
fn what_cannot_be_written_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let parcel = |folder| Parcel::new(vec![Outgoing::plain(take(1))], SAMPLE_RATE, folder);
    let error = parcel(Some(file.join("Sounds"))).write().clone().unwrap_err();
    assert!(error.contains("Could not save"), "{error}");
    let error = parcel(None).write().clone().unwrap_err();
    assert!(error.contains("home folder"), "{error}");
}
