//! Which sounds there are and which pad plays which, with undo.

use std::sync::Arc;

use crate::{sampler::PADS, take::Take};

/// Most takes kept in the tray; older ones that no pad plays make room.
pub const MAX_TAKES: usize = 48;
/// Most changes that can be undone. Their sounds stay in memory.
const MAX_UNDO: usize = 50;

/// The tray and the pads. Copies are cheap: they share the sounds.
#[derive(Clone, Debug, Default)]
pub struct Arrangement {
    /// Finished sounds, oldest first.
    pub takes: Vec<Arc<Take>>,
    /// The sound of each pad.
    pub pads: [Option<Arc<Take>>; PADS],
}

impl Arrangement {
    /// The take of this number, in the tray or on a pad.
    #[must_use]
    pub fn find(&self, id: u64) -> Option<&Arc<Take>> {
        self.takes.iter().chain(self.pads.iter().flatten()).find(|take| take.id == id)
    }

    /// Whether a pad plays the take of this number.
    #[must_use]
    pub fn is_on_pad(&self, id: u64) -> bool {
        self.pads.iter().flatten().any(|take| take.id == id)
    }

    /// Adds a take to the tray; one that is in it stays where it is.
    pub fn add(&mut self, take: &Arc<Take>) {
        if self.takes.iter().any(|other| other.id == take.id) {
            return;
        }
        self.takes.push(Arc::clone(take));
        while self.takes.len() > MAX_TAKES {
            match self.takes.iter().position(|take| !self.is_on_pad(take.id)) {
                Some(oldest) => drop(self.takes.remove(oldest)),
                None => break,
            }
        }
    }

    /// Puts a take on a pad, or empties it. A pad that does not exist takes nothing.
    pub fn place(&mut self, pad: usize, take: Option<Arc<Take>>) {
        if let Some(slot) = self.pads.get_mut(pad) {
            *slot = take;
        }
    }

    /// Puts a take on a pad. A sound that plays there and had left the tray is in it again.
    pub fn lay(&mut self, pad: usize, take: &Arc<Take>) {
        if let Some(before) = self.pads.get(pad).cloned().flatten() {
            self.add(&before);
        }
        self.place(pad, Some(Arc::clone(take)));
    }

    /// Puts takes on pads: the first on `pad`, whatever is there, the others on the free pads after it, as far as there are
    /// any.
    pub fn spread(&mut self, takes: &[Arc<Take>], pad: usize) {
        let Some((first, others)) = takes.split_first() else { return };
        self.lay(pad, first);
        let free = self.pads.iter_mut().skip(pad.saturating_add(1)).filter(|slot| slot.is_none());
        for (slot, take) in free.zip(others) {
            *slot = Some(Arc::clone(take));
        }
    }

    /// Whether the same sounds are in the same places.
    fn is_same(&self, other: &Self) -> bool {
        let ids = |takes: &[Arc<Take>]| takes.iter().map(|take| take.id).collect::<Vec<_>>();
        let pads =
            |pads: &[Option<Arc<Take>>; PADS]| pads.each_ref().map(|pad| pad.as_ref().map(|take| take.id));
        ids(&self.takes) == ids(&other.takes) && pads(&self.pads) == pads(&other.pads)
    }
}

/// A change that can be taken back.
#[derive(Clone, Debug)]
struct Step {
    /// Its own, from 1.
    number: u64,
    /// What was done, as in "Undo: remove sound".
    name: String,
    /// The arrangement on the other side of the change.
    other: Arrangement,
}

/// What was done and undone.
#[derive(Debug, Default)]
pub struct History {
    done: Vec<Step>,
    undone: Vec<Step>,
    /// Number of the last change.
    last: u64,
}

impl History {
    /// Notes that `before` is about to be changed.
    pub fn record(&mut self, name: &str, before: &Arrangement) {
        self.undone.clear();
        self.last += 1;
        self.done.push(Step { number: self.last, name: name.to_owned(), other: before.clone() });
        if self.done.len() > MAX_UNDO {
            self.done.remove(0);
        }
    }

    /// Forgets the last noted change if nothing came of it, else answers with its number.
    pub fn settle(&mut self, now: &Arrangement) -> Option<u64> {
        if self.done.last().is_some_and(|step| step.other.is_same(now)) {
            self.done.pop();
            return None;
        }
        self.done.last().map(|step| step.number)
    }

    /// Takes the change of this number back as if it had not been made, if no other came after it. Answers
    /// whether it did.
    pub fn take_back(&mut self, number: u64, now: &mut Arrangement) -> bool {
        let Some(step) = self.done.pop_if(|step| step.number == number) else { return false };
        *now = step.other;
        true
    }

    /// Takes the last change back. Answers whether there was one.
    pub fn undo(&mut self, now: &mut Arrangement) -> bool {
        Self::cross(&mut self.done, &mut self.undone, now)
    }

    /// Makes the last change that was taken back again. Answers whether there was one.
    pub fn redo(&mut self, now: &mut Arrangement) -> bool {
        Self::cross(&mut self.undone, &mut self.done, now)
    }

    /// What undo and redo would do.
    #[must_use]
    pub fn names(&self) -> [Option<String>; 2] {
        [&self.done, &self.undone].map(|steps| steps.last().map(|step| step.name.clone()))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.done.clear();
        self.undone.clear();
    }

    fn cross(from: &mut Vec<Step>, to: &mut Vec<Step>, now: &mut Arrangement) -> bool {
        let Some(step) = from.pop() else { return false };
        let other = std::mem::replace(now, step.other);
        to.push(Step { other, ..step });
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use soundlocd_engine::service::{Request, Settings};

    use super::*;
    use crate::testing::tone;

    fn take(id: u64) -> Arc<Take> {
        let settings = Settings { seconds: 0.2, ..Settings::default() };
        let clip = tone(&Request { settings, ..Request::new("a tone", id) }, 0);
        Arc::new(Take::new(id, Arc::new(clip)))
    }

    fn ids(arrangement: &Arrangement) -> Vec<u64> {
        arrangement.takes.iter().map(|take| take.id).collect()
    }

    #[test]
    fn old_takes_make_room_unless_a_pad_plays_them() {
        let mut arrangement = Arrangement::default();
        for id in 0..MAX_TAKES as u64 {
            arrangement.add(&take(id));
        }
        arrangement.place(3, arrangement.find(0).cloned());
        arrangement.place(PADS, arrangement.find(1).cloned());
        arrangement.add(&take(100));
        arrangement.add(&take(100));
        assert_eq!(arrangement.takes.len(), MAX_TAKES);
        assert_eq!(ids(&arrangement)[..2], [0, 2]);
        assert!(arrangement.is_on_pad(0) && !arrangement.is_on_pad(1));
        assert_eq!(ids(&arrangement).last(), Some(&100));
    }

    #[test]
    fn several_sounds_fill_the_free_pads() {
        let mut arrangement = Arrangement::default();
        let takes: Vec<_> = (1..=4).map(take).collect();
        // A sound that is on a pad only goes to the tray when another takes its place.
        arrangement.place(12, Some(take(10)));
        arrangement.place(14, Some(take(11)));
        arrangement.spread(&takes, 12);
        let pads: Vec<_> = arrangement.pads.iter().map(|pad| pad.as_ref().map(|take| take.id)).collect();
        assert_eq!(pads[12..], [Some(1), Some(2), Some(11), Some(3)]);
        assert_eq!(ids(&arrangement), [10]);
        arrangement.spread(&[], 0);
        arrangement.spread(&takes, PADS);
        assert!(arrangement.pads[..12].iter().all(Option::is_none));
    }

    #[test]
    fn changes_are_undone_and_made_again_in_order() {
        let (mut history, mut now) = (History::default(), Arrangement::default());
        assert!(!history.undo(&mut now) && !history.redo(&mut now));
        for id in 1..=3 {
            history.record(&format!("add {id}"), &now);
            now.add(&take(id));
        }
        history.record("place", &now);
        now.place(0, now.find(2).cloned());
        assert_eq!(history.names(), [Some("place".into()), None]);
        assert!(history.undo(&mut now));
        assert!(now.pads[0].is_none());
        assert!(history.undo(&mut now));
        assert_eq!(ids(&now), [1, 2]);
        assert_eq!(history.names(), [Some("add 2".into()), Some("add 3".into())]);
        assert!(history.redo(&mut now) && history.redo(&mut now) && !history.redo(&mut now));
        assert_eq!((ids(&now), now.pads[0].as_ref().unwrap().id), (vec![1, 2, 3], 2));
        // A new change forgets what was undone.
        assert!(history.undo(&mut now));
        history.record("remove", &now);
        now.takes.clear();
        assert!(!history.redo(&mut now));
        // What changed nothing cannot be undone.
        history.record("nothing", &now);
        assert_eq!(history.settle(&now), None);
        assert_eq!(history.names(), [Some("remove".into()), None]);
        // A change is taken back for good, and only if it is the last one.
        history.record("add 4", &now);
        now.add(&take(4));
        let fourth = history.settle(&now).unwrap();
        history.record("add 5", &now);
        now.add(&take(5));
        let fifth = history.settle(&now).unwrap();
        assert!(!history.take_back(fourth, &mut now));
        assert_eq!(ids(&now), [4, 5]);
        assert!(history.take_back(fifth, &mut now) && !history.take_back(fifth, &mut now));
        assert_eq!(history.names(), [Some("add 4".into()), None]);
        assert!(history.take_back(fourth, &mut now));
        assert!(now.takes.is_empty());
        for _ in 0..2 * MAX_UNDO {
            history.record("many", &now);
        }
        assert_eq!(history.done.len(), MAX_UNDO);
    }
}
