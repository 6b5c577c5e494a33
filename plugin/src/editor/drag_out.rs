//! Sounds that are dragged out of the window become files.
//!
//! Within the window a drag is egui's, from pad to pad. Where the pointer leaves with the button down, the window system
//! drags files on.

use std::{ops::Range, path::PathBuf, sync::Arc};

use egui::{DragAndDrop, Ui};
use nice_plug_egui::Frame;
use raw_window_handle::HasWindowHandle as _;

use super::{app::View, pad_strip::Dragged};
use crate::{
    drag::{self, MAX_FILES, Outcome},
    params::pads::PadParams,
    sampler::PlayMode,
    session::{
        Session, Shared,
        export::{Outgoing, Parcel},
    },
    take::Take,
};

/// See the [module](self).
#[derive(Default)]
pub struct DragOut {
    /// The files of what is being dragged, and whether they are wanted.
    parcel: Option<(Arc<Parcel>, bool)>,
    /// What is dragged on by the window system once the frame has been drawn: files, or none where they could
    /// not be written.
    leaving: Option<Vec<PathBuf>>,
}

impl DragOut {
    /// Follows the pointer, after everything has been drawn.
    pub fn follow(&mut self, ui: &Ui, view: &View) {
        let Some(dragged) = DragAndDrop::payload::<Dragged>(ui.ctx()) else {
            self.parcel = None;
            return;
        };
        let (parcel, is_wanted) = self.parcel.get_or_insert_with(|| (parcel(&dragged, view), false));
        // While the button is held the pointer's moves are told from outside too, with places beyond the edges; right when
        // it leaves there is no place.
        let is_outside = ui.input(|input| {
            let at = input.pointer.latest_pos();
            input.pointer.primary_down() && at.is_none_or(|at| !input.content_rect().contains(at))
        });
        if !is_outside {
            return;
        }
        if !std::mem::replace(is_wanted, true) {
            view.session.write(parcel);
        }
        // The window is drawn again when they are there.
        let Some(paths) = parcel.paths() else { return };
        DragAndDrop::clear_payload(ui.ctx());
        self.leaving = Some(match paths {
            Ok(paths) => paths.clone(),
            Err(reason) => {
                view.session.shared().tell(reason, true);
                Vec::new()
            }
        });
    }

    /// Hands what leaves the window over to the window system.
    pub fn hand_over(&mut self, frame: &mut Frame, session: &Session) {
        let Some(paths) = self.leaving.take() else { return };
        let window = frame.baseview_window().window_handle().ok().map(|handle| handle.as_raw());
        let (shared, then) = (Arc::clone(session.shared()), Arc::downgrade(session.shared()));
        // Without files too: else what is still held would be pressed again.
        frame.hand_over(Box::new(move || {
            let done = move |result| {
                if let Some(shared) = then.upgrade() {
                    report(&shared, result);
                }
            };
            if !paths.is_empty()
                && let Err(error) = drag::start(paths, window, done)
            {
                shared.tell(&error.to_string(), true);
            }
        }));
    }
}

/// How a drag went, where it did not work.
fn report(shared: &Shared, result: Result<Outcome, drag::DragError>) {
    match result {
        Ok(Outcome::Dropped | Outcome::Cancelled) => {}
        Ok(Outcome::Refused) => {
            let text = "No file was taken there. Drop sounds on a track, in a sampler or in a folder.";
            shared.tell(text, false);
        }
        Err(error) => shared.tell(&error.to_string(), true),
    }
}

/// The files of what is dragged.
fn parcel(dragged: &Dragged, view: &View) -> Arc<Parcel> {
    if let Dragged::Entry(id) = dragged {
        let page = view.model.shelf.as_ref().and_then(|shelf| shelf.page.as_ref());
        let entry = page.and_then(|page| page.entries.iter().find(|entry| entry.id == *id));
        return Arc::new(Parcel::of_files(entry.map(|entry| entry.path.clone()).into_iter().collect()));
    }
    view.session.pack(outgoing(dragged, view))
}

/// The sounds that are dragged, with what their files are to say.
fn outgoing(dragged: &Dragged, view: &View) -> Vec<Outgoing> {
    let arrangement = &view.model.arrangement;
    match dragged {
        Dragged::Takes(ids) => {
            let takes = ids.iter().filter_map(|id| arrangement.find(*id)).take(MAX_FILES);
            takes.cloned().map(Outgoing::plain).collect()
        }
        Dragged::Entry(_) => Vec::new(),
        Dragged::Pad(pad) => {
            let take = arrangement.pads.get(*pad).and_then(Option::as_ref);
            take.map(|take| of_pad(take, view.params.pads.pad(*pad))).into_iter().collect()
        }
    }
}

/// A pad's sound: its file plays in a sampler as the pad does.
fn of_pad(take: &Arc<Take>, pad: &PadParams) -> Outgoing {
    let samples = take.clip.audio.len();
    let loop_range = if pad.mode.value() == PlayMode::Loop {
        let played = [pad.start.value(), pad.end.value()];
        loop_within(samples, played, [pad.loop_start.value(), pad.loop_end.value()])
    } else {
        take.clip.loop_range.map(|(first, end)| first..end)
    };
    // A transposed pad plays the sound as it is at another key.
    let root_key = pad.root_key.value() as f32 - pad.tune.value();
    Outgoing { take: Arc::clone(take), root_key: Some(root_key), loop_range }
}

/// The part that repeats in the part that is played, both as shares of so many samples in any order.
fn loop_within(samples: usize, played: [f32; 2], repeated: [f32; 2]) -> Option<Range<usize>> {
    let at = |share: f32| (f64::from(share.clamp(0.0, 1.0)) * samples as f64).round() as usize;
    let ordered = |[a, b]: [f32; 2]| (at(a.min(b)), at(a.max(b)));
    let ((begin, end), (first, last)) = (ordered(played), ordered(repeated));
    let range = first.max(begin)..last.min(end);
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_stay_within_what_is_played() {
        assert_eq!(loop_within(1000, [0.0, 1.0], [0.25, 0.75]), Some(250..750));
        assert_eq!(loop_within(1000, [0.9, 0.5], [0.75, 0.25]), Some(500..750));
        assert_eq!(loop_within(1000, [0.0, 0.2], [0.25, 0.75]), None);
        assert_eq!(loop_within(1000, [0.0, 1.0], [0.5, 0.5]), None);
        assert_eq!(loop_within(0, [0.0, 1.0], [0.0, 1.0]), None);
    }
}
