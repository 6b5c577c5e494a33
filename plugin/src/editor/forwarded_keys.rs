//! Whose a key is, the window's or the host's, and keys that the host keeps from the window and forwards by a call.
//!
//! VST3 hosts (Reaper above all) grab Backspace, the arrows, Return, Escape and Space before the
//! window sees them. While text is being typed they belong to the text; a control that was chosen with Tab has those
//! that move it. All others are the host's, above all Space, which starts its transport.

use egui::{Event, EventFilter, FocusDirection, Key};
use nice_plug::editor::{Modifiers, VirtualKeyCode};
use nice_plug_egui::{KeyCapture, NamedKey};
use parking_lot::Mutex;

/// Keys for sounds of the list that are chosen: a host might delete a track with them.
const CHOICE_KEYS: [Key; 3] = [Key::Backspace, Key::Delete, Key::Escape];
/// Keys for a control that was chosen with Tab.
const CONTROL_KEYS: [Key; 7] =
    [Key::Enter, Key::Escape, Key::Tab, Key::ArrowLeft, Key::ArrowRight, Key::ArrowUp, Key::ArrowDown];
/// All of those as the window system calls them.
const NAMED: [(Key, NamedKey); 9] = [
    (Key::Backspace, NamedKey::Backspace),
    (Key::Delete, NamedKey::Delete),
    (Key::Escape, NamedKey::Escape),
    (Key::Enter, NamedKey::Enter),
    (Key::Tab, NamedKey::Tab),
    (Key::ArrowLeft, NamedKey::ArrowLeft),
    (Key::ArrowRight, NamedKey::ArrowRight),
    (Key::ArrowUp, NamedKey::ArrowUp),
    (Key::ArrowDown, NamedKey::ArrowDown),
];

/// What in the window keys are for; written each frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Text is being typed: every key is for it.
    pub text: bool,
    /// Sounds of the list are chosen, to be thrown away or not.
    pub choice: bool,
    /// A control was chosen with Tab.
    pub control: bool,
}

impl Wanted {
    /// Whether the window takes a key.
    #[must_use]
    pub fn takes(self, key: Key) -> bool {
        self.text
            || (self.choice && CHOICE_KEYS.contains(&key))
            || (self.control && CONTROL_KEYS.contains(&key))
    }

    /// What to keep from the host.
    #[must_use]
    pub fn capture(self) -> KeyCapture {
        if self.text {
            return KeyCapture::CaptureAll;
        }
        let taken = NAMED.into_iter().filter(|(key, _)| self.takes(*key));
        KeyCapture::CaptureKeys(taken.map(|(_, name)| nice_plug_egui::Key::Named(name)).collect())
    }
}

/// Arrows set values. They do not go from one control to the next, where a further press would set another value. While
/// a list is open, up and down go through its entries as Tab does (egui would go to what lies behind the list). To be
/// called before the controls, which may ask for more keys.
pub fn keep_arrows(context: &egui::Context) {
    let Some(focused) = context.memory(|memory| memory.focused()) else { return };
    let arrows = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
    context.memory_mut(|memory| memory.set_focus_lock_filter(focused, arrows));
    if !egui::Popup::is_any_open(context) || context.text_edit_focused() {
        return;
    }
    let direction =
        context.input(|input| match (input.key_pressed(Key::ArrowUp), input.key_pressed(Key::ArrowDown)) {
            (true, false) => Some(FocusDirection::Previous),
            (false, true) => Some(FocusDirection::Next),
            _ => None,
        });
    if let Some(direction) = direction {
        context.memory_mut(|memory| memory.move_focus(direction));
    }
}

/// Keys waiting for the next frame.
#[derive(Debug, Default)]
pub struct ForwardedKeys(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    wanted: Wanted,
    events: Vec<Event>,
}

impl ForwardedKeys {
    /// Says what keys are for.
    pub fn set_wanted(&self, wanted: Wanted) {
        let mut waiting = self.0.lock();
        waiting.wanted = wanted;
        if wanted == Wanted::default() {
            waiting.events.clear();
        }
    }

    /// A key from the host. Answers whether the window takes it.
    pub fn offer(&self, key: VirtualKeyCode, is_down: bool, modifiers: Modifiers) -> bool {
        let Some(key) = translate(key) else { return false };
        let mut waiting = self.0.lock();
        if !waiting.wanted.takes(key) {
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
        waiting.events.push(Event::Key {
            key,
            physical_key: None,
            pressed: is_down,
            repeat: false,
            modifiers,
        });
        if is_down && key == Key::Space {
            waiting.events.push(Event::Text(" ".to_owned()));
        }
        true
    }

    /// Adds the waiting keys to the input of the frame that begins, except for presses that came
    /// to the window by themselves as well. Takes Space out of it unless text is being typed: to egui it would be a
    /// click on the control that was chosen with Tab, and to the host it starts the transport.
    pub fn deliver(&self, context: &egui::Context) {
        if !context.text_edit_focused() {
            context.input_mut(|input| {
                input.events.retain(|event| !matches!(event, Event::Key { key: Key::Space, .. }));
            });
        }
        let waiting = std::mem::take(&mut self.0.lock().events);
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

/// The keys that edit text or move a control; all others are left to the host.
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
                forwarded.set_wanted(Wanted { text: ui.ctx().text_edit_focused(), ..Wanted::default() });
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
        forwarded.set_wanted(Wanted { text: true, ..Wanted::default() });
        assert!(forwarded.offer(VirtualKeyCode::Space, true, Modifiers::empty()));
        assert!(!forwarded.offer(VirtualKeyCode::F5, true, Modifiers::empty()));
        assert!(!forwarded.offer(VirtualKeyCode::Space, true, Modifiers::ALT));
    }

    #[test]
    fn while_sounds_are_chosen_the_keys_for_them_are_taken() {
        let forwarded = ForwardedKeys::default();
        forwarded.set_wanted(Wanted { choice: true, ..Wanted::default() });
        for (key, is_taken) in [
            (VirtualKeyCode::Delete, true),
            (VirtualKeyCode::Escape, true),
            (VirtualKeyCode::Space, false),
            (VirtualKeyCode::Return, false),
        ] {
            assert_eq!(forwarded.offer(key, true, Modifiers::empty()), is_taken, "{key:?}");
        }
        forwarded.set_wanted(Wanted::default());
        assert!(!forwarded.offer(VirtualKeyCode::Delete, true, Modifiers::empty()));
    }

    #[test]
    fn a_control_that_was_chosen_has_the_keys_that_move_it_and_not_space() {
        let forwarded = ForwardedKeys::default();
        forwarded.set_wanted(Wanted { control: true, ..Wanted::default() });
        for (key, is_taken) in [
            (VirtualKeyCode::ArrowUp, true),
            (VirtualKeyCode::Return, true),
            (VirtualKeyCode::Tab, true),
            (VirtualKeyCode::Space, false),
            (VirtualKeyCode::Delete, false),
            (VirtualKeyCode::Home, false),
        ] {
            assert_eq!(forwarded.offer(key, true, Modifiers::empty()), is_taken, "{key:?}");
        }
    }

    /// Clicks of a button that was chosen with Tab, by a key that comes to the window by itself.
    fn clicks(key: Key) -> usize {
        let (context, forwarded) = (egui::Context::default(), ForwardedKeys::default());
        let mut clicks = 0;
        for pressed in [None, Some(true), Some(false)] {
            let event = |pressed| Event::Key {
                key,
                physical_key: None,
                pressed,
                repeat: false,
                modifiers: egui::Modifiers::NONE,
            };
            let input =
                egui::RawInput { events: pressed.map(event).into_iter().collect(), ..Default::default() };
            let mut output = context.run_ui(input, |ui| {
                forwarded.deliver(ui.ctx());
                let button = ui.button("a button");
                clicks += usize::from(button.clicked());
                button.request_focus();
            });
            output.textures_delta.clear();
        }
        clicks
    }

    #[test]
    fn space_is_no_click_on_what_was_chosen_with_tab() {
        assert_eq!(clicks(Key::Enter), 1);
        assert_eq!(clicks(Key::Space), 0);
    }
}
