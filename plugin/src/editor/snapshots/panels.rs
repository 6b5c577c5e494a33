//! Each panel, dark and light, small and HiDPI.

use egui::vec2;

use super::Stage;

#[test]
fn the_first_window_dark_and_light() {
    for (is_light, name) in [(false, "first-dark"), (true, "first-light")] {
        Stage::usual(is_light).snapshot(name);
    }
}

#[test]
fn with_sounds_dark_and_light() {
    for (is_light, name) in [(false, "sounds-dark"), (true, "sounds-light")] {
        Stage::usual(is_light).with_sounds().snapshot(name);
    }
}

#[test]
fn the_smallest_window_and_hidpi() {
    for (is_light, name) in [(false, "small-dark"), (true, "small-light")] {
        Stage::new(vec2(640.0, 420.0), 1.0, is_light).with_sounds().snapshot(name);
    }
    Stage::new(vec2(640.0, 420.0), 2.0, false).with_sounds().snapshot("small-hidpi");
}
