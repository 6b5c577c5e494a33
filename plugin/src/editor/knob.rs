//! Controls for parameters: the knob, and the field that can be dragged.
//!
//! Both are dragged up and down (or sideways), turned by the wheel and by the arrow keys (Shift for fine steps), and
//! take text after a click on their value, or Enter; a double click resets a knob.

use egui::{
    Align2, Event, Id, Key, MouseWheelUnit, Painter, Pos2, Rect, RectAlign, Response, Sense, Stroke,
    TextEdit, Tooltip, Ui, WidgetInfo, pos2,
    text::{CCursor, CCursorRange},
    text_edit::TextEditState,
    vec2,
};
use nice_plug::prelude::{Param, ParamSetter};

use super::{theme, widgets::focus_ring};

/// Angle of either end from straight up, in radians.
const SWEEP: f32 = 2.4;
/// Points of a smooth wheel's way that make a step.
const POINTS_A_STEP: f32 = 30.0;
/// Most steps in a frame.
const MOST_STEPS: usize = 100;

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
    turn(ui, &response, param, setter, 1.0);
    let value = param.unmodulated_normalized_value();
    let zero = param.default_normalized_value();
    draw_dial(ui.painter(), centre, value, zero, response.hovered() || response.dragged());
    focus_ring(ui, dial.expand(2.0), &response);
    describe(&response, param, label);
    let is_entered = response.has_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    hint_above(rect, &response, hint);
    let field = Rect::from_min_max(pos2(rect.left(), rect.bottom() - 18.0), rect.right_bottom());
    // Not a stop of its own for Tab.
    let value = ui.interact(field, id.with("value"), Sense::CLICK);
    let typing = Typing { id, is_begun: value.clicked() || is_entered, is_hot: value.hovered(), most: 1.0 };
    value_field(ui, field, param, setter, theme::font(11.5), &response, typing);
}

/// Shows the hint above the control in `rect`: below, it would hide the value, while the wheel turns it.
fn hint_above(rect: Rect, response: &Response, hint: &str) {
    response.ctx.accesskit_node_builder(response.id, |node| node.set_description(hint));
    let mut tip = Tooltip::for_enabled(response);
    tip.popup = tip.popup.anchor(rect).align(RectAlign::TOP);
    tip.show(|ui| ui.label(hint));
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
        turn(ui, &response, param, setter, most);
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
    let typing = Typing { id, is_begun: response.clicked(), is_hot: response.hovered(), most };
    if !value_field(ui, value, param, setter, theme::font(13.0), &response, typing) {
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

/// Steps the parameter, up to `most`, by the wheel over the control and by the arrow keys while it has the keyboard.
fn turn<P: Param>(ui: &Ui, response: &Response, param: &P, setter: &ParamSetter, most: f32) {
    let place = response.id.with("turned");
    let is_over = response.contains_pointer() && !response.dragged();
    let has_focus = response.has_focus();
    if !is_over && !has_focus {
        return;
    }
    let mut turned = ui.data(|data| data.get_temp(place)).unwrap_or(0.0);
    let is_fine = ui.input(|input| {
        if is_over {
            turned += input.events.iter().map(notches).sum::<f32>();
        }
        if has_focus {
            let presses = |key| input.num_presses(key) as f32;
            turned += presses(Key::ArrowUp) + presses(Key::ArrowRight);
            turned -= presses(Key::ArrowDown) + presses(Key::ArrowLeft);
        }
        input.modifiers.shift
    });
    // What is less than a step waits for more.
    let steps = turned.trunc();
    ui.data_mut(|data| data.insert_temp(place, turned - steps));
    let before = param.unmodulated_normalized_value().min(most);
    let mut value = before;
    for _ in 0..(steps.abs() as usize).min(MOST_STEPS) {
        value = if steps > 0.0 {
            param.next_normalized_step(value, is_fine).min(most)
        } else {
            param.previous_normalized_step(value, is_fine)
        };
    }
    if value != before {
        change(param, setter, value);
    }
}

/// Steps of the wheel in an event, upwards.
fn notches(event: &Event) -> f32 {
    match event {
        Event::MouseWheel { unit: MouseWheelUnit::Line | MouseWheelUnit::Page, delta, .. } => delta.y,
        Event::MouseWheel { unit: MouseWheelUnit::Point, delta, .. } => delta.y / POINTS_A_STEP,
        _ => 0.0,
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
    ui.data(|data| data.get_temp::<Typed>(typed(id)).is_some())
}

/// How text is typed into a control.
struct Typing {
    /// What the text is kept by.
    id: Id,
    /// Whether it is to begin now.
    is_begun: bool,
    /// Whether it would begin with a click now.
    is_hot: bool,
    /// Up to which normalised value.
    most: f32,
}

/// Text that is being typed.
#[derive(Clone)]
struct Typed {
    text: String,
    /// Whether the control gets the keyboard back afterwards: it was chosen with Tab.
    is_chosen: bool,
}

/// The value of the control `response` as text, or the text field that `typing` turns it into. Answers whether text is
/// being typed.
fn value_field<P: Param>(
    ui: &mut Ui,
    rect: Rect,
    param: &P,
    setter: &ParamSetter,
    font: egui::FontId,
    response: &Response,
    typing: Typing,
) -> bool {
    let (place, edit_id) = (typed(typing.id), typing.id.with("edit"));
    let Some(mut typed) = ui.data(|data| data.get_temp::<Typed>(place)) else {
        let value = param.unmodulated_normalized_value().min(typing.most);
        let text = param.normalized_value_to_string(value, true);
        let colour = if typing.is_hot { theme::accent_text() } else { theme::text() };
        ui.painter().text(rect.center(), Align2::CENTER_CENTER, &text, font, colour);
        if typing.is_begun {
            let typed = Typed { text, is_chosen: response.has_focus() };
            ui.data_mut(|data| data.insert_temp(place, typed));
        }
        return false;
    };
    let edit = TextEdit::singleline(&mut typed.text)
        .id(edit_id)
        .font(font)
        .align(Align2::CENTER_CENTER)
        .margin(egui::Margin::symmetric(2, 0));
    let edit = ui.place(rect, edit);
    if !edit.has_focus() && !edit.lost_focus() {
        edit.request_focus();
    }
    if edit.gained_focus() {
        // All of it is marked: what is typed takes its place.
        let mut state = TextEditState::load(ui.ctx(), edit_id).unwrap_or_default();
        let end = CCursor::new(typed.text.chars().count());
        state.cursor.set_char_range(Some(CCursorRange::two(CCursor::default(), end)));
        state.store(ui.ctx(), edit_id);
    }
    if edit.lost_focus() {
        let is_pressed = |key| ui.input(|input| input.key_pressed(key));
        let is_kept = is_pressed(Key::Escape);
        // Escape keeps the old value, everything else takes what can be read.
        if !is_kept && let Some(value) = param.string_to_normalized_value(&typed.text) {
            change(param, setter, value.min(typing.most));
        }
        if typed.is_chosen && (is_kept || is_pressed(Key::Enter)) {
            response.request_focus();
        }
        ui.data_mut(|data| data.remove::<Typed>(place));
    } else {
        ui.data_mut(|data| data.insert_temp(place, typed));
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
