//! The colours of the window, dark and light.
//!
//! Which of the two is the user's choice, the same for all windows of the program.

use std::sync::atomic::{AtomicBool, Ordering};

use egui::Color32;

/// Whether the windows are light.
static IS_LIGHT: AtomicBool = AtomicBool::new(false);

/// Makes the windows light or dark, from the next time that they draw.
pub fn set_light(is_light: bool) {
    IS_LIGHT.store(is_light, Ordering::Relaxed);
}

/// Whether the windows are light.
pub fn is_light() -> bool {
    IS_LIGHT.load(Ordering::Relaxed)
}

/// The colours of one look.
struct Palette {
    background: Color32,
    panel: Color32,
    well: Color32,
    raised: Color32,
    hovered: Color32,
    line: Color32,
    text: Color32,
    dim: Color32,
    accent: Color32,
    on_accent: Color32,
    accent_text: Color32,
    sound: Color32,
    error: Color32,
    error_back: Color32,
}

const fn rgb(hex: u32) -> Color32 {
    let [_, r, g, b] = hex.to_be_bytes();
    Color32::from_rgb(r, g, b)
}

const DARK: Palette = Palette {
    background: rgb(0x14161C),
    panel: rgb(0x1B1E26),
    well: rgb(0x0E1016),
    raised: rgb(0x2A2E3A),
    hovered: rgb(0x363B4A),
    line: rgb(0x373D4C),
    text: rgb(0xE8EAF0),
    dim: rgb(0x98A0B4),
    accent: rgb(0xFFA145),
    on_accent: rgb(0x201406),
    accent_text: rgb(0xFFA145),
    sound: rgb(0x5FE0C4),
    error: rgb(0xFF7B7B),
    error_back: rgb(0x3A1E24),
};

const LIGHT: Palette = Palette {
    background: rgb(0xE4E6EB),
    panel: rgb(0xF1F2F5),
    well: rgb(0xFFFFFF),
    raised: rgb(0xD3D7E0),
    hovered: rgb(0xC3C9D5),
    line: rgb(0xB6BCC9),
    text: rgb(0x1B1E26),
    dim: rgb(0x525A6C),
    accent: rgb(0xB85C00),
    on_accent: rgb(0xFFFFFF),
    accent_text: rgb(0x8F4700),
    sound: rgb(0x0B8F76),
    error: rgb(0xA81E1E),
    error_back: rgb(0xF9DADA),
};

macro_rules! colours {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $($(#[$doc])* pub fn $name() -> Color32 {
            if is_light() { LIGHT.$name } else { DARK.$name }
        })*
    };
}

colours! {
    /// Behind everything.
    background,
    /// Areas that group controls.
    panel,
    /// Text fields and the like.
    well,
    /// Buttons.
    raised,
    /// Buttons under the pointer.
    hovered,
    /// Outlines and tracks.
    line,
    /// Text.
    text,
    /// Text that can wait: labels, hints. At least 4.5:1 against [`panel`].
    dim,
    /// What is selected or can be done next.
    accent,
    /// Text on [`accent`].
    on_accent,
    /// Text in the colour of [`accent`] that can be read.
    accent_text,
    /// What sounds now.
    sound,
    /// What went wrong.
    error,
    /// Behind an error message.
    error_back,
}

/// Colours over the picture of the sound, which is dark in both looks: its map of colours begins at black.
pub mod screen {
    use super::{Color32, DARK};

    /// Behind the picture.
    pub const BACK: Color32 = DARK.well;
    /// Lines.
    pub const LINE: Color32 = DARK.line;
    /// Text.
    pub const TEXT: Color32 = DARK.text;
    /// Text that can wait.
    pub const DIM: Color32 = DARK.dim;
    /// The waveform.
    pub const WAVE: Color32 = DARK.accent;
    /// Where it sounds.
    pub const SOUND: Color32 = DARK.sound;
    /// Buttons.
    pub const RAISED: Color32 = DARK.raised;
    /// Buttons under the pointer.
    pub const HOVERED: Color32 = DARK.hovered;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast as the [Web Content Accessibility Guidelines](https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio) define it.
    fn contrast(a: Color32, b: Color32) -> f32 {
        let luminance = |colour: Color32| {
            let linear = |byte: u8| {
                let c = f32::from(byte) / 255.0;
                if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * linear(colour.r()) + 0.7152 * linear(colour.g()) + 0.0722 * linear(colour.b())
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_can_be_read_in_both_looks() {
        for palette in [DARK, LIGHT] {
            for back in [palette.background, palette.panel, palette.well, palette.raised] {
                assert!(contrast(palette.text, back) >= 7.0);
            }
            for back in [palette.background, palette.panel, palette.well] {
                for text in [palette.dim, palette.accent_text, palette.error] {
                    assert!(contrast(text, back) >= 4.5, "{text:?} on {back:?}: {}", contrast(text, back));
                }
            }
            assert!(contrast(palette.on_accent, palette.accent) >= 4.5);
            assert!(contrast(palette.error, palette.error_back) >= 4.5);
            // What marks a state without words: 3:1.
            for mark in [palette.sound, palette.accent] {
                for back in [palette.background, palette.panel] {
                    assert!(contrast(mark, back) >= 3.0, "{mark:?}: {}", contrast(mark, back));
                }
            }
        }
        assert!(contrast(screen::DIM, screen::BACK) >= 4.5);
    }
}
