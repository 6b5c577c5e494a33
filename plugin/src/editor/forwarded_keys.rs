//! Keys that the host keeps from the window and forwards by a call.
//!
//! VST3 hosts (Reaper above all) grab Backspace, the arrows, Return, Escape and Space before the
//! window sees them. While text is being typed they belong to the text; at all other times they
//! are the host's, above all Space, which starts its transport.

use std::sync::atomic::{AtomicBool, Ordering};

use egui::{Event, Key};
use nice_plug::editor::{Modifiers, VirtualKeyCode};
use parking_lot::Mutex;

/// Keys waiting for the next frame.
#[derive(Debug, Default)]
pub struct ForwardedKeys {
    /// Whether a text field has the focus; written by the window each frame.
    typing: AtomicBool,
    /// Whether sounds of the list are chosen, so that Escape and Delete are for them.
    choosing: AtomicBool,
    events: Mutex<Vec<Event>>,
}

impl ForwardedKeys {
    /// Says whether a text field has the focus, or else sounds of the list are chosen.
    pub fn set_wanted(&self, typing: bool, choosing: bool) {
        self.typing.store(typing, Ordering::Relaxed);
        self.choosing.store(choosing, Ordering::Relaxed);
        if !typing && !choosing {
            self.events.lock().clear();
        }
    }

    /// A key from the host. Answers whether the window takes it.
    pub fn offer(&self, key: VirtualKeyCode, is_down: bool, modifiers: Modifiers) -> bool {
        let Some(key) = translate(key) else { return false };
        let is_for_choice = self.choosing.load(Ordering::Relaxed)
            && matches!(key, Key::Backspace | Key::Delete | Key::Escape);
        if !self.typing.load(Ordering::Relaxed) && !is_for_choice {
            return false;
        }
        let modifiers = translate_modifiers(modifiers);
        // A combination that is not for editing text is a shortcut of the host.
        if modifiers.alt
            || (modifiers.command
                && !matches!(
                    key,
                    Key::ArrowLeft | Key::ArrowRight | Key::Backspace | Key::Delete | Key::Home | Key::End
                ))
        {
            return false;
        }
        let mut events = self.events.lock();
        events.push(Event::Key { key, physical_key: None, pressed: is_down, repeat: false, modifiers });
        if is_down && key == Key::Space {
            events.push(Event::Text(" ".to_owned()));
        }
        true
    }

    /// Adds the waiting keys to the input of the frame that begins, except for presses that came
    /// to the window by themselves as well.
    pub fn deliver(&self, context: &egui::Context) {
        let waiting = std::mem::take(&mut *self.events.lock());
        if waiting.is_empty() {
            return;
        }
        context.input_mut(|input| {
            for event in waiting {
                if !input.events.iter().any(|own| same(own, &event)) {
                    input.events.push(event);
                }
            }
        });
    }
}

/// Whether two events are the same press of a key, or the text of one.
fn same(a: &Event, b: &Event) -> bool {
    match (a, b) {
        (Event::Key { key: a, pressed: x, .. }, Event::Key { key: b, pressed: y, .. }) => a == b && x == y,
        (Event::Text(a), Event::Text(b)) => a == b,
        _ => false,
    }
}

/// The keys that edit text; all others are left to the host.
fn translate(key: VirtualKeyCode) -> Option<Key> {
    Some(match key {
        VirtualKeyCode::Backspace => Key::Backspace,
        VirtualKeyCode::Delete => Key::Delete,
        VirtualKeyCode::Return | VirtualKeyCode::NumpadEnter => Key::Enter,
        VirtualKeyCode::Escape => Key::Escape,
        VirtualKeyCode::Space => Key::Space,
        VirtualKeyCode::Tab => Key::Tab,
        VirtualKeyCode::Home => Key::Home,
        VirtualKeyCode::End => Key::End,
        VirtualKeyCode::ArrowLeft => Key::ArrowLeft,
        VirtualKeyCode::ArrowRight => Key::ArrowRight,
        VirtualKeyCode::ArrowUp => Key::ArrowUp,
        VirtualKeyCode::ArrowDown => Key::ArrowDown,
        _ => return None,
    })
}

fn translate_modifiers(modifiers: Modifiers) -> egui::Modifiers {
    let mac = cfg!(target_os = "macos");
    let ctrl = modifiers.contains(Modifiers::CONTROL);
    let command = modifiers.contains(Modifiers::COMMAND);
    egui::Modifiers {
        alt: modifiers.contains(Modifiers::ALT),
        shift: modifiers.contains(Modifiers::SHIFT),
        ctrl,
        mac_cmd: mac && command,
        command: if mac { command } else { ctrl || command },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The text after `keys` were forwarded to a focused text field that held "ab".
    fn edit(keys: &[VirtualKeyCode]) -> String {
        let (context, forwarded) = (egui::Context::default(), ForwardedKeys::default());
        let mut text = "ab".to_owned();
        let mut frame = || {
            let mut output = context.run_ui(egui::RawInput::default(), |ui| {
                forwarded.deliver(ui.ctx());
                ui.add(egui::TextEdit::singleline(&mut text).id_salt("field")).request_focus();
                forwarded.set_wanted(ui.ctx().egui_wants_keyboard_input(), false);
            });
            output.textures_delta.clear();
        };
        frame();
        frame();
        for key in keys {
            assert!(forwarded.offer(*key, true, Modifiers::empty()));
            assert!(forwarded.offer(*key, false, Modifiers::empty()));
            frame();
        }
        text
    }

    #[test]
    fn forwarded_keys_edit_the_focused_text() {
        assert_eq!(edit(&[VirtualKeyCode::Backspace]), "a");
        assert_eq!(edit(&[VirtualKeyCode::Space]), "ab ");
        assert_eq!(edit(&[VirtualKeyCode::ArrowLeft, VirtualKeyCode::Backspace]), "b");
        assert_eq!(edit(&[VirtualKeyCode::Home, VirtualKeyCode::Delete]), "b");
    }

    #[test]
    fn without_a_text_field_every_key_is_the_hosts() {
        let forwarded = ForwardedKeys::default();
        assert!(!forwarded.offer(VirtualKeyCode::Space, true, Modifiers::empty()));
        forwarded.set_wanted(true, false);
        assert!(forwarded.offer(VirtualKeyCode::Space, true, Modifiers::empty()));
        assert!(!forwarded.offer(VirtualKeyCode::F5, true, Modifiers::empty()));
        assert!(!forwarded.offer(VirtualKeyCode::Space, true, Modifiers::ALT));
    }

    #[test]
    fn while_sounds_are_chosen_the_keys_for_them_are_taken() {
        let forwarded = ForwardedKeys::default();
        forwarded.set_wanted(false, true);
        for (key, is_taken) in [
            (VirtualKeyCode::Delete, true),
            (VirtualKeyCode::Escape, true),
            (VirtualKeyCode::Space, false),
            (VirtualKeyCode::Return, false),
        ] {
            assert_eq!(forwarded.offer(key, true, Modifiers::empty()), is_taken, "{key:?}");
        }
        forwarded.set_wanted(false, false);
        assert!(!forwarded.offer(VirtualKeyCode::Delete, true, Modifiers::empty()));
    }
}
