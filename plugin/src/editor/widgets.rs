//! Small controls that egui does not have: icon buttons, segmented choices. And one that it has, in this window's
//! style.

use std::ops::RangeInclusive;

use egui::{
    Button, Color32, CornerRadius, DragValue, Mesh, Painter, Pos2, Rect, Response, Role, Sense, Stroke,
    StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use super::theme;

/// Pictures on buttons, drawn by hand so that they are sharp at every scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icon {
    /// A die.
    Dice,
    /// A closed padlock.
    Locked,
    /// An open padlock.
    Unlocked,
    /// Two sheets.
    Copy,
    /// A cross.
    Close,
    /// An arrow bent to the left.
    Undo,
    /// An arrow bent to the right.
    Redo,
    /// A clock.
    History,
    /// A line.
    Minus,
    /// Three lines: a menu.
    Menu,
    /// A star; filled on buttons that are on.
    Star,
    /// Three dots.
    More,
}

/// A square button with a picture; `hint` is its tooltip and its name for screen readers.
pub fn icon_button(ui: &mut Ui, icon: Icon, is_on: bool, hint: &str) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(theme::CONTROL_HEIGHT), Sense::click());
    icon_button_at(ui, rect, response, icon, is_on, hint)
}

/// As [`icon_button`], at a place of its own.
pub fn icon_button_at(
    ui: &Ui,
    rect: Rect,
    response: Response,
    icon: Icon,
    is_on: bool,
    hint: &str,
) -> Response {
    let fill = if response.hovered() { theme::hovered() } else { theme::raised() };
    let colour = if is_on { theme::accent_text() } else { theme::text() };
    ui.painter().rect_filled(rect, theme::CORNER, fill);
    focus_ring(ui, rect, &response);
    let square = rect.shrink(rect.height() * 0.25);
    if icon == Icon::Star && is_on {
        filled_star(ui.painter(), square, colour);
    } else {
        draw(ui.painter(), icon, square, colour);
    }
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, is_on, hint));
    response.on_hover_text(hint)
}

/// A button with words; `hint` is its tooltip.
pub fn text_button(ui: &mut Ui, text: &str, hint: &str) -> Response {
    ui.add(Button::new(text).min_size(vec2(0.0, theme::CONTROL_HEIGHT))).on_hover_text(hint)
}

/// Size of a switch.
pub const SWITCH_SIZE: Vec2 = vec2(34.0, 18.0);

/// A switch, drawn into `track`; `name` is for screen readers.
pub fn switch_at(ui: &Ui, track: Rect, response: &Response, is_on: bool, name: &str) {
    let is_enabled = response.sense.senses_click();
    let (fill, knob) = match (is_on, is_enabled && response.hovered()) {
        (true, _) => (theme::accent(), theme::on_accent()),
        (false, true) => (theme::line().gamma_multiply(1.3), theme::text()),
        (false, false) => (theme::line(), if is_enabled { theme::text() } else { theme::dim() }),
    };
    let radius = track.height() / 2.0;
    ui.painter().rect_filled(track, radius, fill);
    let x = if is_on { track.right() - radius } else { track.left() + radius };
    ui.painter().circle_filled(pos2(x, track.center().y), radius - 3.0, knob);
    focus_ring(ui, track.expand(3.0), response);
    response.widget_info(|| WidgetInfo::selected(Role::CheckBox, is_enabled, is_on, name));
}

/// A number in a field: dragged, typed after a click, set to `default` by a double click. `name` is for screen readers.
/// Answers the field and whether a gesture that changed it is over.
pub fn number_field(
    ui: &mut Ui,
    value: &mut f32,
    range: RangeInclusive<f32>,
    default: f32,
    width: f32,
    name: &str,
) -> (Response, bool) {
    let (least, most) = (*range.start(), *range.end());
    let field = DragValue::new(value)
        .range(range)
        .speed((most - least) / theme::DRAG_RANGE)
        .fixed_decimals(2)
        .update_while_editing(false);
    let size = vec2(width, theme::CONTROL_HEIGHT);
    let response = ui.scope(|ui| {
        ui.spacing_mut().interact_size = size;
        ui.visuals_mut().widgets.inactive.weak_bg_fill = theme::well();
        ui.add_sized(size, field)
    });
    let mut response = response.inner;
    let mut is_over = response.drag_stopped() || (response.changed() && !response.dragged());
    if response.double_clicked() {
        *value = default;
        response.mark_changed();
        response.surrender_focus();
        is_over = true;
    }
    let track = response.rect.shrink2(vec2(6.0, 0.0)).with_min_y(response.rect.bottom() - 2.0);
    let share = (*value - least) / (most - least);
    ui.painter().rect_filled(track, 0.0, theme::line());
    ui.painter().rect_filled(track.with_max_x(track.left() + track.width() * share), 0.0, theme::accent());
    focus_ring(ui, response.rect, &response);
    name_field(&response, name);
    (response, is_over)
}

/// What screen readers call a field, beside what is in it.
pub fn name_field(response: &Response, name: &str) {
    response.ctx.accesskit_node_builder(response.id, |node| node.set_label(name));
}

/// Draws a picture into a square.
pub fn draw(painter: &Painter, icon: Icon, square: Rect, colour: Color32) {
    let stroke = Stroke::new((square.width() / 9.0).max(1.2), colour);
    let at = |x: f32, y: f32| square.min + vec2(x, y) * square.width();
    let line = |points: &[(f32, f32)]| {
        painter.line(points.iter().map(|(x, y)| at(*x, *y)).collect(), stroke);
    };
    match icon {
        Icon::Dice => {
            painter.rect_stroke(square, CornerRadius::same(3), stroke, StrokeKind::Middle);
            for (x, y) in [(0.28, 0.28), (0.72, 0.28), (0.5, 0.5), (0.28, 0.72), (0.72, 0.72)] {
                painter.circle_filled(at(x, y), square.width() * 0.09, colour);
            }
        }
        Icon::Locked | Icon::Unlocked => {
            let body = Rect::from_min_max(at(0.12, 0.48), at(0.88, 1.0));
            painter.rect_filled(body, CornerRadius::same(2), colour);
            let lift = if icon == Icon::Locked { 0.0 } else { -0.14 };
            let arc: Vec<Pos2> = (0..=10)
                .map(|i| {
                    let angle = std::f32::consts::PI * (1.0 + i as f32 / 10.0);
                    at(0.5 + 0.24 * angle.cos(), 0.3 + lift + 0.26 * angle.sin())
                })
                .collect();
            painter.line(arc, stroke);
            line(&[(0.26, 0.3 + lift), (0.26, 0.5)]);
            line(&[(0.74, 0.3 + lift), (0.74, if icon == Icon::Locked { 0.5 } else { 0.26 })]);
        }
        Icon::Copy => {
            let back = Rect::from_min_max(at(0.3, 0.0), at(0.95, 0.7));
            let front = Rect::from_min_max(at(0.05, 0.3), at(0.7, 1.0));
            painter.rect_stroke(back, CornerRadius::same(2), stroke, StrokeKind::Middle);
            painter.rect_filled(front, CornerRadius::same(2), theme::raised());
            painter.rect_stroke(front, CornerRadius::same(2), stroke, StrokeKind::Middle);
        }
        Icon::Close => {
            line(&[(0.15, 0.15), (0.85, 0.85)]);
            line(&[(0.85, 0.15), (0.15, 0.85)]);
        }
        Icon::History => {
            painter.circle_stroke(square.center(), square.width() * 0.48, stroke);
            line(&[(0.5, 0.22), (0.5, 0.52), (0.72, 0.66)]);
        }
        Icon::Minus => line(&[(0.08, 0.5), (0.92, 0.5)]),
        Icon::Menu => [0.18, 0.5, 0.82].into_iter().for_each(|y| line(&[(0.05, y), (0.95, y)])),
        Icon::Star => line(&star()),
        Icon::More => {
            for x in [0.1, 0.5, 0.9] {
                painter.circle_filled(at(x, 0.5), square.width() * 0.11, colour);
            }
        }
        Icon::Undo | Icon::Redo => {
            let mirror = |x: f32| if icon == Icon::Undo { x } else { 1.0 - x };
            let bow: Vec<_> = (0..=10)
                .map(|i| {
                    let angle = std::f32::consts::PI * (0.5 - i as f32 / 10.0);
                    (mirror(0.6 + 0.34 * angle.cos()), 0.6 - 0.3 * angle.sin())
                })
                .collect();
            line(&bow);
            line(&[(mirror(0.6), 0.3), (mirror(0.05), 0.3)]);
            line(&[(mirror(0.6), 0.9), (mirror(0.3), 0.9)]);
            line(&[(mirror(0.3), 0.05), (mirror(0.05), 0.3), (mirror(0.3), 0.55)]);
        }
    }
}

/// The outline of a star within a square of 1.
fn star() -> [(f32, f32); 11] {
    std::array::from_fn(|i| {
        let angle = std::f32::consts::PI * (i as f32 / 5.0 - 0.5);
        let radius = if i % 2 == 0 { 0.56 } else { 0.24 };
        (0.5 + radius * angle.cos(), 0.54 + radius * angle.sin())
    })
}

/// Draws a filled star into a square.
pub fn filled_star(painter: &Painter, square: Rect, colour: Color32) {
    let points = star().map(|(x, y)| square.min + vec2(x, y) * square.width());
    // A fan, since the outline is not convex.
    let mut mesh = Mesh::default();
    mesh.colored_vertex(square.min + vec2(0.5, 0.54) * square.width(), colour);
    points.into_iter().for_each(|point| mesh.colored_vertex(point, colour));
    (1..11).for_each(|corner| mesh.add_triangle(0, corner, corner + 1));
    painter.add(mesh);
    painter.line(points.to_vec(), Stroke::new(1.0, colour));
}

/// A row of choices of which one is taken, behind its name. Answers the choice clicked.
pub fn segmented(ui: &mut Ui, name: &str, choices: &[&str], selected: usize) -> Option<usize> {
    let padding = 10.0;
    let label = ui.painter().layout_no_wrap(name.to_owned(), theme::font(12.0), theme::dim());
    let label_width = label.size().x + 12.0;
    let widths: Vec<f32> = choices
        .iter()
        .map(|text| {
            let galley = ui.painter().layout_no_wrap((*text).to_owned(), theme::font(13.0), theme::text());
            galley.size().x + 2.0 * padding
        })
        .collect();
    let (rect, _) = ui.allocate_exact_size(
        vec2(label_width + widths.iter().sum::<f32>(), theme::CONTROL_HEIGHT),
        Sense::hover(),
    );
    ui.painter().rect_filled(rect, theme::CORNER, theme::raised());
    let label_at = pos2(rect.left() + 8.0, rect.center().y - label.size().y / 2.0);
    ui.painter().galley(label_at, label, theme::dim());
    let mut left = rect.left() + label_width;
    let mut clicked = None;
    for (index, (text, width)) in choices.iter().zip(widths).enumerate() {
        let cell = Rect::from_min_size(pos2(left, rect.top()), vec2(width, rect.height()));
        left += width;
        let response = ui.interact(cell, ui.scope_id().with((name, index)), Sense::click());
        let is_on = index == selected;
        let (fill, colour) = match (is_on, response.hovered()) {
            (true, _) => (theme::accent(), theme::on_accent()),
            (false, true) => (theme::hovered(), theme::text()),
            (false, false) => (Color32::TRANSPARENT, theme::text()),
        };
        ui.painter().rect_filled(cell.shrink(2.0), CornerRadius::same(4), fill);
        focus_ring(ui, cell, &response);
        ui.painter().text(cell.center(), egui::Align2::CENTER_CENTER, text, theme::font(13.0), colour);
        response
            .widget_info(|| WidgetInfo::selected(Role::RadioButton, true, is_on, format!("{name}: {text}")));
        if response.clicked() {
            clicked = Some(index);
        }
    }
    clicked
}

/// Marks the control that the keyboard works on.
pub fn focus_ring(ui: &Ui, rect: Rect, response: &Response) {
    if response.has_focus() {
        ui.painter().rect_stroke(rect, theme::CORNER, Stroke::new(1.5, theme::accent()), StrokeKind::Inside);
    }
}
