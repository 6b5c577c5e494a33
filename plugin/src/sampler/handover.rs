//! The way of a clip to the audio thread, and of its memory back.
//!
//! The audio thread takes new clips from a wait-free queue and lets go of old ones by dropping its
//! [`Arc`]s. So that this never frees memory there, the sending side keeps an `Arc` of everything
//! it has handed out until nobody else holds one: the last reference always dies on this side.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use parking_lot::Mutex;

use super::Source;

/// Clips that can wait for the audio thread; when more come, the oldest are skipped.
const CAPACITY: usize = 4;

/// Both ends of the way: [`Self::offer`] for the session, [`Self::take`] for the audio thread.
#[derive(Debug)]
pub struct Handover {
    /// `None` empties the sampler.
    queue: ArrayQueue<Option<Arc<Source>>>,
    /// Every clip that the audio thread may still hold.
    kept: Mutex<Vec<Arc<Source>>>,
}

impl Default for Handover {
    fn default() -> Self {
        Self { queue: ArrayQueue::new(CAPACITY), kept: Mutex::default() }
    }
}

impl Handover {
    /// Gives the audio thread a clip to play from now on, or silence. Frees what it no longer
    /// holds. Not for the audio thread.
    pub fn offer(&self, source: Option<Arc<Source>>) {
        let mut kept = self.kept.lock();
        kept.extend(source.clone());
        drop(self.queue.force_push(source));
        // A count of 1 cannot rise again: the only reference left is the one in `kept`.
        kept.retain(|source| Arc::strong_count(source) > 1);
    }

    /// The newest clip offered since the last call, if any. Wait-free; frees nothing.
    pub fn take(&self) -> Option<Option<Arc<Source>>> {
        let mut newest = None;
        while let Some(source) = self.queue.pop() {
            newest = Some(source);
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(id: u64) -> Arc<Source> {
        Arc::new(Source::new(&[0.0; 8], 22_050.0, id))
    }

    #[test]
    fn the_newest_clip_wins() {
        let handover = Handover::default();
        assert!(handover.take().is_none());
        (0..10).for_each(|id| handover.offer(Some(source(id))));
        assert_eq!(handover.take().unwrap().unwrap().id(), 9);
        assert!(handover.take().is_none());
        handover.offer(None);
        assert!(handover.take().unwrap().is_none());
    }

    #[test]
    fn a_clip_lives_until_the_audio_thread_let_go_and_is_freed_by_the_next_offer() {
        let handover = Handover::default();
        let clip = source(1);
        let watch = Arc::downgrade(&clip);
        handover.offer(Some(clip));
        let playing = handover.take().unwrap();
        handover.offer(Some(source(2)));
        assert!(watch.upgrade().is_some());
        drop(playing);
        assert!(watch.upgrade().is_some(), "dropping it on the audio thread must not free it");
        handover.offer(None);
        assert!(watch.upgrade().is_none());
    }
}
