//! Keeps the keyboard for a text field that was just clicked.
//!
//! A click raises two hands for the keyboard: the window manager gives it to the host's window, which may pass it on
//! to a window of its own (JUCE does when `WM_TAKE_FOCUS` arrives), and the plugin's window takes it for itself. Who
//! comes last wins, and where that is the host, the cursor blinks in a field that no key reaches.

use std::time::{Duration, Instant};

/// For how long after a click the keyboard is taken back, if the pointer stays in the window. A slow host is done by
/// then, and a window that the user goes to keeps it.
const WHILE: Duration = Duration::from_secs(1);

/// Where the mouse is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// In the window, where one of its buttons has just gone down.
    Pressed,
    /// In the window.
    Inside,
    /// Elsewhere.
    Outside,
}

impl Pointer {
    /// That of the frame that is drawn.
    #[must_use]
    pub fn now(context: &egui::Context) -> Self {
        context.input(|input| match (input.pointer.any_pressed(), input.pointer.has_pointer()) {
            (true, _) => Self::Pressed,
            (false, true) => Self::Inside,
            (false, false) => Self::Outside,
        })
    }
}

/// See the [module](self).
#[derive(Default)]
pub struct TypingFocus {
    pressed: Option<Instant>,
}

impl TypingFocus {
    /// Looks at a frame; whether the window must ask for the keyboard. `is_typing`: a text field waits for keys.
    /// `has_keyboard`: they come to the window.
    pub fn look(&mut self, pointer: Pointer, is_typing: bool, has_keyboard: bool, now: Instant) -> bool {
        match pointer {
            Pointer::Pressed => self.pressed = Some(now),
            Pointer::Inside => {}
            Pointer::Outside => self.pressed = None,
        }
        let is_recent = self.pressed.is_some_and(|pressed| now.duration_since(pressed) < WHILE);
        is_recent && is_typing && !has_keyboard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyboard_is_taken_back_for_a_field_just_clicked_and_never_later() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let (pressed, inside, outside) = (Pointer::Pressed, Pointer::Inside, Pointer::Outside);
        let mut focus = TypingFocus::default();
        assert!(!focus.look(inside, true, false, at(0)), "nobody clicked");
        assert!(!focus.look(pressed, false, false, at(10)), "no field was clicked");
        assert!(!focus.look(pressed, true, true, at(100)), "keys come");
        assert!(focus.look(inside, true, false, at(150)), "the host took them");
        assert!(!focus.look(inside, true, true, at(160)), "they are back");
        assert!(focus.look(inside, true, false, at(1_000)), "and taken again");
        assert!(!focus.look(inside, true, false, at(1_200)), "too late");
        assert!(focus.look(pressed, true, false, at(2_000)));
        assert!(!focus.look(outside, true, false, at(2_100)), "the user went elsewhere");
        assert!(!focus.look(inside, true, false, at(2_200)), "and came back without a click");
    }
}
