//! The side of the plugin that is not in real time: what the window shows, what a project keeps,
//! and the way to the engine.
//!
//! One [`Session`] per plugin instance, shared by the audio plugin, the window and the project
//! fields. Its own thread (started at the first request) talks to the engine, so
//! that sounds arrive and can be played and saved with the window closed. Nothing here runs on
//! the audio thread but [`Handover::take`], [`Playheads::publish`] and the audition queue.

mod adapters;
pub mod arrangement;
mod copies;
mod edits;
pub mod export;
mod files;
pub mod import;
mod job;
pub mod kit;
mod library;
mod pads;
mod presets;
mod project;
pub mod queue;
mod worker;

use std::{
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use crossbeam_channel::Sender;
use crossbeam_queue::ArrayQueue;
use parking_lot::Mutex;
use serde_json::Value;
use soundlocd_engine::{
    pack::Library,
    service::{AdapterRef, Client, Edit, Request, Settings, keep_loaded},
};

pub use arrangement::Arrangement;
use arrangement::History;
pub use edits::Change;
pub use job::{Job, Phase};
pub use library::Original;
pub use presets::Presets;

use crate::{
    adapters::{Found, Refusal, notice, references},
    library::{Entry, Shelf},
    packs::{self, ChosenPack, Standing},
    preferences::{self, Preferences},
    repaint::Repaint,
    sampler::{Handover, Playheads},
    state::Project,
    take::Take,
};
use queue::Queue;
use worker::Command;

/// Keys pressed in the window that can wait for the audio thread.
const MAX_AUDITIONS: usize = 64;

/// Makes the connection to the engine, at the first request.
pub type Connect = Box<dyn FnOnce() -> Client + Send>;

/// Something played in the window, on its way to the audio thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Audition {
    /// A key goes down, with a velocity in 0..=1.
    Press(u8, f32),
    /// A key goes up.
    Release(u8),
    /// A pad (from 0) sounds at its root key, with a velocity in 0..=1.
    PressPad(u8, f32),
    /// A pad is let go.
    ReleasePad(u8),
}

/// Something to tell the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// In a musician's words: what happened and what to do.
    pub text: String,
    /// Whether something failed.
    pub is_error: bool,
}

/// What the window shows and the project keeps.
#[derive(Debug, Default)]
pub struct Model {
    /// The text part of the project.
    pub project: Project,
    /// The finished sounds and the pads.
    pub arrangement: Arrangement,
    /// The pad that the window shows and that new sounds go to.
    pub selected: usize,
    /// Changes of the arrangement that can be undone.
    history: History,
    /// The request that is being worked on.
    pub job: Option<Job>,
    /// The requests that wait for it.
    pub queue: Queue,
    /// Presets, as far as the window knows of them.
    pub presets: Presets,
    /// The last thing that went wrong or is worth saying.
    pub message: Option<Message>,
    /// The model packs on this computer, once somebody has looked.
    pub packs: Option<Arc<Library>>,
    /// The adapters on this computer, once somebody has looked.
    pub adapters: Option<Arc<Found>>,
    /// Whether the dialog for files is open.
    pub is_picking: bool,
    /// Whether an adapter was added that the window has not shown yet.
    pub was_added: bool,
    /// Whether the user has read that the project's model or adapters are not there.
    pub notice_closed: bool,
    /// The take that was last looked for in the library, and its entry if it is there.
    pub looked_up: Option<(u64, Option<Entry>)>,
    /// Sounds in the project that could not be read: written back as they were.
    unread: Vec<Value>,
}

impl Model {
    /// The sound of the selected pad.
    #[must_use]
    pub fn playing(&self) -> Option<&Arc<Take>> {
        self.arrangement.pads.get(self.selected).and_then(Option::as_ref)
    }

    /// How it stands with the project's model.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(self.project.pack.as_ref(), self.packs.as_deref())
    }

    /// What the next request says of adapters.
    fn adapter_references(&self) -> Result<Vec<AdapterRef>, Refusal> {
        let base = packs::base(self.project.pack.as_ref(), self.packs.as_deref());
        references(&self.project.adapters, self.adapters.as_deref(), base)
    }

    /// What of the project is not on this computer, in words.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        match self.standing() {
            Standing::Unavailable(reason) => Some(reason),
            _ => notice(&self.project.adapters, self.adapters.as_deref()),
        }
    }
}

/// A copy of what the window shows, for drawing without holding the lock.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// See [`Model::project`].
    pub project: Project,
    /// See [`Model::arrangement`].
    pub arrangement: Arrangement,
    /// See [`Model::selected`].
    pub selected: usize,
    /// See [`Model::playing`].
    pub playing: Option<Arc<Take>>,
    /// What undo and redo would do.
    pub history: [Option<String>; 2],
    /// See [`Model::job`].
    pub job: Option<Job>,
    /// Number and prompt of each request that waits.
    pub queue: Vec<(u64, String)>,
    /// See [`Model::message`].
    pub message: Option<Message>,
    /// See [`Model::packs`].
    pub packs: Option<Arc<Library>>,
    /// See [`Model::standing`].
    pub standing: Standing,
    /// See [`Model::adapters`].
    pub adapters: Option<Arc<Found>>,
    /// See [`Model::is_picking`].
    pub is_picking: bool,
    /// See [`Model::notice`]; `None` once the user has read it.
    pub notice: Option<String>,
    /// See [`Model::looked_up`].
    pub looked_up: Option<(u64, Option<Entry>)>,
    /// What the library has to show, once it has been opened.
    pub shelf: Option<Shelf>,
}

/// What the session's thread and its owner share.
pub struct Shared {
    /// Locked for moments only; never by the audio thread.
    model: Mutex<Model>,
    /// Clips on their way to the audio thread.
    pub handover: Handover,
    /// Where the voices are.
    pub playheads: Playheads,
    /// Keys from the window.
    pub auditions: ArrayQueue<Audition>,
    /// Asks the window, if there is one, to draw itself.
    pub repaint: Repaint,
    /// Sample rate of the host in Hz; 0 before it is known.
    host_rate: AtomicU32,
    /// Where finished sounds are kept.
    library: Mutex<library::Access>,
    /// The sound of the library that is pressed in the window.
    pressed: Mutex<Option<library::Pressed>>,
    /// Tells the host that there is something to save.
    on_change: Mutex<Option<Box<dyn Fn() + Send>>>,
    /// Number of the last take.
    last_take: AtomicU64,
}

/// See the [module](self).
pub struct Session {
    shared: Arc<Shared>,
    /// How to reach the engine, until the thread has been started.
    connect: Mutex<Option<Connect>>,
    worker: Mutex<Option<(Sender<Command>, JoinHandle<()>)>>,
    /// The way to the thread for files, once it has been started.
    files: Mutex<Option<Sender<files::Command>>>,
}

impl Session {
    /// An empty session. `connect` is called at the first request, on the session's own thread.
    #[must_use]
    pub fn new(connect: Connect) -> Self {
        let shared = Shared {
            model: Mutex::default(),
            handover: Handover::default(),
            playheads: Playheads::default(),
            auditions: ArrayQueue::new(MAX_AUDITIONS),
            repaint: Repaint::default(),
            host_rate: AtomicU32::new(0),
            library: Mutex::default(),
            pressed: Mutex::default(),
            on_change: Mutex::default(),
            last_take: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            connect: Mutex::new(Some(connect)),
            worker: Mutex::default(),
            files: Mutex::default(),
        }
    }

    /// What the audio thread and the window need besides the model.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Looks at or changes the model. `f` must be quick and not call back into the session.
    pub fn with<R>(&self, f: impl FnOnce(&mut Model) -> R) -> R {
        f(&mut self.shared.model.lock())
    }

    /// What the window shows now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let shelf = self.shared.shelf();
        self.with(|model| Snapshot {
            project: model.project.clone(),
            arrangement: model.arrangement.clone(),
            selected: model.selected,
            playing: model.playing().cloned(),
            history: model.history.names(),
            job: model.job.clone(),
            queue: model.queue.listed(),
            message: model.message.clone(),
            packs: model.packs.clone(),
            standing: model.standing(),
            adapters: model.adapters.clone(),
            is_picking: model.is_picking,
            notice: if model.notice_closed { None } else { model.notice() },
            looked_up: model.looked_up.clone(),
            shelf,
        })
    }

    /// Sets what is called when the project changed without a parameter having changed.
    pub fn set_on_change(&self, on_change: Box<dyn Fn() + Send>) {
        *self.shared.on_change.lock() = Some(on_change);
    }

    /// Starts making sounds of the current prompt with the project's model and adapters, with a new seed
    /// unless it is locked. While another request is worked on it waits for that.
    /// Without the model or one of the adapters that are switched on there is a message instead.
    pub fn generate(&self, settings: Settings, variations: u32) {
        self.ask(settings, variations, None, None);
    }

    /// [`Self::generate`], or an edit; of `prompt` instead of the project's, if there is one.
    fn ask(&self, settings: Settings, variations: u32, edit: Option<Edit>, prompt: Option<String>) {
        let model = match self.with(|model| model.standing()) {
            Standing::Ready(model) => model,
            Standing::Unknown => {
                let text = "Still looking for this project's model: try again in a moment.";
                return self.shared.tell(text, false);
            }
            Standing::Unavailable(reason) => return self.shared.tell(&reason, true),
        };
        let adapters = match self.with(|model| model.adapter_references()) {
            Ok(adapters) => adapters,
            Err(Refusal::Unknown) => {
                let text = "Still looking for this project's adapters: try again in a moment.";
                return self.shared.tell(text, false);
            }
            Err(Refusal::Unavailable(reason)) => {
                // It says what the notice says.
                self.with(|model| model.notice_closed = true);
                return self.shared.tell(&reason, true);
            }
        };
        let request = self.with(|model| {
            let project = &mut model.project;
            if !project.seed_locked {
                project.seed = random_seed();
            }
            Request {
                prompt: prompt.unwrap_or_else(|| project.prompt.clone()),
                negative_prompt: Some(project.negative_prompt.clone()).filter(|text| !text.is_empty()),
                settings,
                seed: project.seed,
                variations,
                adapters,
                edit,
            }
        });
        match request.validate() {
            Ok(request) => self.enqueue(request, model.reference),
            Err(error) => self.shared.tell(&error.to_string(), true),
        }
        self.shared.repaint.request();
    }

    /// Stops the running request, if there is one. Those that wait are then worked on.
    pub fn cancel(&self) {
        let running = self.with(|model| match &mut model.job {
            Some(job) => {
                job.phase = Phase::Stopping;
                true
            }
            None => false,
        });
        if running {
            self.send(Command::Cancel);
        }
    }

    /// Makes sounds with this model from now on; `None` for the default one.
    pub fn choose_pack(&self, pack: Option<ChosenPack>) {
        self.with(|model| {
            model.project.pack = pack;
            model.message = None;
            model.notice_closed = false;
        });
        self.shared.changed();
    }

    /// Looks for model packs, on the session's thread.
    pub fn scan_packs(&self) {
        self.send(Command::ScanPacks);
    }

    /// Shows the user's folder for model packs in the system's file manager, making it if need be.
    pub fn open_packs_folder(&self) {
        self.send(Command::OpenPacksFolder);
    }

    /// Reads the user's preferences, which hold from then on.
    pub fn load_preferences(&self) {
        self.send_to_files(files::Command::LoadPreferences);
    }

    /// Changes the user's preferences: at once here, and for good.
    pub fn prefer(&self, change: impl Fn(&mut Preferences) + Send + 'static) {
        preferences::change(&change);
        self.send_to_files(files::Command::SavePreferences(Box::new(change)));
        self.shared.repaint.request();
    }

    /// Hands a command to the session's thread, starting it if need be.
    fn send(&self, command: Command) {
        let mut worker = self.worker.lock();
        if worker.is_none()
            && let Some(connect) = self.connect.lock().take()
        {
            match worker::start(Arc::clone(&self.shared), connect) {
                Ok(started) => *worker = Some(started),
                Err(error) => {
                    self.with(|model| model.job = None);
                    self.shared.tell(&format!("The system gave no thread to work on: {error}"), true);
                }
            }
        }
        if let Some((commands, _)) = worker.as_ref() {
            // Fails only when the thread is gone, which it is only after `drop`.
            let _ = commands.send(command);
        }
    }

    /// The way to the thread for files, started if need be.
    fn files(&self) -> Option<Sender<files::Command>> {
        let mut sender = self.files.lock();
        if sender.is_none() {
            match files::start(Arc::downgrade(&self.shared)) {
                Ok(started) => *sender = Some(started),
                Err(error) => {
                    self.shared.tell(&format!("The system gave no thread to work on: {error}"), true);
                }
            }
        }
        sender.clone()
    }

    /// Hands a command to the thread for files.
    fn send_to_files(&self, command: files::Command) {
        if let Some(files) = self.files() {
            // Fails only if the thread died; then there is nothing to be done.
            let _ = files.send(command);
        }
    }
}

/// A seed that can be read out loud, from the system's randomness.
#[must_use]
pub fn random_seed() -> u64 {
    RandomState::new().hash_one(Instant::now()) % 1_000_000
}

impl Drop for Session {
    fn drop(&mut self) {
        // Hosts may unload the library next: the thread must be gone by then. It ends at once,
        // since it waits for the engine in short steps only.
        if let Some((commands, thread)) = self.worker.lock().take() {
            drop(commands);
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Shows a message.
    pub fn tell(&self, text: &str, is_error: bool) {
        self.model.lock().message = Some(Message { text: text.to_owned(), is_error });
        self.repaint.request();
    }

    /// Tells the host that there is something to save.
    fn changed(&self) {
        if let Some(on_change) = self.on_change.lock().as_ref() {
            on_change();
        }
        self.repaint.request();
    }

    /// Shows a folder of the user's in the system's file manager, making it if need be.
    fn open_folder(&self, folder: &Path) {
        // The file manager's launcher is waited for by a thread that may outlive this instance.
        keep_loaded();
        let opened = std::fs::create_dir_all(folder).and_then(|()| open::that_detached(folder));
        if let Err(error) = opened {
            self.tell(&format!("The folder {} could not be opened: {error}.", folder.display()), true);
        }
    }

    /// A number for a new take.
    pub(crate) fn next_take(&self) -> u64 {
        self.last_take.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
