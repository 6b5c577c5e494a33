//! What went wrong, or what a project misses, in words that can be selected and copied.

use egui::{Align, Label, Layout, RichText, Sense, Ui, UiBuilder, vec2};

use super::{
    app::View,
    theme,
    widgets::{Icon, icon_button},
};

/// Space between the text and the edges.
const MARGIN: egui::Vec2 = vec2(10.0, 5.0);
/// Space for the buttons at the right.
const BUTTONS_WIDTH: f32 = 2.0 * theme::CONTROL_HEIGHT + 16.0;

/// Draws the message, if there is one.
pub fn show(ui: &mut Ui, view: &View) {
    let of_library = view.model.shelf.as_ref().and_then(|shelf| shelf.message.as_ref());
    let (text, is_error) = match (&view.model.message, of_library, &view.model.notice) {
        (Some(message), ..) => (&message.text, message.is_error),
        (None, Some((text, is_error)), _) => (text, *is_error),
        (None, None, Some(notice)) => (notice, false),
        (None, None, None) => return,
    };
    let (fill, colour) =
        if is_error { (theme::error_back(), theme::error()) } else { (theme::raised(), theme::text()) };
    let width = ui.available_width();
    let text_width = width - BUTTONS_WIDTH - 2.0 * MARGIN.x;
    let text_height = ui.painter().layout(text.clone(), theme::font(13.0), colour, text_width).size().y;
    let height = text_height.max(theme::CONTROL_HEIGHT) + 2.0 * MARGIN.y;
    let (rect, _) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
    ui.painter().rect_filled(rect, theme::CORNER, fill);

    let inner = rect.shrink2(MARGIN);
    let label = RichText::new(text).color(colour);
    let left = UiBuilder::new()
        .max_rect(inner.with_max_x(inner.left() + text_width))
        .layout(Layout::left_to_right(Align::Center));
    ui.new_child(left).add(Label::new(label).wrap().selectable(true));
    let right = UiBuilder::new().max_rect(inner).layout(Layout::right_to_left(Align::Center));
    let mut buttons = ui.new_child(right);
    if icon_button(&mut buttons, Icon::Close, false, "Close this message").clicked() {
        if view.model.message.is_none()
            && of_library.is_some()
            && let Some(library) = view.session.library()
        {
            return library.close_message();
        }
        view.session.with(|model| {
            // A request that failed for want of the model said what the notice says.
            model.notice_closed |= view.model.notice.as_ref() == Some(text);
            model.message = None;
        });
    }
    if icon_button(&mut buttons, Icon::Copy, false, "Copy this message").clicked() {
        ui.ctx().copy_text(text.clone());
    }
}
