//! Fonts and measures of the window, and its style in the chosen [palette](super::palette).

use std::sync::Arc;

use egui::{
    CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Stroke, TextStyle, Theme, Visuals,
    vec2,
};

pub use super::palette::*;

/// Space around and between areas.
pub const GAP: f32 = 10.0;
/// Corners of buttons and wells.
pub const CORNER: CornerRadius = CornerRadius::same(6);
/// Height of buttons and fields.
pub const CONTROL_HEIGHT: f32 = 26.0;

/// Pixels of dragging from one end of a control's range to the other.
pub const DRAG_RANGE: f32 = 180.0;

/// The bold family.
const BOLD: &str = "bold";

/// The text font in a size in points.
pub fn font(size: f32) -> FontId {
    FontId::proportional(size)
}

/// The bold font in a size in points.
pub fn bold(size: f32) -> FontId {
    FontId::new(size, FontFamily::Name(BOLD.into()))
}

/// Gives the window its fonts and style.
pub fn apply(context: &egui::Context) {
    context.set_fonts(fonts());
    restyle(context);
}

/// Gives the window the style of the chosen palette.
pub fn restyle(context: &egui::Context) {
    context.set_theme(if is_light() { Theme::Light } else { Theme::Dark });
    context.all_styles_mut(|style| {
        style.visuals = visuals();
        style.text_styles = [
            (TextStyle::Small, font(11.0)),
            (TextStyle::Body, font(13.0)),
            (TextStyle::Button, font(13.0)),
            (TextStyle::Heading, bold(18.0)),
            (TextStyle::Monospace, FontId::monospace(12.0)),
        ]
        .into();
        style.spacing.item_spacing = vec2(8.0, 6.0);
        style.spacing.button_padding = vec2(10.0, 4.0);
        style.spacing.interact_size.y = CONTROL_HEIGHT;
        style.interaction.selectable_labels = false;
        style.interaction.tooltip_delay = 0.5;
    });
}

/// Inter for everything: egui ships no font of its own without its default-font feature.
fn fonts() -> FontDefinitions {
    let regular: &[u8] = include_bytes!("../../../assets/fonts/Inter-Regular.otf");
    let semi_bold: &[u8] = include_bytes!("../../../assets/fonts/Inter-SemiBold.otf");
    let mut fonts = FontDefinitions::empty();
    for (name, data) in [("Inter", regular), (BOLD, semi_bold)] {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(data)));
    }
    fonts.families = [
        (FontFamily::Proportional, vec!["Inter".to_owned()]),
        (FontFamily::Monospace, vec!["Inter".to_owned()]),
        (FontFamily::Name(BOLD.into()), vec![BOLD.to_owned(), "Inter".to_owned()]),
    ]
    .into();
    fonts
}

fn visuals() -> Visuals {
    let mut visuals = if is_light() { Visuals::light() } else { Visuals::dark() };
    visuals.override_text_color = Some(text());
    visuals.panel_fill = background();
    visuals.window_fill = panel();
    visuals.window_stroke = Stroke::new(1.0, line());
    visuals.extreme_bg_color = well();
    visuals.selection.bg_fill = accent().gamma_multiply(0.45);
    visuals.selection.stroke = Stroke::new(1.0, accent());
    visuals.text_cursor.stroke = Stroke::new(2.0, accent());
    visuals.button_frame = true;
    let states = &mut visuals.widgets;
    for (state, fill, stroke) in [
        (&mut states.inactive, raised(), Stroke::NONE),
        (&mut states.hovered, hovered(), Stroke::new(1.0, line())),
        (&mut states.active, hovered(), Stroke::new(1.0, accent())),
        (&mut states.open, hovered(), Stroke::new(1.0, line())),
    ] {
        state.bg_fill = fill;
        state.weak_bg_fill = fill;
        state.bg_stroke = stroke;
        state.fg_stroke = Stroke::new(1.0, text());
        state.corner_radius = CORNER;
        state.expansion = 0.0;
    }
    states.noninteractive.bg_stroke = Stroke::new(1.0, line());
    visuals
}

/// The margin inside of text fields.
pub const FIELD_MARGIN: Margin = Margin::symmetric(8, 4);
