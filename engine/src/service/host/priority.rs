//! Below-normal priority for the engine's threads: audio and window come first.

/// Niceness of the engine's threads on Linux, where 0 is normal and 19 the lowest.
#[cfg(target_os = "linux")]
const NICENESS: libc::c_int = 10;

/// A pool for the model's parallel work, as many threads as candle plans for, all of them at low
/// priority. `None` if the system gives no threads.
///
/// rayon's global pool will not do: it is shared by everything in the process that was linked
/// with it, has normal priority, and never ends.
pub(in crate::service) fn low_priority_pool() -> Option<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(candle_core::utils::get_num_threads())
        .thread_name(|index| format!("soundlocd-{index}"))
        .start_handler(|_| lower_thread_priority())
        .build()
        .ok()
}

/// Lowers the calling thread's priority. Refusal is ignored: it would only cost politeness.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(in crate::service) fn lower_thread_priority() {
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: plain system calls on the calling thread (id 0), with a pointer to a local that
    // outlives the call. On Linux both concern the thread alone, not the process.
    unsafe {
        // A thread started by a real-time one inherits its policy, under which niceness counts
        // for nothing.
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const normal);
        // Never back up, where the whole host runs low already.
        let niceness = libc::getpriority(libc::PRIO_PROCESS, 0).max(NICENESS);
        libc::setpriority(libc::PRIO_PROCESS, 0, niceness);
    }
}

/// Lowers the calling thread's priority. Refusal is ignored: it would only cost politeness.
#[cfg(target_os = "macos")]
#[allow(unsafe_code)]
pub(in crate::service) fn lower_thread_priority() {
    // SAFETY: concerns the calling thread only, no pointers. (`setpriority` would not do: there
    // it concerns the whole process, that is, the host.)
    unsafe {
        libc::pthread_set_qos_class_self_np(libc::qos_class_t::QOS_CLASS_UTILITY, 0);
    }
}

/// Lowers the calling thread's priority. Refusal is ignored: it would only cost politeness.
#[cfg(windows)]
#[allow(unsafe_code)]
pub(in crate::service) fn lower_thread_priority() {
    use windows_sys::Win32::System::Threading::{
        GetCurrentThread, SetThreadPriority, THREAD_PRIORITY_BELOW_NORMAL,
    };
    // SAFETY: the pseudo handle of the calling thread is always valid and need not be closed.
    unsafe {
        SetThreadPriority(GetCurrentThread(), THREAD_PRIORITY_BELOW_NORMAL);
    }
}

/// Nothing on other systems.
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
pub(in crate::service) fn lower_thread_priority() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, unsafe_code)]
    use super::*;

    /// Niceness of the calling thread.
    fn niceness() -> libc::c_int {
        // SAFETY: a plain system call on the calling thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn only_the_thread_that_asks_becomes_nice() {
        let before = niceness();
        let lowered = std::thread::spawn(|| {
            lower_thread_priority();
            niceness()
        });
        assert_eq!(lowered.join().unwrap(), NICENESS.max(before));
        assert_eq!(niceness(), before);
    }

    #[test]
    fn the_whole_pool_is_nice() {
        let before = niceness();
        let pool = low_priority_pool().unwrap();
        for niceness in pool.broadcast(|_| niceness()) {
            assert_eq!(niceness, NICENESS.max(before));
        }
    }
}
