//! Where the GPU library may be.

use super::library::{GpuError, Library};
use crate::service::host::own_file;
use etcetera::BaseStrategy as _;
use std::path::{Path, PathBuf};

/// Environment variable with the path of the GPU library; no other place is looked at then.
pub const LIBRARY_VARIABLE: &str = "SOUNDLOCD_GPU_LIBRARY";

/// The GPU library's name on this system.
#[must_use]
pub fn file_name() -> String {
    format!("{}soundlocd_cuda{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// `SoundLoCD/gpu` in the user's folder for data, beside the packs. `None` for a user without a home.
#[must_use]
pub fn user_folder() -> Option<PathBuf> {
    let strategy = etcetera::base_strategy::choose_native_strategy().ok()?;
    Some(strategy.data_dir().join("SoundLoCD").join("gpu"))
}

/// The files that may be the GPU library, the first to be tried first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places(Vec<PathBuf>);

impl Places {
    /// The file that [`LIBRARY_VARIABLE`] names; without it, beside the program or plugin that asks, then in the
    /// [`user_folder`].
    #[must_use]
    pub fn usual() -> Self {
        if let Some(file) = std::env::var_os(LIBRARY_VARIABLE) {
            return Self(vec![file.into()]);
        }
        let beside = own_file().and_then(|file| file.parent().map(Path::to_owned));
        Self::folders(beside.into_iter().chain(user_folder()))
    }

    /// The library in one of these folders.
    #[must_use]
    pub fn folders(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(folders.into_iter().map(|folder| folder.join(file_name())).collect())
    }

    /// This file.
    #[must_use]
    pub fn file(file: PathBuf) -> Self {
        Self(vec![file])
    }

    /// The same, and then `folder`; unless [`LIBRARY_VARIABLE`] decides.
    #[must_use]
    pub fn and_folder(mut self, folder: &Path) -> Self {
        if std::env::var_os(LIBRARY_VARIABLE).is_none() {
            self.0.push(folder.join(file_name()));
        }
        self
    }

    /// Loads the first library that is there.
    ///
    /// # Errors
    /// When there is none, or it cannot be loaded.
    pub fn find(&self) -> Result<Library, GpuError> {
        match self.0.iter().find(|file| file.exists()) {
            Some(file) => Library::load(file),
            None => Err(GpuError::Absent { places: self.0.clone() }),
        }
    }
}
