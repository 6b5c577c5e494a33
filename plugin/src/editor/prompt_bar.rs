//! The prompt and the button that makes it sound.

use std::time::Duration;

use egui::{Align2, CornerRadius, Key, Rect, Response, Role, Sense, TextEdit, Ui, WidgetInfo, pos2, vec2};
use soundlocd_engine::service::request::MAX_PROMPT_CHARS;

use super::{app::View, theme, widgets::focus_ring};
use crate::session::Phase;

/// Height of the bar.
const HEIGHT: f32 = 44.0;
/// Width of the button.
const BUTTON_WIDTH: f32 = 128.0;
/// For so long after the start Cancel does not react: a double click on Generate is no cancel.
const GRACE: Duration = Duration::from_millis(400);

/// See the [module](self).
pub struct PromptBar;

impl PromptBar {
    /// Draws the bar.
    pub fn show(&mut self, ui: &mut Ui, view: &View) {
        let (bar, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::hover());
        let button = bar.with_min_x(bar.right() - BUTTON_WIDTH);
        let field = bar.with_max_x(button.left() - theme::GAP);

        let mut prompt = view.model.project.prompt.clone();
        let edit = TextEdit::singleline(&mut prompt)
            .id(egui::Id::unique("prompt"))
            .hint_text("Describe a sound: “a heavy wooden door slams shut in a hall”")
            .font(theme::font(16.0))
            .margin(egui::Margin::symmetric(12, 0))
            .align(Align2::LEFT_CENTER)
            .char_limit(MAX_PROMPT_CHARS);
        let response = ui.place(field, edit);
        if response.changed() {
            // Pasted text may have lines.
            prompt.retain(|c| !c.is_control());
            view.session.with(|model| model.project.prompt = prompt);
        }
        if response.lost_focus() {
            view.session.project_edited();
            if ui.input(|input| input.key_pressed(Key::Enter)) {
                view.generate();
            }
        }

        match &view.model.job {
            None => {
                let response = big_button(ui, button, "Generate", true);
                if response.on_hover_text("Make a sound of the text (Enter)").clicked() {
                    view.generate();
                }
            }
            Some(job) => {
                let text = if job.phase == Phase::Stopping { "Stopping" } else { "Cancel" };
                let clicked = big_button(ui, button, text, false).clicked();
                if clicked && job.started.elapsed() > GRACE {
                    view.session.cancel();
                }
                let done = button.with_max_x(button.left() + button.width() * job.fraction());
                let bar = done.with_min_y(done.bottom() - 3.0);
                ui.painter().rect_filled(bar, CornerRadius::same(1), theme::accent());
            }
        }
    }
}

/// A large button; `is_primary` for what one would do next.
fn big_button(ui: &Ui, rect: Rect, text: &str, is_primary: bool) -> Response {
    let response = ui.interact(rect, ui.scope_id().with("generate or cancel"), Sense::click());
    let (fill, colour) = match (is_primary, response.hovered()) {
        (true, false) => (theme::accent(), theme::on_accent()),
        (true, true) => (theme::accent().gamma_multiply(1.15), theme::on_accent()),
        (false, false) => (theme::raised(), theme::text()),
        (false, true) => (theme::hovered(), theme::text()),
    };
    let offset = if response.is_pointer_button_down_on() { 1.0 } else { 0.0 };
    ui.painter().rect_filled(rect, theme::CORNER, fill);
    let centre = rect.center();
    let centre = pos2(centre.x, centre.y + offset);
    ui.painter().text(centre, Align2::CENTER_CENTER, text, theme::bold(15.0), colour);
    focus_ring(ui, rect, &response);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, text));
    response
}
