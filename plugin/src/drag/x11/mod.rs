//! The drag source for X11.
//!
//! Version 5 of XDND: the pointer is followed by asking for it; the window under it hears `XdndEnter`, then one
//! `XdndPosition` at a time, which it answers with `XdndStatus`, and in the end `XdndLeave` or `XdndDrop`. It
//! fetches the files' addresses as the selection `XdndSelection`, and says `XdndFinished`.
//!
//! What other programs get wrong, and is put up with here: windows that never answer or are destroyed (there are
//! deadlines), `XdndFinished` that denies a drop although the data was fetched (Qt 5; that it was fetched is what counts),
//! and data fetched before the drop.

mod label;
mod offer;
mod target;

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use raw_window_handle::RawWindowHandle;
use soundlocd_engine::service::keep_loaded;
use x11rb::{
    CURRENT_TIME,
    connection::{Connection, RequestConnection as _},
    errors::{ConnectError, ConnectionError, ReplyError, ReplyOrIdError},
    protocol::{
        Event,
        xproto::{
            AtomEnum, ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, KeyButMask,
            PropMode, Window, WindowClass,
        },
    },
    rust_connection::RustConnection,
    wrapper::ConnectionExt as _,
};

use super::{DragError, Outcome, check, uri_list};
use label::Label;
use offer::Offer;
use target::{Finder, Target};

/// How often the pointer is looked at.
const TICK: Duration = Duration::from_millis(8);
/// How long a window under the pointer may take to answer before it is asked again, or given up when the
/// button is let go.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a program may take to fetch the files' addresses after the drop, and to say that it has finished after that.
const FETCH: Duration = Duration::from_secs(10);
/// The version of the protocol.
const VERSION: u32 = 5;
/// `XK_Escape`.
const ESCAPE: u32 = 0xFF1B;

x11rb::atom_manager! {
    /// The protocol's words.
    pub(super) Atoms: AtomsCookie {
        XdndAware,
        XdndProxy,
        XdndSelection,
        XdndEnter,
        XdndPosition,
        XdndStatus,
        XdndLeave,
        XdndDrop,
        XdndFinished,
        XdndActionCopy,
        TARGETS,
        TIMESTAMP,
        URI_LIST: b"text/uri-list",
        _NET_WM_WINDOW_TYPE,
        _NET_WM_WINDOW_TYPE_DND,
        _SOUNDLOCD_TIME,
    }
}

/// See [`super::start`].
pub(super) fn start(
    paths: Vec<PathBuf>,
    window: Option<RawWindowHandle>,
    on_done: impl FnOnce(Result<Outcome, DragError>) + Send + 'static,
) -> Result<(), DragError> {
    keep_loaded();
    let own = match window {
        Some(RawWindowHandle::Xlib(handle)) => u32::try_from(handle.window).ok(),
        Some(RawWindowHandle::Xcb(handle)) => Some(handle.window.get()),
        _ => None,
    };
    let work = move || on_done(drag(&paths, own));
    thread::Builder::new().name("soundlocd drag".to_owned()).spawn(work)?;
    Ok(())
}

/// Does the whole drag.
fn drag(paths: &[PathBuf], own: Option<Window>) -> Result<Outcome, DragError> {
    check(paths)?;
    let (connection, screen) = x11rb::connect(None)?;
    let list = uri_list(paths.iter().map(PathBuf::as_path));
    // With the head of the request, which is a few numbers.
    if list.len() + 64 > connection.maximum_request_bytes() {
        return Err(DragError::TooLong);
    }
    let Some(screen) = connection.setup().roots.get(screen) else { return Err(DragError::Unsupported) };
    let atoms = Atoms::new(&connection)?.reply()?;
    let window = connection.generate_id()?;
    let hidden = CreateWindowAux::new().override_redirect(1).event_mask(EventMask::PROPERTY_CHANGE);
    connection.create_window(
        0,
        window,
        screen.root,
        -10,
        -10,
        1,
        1,
        0,
        WindowClass::INPUT_OUTPUT,
        0,
        &hidden,
    )?;
    let time = server_time(&connection, &atoms, window)?;
    connection.set_selection_owner(window, atoms.XdndSelection, time)?;
    if connection.get_selection_owner(atoms.XdndSelection)?.reply()?.owner != window {
        return Err(DragError::System { reason: "another drag is going on".to_owned() });
    }
    let source = Source {
        connection: &connection,
        atoms: &atoms,
        window,
        escape: escape_key(&connection)?,
        finder: Finder::new(&connection, &atoms, own),
        offer: Offer { list, time, was_fetched: false },
        label: Label::new(&connection, &atoms, screen, paths),
        target: None,
    };
    source.run()
}

/// What the server's clock says: drops with a time of zero or of the future are refused by some.
fn server_time(connection: &RustConnection, atoms: &Atoms, window: Window) -> Result<u32, DragError> {
    connection.change_property8(PropMode::APPEND, window, atoms._SOUNDLOCD_TIME, AtomEnum::STRING, &[])?;
    connection.flush()?;
    let deadline = Instant::now() + ANSWER;
    while Instant::now() < deadline {
        match connection.poll_for_event()? {
            Some(Event::PropertyNotify(event)) => return Ok(event.time),
            Some(_) => {}
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(CURRENT_TIME)
}

/// The number of the Escape key, if there is one.
fn escape_key(connection: &RustConnection) -> Result<Option<u8>, DragError> {
    let (first, last) = (connection.setup().min_keycode, connection.setup().max_keycode);
    let mapping = connection.get_keyboard_mapping(first, last - first + 1)?.reply()?;
    let per_key = usize::from(mapping.keysyms_per_keycode).max(1);
    let key = mapping.keysyms.chunks(per_key).position(|symbols| symbols.contains(&ESCAPE));
    Ok(key.and_then(|key| u8::try_from(key + usize::from(first)).ok()))
}

/// Where the pointer is, in pixels of its screen, and what is pressed.
#[derive(Clone, Copy)]
struct Pointer {
    root: Window,
    x: i16,
    y: i16,
    is_down: bool,
}

/// What the window under the pointer has heard and said.
struct Over {
    target: Target,
    /// The position that it heard last.
    told: Option<(i16, i16)>,
    /// When it was told, while its answer is outstanding.
    asked: Option<Instant>,
    /// Whether it takes the files.
    accepts: bool,
}

struct Source<'a> {
    connection: &'a RustConnection,
    atoms: &'a Atoms,
    window: Window,
    escape: Option<u8>,
    finder: Finder<'a>,
    offer: Offer,
    label: Option<Label<'a>>,
    target: Option<Over>,
}

impl Source<'_> {
    fn run(mut self) -> Result<Outcome, DragError> {
        let start = self.pointer()?;
        if !start.is_down {
            return Ok(Outcome::Cancelled);
        }
        loop {
            self.hear()?;
            let pointer = self.pointer()?;
            if !pointer.is_down {
                return self.let_go(pointer);
            }
            if self.is_escape_down()? {
                self.leave()?;
                return Ok(Outcome::Cancelled);
            }
            self.follow(pointer)?;
            if let Some(label) = &mut self.label {
                let accepts = self.target.as_ref().is_some_and(|over| over.accepts);
                label.show(pointer.x, pointer.y, accepts)?;
            }
            self.connection.flush()?;
            thread::sleep(TICK);
        }
    }

    /// Tells the window under the pointer where it is.
    fn follow(&mut self, pointer: Pointer) -> Result<(), DragError> {
        let found = self.finder.find(pointer.root, pointer.x, pointer.y)?;
        if found.as_ref().map(|target| target.window) != self.target.as_ref().map(|over| over.target.window) {
            self.leave()?;
            if let Some(target) = found {
                self.enter(target)?;
            }
        }
        self.tell(pointer)
    }

    /// The button was let go: drops the files, if they are taken.
    fn let_go(mut self, pointer: Pointer) -> Result<Outcome, DragError> {
        self.follow(pointer)?;
        // The answer must be to the place where the button was let go.
        let deadline = Instant::now() + ANSWER;
        while self.is_unanswered(pointer) && Instant::now() < deadline {
            self.connection.flush()?;
            thread::sleep(Duration::from_millis(1));
            self.hear()?;
            self.tell(pointer)?;
        }
        let takes = |over: &Over| over.accepts && over.asked.is_none();
        if !self.target.as_ref().is_some_and(takes) {
            self.leave()?;
            return Ok(Outcome::Refused);
        }
        if let Some(label) = &self.label {
            label.hide()?;
        }
        self.send(self.atoms.XdndDrop, [0, self.offer.time, 0, 0])?;
        self.connection.flush()?;
        self.wait_until_fetched()
    }

    /// Serves the files' addresses until the other program has finished, or does not go on.
    fn wait_until_fetched(&mut self) -> Result<Outcome, DragError> {
        let mut deadline = Instant::now() + FETCH;
        let mut had_fetched = self.offer.was_fetched;
        while self.target.is_some() && Instant::now() < deadline {
            if self.hear()? {
                break;
            }
            if self.offer.was_fetched && !had_fetched {
                had_fetched = true;
                deadline = Instant::now() + FETCH;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(if self.offer.was_fetched { Outcome::Dropped } else { Outcome::Refused })
    }

    /// Takes in what other programs say; whether the one that the files were dropped on has finished.
    fn hear(&mut self) -> Result<bool, DragError> {
        let mut has_finished = false;
        while let Some(event) = self.connection.poll_for_event()? {
            match event {
                Event::SelectionRequest(request) => {
                    self.offer.serve(self.connection, self.atoms, &request)?
                }
                Event::ClientMessage(message) => has_finished |= self.hear_message(&message),
                Event::DestroyNotify(event) => self.forget(event.window),
                // What was sent to a window that is gone.
                Event::Error(error) => self.forget(error.bad_value),
                _ => {}
            }
        }
        Ok(has_finished)
    }

    fn hear_message(&mut self, message: &ClientMessageEvent) -> bool {
        let data = message.data.as_data32();
        let Some(over) = &mut self.target else { return false };
        if data[0] != over.target.window || message.format != 32 {
            return false;
        }
        if message.type_ == self.atoms.XdndStatus {
            over.asked = None;
            over.accepts = data[1] & 1 != 0;
        }
        message.type_ == self.atoms.XdndFinished
    }

    /// The window is gone.
    fn forget(&mut self, window: Window) {
        self.finder.forget();
        if self
            .target
            .as_ref()
            .is_some_and(|over| over.target.window == window || over.target.listener == window)
        {
            self.target = None;
        }
    }

    /// Offers the files to a window.
    fn enter(&mut self, target: Target) -> Result<(), DragError> {
        // Whether it is destroyed is told to all who ask.
        target.watch(self.connection)?;
        let version = target.version.min(VERSION);
        self.target = Some(Over { target, told: None, asked: None, accepts: false });
        self.send(self.atoms.XdndEnter, [version << 24, self.atoms.URI_LIST, 0, 0])
    }

    /// Tells the window where the pointer is, unless it knows or has not answered.
    fn tell(&mut self, pointer: Pointer) -> Result<(), DragError> {
        let Some(over) = &mut self.target else { return Ok(()) };
        let is_waiting = over.asked.is_some_and(|asked| asked.elapsed() < ANSWER);
        if is_waiting || over.told == Some((pointer.x, pointer.y)) && over.asked.is_none() {
            return Ok(());
        }
        over.told = Some((pointer.x, pointer.y));
        over.asked = Some(Instant::now());
        let place = u32::from(pointer.x.cast_unsigned()) << 16 | u32::from(pointer.y.cast_unsigned());
        self.send(self.atoms.XdndPosition, [0, place, self.offer.time, self.atoms.XdndActionCopy])
    }

    /// Whether the window has still to say something on this place.
    fn is_unanswered(&self, pointer: Pointer) -> bool {
        let is_open = |over: &Over| over.asked.is_some() || over.told != Some((pointer.x, pointer.y));
        self.target.as_ref().is_some_and(is_open)
    }

    /// Takes the offer back.
    fn leave(&mut self) -> Result<(), DragError> {
        if self.target.is_some() {
            self.send(self.atoms.XdndLeave, [0; 4])?;
            self.connection.flush()?;
        }
        self.target = None;
        self.offer.was_fetched = false;
        Ok(())
    }

    /// Sends the window under the pointer a message; it begins with our window.
    fn send(&self, kind: u32, [a, b, c, d]: [u32; 4]) -> Result<(), DragError> {
        let Some(Over { target, .. }) = &self.target else { return Ok(()) };
        let message = ClientMessageEvent::new(32, target.window, kind, [self.window, a, b, c, d]);
        // An error comes as an event: the window may be gone.
        self.connection.send_event(false, target.listener, EventMask::NO_EVENT, message)?;
        Ok(())
    }

    fn pointer(&self) -> Result<Pointer, DragError> {
        let root = self.connection.setup().roots.first().map_or(0, |screen| screen.root);
        let found = self.connection.query_pointer(root)?.reply()?;
        let is_down = found.mask.contains(KeyButMask::BUTTON1);
        Ok(Pointer { root: found.root, x: found.root_x, y: found.root_y, is_down })
    }

    fn is_escape_down(&self) -> Result<bool, DragError> {
        let Some(key) = self.escape else { return Ok(false) };
        let keys = self.connection.query_keymap()?.reply()?.keys;
        Ok(keys.get(usize::from(key / 8)).is_some_and(|bits| bits >> (key % 8) & 1 != 0))
    }
}

/// The connection's errors, in words.
macro_rules! system_error {
    ($($error:ty),*) => {
        $(impl From<$error> for DragError {
            fn from(error: $error) -> Self {
                Self::System { reason: error.to_string() }
            }
        })*
    };
}
system_error!(ConnectError, ConnectionError, ReplyError, ReplyOrIdError);
