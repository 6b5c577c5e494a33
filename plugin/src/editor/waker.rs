//! Draws the window again when a [`Repaint`](crate::repaint::Repaint) is wanted.
//!
//! The framework's own notifier is not used: it asks for a frame the moment the window exists,
//! and on X11 a frame asked for before the window is mapped is never answered, which leaves the
//! window black for good. The thread here starts with the first frame and ends with the window.
//!
//! On X11 the windowing library also drops a request now and then (when the display's frame counter
//! steps back, as it may when the window moves to another screen). egui asks only once for a frame and then
//! waits, so one dropped request would freeze the window until the pointer moves. The thread therefore asks the
//! window itself again for a frame that is overdue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nice_plug_egui::baseview::WindowWaker;
use parking_lot::Mutex;

use crate::session::Session;

/// How often to look: once a frame.
const INTERVAL: Duration = Duration::from_millis(15);
/// A frame that egui wants and does not get for this long was lost, or the machine is slow: then asking
/// again costs nothing.
const OVERDUE: Duration = Duration::from_millis(60);

/// The thread of one editor, while its window is open.
#[derive(Default)]
pub struct Waker {
    is_open: AtomicBool,
    frames: Arc<AtomicU64>,
    thread: Mutex<Option<Running>>,
}

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Waker {
    /// The window is being opened.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// A frame is being drawn: starts the thread, if there is none. `window` wakes the window.
    pub fn frame(&self, context: &egui::Context, session: &Session, window: impl FnOnce() -> WindowWaker) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        let mut running = self.thread.lock();
        if running.is_some() || !self.is_open.load(Ordering::Relaxed) {
            return;
        }
        let (context, shared) = (context.clone(), Arc::clone(session.shared()));
        let (window, frames) = (window(), Arc::clone(&self.frames));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            let mut overdue = Overdue::new(frames.load(Ordering::Relaxed), Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                if shared.repaint.take() {
                    context.request_repaint();
                }
                let wanted = context.has_requested_repaint();
                if overdue.look(wanted, frames.load(Ordering::Relaxed), Instant::now()) {
                    window.request_redraw();
                }
                thread::sleep(INTERVAL);
            }
        };
        // Without the thread the window still draws when the pointer moves.
        if let Ok(thread) = thread::Builder::new().name("soundlocd window".to_owned()).spawn(work) {
            *running = Some(Running { stop, thread });
        }
    }

    /// The window is being closed: the thread and its hold on the window's context are gone when
    /// this returns.
    pub fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        if let Some(Running { stop, thread }) = self.thread.lock().take() {
            stop.store(true, Ordering::Relaxed);
            let _ = thread.join();
        }
    }
}

/// Notices that a wanted frame does not come.
struct Overdue {
    frames: u64,
    since: Instant,
}

impl Overdue {
    fn new(frames: u64, now: Instant) -> Self {
        Self { frames, since: now }
    }

    /// Whether to ask again: a frame is `wanted`, and none was drawn for [`OVERDUE`].
    fn look(&mut self, wanted: bool, frames: u64, now: Instant) -> bool {
        if !wanted || frames != self.frames {
            *self = Self { frames, since: now };
            return false;
        }
        let is_overdue = now.duration_since(self.since) >= OVERDUE;
        if is_overdue {
            self.since = now;
        }
        is_overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wanted_frame_that_does_not_come_is_asked_for_again() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut overdue = Overdue::new(0, start);
        assert!(!overdue.look(false, 0, at(500)), "nobody wanted one");
        assert!(!overdue.look(true, 0, at(520)));
        assert!(!overdue.look(true, 0, at(550)), "too early");
        assert!(overdue.look(true, 0, at(580)));
        assert!(!overdue.look(true, 0, at(600)), "just asked");
        assert!(overdue.look(true, 0, at(640)), "and again, if that was lost too");
        assert!(!overdue.look(true, 1, at(720)), "it came");
        assert!(!overdue.look(true, 1, at(740)));
    }
}
