//! The keys at the bottom, to hear the sound without a MIDI keyboard.

use egui::{
    Align2, Color32, CornerRadius, PointerButton, Pos2, Rect, Sense, Stroke, StrokeKind, Ui, pos2, vec2,
};
use nice_plug::prelude::Param;

use super::{app::View, knob::change, theme};
use crate::{params::key_name, session::Audition};

/// Width that a white key should have.
const KEY_WIDTH: f32 = 22.0;
/// White keys of an octave, as semitones above C.
const WHITE: [u8; 7] = [0, 2, 4, 5, 7, 9, 11];
/// Height of the black keys, as a share of the white ones'.
const BLACK_HEIGHT: f32 = 0.6;
/// Middle C.
const MIDDLE: i32 = 60;

/// See the [module](self).
#[derive(Default)]
pub struct Keyboard {
    /// The key held down by the mouse.
    pressed: Option<u8>,
}

impl Keyboard {
    /// Draws the keys into `area` and plays them.
    pub fn show(&mut self, ui: &Ui, area: Rect, view: &View) {
        let keys = layout(area);
        let response = ui.interact(area, ui.scope_id().with("keyboard"), Sense::CLICK | Sense::DRAG);
        let pointer = response.interact_pointer_pos().or(response.hover_pos());
        // Black keys lie on top: the last one under the pointer counts.
        let under =
            pointer.and_then(|at| keys.iter().rfind(|key| key.rect.contains(at)).map(|key| (key, at)));

        let is_down = response.is_pointer_button_down_on()
            && ui.input(|input| input.pointer.button_down(PointerButton::Primary));
        let wanted = under.filter(|_| is_down).map(|(key, _)| key.number);
        if wanted != self.pressed {
            if let Some(key) = self.pressed.take() {
                play(view, Audition::Release(key));
            }
            if let Some((key, at)) = under.filter(|_| is_down) {
                play(view, Audition::Press(key.number, key.velocity(at)));
                self.pressed = Some(key.number);
            }
        }
        if let Some((key, _)) = under
            && response.secondary_clicked()
        {
            let root = &view.pad().root_key;
            change(root, &view.setter, root.preview_normalized(i32::from(key.number)));
        }

        let root = view.pad().root_key.value();
        for key in &keys {
            let is_pressed = self.pressed == Some(key.number);
            key.draw(ui, is_pressed, i32::from(key.number) == root);
        }
        if let Some((key, _)) = under.filter(|_| self.pressed.is_none()) {
            let name = key_name(i32::from(key.number));
            response.on_hover_text_at_pointer(format!("{name}. Right-click to make it the root key"));
        }
    }
}

/// Sends a key to the audio thread. When that has not run for long, keys are lost: no harm.
fn play(view: &View, audition: Audition) {
    let _ = view.session.shared().auditions.push(audition);
}

/// One key on the screen.
struct KeyShape {
    number: u8,
    rect: Rect,
    is_black: bool,
}

impl KeyShape {
    /// Louder towards the player.
    fn velocity(&self, at: Pos2) -> f32 {
        (0.35 + 0.65 * (at.y - self.rect.top()) / self.rect.height()).clamp(0.35, 1.0)
    }

    fn draw(&self, ui: &Ui, is_pressed: bool, is_root: bool) {
        let fill = match (is_pressed, self.is_black) {
            (true, _) => theme::sound(),
            (false, true) => Color32::from_rgb(0x22, 0x25, 0x2E),
            (false, false) => Color32::from_rgb(0xD6, 0xD9, 0xE0),
        };
        let corners = CornerRadius { nw: 0, ne: 0, sw: 3, se: 3 };
        ui.painter().rect_filled(self.rect, corners, fill);
        let line = Stroke::new(1.0, if theme::is_light() { theme::line() } else { theme::background() });
        ui.painter().rect_stroke(self.rect, corners, line, StrokeKind::Inside);
        let foot = pos2(self.rect.center().x, self.rect.bottom() - 8.0);
        if is_root {
            ui.painter().circle_filled(foot, 4.0, theme::accent());
        } else if self.number.is_multiple_of(12) {
            let name = key_name(i32::from(self.number));
            let colour = Color32::from_rgb(0x60, 0x66, 0x74);
            ui.painter().text(foot, Align2::CENTER_CENTER, name, theme::font(9.5), colour);
        }
    }
}

/// As many whole octaves as fit, middle C among them; white keys first.
fn layout(area: Rect) -> Vec<KeyShape> {
    let octaves = ((area.width() / (7.0 * KEY_WIDTH)).round() as i32).clamp(2, 8);
    let lowest = MIDDLE - 12 * (octaves / 2);
    let width = area.width() / (7 * octaves) as f32;
    let white = |index: i32| {
        let semitone = WHITE.get(index.rem_euclid(7) as usize).copied().unwrap_or(0);
        let number = lowest + 12 * index.div_euclid(7) + i32::from(semitone);
        let left = area.left() + index as f32 * width;
        let rect = Rect::from_min_size(pos2(left, area.top()), vec2(width, area.height()));
        (number, rect)
    };
    let shape = |number: i32, rect: Rect, is_black: bool| {
        u8::try_from(number).ok().filter(|number| *number < 128).map(|number| KeyShape {
            number,
            rect,
            is_black,
        })
    };
    let whites = (0..7 * octaves).filter_map(|index| {
        let (number, rect) = white(index);
        shape(number, rect, false)
    });
    let blacks = (0..7 * octaves).filter(|index| !matches!(index % 7, 2 | 6)).filter_map(|index| {
        let (number, rect) = white(index);
        let size = vec2(width * 0.6, area.height() * BLACK_HEIGHT);
        let rect = Rect::from_min_size(pos2(rect.right() - size.x / 2.0, area.top()), size);
        shape(number + 1, rect, true)
    });
    whites.chain(blacks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cover_the_area_in_order() {
        for width in [300.0, 620.0, 940.0, 3000.0] {
            let keys = layout(Rect::from_min_size(Pos2::ZERO, vec2(width, 58.0)));
            assert!(keys.iter().any(|key| key.number == 60), "{width}");
            let mut whites: Vec<_> = keys.iter().filter(|key| !key.is_black).collect();
            whites.sort_by_key(|key| key.number);
            assert!(whites.windows(2).all(|w| (w[0].rect.right() - w[1].rect.left()).abs() < 0.01));
            assert!(
                keys.iter()
                    .filter(|key| key.is_black)
                    .all(|key| [1, 3, 6, 8, 10].contains(&(key.number % 12)))
            );
        }
    }
}
