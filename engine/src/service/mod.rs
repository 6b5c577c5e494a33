//! The engine in the background: one thread serves the requests of all clients in turn.
//!
//! A [`Client`] submits [`Request`]s, each to a model pack, and receives [`Event`]s. A model is
//! loaded when the turn of a request to it comes; the default one and the one used last besides it
//! stay in memory. One variation is made at a time, clients take turns by variation. A
//! request can be cancelled between any two steps. An error or panic inside a model becomes a
//! message to the client that asked; after a panic the model is loaded anew for the next.
//!
//! The engine's threads have low priority and do not spin. They end, and the
//! model is freed, when the last [`Service`] and [`Client`] are dropped, which never waits.

mod client;
mod contain;
mod edit;
mod engine;
mod event;
mod generator;
pub(crate) mod host;
mod inbox;
mod models;
mod queue;
pub mod request;

#[cfg(test)]
mod tests;

use std::{
    error::Error,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::{gpu, pack::PackRef};

pub use client::Client;
pub use contain::caught;
pub use edit::{Edit, EditError, MAX_EDIT_SECONDS, Source};
pub use event::{Event, JobId};
pub use generator::{GenerateError, Generator, PackInfo, Preview, Progress, Timings};
pub use host::{disable_candle_pool, keep_loaded};
pub use request::{AdapterRef, Request, RequestError, SamplerKind, Settings};

/// Why a model could not be loaded; shown to the musician after "The model cannot be loaded: ".
pub type LoadError = Box<dyn Error + Send + Sync>;

/// Loads the model of a pack, on the engine's thread: for the first request to it, and again for
/// the next one after that failed, the model panicked or made room for another.
pub type Loader = Box<dyn FnMut(&PackRef) -> Result<Box<dyn Generator>, LoadError> + Send>;

/// A background engine. Costs nothing until the first request.
pub struct Service {
    engine: Arc<engine::Engine>,
}

impl Service {
    /// An engine of its own, with the models that `loader` loads.
    #[must_use]
    pub fn new(
        loader: impl FnMut(&PackRef) -> Result<Box<dyn Generator>, LoadError> + Send + 'static,
    ) -> Self {
        Self { engine: Arc::new(engine::Engine::new(Box::new(loader))) }
    }

    /// The engine of this process: one for all plugin instances, made for
    /// the first that asks and ended after the last of its services and clients is dropped.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<engine::Engine>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock();
        let engine = shared.upgrade().unwrap_or_else(|| {
            let engine = Arc::new(engine::Engine::new(Box::new(load_pack)));
            *shared = Arc::downgrade(&engine);
            engine
        });
        Arc::new(Self { engine })
    }

    /// A new client of this engine. It keeps the engine alive.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(Arc::clone(&self.engine))
    }
}

/// Loads the model of a pack for the process's engine: on the GPU where that is set up, else on the CPU.
fn load_pack(pack: &PackRef) -> Result<Box<dyn Generator>, LoadError> {
    gpu::load(&pack.open()?, gpu::Choice::from_environment()?, &gpu::Places::usual(), true)
}
