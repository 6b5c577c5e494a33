//! The wish that the window be drawn again.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set from any thread, the audio thread included; acted on by the window, if it is open.
#[derive(Debug, Default)]
pub struct Repaint {
    wanted: AtomicBool,
}

impl Repaint {
    /// Asks for a new frame.
    pub fn request(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Whether one has been asked for since the last call.
    pub fn take(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }
}
