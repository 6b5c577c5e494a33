//! The way of clips to the audio thread, and of their memory back.
//!
//! The audio thread takes new clips from a wait-free queue per pad and lets go of old ones by dropping its
//! [`Arc`]s. So that this never frees memory there, the sending side keeps an `Arc` of everything
//! it has handed out until nobody else holds one: the last reference always dies on this side.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use parking_lot::Mutex;

use super::{PADS, Source};

/// Clips of a pad that can wait for the audio thread; when more come, the oldest are skipped.
const CAPACITY: usize = 4;

/// Both ends of the way: [`Self::offer`] for the session, [`Self::take`] for the audio thread.
#[derive(Debug)]
pub struct Handover {
    /// One a pad; `None` empties it.
    queues: [ArrayQueue<Option<Arc<Source>>>; PADS],
    /// Every clip that the audio thread may still hold, once.
    kept: Mutex<Vec<Arc<Source>>>,
}

impl Default for Handover {
    fn default() -> Self {
        Self { queues: std::array::from_fn(|_| ArrayQueue::new(CAPACITY)), kept: Mutex::default() }
    }
}

impl Handover {
    /// Gives the audio thread a clip for pad `pad` (from 0) to play from now on, or silence. Frees what it no
    /// longer holds. A pad that does not exist takes nothing. Not for the audio thread.
    pub fn offer(&self, pad: usize, source: Option<Arc<Source>>) {
        let Some(queue) = self.queues.get(pad) else { return };
        let mut kept = self.kept.lock();
        if let Some(source) = &source
            && !kept.iter().any(|other| Arc::ptr_eq(other, source))
        {
            kept.push(Arc::clone(source));
        }
        drop(queue.force_push(source));
        // A count of 1 cannot rise again: the only reference left is the one in `kept`.
        kept.retain(|source| Arc::strong_count(source) > 1);
    }

    /// The newest clip offered to a pad since the last call, if any. Wait-free; frees nothing.
    pub fn take(&self, pad: usize) -> Option<Option<Arc<Source>>> {
        let mut newest = None;
        while let Some(source) = self.queues.get(pad)?.pop() {
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
    fn the_newest_clip_of_each_pad_wins() {
        let handover = Handover::default();
        assert!(handover.take(0).is_none());
        (0..10).for_each(|id| handover.offer(0, Some(source(id))));
        handover.offer(15, Some(source(77)));
        assert_eq!(handover.take(0).unwrap().unwrap().id(), 9);
        assert!(handover.take(0).is_none());
        handover.offer(0, None);
        assert!(handover.take(0).unwrap().is_none());
        assert_eq!(handover.take(15).unwrap().unwrap().id(), 77);
        handover.offer(PADS, Some(source(1)));
        assert!(handover.take(PADS).is_none());
    }

    #[test]
    fn a_clip_lives_until_the_audio_thread_let_go_and_is_freed_by_the_next_offer() {
        let handover = Handover::default();
        let clip = source(1);
        let watch = Arc::downgrade(&clip);
        // On two pads, and on one of them twice.
        handover.offer(0, Some(Arc::clone(&clip)));
        handover.offer(3, Some(Arc::clone(&clip)));
        handover.offer(3, Some(clip));
        let playing = [handover.take(0).unwrap(), handover.take(3).unwrap()];
        handover.offer(0, Some(source(2)));
        handover.offer(3, None);
        assert!(watch.upgrade().is_some());
        drop(playing);
        assert!(watch.upgrade().is_some(), "dropping it on the audio thread must not free it");
        handover.offer(0, None);
        assert!(watch.upgrade().is_none());
    }
}
