//! What a project file keeps of the plugin besides its parameters, and how damage is survived.
//!
//! Two fields, each JSON of its own: `project` (prompt, seed, model, adapters, format version) and `kit` (the
//! sounds of pads and tray with their provenance, lossless, in base64). Whatever a field holds, the other is kept,
//! nothing panics, and the window says what was lost.

use std::sync::Arc;

use nice_plug::{
    params::persist::PersistentField,
    plugin::ParamValue,
    prelude::{ParamPtr, Params, PluginState},
};
use serde_json::{Value, json};
use soundlocd_engine::service::Service;

use crate::{
    adapters::{self, ChosenAdapter},
    packs::ChosenPack,
    params::SoundLocdParams,
    session::{Session, kit},
};

/// Version of the fields' layout, written into every project. 2 added the model; a project of 1
/// has the default one. 3 added adapters; projects of 1 and 2 have none. 4 has a kit in place of
/// one clip, which becomes that of pad 1. Parameters have no version: [`repair`] brings older ones up
/// to date.
pub const FORMAT: u64 = 4;
/// Longest prompt kept; the engine takes fewer, but what was typed is not thrown away.
const MAX_PROMPT_CHARS: usize = 2_000;
/// Names of the persistent fields.
const FIELDS: [&str; 2] = ["project", "kit"];
/// Name of the field that [`FORMAT`] 3 had in place of the kit.
const CLIP: &str = "clip";

/// The text part of a project.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// What to hear.
    pub prompt: String,
    /// What not to hear; may be empty.
    pub negative_prompt: String,
    /// Seed of the last or next request.
    pub seed: u64,
    /// Whether Generate keeps the seed instead of rolling a new one.
    pub seed_locked: bool,
    /// The model to make sounds with; `None` for the default one. Kept whether it is on this
    /// computer or not.
    pub pack: Option<ChosenPack>,
    /// The adapters that sounds are made with, and those that are switched off. Kept whether they
    /// are on this computer or not.
    pub adapters: Vec<ChosenAdapter>,
}

impl Default for Project {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative_prompt: String::new(),
            seed: 1,
            seed_locked: false,
            pack: None,
            adapters: Vec::new(),
        }
    }
}

impl Project {
    /// The value of the `project` field.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({
            "format": FORMAT,
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "seed": self.seed,
            "seed_locked": self.seed_locked,
            "pack": self.pack.as_ref().map(ChosenPack::to_value),
            "adapters": self.adapters.iter().map(ChosenAdapter::to_value).collect::<Vec<_>>(),
        })
    }

    /// Reads the `project` field: what is missing or of a wrong type takes its default. The second
    /// value says what is wrong, if anything is.
    #[must_use]
    pub fn from_value(value: &Value) -> (Self, Option<String>) {
        let Value::Object(fields) = value else {
            // A project that never had one (`null`) is a new project.
            let problem = (!value.is_null())
                .then(|| "The prompt saved in this project is damaged and was left empty.".to_owned());
            return (Self::default(), problem);
        };
        let mut damaged = Vec::new();
        let mut read = |name: &'static str, read: &mut dyn FnMut(&Value) -> bool| {
            if let Some(value) = fields.get(name)
                && !read(value)
            {
                damaged.push(name.replace('_', " "));
            }
        };
        let mut project = Self::default();
        let text = |value: &Value| value.as_str().map(clean);
        read("prompt", &mut |v| text(v).map(|text| project.prompt = text).is_some());
        read("negative_prompt", &mut |v| text(v).map(|text| project.negative_prompt = text).is_some());
        read("seed", &mut |v| v.as_u64().map(|seed| project.seed = seed).is_some());
        read("seed_locked", &mut |v| v.as_bool().map(|locked| project.seed_locked = locked).is_some());
        read("pack", &mut |v| {
            project.pack = ChosenPack::from_value(v);
            v.is_null() || project.pack.is_some()
        });
        read("adapters", &mut |v| {
            let (adapters, is_damaged) = adapters::from_value(v);
            project.adapters = adapters;
            !is_damaged
        });
        let newer = fields.get("format").and_then(Value::as_u64).is_some_and(|format| format > FORMAT);
        let problem = if newer {
            Some("This project was saved by a newer SoundLoCD: some of it may be missing here.".to_owned())
        } else if damaged.is_empty() {
            None
        } else {
            Some(format!("Parts of this project are damaged and were reset: {}.", damaged.join(", ")))
        };
        (project, problem)
    }
}

/// Text from outside, without control characters and not absurdly long.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_PROMPT_CHARS).collect()
}

/// Repairs a state before the framework reads it: every field is there and valid JSON (so that
/// none keeps the value of a project opened earlier), every number is finite and in range.
pub fn repair(state: &mut PluginState) {
    state.params.retain(|_, value| !matches!(value, ParamValue::F32(x) if !x.is_finite()));
    adopt_older(state);
    // Parameters of no instance, which know their ranges; nothing connects to the engine.
    let session = Arc::new(Session::new(Box::new(|| Service::shared().client())));
    let parameters = SoundLocdParams::new(session);
    bring_into_range(state, &parameters);
    complete(state, &parameters);
    if !state.fields.contains_key("kit")
        && let Some(clip) = state.fields.remove(CLIP)
    {
        let clip = serde_json::from_str(&clip).unwrap_or(Value::Bool(false));
        state.fields.insert("kit".to_owned(), kit::of_one_clip(clip).to_string());
    }
    for name in FIELDS {
        let field = state.fields.entry(name.to_owned()).or_insert_with(|| "null".to_owned());
        // As the framework will read it: a reader that only skips accepts more, and what the framework then refuses
        // would leave the project opened before.
        if serde_json::from_str::<Value>(field).is_err() {
            // Not what either field writes: read as damage.
            *field = "false".to_owned();
        }
    }
}

/// Brings parameters from older versions up to date. When the instrument played one clip, a switch said
/// whether notes play to its end; now each pad has a mode, and that clip is on pad 1. A project
/// that automates the switch still may: see [`SoundLocdParams::one_shot`].
fn adopt_older(state: &mut PluginState) {
    if state.params.contains_key("mode") {
        return;
    }
    if let Some(switch @ ParamValue::Bool(true)) = state.params.get_mut("oneshot") {
        *switch = ParamValue::Bool(false);
        state.params.insert("mode".to_owned(), ParamValue::String("one_shot".to_owned()));
    }
}

/// Limits every number to its parameter's range: the framework sets what it reads as it is, and a
/// gain of 10^30 dB would reach the loudspeakers.
fn bring_into_range(state: &mut PluginState, parameters: &SoundLocdParams) {
    for (id, parameter, _) in parameters.param_map() {
        // SAFETY: the pointers are into `parameters`, which is borrowed to the end of this function.
        #[allow(unsafe_code)]
        let (least, most) = unsafe { (parameter.preview_plain(0.0), parameter.preview_plain(1.0)) };
        match state.params.get_mut(&id) {
            Some(ParamValue::F32(value)) => *value = value.max(least).min(most),
            // In range, every integer that a parameter here can have is exact in f32.
            Some(ParamValue::I32(value)) => *value = (*value).max(least as i32).min(most as i32),
            _ => {}
        }
    }
}

/// Gives every parameter that the state does not have its default: the framework would leave it as it is, as in
/// the project opened before.
fn complete(state: &mut PluginState, parameters: &SoundLocdParams) {
    for (id, parameter, _) in parameters.param_map() {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        let default = unsafe { parameter.default_plain_value() };
        state.params.entry(id).or_insert_with(|| match parameter {
            ParamPtr::FloatParam(_) => ParamValue::F32(default),
            ParamPtr::BoolParam(_) => ParamValue::Bool(default > 0.5),
            // Choices are read by their index too.
            ParamPtr::IntParam(_) | ParamPtr::EnumParam(_) => ParamValue::I32(default.round() as i32),
        });
    }
}

/// The persistent field `project`; its value lives in the [`Session`].
pub struct ProjectField(Arc<Session>);

impl ProjectField {
    /// The field of `session`.
    #[must_use]
    pub fn new(session: Arc<Session>) -> Self {
        Self(session)
    }
}

impl PersistentField<'_, Value> for ProjectField {
    fn set(&self, value: Value) {
        self.0.restore_project(&value);
    }

    fn map<F, R>(&self, f: F) -> R
    where
        F: Fn(&Value) -> R,
    {
        f(&self.0.project().to_value())
    }
}

/// The persistent field `kit`; its value lives in the [`Session`].
pub struct KitField(Arc<Session>);

impl KitField {
    /// The field of `session`.
    #[must_use]
    pub fn new(session: Arc<Session>) -> Self {
        Self(session)
    }
}

impl PersistentField<'_, Value> for KitField {
    fn set(&self, value: Value) {
        self.0.restore_kit(&value);
    }

    fn map<F, R>(&self, f: F) -> R
    where
        F: Fn(&Value) -> R,
    {
        f(&self.0.kit_value())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use nice_plug::prelude::Enum;

    use super::*;
    use crate::sampler::PlayMode;

    #[test]
    fn project_reads_back() {
        let project = Project {
            prompt: "rain on \"tin\" \u{1F327}".into(),
            negative_prompt: "hum".into(),
            seed: u64::MAX,
            seed_locked: true,
            pack: Some(ChosenPack { hash: "0f".repeat(32), name: "Big".into(), folder: Some("/x".into()) }),
            adapters: vec![ChosenAdapter {
                hash: "a1".repeat(32),
                path: "/adapters/old typewriters.safetensors".into(),
                title: "Old “Typewriters”".into(),
                triggers: vec!["a typewriter types fast".into()],
                is_on: true,
                strength: 0.75,
                force_base: true,
            }],
        };
        let text = serde_json::to_string(&project.to_value()).unwrap();
        let (again, problem) = Project::from_value(&serde_json::from_str(&text).unwrap());
        assert_eq!((again, problem), (project, None));
    }

    #[test]
    fn projects_of_the_first_format_have_the_default_model() {
        let (project, problem) = Project::from_value(
            &json!({"format": 1, "prompt": "a kick", "negative_prompt": "", "seed": 5, "seed_locked": true}),
        );
        let expected = Project { prompt: "a kick".into(), seed: 5, seed_locked: true, ..Project::default() };
        assert_eq!((project, problem), (expected, None));
    }

    #[test]
    fn projects_of_the_second_format_have_no_adapters() {
        let (project, problem) = Project::from_value(&json!({
            "format": 2,
            "prompt": "a kick",
            "negative_prompt": "",
            "seed": 5,
            "seed_locked": false,
            "pack": {"hash": "0f".repeat(32), "name": "Big", "folder": null},
        }));
        let pack = Some(ChosenPack { hash: "0f".repeat(32), name: "Big".into(), folder: None });
        let expected = Project { prompt: "a kick".into(), seed: 5, pack, ..Project::default() };
        assert_eq!((project, problem), (expected, None));
    }

    #[test]
    fn damage_in_one_entry_keeps_the_others() {
        let (project, problem) = Project::from_value(
            &json!({"prompt": "a kick", "seed": -1, "seed_locked": "yes", "pack": "big", "adapters": {"0": 1}}),
        );
        assert_eq!(project, Project { prompt: "a kick".into(), ..Project::default() });
        assert!(problem.unwrap().contains("seed, seed locked, pack, adapters"));
        for value in [json!(3), json!("text"), json!([1, 2]), json!(false)] {
            let (project, problem) = Project::from_value(&value);
            assert_eq!(project, Project::default());
            assert!(problem.is_some());
        }
        assert_eq!(Project::from_value(&Value::Null), (Project::default(), None));
    }

    #[test]
    fn newer_projects_are_read_and_announced() {
        let (project, problem) = Project::from_value(&json!({"format": 99, "prompt": "x", "new": {}}));
        assert_eq!(project.prompt, "x");
        assert!(problem.unwrap().contains("newer"));
    }

    #[test]
    fn control_characters_and_endless_prompts_are_cut() {
        let (project, _) = Project::from_value(&json!({"prompt": format!("a\0b\n{}", "c".repeat(100_000))}));
        assert!(project.prompt.starts_with("abc"));
        assert_eq!(project.prompt.chars().count(), MAX_PROMPT_CHARS);
    }

    #[test]
    fn repair_limits_numbers_to_their_ranges() {
        let mut state = PluginState {
            version: String::new(),
            params: [
                ("gain".to_owned(), ParamValue::F32(1e30)),
                ("attack".to_owned(), ParamValue::F32(-1e30)),
                ("root".to_owned(), ParamValue::I32(i32::MAX)),
                ("voices".to_owned(), ParamValue::I32(i32::MIN)),
                ("tune".to_owned(), ParamValue::F32(0.37)),
            ]
            .into(),
            fields: [].into(),
        };
        repair(&mut state);
        let value = |id: &str| match state.params[id] {
            ParamValue::F32(value) => value,
            ParamValue::I32(value) => value as f32,
            _ => f32::NAN,
        };
        assert_eq!(value("gain"), 12.0);
        assert_eq!(value("attack"), 0.0);
        assert_eq!(value("root"), 127.0);
        assert_eq!(value("voices"), 1.0);
        assert_eq!(value("tune"), 0.37);
    }

    #[test]
    fn fields_that_the_framework_would_refuse_are_damage() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for field in ["1e999", "\"\\ud800\"", "{\"clips\": [1e999]}", "{", deep.as_str()] {
            let mut state = PluginState {
                version: String::new(),
                params: [].into(),
                fields: [("kit".to_owned(), field.to_owned())].into(),
            };
            repair(&mut state);
            assert_eq!(state.fields["kit"], "false", "{field:.40}");
        }
    }

    #[test]
    fn repair_completes_and_cleans() {
        let mut state = PluginState {
            version: String::new(),
            params: [
                ("gain".to_owned(), ParamValue::F32(f32::INFINITY)),
                ("tune".to_owned(), ParamValue::F32(1.0)),
            ]
            .into(),
            fields: [("clip".to_owned(), "{broken".to_owned())].into(),
        };
        repair(&mut state);
        let parameters = SoundLocdParams::new(Arc::new(Session::for_tests()));
        assert_eq!(state.params.len(), parameters.param_map().len());
        assert!(matches!(state.params["gain"], ParamValue::F32(0.0)));
        assert!(matches!(state.params["tune"], ParamValue::F32(1.0)));
        assert!(matches!(state.params["pad2_low"], ParamValue::I32(37)));
        assert!(matches!(state.params["reverse"], ParamValue::Bool(false)));
        let gate = PlayMode::Gate.to_index() as i32;
        assert!(matches!(state.params["mode"], ParamValue::I32(index) if index == gate));
        assert_eq!(state.fields["kit"], r#"{"clips":[false],"pads":[0],"selected":0,"tray":[0]}"#);
        assert_eq!(state.fields["project"], "null");
    }

    #[test]
    fn the_old_switch_becomes_the_mode_of_the_first_pad() {
        let repaired = |params: &[(&str, ParamValue)]| {
            let params = params.iter().map(|(id, value)| ((*id).to_owned(), value.clone())).collect();
            let mut state = PluginState { version: String::new(), params, fields: [].into() };
            repair(&mut state);
            state.params
        };
        let (on, off) = (ParamValue::Bool(true), ParamValue::Bool(false));
        let params = repaired(&[("oneshot", on.clone())]);
        assert!(matches!(&params["mode"], ParamValue::String(id) if id == "one_shot"));
        assert!(matches!(params["oneshot"], ParamValue::Bool(false)), "or the mode could not be changed");
        let params = repaired(&[("oneshot", off)]);
        assert!(
            matches!(params["mode"], ParamValue::I32(index) if index == PlayMode::Gate.to_index() as i32)
        );
        // Of a newer project: what automation left on stays.
        let params = repaired(&[("oneshot", on), ("mode", ParamValue::String("loop".to_owned()))]);
        assert!(matches!(&params["mode"], ParamValue::String(id) if id == "loop"));
        assert!(matches!(params["oneshot"], ParamValue::Bool(true)));
    }
}
