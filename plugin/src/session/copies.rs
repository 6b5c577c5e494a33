//! Copies of sounds where the user wants them, and library files that the user has found again. Both ask with the system's
//! dialogs, on threads of their own: a dialog waits for a person.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Weak, atomic::Ordering},
    thread,
    time::Instant,
};

use rfd::FileDialog;
use soundlocd_engine::{
    SAMPLE_RATE,
    clip::{
        Clip, MAX_RATE, MIN_RATE,
        wav::{Naming, encode, write_under_free_name},
    },
    service::keep_loaded,
};

use super::{
    Session, Shared,
    files::SHORTEST_DIALOG,
    library::{Original, export},
};
use crate::preferences;

impl Session {
    /// Asks where to, and writes a copy of a sound there as a WAV file, at the host's rate if the user prefers that.
    /// Never in place of another file.
    pub fn save_as(&self, original: Original) {
        let name = match &original {
            Original::Entry(_, name) => name.clone(),
            Original::Take(take) => match take.file.get() {
                Some(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                None => preferences::current().naming().stem(&take.clip.provenance),
            },
        };
        let dialog = FileDialog::new().set_title("Save a copy").add_filter("WAV", &["wav"]);
        let dialog = dialog.set_file_name(format!("{name}.wav"));
        self.ask_with(move || dialog.save_file(), move |shared, path| shared.copy(original, &path));
    }

    /// Asks where the file of a sound of the library is now.
    pub fn find_entry_file(&self, id: i64) {
        let dialog = FileDialog::new().set_title("Find the sound's file").add_filter("WAV", &["wav"]);
        self.ask_with(
            move || dialog.pick_file(),
            move |shared, path| {
                if let Some(library) = shared.library() {
                    library.relocate(id, path);
                }
            },
        );
    }

    /// Opens a dialog and does something with its answer. One dialog at a time.
    fn ask_with(
        &self,
        dialog: impl FnOnce() -> Option<PathBuf> + Send + 'static,
        then: impl FnOnce(&Arc<Shared>, PathBuf) + Send + 'static,
    ) {
        if self.with(|model| std::mem::replace(&mut model.is_picking, true)) {
            return;
        }
        if let Err(error) = start(Arc::downgrade(&self.shared), dialog, then) {
            self.with(|model| model.is_picking = false);
            self.shared.tell(&format!("The file dialog could not be opened: {error}"), true);
        }
    }
}

fn start(
    shared: Weak<Shared>,
    dialog: impl FnOnce() -> Option<PathBuf> + Send + 'static,
    then: impl FnOnce(&Arc<Shared>, PathBuf) + Send + 'static,
) -> io::Result<()> {
    keep_loaded();
    let work = move || {
        let opened = Instant::now();
        // A panic inside is as good as no dialog.
        let path = catch_unwind(AssertUnwindSafe(dialog)).ok().flatten();
        let Some(shared) = shared.upgrade() else { return };
        shared.model.lock().is_picking = false;
        if let Some(path) = path {
            then(&shared, path);
        } else if opened.elapsed() < SHORTEST_DIALOG {
            let text = "The system offers no file dialog here. Use “Show in folder” or “Copy path” instead.";
            shared.tell(text, false);
        }
        shared.repaint.request();
    };
    thread::Builder::new().name("soundlocd dialog".to_owned()).spawn(work).map(drop)
}

impl Shared {
    /// Writes a copy to `path`, on a thread that may wait for a disk.
    pub(super) fn copy(self: &Arc<Self>, original: Original, path: &Path) {
        match original {
            Original::Take(take) => self.write(&take.clip, Vec::new(), path),
            Original::Entry(id, _) => {
                let Some(library) = self.library() else { return };
                let (shared, path) = (Arc::downgrade(self), path.to_owned());
                library.load(id, move |loaded| {
                    let Some(shared) = shared.upgrade() else { return };
                    match loaded {
                        Ok((entry, clip)) => shared.write(&clip, entry.tags, &path),
                        Err(reason) => shared.tell(&reason, true),
                    }
                });
            }
        }
    }

    fn write(&self, clip: &Clip, keywords: Vec<String>, path: &Path) {
        let folder = path.parent().unwrap_or(Path::new(""));
        let is_wav = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav"));
        let name = if is_wav { path.file_stem() } else { path.file_name() };
        let name = name.map_or_else(
            || Naming::Prompt.stem(&clip.provenance),
            |name| name.to_string_lossy().into_owned(),
        );
        let written = encode(clip, &export(clip, self.export_rate(), keywords))
            .and_then(|bytes| write_under_free_name(folder, &name, &bytes));
        match written {
            Ok(written) if written.file_stem().is_some_and(|stem| stem.to_string_lossy() != name) => {
                let text = format!(
                    "“{name}.wav” was there already and stays as it is: the copy is “{}”.",
                    written.file_name().unwrap_or_default().to_string_lossy()
                );
                self.tell(&text, false);
            }
            Ok(_) => {}
            Err(error) => self.tell(&error.to_string(), true),
        }
    }

    /// The rate of files that are written for other programs, in Hz.
    pub(super) fn export_rate(&self) -> u32 {
        let host = self.host_rate.load(Ordering::Relaxed);
        let is_usable = (MIN_RATE..=MAX_RATE).contains(&host);
        if preferences::current().host_rate && is_usable { host } else { SAMPLE_RATE }
    }
}
