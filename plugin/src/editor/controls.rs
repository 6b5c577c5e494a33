//! How the selected pad is played: the panel of knobs, in pages.

use egui::{Align2, Rect, Role, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2};
use nice_plug::prelude::{Enum, EnumParam, Param, ParamSetter};

use super::{
    app::View,
    knob::{change, knob},
    theme,
    widgets::{SWITCH_SIZE, focus_ring, switch_at},
};

/// Widest cell.
const WIDEST: f32 = 84.0;
/// Cells narrower than this have smaller words on their buttons.
const NARROW: f32 = 64.0;
/// Width of the list of pages.
const PAGES_WIDTH: f32 = 74.0;

/// What the panel shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Page {
    /// Pitch, level and the whole instrument.
    #[default]
    Play,
    /// Envelope, filter, air and width.
    Shape,
    /// Which part of the clip, and how.
    Range,
    /// Keys, groups, controllers and outputs.
    Keys,
}

impl Page {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Play, "Play"), (Self::Shape, "Shape"), (Self::Range, "Range"), (Self::Keys, "Keys")];

    /// Cells in the row.
    fn cells(self) -> f32 {
        match self {
            Self::Play | Self::Keys => 10.0,
            Self::Shape | Self::Range => 9.0,
        }
    }
}

/// See the [module](self).
#[derive(Default)]
pub struct Controls {
    page: Page,
}

impl Controls {
    /// Draws the panel into `area`.
    pub fn show(&mut self, ui: &mut Ui, area: Rect, view: &View) {
        ui.painter().rect_filled(area, theme::CORNER, theme::panel());
        self.pages(ui, area.with_max_x(area.left() + PAGES_WIDTH));
        let area = area.with_min_x(area.left() + PAGES_WIDTH);
        let cells = self.page.cells();
        let width = ((area.width() - 8.0) / cells).min(WIDEST);
        let left = area.center().x - width * cells / 2.0;
        let mut index = 0.0;
        let mut cell = |ui: &mut Ui, add: &mut dyn FnMut(&mut Ui, Rect)| {
            let min = pos2(left + index * width, area.top() + 8.0);
            let rect = Rect::from_min_size(min, vec2(width, area.height() - 14.0));
            index += 1.0;
            // Each pad's knobs are their own: what is typed into one does not go on in another.
            let id = ("pad controls", view.model.selected);
            let mut child = ui.new_child(UiBuilder::new().max_rect(rect).id_salt(id));
            add(&mut child, rect);
        };
        let (params, pad, setter) = (view.params, view.pad(), &view.setter);
        macro_rules! knobs {
            ($($of:ident.$param:ident $label:literal $hint:literal,)*) => {$(
                cell(ui, &mut |ui, rect| knob(ui, rect, &$of.$param, setter, $label, $hint));
            )*};
        }
        match self.page {
            Page::Play => {
                knobs! {
                    pad.root_key "Root" "The key that plays the sound as it is",
                    pad.key_tracking "Tracking" "How much the key changes the pitch",
                    pad.tune "Tune" "Transposition in semitones",
                    pad.velocity_amount "Velocity" "How much the velocity changes the level",
                    pad.level "Level" "Level of this pad",
                    pad.pan "Pan" "Left or right",
                }
                cell(ui, &mut |ui, rect| {
                    choice(ui, rect, &pad.mode, setter, "Mode", "What holding and letting go do")
                });
                knobs! {
                    params.bend_range "Bend" "Range of the pitch wheel, for all pads",
                    params.polyphony "Voices" "Most notes that sound at once, of all pads",
                    params.gain "Gain" "Level of the output, of all pads",
                }
            }
            Page::Shape => {
                knobs! {
                    pad.attack "Attack" "Time to full level",
                    pad.decay "Decay" "Time from full level to the sustain level",
                    pad.sustain "Sustain" "Level while the key is held",
                    pad.release "Release" "Time to silence after the key is let go",
                }
                cell(ui, &mut |ui, rect| {
                    choice(ui, rect, &pad.filter, setter, "Filter", "What the filter lets through")
                });
                knobs! {
                    pad.cutoff "Cutoff" "Where the filter begins",
                    pad.resonance "Resonance" "How much the filter stresses its edge",
                    pad.air "Air" "A synthetic octave above the sound, which ends at 11 kHz",
                    pad.width "Width" "Makes stereo of the sound, which is mono; what is heard in mono stays the same",
                }
            }
            Page::Range => {
                knobs! {
                    pad.start "Start" "Where in the sound notes begin",
                    pad.end "End" "Where in the sound notes end",
                    pad.fade_in "Fade in" "Fade at the start",
                    pad.fade_out "Fade out" "Fade at the end",
                }
                cell(ui, &mut |ui, rect| reverse(ui, rect, view));
                cell(ui, &mut |ui, rect| {
                    choice(ui, rect, &pad.mode, setter, "Mode", "What holding and letting go do")
                });
                knobs! {
                    pad.loop_start "Loop from" "Where the part that repeats begins",
                    pad.loop_end "Loop to" "Where the part that repeats ends",
                    pad.crossfade "Crossfade" "How long the end of the loop blends into its beginning",
                }
            }
            Page::Keys => {
                knobs! {
                    pad.low_key "Lowest" "The lowest key that plays this pad",
                    pad.high_key "Highest" "The highest key that plays this pad",
                    pad.root_key "Root" "The key that plays the sound as it is",
                    pad.key_tracking "Tracking" "How much the key changes the pitch",
                    pad.velocity_curve "Curve" "Form of the velocity's effect: to the left soft playing is louder",
                    pad.choke_group "Choke" "A note ends the other pads of its group",
                    params.wheel_cutoff "Wheel" "How far the modulation wheel opens the filters, of all pads",
                    params.vibrato "Vibrato" "Depth of the vibrato with the modulation wheel at its top, of all pads",
                    params.pressure_cutoff "Pressure" "How far pressure opens the filters, of all pads",
                }
                cell(ui, &mut |ui, rect| {
                    choice(
                        ui,
                        rect,
                        &pad.output,
                        setter,
                        "Output",
                        "Own: this pad's own output, if the host offers it",
                    );
                });
            }
        }
    }

    /// The list of pages.
    fn pages(&mut self, ui: &Ui, area: Rect) {
        let area = area.shrink(4.0);
        let height = area.height() / Page::ALL.len() as f32;
        for (index, (page, name)) in Page::ALL.into_iter().enumerate() {
            let top = area.top() + index as f32 * height;
            let rect = Rect::from_min_size(pos2(area.left(), top), vec2(area.width(), height)).shrink(1.0);
            let response = ui.interact(rect, ui.scope_id().with(("page", name)), Sense::click());
            let is_on = self.page == page;
            let fill = match (is_on, response.hovered()) {
                (true, _) => theme::raised(),
                (false, true) => theme::hovered(),
                (false, false) => theme::panel(),
            };
            ui.painter().rect_filled(rect, theme::CORNER, fill);
            if is_on {
                let mark = rect.with_max_x(rect.left() + 3.0).shrink2(vec2(0.0, 3.0));
                ui.painter().rect_filled(mark, 1.5, theme::accent());
            }
            let colour = if is_on { theme::text() } else { theme::dim() };
            let at = rect.left_center() + vec2(10.0, 0.0);
            ui.painter().text(at, Align2::LEFT_CENTER, name, theme::font(12.0), colour);
            focus_ring(ui, rect, &response);
            response.widget_info(|| WidgetInfo::selected(Role::Tab, true, is_on, name));
            if response.clicked() {
                self.page = page;
            }
        }
    }
}

/// The label of a cell.
fn label(ui: &Ui, rect: Rect, text: &str) {
    let at = pos2(rect.center().x, rect.top());
    ui.painter().text(at, Align2::CENTER_TOP, text, theme::font(11.0), theme::dim());
}

/// A parameter with few values: a click takes the next one.
fn choice<T: Enum + PartialEq + 'static>(
    ui: &Ui,
    rect: Rect,
    param: &EnumParam<T>,
    setter: &ParamSetter,
    name: &str,
    hint: &str,
) {
    label(ui, rect, name);
    let button =
        Rect::from_center_size(pos2(rect.center().x, rect.top() + 36.0), vec2(rect.width() - 4.0, 26.0));
    let response = ui.interact(button, ui.scope_id().with(name), Sense::click());
    let fill = if response.hovered() { theme::hovered() } else { theme::raised() };
    ui.painter().rect_filled(button, theme::CORNER, fill);
    focus_ring(ui, button, &response);
    let (index, variants) = (param.value().to_index(), T::variants());
    let text = variants.get(index).copied().unwrap_or_default();
    let size = if rect.width() < NARROW { 10.5 } else { 12.0 };
    ui.painter().text(button.center(), Align2::CENTER_CENTER, text, theme::font(size), theme::text());
    // Which of them it is.
    for dot in 0..variants.len() {
        let x = rect.center().x + (dot as f32 - (variants.len() - 1) as f32 / 2.0) * 8.0;
        let colour = if dot == index { theme::accent() } else { theme::line() };
        ui.painter().circle_filled(pos2(x, rect.bottom() - 9.0), 2.5, colour);
    }
    let step = if response.clicked() {
        1
    } else if response.secondary_clicked() {
        variants.len().saturating_sub(1)
    } else {
        0
    };
    if step > 0 && !variants.is_empty() {
        change(param, setter, param.preview_normalized(T::from_index((index + step) % variants.len())));
    }
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("{name}: {text}")));
    response.on_hover_text(format!("{hint}\n{}. Click for the next.", variants.join(", ")));
}

/// The switch.
fn reverse(ui: &Ui, rect: Rect, view: &View) {
    let param = &view.pad().reverse;
    let is_on = param.value();
    label(ui, rect, "Reverse");
    let track = Rect::from_center_size(pos2(rect.center().x, rect.top() + 36.0), SWITCH_SIZE);
    let response = ui.interact(track.expand(4.0), ui.scope_id().with("reverse"), Sense::click());
    switch_at(ui, track, &response, is_on, "Reverse");
    let at = pos2(rect.center().x, rect.bottom() - 9.0);
    let text = if is_on { "On" } else { "Off" };
    ui.painter().text(at, Align2::CENTER_CENTER, text, theme::font(11.5), theme::text());
    if response.clicked() {
        change(param, &view.setter, param.preview_normalized(!is_on));
    }
    response.on_hover_text("Plays from the end to the beginning");
}
