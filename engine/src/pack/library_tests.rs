#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::pack::testing::{Folder, tiny};
use candle_core::Device;
use std::ffi::OsString;
use std::fs;

/// The name of the pack inside of the program.
fn embedded_name() -> String {
    Pack::embedded().unwrap().manifest().name.clone()
}

/// A folder in which the tiny pack lies under these names; it is called so, too.
fn folder_of(names: &[&str]) -> Folder {
    let (folder, pack) = (Folder::new(), tiny());
    for name in names {
        let place = folder.0.join(name);
        fs::create_dir(&place).unwrap();
        for entry in fs::read_dir(&pack.0).unwrap() {
            let file = entry.unwrap();
            fs::copy(file.path(), place.join(file.file_name())).unwrap();
        }
        let manifest = fs::read_to_string(place.join(MANIFEST_FILE)).unwrap();
        fs::write(place.join(MANIFEST_FILE), manifest.replace("\"tiny\"", &format!("\"{name}\""))).unwrap();
    }
    folder
}

fn joined(paths: &[&Path]) -> OsString {
    std::env::join_paths(paths).unwrap()
}

fn names(library: &Library) -> Vec<&str> {
    library.packs().iter().map(|listed| listed.name.as_str()).collect()
}

#[test]
fn the_default_pack_comes_first_and_tells_what_loading_it_tells() {
    let library = Library::scan_places(None, None);
    assert_eq!(names(&library), [embedded_name()]);
    assert!(library.notes().is_empty());
    let listed = &library.packs()[0];
    let summary = listed.pack.as_ref().unwrap();
    let pack = Pack::embedded().unwrap();
    assert_eq!((&summary.reference, &listed.folder), (&PackRef::Embedded, &None));
    assert_eq!((summary.hash.as_str(), &summary.licence), (pack.hash(), &pack.manifest().licence));
    assert_eq!(summary.recommended, pack.manifest().recommended);
    assert_eq!(summary.parameters, Some(pack.load(&Device::Cpu).unwrap().parameters));
}

#[test]
fn the_user_s_folder_and_the_variable_are_both_looked_at() {
    let (user, more, single) = (folder_of(&["b", "a"]), folder_of(&["c"]), folder_of(&["d"]));
    fs::write(user.0.join("notes.txt"), "no pack").unwrap();
    fs::create_dir(user.0.join("empty")).unwrap();
    // A folder of packs, and a pack itself.
    let variable = joined(&[&more.0, Path::new(""), &single.0.join("d")]);
    let library = Library::scan_places(Some(&user.0), Some(&variable));
    assert_eq!(names(&library)[1..], ["a", "b", "c", "d"]);
    assert!(library.notes().is_empty(), "{:?}", library.notes());
    let summary = library.packs()[4].pack.as_ref().unwrap();
    let pack = summary.reference.open().unwrap();
    assert_eq!(pack.hash(), summary.hash);
    let on_disk: u64 =
        fs::read_dir(single.0.join("d")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    let manifest = fs::metadata(single.0.join("d").join(MANIFEST_FILE)).unwrap().len();
    assert_eq!(summary.bytes, on_disk - manifest);
    assert_eq!(summary.parameters, Some(pack.load(&Device::Cpu).unwrap().parameters));
    assert_eq!(library.with_hash(&summary.hash), Some(summary));
}

#[test]
fn one_pack_in_two_places_is_one() {
    let user = folder_of(&["a"]);
    let second = Folder::new();
    fs::rename(user.0.join("a"), second.0.join("a")).unwrap();
    fs::create_dir(user.0.join("copy")).unwrap();
    for entry in fs::read_dir(second.0.join("a")).unwrap() {
        let file = entry.unwrap();
        fs::copy(file.path(), user.0.join("copy").join(file.file_name())).unwrap();
    }
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pack");
    let variable = joined(&[&second.0, &second.0.join("a"), &default]);
    let library = Library::scan_places(Some(&user.0), Some(&variable));
    assert_eq!(names(&library), [embedded_name().as_str(), "a"]);
    assert_eq!(library.packs()[1].folder, Some(user.0.join("copy")));
}

#[test]
fn broken_packs_are_listed_with_the_reason() {
    let user = folder_of(&["future", "garbage", "good", "incomplete", "short"]);
    let at = |pack: &str, file: &str| user.0.join(pack).join(file);
    let manifest = fs::read_to_string(at("future", MANIFEST_FILE)).unwrap();
    fs::write(at("future", MANIFEST_FILE), manifest.replace("\"format\": 1", "\"format\": 9")).unwrap();
    fs::write(at("garbage", MANIFEST_FILE), [0xFF; 100]).unwrap();
    fs::remove_file(at("incomplete", "codec.safetensors")).unwrap();
    fs::write(at("short", "vocoder.safetensors"), "short").unwrap();
    fs::create_dir_all(at("folder", MANIFEST_FILE)).unwrap();
    let library = Library::scan_places(Some(&user.0), None);
    assert_eq!(names(&library)[1..], ["folder", "future", "garbage", "good", "incomplete", "short"]);
    let reason = |index: usize| library.packs()[index].pack.as_ref().unwrap_err().as_str();
    for (index, expected) in [
        (1, "not a regular file"),
        (2, "has format 9"),
        (3, "pack.json is not valid"),
        (5, "codec.safetensors is missing"),
        (6, "vocoder.safetensors of the model pack has 5 bytes"),
    ] {
        assert!(reason(index).contains(expected), "{:?}", library.packs()[index]);
    }
    assert!(library.packs()[4].pack.is_ok());
}

#[cfg(unix)]
#[test]
fn what_cannot_be_looked_at_is_said_and_hinders_nothing() {
    let user = folder_of(&["good"]);
    // A link that leads to itself: unreadable even for an administrator.
    std::os::unix::fs::symlink(user.0.join("loop"), user.0.join("loop")).unwrap();
    let file = user.0.join("file");
    fs::write(&file, "").unwrap();
    let nowhere = user.0.join("nowhere");
    let library = Library::scan_places(Some(&user.0), Some(&joined(&[&file, &nowhere])));
    assert_eq!(names(&library)[1..], ["good", "loop"]);
    assert!(library.packs()[2].pack.as_ref().unwrap_err().contains("cannot be read"));
    let [first, second] = library.notes() else { panic!("{:?}", library.notes()) };
    assert!(first.contains("file cannot be read") && second.contains("nowhere cannot be read"));
    // A user who has no packs has no such folder, and that is no news.
    assert!(Library::scan_places(Some(&nowhere), None).notes().is_empty());
    let unreadable = Library::scan_places(Some(&file), None);
    assert!(unreadable.notes()[0].contains("file cannot be read"), "{:?}", unreadable.notes());
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_in_the_place_of_a_manifest_does_not_block() {
    let user = Folder::new();
    fs::create_dir(user.0.join("pipe")).unwrap();
    let pipe = user.0.join("pipe").join(MANIFEST_FILE);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let library = Library::scan_places(Some(&user.0), None);
    assert!(library.packs()[1].pack.as_ref().unwrap_err().contains("not a regular file"));
}

#[test]
fn folders_of_ten_thousand_things_are_bounded() {
    let user = Folder::new();
    for index in 0..10_000 {
        fs::write(user.0.join(format!("{index:05}")), "").unwrap();
    }
    let library = Library::scan_places(Some(&user.0), None);
    assert_eq!(library.packs().len(), 1);
    assert!(library.notes()[0].contains("only 4096"), "{:?}", library.notes());

    let crowded = Folder::new();
    for index in 0..300 {
        fs::create_dir(crowded.0.join(index.to_string())).unwrap();
        fs::write(crowded.0.join(index.to_string()).join(MANIFEST_FILE), "{}").unwrap();
    }
    let library = Library::scan_places(Some(&crowded.0), Some(crowded.0.as_os_str()));
    assert_eq!(library.packs().len(), MAX_PACKS);
    assert_eq!(library.notes(), [format!("Only the first {MAX_PACKS} packs are listed.")]);
}

#[test]
fn names_are_found_whatever_their_case_and_fit_into_a_line() {
    let user = folder_of(&["Big One", "big one", "a\\nb"]);
    let library = Library::scan_places(Some(&user.0), None);
    assert_eq!(library.with_name("BIG ONE").count(), 2);
    assert_eq!(library.with_name("ab").count(), 1, "{:?}", names(&library));
    assert_eq!(library.with_name("another").count(), 0);
}

#[test]
fn a_pack_that_was_exchanged_is_not_opened_for_the_one_that_was_listed() {
    let user = folder_of(&["a"]);
    let library = Library::scan_places(Some(&user.0), None);
    let reference = library.packs()[1].pack.as_ref().unwrap().reference.clone();
    reference.open().unwrap();
    let path = user.0.join("a").join(MANIFEST_FILE);
    let manifest = fs::read_to_string(&path).unwrap();
    fs::write(&path, manifest.replace("CC0-1.0", "MIT")).unwrap();
    assert!(matches!(reference.open(), Err(PackError::Changed { .. })));
}

#[test]
fn the_longest_sound_fits_the_columns() {
    for columns in [2, 10, 26, 53] {
        let settings = Settings { seconds: seconds(columns), ..Settings::default() };
        settings.validate().unwrap();
        assert_eq!(settings.columns(), columns);
    }
    assert_eq!(seconds(1_000), MAX_SECONDS);
}
