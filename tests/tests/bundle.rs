//! The `.clap` file as it is installed. `cargo xtask test` builds it and runs these; a plain
//! `cargo test` leaves them out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::path::PathBuf;
use std::time::Instant;

use soundlocd_tests::clap_host::{Event, Instance, PLUGIN_ID, entry_from_file};
use soundlocd_tests::{plugin_state, process, sounds};

/// `bundled/SoundLoCD.clap` in the build folder that this test program lies in
/// (`<build folder>/debug/deps/bundle-...`).
fn bundle() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().join("bundled/SoundLoCD.clap")
}

#[test]
#[ignore = "needs the bundle: run by `cargo xtask test`"]
fn a_scan_loads_no_model() {
    // The whole default pack is in the file; a scan must not pull it into memory. First of all by its name: what other
    // tests have loaded and freed would hide it.
    let pack_and_more = std::fs::metadata(bundle()).unwrap().len();
    let before = process::resident_bytes();
    let threads = process::thread_names().len();

    let entry = entry_from_file(&bundle());
    let mut instances: Vec<_> = (0..4).map(|_| Instance::new(&entry)).collect();
    for instance in &mut instances {
        instance.parameters();
        instance.save();
    }

    let grown = process::resident_bytes().saturating_sub(before);
    println!("{} MiB for four instances of a {} MiB file", grown >> 20, pack_and_more >> 20);
    assert!(grown < 32 << 20, "{} MiB more in memory after scanning", grown >> 20);
    let started = process::thread_names();
    // nice-plug has one helper thread for all instances.
    assert!(started.len() <= threads + 1, "threads after scanning: {started:?}");
}

#[test]
#[ignore = "needs the bundle: run by `cargo xtask test`"]
fn lists_one_instrument() {
    let entry = entry_from_file(&bundle());
    let factory = entry.get_plugin_factory().unwrap();
    let descriptors: Vec<_> = factory.plugin_descriptors().collect();
    assert_eq!(descriptors.len(), 1);
    assert_eq!(descriptors[0].id(), Some(PLUGIN_ID));
    assert_eq!(descriptors[0].name(), Some(c"SoundLoCD"));
    let features: Vec<_> = descriptors[0].features().collect();
    assert!(features.contains(&c"instrument"), "{features:?}");
}

#[test]
#[ignore = "needs the bundle: run by `cargo xtask test`"]
fn plays_and_keeps_its_project() {
    let entry = entry_from_file(&bundle());
    let mut instance = Instance::new(&entry);
    let state = plugin_state::with_clip(&instance.save(), &sounds::sine_clip(440.0, 1.0));
    assert!(instance.load(&state));
    let note = [(100, Event::NoteOn { key: 60, velocity: 1.0 })];
    let played = instance.render(48_000.0, 480, 24_000, &note);
    assert!(sounds::peak(&played[0]) > 0.05);

    let project = instance.save();
    let mut again = Instance::new(&entry);
    assert!(again.load(&project));
    assert_eq!(again.render(48_000.0, 480, 24_000, &note), played);
}

#[test]
#[ignore = "needs the bundle: run by `cargo xtask test`"]
fn long_sounds_take_little_room_and_open_at_once() {
    // Ten seconds of the hardest sound to compress: the project may grow by a megabyte.
    let entry = entry_from_file(&bundle());
    let mut instance = Instance::new(&entry);
    let empty = instance.save();
    let noise = sounds::noise_clip(1, 10.0);
    assert!(instance.load(&plugin_state::with_clip(&empty, &noise)));
    let grown = instance.save().len() - empty.len();
    println!("{} bytes without a sound, {grown} for ten seconds of noise", empty.len());
    assert!(grown < 1_000_000, "{grown} bytes");

    let mut object = plugin_state::object(&empty);
    let clips: Vec<_> = (0..16).map(|seed| sounds::noise_clip(seed, 10.0)).collect();
    plugin_state::set_clips(&mut object, &clips);
    let project = plugin_state::from_json(&object);
    let one = plugin_state::with_clip(&empty, &noise);
    // The least of several, since other programs run too.
    let mut milliseconds = |project: &[u8]| {
        let once = |_| {
            let start = Instant::now();
            assert!(instance.load(project));
            start.elapsed().as_secs_f64() * 1e3
        };
        (0..5).map(once).fold(f64::INFINITY, f64::min)
    };
    let (one, all) = (milliseconds(&one), milliseconds(&project));
    println!("opened with one sound in {one:.1} ms, with sixteen in {all:.1} ms");
    assert!(all < 32.0 * one, "sixteen sounds take {all} ms, one takes {one} ms");
    assert!(plugin_state::clips(&instance.save()) == clips, "sounds were changed");
}
