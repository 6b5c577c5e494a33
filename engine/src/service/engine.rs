//! The engine's thread: takes turns from the queue and runs the generator.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    Loader,
    contain::contain,
    event::Event,
    generator::{GenerateError, PackInfo, Progress, Timings},
    host,
    inbox::Inbox,
    models::{Loaded, Models},
    queue::{ClientId, Job, Queue, Turn},
    request::RequestError,
};
use crate::{clip::Clip, service::event::JobId};

/// What clients hold of the engine. The last one to let go stops its thread, without waiting.
pub(super) struct Engine {
    shared: Arc<Shared>,
}

/// What clients and the engine's thread share.
struct Shared {
    state: Mutex<State>,
    /// Signalled when there is work or the end has come.
    changed: Condvar,
    /// Set once, to stop; looked at between steps without the lock.
    stopping: AtomicBool,
    /// Held by the engine's thread while it loads, by nobody else.
    loader: Mutex<Loader>,
    /// What the model is that was used last, while it is loaded.
    pack: Mutex<Option<PackInfo>>,
}

struct State {
    queue: Queue,
    /// Whether the engine's thread exists. It starts with the first request: scanning a plugin
    /// must cost nothing.
    running: bool,
}

impl Engine {
    pub(super) fn new(loader: Loader) -> Self {
        let shared = Shared {
            state: Mutex::new(State { queue: Queue::default(), running: false }),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            loader: Mutex::new(loader),
            pack: Mutex::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn add_client(&self, inbox: Arc<Inbox>) -> ClientId {
        self.shared.state.lock().queue.add_client(inbox)
    }

    pub(super) fn remove_client(&self, client: ClientId) {
        self.shared.state.lock().queue.remove_client(client);
    }

    pub(super) fn cancel(&self, client: ClientId, job: Option<JobId>) {
        self.shared.state.lock().queue.cancel(client, job);
    }

    pub(super) fn pack(&self) -> Option<PackInfo> {
        self.shared.pack.lock().clone()
    }

    pub(super) fn submit(&self, client: ClientId, job: Job) -> Result<(), RequestError> {
        let mut state = self.shared.state.lock();
        if !state.running {
            let shared = Arc::clone(&self.shared);
            thread::Builder::new()
                .name("soundlocd-engine".into())
                .spawn(move || run(&shared))
                .map_err(|_| RequestError::EngineStopped)?;
            state.running = true;
        }
        state.queue.push(client, job);
        self.shared.changed.notify_one();
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Under the lock, so that the thread is either before its look at the flag or waiting.
        let state = self.shared.state.lock();
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.changed.notify_one();
        drop(state);
    }
}

/// Ends every job with a message should the thread die of something that nobody foresaw; the
/// next request starts a new one.
struct DeathNotice<'a>(&'a Shared);

impl Drop for DeathNotice<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.running = false;
        state.queue.fail_all("The sound engine stopped unexpectedly. Try again.");
        *self.0.pack.lock() = None;
    }
}

/// The thread.
fn run(shared: &Shared) {
    let _notice = DeathNotice(shared);
    host::keep_loaded();
    host::disable_candle_pool();
    host::lower_thread_priority();
    let mut worker = Worker { shared, models: Models::default(), pool: host::low_priority_pool() };
    while let Some(Turn { client, inbox, job }) = next_turn(shared) {
        let left = worker.serve(&inbox, job);
        shared.state.lock().queue.give_back(client, left);
    }
    worker.models.clear();
}

/// Waits for a turn; `None` at the end.
fn next_turn(shared: &Shared) -> Option<Turn> {
    let mut state = shared.state.lock();
    loop {
        if shared.stopping.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(turn) = state.queue.take() {
            return Some(turn);
        }
        shared.changed.wait(&mut state);
    }
}

/// The loaded models and what surrounds calls of their generators.
struct Worker<'a> {
    shared: &'a Shared,
    models: Models,
    /// Where the models' parallel work runs; `None` if it could not be made, then rayon's own.
    pool: Option<rayon::ThreadPool>,
}

impl Worker<'_> {
    /// Makes one variation, tells the client, and returns the job if there are more to make.
    fn serve(&mut self, inbox: &Inbox, mut job: Job) -> Option<Job> {
        let id = job.id;
        let variation = job.variation;
        match self.make(inbox, &job) {
            Ok((clip, timings)) => {
                job.clips += 1;
                inbox.push(Event::Clip { job: id, variation, clip: Arc::new(clip), timings });
            }
            Err(Failure::Cancelled) => {
                inbox.push(Event::Cancelled { job: id });
                return None;
            }
            // One silent variation does not cost the others.
            Err(Failure::Unusable(message)) if job.request.variations > 1 => {
                inbox.push(Event::Skipped { job: id, variation, message });
            }
            Err(Failure::Unusable(message) | Failure::Broken(message)) => {
                inbox.push(Event::Failed { job: id, message });
                return None;
            }
        }
        job.variation += 1;
        if job.variation < job.request.variations {
            return Some(job);
        }
        inbox.push(if job.clips > 0 {
            Event::Finished { job: id }
        } else {
            let message = "None of the variations was usable. Try another seed or other words.".into();
            Event::Failed { job: id, message }
        });
        None
    }

    /// One variation from the generator of the job's pack.
    fn make(&mut self, inbox: &Inbox, job: &Job) -> Result<(Clip, Timings), Failure> {
        let shared = self.shared;
        let stop = || job.cancelled.load(Ordering::Relaxed) || shared.stopping.load(Ordering::Relaxed);
        if stop() {
            return Err(Failure::Cancelled);
        }
        let model = load(shared, &mut self.models, self.pool.as_ref(), inbox, job)?;
        if stop() {
            return Err(Failure::Cancelled);
        }
        let start = Instant::now();
        let mut clock = StepClock::new(start, model.tail);
        let generator = &mut model.generator;
        let mut on_progress = |progress: Progress| {
            if stop() {
                return ControlFlow::Break(());
            }
            let eta = clock.estimate(&progress, Instant::now());
            let Progress { step, steps, preview } = progress;
            let (job, variation) = (job.id, job.variation);
            let eta_seconds = eta.map(|eta| eta.as_secs_f32());
            inbox.push(Event::Progress { job, variation, step, steps, eta_seconds, preview });
            ControlFlow::Continue(())
        };
        let made = contain(self.pool.as_ref(), || {
            generator
                .generate(&job.request, job.variation, &mut on_progress)
                .map(|clip| (clip, generator.timings()))
        });
        match made {
            Ok(_) if stop() => Err(Failure::Cancelled),
            Ok(Ok((clip, timings))) => {
                model.tail = clock.tail(Instant::now());
                Ok((clip, Timings { total: start.elapsed(), ..timings }))
            }
            Ok(Err(GenerateError::Cancelled)) => Err(Failure::Cancelled),
            Ok(Err(GenerateError::Clip(error))) => Err(Failure::Unusable(error.to_string())),
            Ok(Err(GenerateError::Unusable(message))) => Err(Failure::Unusable(message)),
            Ok(Err(error)) => Err(Failure::Broken(error.to_string())),
            Err(panic) => {
                // What a panic left behind cannot be trusted: load anew next time.
                *shared.pack.lock() = None;
                self.models.unload(&job.pack);
                Err(Failure::Broken(format!("The sound engine failed ({panic}). Try again.")))
            }
        }
    }
}

/// The model of the job's pack, loaded now if it is not.
fn load<'a>(
    shared: &Shared,
    models: &'a mut Models,
    pool: Option<&rayon::ThreadPool>,
    inbox: &Inbox,
    job: &Job,
) -> Result<&'a mut Loaded, Failure> {
    if !models.has(&job.pack) {
        inbox.push(Event::Loading { job: job.id });
        *shared.pack.lock() = None;
        // Before loading: two large models need not fit into memory together.
        models.make_room(&job.pack);
        let mut loader = shared.loader.lock();
        // The loader itself may go to the pool's threads, the lock's guard may not.
        let loader = &mut *loader;
        let loaded = contain(pool, || {
            let generator = loader(&job.pack)?;
            let info = generator.describe();
            Ok::<_, super::LoadError>((generator, info))
        });
        match loaded {
            Ok(Ok((generator, info))) => {
                if let Some(message) = generator.notice() {
                    inbox.push(Event::Notice { job: job.id, message });
                }
                models.put(Loaded::new(job.pack.clone(), generator, info));
            }
            Ok(Err(error)) => return Err(Failure::Broken(format!("The model cannot be loaded: {error}"))),
            Err(panic) => return Err(Failure::Broken(format!("Loading the model failed ({panic})."))),
        }
    }
    let model = models.get(&job.pack).ok_or_else(|| Failure::Broken("The model is not loaded.".into()))?;
    *shared.pack.lock() = Some(model.info.clone());
    Ok(model)
}

/// Why a variation was not made.
enum Failure {
    Cancelled,
    /// This one sound is no good; the next may be.
    Unusable(String),
    /// There is no point in going on.
    Broken(String),
}

/// Estimates the time left from that of the steps so far.
struct StepClock {
    /// When counting began, and at which step: the first report, for what came before it (text,
    /// caches) is not a step.
    first: Option<(Instant, u32)>,
    last: Instant,
    tail: Duration,
}

impl StepClock {
    fn new(start: Instant, tail: Duration) -> Self {
        Self { first: None, last: start, tail }
    }

    fn estimate(&mut self, progress: &Progress, now: Instant) -> Option<Duration> {
        self.last = now;
        let (since, from) = *self.first.get_or_insert((now, progress.step));
        let done = progress.step.checked_sub(from).filter(|&done| done > 0)?;
        let left = progress.steps.saturating_sub(progress.step);
        Some(now.duration_since(since) / done * left + self.tail)
    }

    /// Time since the last report.
    fn tail(&self, now: Instant) -> Duration {
        now.duration_since(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_follow_the_steps_and_the_last_tail() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let report = |step| Progress { step, steps: 10, preview: None };
        let mut clock = StepClock::new(start, Duration::from_secs(5));
        // Two seconds of text encoding first, then a second a step.
        assert_eq!(clock.estimate(&report(0), at(2)), None);
        assert_eq!(clock.estimate(&report(1), at(3)), Some(Duration::from_secs(9 + 5)));
        assert_eq!(clock.estimate(&report(4), at(6)), Some(Duration::from_secs(6 + 5)));
        assert_eq!(clock.estimate(&report(10), at(12)), Some(Duration::from_secs(5)));
        assert_eq!(clock.tail(at(14)), Duration::from_secs(2));
    }
}
