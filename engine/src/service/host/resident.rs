//! Keeping our code in memory while threads may still run it.
//!
//! A host may unload a plugin's library as soon as its last instance is gone. The engine's
//! thread is told to stop then, but not waited for (the host would hang for a step), and rayon's
//! threads end in their own time. So the library stays loaded until the process ends: a few
//! megabytes, against a crash of the host.

use std::sync::Once;

/// Asks the system never to unload the library or program that this code is in. Cheap when
/// repeated; failure is ignored (nothing unloads a program).
pub fn keep_loaded() {
    static ONCE: Once = Once::new();
    ONCE.call_once(pin);
}

#[cfg(unix)]
#[allow(unsafe_code)]
fn pin() {
    let here = (pin as fn()) as *const libc::c_void;
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` fills `info` when it returns non-zero (all zeros are valid before), with a
    // name that lives as long as the library. `dlopen` with RTLD_NOLOAD runs no initialisers; the
    // handle is not closed, on purpose.
    unsafe {
        if libc::dladdr(here, info.as_mut_ptr()) != 0 {
            let name = info.assume_init().dli_fname;
            if !name.is_null() {
                libc::dlopen(name, libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE);
            }
        }
    }
}

#[cfg(windows)]
#[allow(unsafe_code)]
fn pin() {
    use windows_sys::Win32::System::LibraryLoader::{
        GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
    };
    let mut module = std::ptr::null_mut();
    // SAFETY: with FROM_ADDRESS the name is any address within the module; `module` is a local
    // that outlives the call.
    unsafe {
        GetModuleHandleExW(
            GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
            (pin as fn()) as *const u16,
            &raw mut module,
        );
    }
}

#[cfg(not(any(unix, windows)))]
fn pin() {}
