//! Controls for parameters: the knob, and the field that can be dragged.
//!
//! Both are dragged up and down (or sideways; Shift for fine steps) and take text after a click on
//! their value; a double click resets a knob.

use egui::{
    Align2, Id, Key, Painter, Pos2, Rect, Response, Sense, Stroke, TextEdit, Ui, WidgetInfo, pos2, vec2,
};
use nice_plug::prelude::{Param, ParamSetter};

use super::{theme, widgets::focus_ring};

/// Angle of either end from straight up, in radians.
const SWEEP: f32 = 2.4;

/// A knob with its label above and its value below, filling `rect`.
pub fn knob<P: Param>(ui: &mut Ui, rect: Rect, param: &P, setter: &ParamSetter, label: &str, hint: &str) {
    let centre = pos2(rect.center().x, rect.top() + 36.0);
    let dial = Rect::from_center_size(centre, vec2(40.0, 40.0));
    let id = ui.scope_id().with(label);
    ui.painter().text(
        pos2(rect.center().x, rect.top()),
        Align2::CENTER_TOP,
        label,
        theme::font(11.0),
        theme::dim(),
    );
    let response = ui.interact(dial, id, Sense::click_and_drag());
    drag(ui, &response, param, setter, 1.0);
    let value = param.unmodulated_normalized_value();
    let zero = param.default_normalized_value();
    draw_dial(ui.painter(), centre, value, zero, response.hovered() || response.dragged());
    focus_ring(ui, dial.expand(2.0), &response);
    describe(&response, param, label);
    response.on_hover_text(hint);
    let field = Rect::from_min_max(pos2(rect.left(), rect.bottom() - 18.0), rect.right_bottom());
    value_field(ui, field, id, param, setter, theme::font(11.5));
}

/// A field that shows a value, to be dragged or typed into, up to the normalised value `most`.
pub fn drag_field<P: Param>(
    ui: &mut Ui,
    param: &P,
    setter: &ParamSetter,
    (label, hint): (&str, &str),
    width: f32,
    most: f32,
) {
    let (rect, response) =
        ui.allocate_exact_size(vec2(width, theme::CONTROL_HEIGHT), Sense::click_and_drag());
    let id = ui.scope_id().with(label);
    ui.painter().rect_filled(rect, theme::CORNER, theme::well());
    let track = rect.shrink2(vec2(6.0, 0.0)).with_min_y(rect.bottom() - 2.0);
    let fill =
        track.with_max_x(track.left() + track.width() * param.unmodulated_normalized_value().min(most));
    ui.painter().rect_filled(track, 0.0, theme::line());
    ui.painter().rect_filled(fill, 0.0, theme::accent());
    if !is_typing(ui, id) {
        drag(ui, &response, param, setter, most);
    }
    focus_ring(ui, rect, &response);
    describe(&response, param, label);
    let label = ui.painter().text(
        rect.left_center() + vec2(8.0, 0.0),
        Align2::LEFT_CENTER,
        label,
        theme::font(12.0),
        theme::dim(),
    );
    let value = rect.with_min_x(label.right() + 4.0).with_max_x(rect.right() - 4.0);
    let typing = value_field_in(ui, value, id, param, setter, theme::font(13.0), most, &response);
    if !typing {
        response.on_hover_text(format!("{hint}\nDrag to change, click to type."));
    }
}

/// Changes the parameter as the response is dragged, up to `most`; a double click resets it.
fn drag<P: Param>(ui: &Ui, response: &Response, param: &P, setter: &ParamSetter, most: f32) {
    let place = response.id.with("drag");
    if response.drag_started() {
        setter.begin_set_parameter(param);
        // Kept apart from the parameter: whole-numbered ones would never move by small steps.
        ui.data_mut(|data| data.insert_temp(place, param.unmodulated_normalized_value()));
    }
    if response.dragged() {
        let delta = response.drag_delta();
        let fine = if ui.input(|i| i.modifiers.shift) { 0.1 } else { 1.0 };
        let moved = (delta.x - delta.y) * fine / theme::DRAG_RANGE;
        if moved != 0.0 {
            let value = ui.data_mut(|data| {
                let value = data.get_temp_mut_or(place, param.unmodulated_normalized_value());
                *value = (*value + moved).clamp(0.0, most);
                *value
            });
            setter.set_parameter_normalized(param, value);
        }
    }
    if response.drag_stopped() {
        setter.end_set_parameter(param);
    }
    if response.double_clicked() {
        change(param, setter, param.default_normalized_value().min(most));
    }
}

/// Sets a value as one gesture.
pub fn change<P: Param>(param: &P, setter: &ParamSetter, normalized: f32) {
    setter.begin_set_parameter(param);
    setter.set_parameter_normalized(param, normalized);
    setter.end_set_parameter(param);
}

/// Where the text being typed into the control `id` is kept.
fn typed(id: Id) -> Id {
    id.with("typed")
}

fn is_typing(ui: &Ui, id: Id) -> bool {
    ui.data(|data| data.get_temp::<String>(typed(id)).is_some())
}

/// The value as text; a click turns it into a text field.
fn value_field<P: Param>(
    ui: &mut Ui,
    rect: Rect,
    id: Id,
    param: &P,
    setter: &ParamSetter,
    font: egui::FontId,
) {
    let response = ui.interact(rect, id.with("value"), Sense::click());
    value_field_in(ui, rect, id, param, setter, font, 1.0, &response);
}

/// As [`value_field`], up to the normalised value `most` and on a response of the caller's. Answers whether text is
/// being typed.
#[allow(clippy::too_many_arguments)] // the parts of one control
fn value_field_in<P: Param>(
    ui: &mut Ui,
    rect: Rect,
    id: Id,
    param: &P,
    setter: &ParamSetter,
    font: egui::FontId,
    most: f32,
    response: &Response,
) -> bool {
    let shown = param.normalized_value_to_string(param.unmodulated_normalized_value().min(most), true);
    let place = typed(id);
    let Some(mut text) = ui.data(|data| data.get_temp::<String>(place)) else {
        let colour = if response.hovered() { theme::accent_text() } else { theme::text() };
        ui.painter().text(rect.center(), Align2::CENTER_CENTER, &shown, font, colour);
        if response.clicked() {
            ui.data_mut(|data| data.insert_temp(place, shown));
        }
        return false;
    };
    let edit = TextEdit::singleline(&mut text)
        .id(id.with("edit"))
        .font(font)
        .align(Align2::CENTER_CENTER)
        .margin(egui::Margin::symmetric(2, 0));
    let edit = ui.place(rect, edit);
    if !edit.has_focus() && !edit.lost_focus() {
        edit.request_focus();
    }
    if edit.lost_focus() {
        // Escape keeps the old value, everything else takes what can be read.
        if !ui.input(|i| i.key_pressed(Key::Escape))
            && let Some(value) = param.string_to_normalized_value(&text)
        {
            change(param, setter, value.min(most));
        }
        ui.data_mut(|data| data.remove::<String>(place));
    } else {
        ui.data_mut(|data| data.insert_temp(place, text));
    }
    true
}

/// The dial: an arc from the default value (or the left end) to the value, and a pointer.
fn draw_dial(painter: &Painter, centre: Pos2, value: f32, default: f32, is_hot: bool) {
    let radius = 16.0;
    let angle = |value: f32| SWEEP * (2.0 * value - 1.0) - std::f32::consts::FRAC_PI_2;
    let point = |value: f32, radius: f32| centre + radius * egui::Vec2::angled(angle(value));
    let arc = |from: f32, to: f32, stroke: Stroke| {
        let points = (0..=32).map(|i| point(from + (to - from) * i as f32 / 32.0, radius)).collect();
        painter.line(points, stroke);
    };
    arc(0.0, 1.0, Stroke::new(3.0, theme::line()));
    // Controls with their rest in the middle show how far they are from it.
    let from = if (default - 0.5).abs() < 0.01 { default } else { 0.0 };
    if (value - from).abs() > 1e-3 {
        arc(from, value, Stroke::new(3.0, theme::accent()));
    }
    painter.circle_filled(centre, 11.0, if is_hot { theme::hovered() } else { theme::raised() });
    painter.line_segment([point(value, 4.0), point(value, 10.0)], Stroke::new(2.0, theme::text()));
}

/// Name and value for screen readers.
fn describe<P: Param>(response: &Response, param: &P, label: &str) {
    let value = f64::from(param.unmodulated_normalized_value());
    response.widget_info(|| WidgetInfo::slider(true, value, label));
}
