//! Keeping freed memory during training.
//!
//! A training step makes and drops some thousand buffers of up to a few megabytes. glibc returns such buffers to the
//! system at once and gets fresh ones, which the kernel has to clear page by page, at every operation.

/// Tells glibc's allocator to keep what is freed, for the rest of the process. Does nothing elsewhere.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn keep_freed_memory() {
    let settings = [
        // The largest that glibc allows.
        (libc::M_MMAP_THRESHOLD, 32 << 20),
        (libc::M_TRIM_THRESHOLD, i32::MAX),
        (libc::M_TOP_PAD, 256 << 20),
        // Buffers are made by one thread and dropped by another: one pool serves both.
        (libc::M_ARENA_MAX, 1),
    ];
    for (parameter, value) in settings {
        // SAFETY: takes two integers; an unknown parameter is refused. Called before any other thread is started.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Does nothing: only glibc needs it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}
