//! The menu: presets, what holds for all projects, and what the program says of itself.

use egui::{Popup, PopupCloseBehavior, Rect, RectAlign, RichText, Sense, TextEdit, Ui, vec2};

use super::{
    about,
    app::View,
    preset_list::PresetList,
    theme,
    widgets::{Icon, icon_button_at, segmented, text_button},
};
use crate::preferences::{self, MAX_ARTIST_CHARS};

/// Width of the open menu.
const WIDTH: f32 = 320.0;

/// See the [module](self).
#[derive(Default)]
pub struct Menu {
    /// The presets in it.
    pub presets: PresetList,
}

impl Menu {
    /// Draws the button into `rect`, and the menu while it is open.
    pub fn show(&mut self, ui: &Ui, rect: Rect, view: &View) {
        let response = ui.interact(rect, ui.scope_id().with("menu"), Sense::click());
        let response = icon_button_at(ui, rect, response, Icon::Menu, false, "Presets, settings, About");
        Popup::from_toggle_button_response(&response)
            .align(RectAlign::BOTTOM_END)
            .gap(4.0)
            .width(WIDTH)
            .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
            .show(|ui| {
                ui.set_width(WIDTH);
                self.presets.show(ui, view);
                ui.separator();
                settings(ui, view);
            });
        about::show(ui.ctx(), view);
    }
}

fn settings(ui: &mut Ui, view: &View) {
    let preferences = preferences::current();
    if let Some(index) = segmented(ui, "Window", &["Dark", "Light"], usize::from(preferences.is_light)) {
        view.session.prefer(move |preferences| preferences.is_light = index == 1);
    }
    ui.scope(|ui| {
        const DEVICES: [&str; 3] = ["auto", "cpu", "cuda"];
        let selected = DEVICES.iter().position(|device| *device == preferences.device).unwrap_or(0);
        if let Some(index) = segmented(ui, "Model on", &["Auto", "CPU", "GPU"], selected) {
            let device = DEVICES.get(index).copied().unwrap_or_default();
            view.session.prefer(move |preferences| device.clone_into(&mut preferences.device));
        }
    })
    .response
    .on_hover_text("Where models run that are loaded from now on. GPU: NVIDIA only, with the GPU part installed; without it there are no sounds. Auto: the GPU if there is one, else the CPU.");
    ui.separator();
    caption(ui, "WAV files");
    if let Some(index) = segmented(ui, "Names", &["Plain", "UCS"], usize::from(preferences.ucs_names)) {
        view.session.prefer(move |preferences| preferences.ucs_names = index == 1);
    }
    let rates = ["22.05 kHz", "Project's"];
    if let Some(index) = segmented(ui, "Sample rate", &rates, usize::from(preferences.host_rate)) {
        view.session.prefer(move |preferences| preferences.host_rate = index == 1);
    }
    ui.horizontal(|ui| {
        let mut artist = preferences.artist.clone();
        let label = caption(ui, "Your name");
        let edit = TextEdit::singleline(&mut artist)
            .hint_text("left out")
            .char_limit(MAX_ARTIST_CHARS)
            .margin(theme::FIELD_MARGIN);
        let response = ui.add_sized(vec2(ui.available_width(), theme::CONTROL_HEIGHT), edit);
        let response = response.labelled_by(label.id).on_hover_text("Named as the maker in the files.");
        if response.changed() {
            artist.retain(|c| !c.is_control());
            view.session.prefer(move |preferences| preferences.artist.clone_from(&artist));
        }
    });
    ui.separator();
    if text_button(ui, "About SoundLoCD", "Version, licences, the model's card").clicked() {
        about::open(ui.ctx());
        ui.close();
    }
}

fn caption(ui: &mut Ui, text: &str) -> egui::Response {
    ui.label(RichText::new(text).font(theme::font(12.0)).color(theme::dim()))
}
