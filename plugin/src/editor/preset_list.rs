//! Presets in the menu: load, save, go back.

use egui::{RichText, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo, pos2, vec2};
use nice_plug::{
    context::gui::GuiContext,
    prelude::{Params, PluginState},
};

use super::{
    app::View,
    pack_menu::in_lines,
    theme,
    widgets::{Icon, icon_button, name_field, text_button},
};
use crate::{
    params::SoundLocdParams,
    presets::{self, MAX_NAME_CHARS},
    session::Session,
};

/// Height of the list before it scrolls.
const MOST_HEIGHT: f32 = 150.0;
/// Height of a preset.
const ROW_HEIGHT: f32 = 24.0;
/// Counts changes: it is the project's own.
const REVISION: &str = "revision";

/// What the window remembers of presets.
#[derive(Default)]
pub struct PresetList {
    /// The name that is being typed.
    name: String,
    /// What there was before a preset was loaded, and that one's name.
    before: Option<(String, PluginState)>,
}

impl PresetList {
    /// Draws the list.
    pub fn show(&mut self, ui: &mut Ui, view: &View) {
        ui.label(RichText::new("Presets: settings and sounds").font(theme::font(12.0)).color(theme::dim()));
        let width = ui.available_width();
        let Some(listed) = view.session.with(|model| model.presets.listed.clone()) else {
            view.session.scan_presets();
            return;
        };
        ScrollArea::vertical().max_height(MOST_HEIGHT).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 1.0;
            for preset in listed.iter() {
                let (is_own, name) = (preset.path.is_some(), preset.name.as_str());
                let note = if is_own { "" } else { "comes with SoundLoCD" };
                ui.horizontal(|ui| {
                    ui.spacing_mut().item_spacing.x = 2.0;
                    let room = if is_own { width - theme::CONTROL_HEIGHT - 2.0 } else { width };
                    if row(ui, room, name, note) {
                        view.session.read_preset(preset.clone());
                        ui.close();
                    }
                    let hint = format!("Throw the preset “{name}” away");
                    if is_own && icon_button(ui, Icon::Close, false, &hint).clicked() {
                        view.session.discard_preset(preset.clone());
                    }
                });
            }
        });
        if let Some((name, _)) = &self.before
            && row(ui, width, &format!("Back to before “{name}”"), "")
        {
            if let Some((_, state)) = self.before.take() {
                apply(view.session, view.params, view.context, &state);
            }
            ui.close();
        }
        ui.horizontal(|ui| {
            let edit = TextEdit::singleline(&mut self.name)
                .hint_text("Name of a new preset")
                .char_limit(MAX_NAME_CHARS)
                .margin(theme::FIELD_MARGIN);
            let response = ui.add_sized(vec2(width - 165.0, theme::CONTROL_HEIGHT), edit);
            name_field(&response, "Name of a new preset");
            let is_named = !self.name.trim().is_empty();
            let there = presets::of_name(&listed, &self.name);
            let (word, hint) = match there {
                Some(_) => ("Replace", "Keep settings and sounds in place of what this preset has now"),
                None => ("Save", "Keep settings and sounds as they are"),
            };
            let save = ui.add_enabled_ui(is_named, |ui| text_button(ui, word, hint));
            if save.inner.clicked() {
                let (name, state) = (std::mem::take(&mut self.name), view.context.get_state());
                match there {
                    Some(there) => view.session.replace_preset(there.clone(), state),
                    None => view.session.save_preset(name, state),
                }
                ui.close();
            }
            if text_button(ui, "Folder", "Show the presets' files").clicked() {
                view.session.open_presets_folder();
            }
        });
    }

    /// Takes over a preset that has been read.
    pub fn follow(&mut self, session: &Session, params: &SoundLocdParams, context: &GuiContext) {
        let Some(preset) = session.take_preset() else { return };
        self.before = Some((preset.name, context.get_state()));
        apply(session, params, context, &preset.state);
    }
}

/// A line to click.
fn row(ui: &mut Ui, width: f32, name: &str, note: &str) -> bool {
    let (rect, response) = ui.allocate_exact_size(vec2(width, ROW_HEIGHT), Sense::click());
    if response.hovered() || response.has_focus() {
        ui.painter().rect_filled(rect, theme::CORNER, theme::hovered());
    }
    let note = ui.painter().layout_no_wrap(note.to_owned(), theme::font(10.5), theme::dim());
    let room = rect.width() - 24.0 - note.size().x;
    let text = in_lines(ui, name, theme::font(13.0), theme::text(), room, 1);
    let middle = rect.center().y;
    ui.painter().galley(pos2(rect.left() + 8.0, middle - text.size().y / 2.0), text, theme::text());
    let at = pos2(rect.right() - 8.0 - note.size().x, middle - note.size().y / 2.0);
    ui.painter().galley(at, note, theme::dim());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
    response.clicked()
}

/// Sets parameters, through the host, and prompt, model, adapters and sounds to those of a state.
pub fn apply(session: &Session, params: &SoundLocdParams, context: &GuiContext, state: &PluginState) {
    let values = presets::normalised(state);
    for (id, parameter, _) in params.param_map() {
        let Some((_, value)) = values.iter().find(|(other, _)| *other == id && id != REVISION) else {
            continue;
        };
        // SAFETY: the pointers are into `params`, which is borrowed to the end of this function.
        #[allow(unsafe_code)]
        unsafe {
            if parameter.unmodulated_normalized_value() != *value {
                context.raw_begin_set_parameter(parameter);
                context.raw_set_parameter_normalized(parameter, *value);
                context.raw_end_set_parameter(parameter);
            }
        }
    }
    session.restore_project(&presets::field(state, "project"));
    session.restore_kit(&presets::field(state, "kit"));
    session.project_edited();
}
