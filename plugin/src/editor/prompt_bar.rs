//! The prompt, with those used before, and the buttons that make it sound.

use std::{sync::Arc, time::Duration};

use egui::{
    Align2, CornerRadius, Id, Key, Margin, Modifiers, Popup, Rect, RectAlign, Response, Role, ScrollArea,
    Sense, TextEdit, Ui, WidgetInfo, pos2,
    text::{CCursor, CCursorRange},
    text_edit::TextEditState,
    vec2,
};
use soundlocd_engine::service::request::MAX_PROMPT_CHARS;

use super::{
    app::View,
    pack_menu::in_lines,
    prompts, theme,
    widgets::{Icon, focus_ring, icon_button_at, name_field},
};
use crate::{
    preferences::{self, Preferences},
    session::{Job, Phase, random_seed},
};

/// Height of the bar.
const HEIGHT: f32 = 44.0;
/// Height of what is to be avoided.
const AVOID_HEIGHT: f32 = 30.0;
/// Width of the button, or of both.
const BUTTON_WIDTH: f32 = 148.0;
/// Side of the buttons within the field, and how many there are.
const ICON: f32 = 26.0;
const ICONS: f32 = 3.0;
/// Width of the list of prompts used before.
const LIST_WIDTH: f32 = 420.0;
/// For so long after the start the buttons do not react: a double click on Generate is no cancel and asks for one
/// sound.
const GRACE: Duration = Duration::from_millis(400);

/// See the [module](self).
#[derive(Default)]
pub struct PromptBar {
    /// How far back the arrow keys have gone, and what was there before.
    browsing: Option<(usize, String)>,
    /// Whether the field for what is to be avoided was opened.
    is_avoiding: bool,
}

impl PromptBar {
    /// Draws the bar.
    pub fn show(&mut self, ui: &mut Ui, view: &View) {
        let (bar, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::hover());
        let button = bar.with_min_x(bar.right() - BUTTON_WIDTH);
        let field = bar.with_max_x(button.left() - theme::GAP);
        self.field(ui, field, view);
        match &view.model.job {
            None => {
                let response = big_button(ui, button, ("generate", "Generate"), true);
                if response.on_hover_text("Make a sound of the text (Enter)").clicked() {
                    view.generate();
                }
            }
            Some(job) => buttons_at_work(ui, button, job, view),
        }
        if self.is_avoiding || !view.model.project.negative_prompt.is_empty() {
            self.avoid(ui, view);
        }
    }

    /// The prompt itself.
    fn field(&mut self, ui: &mut Ui, field: Rect, view: &View) {
        let id = Id::unique("prompt");
        let preferences = preferences::current();
        let mut prompt = view.model.project.prompt.clone();
        if ui.memory(|memory| memory.has_focus(id))
            && let Some(other) = self.browse(ui, &prompt, &preferences)
        {
            let end = CCursor::new(other.chars().count());
            let mut state = TextEditState::load(ui.ctx(), id).unwrap_or_default();
            state.cursor.set_char_range(Some(CCursorRange::one(end)));
            state.store(ui.ctx(), id);
            view.session.with(|model| model.project.prompt.clone_from(&other));
            prompt = other;
        }
        let icons = ICONS * (ICON + 2.0) + 8.0;
        let edit = TextEdit::singleline(&mut prompt)
            .id(id)
            .hint_text("Describe a sound: “a heavy wooden door slams shut in a hall”")
            .font(theme::font(16.0))
            .margin(Margin { left: 12, right: icons as i8, top: 0, bottom: 0 })
            .align(Align2::LEFT_CENTER)
            .char_limit(MAX_PROMPT_CHARS);
        let response = ui.place(field, edit);
        name_field(&response, "Prompt");
        if response.changed() {
            self.browsing = None;
            // Pasted text may have lines.
            prompt.retain(|c| !c.is_control());
            view.session.with(|model| model.project.prompt = prompt);
        }
        if response.lost_focus() {
            view.session.project_edited();
            if ui.input(|input| input.key_pressed(Key::Enter)) {
                self.browsing = None;
                view.generate();
            }
        }
        let icon = |index: f32| {
            let left = field.right() - 6.0 - (ICONS - index) * (ICON + 2.0);
            Rect::from_min_size(pos2(left, field.center().y - ICON / 2.0), vec2(ICON, ICON))
        };
        history(ui, icon(0.0), view, &preferences);
        let response = ui.interact(icon(1.0), ui.scope_id().with("roll prompt"), Sense::click());
        if icon_button_at(ui, icon(1.0), response, Icon::Dice, false, "An idea: another text").clicked() {
            self.browsing = None;
            let rolled = prompts::roll(&view.model.project.prompt, random_seed());
            view.session.with(|model| model.project.prompt = rolled.to_owned());
            view.session.project_edited();
        }
        let is_avoiding = self.is_avoiding || !view.model.project.negative_prompt.is_empty();
        let response = ui.interact(icon(2.0), ui.scope_id().with("avoid"), Sense::click());
        let hint = "What the sound is not to be like";
        if icon_button_at(ui, icon(2.0), response, Icon::Minus, is_avoiding, hint).clicked() {
            self.is_avoiding = !is_avoiding;
            if is_avoiding {
                view.session.with(|model| model.project.negative_prompt.clear());
                view.session.project_edited();
            } else {
                ui.memory_mut(|memory| memory.request_focus(Id::unique("negative prompt")));
            }
        }
    }

    /// Another prompt that the arrow keys ask for: up goes back in time, down comes back to what was being typed.
    fn browse(&mut self, ui: &Ui, prompt: &str, preferences: &Arc<Preferences>) -> Option<String> {
        let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        let at = self.browsing.as_ref().map(|(index, _)| *index);
        if pressed(Key::ArrowUp) {
            // The newest is often what is there already.
            let first = usize::from(preferences.prompts.first().is_some_and(|newest| newest == prompt));
            let index = at.map_or(first, |index| index + 1);
            let other = preferences.prompts.get(index)?.clone();
            let draft = self.browsing.take().map_or_else(|| prompt.to_owned(), |(_, draft)| draft);
            self.browsing = Some((index, draft));
            return Some(other);
        }
        if pressed(Key::ArrowDown) {
            let (index, draft) = self.browsing.take()?;
            let newer = index.checked_sub(1).and_then(|index| Some((index, preferences.prompts.get(index)?)));
            return Some(match newer {
                Some((index, prompt)) if *prompt != draft || index > 0 => {
                    self.browsing = Some((index, draft));
                    prompt.clone()
                }
                _ => draft,
            });
        }
        None
    }

    /// What is to be avoided.
    fn avoid(&mut self, ui: &mut Ui, view: &View) {
        let (field, _) = ui.allocate_exact_size(vec2(ui.available_width(), AVOID_HEIGHT), Sense::hover());
        let mut text = view.model.project.negative_prompt.clone();
        let edit = TextEdit::singleline(&mut text)
            .id(Id::unique("negative prompt"))
            .hint_text("what the sound is not to be like: “music, hiss”")
            .font(theme::font(13.0))
            .margin(Margin { left: 56, right: 8, top: 0, bottom: 0 })
            .align(Align2::LEFT_CENTER)
            .char_limit(MAX_PROMPT_CHARS);
        let response = ui.place(field, edit);
        name_field(&response, "Avoid");
        let at = field.left_center() + vec2(12.0, 0.0);
        ui.painter().text(at, Align2::LEFT_CENTER, "Avoid", theme::font(12.0), theme::dim());
        if response.changed() {
            // Emptied by hand it stays open.
            self.is_avoiding = true;
            text.retain(|c| !c.is_control());
            view.session.with(|model| model.project.negative_prompt = text);
        }
        if response.lost_focus() {
            view.session.project_edited();
            if ui.input(|input| input.key_pressed(Key::Enter)) {
                view.generate();
            }
        }
        if view.params.guidance.value() <= 1.0 {
            response.on_hover_text("Has an effect only where Guidance is above 1.");
        }
    }
}

/// The button for the prompts used before, and their list.
fn history(ui: &Ui, rect: Rect, view: &View, preferences: &Preferences) {
    let response = ui.interact(rect, ui.scope_id().with("prompts"), Sense::click());
    let response = icon_button_at(ui, rect, response, Icon::History, false, "Texts used before (↑ and ↓)");
    let popup =
        Popup::from_toggle_button_response(&response).align(RectAlign::BOTTOM_END).gap(4.0).width(LIST_WIDTH);
    popup.show(|ui| {
        ui.set_width(LIST_WIDTH);
        ui.spacing_mut().item_spacing.y = 2.0;
        if preferences.prompts.is_empty() {
            ui.label("What you have asked for is listed here.");
        }
        ScrollArea::vertical().max_height(260.0).show(ui, |ui| {
            for prompt in &preferences.prompts {
                let (row, response) = ui.allocate_exact_size(vec2(LIST_WIDTH, 24.0), Sense::click());
                if response.hovered() || response.has_focus() {
                    ui.painter().rect_filled(row, theme::CORNER, theme::hovered());
                }
                let text = in_lines(ui, prompt, theme::font(13.0), theme::text(), row.width() - 16.0, 1);
                let at = pos2(row.left() + 8.0, row.center().y - text.size().y / 2.0);
                ui.painter().galley(at, text, theme::text());
                response.widget_info(|| WidgetInfo::labeled(Role::MenuItem, true, prompt));
                if response.clicked() {
                    view.session.with(|model| model.project.prompt.clone_from(prompt));
                    view.session.project_edited();
                    ui.close();
                }
            }
        });
    });
}

/// While a request is worked on: one button for the next one, and one to stop.
fn buttons_at_work(ui: &Ui, area: Rect, job: &Job, view: &View) {
    let reacts = job.started.elapsed() > GRACE;
    let middle = area.center().x;
    let queue = area.with_max_x(middle - 2.0);
    let waiting = view.model.queue.len();
    let text = if waiting == 0 { "Queue".to_owned() } else { format!("Queue ({waiting})") };
    let hint = "Make a sound of the text when the others are done (Enter)";
    if big_button(ui, queue, ("generate", &text), false).on_hover_text(hint).clicked() && reacts {
        view.generate();
    }
    let stop = area.with_min_x(middle + 2.0);
    let text = if job.phase == Phase::Stopping { "Stopping" } else { "Cancel" };
    let hint = "Stop making this sound. What is finished stays.";
    if big_button(ui, stop, ("cancel", text), false).on_hover_text(hint).clicked() && reacts {
        view.session.cancel();
    }
    let done = area.with_max_x(area.left() + area.width() * job.fraction());
    let bar = done.with_min_y(done.bottom() - 3.0);
    ui.painter().rect_filled(bar, CornerRadius::same(1), theme::accent());
}

/// A large button with its name and what it says; `is_primary` for what one would do next.
fn big_button(ui: &Ui, rect: Rect, (name, text): (&str, &str), is_primary: bool) -> Response {
    let response = ui.interact(rect, ui.scope_id().with(name), Sense::click());
    let (fill, colour) = match (is_primary, response.hovered()) {
        (true, false) => (theme::accent(), theme::on_accent()),
        (true, true) => (theme::accent().gamma_multiply(1.15), theme::on_accent()),
        (false, false) => (theme::raised(), theme::text()),
        (false, true) => (theme::hovered(), theme::text()),
    };
    let offset = if response.is_pointer_button_down_on() { 1.0 } else { 0.0 };
    ui.painter().rect_filled(rect, theme::CORNER, fill);
    let centre = pos2(rect.center().x, rect.center().y + offset);
    let size = if is_primary { 15.0 } else { 13.0 };
    ui.painter().text(centre, Align2::CENTER_CENTER, text, theme::bold(size), colour);
    focus_ring(ui, rect, &response);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, text));
    response
}
