//! Draws the window again when a [`Repaint`](crate::repaint::Repaint) is wanted.
//!
//! The framework's own notifier is not used: it asks for a frame the moment the window exists,
//! and on X11 a frame asked for before the window is mapped is never answered, which leaves the
//! window black for good. The thread here starts with the first frame and ends with the window.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;

use crate::session::Session;

/// How often to look: once a frame.
const INTERVAL: Duration = Duration::from_millis(15);

/// The thread of one editor, while its window is open.
#[derive(Default)]
pub struct Waker {
    is_open: AtomicBool,
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

    /// A frame is being drawn: starts the thread, if there is none.
    pub fn frame(&self, context: &egui::Context, session: &Session) {
        let mut running = self.thread.lock();
        if running.is_some() || !self.is_open.load(Ordering::Relaxed) {
            return;
        }
        let (context, shared) = (context.clone(), Arc::clone(session.shared()));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                if shared.repaint.take() {
                    context.request_repaint();
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
