//! The library's thread, and what the window shows of it.
//!
//! One for each plugin instance, since a search must not wait for what another window does. It looks now and then whether
//! other programs have changed the library. The end of the window does not wait for it: what was
//! to be kept is still written, and the code it runs stays loaded.

use std::{io, path::PathBuf, sync::Arc, thread, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;
use soundlocd_engine::{
    clip::{
        Clip,
        wav::{Export, Naming},
    },
    service::keep_loaded,
};

use super::{Entry, Filter, Library, LibraryError, Page, Trashed};

/// How often to look for what other programs changed.
const WATCH: Duration = Duration::from_secs(2);
/// Said where there is no home folder.
const NO_FOLDER: &str = "There is no home folder to keep sounds in. Set SOUNDLOCD_LIBRARY to a folder.";

/// What the window wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// What was typed.
    pub query: String,
    /// What it is narrowed to.
    pub filter: Filter,
    /// Most entries wanted.
    pub limit: usize,
    /// The first of them, counted from 0.
    pub offset: usize,
}

/// What the window shows. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// The search that was answered last; while it differs from what was asked for, the answer is on its way.
    pub search: Search,
    /// Its answer; `None` before the first.
    pub page: Option<Arc<Page>>,
    /// All tags with how many sounds have them.
    pub tags: Arc<Vec<(String, usize)>>,
    /// Names and hashes of the models.
    pub packs: Arc<Vec<(String, String)>>,
    /// The last thing to say, and whether it went wrong.
    pub message: Option<(String, bool)>,
    /// The sound that was added last.
    pub added: Option<Entry>,
}

/// Takes what was loaded.
type Deliver<T> = Box<dyn FnOnce(Result<T, String>) + Send>;

enum Command {
    Search(Search),
    Add(Arc<Clip>, Naming, Export, Option<Deliver<Entry>>),
    Favourite(i64, bool),
    Tags(i64, Vec<String>),
    Rename(i64, String),
    Trash(i64),
    Forget(i64),
    Relocate(i64, PathBuf),
    Load(i64, Deliver<(Entry, Clip)>),
    Find(Arc<Clip>, Deliver<Option<Entry>>),
    Refresh,
}

/// The library on a thread of its own. Every call returns at once; results come into the [`Shelf`].
#[derive(Clone, Debug)]
pub struct LibraryWorker {
    commands: Sender<Command>,
    shelf: Arc<Mutex<Shelf>>,
}

impl LibraryWorker {
    /// Starts the thread on the library in `folder` (usually [`Library::default_folder`]), which is opened at the first
    /// command. `on_change` is called, on that thread, after each change of the shelf.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(folder: Option<PathBuf>, on_change: Arc<dyn Fn() + Send + Sync>) -> io::Result<Self> {
        keep_loaded();
        let (sender, commands) = crossbeam_channel::unbounded();
        let shelf = Arc::<Mutex<Shelf>>::default();
        let desk = Desk { folder, library: None, shelf: shelf.clone(), on_change, search: None, version: 0 };
        thread::Builder::new().name("soundlocd library".to_owned()).spawn(move || desk.run(&commands))?;
        Ok(Self { commands: sender, shelf })
    }

    /// What to show now.
    #[must_use]
    pub fn shelf(&self) -> Shelf {
        self.shelf.lock().clone()
    }

    /// The user has read the message.
    pub fn close_message(&self) {
        self.shelf.lock().message = None;
    }

    /// Looks for sounds. Of several searches that wait, only the last is done. It is repeated after every
    /// change.
    pub fn search(&self, search: Search) {
        self.send(Command::Search(search));
    }

    /// Keeps the clip; see [`Library::add`].
    pub fn add(&self, clip: Arc<Clip>, naming: Naming, export: Export) {
        self.send(Command::Add(clip, naming, export, None));
    }

    /// As [`Self::add`]; `deliver` is then called, on the library's thread, with the entry or a message for the user,
    /// which is not on the shelf too.
    pub fn add_then(
        &self,
        clip: Arc<Clip>,
        naming: Naming,
        export: Export,
        deliver: impl FnOnce(Result<Entry, String>) + Send + 'static,
    ) {
        self.send(Command::Add(clip, naming, export, Some(Box::new(deliver))));
    }

    /// See [`Library::set_favourite`].
    pub fn set_favourite(&self, id: i64, is_favourite: bool) {
        self.send(Command::Favourite(id, is_favourite));
    }

    /// See [`Library::set_tags`].
    pub fn set_tags(&self, id: i64, tags: Vec<String>) {
        self.send(Command::Tags(id, tags));
    }

    /// See [`Library::rename`].
    pub fn rename(&self, id: i64, name: String) {
        self.send(Command::Rename(id, name));
    }

    /// See [`Library::trash`].
    pub fn trash(&self, id: i64) {
        self.send(Command::Trash(id));
    }

    /// See [`Library::forget`].
    pub fn forget(&self, id: i64) {
        self.send(Command::Forget(id));
    }

    /// See [`Library::relocate`].
    pub fn relocate(&self, id: i64, path: PathBuf) {
        self.send(Command::Relocate(id, path));
    }

    /// Reads a sound; `deliver` is called, on the library's thread, with it or a message for the user.
    pub fn load(&self, id: i64, deliver: impl FnOnce(Result<(Entry, Clip), String>) + Send + 'static) {
        self.send(Command::Load(id, Box::new(deliver)));
    }

    /// Looks whether a sound is in the library: [`Library::find`]; `deliver` is called, on the library's thread, with
    /// the answer or a message for the user.
    pub fn find(
        &self,
        clip: Arc<Clip>,
        deliver: impl FnOnce(Result<Option<Entry>, String>) + Send + 'static,
    ) {
        self.send(Command::Find(clip, Box::new(deliver)));
    }

    /// See [`Library::refresh`].
    pub fn refresh(&self) {
        self.send(Command::Refresh);
    }

    fn send(&self, command: Command) {
        // The thread ends after the last sender only.
        let _ = self.commands.send(command);
    }
}

/// The thread's own.
struct Desk {
    folder: Option<PathBuf>,
    library: Option<Library>,
    shelf: Arc<Mutex<Shelf>>,
    on_change: Arc<dyn Fn() + Send + Sync>,
    /// What to look for again after changes.
    search: Option<Search>,
    /// The database's state when it was looked at last.
    version: i64,
}

impl Desk {
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            match commands.recv_timeout(WATCH) {
                Ok(first) => {
                    let batch: Vec<Command> = std::iter::once(first).chain(commands.try_iter()).collect();
                    self.work_off(batch);
                }
                Err(RecvTimeoutError::Timeout) => self.watch(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does the commands in order, and then the last search.
    fn work_off(&mut self, batch: Vec<Command>) {
        let mut is_stale = false;
        let mut last_search = None;
        for command in batch {
            match command {
                Command::Search(search) => last_search = Some(search),
                command => is_stale |= self.obey(command),
            }
        }
        if let Some(search) = last_search {
            // Tags and models change with the library, not with what is typed.
            is_stale |= self.search.is_none();
            self.search = Some(search);
            self.answer(is_stale);
        } else if is_stale {
            self.answer(true);
        } else {
            (self.on_change)();
        }
    }

    /// Does one command; whether the list may be another now.
    fn obey(&mut self, command: Command) -> bool {
        let done = match command {
            Command::Search(_) => return false,
            Command::Load(id, deliver) => {
                let load = |library: &mut Library| {
                    let entry = library.entry(id)?;
                    let clip = library.load(&entry)?;
                    Ok((entry, clip))
                };
                deliver(self.with(load));
                return false;
            }
            Command::Find(clip, deliver) => {
                deliver(self.with(|library| library.find(&clip)));
                return false;
            }
            Command::Add(clip, naming, export, deliver) => {
                let added = self.with(|library| library.add(&clip, &naming, &export));
                if let Ok(entry) = &added {
                    self.shelf.lock().added = Some(entry.clone());
                }
                match deliver {
                    Some(deliver) => {
                        deliver(added);
                        Ok(None)
                    }
                    None => added.map(|_| None),
                }
            }
            Command::Favourite(id, is_favourite) => {
                self.with(|library| library.set_favourite(id, is_favourite)).map(|_| None)
            }
            Command::Tags(id, tags) => self.with(|library| library.set_tags(id, &tags)).map(|_| None),
            Command::Rename(id, name) => self.with(|library| library.rename(id, &name)).map(|_| None),
            Command::Trash(id) => self.with(|library| library.trash(id)).map(|trashed| match trashed {
                Trashed::Folder(path) => Some(format!(
                    "This system has no rubbish bin: the sound was moved to \"{}\".",
                    path.display()
                )),
                Trashed::System | Trashed::Gone => None,
            }),
            Command::Forget(id) => self.with(|library| library.forget(id)).map(|()| None),
            Command::Relocate(id, path) => self.with(|library| library.relocate(id, &path)).map(|_| None),
            Command::Refresh => self.with(Library::refresh).map(|_| None),
        };
        match done {
            Ok(None) => {}
            Ok(Some(text)) => self.tell(text, false),
            Err(error) => self.tell(error, true),
        }
        true
    }

    /// Answers the search that was asked for last.
    fn answer(&mut self, with_choices: bool) {
        let Some(search) = self.search.clone() else {
            (self.on_change)();
            return;
        };
        let answer = self.with(|library| {
            let version = library.version()?;
            let page = library.search(&search.query, &search.filter, search.limit, search.offset)?;
            let choices = if with_choices { Some((library.tags()?, library.packs()?)) } else { None };
            Ok((version, page, choices))
        });
        match answer {
            Ok((version, page, choices)) => {
                self.version = version;
                let mut shelf = self.shelf.lock();
                shelf.search = search;
                shelf.page = Some(Arc::new(page));
                if let Some((tags, packs)) = choices {
                    (shelf.tags, shelf.packs) = (Arc::new(tags), Arc::new(packs));
                }
            }
            Err(error) => self.tell(error, true),
        }
        (self.on_change)();
    }

    /// Looks whether another program has changed the library.
    fn watch(&mut self) {
        let version = self.library.as_ref().and_then(|library| library.version().ok());
        if version.is_some_and(|version| version != self.version) && self.search.is_some() {
            self.answer(true);
        }
    }

    /// Does something with the library, which is opened if it is not.
    fn with<T>(&mut self, work: impl FnOnce(&mut Library) -> Result<T, LibraryError>) -> Result<T, String> {
        let library = match &mut self.library {
            Some(library) => library,
            closed => {
                let folder = self.folder.as_deref().ok_or_else(|| NO_FOLDER.to_owned())?;
                let library = Library::open(folder).map_err(|error| error.to_string())?;
                if let Some(notice) = library.notice() {
                    self.shelf.lock().message = Some((notice.to_owned(), true));
                }
                closed.insert(library)
            }
        };
        let done = work(library);
        if matches!(&done, Err(error) if error.is_damage()) {
            // The next command opens it again, and that repairs it.
            self.library = None;
        }
        done.map_err(|error| error.to_string())
    }

    fn tell(&self, text: String, is_error: bool) {
        self.shelf.lock().message = Some((text, is_error));
    }
}
