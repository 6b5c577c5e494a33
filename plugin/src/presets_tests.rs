#![allow(clippy::unwrap_used, clippy::panic)]
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use soundlocd_engine::service::Settings;

use super::*;

fn state() -> PluginState {
    let params = [
        ("length", ParamValue::F32(7.5)),
        ("variations", ParamValue::I32(3)),
        ("quality", ParamValue::String("best".to_owned())),
        ("pad2_mode", ParamValue::String("loop".to_owned())),
        ("pad3_reverse", ParamValue::Bool(true)),
    ];
    let fields = [
        ("project", json!({"format": state::FORMAT, "prompt": "a bell", "seed": 9})),
        ("kit", json!({"clips": ["?"], "pads": [0], "tray": [], "selected": 2})),
    ];
    PluginState {
        version: String::new(),
        params: params.map(|(id, value)| (id.to_owned(), value)).into(),
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_string())).into(),
    }
}

#[test]
fn what_was_saved_is_listed_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), " My: kit ", &state()).unwrap();
    let other = save(folder.path(), "My: kit", &state()).unwrap();
    assert_ne!(path, other, "a preset of the same name was replaced");
    fs::write(folder.path().join("notes.txt"), "no preset").unwrap();
    let own: Vec<Listed> = list(Some(folder.path())).into_iter().filter(|one| one.path.is_some()).collect();
    assert_eq!(own.iter().map(|one| one.path.clone().unwrap()).collect::<Vec<_>>(), [path, other]);

    let preset = own[0].read().unwrap();
    assert_eq!(field(&preset.state, "project")["prompt"], "a bell");
    assert_eq!(field(&preset.state, "kit")["selected"], 2);
    assert_eq!(field(&preset.state, "nothing"), Value::Null);
    let values: BTreeMap<String, f32> = normalised(&preset.state).into_iter().collect();
    let parameters = SoundLocdParams::new(Arc::new(Session::for_tests()));
    assert_eq!(values.len(), parameters.param_map().len(), "what a state leaves out has its default");
    // What the parameters themselves say of these values.
    use nice_plug::prelude::Param;
    assert_eq!(values["length"], parameters.length.preview_normalized(7.5));
    assert_eq!(values["variations"], parameters.variations.preview_normalized(3));
    assert_eq!(values["quality"], parameters.quality.preview_normalized(crate::params::Quality::Best));
    let pad = &parameters.pads;
    assert_eq!(values["pad2_mode"], pad.pad(1).mode.preview_normalized(crate::sampler::PlayMode::Loop));
    assert_eq!((values["pad3_reverse"], values["reverse"]), (1.0, 0.0));
}

#[test]
fn a_preset_is_replaced_only_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "My: kit", &state()).unwrap();
    let listed = list(Some(folder.path()));
    let mine = of_name(&listed, "  My: kit ").unwrap();
    assert!(
        mine.path.is_some() && of_name(&listed, "my other kit").is_none() && of_name(&listed, "/").is_none()
    );
    // Those that come with the program are not the user's.
    assert!(listed[0].path.is_none() && of_name(&listed, &listed[0].name).is_none());
    let mut changed = state();
    changed.fields.insert("project".to_owned(), json!({"prompt": "a drum"}).to_string());
    replace(mine, &changed).unwrap();
    assert_eq!(list(Some(folder.path())).len(), listed.len());
    assert_eq!(field(&mine.read().unwrap().state, "project")["prompt"], "a drum");
    // What cannot be thrown away is still there.
    let gone = Listed { name: "gone".to_owned(), path: Some(folder.path().join("gone.soundlocd")) };
    assert!(discard(&gone).unwrap_err().to_string().contains("could not be removed"));
    discard(&listed[0]).unwrap();
    assert_eq!(list(Some(folder.path())).len(), listed.len());
}

#[test]
fn what_is_no_preset_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let good = write("x", &state());
    for (text, part) in [
        ("", "damaged"),
        ("{}", "does not say that it is one"),
        ("[1]", "does not say that it is one"),
        (&good.replace("\"soundlocd_preset\": 1", "\"soundlocd_preset\": 2"), "newer"),
        (&good.replace("\"params\"", "\"parameters\""), "params"),
        (&good[..good.len() / 2], "damaged"),
    ] {
        let path = folder.path().join("x.soundlocd");
        fs::write(&path, text).unwrap();
        let error = Listed { name: "x".to_owned(), path: Some(path) }.read().unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("“x”"), "{error}");
    }
    let gone = Listed { name: "gone".to_owned(), path: Some(folder.path().join("gone")) };
    assert!(gone.read().unwrap_err().to_string().contains("could not be read"));
    assert!(Listed { name: "none".to_owned(), path: None }.read().is_err());
    assert!(matches!(save(folder.path(), " / ", &state()), Err(PresetError::Name { .. })));
}

#[test]
fn those_that_come_with_the_program_fill_their_pads() {
    let listed = list(None);
    assert_eq!(listed.len(), FACTORY.len());
    for listed in listed {
        let preset = listed.read().unwrap();
        let session = Session::for_tests();
        session.restore_project(&field(&preset.state, "project"));
        session.restore_kit(&field(&preset.state, "kit"));
        session.with(|model| {
            assert!(model.message.is_none(), "{:?}", model.message);
            let pads = model.arrangement.pads.iter().flatten().count();
            assert!(pads >= 8, "{}: {pads} pads", listed.name);
            for take in model.arrangement.pads.iter().flatten() {
                assert_eq!(take.clip.provenance.pack_hash.len(), 64);
                let peak = take.clip.audio.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
                assert!((0.05..=1.0).contains(&peak), "{}: {} peaks at {peak}", listed.name, take.name());
            }
        });
    }
}

/// The sounds of the presets that come with the program, each with its length in seconds.
const KITS: [(&str, &[(&str, f32)]); 2] = [
    (
        "Found percussion",
        &[
            ("a deep kick drum hit, short and dry", 0.6),
            ("a snare drum hit, bright and short", 0.5),
            ("a clap", 0.4),
            ("a hi-hat closes, very short", 0.3),
            ("a cymbal hit, bright", 1.6),
            ("a tom drum hit, deep and low", 0.8),
            ("hitting a frying pan", 0.8),
            ("a wood block hit, short", 0.3),
            ("a cowbell hit", 0.5),
            ("a glass bottle is tapped", 0.6),
            ("a small metal bell rings", 1.4),
            ("a book falls on a table", 0.6),
            ("a coin falls on a table", 0.8),
            ("a stone hits a stone", 0.5),
            ("a metal pipe is hit, ringing", 1.2),
            ("a shaker, short", 0.4),
        ],
    ),
    (
        "Doors and footsteps",
        &[
            ("a heavy wooden door creaks open", 2.4),
            ("a heavy wooden door slams shut", 1.4),
            ("a small door closes", 1.0),
            ("a metal locker door squeaking", 1.6),
            ("a door handle rattles", 1.0),
            ("knocking on a wooden door", 1.2),
            ("a key turns in a lock", 0.9),
            ("an iron gate closes", 1.6),
            ("a footstep on wood", 0.4),
            ("a footstep on gravel", 0.5),
            ("a footstep in snow", 0.5),
            ("a footstep in shallow water", 0.6),
            ("a footstep on stone", 0.4),
            ("a footstep on grass", 0.4),
            ("a wooden floor creaks", 1.0),
            ("someone runs up wooden stairs", 1.6),
        ],
    ),
];

#[test]
#[ignore = "makes the sounds of the presets that come with the program, and writes them into the folder that SOUNDLOCD_PRESETS names"]
fn write_those_that_come_with_the_program() {
    let folder = folder().unwrap();
    for (name, sounds) in KITS {
        let session = Session::new(Box::new(|| Service::shared().client()));
        for (pad, (prompt, seconds)) in sounds.iter().enumerate() {
            session.select_pad(pad);
            session.with(|model| {
                model.project.prompt = (*prompt).to_owned();
                (model.project.seed, model.project.seed_locked) = (pad as u64 + 1, true);
            });
            session.scan_packs();
            let start = Instant::now();
            while session.with(|model| model.packs.is_none()) {
                std::thread::sleep(Duration::from_millis(10));
            }
            session.generate(Settings { seconds: *seconds, steps: 24, ..Settings::default() }, 1);
            while session.with(|model| model.job.is_some()) {
                assert!(start.elapsed() < Duration::from_secs(300), "{prompt} takes too long");
                std::thread::sleep(Duration::from_millis(20));
            }
            session.with(|model| assert!(model.message.is_none(), "{prompt}: {:?}", model.message));
        }
        session.select_pad(0);
        session.with(|model| {
            model.project = Default::default();
            // On their pads they are in the project; the list begins empty.
            model.arrangement.takes.clear();
        });
        let choice = |id: &str| ParamValue::String(id.to_owned());
        let mut params = BTreeMap::from([
            ("low".to_owned(), ParamValue::I32(36)),
            ("high".to_owned(), ParamValue::I32(36)),
            ("root".to_owned(), ParamValue::I32(36)),
            ("mode".to_owned(), choice("one_shot")),
        ]);
        params.extend((2..=sounds.len()).map(|pad| (format!("pad{pad}_mode"), choice("one_shot"))));
        let fields = BTreeMap::from([
            ("project".to_owned(), session.project().to_value().to_string()),
            ("kit".to_owned(), session.kit_value().to_string()),
        ]);
        let state = PluginState { version: String::new(), params, fields };
        fs::write(folder.join(format!("{name}.{EXTENSION}")), write(name, &state)).unwrap();
    }
}
