//! Loading the GPU library.

#![allow(unsafe_code)]

use super::abi;
use std::path::{Path, PathBuf};

/// Why the GPU cannot be used, for the musician.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The library is nowhere.
    #[error("there is no GPU library: looked for {}; cargo xtask build-cuda makes it", list(places))]
    Absent {
        /// The files looked for.
        places: Vec<PathBuf>,
    },
    /// The system does not load it, mostly because something that it needs is missing.
    #[error("the GPU library {} cannot be loaded{}: {reason}", path.display(), missing(reason))]
    Unloadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is some other library.
    #[error("{} is not a GPU library of SoundLoCD: it has no {symbol}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        symbol: &'static str,
    },
    /// It was built from other sources than this program.
    #[error(
        "the GPU library {} is of another version of SoundLoCD (interface {found}, expected {expected}): build it \
         anew with cargo xtask build-cuda",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that this program speaks.
        expected: u32,
        /// The library's.
        found: u32,
    },
    /// It was loaded and refuses: no GPU, too little memory, another pack.
    #[error("{reason}")]
    Refused {
        /// What the library said.
        reason: String,
    },
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// What a loader's message means, where it names a library of NVIDIA's.
fn missing(reason: &str) -> &'static str {
    let reason = reason.to_lowercase();
    if reason.contains("libcuda.so") || reason.contains("nvcuda.dll") {
        " because this computer has no NVIDIA driver"
    } else if ["libcublas", "libcurand", "libnvrtc", "libcudart"].iter().any(|name| reason.contains(name)) {
        " because NVIDIA's CUDA libraries are missing"
    } else {
        ""
    }
}

/// A GPU library that speaks our [`abi`]. It stays loaded until the process ends: CUDA's and its own threads run in it.
#[derive(Debug, Clone, Copy)]
pub struct Library {
    pub(super) open: abi::OpenFn,
    pub(super) describe: abi::DescribeFn,
    pub(super) generate: abi::GenerateFn,
    pub(super) close: abi::CloseFn,
}

impl Library {
    /// Loads the library `path`, which runs its code: whoever can put a file there can do anything already.
    ///
    /// # Errors
    /// When the system refuses, or it is another library or version.
    pub fn load(path: &Path) -> Result<Self, GpuError> {
        // SAFETY: its initialisers are those of the Rust and CUDA runtimes, which ask for nothing; a library that only
        // pretends to be ours is the user's own doing, see above.
        let library = unsafe { libloading::Library::new(path) }
            .map_err(|error| GpuError::Unloadable { path: path.into(), reason: reason(&error) })?;
        let this = Self::of(&library, path)?;
        // Never unloaded, so that the functions stay where they are.
        std::mem::forget(library);
        Ok(this)
    }

    fn of(library: &libloading::Library, path: &Path) -> Result<Self, GpuError> {
        // SAFETY: the function of this name has had this type in every version of the interface.
        let version = unsafe { symbol::<abi::VersionFn>(library, path, abi::VERSION_SYMBOL)?() };
        if version != abi::VERSION {
            let expected = abi::VERSION;
            return Err(GpuError::Version { path: path.into(), expected, found: version });
        }
        // SAFETY: a library of this version declares them with these types.
        unsafe {
            Ok(Self {
                open: symbol(library, path, abi::OPEN_SYMBOL)?,
                describe: symbol(library, path, abi::DESCRIBE_SYMBOL)?,
                generate: symbol(library, path, abi::GENERATE_SYMBOL)?,
                close: symbol(library, path, abi::CLOSE_SYMBOL)?,
            })
        }
    }
}

/// The function `name`.
///
/// # Safety
/// It must be of the type `T`, a function pointer.
unsafe fn symbol<T: Copy>(
    library: &libloading::Library,
    path: &Path,
    name: &'static str,
) -> Result<T, GpuError> {
    // SAFETY: the caller's promise.
    let found = unsafe { library.get::<T>(name) };
    found.map(|symbol| *symbol).map_err(|_| GpuError::Foreign { path: path.into(), symbol: name })
}

/// The system's own words.
fn reason(error: &libloading::Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_words_are_explained() {
        let unloadable =
            |reason: &str| GpuError::Unloadable { path: "gpu.so".into(), reason: reason.into() }.to_string();
        let driver = unloadable("libcuda.so.1: cannot open shared object file: No such file or directory");
        assert!(driver.contains("has no NVIDIA driver: libcuda.so.1"), "{driver}");
        let cuda = unloadable("libcublas.so.13: cannot open shared object file: No such file or directory");
        assert!(cuda.contains("CUDA libraries are missing: libcublas"), "{cuda}");
        assert_eq!(unloadable("file too short"), "the GPU library gpu.so cannot be loaded: file too short");
    }
}
