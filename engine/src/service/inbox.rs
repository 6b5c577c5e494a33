//! The events that wait for one client, bounded however long it does not look.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::event::Event;

/// Most requests of one client that are waiting, being served, or served with their last event
/// not yet received. Bounds the inbox: each has few events, for progress replaces progress.
pub(super) const MAX_OPEN_JOBS: usize = 16;

/// A queue of events from the engine's thread to a client.
///
/// A plain channel would grow for as long as an editor is closed; this one replaces news that
/// has become old.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    open_jobs: usize,
    closed: bool,
}

impl Inbox {
    /// Counts a new request in; `false` if there are [`MAX_OPEN_JOBS`] already.
    pub(super) fn open_job(&self) -> bool {
        let mut state = self.state.lock();
        let free = state.open_jobs < MAX_OPEN_JOBS;
        state.open_jobs += usize::from(free);
        free
    }

    /// Counts a request out again that never got into the queue.
    pub(super) fn forget_job(&self) {
        let mut state = self.state.lock();
        state.open_jobs = state.open_jobs.saturating_sub(1);
    }

    /// Adds an event, in place of one that it makes obsolete.
    pub(super) fn push(&self, event: Event) {
        let mut state = self.state.lock();
        if !state.closed {
            state.push(event);
            self.arrived.notify_one();
        }
    }

    /// The oldest event, if there is one.
    pub(super) fn try_recv(&self) -> Option<Event> {
        self.state.lock().pop()
    }

    /// The oldest event, waiting up to `timeout` for one.
    pub(super) fn recv_timeout(&self, timeout: Duration) -> Option<Event> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state.lock();
        loop {
            if let Some(event) = state.pop() {
                return Some(event);
            }
            match deadline {
                Some(deadline) => {
                    if self.arrived.wait_until(&mut state, deadline).timed_out() {
                        return state.pop();
                    }
                }
                // A timeout beyond the clock's range is for ever.
                None => self.arrived.wait(&mut state),
            }
        }
    }

    /// Drops all events, now and from now on.
    pub(super) fn close(&self) {
        let events = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.events)
        };
        // Clips are freed outside of the lock.
        drop(events);
    }
}

impl State {
    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if event.is_final() {
            self.open_jobs = self.open_jobs.saturating_sub(1);
        }
        Some(event)
    }

    fn push(&mut self, mut event: Event) {
        let obsolete = match &mut event {
            Event::Progress { job, preview, .. } => {
                let job = *job;
                // Only at the end of the queue: the order of clips and progress tells which
                // variation is being made.
                match self.events.back_mut() {
                    Some(Event::Progress { job: old_job, preview: old, .. }) if *old_job == job => {
                        // Not every step has a picture; the last one is still worth showing.
                        if preview.is_none() {
                            *preview = old.take();
                        }
                        Some(self.events.len() - 1)
                    }
                    _ => None,
                }
            }
            Event::Queued { job, .. } => {
                let job = *job;
                self.events.iter().position(|old| matches!(old, Event::Queued { job: j, .. } if *j == job))
            }
            _ => None,
        };
        match obsolete.and_then(|at| self.events.get_mut(at)) {
            Some(old) => *old = event,
            None => self.events.push_back(event),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::Arc;

    use super::*;
    use crate::service::{event::JobId, generator::Preview};

    fn progress(job: JobId, step: u32, preview: Option<Arc<Preview>>) -> Event {
        Event::Progress { job, variation: 0, step, steps: 16, eta_seconds: None, preview }
    }

    #[test]
    fn unread_progress_is_replaced_and_its_picture_kept() {
        let inbox = Inbox::default();
        let job = JobId::next();
        let picture = Arc::new(Preview::default());
        inbox.push(Event::Loading { job });
        for step in 0..10_000 {
            inbox.push(progress(job, step, (step == 5).then(|| Arc::clone(&picture))));
        }
        assert!(matches!(inbox.try_recv(), Some(Event::Loading { .. })));
        let Some(Event::Progress { step: 9_999, preview: Some(_), .. }) = inbox.try_recv() else {
            panic!("not the last progress with the only picture");
        };
        assert!(inbox.try_recv().is_none());
    }

    #[test]
    fn positions_are_replaced_wherever_they_wait() {
        let inbox = Inbox::default();
        let (first, second) = (JobId::next(), JobId::next());
        for ahead in [3, 2, 1] {
            inbox.push(Event::Queued { job: first, ahead });
            inbox.push(Event::Queued { job: second, ahead: ahead + 1 });
        }
        assert!(matches!(inbox.try_recv(), Some(Event::Queued { job, ahead: 1 }) if job == first));
        assert!(matches!(inbox.try_recv(), Some(Event::Queued { job, ahead: 2 }) if job == second));
        assert!(inbox.try_recv().is_none());
    }

    #[test]
    fn a_job_is_open_until_its_last_event_is_received() {
        let inbox = Inbox::default();
        for _ in 0..MAX_OPEN_JOBS {
            assert!(inbox.open_job());
        }
        assert!(!inbox.open_job());
        inbox.push(Event::Finished { job: JobId::next() });
        assert!(!inbox.open_job());
        inbox.try_recv().unwrap();
        assert!(inbox.open_job());
    }

    #[test]
    fn a_closed_inbox_stays_empty() {
        let inbox = Inbox::default();
        inbox.push(Event::Loading { job: JobId::next() });
        inbox.close();
        inbox.push(Event::Loading { job: JobId::next() });
        assert!(inbox.try_recv().is_none());
    }
}
