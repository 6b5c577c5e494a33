//! Where the voices are, for the window to draw.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::MAX_VOICES;

/// Bits of an `f32` that no position has: this voice is silent.
const SILENT: u32 = u32::MAX;

/// Where a voice is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Playhead {
    /// Number of the pad, from 0.
    pub pad: usize,
    /// [`super::Source::id`] of what it plays.
    pub clip: u64,
    /// Seconds from the start of the clip.
    pub seconds: f32,
}

/// The place of one voice.
#[derive(Debug)]
struct Place {
    /// As `f32` bits.
    seconds: AtomicU32,
    clip: AtomicU64,
    pad: AtomicU32,
}

/// The place of every voice, written by the audio thread once a block, read by the editor.
#[derive(Debug)]
pub struct Playheads([Place; MAX_VOICES]);

impl Default for Playheads {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Place {
            seconds: AtomicU32::new(SILENT),
            clip: AtomicU64::new(0),
            pad: AtomicU32::new(0),
        }))
    }
}

impl Playheads {
    /// Publishes where voice `index` is, or that it is silent.
    pub fn publish(&self, index: usize, head: Option<Playhead>) {
        let Some(place) = self.0.get(index) else { return };
        if let Some(head) = head {
            place.pad.store(head.pad as u32, Ordering::Relaxed);
            place.clip.store(head.clip, Ordering::Relaxed);
            place.seconds.store(head.seconds.to_bits(), Ordering::Relaxed);
        } else {
            place.seconds.store(SILENT, Ordering::Relaxed);
        }
    }

    /// Where every sounding voice is.
    pub fn sounding(&self) -> impl Iterator<Item = Playhead> + '_ {
        self.0.iter().filter_map(|place| {
            let bits = place.seconds.load(Ordering::Relaxed);
            (bits != SILENT).then(|| Playhead {
                pad: place.pad.load(Ordering::Relaxed) as usize,
                clip: place.clip.load(Ordering::Relaxed),
                seconds: f32::from_bits(bits),
            })
        })
    }
}
