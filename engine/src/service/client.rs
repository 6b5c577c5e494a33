//! A client's end of the service: one for each plugin instance or command.

use std::{sync::Arc, time::Duration};

use super::{
    engine::Engine,
    event::{Event, JobId},
    generator::PackInfo,
    inbox::{Inbox, MAX_OPEN_JOBS},
    queue::{ClientId, Job},
    request::{Request, RequestError},
};
use crate::pack::PackRef;

/// Sends requests to the engine and receives [`Event`]s about them.
///
/// Its methods only ever wait for a lock held for microseconds ([`Self::recv_timeout`] apart), so
/// an editor may call them while drawing; an audio thread must not, for they allocate and free.
///
/// Dropping it cancels its requests and does not wait for that.
pub struct Client {
    engine: Arc<Engine>,
    id: ClientId,
    inbox: Arc<Inbox>,
}

impl Client {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        let inbox = Arc::<Inbox>::default();
        let id = engine.add_client(Arc::clone(&inbox));
        Self { engine, id, inbox }
    }

    /// Puts a request to the default pack in the queue: see [`Self::submit_to`].
    ///
    /// # Errors
    /// As [`Self::submit_to`].
    pub fn submit(&self, request: Request) -> Result<JobId, RequestError> {
        self.submit_to(PackRef::Embedded, request)
    }

    /// Puts a request to `pack` in the queue, normalised as by [`Request::validate`]. The model is
    /// loaded when the request's turn comes, unless it still is from an earlier one. A pack that
    /// cannot be loaded is told as [`Event::Failed`].
    ///
    /// # Errors
    /// What [`Request::validate`] found; [`RequestError::TooManyWaiting`];
    /// [`RequestError::EngineStopped`] if the engine's thread cannot be started.
    pub fn submit_to(&self, pack: PackRef, request: Request) -> Result<JobId, RequestError> {
        let request = request.validate()?;
        if !self.inbox.open_job() {
            return Err(RequestError::TooManyWaiting { most: MAX_OPEN_JOBS });
        }
        let id = JobId::next();
        self.engine
            .submit(self.id, Job::new(id, request, pack))
            .inspect_err(|_| self.inbox.forget_job())
            .map(|()| id)
    }

    /// Stops a request: at once if it waits, otherwise after the step in progress. Its
    /// [`Event::Cancelled`] says when. One that has ended, or is another client's, is left alone.
    pub fn cancel(&self, job: JobId) {
        self.engine.cancel(self.id, Some(job));
    }

    /// [`Self::cancel`] for all of this client's requests.
    pub fn cancel_all(&self) {
        self.engine.cancel(self.id, None);
    }

    /// The next event, if there is one.
    #[must_use]
    pub fn try_recv(&self) -> Option<Event> {
        self.inbox.try_recv()
    }

    /// The next event, waiting up to `timeout` for it.
    #[must_use]
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Event> {
        self.inbox.recv_timeout(timeout)
    }

    /// The model that was used last, by whatever client, if it is loaded.
    #[must_use]
    pub fn pack(&self) -> Option<PackInfo> {
        self.engine.pack()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.inbox.close();
        self.engine.remove_client(self.id);
    }
}
