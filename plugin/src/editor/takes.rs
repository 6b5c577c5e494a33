//! The list of finished sounds.

use std::sync::Arc;

use egui::{
    Align2, Key, Modifiers, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, UiBuilder, WidgetInfo,
    pos2, vec2,
};

use super::{
    app::View,
    display::draw_waveform,
    pad_strip::Dragged,
    queue_list,
    sound_menu::{self, Sound},
    theme,
    tray_choice::TrayChoice,
    widgets::{Icon, focus_ring, icon_button_at},
};
use crate::{session::Audition, take::Take};

/// Height of an entry.
const HEIGHT: f32 = 60.0;

/// See the [module](self).
#[derive(Default)]
pub struct Takes {
    choice: TrayChoice,
}

impl Takes {
    /// Whether sounds are chosen, so that keys are for them.
    pub fn has_choice(&self) -> bool {
        !self.choice.is_empty()
    }

    /// Escape forgets what is chosen, Delete removes it.
    fn keys(&mut self, ui: &Ui, list: &[u64], view: &View) {
        if self.choice.is_empty() || ui.ctx().text_edit_focused() {
            return;
        }
        let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        if pressed(Key::Escape) {
            self.choice.clear();
        }
        if pressed(Key::Delete) || pressed(Key::Backspace) {
            view.session.discard(&self.choice.in_order(list));
            self.choice.clear();
        }
    }

    /// Draws the list into `area`, newest first.
    pub fn show(&mut self, ui: &mut Ui, area: Rect, view: &View) {
        let list = area.shrink2(vec2(6.0, 0.0));
        if view.model.arrangement.takes.is_empty() && view.model.queue.is_empty() {
            let hint = "What you make is listed here.";
            ui.painter().text(
                list.center_top() + vec2(0.0, 14.0),
                Align2::CENTER_TOP,
                hint,
                theme::font(12.0),
                theme::dim(),
            );
            return;
        }
        let mut child = ui.new_child(UiBuilder::new().max_rect(list));
        let ids: Vec<u64> = view.model.arrangement.takes.iter().rev().map(|take| take.id).collect();
        self.choice.keep(&ids);
        self.keys(ui, &ids, view);
        ScrollArea::vertical().auto_shrink(false).show(&mut child, |ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            queue_list::show(ui, view);
            for take in view.model.arrangement.takes.iter().rev() {
                entry(ui, take, view, &mut self.choice, &ids);
            }
        });
    }
}

/// One sound of the `list`: a click plays it and puts it under the keys.
fn entry(ui: &mut Ui, take: &Arc<Take>, view: &View, choice: &mut TrayChoice, list: &[u64]) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::hover());
    if !ui.is_rect_visible(rect) {
        return;
    }
    let id = ui.scope_id().with(("take", take.id));
    let response = ui.interact(rect, id, Sense::click_and_drag());
    if response.drag_started() {
        response.dnd_set_drag_payload(Dragged::Takes(choice.dragged_with(take.id, list)));
        // The press has put it on the selected pad, to be heard: it is on its way to another.
        if let Some(change) = ui.data_mut(|data| data.remove_temp::<u64>(id.with("placed"))) {
            view.session.take_back(change);
        }
    }
    let is_playing = view.model.playing.as_ref().is_some_and(|playing| playing.id == take.id);
    let fill = if response.contains_pointer() { theme::hovered() } else { theme::raised() };
    ui.painter().rect_filled(rect, theme::CORNER, fill);
    let is_chosen = choice.contains(take.id);
    if is_chosen {
        ui.painter().rect_filled(rect, theme::CORNER, theme::accent().gamma_multiply(0.25));
    }
    if is_playing {
        ui.painter().rect_stroke(rect, theme::CORNER, Stroke::new(1.5, theme::accent()), StrokeKind::Inside);
    }
    focus_ring(ui, rect, &response);

    let provenance = &take.clip.provenance;
    let inner = rect.shrink2(vec2(8.0, 5.0));
    let painter = ui.painter().with_clip_rect(inner);
    painter.text(inner.left_top(), Align2::LEFT_TOP, take.name(), theme::font(12.0), theme::text());
    let origin = if provenance.pack_name.is_empty() {
        // No model made it.
        "from a file".to_owned()
    } else {
        format!("seed {}  ·  {}", provenance.seed, provenance.variation + 1)
    };
    let details = format!("{:.1} s  ·  {origin}", take.seconds());
    painter.text(inner.left_bottom(), Align2::LEFT_BOTTOM, details, theme::font(10.5), theme::dim());
    let wave = Rect::from_min_max(
        pos2(inner.left(), inner.top() + 15.0),
        pos2(inner.right(), inner.bottom() - 13.0),
    );
    draw_waveform(
        ui.painter(),
        wave,
        &take.overview,
        if is_playing { theme::accent() } else { theme::dim() },
    );

    let button = |index: f32| {
        let min = pos2(rect.right() - 24.0 - index * 22.0, rect.top() + 4.0);
        Rect::from_min_size(min, vec2(20.0, 20.0))
    };
    let more = sound_menu::button(ui, button(0.0), id.with("more"), &response);
    let mut over_button = more.contains_pointer();
    sound_menu::show(&response, &more, view, Sound::Take(take));
    if response.contains_pointer() && !is_playing {
        let remove = ui.interact(button(1.0), id.with("remove"), Sense::click());
        over_button |= remove.contains_pointer();
        let place = remove.rect;
        if icon_button_at(ui, place, remove, Icon::Close, false, "Remove from the list").clicked() {
            view.session.discard(&[take.id]);
        }
    }

    // At the press rather than the release: it is an instrument.
    let auditions = &view.session.shared().auditions;
    let pad = u8::try_from(view.model.selected).unwrap_or(0);
    let pressed = response.is_pointer_button_down_on() && ui.input(|input| input.pointer.primary_pressed());
    let by_keyboard = response.clicked() && response.has_focus();
    let modifiers = ui.input(|input| input.modifiers);
    if response.clicked() && !over_button {
        choice.click(take.id, list, modifiers);
    }
    let is_choosing = modifiers.command || modifiers.shift;
    if (pressed && !over_button && !is_choosing) || by_keyboard {
        if !is_playing && let Some(change) = view.session.select(take.id) {
            ui.data_mut(|data| data.insert_temp(id.with("placed"), change));
        }
        let _ = auditions.push(Audition::PressPad(pad, 0.9));
        ui.data_mut(|data| data.insert_temp(id.with("held"), true));
    }
    let is_held = ui.data(|data| data.get_temp::<bool>(id.with("held")).unwrap_or(false));
    if is_held && !ui.input(|input| input.pointer.primary_down()) {
        let _ = auditions.push(Audition::ReleasePad(pad));
        ui.data_mut(|data| {
            data.remove::<bool>(id.with("held"));
            data.remove::<u64>(id.with("placed"));
        });
    }
    response.widget_info(|| {
        WidgetInfo::selected(Role::Button, true, is_playing, format!("Play {}", take.name()))
    });
    response.on_hover_text(format!(
        "{}\nPress to put it on the selected pad and hear it, or drag it to a pad or out of the window as a \
         file. Ctrl and Shift choose several; right-click for more.",
        take.tip()
    ));
}
