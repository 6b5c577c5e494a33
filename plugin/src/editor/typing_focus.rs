//! Keeps the keyboard for a text field that was just clicked.
//!
//! A click raises two hands for the keyboard: the window manager gives it to the host's window, which may pass it on
//! to a window of its own (JUCE does when `WM_TAKE_FOCUS` arrives), and the plugin's window takes it for itself. Who
//! comes last wins, and where that is the host, the cursor blinks in a field that no key reaches.

use std::time::{Duration, Instant};

/// For how long after a click the keyboard is taken back. A slow host is done by then; a window that the user goes to
/// later keeps it.
const WHILE: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Default)]
pub struct TypingFocus {
    pressed: Option<Instant>,
}

impl TypingFocus {
    /// Looks at a frame; whether the window must ask for the keyboard. `is_pressed`: a button of the mouse went down in
    /// the window. `is_typing`: a text field waits for keys. `has_keyboard`: they come to the window.
    pub fn look(&mut self, is_pressed: bool, is_typing: bool, has_keyboard: bool, now: Instant) -> bool {
        if is_pressed {
            self.pressed = Some(now);
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
        let mut focus = TypingFocus::default();
        assert!(!focus.look(false, true, false, at(0)), "nobody clicked");
        assert!(!focus.look(true, false, false, at(10)), "no field was clicked");
        assert!(!focus.look(true, true, true, at(100)), "keys come");
        assert!(focus.look(false, true, false, at(150)), "the host took them");
        assert!(!focus.look(false, true, true, at(160)), "they are back");
        assert!(focus.look(false, true, false, at(1_000)), "and taken again");
        assert!(!focus.look(false, true, false, at(1_200)), "the user went elsewhere");
    }
}
