//! Whose turn it is. Plain data under the service's lock: no threads, no model.
//!
//! Clients take turns, one variation at a time: whoever asks for one sound while another's eight
//! are being made waits for one of them, not for all.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    event::{Event, JobId},
    inbox::Inbox,
    request::Request,
};
use crate::pack::PackRef;

/// Names a client within its service.
pub(super) type ClientId = u64;

/// A request on its way.
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) request: Request,
    /// Whose model is to serve it.
    pub(super) pack: PackRef,
    /// The variation to be made next, from 0.
    pub(super) variation: u32,
    /// Variations that became a clip.
    pub(super) clips: u32,
    /// Set to stop it while it is being served.
    pub(super) cancelled: Arc<AtomicBool>,
    /// The position last told to the client; `None` once it has had a turn.
    announced: Option<usize>,
}

impl Job {
    pub(super) fn new(id: JobId, request: Request, pack: PackRef) -> Self {
        let cancelled = Arc::new(AtomicBool::new(false));
        Self { id, request, pack, variation: 0, clips: 0, cancelled, announced: Some(usize::MAX) }
    }
}

/// A job taken out of the queue to be served, with whom to tell.
pub(super) struct Turn {
    pub(super) client: ClientId,
    pub(super) inbox: Arc<Inbox>,
    pub(super) job: Job,
}

struct Waiting {
    inbox: Arc<Inbox>,
    jobs: VecDeque<Job>,
}

struct Running {
    client: ClientId,
    job: JobId,
    cancelled: Arc<AtomicBool>,
}

/// All clients and their jobs.
#[derive(Default)]
pub(super) struct Queue {
    clients: BTreeMap<ClientId, Waiting>,
    /// Clients that have jobs waiting, in the order of their turns. The one being served is not
    /// among them.
    turns: VecDeque<ClientId>,
    running: Option<Running>,
    next_client: ClientId,
}

impl Queue {
    /// A new client with this inbox.
    pub(super) fn add_client(&mut self, inbox: Arc<Inbox>) -> ClientId {
        let id = self.next_client;
        self.next_client += 1;
        self.clients.insert(id, Waiting { inbox, jobs: VecDeque::new() });
        id
    }

    /// Removes a client and its jobs; what is running for it is told to stop.
    pub(super) fn remove_client(&mut self, id: ClientId) {
        self.clients.remove(&id);
        self.turns.retain(|&client| client != id);
        self.stop_running(|running| running.client == id);
        self.announce();
    }

    /// Adds a job behind the client's others.
    pub(super) fn push(&mut self, client: ClientId, job: Job) {
        let Some(waiting) = self.clients.get_mut(&client) else { return };
        waiting.jobs.push_back(job);
        let served = self.running.as_ref().is_some_and(|running| running.client == client);
        if !served && !self.turns.contains(&client) {
            self.turns.push_back(client);
        }
        self.announce();
    }

    /// Cancels one job of a client, or all (`None`). Waiting ones end at once, a running one
    /// when the generator looks next.
    pub(super) fn cancel(&mut self, client: ClientId, which: Option<JobId>) {
        let affected = |job: JobId| which.is_none_or(|which| which == job);
        if let Some(waiting) = self.clients.get_mut(&client) {
            waiting.jobs.retain(|job| {
                if affected(job.id) {
                    waiting.inbox.push(Event::Cancelled { job: job.id });
                }
                !affected(job.id)
            });
            if waiting.jobs.is_empty() {
                self.turns.retain(|&other| other != client);
            }
        }
        self.stop_running(|running| running.client == client && affected(running.job));
        self.announce();
    }

    /// Takes the job whose turn it is.
    pub(super) fn take(&mut self) -> Option<Turn> {
        while let Some(client) = self.turns.pop_front() {
            let Some(waiting) = self.clients.get_mut(&client) else { continue };
            let Some(mut job) = waiting.jobs.pop_front() else { continue };
            job.announced = None;
            self.running = Some(Running { client, job: job.id, cancelled: Arc::clone(&job.cancelled) });
            return Some(Turn { client, inbox: Arc::clone(&waiting.inbox), job });
        }
        None
    }

    /// Ends a turn. `job` is what is left to do of it; it comes first when its client's turn
    /// comes again.
    pub(super) fn give_back(&mut self, client: ClientId, job: Option<Job>) {
        self.running = None;
        if let Some(waiting) = self.clients.get_mut(&client) {
            if let Some(job) = job {
                if job.cancelled.load(Ordering::Relaxed) {
                    // Cancelled after the generator last looked.
                    waiting.inbox.push(Event::Cancelled { job: job.id });
                } else {
                    waiting.jobs.push_front(job);
                }
            }
            if !waiting.jobs.is_empty() && !self.turns.contains(&client) {
                self.turns.push_back(client);
            }
        }
        self.announce();
    }

    /// Ends every job with a failure, the running one too.
    pub(super) fn fail_all(&mut self, message: &str) {
        let failed = |job| Event::Failed { job, message: message.to_owned() };
        if let Some(running) = self.running.take()
            && let Some(waiting) = self.clients.get(&running.client)
        {
            waiting.inbox.push(failed(running.job));
        }
        for waiting in self.clients.values_mut() {
            for job in waiting.jobs.drain(..) {
                waiting.inbox.push(failed(job.id));
            }
        }
        self.turns.clear();
    }

    fn stop_running(&self, which: impl Fn(&Running) -> bool) {
        if let Some(running) = self.running.as_ref().filter(|running| which(running)) {
            running.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Tells every waiting job's client its position, where that has changed.
    fn announce(&mut self) {
        let running = self.running.as_ref().map(|running| running.client);
        let lengths: Vec<(ClientId, usize)> = self
            .clients
            .iter()
            .map(|(&id, waiting)| (id, waiting.jobs.len() + usize::from(running == Some(id))))
            .collect();
        for (&id, waiting) in &mut self.clients {
            let served = usize::from(running == Some(id));
            for (place, job) in waiting.jobs.iter_mut().enumerate() {
                // In turn, others get as many turns as this client needs to reach the job.
                let own = place + served;
                let others = lengths.iter().filter(|(other, _)| *other != id);
                let ahead = own + others.map(|&(_, jobs)| jobs.min(own + 1)).sum::<usize>();
                if job.announced.is_some_and(|announced| announced != ahead) {
                    job.announced = Some(ahead);
                    waiting.inbox.push(Event::Queued { job: job.id, ahead });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn job(variations: u32) -> Job {
        Job::new(JobId::next(), Request { variations, ..Request::new("rain", 0) }, PackRef::Embedded)
    }

    /// Serves all there is, one variation a turn, and lists the clients in order.
    fn serve(queue: &mut Queue) -> Vec<ClientId> {
        let mut served = Vec::new();
        while let Some(Turn { client, mut job, .. }) = queue.take() {
            served.push(client);
            job.variation += 1;
            let left = (job.variation < job.request.variations).then_some(job);
            queue.give_back(client, left);
        }
        served
    }

    #[test]
    fn clients_take_turns_by_variation() {
        let mut queue = Queue::default();
        let [a, b, c] = [(); 3].map(|()| queue.add_client(Arc::default()));
        queue.push(a, job(3));
        queue.push(a, job(1));
        queue.push(b, job(2));
        queue.push(c, job(1));
        assert_eq!(serve(&mut queue), [a, b, c, a, b, a, a]);
    }

    #[test]
    fn jobs_of_one_client_stay_in_order() {
        let mut queue = Queue::default();
        let client = queue.add_client(Arc::default());
        let jobs = [job(2), job(1)];
        let ids = [jobs[0].id, jobs[1].id];
        for job in jobs {
            queue.push(client, job);
        }
        let mut order = Vec::new();
        while let Some(Turn { mut job, .. }) = queue.take() {
            order.push(job.id);
            job.variation += 1;
            let left = (job.variation < job.request.variations).then_some(job);
            queue.give_back(client, left);
        }
        assert_eq!(order, [ids[0], ids[0], ids[1]]);
    }

    #[test]
    fn positions_count_the_turns_before() {
        let mut queue = Queue::default();
        let inboxes: [Arc<Inbox>; 2] = Default::default();
        let [a, b] = [0, 1].map(|i: usize| queue.add_client(Arc::clone(&inboxes[i])));
        let ahead = |inbox: &Inbox| match inbox.try_recv() {
            Some(Event::Queued { ahead, .. }) => Some(ahead),
            _ => None,
        };
        queue.push(a, job(1));
        assert_eq!(ahead(&inboxes[0]), Some(0));
        let turn = queue.take().unwrap();
        queue.push(a, job(1));
        queue.push(a, job(1));
        assert_eq!((ahead(&inboxes[0]), ahead(&inboxes[0])), (Some(1), Some(2)));
        // One of a's is running; the newcomer comes before a's second.
        queue.push(b, job(1));
        assert_eq!(ahead(&inboxes[1]), Some(1));
        assert_eq!((ahead(&inboxes[0]), ahead(&inboxes[0])), (Some(2), Some(3)));
        queue.give_back(turn.client, None);
        assert_eq!(queue.take().unwrap().client, b);
    }

    #[test]
    fn cancelling_ends_waiting_jobs_at_once_and_flags_the_running_one() {
        let mut queue = Queue::default();
        let inbox: Arc<Inbox> = Arc::default();
        let client = queue.add_client(Arc::clone(&inbox));
        queue.push(client, job(2));
        queue.push(client, job(1));
        let turn = queue.take().unwrap();
        queue.cancel(client, None);
        assert!(turn.job.cancelled.load(Ordering::Relaxed));
        let cancelled = || {
            std::iter::from_fn(|| inbox.try_recv()).filter(|e| matches!(e, Event::Cancelled { .. })).count()
        };
        assert_eq!(cancelled(), 1);
        // Given back with a variation left: it must not be served again.
        queue.give_back(client, Some(turn.job));
        assert_eq!(cancelled(), 1);
        assert!(queue.take().is_none());
    }

    #[test]
    fn a_client_that_leaves_takes_its_jobs_along() {
        let mut queue = Queue::default();
        let [a, b] = [(); 2].map(|()| queue.add_client(Arc::default()));
        queue.push(a, job(2));
        queue.push(a, job(1));
        queue.push(b, job(1));
        let turn = queue.take().unwrap();
        queue.remove_client(a);
        assert!(turn.job.cancelled.load(Ordering::Relaxed));
        queue.give_back(a, Some(turn.job));
        assert_eq!(serve(&mut queue), [b]);
    }

    #[test]
    fn failing_all_ends_every_job() {
        let mut queue = Queue::default();
        let inbox: Arc<Inbox> = Arc::default();
        let client = queue.add_client(Arc::clone(&inbox));
        for _ in 0..3 {
            queue.push(client, job(1));
        }
        let _running = queue.take().unwrap();
        queue.fail_all("gone");
        let failed =
            std::iter::from_fn(|| inbox.try_recv()).filter(|e| matches!(e, Event::Failed { .. })).count();
        assert_eq!(failed, 3);
        assert!(queue.take().is_none());
    }
}
