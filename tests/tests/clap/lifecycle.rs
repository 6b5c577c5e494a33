//! Creation and deletion: cheap, in any number, at any time.

use soundlocd_tests::clap_host::{Event, Instance, entry_in_process};
use soundlocd_tests::process::thread_names;

use crate::{ROOT, plain_instance};

#[test]
fn many_instances_live_side_by_side() {
    let entry = entry_in_process();
    let mut instances: Vec<_> = (0..16).map(|_| Instance::new(&entry)).collect();
    for instance in &mut instances {
        instance.render(48_000.0, 128, 1_000, &[(0, Event::NoteOn { key: ROOT, velocity: 1.0 })]);
    }
    // Not in the order of creation.
    while !instances.is_empty() {
        instances.swap_remove(instances.len() / 2);
    }
}

#[test]
fn an_instance_may_be_deleted_while_a_note_sounds() {
    for _ in 0..5 {
        let mut instance = plain_instance();
        let mut playing = instance.start(48_000.0, 256);
        playing.play(1_024, [256; 4], &[(0, Event::NoteOn { key: ROOT, velocity: 1.0 })]);
        drop(playing);
        drop(instance);
    }
}

#[test]
fn activation_may_be_repeated() {
    let mut instance = plain_instance();
    for n in 0..20 {
        let rate = if n % 2 == 0 { 44_100.0 } else { 192_000.0 };
        drop(instance.start(rate, 1 << (n % 14)));
    }
}

#[test]
fn neither_scanning_nor_playing_starts_the_model() {
    let mut instance = plain_instance();
    instance.render(48_000.0, 256, 4_096, &[(0, Event::NoteOn { key: ROOT, velocity: 1.0 })]);
    let threads = thread_names();
    assert!(!threads.iter().any(|name| name.starts_with(crate::ENGINE_THREAD)), "{threads:?}");
}
