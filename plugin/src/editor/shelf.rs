//! The sounds of the library: searched as one types, and loaded as they are seen.

use egui::{
    Align, Id, Layout, PointerButton, Popup, PopupCloseBehavior, Rect, Response, RichText, Role, ScrollArea,
    Sense, Stroke, StrokeKind, TextEdit, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use soundlocd_engine::clip::wav::date;

use super::{
    app::View,
    pack_menu::in_lines,
    pad_strip::Dragged,
    sound_menu::{self, Sound},
    theme,
    widgets::{Icon, filled_star, focus_ring, icon_button, icon_button_at, name_field},
};
use crate::library::{self, Entry, Filter, LibraryWorker, Search};

/// Height of an entry, and the space below it.
const HEIGHT: f32 = 40.0;
const SPACE: f32 = 3.0;
/// Entries in memory at once, and the steps in which they change.
const WINDOW: usize = 400;
const STEP: usize = 100;
/// Height of the list of tags before it scrolls.
const TAGS_HEIGHT: f32 = 260.0;

/// See the [module](self).
#[derive(Default)]
pub struct Shelf {
    query: String,
    filter: Filter,
    /// The first of the entries in memory.
    offset: usize,
    /// What was asked of the library last.
    asked: Option<Search>,
    /// Whether a sound is held down.
    is_held: bool,
}

impl Shelf {
    /// Draws the search and the list into `area`.
    pub fn show(&mut self, ui: &mut Ui, area: Rect, view: &View) {
        let area = area.shrink2(vec2(6.0, 0.0));
        let Some(library) = view.session.library() else {
            return note(ui, area, "Sounds are not kept here.");
        };
        if self.asked.is_none() {
            // Files may have come and gone.
            library.refresh();
        }
        let bar = area.with_max_y(area.top() + theme::CONTROL_HEIGHT);
        let is_other = self.bar(ui, bar, view);
        if is_other {
            self.offset = 0;
        }
        let list = area.with_min_y(bar.bottom() + 6.0);
        let shelf = view.model.shelf.clone().unwrap_or_default();
        match &shelf.page {
            Some(page) if page.total > 0 => self.list(ui, list, view, &library, &shelf, is_other),
            Some(_) if self.query.trim().is_empty() && self.filter == Filter::default() => {
                note(ui, list, "Every sound that you make is kept here.");
            }
            Some(_) => note(ui, list, "Nothing like that is here."),
            None => {}
        }
        // Even if its row has been scrolled away meanwhile.
        if self.is_held && !ui.input(|input| input.pointer.primary_down()) {
            view.session.release_entry();
            self.is_held = false;
        }
        let wanted = Search {
            query: self.query.clone(),
            filter: self.filter.clone(),
            limit: WINDOW,
            offset: self.offset,
        };
        if self.asked.as_ref() != Some(&wanted) {
            library.search(wanted.clone());
            self.asked = Some(wanted);
        }
    }

    /// The field and the filters; whether anything was changed.
    fn bar(&mut self, ui: &mut Ui, bar: Rect, view: &View) -> bool {
        let tags = view.model.shelf.as_ref().map(|shelf| shelf.tags.clone()).unwrap_or_default();
        let mut is_other = false;
        let right = UiBuilder::new().max_rect(bar).layout(Layout::right_to_left(Align::Center));
        let mut ui = ui.new_child(right.id_salt("search the library"));
        ui.spacing_mut().item_spacing.x = 4.0;
        let only = &mut self.filter.only_favourites;
        let hint = if *only { "Show all sounds" } else { "Show favourites only" };
        if icon_button(&mut ui, Icon::Star, *only, hint).clicked() {
            *only = !*only;
            is_other = true;
        }
        if !tags.is_empty() || !self.filter.tags.is_empty() {
            is_other |= self.tags(&mut ui, &tags);
        }
        let field = TextEdit::singleline(&mut self.query)
            .id(Id::unique("search the library"))
            .hint_text("Search")
            .margin(theme::FIELD_MARGIN)
            .desired_width(f32::INFINITY);
        let response = ui.add_sized(ui.available_size(), field);
        name_field(&response, "Search the library");
        is_other | response.changed()
    }

    /// The button for tags and the list that it opens; whether others were chosen.
    fn tags(&mut self, ui: &mut Ui, tags: &[(String, usize)]) -> bool {
        let text = match self.filter.tags.len() {
            0 => "Tags".to_owned(),
            count => format!("Tags ({count})"),
        };
        let response = ui.button(RichText::new(text).font(theme::font(12.0)));
        let mut is_other = false;
        Popup::from_toggle_button_response(&response)
            .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
            .show(|ui| {
                ScrollArea::vertical().max_height(TAGS_HEIGHT).show(ui, |ui| {
                    let gone =
                        self.filter.tags.iter().filter(|tag| tags.iter().all(|(other, _)| other != *tag));
                    let gone: Vec<_> = gone.map(|tag| (tag.clone(), 0)).collect();
                    for (tag, count) in tags.iter().chain(&gone) {
                        let chosen = &mut self.filter.tags;
                        let mut is_on = chosen.contains(tag);
                        if ui.checkbox(&mut is_on, format!("{tag} ({count})")).changed() {
                            chosen.retain(|other| other != tag);
                            if is_on {
                                chosen.push(tag.clone());
                            }
                            is_other = true;
                        }
                    }
                });
            });
        response.on_hover_text("Show only sounds with these tags");
        is_other
    }

    /// The list, which asks for what is seen next.
    fn list(
        &mut self,
        ui: &mut Ui,
        area: Rect,
        view: &View,
        library: &LibraryWorker,
        shelf: &library::Shelf,
        to_top: bool,
    ) {
        let Some(page) = &shelf.page else { return };
        let mut child = ui.new_child(UiBuilder::new().max_rect(area).id_salt("library"));
        child.spacing_mut().item_spacing.y = SPACE;
        let mut scroll = ScrollArea::vertical().auto_shrink(false);
        if to_top {
            scroll = scroll.vertical_scroll_offset(0.0);
        }
        let seen = scroll.show_rows(&mut child, HEIGHT, page.total, |ui, rows| {
            for index in rows.clone() {
                let entry = index.checked_sub(shelf.search.offset).and_then(|index| page.entries.get(index));
                let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::hover());
                match entry {
                    Some(entry) => self.is_held |= row(ui, rect, entry, view, library, self.is_held),
                    // On its way.
                    None => {
                        ui.painter().rect_filled(rect, theme::CORNER, theme::raised().gamma_multiply(0.5));
                    }
                }
            }
            rows
        });
        if !to_top {
            self.offset = window(self.offset, seen.inner.start, seen.inner.end, page.total);
        }
    }
}

/// The first entry to have in memory while `first..end` of `total` are seen and those from `offset` on are there.
fn window(offset: usize, first: usize, end: usize, total: usize) -> usize {
    let has_above = offset == 0 || first >= offset + STEP / 2;
    let has_below = offset + WINDOW >= total || end + STEP / 2 <= offset + WINDOW;
    if has_above && has_below {
        return offset;
    }
    let middle = (first + end) / 2;
    (middle.saturating_sub(WINDOW / 2) / STEP * STEP).min(total.saturating_sub(1) / STEP * STEP)
}

/// What is said where there is no list.
fn note(ui: &Ui, area: Rect, text: &str) {
    let at = area.center_top() + vec2(0.0, 14.0);
    let text = ui.painter().layout(text.to_owned(), theme::font(12.0), theme::dim(), area.width());
    ui.painter().galley(at - vec2(text.size().x / 2.0, 0.0), text, theme::dim());
}

/// One sound: a press plays it and puts it on the selected pad. Answers whether it was pressed just now;
/// `is_held` if one is already.
fn row(ui: &Ui, rect: Rect, entry: &Entry, view: &View, library: &LibraryWorker, is_held: bool) -> bool {
    let id = ui.scope_id().with(("entry", entry.id));
    let response = ui.interact(rect, id, Sense::click_and_drag());
    if response.drag_started_by(PointerButton::Primary) && !entry.is_missing {
        response.dnd_set_drag_payload(Dragged::Entry(entry.id));
        // The press has put it on the selected pad, to be heard: it is on its way to another.
        view.session.withdraw_entry();
    }
    let playing = view.model.playing.as_ref();
    let is_playing = playing.is_some_and(|take| take.file.get().as_ref() == Some(&entry.path));
    let fill = if response.contains_pointer() { theme::hovered() } else { theme::raised() };
    ui.painter().rect_filled(rect, theme::CORNER, fill);
    if is_playing {
        ui.painter().rect_stroke(rect, theme::CORNER, Stroke::new(1.5, theme::accent()), StrokeKind::Inside);
    }
    focus_ring(ui, rect, &response);

    let button = |index: f32| {
        let min = pos2(rect.right() - 22.0 - index * 22.0, rect.top() + 2.0);
        Rect::from_min_size(min, vec2(20.0, 20.0))
    };
    let star = star(ui, button(0.0), id.with("star"), &response, entry);
    if star.clicked() {
        library.set_favourite(entry.id, !entry.is_favourite);
    }
    let more = sound_menu::button(ui, button(1.0), id.with("more"), &response);
    sound_menu::show(&response, &more, view, Sound::Entry(entry));
    words(ui, rect, entry, button(1.0).left());

    // At the press rather than the release: it is an instrument. A click between two frames, or by keyboard, has no press.
    let over_button = star.contains_pointer() || more.contains_pointer();
    let press = response.is_pointer_button_down_on() && ui.input(|input| input.pointer.primary_pressed());
    let is_pressed = (press && !over_button) || (response.clicked() && !is_held);
    if is_pressed {
        view.session.press_entry(entry.id);
    }
    let name = entry.name();
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, is_playing, format!("Play {name}")));
    response.on_hover_text(tip(entry));
    is_pressed
}

/// The star of an entry: seen if it is a favourite, or while the pointer is on the `row`.
fn star(ui: &Ui, rect: Rect, id: Id, row: &Response, entry: &Entry) -> Response {
    let response = ui.interact(rect, id, Sense::click());
    let hint = if entry.is_favourite { "No longer a favourite" } else { "Favourite" };
    if row.contains_pointer() || response.has_focus() {
        return icon_button_at(ui, rect, response, Icon::Star, entry.is_favourite, hint);
    }
    if entry.is_favourite {
        let square = rect.shrink(rect.height() * 0.25);
        filled_star(ui.painter(), square, theme::accent_text());
    }
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, entry.is_favourite, hint));
    response
}

/// Name, length, date and model; the name ends at `right`.
fn words(ui: &Ui, rect: Rect, entry: &Entry, right: f32) {
    let inner = rect.shrink2(vec2(8.0, 5.0));
    let colour = if entry.is_missing { theme::dim() } else { theme::text() };
    let name = in_lines(ui, &entry.name(), theme::font(12.0), colour, right - 4.0 - inner.left(), 1);
    ui.painter().galley(inner.left_top(), name, colour);
    let details = if entry.is_missing {
        "Its file is missing: right-click".to_owned()
    } else {
        format!("{:.1} s  ·  {}  ·  {}", entry.seconds, date(entry.created_unix), entry.pack_name)
    };
    let details = in_lines(ui, &details, theme::font(10.5), theme::dim(), inner.width(), 1);
    ui.painter().galley(pos2(inner.left(), inner.bottom() - details.size().y), details, theme::dim());
}

/// Everything about an entry, and what can be done.
fn tip(entry: &Entry) -> String {
    let mut lines = vec![entry.name().into_owned()];
    if !entry.prompt.is_empty() && !entry.name().starts_with(&entry.prompt) {
        lines.push(entry.prompt.clone());
    }
    if !entry.tags.is_empty() {
        lines.push(format!("Tags: {}", entry.tags.join(", ")));
    }
    lines.push(if entry.is_missing {
        format!(
            "Its file is not at {}. Put it back and choose “Look again”, find it, or forget it: right-click.",
            entry.path.display()
        )
    } else {
        "Press to put it on the selected pad and hear it, or drag it to a pad. Right-click for more."
            .to_owned()
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_is_in_memory_or_asked_for() {
        for total in [1, 399, 401, 10_000] {
            let mut offset = 0;
            // To the end, back, and with jumps as of a dragged scroll bar.
            let down = (0..total).step_by(7);
            for first in down.clone().chain(down.rev()).chain([0, total / 2, total - 1, total / 3]) {
                let end = (first + 20).min(total);
                offset = window(offset, first, end, total);
                assert!(offset <= first && end <= offset + WINDOW, "{first}..{end} from {offset}");
                assert_eq!(window(offset, first, end, total), offset, "asked for again and again");
            }
        }
    }
}
