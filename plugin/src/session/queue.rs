//! Requests that wait for the one that is being worked on.

use std::collections::VecDeque;

use soundlocd_engine::{pack::PackRef, service::Request};

use super::{Job, Session, worker::Command};

/// Most requests that can wait.
pub const MAX_WAITING: usize = 16;

/// A request that has not been started.
#[derive(Debug)]
pub struct Waiting {
    /// Number within the instance.
    pub id: u64,
    /// What is asked for.
    pub request: Request,
    /// The model it is asked of.
    pub pack: PackRef,
    /// As the window will show it.
    pub job: Job,
}

/// Requests in the order in which they will be worked on.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    last: u64,
}

impl Queue {
    /// Adds a request at the end. Answers whether there was room.
    pub fn push(&mut self, request: Request, pack: PackRef, job: Job) -> bool {
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        self.last += 1;
        self.waiting.push_back(Waiting { id: self.last, request, pack, job });
        true
    }

    /// Takes the first one out.
    pub fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// Takes back the request of this number, if it has not been started.
    pub fn remove(&mut self, id: u64) {
        self.waiting.retain(|waiting| waiting.id != id);
    }

    /// Takes back all.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Numbers and prompts, for the window.
    #[must_use]
    pub fn listed(&self) -> Vec<(u64, String)> {
        self.waiting.iter().map(|waiting| (waiting.id, waiting.request.prompt.clone())).collect()
    }
}

impl Session {
    /// Takes back a request that has not been started.
    pub fn unqueue(&self, id: u64) {
        self.with(|model| model.queue.remove(id));
        self.shared.repaint.request();
    }

    /// Starts a request, or puts it behind those that wait.
    pub(super) fn enqueue(&self, request: Request, pack: PackRef) {
        let (first, is_full) = self.with(|model| {
            model.message = None;
            let name = model.project.pack.as_ref().map(|pack| pack.name.clone());
            let job = Job::new(&request, name, model.selected);
            if model.job.is_none() {
                model.job = Some(job);
                (Some((request, pack)), false)
            } else {
                (None, !model.queue.push(request, pack, job))
            }
        });
        if let Some((request, pack)) = first {
            self.send(Command::Generate(request, pack));
        }
        if is_full {
            let text = format!("{MAX_WAITING} sounds are waiting already: let some of them be made first.");
            self.shared.tell(&text, false);
        }
    }
}
