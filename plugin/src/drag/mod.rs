//! Dragging files out of the window, into a DAW's track or a folder.
//!
//! On X11 this is a drag source of its own ([XDND](https://www.freedesktop.org/wiki/Specifications/XDND/) version 5), since the
//! window library has none. It runs on a thread with a connection of its own and leaves the pointer to the window where the
//! button went down. Wayland is reached through XWayland only. On Windows and macOS the crate `drag` does
//! the same with the system's own means; **that has not been run by us.**

mod error;
#[cfg(any(windows, target_os = "macos"))]
mod native;
mod uri;
#[cfg(all(unix, not(target_os = "macos")))]
mod x11;

use std::path::PathBuf;

use raw_window_handle::RawWindowHandle;

pub use error::DragError;
pub use uri::uri_list;

/// Most files of one drag.
pub const MAX_FILES: usize = 256;

/// How a drag ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Another program took the files.
    Dropped,
    /// The user pressed Escape, or the button was up before it began.
    Cancelled,
    /// The button was let go where nothing takes files, or what was there did not answer.
    Refused,
}

/// [`DragError::NoFile`] for a path that is not whole or where no file is.
fn check(paths: &[PathBuf]) -> Result<(), DragError> {
    match paths.iter().find(|path| !path.is_absolute() || !path.is_file()) {
        Some(path) => Err(DragError::NoFile { path: path.clone() }),
        None => Ok(()),
    }
}

/// Drags the files at `paths` (whole paths) from where the pointer is, until the mouse button is let go; call it while the first
/// button is down. `window` is the plugin's own: it gets no drop (X11), and the drag starts from it (Windows, macOS: must be
/// given there, and this must be the window's thread).
///
/// On X11 this returns at once, and `on_done` is called on the drag's thread. On Windows it returns when
/// the drag is over.
///
/// # Errors
/// [`DragError`] where no drag can begin; `on_done` is not called then. It gets one where the drag
/// breaks off.
pub fn start(
    paths: Vec<PathBuf>,
    window: Option<RawWindowHandle>,
    on_done: impl FnOnce(Result<Outcome, DragError>) + Send + 'static,
) -> Result<(), DragError> {
    if paths.is_empty() || paths.len() > MAX_FILES {
        return Err(DragError::Count { found: paths.len() });
    }
    // Whether the files are there is looked at by the drag: a disk may take its time.
    #[cfg(all(unix, not(target_os = "macos")))]
    return x11::start(paths, window, on_done);
    #[cfg(any(windows, target_os = "macos"))]
    return native::start(paths, window, on_done);
    #[allow(unreachable_code, reason = "reached on other systems")]
    {
        let _ = (window, on_done);
        Err(DragError::Unsupported)
    }
}
