//! Each panel, dark and light, small and HiDPI.

use egui::vec2;
use egui_kittest::SnapshotResults;

use soundlocd_engine::{pack::PackRef, service::Request};

use super::Stage;
use crate::{
    preferences,
    session::{Job, Message, Phase},
};

#[test]
fn the_first_window_dark_and_light() {
    let mut results = SnapshotResults::new();
    for (is_light, name) in [(false, "first-dark"), (true, "first-light")] {
        Stage::usual(is_light).snapshot(name, &mut results);
    }
}

#[test]
fn with_sounds_dark_and_light() {
    let mut results = SnapshotResults::new();
    for (is_light, name) in [(false, "sounds-dark"), (true, "sounds-light")] {
        Stage::usual(is_light).with_sounds().snapshot(name, &mut results);
    }
}

#[test]
fn the_smallest_window_and_hidpi() {
    let mut results = SnapshotResults::new();
    for (is_light, name) in [(false, "small-dark"), (true, "small-light")] {
        Stage::new(vec2(640.0, 420.0), 1.0, is_light).with_sounds().snapshot(name, &mut results);
    }
    Stage::new(vec2(640.0, 420.0), 2.0, false).with_sounds().snapshot("small-hidpi", &mut results);
}

#[test]
fn what_opens_over_the_window() {
    let mut results = SnapshotResults::new();
    for (is_light, look) in [(false, "dark"), (true, "light")] {
        for (button, name) in [
            ("Presets, settings, About", "menu"),
            ("Texts used before (↑ and ↓)", "history"),
            ("Adapters: 0 on", "adapters"),
            ("Model: Default", "models"),
        ] {
            let mut stage = Stage::usual(is_light).with_sounds();
            preferences::change(|preferences| {
                for prompt in ["rain on a tin roof", "a small metal bell rings"] {
                    preferences.remember(prompt);
                }
            });
            stage.click(button);
            stage.snapshot(&format!("{name}-{look}"), &mut results);
        }
        let mut stage = Stage::usual(is_light);
        stage.click("Presets, settings, About");
        stage.click("About SoundLoCD");
        stage.snapshot(&format!("about-{look}"), &mut results);
    }
}

#[test]
fn every_page_of_knobs() {
    let mut results = SnapshotResults::new();
    for page in ["Shape", "Range", "Keys"] {
        let mut stage = Stage::usual(false).with_sounds();
        stage.click(page);
        stage.snapshot(&format!("page-{}", page.to_lowercase()), &mut results);
    }
}

#[test]
fn while_sounds_are_made() {
    let mut results = SnapshotResults::new();
    let stage = Stage::usual(false).with_sounds();
    stage.session.with(|model| {
        let request = Request { variations: 3, ..Request::new("rain", 1) };
        let mut job = Job::new(&request, None, 0);
        job.phase = Phase::Making { variation: 1, step: 7, steps: 16, eta: Some(0.8) };
        (job.finished, job.has_sound) = (1, true);
        model.job = Some(job.clone());
        model.queue.push(
            Request::new("a heavy wooden door creaks open in a long dark hall", 2),
            PackRef::Embedded,
            job,
        );
        model.message = Some(Message {
            text: "The disk is full: the sound is in the project only.".to_owned(),
            is_error: true,
        });
        model.project.negative_prompt = "music, hiss".to_owned();
    });
    stage.snapshot("working", &mut results);
}
