//! CUDA's compiler, headers and libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::checked;

/// NVIDIA's libraries that the engine's GPU build needs when it runs, beside the driver.
pub const RUNTIME_LIBRARIES: [&str; 3] = ["cublas", "cublasLt", "curand"];

/// The toolkit's parts on PyPI that building and (the last two) running need. They are NVIDIA's, under its licence.
const WHEELS: [&str; 7] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-curand==10.4.0.35",
    "nvidia-cublas==13.1.0.3",
];

/// Where the wheels put the toolkit.
const HOME_IN_WHEELS: &str = "nvidia/cu13";

/// Where a toolkit may have its libraries.
const LIBRARY_FOLDERS: [&str; 4] = ["lib64", "lib", "targets/x86_64-linux/lib", "lib/x86_64-linux-gnu"];

/// An installed toolkit.
#[derive(Debug)]
pub struct Toolkit {
    home: PathBuf,
    is_ours: bool,
}

impl Toolkit {
    /// The toolkit in the folder `home`.
    pub fn at(home: PathBuf) -> Result<Self> {
        let compiler = home.join("bin/nvcc");
        ensure!(compiler.is_file(), "there is no CUDA toolkit in {}: it has no bin/nvcc", home.display());
        // It becomes part of links.
        let home = home.canonicalize().with_context(|| format!("could not find {}", home.display()))?;
        Ok(Self { home, is_ours: false })
    }

    /// The toolkit that the environment names; without one, that in `folder`, installed if it is not there.
    pub fn find_or_install(folder: &Path) -> Result<Self> {
        for variable in ["CUDA_HOME", "CUDA_PATH"] {
            if let Some(home) = std::env::var_os(variable) {
                return Self::at(home.into()).with_context(|| format!("{variable} is set"));
            }
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&path).find(|folder| folder.join("nvcc").is_file());
        if let Some(home) = in_path.as_deref().and_then(Path::parent) {
            return Self::at(home.to_owned());
        }
        let home = folder.join(HOME_IN_WHEELS);
        if !home.join("bin/nvcc").is_file() {
            install(folder)?;
        }
        Ok(Self { is_ours: true, ..Self::at(home)? })
    }

    /// The folder with `bin/nvcc`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Whether it came as wheels: the system's loader does not know its libraries then.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// The shared library `name`, by the name with a version that it is loaded by.
    pub fn library(&self, name: &str) -> Result<PathBuf> {
        let prefix = format!("lib{name}.so.");
        self.first(&format!("{prefix}*"), |file| {
            file.strip_prefix(&prefix).is_some_and(|version| version.bytes().all(|c| c.is_ascii_digit()))
        })
    }

    /// The library file `name`.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        self.first(name, |file| file == name)
    }

    fn first(&self, what: &str, is_it: impl Fn(&str) -> bool) -> Result<PathBuf> {
        let folders = LIBRARY_FOLDERS.iter().filter_map(|folder| self.home.join(folder).read_dir().ok());
        folders
            .flatten()
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_str().is_some_and(&is_it))
            .map(|entry| entry.path())
            .with_context(|| format!("the CUDA toolkit in {} has no {what}", self.home.display()))
    }
}

/// Installs the wheels into `folder`, all or nothing.
fn install(folder: &Path) -> Result<()> {
    println!(
        "No CUDA toolkit found: installing NVIDIA's wheels from PyPI (590 MB) into {}",
        folder.display()
    );
    let fresh = folder.with_extension("new");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh).with_context(|| format!("could not remove {}", fresh.display()))?;
    }
    checked(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"])
            .arg(&fresh)
            .args(WHEELS),
    )
    .context("Python's pip is needed to install the CUDA toolkit (or name one with --cuda-home)")?;
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("could not remove {}", folder.display()))?;
    }
    std::fs::rename(&fresh, folder).with_context(|| format!("could not create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn libraries_are_found_by_the_name_that_loads_them() {
        let home = std::env::temp_dir().join(format!("soundlocd-toolkit-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        for folder in ["bin", "lib", "lib64"] {
            std::fs::create_dir_all(home.join(folder)).unwrap();
        }
        assert!(Toolkit::at(home.clone()).unwrap_err().to_string().contains("bin/nvcc"));
        std::fs::write(home.join("bin/nvcc"), "").unwrap();
        for file in ["lib64/libcublas.so.13.1.0.3", "lib64/libcublasLt.so.13", "lib/libcublas.so.13"] {
            std::fs::write(home.join(file), "").unwrap();
        }
        let toolkit = Toolkit::at(home.clone()).unwrap();
        assert!(toolkit.library("cublas").unwrap().ends_with("lib/libcublas.so.13"));
        let error = toolkit.library("curand").unwrap_err().to_string();
        assert!(error.contains("libcurand.so.*"), "{error}");
        std::fs::remove_dir_all(home).unwrap();
    }
}
