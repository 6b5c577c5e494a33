//! What can be made of the sound that is shown: relatives of it, regions of it, more of it, a loop; and
//! undo.

use egui::{Popup, PopupCloseBehavior, Rect, RichText, TextEdit, Ui, UiBuilder};
use nice_plug::prelude::Param;
use soundlocd_engine::{clip::Region, service::request::MAX_PROMPT_CHARS};

use super::{
    app::View,
    knob::change,
    theme,
    widgets::{Icon, icon_button, name_field, number_field, text_button},
};
use crate::{params::key_name, sampler::PlayMode, session::Change};

/// Height of the bar.
pub const HEIGHT: f32 = 26.0;
/// Width of the field for how much is varied.
const AMOUNT_WIDTH: f32 = 48.0;
/// Seconds that Extend adds at first.
const EXTEND_SECONDS: f32 = 1.5;

/// See the [module](self).
pub struct EditBar {
    /// Share of the sound that Vary makes anew.
    amount: f32,
    /// Seconds that Extend adds.
    extend: f32,
    /// The second prompt of Morph.
    other_prompt: String,
    /// Share of the first prompt, 0..=1.
    at: f32,
    /// A loop that is being made: its pad, and the take that it is made of.
    looping: Option<(usize, u64)>,
}

impl Default for EditBar {
    fn default() -> Self {
        Self { amount: 0.4, extend: EXTEND_SECONDS, other_prompt: String::new(), at: 0.5, looping: None }
    }
}

/// Offers to make the key that the sound has been found to have the pad's root key, in tune, unless it is that already.
fn propose_root(ui: &mut Ui, view: &View) {
    let Some(found) = view.model.playing.as_ref().and_then(|take| *take.pitch.get()?) else { return };
    let (pad, root) = (view.pad(), found.round());
    // Played at its root key the sound shall have that key's pitch.
    let tune = root - found;
    let is_set = pad.root_key.value() == root as i32 && (pad.tune.value() - tune).abs() < 0.02;
    if is_set || ui.available_width() < 76.0 {
        return;
    }
    let name = key_name(root as i32);
    let hint = format!(
        "It sounds like {name} {:+.0} ct. Make that this pad's root key, and tune it: then its keys are in tune.",
        (found - root) * 100.0
    );
    if text_button(ui, &format!("Root {name}"), &hint).clicked() {
        change(&pad.root_key, &view.setter, pad.root_key.preview_normalized(root as i32));
        change(&pad.tune, &view.setter, pad.tune.preview_normalized(tune));
    }
}

impl EditBar {
    /// Draws the bar into `area`; `selection` is the region drawn on the picture.
    pub fn show(&mut self, ui: &mut Ui, area: Rect, view: &View, selection: &mut Option<Region>) {
        self.repeat(view);
        let mut bar = ui.new_child(UiBuilder::new().max_rect(area).id_salt("edit bar"));
        bar.spacing_mut().item_spacing.x = 4.0;
        bar.spacing_mut().button_padding.x = 7.0;
        bar.horizontal_centered(|ui| {
            let [undo, redo] = &view.model.history;
            ui.add_enabled_ui(undo.is_some(), |ui| {
                let hint = undo
                    .as_ref()
                    .map_or_else(|| "Nothing to undo".to_owned(), |name| format!("Undo: {name}"));
                if icon_button(ui, Icon::Undo, false, &hint).clicked() {
                    view.session.undo();
                }
            });
            ui.add_enabled_ui(redo.is_some(), |ui| {
                let hint = redo
                    .as_ref()
                    .map_or_else(|| "Nothing to redo".to_owned(), |name| format!("Redo: {name}"));
                if icon_button(ui, Icon::Redo, false, &hint).clicked() {
                    view.session.redo();
                }
            });
            // What is being made for this pad stands where its sound was; other pads' sounds can wait in the queue.
            let is_free = view.model.job.as_ref().is_none_or(|job| job.pad != view.model.selected);
            ui.add_enabled_ui(is_free && view.model.playing.is_some(), |ui| self.edits(ui, view, selection));
            self.morph(ui, view);
            propose_root(ui, view);
        });
    }

    fn edits(&mut self, ui: &mut Ui, view: &View, selection: &mut Option<Region>) {
        let edit = |change| view.session.edit(change, view.settings());
        if text_button(ui, "Vary", "Make a relative of this sound").clicked() {
            edit(Change::Vary(self.amount));
        }
        let (field, _) =
            number_field(ui, &mut self.amount, 0.05..=1.0, 0.4, AMOUNT_WIDTH, "How much Vary changes");
        field.on_hover_text("How much of it is made anew: 0.05 nearly the same, 1 another sound");
        let hint =
            "Draw a rectangle on the picture, say what should be there in the text above, and repaint it";
        ui.add_enabled_ui(selection.is_some(), |ui| {
            let response = text_button(ui, "Repaint", hint);
            if let Some(region) = *selection
                && response.on_disabled_hover_text(hint).clicked()
            {
                edit(Change::Repaint(region));
                *selection = None;
            }
        });
        let response = text_button(ui, "Extend", "Make it longer");
        Popup::from_toggle_button_response(&response)
            .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
            .show(|ui| {
                ui.horizontal(|ui| {
                    number_field(ui, &mut self.extend, 0.2..=9.0, EXTEND_SECONDS, 58.0, "Seconds to add");
                    ui.label(RichText::new("seconds more").color(theme::dim()));
                });
                ui.horizontal(|ui| {
                    let seconds = self.extend;
                    if text_button(ui, "Before", "New sound that leads into it").clicked() {
                        edit(Change::Extend { before: seconds, after: 0.0 });
                        ui.close();
                    }
                    if text_button(ui, "After", "New sound that goes on from it").clicked() {
                        edit(Change::Extend { before: 0.0, after: seconds });
                        ui.close();
                    }
                });
            });
        if text_button(ui, "Loop", "Make it a loop without a seam, and let this pad repeat it").clicked() {
            edit(Change::Loop);
            self.looping = view.model.playing.as_ref().map(|take| (view.model.selected, take.id));
        }
    }

    /// Lets a pad repeat its loop, once that is made: a request that fails or is cancelled changes no parameter.
    fn repeat(&mut self, view: &View) {
        let Some((index, source)) = self.looping else { return };
        let take = view.model.arrangement.pads.get(index).and_then(Option::as_ref);
        if take.is_some_and(|take| take.id != source && take.clip.loop_range.is_some()) {
            let (pad, setter) = (view.params.pads.pad(index), &view.setter);
            change(&pad.mode, setter, pad.mode.preview_normalized(PlayMode::Loop));
            for (start, end) in [(&pad.start, &pad.end), (&pad.loop_start, &pad.loop_end)] {
                change(start, setter, 0.0);
                change(end, setter, 1.0);
            }
            change(&pad.crossfade, setter, 0.0);
            self.looping = None;
        } else if view.model.job.is_none() {
            // Sounds arrive before their request ends: this one will not come.
            self.looping = None;
        }
    }

    fn morph(&mut self, ui: &mut Ui, view: &View) {
        let response = text_button(ui, "Morph", "Make a sound between two texts");
        Popup::from_toggle_button_response(&response)
            .width(320.0)
            .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
            .show(|ui| {
                ui.label(RichText::new("From the text above to:").color(theme::dim()));
                let field = TextEdit::singleline(&mut self.other_prompt)
                    .hint_text("another sound")
                    .char_limit(MAX_PROMPT_CHARS)
                    .desired_width(300.0);
                name_field(&ui.add(field), "The other sound");
                ui.horizontal(|ui| {
                    ui.label(RichText::new("Share of the first").color(theme::dim()));
                    number_field(ui, &mut self.at, 0.0..=1.0, 0.5, 58.0, "Share of the first text");
                    let is_ready = !self.other_prompt.trim().is_empty();
                    ui.add_enabled_ui(is_ready, |ui| {
                        if text_button(ui, "Morph", "Make it").clicked() {
                            let variations = view.variations();
                            view.session.morph(
                                self.other_prompt.clone(),
                                self.at,
                                view.settings(),
                                variations,
                            );
                            ui.close();
                        }
                    });
                });
            });
    }
}
