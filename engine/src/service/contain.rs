//! Foreign code on the engine's thread: a panic of it becomes a message.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rayon::ThreadPool;

/// Runs `work` on the pool and turns a panic into its message.
pub(super) fn contain<T: Send>(
    pool: Option<&ThreadPool>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, String> {
    caught(|| match pool {
        Some(pool) => pool.install(work),
        None => work(),
    })
}

/// Runs `work` on this thread; of a panic, its message. What `work` may have left in disorder is for the caller to
/// discard.
///
/// # Errors
/// The message of a panic.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = message_of(payload.as_ref());
        // A payload may itself panic when dropped; leaking a few bytes is the lesser evil.
        std::mem::forget(payload);
        message
    })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    // Only the beginning: assertions may print whole tensors.
    text.chars().take(200).collect()
}
