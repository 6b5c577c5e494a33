//! How the sound is played: the row of knobs.

use egui::{Align2, Rect, Sense, Ui, UiBuilder, pos2, vec2};
use nice_plug::prelude::Param;

use super::{
    app::View,
    knob::{change, knob},
    theme,
    widgets::{SWITCH_SIZE, switch_at},
};
use crate::sampler::PlayMode;

/// Knobs in the row, counting the switch.
const CELLS: f32 = 12.0;
/// Widest cell.
const WIDEST: f32 = 84.0;

/// Draws the row into `area`.
pub fn show(ui: &mut Ui, area: Rect, view: &View) {
    ui.painter().rect_filled(area, theme::CORNER, theme::PANEL);
    let width = ((area.width() - 8.0) / CELLS).min(WIDEST);
    let left = area.center().x - width * CELLS / 2.0;
    let mut index = 0.0;
    let mut cell = |ui: &mut Ui, add: &mut dyn FnMut(&mut Ui, Rect)| {
        let rect = Rect::from_min_size(
            pos2(left + index * width, area.top() + 8.0),
            vec2(width, area.height() - 14.0),
        );
        index += 1.0;
        let mut child = ui.new_child(UiBuilder::new().max_rect(rect));
        add(&mut child, rect);
    };
    let (params, setter) = (view.params, &view.setter);
    let pad = params.pads.pad(0);
    macro_rules! knobs {
        ($($of:ident.$param:ident $label:literal $hint:literal,)*) => {$(
            cell(ui, &mut |ui, rect| knob(ui, rect, &$of.$param, setter, $label, $hint));
        )*};
    }
    knobs! {
        pad.root_key "Root" "The key that plays the sound as it is",
        pad.key_tracking "Tracking" "How much the key changes the pitch",
        pad.tune "Tune" "Transposition in semitones",
        params.bend_range "Bend" "Range of the pitch wheel",
        pad.attack "Attack" "Time to full level",
        pad.decay "Decay" "Time from full level to the sustain level",
        pad.sustain "Sustain" "Level while the key is held",
        pad.release "Release" "Time to silence after the key is let go",
    }
    cell(ui, &mut |ui, rect| one_shot(ui, rect, view));
    knobs! {
        pad.velocity_amount "Velocity" "How much the velocity changes the level",
        params.polyphony "Voices" "Most notes that sound at once",
        params.gain "Gain" "Level of the output",
    }
}

/// The switch.
fn one_shot(ui: &Ui, rect: Rect, view: &View) {
    let param = &view.params.pads.pad(0).mode;
    let is_on = param.value() == PlayMode::OneShot;
    ui.painter().text(
        pos2(rect.center().x, rect.top()),
        Align2::CENTER_TOP,
        "One-shot",
        theme::font(11.0),
        theme::DIM,
    );
    let track = Rect::from_center_size(pos2(rect.center().x, rect.top() + 36.0), SWITCH_SIZE);
    let response = ui.interact(track.expand(4.0), ui.scope_id().with("one-shot"), Sense::click());
    switch_at(ui, track, &response, is_on, "One-shot");
    ui.painter().text(
        pos2(rect.center().x, rect.bottom() - 9.0),
        Align2::CENTER_CENTER,
        if is_on { "On" } else { "Off" },
        theme::font(11.5),
        theme::TEXT,
    );
    if response.clicked() {
        let mode = if is_on { PlayMode::Gate } else { PlayMode::OneShot };
        change(param, &view.setter, param.preview_normalized(mode));
    }
    response.on_hover_text("Notes play to the end of the sound, however short the key is held");
}
