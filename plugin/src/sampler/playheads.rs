//! Where the voices are, for the window to draw.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::MAX_VOICES;

/// Bits of an `f32` that no position has: this voice is silent.
const SILENT: u32 = u32::MAX;

/// The position of every voice, written by the audio thread once a block, read by the editor.
#[derive(Debug)]
pub struct Playheads {
    /// Seconds from the start of the clip, as `f32` bits.
    seconds: [AtomicU32; MAX_VOICES],
    /// [`super::Source::id`] that each voice plays.
    clips: [AtomicU64; MAX_VOICES],
}

impl Default for Playheads {
    fn default() -> Self {
        Self {
            seconds: [const { AtomicU32::new(SILENT) }; MAX_VOICES],
            clips: [const { AtomicU64::new(0) }; MAX_VOICES],
        }
    }
}

impl Playheads {
    /// Publishes where voice `index` is: seconds into the clip numbered so, or nothing.
    pub fn publish(&self, index: usize, position: Option<(u64, f32)>) {
        let (Some(seconds), Some(clip)) = (self.seconds.get(index), self.clips.get(index)) else { return };
        if let Some((id, at)) = position {
            clip.store(id, Ordering::Relaxed);
            seconds.store(at.to_bits(), Ordering::Relaxed);
        } else {
            seconds.store(SILENT, Ordering::Relaxed);
        }
    }

    /// Clip number and position in seconds of every sounding voice.
    pub fn sounding(&self) -> impl Iterator<Item = (u64, f32)> + '_ {
        self.seconds.iter().zip(&self.clips).filter_map(|(seconds, clip)| {
            let bits = seconds.load(Ordering::Relaxed);
            (bits != SILENT).then(|| (clip.load(Ordering::Relaxed), f32::from_bits(bits)))
        })
    }
}
