//! Being a guest in somebody else's process: the only code of the engine that touches what
//! belongs to the whole process or thread.

mod candle_pool;
mod priority;
mod resident;

pub use candle_pool::disable_candle_pool;
pub(super) use priority::{low_priority_pool, lower_thread_priority};
pub use resident::keep_loaded;
pub(crate) use resident::own_file;
