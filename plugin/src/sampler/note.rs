//! Names of notes.

/// Names a note, or a group of them: an absent part stands for any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoteTag {
    /// The host's own number for the note.
    pub id: Option<i32>,
    /// MIDI channel, 0..=15.
    pub channel: Option<u8>,
    /// MIDI key, 0..=127; 60 is middle C.
    pub key: Option<u8>,
}

impl NoteTag {
    /// A key on a channel.
    #[must_use]
    pub const fn key(channel: u8, key: u8) -> Self {
        Self { id: None, channel: Some(channel), key: Some(key) }
    }

    /// Every note of a channel.
    #[must_use]
    pub const fn channel(channel: u8) -> Self {
        Self { id: None, channel: Some(channel), key: None }
    }

    /// Whether this pattern names `note`.
    #[must_use]
    pub fn matches(&self, note: &Self) -> bool {
        fn same<T: PartialEq>(pattern: Option<T>, value: Option<T>) -> bool {
            pattern.is_none() || value.is_none() || pattern == value
        }
        same(self.id, note.id) && same(self.channel, note.channel) && same(self.key, note.key)
    }
}
