//! The sixteen pads: which sound is where. A press plays a pad and shows it.

use egui::{
    Color32, DragAndDrop, PointerButton, Pos2, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2,
    vec2,
};

use super::{app::View, display::draw_waveform, theme, widgets::focus_ring};
use crate::{sampler::PADS, session::Audition};

/// Space between pads.
const SPACE: f32 = 3.0;
/// Velocity of a pad pressed with the mouse.
const VELOCITY: f32 = 0.9;

/// A sound that is being dragged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dragged {
    /// From the tray: the numbers of the takes, in the order of the list.
    Takes(Vec<u64>),
    /// From the library: the number of the entry.
    Entry(i64),
    /// From a pad.
    Pad(usize),
}

/// See the [module](self).
#[derive(Default)]
pub struct PadStrip {
    /// The pad held down by the mouse.
    pressed: Option<u8>,
    /// Where the pads were drawn.
    area: Option<Rect>,
}

impl PadStrip {
    /// Where the pads are, once they have been drawn.
    pub fn area(&self) -> Option<Rect> {
        self.area
    }

    /// Where a pad is.
    pub fn cell_rect(&self, pad: usize) -> Option<Rect> {
        self.area.map(|area| cell_rect(area, pad))
    }

    /// The pad at a place.
    pub fn at(&self, place: Pos2) -> Option<usize> {
        (0..PADS).find(|pad| self.cell_rect(*pad).is_some_and(|rect| rect.contains(place)))
    }

    /// Draws the pads into `area`.
    pub fn show(&mut self, ui: &Ui, area: Rect, view: &View) {
        self.area = Some(area);
        let mut wanted = None;
        for pad in 0..PADS {
            let rect = cell_rect(area, pad);
            if self.cell(ui, rect, pad, view) {
                wanted = u8::try_from(pad).ok();
            }
        }
        if wanted != self.pressed {
            let auditions = &view.session.shared().auditions;
            if let Some(pad) = self.pressed.take() {
                let _ = auditions.push(Audition::ReleasePad(pad));
            }
            if let Some(pad) = wanted {
                view.session.select_pad(usize::from(pad));
                let _ = auditions.push(Audition::PressPad(pad, VELOCITY));
                self.pressed = Some(pad);
            }
        }
    }

    /// One pad. Answers whether the mouse holds it down.
    fn cell(&self, ui: &Ui, rect: Rect, pad: usize, view: &View) -> bool {
        let response = ui.interact(rect, ui.scope_id().with(("pad", pad)), Sense::click_and_drag());
        let take = view.model.arrangement.pads.get(pad).and_then(Option::as_ref);
        let is_selected = view.model.selected == pad;
        let is_sounding = view.session.shared().playheads.sounding().any(|head| head.pad == pad);
        let is_target = response.dnd_hover_payload::<Dragged>().is_some();
        let fill = match (take.is_some(), response.hovered() || is_target) {
            (true, false) => theme::raised(),
            (false, false) => theme::panel(),
            (_, true) => theme::hovered(),
        };
        let painter = ui.painter().with_clip_rect(rect);
        painter.rect_filled(rect, theme::CORNER, fill);
        if let Some(take) = take {
            let colour = if is_sounding { theme::sound() } else { theme::dim().gamma_multiply(0.6) };
            draw_waveform(&painter, rect.shrink2(vec2(4.0, 3.0)), &take.overview, colour);
        }
        let colour = if take.is_some() { theme::text() } else { theme::dim() };
        let number = painter.layout_no_wrap((pad + 1).to_string(), theme::bold(11.0), colour);
        let at = rect.left_top() + vec2(6.0, 3.0);
        let back = Rect::from_min_size(at, number.size()).expand2(vec2(2.0, 0.0));
        painter.rect_filled(back, 3.0, fill.gamma_multiply(0.8));
        painter.galley(at, number, colour);
        let outline = if is_target || is_selected { theme::accent() } else { theme::line() };
        let thickness = if is_target || is_selected { 1.5 } else { 1.0 };
        ui.painter().rect_stroke(rect, theme::CORNER, Stroke::new(thickness, outline), StrokeKind::Inside);
        focus_ring(ui, rect, &response);

        if let Some(dropped) = response.dnd_release_payload::<Dragged>() {
            match &*dropped {
                Dragged::Takes(ids) => drop(view.session.place(ids, pad)),
                Dragged::Entry(id) => view.session.place_entry(*id, pad),
                Dragged::Pad(from) => view.session.swap_pads(*from, pad),
            }
            view.session.select_pad(pad);
        }
        if take.is_some() && response.drag_started_by(PointerButton::Primary) {
            response.dnd_set_drag_payload(Dragged::Pad(pad));
        }
        let is_down = response.is_pointer_button_down_on()
            && ui.input(|input| input.pointer.button_down(PointerButton::Primary))
            // Once it is dragged it no longer plays.
            && !DragAndDrop::has_any_payload(ui.ctx());
        // With the keyboard, or so quickly that the button was never down when a frame was drawn.
        if response.clicked() && !is_down {
            view.session.select_pad(pad);
        }
        let name = take.map_or("empty", |take| take.name());
        response.widget_info(|| {
            WidgetInfo::selected(Role::Button, true, is_selected, format!("Pad {}: {name}", pad + 1))
        });
        let hint = match take {
            Some(_) => {
                format!(
                    "{}. {name}\nPress to hear it. Drag it to another pad, or out of the window as a file. \
                     Right-click for more.",
                    pad + 1
                )
            }
            None => format!("Pad {} is empty. Select it and generate, or drag a sound here.", pad + 1),
        };
        response.context_menu(|ui| {
            if ui.button("Clear this pad").clicked() {
                view.session.clear_pad(pad);
            }
        });
        response.on_hover_text(hint);
        is_down
    }
}

/// Where a pad is within `area`.
fn cell_rect(area: Rect, pad: usize) -> Rect {
    let width = (area.width() + SPACE) / PADS as f32;
    let left = area.left() + pad as f32 * width;
    Rect::from_min_size(pos2(left, area.top()), vec2(width - SPACE, area.height()))
}

/// While a sound is dragged: its name at the pointer.
pub fn follow(ui: &Ui, view: &View) {
    let Some(dragged) = DragAndDrop::payload::<Dragged>(ui.ctx()) else { return };
    let Some(at) = ui.input(|input| input.pointer.interact_pos()) else { return };
    let arrangement = &view.model.arrangement;
    let (name, others) = match &*dragged {
        Dragged::Takes(ids) => {
            let take = ids.first().and_then(|id| arrangement.find(*id));
            (take.map(|take| take.name().to_owned()), ids.len().saturating_sub(1))
        }
        Dragged::Pad(pad) => {
            let take = arrangement.pads.get(*pad).and_then(Option::as_ref);
            (take.map(|take| take.name().to_owned()), 0)
        }
        Dragged::Entry(id) => {
            let page = view.model.shelf.as_ref().and_then(|shelf| shelf.page.as_ref());
            let entry = page.and_then(|page| page.entries.iter().find(|entry| entry.id == *id));
            (entry.map(|entry| entry.name().into_owned()), 0)
        }
    };
    let Some(name) = name else { return };
    let mut name: String = name.chars().take(40).collect();
    if others > 0 {
        name += &format!("  and {others} more");
    }
    let painter =
        ui.ctx().layer_painter(egui::LayerId::new(egui::Order::Tooltip, egui::Id::unique("dragged sound")));
    let text = painter.layout_no_wrap(name, theme::font(12.0), theme::text());
    let back = Rect::from_min_size(at + vec2(14.0, 6.0), text.size() + vec2(16.0, 8.0));
    painter.rect_filled(back, theme::CORNER, theme::raised());
    painter.rect_stroke(back, theme::CORNER, Stroke::new(1.0, theme::accent()), StrokeKind::Inside);
    painter.galley(back.min + vec2(8.0, 4.0), text, Color32::PLACEHOLDER);
}
