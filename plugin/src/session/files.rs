//! The session's thread for files: looks for adapters and reads them, all of each; reads sounds that are dropped; reads and
//! keeps preferences.
//!
//! Apart from the thread that talks to the engine, which must not wait for a slow disk. Nor does the end of the
//! session wait: the thread is left to itself then, and the code it runs stays loaded.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use soundlocd_engine::{
    lora::library::{Listed, user_folder},
    service::keep_loaded,
};

use super::{Shared, import::import};
use crate::{
    adapters::{Found, picked},
    preferences::{self, Preferences},
};

/// Most files taken from one drop or one dialog.
const MAX_PICKED: usize = 32;
/// Nobody can cancel a dialog in a shorter time: there was none.
pub(super) const SHORTEST_DIALOG: Duration = Duration::from_millis(300);

/// What the thread can be asked to do. It ends when all senders are dropped.
pub(super) enum Command {
    /// Look for adapters.
    Scan,
    /// Read these and switch them on.
    Add(Vec<PathBuf>),
    /// Take files that were dropped on the window, the first sound on this pad: see [`Session::take_files`].
    ///
    /// [`Session::take_files`]: super::Session::take_files
    Import {
        /// The files.
        paths: Vec<PathBuf>,
        /// The pad; `None` for the selected one.
        pad: Option<usize>,
    },
    /// Show the user's folder for adapters.
    OpenFolder,
    /// Look for, read or write presets.
    Presets(Box<dyn FnOnce(&Shared) + Send>),
    /// Show where a file is.
    ShowInFolder(PathBuf),
    /// Read the user's preferences.
    LoadPreferences,
    /// Keep a change of the user's preferences.
    SavePreferences(Box<dyn FnOnce(&mut Preferences) + Send>),
}

/// Starts the thread.
///
/// # Errors
/// If the system refuses.
pub(super) fn start(shared: Weak<Shared>) -> io::Result<Sender<Command>> {
    keep_loaded();
    let (sender, commands) = crossbeam_channel::unbounded();
    thread::Builder::new().name("soundlocd files".to_owned()).spawn(move || run(&shared, &commands))?;
    Ok(sender)
}

fn run(shared: &Weak<Shared>, commands: &Receiver<Command>) {
    while let Ok(first) = commands.recv() {
        let batch: Vec<Command> = std::iter::once(first).chain(commands.try_iter()).collect();
        // However often it was asked for.
        if batch.iter().any(|command| matches!(command, Command::Scan)) {
            scan(shared);
        }
        for command in batch {
            match command {
                Command::Scan => {}
                Command::Add(paths) => add(shared, &paths),
                Command::Import { paths, pad } => import(shared, paths, pad),
                Command::OpenFolder => open_folder(shared),
                Command::Presets(work) => {
                    if let Some(shared) = shared.upgrade() {
                        work(&shared);
                    }
                }
                Command::ShowInFolder(path) => show_in_folder(shared, &path),
                Command::LoadPreferences => {
                    preferences::load();
                    if let Some(shared) = shared.upgrade() {
                        shared.repaint.request();
                    }
                }
                Command::SavePreferences(change) => {
                    if let Err(error) = preferences::save(change)
                        && let Some(shared) = shared.upgrade()
                    {
                        shared.tell(
                            &format!("Your settings could not be kept for the next time: {error}."),
                            true,
                        );
                    }
                }
            }
        }
    }
}

/// Lets the user pick files, on a thread of its own: the dialog waits for a person.
///
/// # Errors
/// If the system gives no thread.
pub(super) fn pick(shared: Weak<Shared>, files: Sender<Command>) -> io::Result<()> {
    keep_loaded();
    let work = move || {
        let dialog =
            rfd::FileDialog::new().set_title("Add adapters").add_filter("Adapters", &["safetensors"]);
        let dialog = match user_folder().filter(|folder| folder.is_dir()) {
            Some(folder) => dialog.set_directory(folder),
            None => dialog,
        };
        let opened = Instant::now();
        // A panic inside is as good as no dialog.
        let paths = catch_unwind(AssertUnwindSafe(|| dialog.pick_files())).ok().flatten().unwrap_or_default();
        let Some(shared) = shared.upgrade() else { return };
        shared.model.lock().is_picking = false;
        if !paths.is_empty() {
            let _ = files.send(Command::Add(paths));
        } else if opened.elapsed() < SHORTEST_DIALOG {
            let text = "The system offers no file dialog here. Drop adapter files on this window, or put them into \
                        the adapters folder and press Rescan.";
            shared.tell(text, false);
        }
        shared.repaint.request();
    };
    thread::Builder::new().name("soundlocd dialog".to_owned()).spawn(work).map(drop)
}

fn scan(shared: &Weak<Shared>) {
    let Some(chosen) = shared.upgrade().map(|shared| shared.model.lock().project.adapters.clone()) else {
        return;
    };
    let found = Arc::new(Found::look(&chosen));
    if let Some(shared) = shared.upgrade() {
        shared.model.lock().adapters = Some(found);
        shared.repaint.request();
    }
}

pub(super) fn add(shared: &Weak<Shared>, paths: &[PathBuf]) {
    // Else what was not looked for would seem to be missing.
    if shared.upgrade().is_some_and(|shared| shared.model.lock().adapters.is_none()) {
        scan(shared);
    }
    for path in paths.iter().take(MAX_PICKED) {
        let listed = picked(path).map(|path| Listed::read(&path));
        let Some(shared) = shared.upgrade() else { return };
        match listed {
            Ok(listed) => shared.add_adapter(listed),
            Err(reason) => shared.tell(&reason, true),
        }
    }
}

fn open_folder(shared: &Weak<Shared>) {
    let Some(shared) = shared.upgrade() else { return };
    match user_folder() {
        Some(folder) => shared.open_folder(&folder),
        None => shared.tell("There is no home folder to keep adapters in.", true),
    }
}

fn show_in_folder(shared: &Weak<Shared>, path: &Path) {
    let Some(shared) = shared.upgrade() else { return };
    match path.parent() {
        Some(folder) if path.is_file() => shared.open_folder(folder),
        _ => shared.tell(&format!("“{}” is not there any more.", path.display()), true),
    }
}
