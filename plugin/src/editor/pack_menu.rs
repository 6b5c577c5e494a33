//! Which model makes the sounds: the selector and the list that it opens.

use std::sync::Arc;

use egui::{
    Align2, Color32, FontId, Galley, Label, Popup, PopupCloseBehavior, Rect, RectAlign, Response, RichText,
    Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2,
    text::{LayoutJob, TextWrapping},
    vec2,
};
use nice_plug::prelude::{FloatParam, Param};
use soundlocd_engine::pack::library::{Listed, Summary};

use super::{
    app::View,
    knob::change,
    theme,
    widgets::{focus_ring, text_button},
};
use crate::packs::{ChosenPack, Standing, follow};

/// Width of the open list.
const LIST_WIDTH: f32 = 320.0;
/// Height of the open list's entries together, before they scroll.
const MOST_HEIGHT: f32 = 250.0;
/// Space between an entry's text and its edges.
const ENTRY_MARGIN: Vec2 = vec2(10.0, 5.0);
/// Most lines of what an entry says below its name.
const MOST_LINES: usize = 3;

/// Draws the selector into `rect`, and the list while it is open.
pub fn show(ui: &mut Ui, rect: Rect, view: &View) {
    let response = ui.interact(rect, ui.scope_id().with("model"), Sense::click());
    let popup = Popup::from_toggle_button_response(&response)
        .align(RectAlign::BOTTOM_END)
        .gap(4.0)
        .width(LIST_WIDTH)
        .close_behavior(PopupCloseBehavior::CloseOnClickOutside);
    let name = current_name(view);
    draw_selector(ui, rect, &response, view, &name, popup.is_open());
    response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, format!("Model: {name}")));
    popup.show(|ui| list(ui, view));
    let hint = match &view.model.standing {
        Standing::Unavailable(reason) => reason.clone(),
        _ => format!("{name}\nThe model that makes the sounds. Click to choose another."),
    };
    response.on_hover_text(hint);
}

/// The name of the project's model.
fn current_name(view: &View) -> String {
    match &view.model.project.pack {
        Some(pack) => pack.name.clone(),
        None => view
            .model
            .packs
            .as_ref()
            .and_then(|library| library.packs().iter().find(|listed| listed.folder.is_none()))
            .map_or_else(|| "Default".to_owned(), |listed| listed.name.clone()),
    }
}

/// The closed selector.
fn draw_selector(ui: &Ui, rect: Rect, response: &Response, view: &View, name: &str, is_open: bool) {
    let fill = if response.hovered() || is_open { theme::hovered() } else { theme::raised() };
    ui.painter().rect_filled(rect, theme::CORNER, fill);
    focus_ring(ui, rect, response);
    let label = ui.painter().text(
        rect.left_center() + vec2(8.0, 0.0),
        Align2::LEFT_CENTER,
        "Model",
        theme::font(12.0),
        theme::dim(),
    );
    let colour = match view.model.standing {
        Standing::Unavailable(_) => theme::error(),
        _ => theme::text(),
    };
    let left = label.right() + 10.0;
    let galley = in_lines(ui, name, theme::font(13.0), colour, rect.right() - 24.0 - left, 1);
    ui.painter().galley(pos2(left, rect.center().y - galley.size().y / 2.0), galley, colour);
    let tip = pos2(rect.right() - 13.0, rect.center().y + 2.0);
    let arrow = vec![tip + vec2(-4.0, -4.0), tip, tip + vec2(4.0, -4.0)];
    ui.painter().line(arrow, Stroke::new(1.5, theme::dim()));
}

/// The open list.
fn list(ui: &mut Ui, view: &View) {
    ui.set_width(LIST_WIDTH);
    ui.spacing_mut().item_spacing.y = 4.0;
    let Some(library) = &view.model.packs else {
        ui.label(RichText::new("Looking for models").color(theme::dim()));
        return;
    };
    ScrollArea::vertical().max_height(MOST_HEIGHT).show(ui, |ui| {
        if let (Some(pack), Standing::Unavailable(reason)) = (&view.model.project.pack, &view.model.standing)
        {
            let entry =
                Entry { name: &pack.name, details: "Not available on this computer", hint: reason.clone() };
            // Chosen as it is: a click changes nothing.
            let _ = entry.show(ui, true, false);
        }
        for listed in library.packs() {
            match &listed.pack {
                Ok(pack) => {
                    let entry =
                        Entry { name: &listed.name, details: &details(pack), hint: hint(listed, pack) };
                    if entry.show(ui, is_chosen(view, pack), true).clicked() {
                        choose(view, listed, pack);
                        ui.close();
                    }
                }
                Err(reason) => {
                    let place = listed.folder.as_ref().map(|folder| format!("\n{}", folder.display()));
                    let hint = format!("{reason}{}", place.unwrap_or_default());
                    let details = sentence(reason);
                    let _ = Entry { name: &listed.name, details: &details, hint }.show(ui, false, false);
                }
            }
        }
    });
    for note in library.notes() {
        ui.add(Label::new(RichText::new(note).font(theme::font(11.0)).color(theme::dim())).wrap());
    }
    ui.horizontal(|ui| {
        if text_button(ui, "Open packs folder", "Models that you put here are found").clicked() {
            view.session.open_packs_folder();
        }
        if text_button(ui, "Rescan", "Look for models again").clicked() {
            view.session.scan_packs();
        }
    });
}

/// An error's words with a capital at the beginning.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Whether a project makes its sounds with `pack`.
fn is_chosen(view: &View, pack: &Summary) -> bool {
    matches!(&view.model.standing, Standing::Ready(ready) if ready.reference.is_same(&pack.reference))
}

/// Makes sounds with `pack` from now on. Settings that were left as the last model recommends them
/// become as this one does.
fn choose(view: &View, listed: &Listed, pack: &Summary) {
    let params = view.params;
    if let Standing::Ready(before) = &view.model.standing {
        let set = |param: &FloatParam, old: f32, new: f32| {
            if let Some(value) = follow(param.unmodulated_plain_value(), old, new) {
                change(param, &view.setter, param.preview_normalized(value));
            }
        };
        set(&params.guidance, before.recommended.guidance, pack.recommended.guidance);
        set(&params.truncation, before.recommended.truncation, pack.recommended.truncation);
    }
    view.session.choose_pack(ChosenPack::of(listed, pack));
}

/// Size and licence.
fn details(pack: &Summary) -> String {
    // The size to two digits or whole megabytes.
    let megabytes = pack.bytes as f64 / 1e6;
    let size = if megabytes < 10.0 { format!("{megabytes:.1} MB") } else { format!("{megabytes:.0} MB") };
    if pack.licence.trim().is_empty() { size } else { format!("{size}  ·  {}", pack.licence) }
}

/// Everything else.
fn hint(listed: &Listed, pack: &Summary) -> String {
    let mut lines = vec![listed.name.clone()];
    if !pack.description.trim().is_empty() {
        lines.push(pack.description.clone());
    }
    if let Some(parameters) = pack.parameters {
        lines.push(format!("{:.1} million parameters", parameters as f64 / 1e6));
    }
    let recommended = &pack.recommended;
    lines.push(format!(
        "Up to {:.1} s, {} steps, guidance {:.1}",
        pack.max_seconds, recommended.steps, recommended.guidance
    ));
    lines.push(match &listed.folder {
        Some(folder) => folder.display().to_string(),
        None => "Comes with SoundLoCD".to_owned(),
    });
    lines.join("\n")
}

/// One line of the list.
struct Entry<'a> {
    name: &'a str,
    details: &'a str,
    hint: String,
}

impl Entry<'_> {
    fn show(self, ui: &mut Ui, is_chosen: bool, is_usable: bool) -> Response {
        let sense = if is_usable { Sense::click() } else { Sense::hover() };
        let (name_colour, colour) = if is_usable {
            (theme::text(), theme::dim())
        } else {
            (theme::dim(), theme::error().gamma_multiply(0.8))
        };
        let width = ui.available_width();
        let text_width = width - 2.0 * ENTRY_MARGIN.x;
        let name = in_lines(ui, self.name, theme::font(13.0), name_colour, text_width, 1);
        let details = in_lines(ui, self.details, theme::font(11.0), colour, text_width, MOST_LINES);
        let height = name.size().y + 2.0 + details.size().y + 2.0 * ENTRY_MARGIN.y;
        let (rect, response) = ui.allocate_exact_size(vec2(width, height), sense);
        let fill = if is_usable && response.hovered() { theme::hovered() } else { theme::raised() };
        let fill = if is_usable { fill } else { Color32::TRANSPARENT };
        ui.painter().rect_filled(rect, theme::CORNER, fill);
        if is_chosen {
            let stroke = Stroke::new(1.5, if is_usable { theme::accent() } else { theme::error() });
            ui.painter().rect_stroke(rect, theme::CORNER, stroke, StrokeKind::Inside);
        }
        focus_ring(ui, rect, &response);
        let inner = rect.shrink2(ENTRY_MARGIN);
        ui.painter().galley(inner.left_top(), name, name_colour);
        ui.painter().galley(pos2(inner.left(), inner.bottom() - details.size().y), details, colour);
        response.widget_info(|| {
            WidgetInfo::selected(Role::RadioButton, is_usable, is_chosen, format!("Model {}", self.name))
        });
        response.on_hover_text(self.hint)
    }
}

/// Text in at most so many lines, that ends in an ellipsis where there is no more room.
pub fn in_lines(
    ui: &Ui,
    text: &str,
    font: FontId,
    colour: Color32,
    width: f32,
    most_lines: usize,
) -> Arc<Galley> {
    let mut job = LayoutJob::simple_singleline(text.to_owned(), font, colour);
    job.wrap = TextWrapping {
        max_width: width.max(0.0),
        max_rows: most_lines,
        break_anywhere: most_lines == 1,
        ..TextWrapping::default()
    };
    ui.painter().layout_job(job)
}
