//! The engine in the background: one thread serves the requests of all clients in turn.
//!
//! A [`Client`] submits [`Request`]s and receives [`Event`]s. The model is loaded when the first
//! request's turn comes, one variation is made at a time, clients take turns by variation. A
//! request can be cancelled between any two steps. An error or panic inside the model becomes a
//! message to the client that asked; after a panic the model is loaded anew for the next.
//!
//! The engine's threads have low priority and do not spin. They end, and the
//! model is freed, when the last [`Service`] and [`Client`] are dropped, which never waits.

mod client;
mod engine;
mod event;
mod generator;
mod host;
mod inbox;
mod queue;
pub mod request;

#[cfg(test)]
mod tests;

use std::{
    error::Error,
    sync::{Arc, Weak},
};

use candle_core::Device;
use parking_lot::Mutex;

use crate::{generator::PackGenerator, pack::Pack};

pub use client::Client;
pub use event::{Event, JobId};
pub use generator::{GenerateError, Generator, PackInfo, Preview, Progress, Timings};
pub use host::disable_candle_pool;
pub use request::{Request, RequestError, SamplerKind, Settings};

/// Why a model could not be loaded; shown to the musician after "The model cannot be loaded: ".
pub type LoadError = Box<dyn Error + Send + Sync>;

/// Loads the model, on the engine's thread: for the first request, and again for the next one
/// after it failed or the model panicked.
pub type Loader = Box<dyn FnMut() -> Result<Box<dyn Generator>, LoadError> + Send>;

/// A background engine. Costs nothing until the first request.
pub struct Service {
    engine: Arc<engine::Engine>,
}

impl Service {
    /// An engine of its own, with the model that `loader` loads.
    #[must_use]
    pub fn new(loader: impl FnMut() -> Result<Box<dyn Generator>, LoadError> + Send + 'static) -> Self {
        Self { engine: Arc::new(engine::Engine::new(Box::new(loader))) }
    }

    /// The engine of this process, with the default pack: one for all plugin instances, made for
    /// the first that asks and ended after the last of its services and clients is dropped.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<engine::Engine>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock();
        let engine = shared.upgrade().unwrap_or_else(|| {
            let engine = Arc::new(engine::Engine::new(Box::new(load_default_pack)));
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

/// Loads the pack that is compiled into the program.
fn load_default_pack() -> Result<Box<dyn Generator>, LoadError> {
    Ok(Box::new(PackGenerator::load(&Pack::embedded()?, &Device::Cpu)?))
}
