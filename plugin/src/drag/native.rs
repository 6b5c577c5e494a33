//! Windows and macOS: the crate `drag`. Not run by us.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Mutex,
};

use raw_window_handle::{HandleError, HasWindowHandle, RawWindowHandle, WindowHandle};

use super::{DragError, Outcome, check};

/// The picture beside the pointer: a transparent pixel, since the system shows what is dragged itself.
#[rustfmt::skip]
const PICTURE: &[u8] = &[
    0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0x00, 0x00, 0x00, 0x0D, 0x49, 0x48, 0x44, 0x52,
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x06, 0x00, 0x00, 0x00, 0x1F, 0x15, 0xC4,
    0x89, 0x00, 0x00, 0x00, 0x0B, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9C, 0x63, 0x60, 0x00, 0x02, 0x00,
    0x00, 0x05, 0x00, 0x01, 0x7A, 0x5E, 0xAB, 0x3F, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4E, 0x44,
    0xAE, 0x42, 0x60, 0x82,
];

/// A window that is open while the drag lasts: it is the one that the mouse button went down in.
struct Source(RawWindowHandle);

impl HasWindowHandle for Source {
    #[allow(unsafe_code)]
    fn window_handle(&self) -> Result<WindowHandle<'_>, HandleError> {
        // SAFETY: `start` is called from that window's own event handler, so that it exists; a drag ends before it can be
        // destroyed on that thread.
        Ok(unsafe { WindowHandle::borrow_raw(self.0) })
    }
}

/// See [`super::start`].
pub(super) fn start(
    paths: Vec<PathBuf>,
    window: Option<RawWindowHandle>,
    on_done: impl FnOnce(Result<Outcome, DragError>) + Send + 'static,
) -> Result<(), DragError> {
    check(&paths)?;
    let source = Source(window.ok_or(DragError::Unsupported)?);
    // It is called once, through a type that could be called often.
    let on_done = Mutex::new(Some(on_done));
    let callback = move |result, _| {
        let on_done = on_done.lock().ok().and_then(|mut on_done| on_done.take());
        if let Some(on_done) = on_done {
            on_done(Ok(match result {
                drag::DragResult::Dropped => Outcome::Dropped,
                drag::DragResult::Cancel => Outcome::Cancelled,
            }));
        }
    };
    let item = drag::DragItem::Files(paths);
    let picture = drag::Image::Raw(PICTURE.to_vec());
    // The crate panics where the system refuses.
    let work = || drag::start_drag(&source, item, picture, callback, drag::Options::default());
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(DragError::System { reason: error.to_string() }),
        Err(_) => Err(DragError::System { reason: "it failed without a reason".to_owned() }),
    }
}
