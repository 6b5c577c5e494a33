//! Sounds that are chosen, dragged and dropped.

use std::path::PathBuf;

use egui::{HoveredFile, Key, Modifiers, Pos2, Vec2, pos2};
use egui_kittest::{SnapshotResults, kittest::Queryable};

use super::Stage;

/// A window with sounds, drawn.
fn stage(is_light: bool) -> Stage {
    let mut stage = Stage::usual(is_light).with_sounds();
    stage.harness.run_steps(3);
    stage
}

/// The middle of what has this name for screen readers.
fn center(stage: &Stage, label: &str) -> Pos2 {
    stage.harness.get_by_label(label).rect().center()
}

fn click(stage: &mut Stage, label: &str, modifiers: Modifiers) {
    stage.harness.get_by_label(label).click_modifiers(modifiers);
    stage.harness.run_steps(3);
}

fn numbers(stage: &Stage) -> Vec<u64> {
    stage.session.with(|model| model.arrangement.takes.iter().map(|take| take.id).collect())
}

#[test]
fn sounds_are_chosen_and_removed_with_the_keyboard() {
    let mut results = SnapshotResults::new();
    for (is_light, name) in [(false, "chosen-dark"), (true, "chosen-light")] {
        let mut stage = stage(is_light);
        let before = numbers(&stage);
        click(&mut stage, "Play a dog barks", Modifiers::COMMAND);
        click(&mut stage, "Play rain on a tin roof", Modifiers::SHIFT);
        // Nothing was put on the selected pad by that.
        assert_eq!(stage.session.with(|model| model.playing().unwrap().id), before[0]);
        stage.harness.key_press(Key::Escape);
        stage.harness.run_steps(3);
        stage.harness.key_press(Key::Delete);
        stage.harness.run_steps(3);
        assert_eq!(numbers(&stage), before, "nothing is chosen after Escape");
        click(&mut stage, "Play a dog barks", Modifiers::COMMAND);
        click(&mut stage, "Play rain on a tin roof", Modifiers::COMMAND);
        stage.harness.key_press(Key::Delete);
        stage.harness.run_steps(3);
        assert_eq!(numbers(&stage), before[..1]);
        stage.session.undo();
        stage.harness.run_steps(3);
        assert_eq!(numbers(&stage), before);
        click(&mut stage, "Play a dog barks", Modifiers::COMMAND);
        click(&mut stage, "Play rain on a tin roof", Modifiers::COMMAND);
        stage.snapshot(name, &mut results);
    }
}

#[test]
fn a_sound_that_is_dragged_to_a_pad_is_there_alone() {
    let mut stage = stage(false);
    let (from, to) = (center(&stage, "Play rain on a tin roof"), center(&stage, "Pad 9: empty"));
    stage.harness.drag_at(from);
    stage.harness.run_steps(2);
    for step in 1..=4 {
        stage.harness.hover_at(from + (to - from) * (step as f32 / 4.0));
        stage.harness.run_steps(2);
    }
    stage.harness.drop_at(to);
    stage.harness.run_steps(3);
    stage.session.with(|model| {
        let name = |pad: usize| model.arrangement.pads[pad].as_ref().map(|take| take.name().to_owned());
        assert_eq!(name(8).as_deref(), Some("rain on a tin roof"));
        assert_eq!(name(0).as_deref(), Some("a small metal bell rings"));
        assert_eq!(model.selected, 8);
    });
}

#[test]
fn files_that_are_held_over_the_window_are_invited() {
    let mut results = SnapshotResults::new();
    for (is_light, name) in [(false, "drop-dark"), (true, "drop-light")] {
        let mut stage = stage(is_light);
        let place = center(&stage, "Pad 6: empty") + Vec2::new(0.0, 4.0);
        let file = HoveredFile { path: Some(PathBuf::from("/sounds/glass.wav")), ..HoveredFile::default() };
        stage.harness.input_mut().hovered_files.push(file);
        stage.harness.hover_at(place);
        stage.snapshot(name, &mut results);
    }
    let mut stage = Stage::new(Vec2::new(640.0, 420.0), 1.0, false).with_sounds();
    let file = |name: &str| HoveredFile { path: Some(PathBuf::from(name)), ..HoveredFile::default() };
    stage.harness.input_mut().hovered_files.extend([file("/a.wav"), file("/b.flac")]);
    stage.harness.hover_at(pos2(300.0, 150.0));
    stage.snapshot("drop-small", &mut results);
}
