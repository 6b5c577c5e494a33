//! Projects whose adapters are not on this computer. What the window says of them is tested in the plugin.

use std::time::Duration;

use serde_json::{Value, json};
use soundlocd_tests::clap_host::{Event, Instance, entry_in_process};
use soundlocd_tests::{plugin_state, sounds};

use crate::{ROOT, plain_instance};

/// The hash of no adapter.
const HASH: &str = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";

/// One note on the root key, rendered at 48 kHz.
fn bounce(instance: &mut Instance) -> [Vec<f32>; 2] {
    instance.render(48_000.0, 512, 24_000, &[(0, Event::NoteOn { key: ROOT, velocity: 0.8 })])
}

#[test]
fn the_sound_plays_and_the_adapters_are_saved_unchanged() {
    let expected = bounce(&mut plain_instance());
    assert!(sounds::peak(&expected[0]) > 0.1);
    let plain = plain_instance().save();
    for path in
        ["/nowhere/old typewriters.safetensors", "", "relative.safetensors", "/proc/self/mem", "//a/b/c"]
    {
        let project = plugin_state::with_adapter(&plain, "Old Typewriters", HASH, path);
        let mut instance = Instance::new(&entry_in_process());
        assert!(instance.load(&project));
        assert_eq!(bounce(&mut instance), expected);
        // Also when the search for the adapter, which goes on in the background, is over.
        std::thread::sleep(Duration::from_millis(200));
        instance.idle();
        assert_eq!(bounce(&mut instance), expected);
        assert_eq!(plugin_state::object(&instance.save()), plugin_state::object(&project), "{path}");
    }
}

#[test]
fn projects_from_before_adapters_open_as_they_were() {
    let mut object = plugin_state::object(&plain_instance().save());
    let mut project: Value = serde_json::from_str(object["fields"]["project"].as_str().unwrap()).unwrap();
    project["format"] = json!(2);
    project["prompt"] = json!("a door");
    project.as_object_mut().unwrap().remove("adapters");
    plugin_state::set_field(&mut object, "project", &project);

    let mut instance = Instance::new(&entry_in_process());
    assert!(instance.load(&plugin_state::from_json(&object)));
    assert_eq!(bounce(&mut instance), bounce(&mut plain_instance()));
    let saved = plugin_state::object(&instance.save());
    let saved: Value = serde_json::from_str(saved["fields"]["project"].as_str().unwrap()).unwrap();
    assert_eq!((&saved["prompt"], &saved["adapters"]), (&json!("a door"), &json!([])));
}
