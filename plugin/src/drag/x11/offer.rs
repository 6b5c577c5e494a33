//! The files' addresses, as the selection that other programs fetch them by.

use x11rb::{
    connection::Connection,
    protocol::xproto::{
        AtomEnum, ConnectionExt as _, EventMask, PropMode, SELECTION_NOTIFY_EVENT, SelectionNotifyEvent,
        SelectionRequestEvent,
    },
    rust_connection::RustConnection,
    wrapper::ConnectionExt as _,
};

use super::{Atoms, DragError};

/// What is offered.
pub(super) struct Offer {
    /// The content of `text/uri-list`.
    pub list: String,
    /// Since when, by the server's clock.
    pub time: u32,
    /// Whether the program under the pointer has fetched it.
    pub was_fetched: bool,
}

impl Offer {
    /// Answers a request. What is not offered is refused, as the protocol (ICCCM 2.2) wants it.
    pub(super) fn serve(
        &mut self,
        connection: &RustConnection,
        atoms: &Atoms,
        request: &SelectionRequestEvent,
    ) -> Result<(), DragError> {
        // Programs older than 1989 name no property.
        let property = if request.property == 0 { request.target } else { request.property };
        let is_ours = request.selection == atoms.XdndSelection;
        let (replace, to) = (PropMode::REPLACE, request.requestor);
        let is_served = if is_ours && request.target == atoms.URI_LIST {
            connection.change_property8(replace, to, property, atoms.URI_LIST, self.list.as_bytes())?;
            self.was_fetched = true;
            true
        } else if is_ours && request.target == atoms.TARGETS {
            let targets = [atoms.TARGETS, atoms.TIMESTAMP, atoms.URI_LIST];
            connection.change_property32(replace, to, property, AtomEnum::ATOM, &targets)?;
            true
        } else if is_ours && request.target == atoms.TIMESTAMP {
            connection.change_property32(replace, to, property, AtomEnum::INTEGER, &[self.time])?;
            true
        } else {
            false
        };
        let answer = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor: request.requestor,
            selection: request.selection,
            target: request.target,
            property: if is_served { property } else { 0 },
        };
        connection.send_event(false, request.requestor, EventMask::NO_EVENT, answer)?;
        connection.flush()?;
        Ok(())
    }
}
