//! Projects: what is saved comes back bit for bit, and damage is survived.

use serde_json::{Value, json};
use soundlocd_tests::clap_host::{Event, Instance, entry_in_process};
use soundlocd_tests::{plugin_state, sounds};

use crate::{PITCH, ROOT, plain_instance};

/// One note on the root key, rendered at 48 kHz.
fn bounce(instance: &mut Instance) -> [Vec<f32>; 2] {
    instance.render(48_000.0, 512, 24_000, &[(0, Event::NoteOn { key: ROOT, velocity: 0.8 })])
}

#[test]
fn a_project_sounds_the_same_after_reopening() {
    let mut before = plain_instance();
    let played = bounce(&mut before);
    let project = before.save();
    drop(before);

    let mut after = Instance::new(&entry_in_process());
    assert!(after.load(&project));
    assert_eq!(bounce(&mut after), played);
    assert_eq!(plugin_state::object(&after.save()), plugin_state::object(&project));
}

#[test]
fn the_saved_clip_is_lossless() {
    let mut instance = plain_instance();
    let saved = plugin_state::clip(&instance.save());
    assert_eq!(saved, sounds::sine_clip(PITCH, 2.0));
}

#[test]
fn a_project_may_be_opened_and_saved_while_playing() {
    let mut instance = plain_instance();
    let project = instance.save();
    let mut playing = instance.start(48_000.0, 256);
    for _ in 0..20 {
        let [left, right] =
            playing.play(2_048, std::iter::repeat(256), &[(0, Event::NoteOn { key: ROOT, velocity: 1.0 })]);
        assert!(left.iter().chain(&right).all(|sample| sample.is_finite()));
        assert!(playing.instance().load(&project));
        assert_eq!(plugin_state::object(&playing.instance().save()), plugin_state::object(&project));
    }
}

#[test]
fn opening_a_project_without_a_clip_removes_the_old_one() {
    let empty = Instance::new(&entry_in_process()).save();
    let mut instance = plain_instance();
    bounce(&mut instance);
    assert!(instance.load(&empty));
    let [left, _] = bounce(&mut instance);
    assert_eq!(sounds::peak(&left), 0.0);
}

#[test]
fn a_project_from_before_pads_plays_its_clip_to_the_end_if_it_did() {
    let mut object = plugin_state::before_pads(plugin_state::object(&plain_instance().save()));
    let params = object["params"].as_object_mut().unwrap();
    let old = [
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
    ];
    params.retain(|id, _| old.contains(&id.as_str()));
    let events = [(0, Event::NoteOn { key: ROOT, velocity: 0.8 }), (4_000, Event::NoteOff { key: ROOT })];
    for is_one_shot in [false, true] {
        *plugin_state::parameter(&mut object, "oneshot") = json!(is_one_shot);
        let mut instance = Instance::new(&entry_in_process());
        assert!(instance.load(&plugin_state::from_json(&object)));
        // The clip is two seconds long.
        let [left, _] = instance.render(48_000.0, 512, 60_000, &events);
        assert_eq!(sounds::peak(&left[50_000..]) > 0.1, is_one_shot);
        assert_eq!(plugin_state::clip(&instance.save()), sounds::sine_clip(PITCH, 2.0));
        let mut saved = plugin_state::object(&instance.save());
        let mode = plugin_state::parameter(&mut saved, "mode").clone();
        assert_eq!(mode, json!(if is_one_shot { "one_shot" } else { "gate" }));
    }
}

/// States that no version of the plugin ever wrote.
fn damaged_states() -> Vec<(&'static str, Vec<u8>)> {
    let good = plain_instance().save();
    let object = plugin_state::object(&good);
    let with_field = |name: &str, value: &Value| {
        let mut object = object.clone();
        plugin_state::set_field(&mut object, name, value);
        plugin_state::from_json(&object)
    };
    // As the clip of an older project, and as a sound of the kit.
    let old = plugin_state::before_pads(object.clone());
    let with_clip = |value: &Value| {
        let mut object = old.clone();
        plugin_state::set_field(&mut object, "clip", value);
        plugin_state::from_json(&object)
    };
    let kit = plugin_state::kit(&object);
    let with_kit = |name: &str, value: &Value| {
        let mut kit = kit.clone();
        kit[name] = value.clone();
        with_field("kit", &kit)
    };
    let clip = kit["clips"][0].as_str().unwrap();
    let flipped: String = clip
        .char_indices()
        .map(|(n, c)| if n == clip.len() / 2 { if c == 'A' { 'B' } else { 'A' } } else { c })
        .collect();
    let mut raw_field = object.clone();
    raw_field["fields"]["kit"] = json!("{not json");
    let every_parameter = |float: f64, integer: i32| {
        let mut object = object.clone();
        for (_, value) in object["params"].as_object_mut().unwrap() {
            if let Some(value) = value.get_mut("f32") {
                *value = json!(float);
            } else if let Some(value) = value.get_mut("i32") {
                *value = json!(integer);
            }
        }
        plugin_state::from_json(&object)
    };
    let mut wrong = object.clone();
    for (_, value) in wrong["params"].as_object_mut().unwrap() {
        *value = json!("purple");
    }
    vec![
        ("nothing", Vec::new()),
        ("half a length", vec![1, 2, 3]),
        ("a length and no state", 1_000u64.to_le_bytes().to_vec()),
        ("an endless length", [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat()),
        ("a truncated state", good[..good.len() / 2].to_vec()),
        ("zeros", plugin_state::from_text(&[0; 4_096])),
        ("another program's bytes", plugin_state::from_text(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")),
        ("an empty object", plugin_state::from_json(&json!({}))),
        (
            "another plugin's state",
            plugin_state::from_json(&json!({"version": "1", "params": {"cutoff": 5.0}, "fields": {}})),
        ),
        ("a list", plugin_state::from_json(&json!([1, 2, 3]))),
        ("a clip of a wrong type", with_clip(&json!({"a": 1}))),
        ("a clip that is no base64", with_clip(&json!("!!!!"))),
        ("a clip of other bytes", with_clip(&json!("SGVsbG8sIHdvcmxkIQ=="))),
        ("a truncated clip", with_kit("clips", &json!([&clip[..clip.len() / 2 / 4 * 4]]))),
        ("a bit-flipped clip", with_kit("clips", &json!([flipped]))),
        ("clips that are no list", with_kit("clips", &json!("SGVsbG8="))),
        ("clips of wrong types", with_kit("clips", &json!([1, null, {}, []]))),
        ("pads that do not exist", with_kit("pads", &json!([9, -1, "a", null, 0.5, u64::MAX, 0, 0, 0, 0]))),
        ("a tray of nothing", with_kit("tray", &json!([5, 0, 0, -3, {}]))),
        ("a pad that does not exist", with_kit("selected", &json!(u64::MAX))),
        ("a field that is no JSON", plugin_state::from_json(&raw_field)),
        ("a project of a wrong type", with_field("project", &json!([]))),
        ("parameters far above their range", every_parameter(1e30, i32::MAX)),
        ("parameters far below their range", every_parameter(-1e30, i32::MIN)),
        ("parameters that overflow a float", every_parameter(1e300, 0)),
        ("parameters of a wrong type", plugin_state::from_json(&wrong)),
    ]
}

#[test]
fn damaged_states_neither_crash_nor_make_noise() {
    for (what, bytes) in damaged_states() {
        let mut instance = Instance::new(&entry_in_process());
        instance.load(&bytes);
        let [left, right] = bounce(&mut instance);
        assert!(left.iter().chain(&right).all(|s| s.is_finite() && s.abs() <= 4.0), "{what}");

        // The instance is as good as new: a sound project opens in it and is heard.
        assert!(instance.load(&plain_instance().save()), "after {what}");
        assert_eq!(bounce(&mut instance), bounce(&mut plain_instance()), "after {what}");
    }
}

#[test]
fn damage_to_the_clip_keeps_the_parameters() {
    let state = plugin_state::with_parameter(&plain_instance().save(), "root", &json!(48));
    let mut object = plugin_state::object(&state);
    let kit = json!({"clips": ["SGVsbG8="], "pads": [0]});
    plugin_state::set_field(&mut object, "kit", &kit);
    let mut instance = Instance::new(&entry_in_process());
    instance.load(&plugin_state::from_json(&object));
    let mut kept = plugin_state::object(&instance.save());
    assert_eq!(*plugin_state::parameter(&mut kept, "root"), json!(48));
}
