//! The session's thread: passes requests to the engine and its answers to the model.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use soundlocd_engine::{
    pack::{Library, PackRef, library::user_folder},
    service::{Client, Event, JobId, Request},
};

use super::{Connect, Phase, Shared};
use crate::take::Take;

/// How long to wait for the engine before looking for commands again.
const PATIENCE: Duration = Duration::from_millis(15);

/// What the thread can be asked to do. It ends when the sender is dropped.
pub(super) enum Command {
    /// Make sounds with the model of a pack, instead of what is being made.
    Generate(Request, PackRef),
    /// Stop making sounds.
    Cancel,
    /// Compute a spectrogram.
    Illustrate(Arc<Take>),
    /// Look for model packs.
    ScanPacks,
    /// Show the user's folder for model packs.
    OpenPacksFolder,
}

/// Starts the thread.
///
/// # Errors
/// If the system refuses.
pub(super) fn start(shared: Arc<Shared>, connect: Connect) -> io::Result<(Sender<Command>, JoinHandle<()>)> {
    let (sender, commands) = crossbeam_channel::unbounded();
    let thread = thread::Builder::new().name("soundlocd session".to_owned()).spawn(move || {
        Worker {
            shared,
            commands,
            connect: Some(connect),
            client: None,
            current: None,
            pictures: VecDeque::new(),
        }
        .run();
    })?;
    Ok((sender, thread))
}

struct Worker {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    /// How to reach the engine, until the first request.
    connect: Option<Connect>,
    /// Dropping it cancels what is running.
    client: Option<Client>,
    /// The request that the window shows.
    current: Option<JobId>,
    /// Sounds whose spectrogram is wanted, when there is nothing else to do: a project brings many at once.
    pictures: VecDeque<Arc<Take>>,
}

impl Worker {
    fn run(mut self) {
        loop {
            // With nothing under way there is nothing to wait for but commands.
            let command = if self.current.is_some() || !self.pictures.is_empty() {
                match self.commands.try_recv() {
                    Ok(command) => Some(command),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => return,
                }
            } else {
                match self.commands.recv() {
                    Ok(command) => Some(command),
                    Err(_) => return,
                }
            };
            match command {
                Some(Command::Generate(request, pack)) => self.generate(request, pack),
                Some(Command::Cancel) => self.cancel(),
                Some(Command::Illustrate(take)) => self.pictures.push_back(take),
                Some(Command::ScanPacks) => self.scan_packs(),
                Some(Command::OpenPacksFolder) => self.open_packs_folder(),
                None => self.wait(),
            }
        }
    }

    /// Listens to the engine for a moment, and uses it to draw a spectrogram if one is wanted.
    fn wait(&mut self) {
        // What nobody else has any more belonged to a project that was closed.
        self.pictures.retain(|take| Arc::strong_count(take) > 1);
        let picture = self.pictures.pop_front();
        if let Some(take) = &picture {
            take.illustrate();
            self.shared.repaint.request();
        }
        let patience = if picture.is_some() { Duration::ZERO } else { PATIENCE };
        if self.current.is_some()
            && let Some(event) = self.client.as_ref().and_then(|client| client.recv_timeout(patience))
        {
            self.handle(event);
        }
    }

    fn generate(&mut self, request: Request, pack: PackRef) {
        // A project was opened: what was being made belongs to another one.
        self.cancel();
        if let Some(connect) = self.connect.take() {
            self.client = Some(connect());
        }
        let Some(client) = &self.client else { return };
        match client.submit_to(pack, request) {
            Ok(job) => self.current = Some(job),
            Err(error) => self.finish(Some(error.to_string())),
        }
    }

    fn cancel(&mut self) {
        if let (Some(client), Some(job)) = (&self.client, self.current) {
            client.cancel(job);
        }
    }

    fn scan_packs(&self) {
        let found = Arc::new(Library::scan());
        self.shared.model.lock().packs = Some(found);
        self.shared.repaint.request();
    }

    fn open_packs_folder(&self) {
        let Some(folder) = user_folder() else {
            return self.shared.tell("There is no home folder to keep models in.", true);
        };
        self.shared.open_folder(&folder);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Queued { job, ahead } => self.set_phase(job, Phase::Waiting { ahead }),
            Event::Loading { job } => self.set_phase(job, Phase::Loading),
            Event::Notice { job, message } if self.current == Some(job) => self.shared.tell(&message, false),
            Event::Progress { job, variation, step, steps, eta_seconds, preview } => {
                self.set_phase(job, Phase::Making { variation, step, steps, eta: eta_seconds });
                if self.current == Some(job)
                    && let Some(preview) = preview
                    && let Some(job) = &mut self.shared.model.lock().job
                {
                    job.preview = Some(preview);
                }
            }
            // Kept even if another request has taken over: what is finished is never lost.
            Event::Clip { job, clip, .. } => self.add(job, clip),
            Event::Finished { job } | Event::Cancelled { job } if self.current == Some(job) => {
                self.finish(None);
            }
            Event::Failed { job, message } if self.current == Some(job) => self.finish(Some(message)),
            Event::Skipped { job, message, .. } if self.current == Some(job) => {
                if let Some(job) = &mut self.shared.model.lock().job {
                    job.finished += 1;
                }
                self.shared.tell(&message, true);
            }
            // The end of a request that another one has replaced.
            _ => {}
        }
        self.shared.repaint.request();
    }

    fn set_phase(&self, job: JobId, phase: Phase) {
        if self.current == Some(job)
            && let Some(job) = &mut self.shared.model.lock().job
            && job.phase != Phase::Stopping
        {
            job.phase = phase;
        }
    }

    /// A sound is done: into the list, and under the keys if it is the first of its request.
    fn add(&mut self, job: JobId, clip: Arc<soundlocd_engine::clip::Clip>) {
        let take = Arc::new(Take::new(self.shared.next_take(), clip));
        let pad = if self.current == Some(job) {
            self.shared.model.lock().job.as_mut().and_then(|job| {
                job.finished += 1;
                (!std::mem::replace(&mut job.has_sound, true)).then_some(job.pad)
            })
        } else {
            None
        };
        self.shared.rearrange("new sound", |arrangement| {
            arrangement.add(&take);
            if let Some(pad) = pad {
                arrangement.place(pad, Some(Arc::clone(&take)));
            }
        });
        // Now rather than when the host saves or the window draws.
        let _ = take.encoded();
        take.illustrate();
        self.shared.keep(&take);
    }

    /// The request is over, with a message if it failed; the next one is begun.
    fn finish(&mut self, error: Option<String>) {
        self.current = None;
        let next = {
            let mut model = self.shared.model.lock();
            let next = model.queue.pop();
            model.job = next.as_ref().map(|next| next.job.clone().begun());
            next
        };
        match error {
            Some(message) => self.shared.tell(&message, true),
            None => self.shared.repaint.request(),
        }
        if let Some(next) = next {
            self.generate(next.request, next.pack);
        }
    }
}
