//! Colours, fonts and measures of the window.

use std::sync::Arc;

use egui::{
    Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Stroke, TextStyle, Theme,
    Visuals, vec2,
};

/// Behind everything.
pub const BACKGROUND: Color32 = Color32::from_rgb(0x14, 0x16, 0x1C);
/// Areas that group controls.
pub const PANEL: Color32 = Color32::from_rgb(0x1B, 0x1E, 0x26);
/// Wells: the display, text fields.
pub const WELL: Color32 = Color32::from_rgb(0x0E, 0x10, 0x16);
/// Buttons.
pub const RAISED: Color32 = Color32::from_rgb(0x2A, 0x2E, 0x3A);
/// Buttons under the pointer.
pub const HOVERED: Color32 = Color32::from_rgb(0x36, 0x3B, 0x4A);
/// Outlines and tracks.
pub const LINE: Color32 = Color32::from_rgb(0x37, 0x3D, 0x4C);
/// Text.
pub const TEXT: Color32 = Color32::from_rgb(0xE8, 0xEA, 0xF0);
/// Text that can wait: labels, hints. At least 4.5:1 against [`PANEL`].
pub const DIM: Color32 = Color32::from_rgb(0x98, 0xA0, 0xB4);
/// What is selected or can be done next.
pub const ACCENT: Color32 = Color32::from_rgb(0xFF, 0xA1, 0x45);
/// Text on [`ACCENT`].
pub const ON_ACCENT: Color32 = Color32::from_rgb(0x20, 0x14, 0x06);
/// What sounds now.
pub const SOUND: Color32 = Color32::from_rgb(0x5F, 0xE0, 0xC4);
/// What went wrong.
pub const ERROR: Color32 = Color32::from_rgb(0xFF, 0x7B, 0x7B);
/// Behind an error message.
pub const ERROR_BACK: Color32 = Color32::from_rgb(0x3A, 0x1E, 0x24);

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
    context.set_theme(Theme::Dark);
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
    let mut visuals = Visuals::dark();
    visuals.override_text_color = Some(TEXT);
    visuals.panel_fill = BACKGROUND;
    visuals.window_fill = PANEL;
    visuals.window_stroke = Stroke::new(1.0, LINE);
    visuals.extreme_bg_color = WELL;
    visuals.selection.bg_fill = ACCENT.gamma_multiply(0.45);
    visuals.selection.stroke = Stroke::new(1.0, ACCENT);
    visuals.text_cursor.stroke = Stroke::new(2.0, ACCENT);
    visuals.button_frame = true;
    let states = &mut visuals.widgets;
    for (state, fill, stroke) in [
        (&mut states.inactive, RAISED, Stroke::NONE),
        (&mut states.hovered, HOVERED, Stroke::new(1.0, LINE)),
        (&mut states.active, HOVERED, Stroke::new(1.0, ACCENT)),
        (&mut states.open, HOVERED, Stroke::new(1.0, LINE)),
    ] {
        state.bg_fill = fill;
        state.weak_bg_fill = fill;
        state.bg_stroke = stroke;
        state.fg_stroke = Stroke::new(1.0, TEXT);
        state.corner_radius = CORNER;
        state.expansion = 0.0;
    }
    states.noninteractive.bg_stroke = Stroke::new(1.0, LINE);
    visuals
}

/// The margin inside of text fields.
pub const FIELD_MARGIN: Margin = Margin::symmetric(8, 4);
