//! Sounds made of sounds: what the window offers, as requests to the engine.

use soundlocd_engine::{
    clip::Region,
    service::{Edit, Settings, Source},
};

use super::Session;

/// A change of the selected pad's sound. The result takes its place on the pad; undo brings the old one back.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A relative of it: this share of it (0..=1) is made anew.
    Vary(f32),
    /// A region made anew, of what the text says now.
    Repaint(Region),
    /// So many seconds more at the beginning and the end.
    Extend {
        /// Seconds before the beginning.
        before: f32,
        /// Seconds after the end.
        after: f32,
    },
    /// The same as a seamless loop.
    Loop,
}

impl Session {
    /// Changes the sound of the selected pad. Without one there is a message instead.
    pub fn edit(&self, change: Change, settings: Settings) {
        let Some(clip) = self.with(|model| model.playing().map(|take| take.clip.clone())) else {
            return self.shared.tell("There is no sound on this pad yet: make one first.", false);
        };
        let source = Source::of(&clip);
        let (edit, keeps_prompt) = match change {
            Change::Vary(amount) => (Edit::Vary { source, amount }, true),
            Change::Repaint(region) => {
                (Edit::Repaint { source, region, of: clip.provenance.title().to_owned() }, false)
            }
            Change::Extend { before, after } => (Edit::Extend { source, before, after }, true),
            Change::Loop => (Edit::Loop { source: Some(source) }, true),
        };
        // A recording has no prompt of its own, nor need there be one in the window.
        let own =
            Some(clip.provenance.prompt.clone()).filter(|prompt| keeps_prompt && !prompt.trim().is_empty());
        self.ask(settings, 1, Some(edit), own);
    }

    /// Makes sounds between the prompt and another one: `at` is the share of the first, 0..=1.
    pub fn morph(&self, prompt: String, at: f32, settings: Settings, variations: u32) {
        self.ask(settings, variations, Some(Edit::Morph { prompt, at }), None);
    }
}
