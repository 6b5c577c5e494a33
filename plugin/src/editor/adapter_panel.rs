//! Which adapters change the model: the button with their number, and the list that it opens.

use egui::{
    Align, Align2, Button, Color32, Frame, Id, Label, Layout, Margin, Popup, PopupCloseBehavior, Rect,
    RectAlign, Response, RichText, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2,
};
use soundlocd_engine::{lora::BaseId, service::request::MAX_STRENGTH};

use super::{
    app::View,
    pack_menu::in_lines,
    theme,
    widgets::{Icon, SWITCH_SIZE, focus_ring, icon_button, number_field, switch_at, text_button},
};
use crate::{
    adapters::{DEFAULT_STRENGTH, Row, Standing},
    packs,
    session::Session,
};

/// Width of the open list.
const LIST_WIDTH: f32 = 384.0;
/// Height of the open list's rows together, before they scroll.
const MOST_HEIGHT: f32 = 360.0;
/// Space that the window needs above and below the rows.
const OTHER_HEIGHT: f32 = 210.0;
/// Width of a strength.
const STRENGTH_WIDTH: f32 = 58.0;
/// Most lines of why an adapter cannot be used.
const MOST_LINES: usize = 3;
/// Captions of one adapter that are shown at once.
const MOST_CAPTIONS: usize = 6;
/// Longest caption on its button, in characters.
const CAPTION_CHARS: usize = 44;

/// Shows adapters that were added.
pub fn show_added(context: &egui::Context, session: &Session) {
    if session.with(|model| std::mem::take(&mut model.was_added)) {
        Popup::open_id(context, popup_id());
    }
}

fn popup_id() -> Id {
    Id::unique("adapters")
}

/// Draws the button into `rect`, and the list while it is open.
pub fn show(ui: &mut Ui, rect: Rect, view: &View) {
    let response = ui.interact(rect, ui.scope_id().with("adapters"), Sense::click());
    let popup = Popup::from_toggle_button_response(&response)
        .id(popup_id())
        .align(RectAlign::BOTTOM_END)
        .gap(4.0)
        .width(LIST_WIDTH)
        .close_behavior(PopupCloseBehavior::CloseOnClickOutside);
    let base = packs::base(view.model.project.pack.as_ref(), view.model.packs.as_deref());
    let active: Vec<_> = view.model.project.adapters.iter().filter(|adapter| adapter.is_active()).collect();
    let is_missing = active.iter().any(|adapter| {
        !matches!(
            Standing::of(adapter, view.model.adapters.as_deref(), base),
            Standing::Ready(_) | Standing::Unknown
        )
    });
    draw_button(ui, rect, &response, active.len(), is_missing, popup.is_open());
    let count = active.len();
    response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, format!("Adapters: {count} on")));
    popup.show(|ui| list(ui, view, base));
    let names: Vec<&str> = active.iter().map(|adapter| adapter.title.as_str()).collect();
    response.on_hover_text(if names.is_empty() {
        "Adapters teach the model sounds of a kind. Click to choose.".to_owned()
    } else {
        format!("{}\nThe next sound is made with these adapters.", names.join("\n"))
    });
}

/// The button, with the number of adapters that change the next sound.
fn draw_button(ui: &Ui, rect: Rect, response: &Response, count: usize, is_missing: bool, is_open: bool) {
    let fill = if response.hovered() || is_open { theme::hovered() } else { theme::raised() };
    ui.painter().rect_filled(rect, theme::CORNER, fill);
    focus_ring(ui, rect, response);
    let left = rect.left_center() + vec2(8.0, 0.0);
    let colour = if count == 0 { theme::dim() } else { theme::text() };
    let label = ui.painter().text(left, Align2::LEFT_CENTER, "Adapters", theme::font(12.0), colour);
    if count > 0 {
        let (back, colour) = if is_missing {
            (theme::error_back(), theme::error())
        } else {
            (theme::accent(), theme::on_accent())
        };
        let badge = Rect::from_center_size(pos2(label.right() + 15.0, rect.center().y), vec2(18.0, 16.0));
        ui.painter().rect_filled(badge, 8.0, back);
        let number = count.to_string();
        ui.painter().text(badge.center(), Align2::CENTER_CENTER, number, theme::bold(11.0), colour);
    }
    let tip = pos2(rect.right() - 11.0, rect.center().y + 2.0);
    let arrow = vec![tip + vec2(-4.0, -4.0), tip, tip + vec2(4.0, -4.0)];
    ui.painter().line(arrow, Stroke::new(1.5, theme::dim()));
}

/// The open list.
fn list(ui: &mut Ui, view: &View, base: Option<&BaseId>) {
    ui.set_width(LIST_WIDTH);
    ui.spacing_mut().item_spacing.y = 4.0;
    let Some(found) = &view.model.adapters else {
        ui.label(RichText::new("Looking for adapters").color(theme::dim()));
        return;
    };
    let rows = found.rows(&view.model.project.adapters, base);
    let height = (ui.ctx().content_rect().height() - OTHER_HEIGHT).clamp(80.0, MOST_HEIGHT);
    ScrollArea::vertical().max_height(height).show(ui, |ui| {
        for (index, row) in rows.iter().enumerate() {
            ui.push_id(row.hash().map_or_else(|| index.to_string(), str::to_owned), |ui| {
                show_row(ui, view, row);
            });
        }
        if rows.is_empty() {
            note(
                ui,
                "No adapters yet. An adapter is a small file that teaches the model sounds of a kind.",
                theme::dim(),
            );
        }
    });
    // The window's own place for it may be behind this list.
    if let Some(message) = &view.model.message {
        let colour = if message.is_error { theme::error() } else { theme::text() };
        note(ui, &message.text, colour);
    }
    for text in found.notes() {
        note(ui, text, theme::dim());
    }
    note(ui, "Drop .safetensors files on the window to add them.", theme::dim());
    ui.horizontal(|ui| {
        let hint = if view.model.is_picking { "The dialog is open" } else { "Pick adapter files" };
        if text_button(ui, "Add file…", hint).clicked() {
            view.session.pick_adapters();
        }
        if text_button(ui, "Open folder", "Adapters that you put here are found").clicked() {
            view.session.open_adapters_folder();
        }
        if text_button(ui, "Rescan", "Look for adapters again").clicked() {
            view.session.scan_adapters();
        }
    });
}

fn note(ui: &mut Ui, text: &str, colour: Color32) {
    ui.add(Label::new(RichText::new(text).font(theme::font(11.0)).color(colour)).wrap());
}

/// One adapter.
fn show_row(ui: &mut Ui, view: &View, row: &Row) {
    let is_on = row.chosen.is_some_and(|adapter| adapter.is_on);
    let frame = Frame::new()
        .fill(theme::raised())
        .corner_radius(theme::CORNER)
        .inner_margin(Margin::symmetric(10, 6));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            if let Some(hash) = row.hash() {
                // What cannot be used can only be switched off.
                let can_switch = is_on || matches!(row.standing, Standing::Ready(_));
                let sense = if can_switch { Sense::click() } else { Sense::hover() };
                let (rect, response) =
                    ui.allocate_exact_size(vec2(SWITCH_SIZE.x, theme::CONTROL_HEIGHT), sense);
                let track = Rect::from_center_size(rect.center(), SWITCH_SIZE);
                switch_at(ui, track, &response, is_on, &format!("Adapter {}", row.title));
                if response.clicked() {
                    view.session.switch_adapter(hash, !is_on);
                }
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                controls(ui, view, row);
                let is_usable = matches!(row.standing, Standing::Ready(_));
                let colour = if is_on || is_usable { theme::text() } else { theme::dim() };
                let width = ui.available_width();
                let title = in_lines(ui, row.title, theme::font(13.0), colour, width, 1);
                let (rect, response) =
                    ui.allocate_exact_size(vec2(width, theme::CONTROL_HEIGHT), Sense::hover());
                let at = pos2(rect.left(), rect.center().y - title.size().y / 2.0);
                ui.painter().galley(at, title, colour);
                response.on_hover_text(hint(row));
            });
        });
        standing(ui, view, row);
        if is_on {
            captions(ui, view, row);
        }
    });
}

/// What is at the right end of a row: strength, and a way to get rid of what the list would not show otherwise.
fn controls(ui: &mut Ui, view: &View, row: &Row) {
    let Some(hash) = row.hash() else { return };
    if row.chosen.is_some() && !row.in_library {
        let hint = format!("Remove {} from this project. Files stay.", row.title);
        if icon_button(ui, Icon::Close, false, &hint).clicked() {
            view.session.forget_adapter(hash);
        }
    }
    let mut strength = row.chosen.map_or(DEFAULT_STRENGTH, |adapter| adapter.strength);
    let name = format!("Strength of {}", row.title);
    let (response, is_over) =
        number_field(ui, &mut strength, 0.0..=MAX_STRENGTH, DEFAULT_STRENGTH, STRENGTH_WIDTH, &name);
    if response.changed() {
        view.session.set_adapter_strength(hash, strength);
    }
    if is_over {
        view.session.project_edited();
    }
    if !response.has_focus() {
        response.on_hover_text(
            "Strength: 1 is as trained, 0 is off.\nDrag to change, click to type, double-click for 1.",
        );
    }
}

/// Why an adapter cannot be used, or that it is used although it was made for another model.
fn standing(ui: &mut Ui, view: &View, row: &Row) {
    let (text, colour) = match (&row.standing, &row.forced) {
        (Standing::Missing, _) => {
            let place = row.path.display();
            (format!("Not on this computer. It was at {place}"), theme::error())
        }
        (Standing::Broken(reason) | Standing::OtherBase(reason), _) => (reason.clone(), theme::error()),
        (Standing::Unknown, _) => ("Looking for it.".to_owned(), theme::dim()),
        (Standing::Ready(_), Some(made_for)) => {
            (format!("{made_for} It is used all the same."), theme::dim())
        }
        (Standing::Ready(_), None) => return,
    };
    let width = ui.available_width();
    let galley = in_lines(ui, &text, theme::font(11.0), colour, width, MOST_LINES);
    let (rect, response) = ui.allocate_exact_size(vec2(width, galley.size().y), Sense::hover());
    ui.painter().galley(rect.min, galley, Color32::PLACEHOLDER);
    response.on_hover_text(text);
    let Some(hash) = row.hash() else { return };
    if matches!(row.standing, Standing::OtherBase(_)) {
        if small_button(ui, "Use it all the same", "It may sound odd, or fit not at all").clicked() {
            view.session.force_adapter(hash, true);
            view.session.switch_adapter(hash, true);
        }
    } else if row.forced.is_some()
        && small_button(ui, "Only with its own model", "Do not use it with this model").clicked()
    {
        view.session.force_adapter(hash, false);
    }
}

/// Buttons that put captions into the prompt.
fn captions(ui: &mut Ui, view: &View, row: &Row) {
    let triggers = row.triggers();
    let all_shown = ui.scope_id().with("all captions");
    let most =
        if ui.data(|data| data.get_temp(all_shown).unwrap_or(false)) { usize::MAX } else { MOST_CAPTIONS };
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        for caption in triggers.iter().take(most) {
            let mut text: String = caption.chars().take(CAPTION_CHARS).collect();
            if text.len() < caption.len() {
                text.push('…');
            }
            let hint = format!("{caption}\nClick to put this into the text.");
            if small_button(ui, &text, &hint).clicked() {
                view.session.add_caption(caption);
            }
        }
        let more = triggers.len().saturating_sub(most);
        if more > 0 && small_button(ui, &format!("{more} more"), "Show all captions").clicked() {
            ui.data_mut(|data| data.insert_temp(all_shown, true));
        }
    });
}

fn small_button(ui: &mut Ui, text: &str, hint: &str) -> Response {
    let button =
        Button::new(RichText::new(text).font(theme::font(11.0))).fill(theme::well()).corner_radius(9);
    ui.add(button.min_size(vec2(0.0, 20.0))).on_hover_text(hint)
}

/// Everything else that is known of an adapter.
fn hint(row: &Row) -> String {
    let mut lines = vec![row.title.to_owned()];
    if let Some(summary) = row.summary {
        let card = &summary.card;
        let named = |name: &str, text: &str| (!text.trim().is_empty()).then(|| format!("{name}{text}"));
        lines.extend(
            [
                named("", &card.description),
                named("By ", &card.author),
                named("Licence: ", &card.licence),
                named("Made for ", &card.base.name),
            ]
            .into_iter()
            .flatten(),
        );
        lines.push(format!(
            "Rank {}, {:.2} million parameters",
            summary.rank,
            summary.parameters as f64 / 1e6
        ));
    }
    lines.push(row.path.display().to_string());
    lines.join("\n")
}
