//! Projects of every version of the plugin's state open with all that they had.

use serde_json::{Value, json};
use soundlocd::state::FORMAT;
use soundlocd_tests::clap_host::{Event, Instance, entry_in_process};
use soundlocd_tests::{plugin_state, sounds};

use crate::{PITCH, ROOT, plain_instance};

/// The text part of a project as `format` wrote it, without what came later.
fn project(format: u64) -> Value {
    let mut project = json!({
        "format": format,
        "prompt": "a door slams",
        "negative_prompt": "hum",
        "seed": 77,
        "seed_locked": true,
    });
    if format >= 2 {
        project["pack"] =
            json!({"name": "A Model From Elsewhere", "hash": "c0ffeec0".repeat(8), "folder": null});
    }
    if format >= 3 {
        project["adapters"] = json!([]);
    }
    project
}

#[test]
fn projects_of_every_format_open_with_their_prompt_and_their_sound() {
    assert_eq!(FORMAT, 4, "a new format needs its project here");
    for format in 1..=FORMAT {
        let mut object = plugin_state::object(&plain_instance().save());
        plugin_state::set_field(&mut object, "project", &project(format));
        if format < 4 {
            object = plugin_state::before_pads(object);
            // Nor had the pads their parameters.
            object["params"].as_object_mut().unwrap().retain(|id, _| !id.starts_with("pad"));
        }
        let mut instance = Instance::new(&entry_in_process());
        assert!(instance.load(&plugin_state::from_json(&object)), "format {format}");

        let note = [(0, Event::NoteOn { key: ROOT, velocity: 0.8 })];
        let [left, _] = instance.render(48_000.0, 512, 48_000, &note);
        let heard = sounds::frequency(&left[4_800..], 48_000.0).unwrap();
        assert!((heard - PITCH).abs() < 0.2, "format {format}: {heard} Hz");

        let saved = instance.save();
        assert_eq!(plugin_state::clip(&saved), sounds::sine_clip(PITCH, 2.0), "format {format}");
        let saved = plugin_state::object(&saved);
        let saved: Value = serde_json::from_str(saved["fields"]["project"].as_str().unwrap()).unwrap();
        let mut expected = project(format);
        expected["format"] = json!(FORMAT);
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&saved[name], value, "format {format}: {name}");
        }
    }
}
