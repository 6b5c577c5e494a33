//! Files that are dropped on the window, and what is said while they are held over it.

use egui::{Align2, Area, Id, Order, Rect, Sense, Stroke, StrokeKind, Ui};

use super::{app::View, pad_strip::PadStrip, theme};
use crate::session::{Session, import::FileKind};

/// Takes files that were dropped on the window.
pub fn take(context: &egui::Context, session: &Session, pads: &PadStrip) {
    let (dropped, at) = context.input(|input| {
        let dropped: Vec<_> = input.raw.dropped_files.iter().map(|file| file.path().to_owned()).collect();
        (dropped, input.pointer.latest_pos())
    });
    if !dropped.is_empty() {
        session.take_files(dropped, at.and_then(|at| pads.at(at)));
    }
}

/// While files are held over the window: says what happens if they are dropped.
pub fn invite(ui: &Ui, window: Rect, view: &View, pads: &PadStrip) {
    let (kinds, at) = ui.input(|input| {
        let paths = input.raw.hovered_files.iter().filter_map(|file| file.path.as_deref());
        (paths.map(FileKind::of).collect::<Vec<_>>(), input.pointer.latest_pos())
    });
    if kinds.is_empty() {
        return;
    }
    let may_be_sound = kinds.iter().any(|kind| *kind != FileKind::Adapter);
    let pad = at.and_then(|at| pads.at(at));
    let area = Area::new(Id::unique("drop files")).order(Order::Foreground).fixed_pos(window.min);
    area.show(ui.ctx(), |ui| {
        // What is below says nothing meanwhile.
        ui.allocate_rect(window, Sense::hover());
        let painter = ui.painter().with_clip_rect(window);
        // The pads stay to be seen: they are where sounds go.
        let row = pads.area().filter(|_| may_be_sound).unwrap_or(Rect::NOTHING);
        let shade = theme::background().gamma_multiply(0.85);
        if row.is_positive() {
            painter.rect_filled(window.with_max_y(row.top() - 2.0), 0.0, shade);
            painter.rect_filled(window.with_min_y(row.bottom() + 2.0), 0.0, shade);
        } else {
            painter.rect_filled(window, 0.0, shade);
        }
        let frame = window.shrink(theme::GAP / 2.0);
        painter.rect_stroke(frame, theme::CORNER, Stroke::new(2.0, theme::accent()), StrokeKind::Inside);
        if let Some(cell) = pads.cell_rect(pad.unwrap_or(view.model.selected)).filter(|_| may_be_sound) {
            painter.rect_stroke(cell, theme::CORNER, Stroke::new(2.0, theme::accent()), StrokeKind::Outside);
        }
        let text = invitation(&kinds, pad.unwrap_or(view.model.selected), pad.is_some());
        let place = window.center();
        painter.text(place, Align2::CENTER_CENTER, text, theme::bold(18.0), theme::text());
    });
}

/// What happens to files of these kinds, the sounds among them on `pad` (from 0), which may be where they are held.
fn invitation(kinds: &[FileKind], pad: usize, is_over_pad: bool) -> String {
    let count = |kind| kinds.iter().filter(|other| **other == kind).count();
    let (sounds, adapters) = (count(FileKind::Sound), count(FileKind::Adapter));
    let pad = pad + 1;
    match (sounds, adapters) {
        (0, 0) => "Drop sounds or adapters here".to_owned(),
        (0, _) if adapters == kinds.len() => "Drop adapters here".to_owned(),
        (1, _) if kinds.len() == 1 && is_over_pad => format!("Drop the sound on pad {pad}"),
        (1, _) if kinds.len() == 1 => format!("Drop the sound: it goes to pad {pad}, or drop it on another"),
        _ if sounds == kinds.len() => {
            format!("Drop {sounds} sounds: on pad {pad} and the free pads after it")
        }
        _ => format!("Drop sounds and adapters: sounds go to pad {pad} and the free pads after it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invitation_says_what_will_happen() {
        use FileKind::{Adapter, Sound, Unknown};
        let says = |kinds: &[FileKind], is_over_pad, part: &str| {
            let text = invitation(kinds, 4, is_over_pad);
            assert!(text.contains(part), "{text}");
        };
        says(&[Adapter, Adapter], false, "Drop adapters here");
        says(&[Sound], true, "the sound on pad 5");
        says(&[Sound], false, "goes to pad 5");
        says(&[Sound; 3], false, "3 sounds: on pad 5");
        says(&[Sound, Adapter], false, "sounds and adapters");
        says(&[Sound, Unknown], false, "sounds and adapters");
        says(&[Unknown], false, "sounds or adapters");
    }
}
