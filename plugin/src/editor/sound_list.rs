//! The list at the right: the sounds of the project, or those of the library.

use egui::{Align2, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::{app::View, shelf::Shelf, takes::Takes, theme, widgets::focus_ring};

/// Height of the tabs.
const TABS_HEIGHT: f32 = 28.0;

/// See the [module](self).
#[derive(Default)]
pub struct SoundList {
    /// Whether the library is shown.
    is_library: bool,
    takes: Takes,
    shelf: Shelf,
}

impl SoundList {
    /// Whether sounds are chosen, so that keys are for them.
    pub fn has_choice(&self) -> bool {
        !self.is_library && self.takes.has_choice()
    }

    /// Draws the tabs and the list into `area`.
    pub fn show(&mut self, ui: &mut Ui, area: Rect, view: &View) {
        ui.painter().rect_filled(area, theme::CORNER, theme::panel());
        let tabs = area.with_max_y(area.top() + TABS_HEIGHT).shrink2(vec2(6.0, 0.0));
        let sounds = match view.model.arrangement.takes.len() {
            0 => "Sounds".to_owned(),
            count => format!("Sounds ({count})"),
        };
        let middle = tabs.center().x;
        if tab(ui, tabs.with_max_x(middle), &sounds, !self.is_library, "The sounds of this project") {
            self.is_library = false;
        }
        if tab(ui, tabs.with_min_x(middle), "Library", self.is_library, "Every sound that you have made") {
            self.is_library = true;
        }
        let list = area.with_min_y(tabs.bottom());
        if self.is_library {
            self.shelf.show(ui, list, view);
        } else {
            self.takes.show(ui, list, view);
        }
    }
}

/// One tab; whether it was clicked.
fn tab(ui: &Ui, rect: Rect, text: &str, is_open: bool, hint: &str) -> bool {
    // What a tab says may change, not which it is.
    let response = ui.interact(rect, ui.scope_id().with(("tab", hint)), Sense::click());
    let colour = if is_open || response.hovered() { theme::text() } else { theme::dim() };
    ui.painter().text(rect.center(), Align2::CENTER_CENTER, text, theme::bold(12.0), colour);
    let line = pos2(rect.left() + 4.0, rect.bottom() - 3.0);
    if is_open {
        ui.painter().hline(line.x..=rect.right() - 4.0, line.y, Stroke::new(2.0, theme::accent()));
    }
    focus_ring(ui, rect, &response);
    response.widget_info(|| WidgetInfo::selected(Role::Tab, true, is_open, text));
    response.on_hover_text(hint).clicked()
}
