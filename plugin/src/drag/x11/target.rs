//! The window under the pointer that takes drops.

use std::time::{Duration, Instant};

use x11rb::{
    errors::ReplyError,
    protocol::xproto::{Atom, AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, EventMask, Window},
    rust_connection::RustConnection,
};

use super::{Atoms, DragError};

/// Windows within windows that are looked at: no program nests them deeper.
const MAX_DEPTH: usize = 64;
/// How long what was found under a pointer that rests holds: windows move, too.
const FRESH: Duration = Duration::from_millis(100);

/// A window that takes drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The window that the messages are about.
    pub window: Window,
    /// The window that they are sent to: itself, or its proxy.
    pub listener: Window,
    /// The version of the protocol that it speaks.
    pub version: u32,
}

impl Target {
    /// Asks to be told when it is destroyed.
    pub(super) fn watch(&self, connection: &RustConnection) -> Result<(), DragError> {
        let changes = ChangeWindowAttributesAux::new().event_mask(EventMask::STRUCTURE_NOTIFY);
        connection.change_window_attributes(self.window, &changes)?;
        Ok(())
    }
}

/// Looks for targets.
pub(super) struct Finder<'a> {
    connection: &'a RustConnection,
    atoms: &'a Atoms,
    /// The window that the drag came from: it takes no drop.
    own: Option<Window>,
    /// What was found last, where and when.
    last: Option<(Window, i16, i16, Instant, Option<Target>)>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(connection: &'a RustConnection, atoms: &'a Atoms, own: Option<Window>) -> Self {
        Self { connection, atoms, own, last: None }
    }

    /// What was found does not hold any more.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// The outermost window at the place on the screen `root` that takes drops.
    pub(super) fn find(&mut self, root: Window, x: i16, y: i16) -> Result<Option<Target>, DragError> {
        if let Some((last_root, last_x, last_y, when, found)) = self.last
            && (last_root, last_x, last_y) == (root, x, y)
            && when.elapsed() < FRESH
        {
            return Ok(found);
        }
        let found = match self.search(root, x, y) {
            Ok(found) => found,
            // A window that went away between two questions.
            Err(ReplyError::X11Error(_)) => None,
            Err(error) => return Err(error.into()),
        };
        self.last = Some((root, x, y, Instant::now(), found));
        Ok(found)
    }

    fn search(&self, root: Window, x: i16, y: i16) -> Result<Option<Target>, ReplyError> {
        let mut window = root;
        for _ in 0..MAX_DEPTH {
            let child = self.connection.translate_coordinates(root, window, x, y)?.reply()?.child;
            if child == 0 {
                // The desktop: behind all windows, a proxy of the screen's.
                return if window == root { self.target(root) } else { Ok(None) };
            }
            if Some(child) == self.own {
                return Ok(None);
            }
            if let Some(target) = self.target(child)? {
                return Ok(Some(target));
            }
            window = child;
        }
        Ok(None)
    }

    /// `window` as a target, if it takes drops.
    fn target(&self, window: Window) -> Result<Option<Target>, ReplyError> {
        let listener = match self.number(window, self.atoms.XdndProxy, AtomEnum::WINDOW.into())? {
            // A proxy that is gone may be another window by now: a true one names itself.
            Some(proxy) => match self.number(proxy, self.atoms.XdndProxy, AtomEnum::WINDOW.into()) {
                Ok(Some(own)) if own == proxy => proxy,
                _ => window,
            },
            None => window,
        };
        let version = self.number(listener, self.atoms.XdndAware, AtomEnum::ATOM.into())?;
        // Before version 3 messages were others; nobody speaks those any more.
        Ok(version.filter(|version| *version >= 3).map(|version| Target { window, listener, version }))
    }

    /// The first number of a window's property.
    fn number(&self, window: Window, property: Atom, kind: Atom) -> Result<Option<u32>, ReplyError> {
        let reply = self.connection.get_property(false, window, property, kind, 0, 1)?.reply()?;
        Ok(reply.value32().and_then(|mut values| values.next()))
    }
}
