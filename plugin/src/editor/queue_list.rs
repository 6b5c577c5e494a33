//! The requests that wait, above the finished sounds.

use egui::{Sense, Ui, pos2, vec2};

use super::{
    app::View,
    pack_menu::in_lines,
    theme,
    widgets::{Icon, icon_button_at},
};

/// Height of a request.
const HEIGHT: f32 = 24.0;

/// Draws them, the one that comes last at the top, as the list of sounds has it.
pub fn show(ui: &mut Ui, view: &View) {
    for (id, prompt) in view.model.queue.iter().rev() {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::hover());
        ui.painter().rect_filled(rect, theme::CORNER, theme::well());
        let width = rect.width() - HEIGHT - 12.0;
        let text = in_lines(ui, &format!("Waiting: {prompt}"), theme::font(11.5), theme::dim(), width, 1);
        let at = pos2(rect.left() + 8.0, rect.center().y - text.size().y / 2.0);
        ui.painter().galley(at, text, theme::dim());
        let remove = rect.with_min_x(rect.right() - HEIGHT).shrink(3.0);
        let response = ui.interact(remove, ui.scope_id().with(("queued", id)), Sense::click());
        if icon_button_at(ui, remove, response, Icon::Close, false, "Do not make this one").clicked() {
            view.session.unqueue(*id);
        }
    }
}
