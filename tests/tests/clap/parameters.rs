//! Parameters as a host sees them.

use std::collections::HashSet;

use soundlocd_tests::clap_host::{Event, Instance, entry_in_process};

/// nice-plug's CLAP id of a parameter: a 31-bit Java-style hash of its id in the source. Written
/// out here since hosts store the number in every project that automates the parameter.
fn clap_id(id: &str) -> u32 {
    id.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte))) & !(1 << 31)
}

/// All ids that were ever released. Add to this list; never change or remove one.
const IDS: &[&str] = &[
    "gain",
    "attack",
    "decay",
    "sustain",
    "release",
    "root",
    "tracking",
    "tune",
    "bend",
    "velocity",
    "oneshot",
    "voices",
    "length",
    "quality",
    "guidance",
    "randomness",
    "variations",
    "revision",
    "vibrato",
    "wheelcutoff",
    "presscutoff",
];

/// The ids of a pad: pad 1 has them as they are (some are older than pads, and above), the others with their number
/// before, as in "pad2_level".
const PAD_IDS: &[&str] = &[
    "level",
    "pan",
    "low",
    "high",
    "root",
    "tracking",
    "tune",
    "velocity",
    "velcurve",
    "mode",
    "start",
    "end",
    "fadein",
    "fadeout",
    "loopstart",
    "loopend",
    "crossfade",
    "reverse",
    "attack",
    "decay",
    "sustain",
    "release",
    "filter",
    "cutoff",
    "resonance",
    "choke",
    "output",
];

#[test]
fn ids_are_the_ones_in_old_projects() {
    let mut instance = Instance::new(&entry_in_process());
    let ids: HashSet<u32> = instance.parameters().iter().map(|parameter| parameter.id).collect();
    let pads = (1..=16).flat_map(|pad| {
        let prefix = if pad == 1 { String::new() } else { format!("pad{pad}_") };
        PAD_IDS.iter().map(move |id| format!("{prefix}{id}"))
    });
    for id in IDS.iter().map(|id| (*id).to_owned()).chain(pads) {
        assert!(ids.contains(&clap_id(&id)), "parameter {id} is gone");
    }
    assert_eq!(ids.len(), instance.parameters().len(), "two parameters share an id");
}

#[test]
fn every_parameter_has_a_name_and_a_range_around_its_default() {
    let mut instance = Instance::new(&entry_in_process());
    for parameter in instance.parameters() {
        assert!(!parameter.name.trim().is_empty(), "{parameter:?}");
        assert!(parameter.least < parameter.most, "{parameter:?}");
        assert!((parameter.least..=parameter.most).contains(&parameter.default), "{parameter:?}");
        assert_eq!(instance.value(parameter.id), Some(parameter.default), "{parameter:?}");
    }
}

#[test]
fn text_reads_back_to_the_value_it_was_written_from() {
    let mut instance = Instance::new(&entry_in_process());
    for parameter in instance.parameters() {
        for value in [parameter.least, parameter.default, parameter.most] {
            let (text, back) = instance.text_round_trip(parameter.id, value);
            let back = back.unwrap_or_else(|| panic!("{}: {text:?} is not read", parameter.name));
            let (again, _) = instance.text_round_trip(parameter.id, back);
            assert_eq!(again, text, "{}", parameter.name);
        }
    }
}

#[test]
fn the_change_counter_is_hidden() {
    let mut instance = Instance::new(&entry_in_process());
    let revision = instance.parameters().into_iter().find(|p| p.id == clap_id("revision")).unwrap();
    assert!(revision.hidden, "{revision:?}");
}

#[test]
fn automation_reaches_the_parameter() {
    let mut instance = Instance::new(&entry_in_process());
    let gain = instance.parameters().into_iter().find(|p| p.id == clap_id("gain")).unwrap();
    instance.render(44_100.0, 64, 64, &[(3, Event::Parameter { id: gain.id, value: gain.least })]);
    assert_eq!(instance.value(gain.id), Some(gain.least));
}
