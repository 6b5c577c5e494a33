//! The window without a mouse: Tab goes from control to control, arrows and Enter set them.

use egui::{Event, Key, Modifiers, MouseWheelUnit, Pos2, vec2};
use egui_kittest::kittest::{NodeT, Queryable};
use nice_plug::prelude::Param;

use super::Stage;

/// The name of what the keyboard works on.
fn focused(stage: &Stage) -> Option<String> {
    let node = stage
        .harness
        .query_by(|node| node.is_focused() && node.id() != stage.harness.root().accesskit_node().id());
    node.map(|node| node.accesskit_node().label().or(node.accesskit_node().value()).unwrap_or_default())
}

fn press(stage: &mut Stage, modifiers: Modifiers, key: Key) {
    stage.harness.key_press_modifiers(modifiers, key);
    stage.harness.run_steps(3);
}

/// Presses Tab until what has this name has the keyboard.
fn tab_to(stage: &mut Stage, name: &str) {
    let is_there = (0..150).any(|_| {
        press(stage, Modifiers::NONE, Key::Tab);
        focused(stage).as_deref() == Some(name)
    });
    assert!(is_there, "Tab does not lead to {name}");
}

#[test]
fn tab_goes_through_all_controls_and_each_has_a_name() {
    let mut stage = Stage::usual(false).with_sounds();
    stage.harness.run_steps(3);
    press(&mut stage, Modifiers::NONE, Key::Tab);
    let first = focused(&stage).unwrap();
    let mut names = vec![first.clone()];
    loop {
        press(&mut stage, Modifiers::NONE, Key::Tab);
        let name = focused(&stage).unwrap();
        assert!(!name.is_empty(), "no name after {:?}", names.last());
        if name == first {
            break;
        }
        // A value beside its knob is no stop of its own.
        assert_ne!(names.last(), Some(&name), "twice");
        names.push(name);
        assert!(names.len() < 150, "{names:?}");
    }
    for name in ["Prompt", "Generate", "Length", "Seed", "Root", "Gain", "Play a dog barks"] {
        assert!(names.iter().any(|other| other == name), "{name} is not in {names:?}");
    }
}

#[test]
fn arrows_and_enter_set_a_knob() {
    let mut stage = Stage::usual(false).with_sounds();
    stage.harness.run_steps(3);
    tab_to(&mut stage, "Root");
    let root = |stage: &Stage| stage.params.pads.pad(0).root_key.value();
    let before = root(&stage);
    press(&mut stage, Modifiers::NONE, Key::ArrowUp);
    press(&mut stage, Modifiers::NONE, Key::ArrowRight);
    assert_eq!(root(&stage), before + 2);
    press(&mut stage, Modifiers::NONE, Key::ArrowDown);
    assert_eq!(root(&stage), before + 1);
    assert_eq!(focused(&stage).as_deref(), Some("Root"), "the arrows moved on to another control");

    // What is typed takes the place of the value, and the knob has the keyboard again afterwards.
    for (text, end, expected) in [("C5", Key::Enter, 72), ("C2", Key::Escape, 72)] {
        press(&mut stage, Modifiers::NONE, Key::Enter);
        stage.harness.event(Event::Text(text.to_owned()));
        stage.harness.run_steps(2);
        press(&mut stage, Modifiers::NONE, end);
        assert_eq!(root(&stage), expected, "{text}");
        assert_eq!(focused(&stage).as_deref(), Some("Root"), "{text}");
    }
}

#[test]
fn fields_are_set_by_the_keyboard_too() {
    let mut stage = Stage::usual(false);
    stage.harness.run_steps(3);
    tab_to(&mut stage, "Length");
    let length = |stage: &Stage| stage.params.length.value();
    let before = length(&stage);
    press(&mut stage, Modifiers::NONE, Key::ArrowUp);
    let coarse = length(&stage) - before;
    press(&mut stage, Modifiers::SHIFT, Key::ArrowUp);
    let fine = length(&stage) - before - coarse;
    assert!(coarse > fine && fine > 0.0, "{coarse} {fine}");
    press(&mut stage, Modifiers::NONE, Key::Enter);
    stage.harness.event(Event::Text("1.5".to_owned()));
    stage.harness.run_steps(2);
    press(&mut stage, Modifiers::NONE, Key::Enter);
    assert!((length(&stage) - 1.5).abs() < 0.01, "{}", length(&stage));
    assert_eq!(focused(&stage).as_deref(), Some("Length"));
}

#[test]
fn arrows_on_a_button_set_nothing_and_go_nowhere() {
    let mut stage = Stage::usual(false);
    stage.harness.run_steps(3);
    let values = |stage: &Stage| (stage.params.guidance.value(), stage.params.truncation.value());
    let before = values(&stage);
    tab_to(&mut stage, "Seed");
    press(&mut stage, Modifiers::NONE, Key::Tab);
    let button = focused(&stage).unwrap();
    for key in
        [Key::ArrowRight, Key::ArrowRight, Key::ArrowRight, Key::ArrowDown, Key::ArrowUp, Key::ArrowLeft]
    {
        press(&mut stage, Modifiers::NONE, key);
        assert_eq!(focused(&stage).as_ref(), Some(&button), "{key:?}");
    }
    assert_eq!(values(&stage), before);
}

#[test]
fn up_and_down_go_through_an_open_list() {
    const MENU: &str = "Presets, settings, About";
    let mut stage = Stage::usual(false);
    stage.harness.run_steps(3);
    tab_to(&mut stage, MENU);
    press(&mut stage, Modifiers::NONE, Key::Enter);
    assert_eq!(focused(&stage).as_deref(), Some(MENU));
    let mut go = |key, expected: &str| {
        press(&mut stage, Modifiers::NONE, key);
        assert_eq!(focused(&stage).as_deref(), Some(expected), "{key:?}");
    };
    go(Key::ArrowDown, "Found percussion");
    go(Key::ArrowDown, "Doors and footsteps");
    go(Key::ArrowUp, "Found percussion");
    go(Key::ArrowUp, MENU);
}

/// Turns the wheel over a place.
fn wheel(stage: &mut Stage, at: Pos2, unit: MouseWheelUnit, up: f32) {
    stage.harness.hover_at(at);
    stage.harness.run_steps(1);
    stage.harness.event(Event::MouseWheel {
        unit,
        delta: vec2(0.0, up),
        phase: egui::TouchPhase::Move,
        modifiers: Modifiers::NONE,
        source: egui::MouseWheelSource::Unknown,
    });
    stage.harness.run_steps(3);
}

#[test]
fn the_wheel_turns_what_is_under_the_pointer() {
    let mut stage = Stage::usual(false);
    stage.harness.run_steps(3);
    let at = stage.harness.get_by_label("Root").rect().center();
    let root = |stage: &Stage| stage.params.pads.pad(0).root_key.value();
    let before = root(&stage);
    wheel(&mut stage, at, MouseWheelUnit::Line, 1.0);
    assert_eq!(root(&stage), before + 1);
    wheel(&mut stage, at, MouseWheelUnit::Line, -3.0);
    assert_eq!(root(&stage), before - 2);
    // A smooth wheel: nothing at first, a step after enough of it.
    wheel(&mut stage, at, MouseWheelUnit::Point, 20.0);
    assert_eq!(root(&stage), before - 2);
    wheel(&mut stage, at, MouseWheelUnit::Point, 20.0);
    assert_eq!(root(&stage), before - 1);
    let velocity = stage.params.pads.pad(0).velocity_amount.unmodulated_normalized_value();
    assert_eq!(
        velocity,
        stage.params.pads.pad(0).velocity_amount.default_normalized_value(),
        "its neighbour moved"
    );

    // The hint does not hide what the wheel changes.
    stage.harness.run_steps(20);
    let hint = stage.harness.get_by_label("The key that plays the sound as it is").rect();
    let knob = stage.harness.get_by_label("Root").rect();
    assert!(hint.bottom() <= knob.top(), "{hint:?} over {knob:?}");
}
