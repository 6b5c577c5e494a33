//! Which voice makes room for a new note.

use super::voice::Voice;

/// The voice to give up for a note of `key` on pad `pad`: the quietest of those that were let go; else the
/// oldest that plays the same key of the same pad, which the new one would drown; else the oldest.
#[must_use]
pub fn victim(voices: &[Voice], pad: usize, key: Option<u8>) -> Option<usize> {
    let active = || voices.iter().enumerate().filter(|(_, voice)| voice.is_active());
    let oldest_where = |is_candidate: &dyn Fn(&Voice) -> bool| {
        active()
            .filter(|(_, voice)| is_candidate(voice))
            .min_by_key(|(_, voice)| voice.started)
            .map(|(i, _)| i)
    };
    active()
        .filter(|(_, voice)| voice.is_releasing())
        .min_by(|(_, a), (_, b)| a.level().total_cmp(&b.level()))
        .map(|(i, _)| i)
        .or_else(|| oldest_where(&|voice| voice.pad == pad && voice.tag.key == key))
        .or_else(|| oldest_where(&|_| true))
}
