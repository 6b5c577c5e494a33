//! Switching candle's spinning thread pool off.
//!
//! candle 0.11 spreads elementwise and quantized operations over a pool of its own whose threads
//! spin between operations: they take whole cores from the host's audio threads, at normal
//! priority, and were measured to be slower than no pool as soon as the machine is busy. (Matrix
//! products are not concerned; they use rayon.)
//!
//! The pool's size has no programming interface. candle reads it from the environment variable
//! `CANDLE_NUM_THREADS`, once, when the pool is first used; 1 means no pool. So the variable is
//! set here, before that, and the (empty) pool is made at once, so that nothing that happens to
//! the environment later matters. A value that the user has set is respected.
//!
//! # Setting a variable in a running host
//! `setenv` may move the array of variables while another thread of the host reads it in
//! `getenv` (even `localtime` does), and glibc before 2.41 and musl then read freed memory. On
//! Linux the variable is therefore added by putting a longer copy of the array in place, with one
//! store, and never freeing the old one: readers see either. What remains is a race with another
//! thread's `setenv` at the same instant, which may get lost; that thread races with every reader
//! anyway. macOS and Windows guard their environment by locks.

use std::sync::Once;

/// The variable that candle reads.
const VARIABLE: &str = "CANDLE_NUM_THREADS";

/// Sees to it that candle makes no spinning threads in this process. Must come before the first
/// use of candle; the engine's thread does this itself, programs that use the model without the
/// [service](crate::service) call it when they start. Cheap when repeated.
pub fn disable_candle_pool() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os(VARIABLE).is_none() {
            set_to_one();
        }
        // Made now, empty.
        candle_core::utils::barrier_pool();
    });
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn set_to_one() {
    use std::{
        ffi::{c_char, c_void},
        sync::atomic::{AtomicPtr, Ordering},
    };

    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }

    let entry: &'static std::ffi::CStr = c"CANDLE_NUM_THREADS=1";
    // SAFETY: `environ` is the C library's pointer to a zero-terminated array of strings; it is
    // aligned and lives as long as the process. Read and written atomically here; reading the
    // array races with a `setenv` elsewhere just as any `getenv` does. The new array is leaked:
    // it and every string in it stay valid. Nobody writes to the strings of an environment but
    // who put them there, so that handing out a pointer to a constant is fine.
    unsafe {
        let variable: &AtomicPtr<*mut c_char> = AtomicPtr::from_ptr(&raw mut environ);
        let old = variable.load(Ordering::Acquire);
        let mut entries = vec![entry.as_ptr().cast::<c_void>().cast_mut().cast::<c_char>()];
        let mut next = old;
        while !next.is_null() && !(*next).is_null() {
            entries.push(*next);
            next = next.add(1);
        }
        entries.push(std::ptr::null_mut());
        let new: &'static mut [*mut c_char] = Vec::leak(entries);
        variable.store(new.as_mut_ptr(), Ordering::Release);
    }
}

#[cfg(not(target_os = "linux"))]
#[allow(unsafe_code)]
fn set_to_one() {
    // SAFETY: macOS and Windows lock their environment against concurrent readers (see above).
    unsafe { std::env::set_var(VARIABLE, "1") };
}
