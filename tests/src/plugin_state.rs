//! Plugin states with a known clip, so that notes can be tested without a model.
//!
//! nice-plug's state is a JSON object: `version`, `params` (id to plain value) and `fields` (name
//! to a JSON text). In a CLAP stream eight bytes of little-endian length come before it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use soundlocd_engine::clip::{Clip, state};

/// The key that plays the clip as it is in an [`unshaped`] state.
pub const ROOT: u16 = 60;

/// Bytes of the length before the JSON text in a CLAP state.
const LENGTH_BYTES: usize = 8;

/// The JSON object inside a CLAP state.
pub fn object(clap_state: &[u8]) -> Value {
    serde_json::from_slice(&clap_state[LENGTH_BYTES..]).unwrap()
}

/// A CLAP state from its JSON object.
pub fn from_json(object: &Value) -> Vec<u8> {
    from_text(&serde_json::to_vec(object).unwrap())
}

/// A CLAP state around any bytes.
pub fn from_text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

/// `clap_state` with `clip` in it instead of its own.
pub fn with_clip(clap_state: &[u8], clip: &Clip) -> Vec<u8> {
    let mut object = object(clap_state);
    set_clip(&mut object, clip);
    from_json(&object)
}

/// `clap_state` with `clip` in it, played without any shaping but velocity: [`ROOT`] plays it as it
/// is, other keys in equal temperament, at full level until the note ends.
pub fn unshaped(clap_state: &[u8], clip: &Clip) -> Vec<u8> {
    let mut object = object(clap_state);
    set_clip(&mut object, clip);
    for (id, value) in [
        ("attack", json!(0.0)),
        ("decay", json!(0.0)),
        ("sustain", json!(1.0)),
        ("release", json!(0.05)),
        ("root", json!(ROOT)),
        ("tracking", json!(1.0)),
        ("tune", json!(0.0)),
        ("velocity", json!(0.5)),
        ("oneshot", json!(false)),
    ] {
        *parameter(&mut object, id) = value;
    }
    from_json(&object)
}

/// Puts `clip` on pad 1 and into the tray of the JSON object of a state, alone.
pub fn set_clip(object: &mut Value, clip: &Clip) {
    set_clips(object, std::slice::from_ref(clip));
}

/// Puts up to 16 clips on pads from 1 on and into the tray of the JSON object of a state, alone.
pub fn set_clips(object: &mut Value, clips: &[Clip]) {
    let pads: Vec<_> = (0..16).map(|pad| if pad < clips.len() { json!(pad) } else { Value::Null }).collect();
    let tray: Vec<_> = (0..clips.len()).collect();
    let clips: Vec<_> = clips.iter().map(|clip| STANDARD.encode(state::encode(clip))).collect();
    set_field(object, "kit", &json!({"clips": clips, "pads": pads, "tray": tray, "selected": 0}));
}

/// The JSON object of a state in which the first of its sounds is the only one, as before there were pads.
pub fn before_pads(mut object: Value) -> Value {
    let clip = kit(&object)["clips"][0].clone();
    set_field(&mut object, "clip", &clip);
    object["fields"].as_object_mut().unwrap().remove("kit");
    object
}

/// The sounds in the JSON object of a state.
pub fn kit(object: &Value) -> Value {
    serde_json::from_str(object["fields"]["kit"].as_str().unwrap()).unwrap()
}

/// The first sound in a CLAP state.
pub fn clip(clap_state: &[u8]) -> Clip {
    clips(clap_state).swap_remove(0)
}

/// The sounds in a CLAP state.
pub fn clips(clap_state: &[u8]) -> Vec<Clip> {
    let kit = kit(&object(clap_state));
    let decode = |text: &Value| state::decode(&STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap();
    kit["clips"].as_array().unwrap().iter().map(decode).collect()
}

/// Sets a persistent field; nice-plug keeps each as a JSON text of its own.
pub fn set_field(object: &mut Value, name: &str, value: &Value) {
    object["fields"][name] = Value::String(value.to_string());
}

/// `clap_state` of a project that makes its sounds with the model pack of this name and hash.
pub fn with_pack(clap_state: &[u8], name: &str, hash: &str) -> Vec<u8> {
    let mut object = object(clap_state);
    let mut project: Value = serde_json::from_str(object["fields"]["project"].as_str().unwrap()).unwrap();
    project["pack"] = json!({"name": name, "hash": hash, "folder": "/nowhere/packs"});
    set_field(&mut object, "project", &project);
    from_json(&object)
}

/// `clap_state` of a project that makes its sounds with an adapter of this title and hash, last seen at `path`.
pub fn with_adapter(clap_state: &[u8], title: &str, hash: &str, path: &str) -> Vec<u8> {
    let mut object = object(clap_state);
    let mut project: Value = serde_json::from_str(object["fields"]["project"].as_str().unwrap()).unwrap();
    project["adapters"] = json!([{
        "hash": hash,
        "path": path,
        "title": title,
        "triggers": ["a typewriter types fast"],
        "on": true,
        "strength": 0.75,
        "force_base": false,
    }]);
    set_field(&mut object, "project", &project);
    from_json(&object)
}

/// `clap_state` with a parameter set, by its id in the plugin's source and in its unit.
pub fn with_parameter(clap_state: &[u8], id: &str, value: &Value) -> Vec<u8> {
    let mut object = object(clap_state);
    *parameter(&mut object, id) = value.clone();
    from_json(&object)
}

/// The value of a parameter in the JSON object of a state. nice-plug tags it with its type:
/// `{"f32": 0.5}`.
pub fn parameter<'a>(object: &'a mut Value, id: &str) -> &'a mut Value {
    object["params"][id]
        .as_object_mut()
        .and_then(|tagged| tagged.values_mut().next())
        .unwrap_or_else(|| panic!("no parameter {id}"))
}
