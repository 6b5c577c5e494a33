//! Keeping our code in memory while threads may still run it.
//!
//! A host may unload a plugin's library as soon as its last instance is gone. The engine's
//! thread is told to stop then, but not waited for (the host would hang for a step), and rayon's
//! threads end in their own time. So the library stays loaded until the process ends: a few
//! megabytes, against a crash of the host.

use std::path::PathBuf;
use std::sync::Once;

/// Asks the system never to unload the library or program that this code is in. Cheap when
/// repeated; failure is ignored (nothing unloads a program).
pub fn keep_loaded() {
    static ONCE: Once = Once::new();
    ONCE.call_once(pin);
}

/// The library or program that this code is in; `None` where the system does not tell.
pub(crate) fn own_file() -> Option<PathBuf> {
    // For a program this is what it was called by, which may be no path.
    file_of_this_code().filter(|file| file.is_absolute()).or_else(|| std::env::current_exe().ok())
}

/// The name under which the system loaded what this code is in.
#[cfg(unix)]
#[allow(unsafe_code)]
fn loaded_name() -> Option<&'static std::ffi::CStr> {
    let here = (pin as fn()) as *const libc::c_void;
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` fills `info` when it returns non-zero (all zeros are valid before), with a
    // zero-terminated name that lives as long as the library, that is, as this code.
    unsafe {
        let found = libc::dladdr(here, info.as_mut_ptr()) != 0;
        let name = info.assume_init().dli_fname;
        (found && !name.is_null()).then(|| std::ffi::CStr::from_ptr(name))
    }
}

#[cfg(unix)]
fn file_of_this_code() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    loaded_name().map(|name| std::ffi::OsStr::from_bytes(name.to_bytes()).into())
}

#[cfg(unix)]
#[allow(unsafe_code)]
fn pin() {
    if let Some(name) = loaded_name() {
        // SAFETY: the name is zero-terminated. `dlopen` with RTLD_NOLOAD runs no initialisers; the
        // handle is not closed, on purpose.
        unsafe {
            libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE);
        }
    }
}

#[cfg(windows)]
#[allow(unsafe_code)]
fn file_of_this_code() -> Option<PathBuf> {
    use std::os::windows::ffi::OsStringExt as _;
    use windows_sys::Win32::System::LibraryLoader::{
        GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
        GetModuleFileNameW, GetModuleHandleExW,
    };
    let mut module = std::ptr::null_mut();
    // Longer paths than this are rare, and then cut off: not found.
    let mut name = [0u16; 1024];
    // SAFETY: with FROM_ADDRESS the name is any address within the module; `module` and `name` are
    // locals that outlive the calls, `name` of the length given.
    let length = unsafe {
        let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
        if GetModuleHandleExW(flags, (pin as fn()) as *const u16, &raw mut module) == 0 {
            return None;
        }
        GetModuleFileNameW(module, name.as_mut_ptr(), name.len() as u32)
    };
    let name = name.get(..length as usize).filter(|name| !name.is_empty())?;
    Some(std::ffi::OsString::from_wide(name).into())
}

#[cfg(not(any(unix, windows)))]
fn file_of_this_code() -> Option<PathBuf> {
    None
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
