//! How the next sound is made: length, number, quality, seed; in low windows, by which model and adapters.

use egui::{Align2, Key, Rect, Sense, TextEdit, Ui, Vec2, pos2, vec2};
use nice_plug::prelude::Enum;

use super::{
    adapter_panel,
    app::View,
    knob::{change, drag_field},
    menu::Menu,
    pack_menu, theme,
    widgets::{Icon, icon_button_at, name_field, segmented},
};
use crate::{packs::Standing, params::Quality, session::random_seed};
use nice_plug::prelude::Param;
use soundlocd_engine::service::request::MAX_SECONDS;

/// Widths of the button for adapters and of the model's selector: they fit into the first and the second row of the
/// smallest window.
const ADAPTERS_WIDTH: f32 = 102.0;
const MODEL_WIDTH: f32 = 204.0;

/// See the [module](self).
#[derive(Default)]
pub struct SettingsBar {
    /// The seed while it is being typed.
    typed_seed: Option<String>,
}

impl SettingsBar {
    /// Draws the bar, in as many rows as it needs; `menu` if that, the model and the adapters are found here.
    pub fn show(&mut self, ui: &mut Ui, view: &View, menu: Option<&mut Menu>) {
        ui.horizontal_wrapped(|ui| {
            let (params, setter) = (view.params, &view.setter);
            let longest = match &view.model.standing {
                Standing::Ready(model) => model.max_seconds,
                _ => MAX_SECONDS,
            };
            let hint = format!("How long the sound is: up to {longest:.1} s with this model.");
            let most = params.length.preview_normalized(longest);
            drag_field(ui, &params.length, setter, ("Length", &hint), 106.0, most);

            let hint = "How many different sounds to make of the text, each with a place in the list.";
            drag_field(ui, &params.variations, setter, ("Variations", hint), 96.0, 1.0);

            let selected = params.quality.value().to_index();
            if let Some(index) = segmented(ui, "Quality", Quality::variants(), selected) {
                let value = params.quality.preview_normalized(Quality::from_index(index));
                change(&params.quality, setter, value);
            }

            let with_model = menu.is_some();
            if let Some(menu) = menu {
                let (rect, _) =
                    ui.allocate_exact_size(vec2(ADAPTERS_WIDTH, theme::CONTROL_HEIGHT), Sense::hover());
                adapter_panel::show(ui, rect, view);
                let (rect, _) = ui.allocate_exact_size(Vec2::splat(theme::CONTROL_HEIGHT), Sense::hover());
                menu.show(ui, rect, view);
            }

            self.seed(ui, view);

            let hint = "How strictly the sound follows the text.";
            drag_field(ui, &params.guidance, setter, ("Guidance", hint), 104.0, 1.0);
            let hint = "How freely the model chooses. Low is plain and clean, high is wild.";
            drag_field(ui, &params.truncation, setter, ("Randomness", hint), 126.0, 1.0);

            if with_model {
                let (rect, _) =
                    ui.allocate_exact_size(vec2(MODEL_WIDTH, theme::CONTROL_HEIGHT), Sense::hover());
                pack_menu::show(ui, rect, view);
            }
        });
    }

    /// The seed with its die and lock, as one block.
    fn seed(&mut self, ui: &mut Ui, view: &View) {
        let height = theme::CONTROL_HEIGHT;
        let field_width = 104.0;
        let (rect, _) =
            ui.allocate_exact_size(vec2(field_width + 2.0 * (height + 2.0), height), Sense::hover());
        let field = rect.with_max_x(rect.left() + field_width);
        self.seed_field(ui, field, view);

        let button = |index: f32| {
            let left = field.right() + 2.0 + index * (height + 2.0);
            Rect::from_min_size(pos2(left, rect.top()), vec2(height, height))
        };
        let project = &view.model.project;
        let response = ui.interact(button(0.0), ui.scope_id().with("dice"), Sense::click());
        if icon_button_at(ui, button(0.0), response, Icon::Dice, false, "Roll a new seed").clicked() {
            view.session.with(|model| model.project.seed = random_seed());
            view.session.project_edited();
        }
        let (icon, hint) = if project.seed_locked {
            (
                Icon::Locked,
                "The seed is kept: the same text gives the same sound. Click to roll a new one each time.",
            )
        } else {
            (Icon::Unlocked, "A new seed each time. Click to keep this one.")
        };
        let response = ui.interact(button(1.0), ui.scope_id().with("lock"), Sense::click());
        if icon_button_at(ui, button(1.0), response, icon, project.seed_locked, hint).clicked() {
            view.session.with(|model| model.project.seed_locked = !model.project.seed_locked);
            view.session.project_edited();
        }
    }

    /// The number itself. Typing one locks it.
    fn seed_field(&mut self, ui: &mut Ui, rect: Rect, view: &View) {
        let id = egui::Id::unique("seed");
        let has_focus = ui.memory(|memory| memory.has_focus(id));
        let mut text = match (&self.typed_seed, has_focus) {
            (Some(text), true) => text.clone(),
            _ => view.model.project.seed.to_string(),
        };
        let edit = TextEdit::singleline(&mut text)
            .id(id)
            .font(theme::font(13.0))
            .char_limit(20)
            .align(Align2::RIGHT_CENTER)
            .margin(theme::FIELD_MARGIN);
        let response = ui.place(rect, edit);
        name_field(&response, "Seed");
        ui.painter().text(
            rect.left_center() + vec2(8.0, 0.0),
            Align2::LEFT_CENTER,
            "Seed",
            theme::font(12.0),
            theme::dim(),
        );
        if response.changed() {
            self.typed_seed = Some(text.clone());
        }
        if response.lost_focus() {
            let typed = self.typed_seed.take().and_then(|text| text.trim().parse::<u64>().ok());
            if let Some(seed) = typed.filter(|_| !ui.input(|input| input.key_pressed(Key::Escape))) {
                view.session.with(|model| {
                    model.project.seed = seed;
                    model.project.seed_locked = true;
                });
                view.session.project_edited();
            }
        }
        response.on_hover_text("The number that decides which of all possible sounds comes out.");
    }
}
