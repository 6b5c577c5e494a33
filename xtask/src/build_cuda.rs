//! `cargo xtask build-cuda`: the engine for NVIDIA GPUs, as a library of its own.
//!
//! Only the build needs CUDA's compiler; without an installed toolkit it comes from PyPI, as wheels of NVIDIA's. No GPU
//! and no driver is needed: the driver's library is a stub while linking.

mod toolkit;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use soundlocd_engine::gpu::{GpuError, Library, file_name, user_folder};

use crate::workspace;
use toolkit::Toolkit;

/// What the GPU must be able to do, in NVIDIA's terms: 8.0 is what the GeForce 30 series and later are.
const COMPUTE_CAPABILITY: &str = "80";

/// The library as cargo names it.
const BUILT: &str = "libsoundlocd_gpu.so";

/// Arguments of `cargo xtask build-cuda`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a CUDA toolkit (with bin/nvcc); by default the one in CUDA_HOME, CUDA_PATH or PATH, else wheels from
    /// PyPI.
    #[arg(long, value_name = "DIR")]
    cuda_home: Option<PathBuf>,
    /// Then copy the library to where plugins look for it.
    #[arg(long)]
    install: bool,
}

/// Runs `cargo xtask build-cuda`.
pub fn run(args: Args) -> Result<()> {
    ensure!(cfg!(all(target_os = "linux", target_arch = "x86_64")), "build-cuda knows Linux on x86_64 only");
    let target = workspace::target_dir()?;
    let work = target.join("cuda");
    let toolkit = match args.cuda_home {
        Some(home) => Toolkit::at(home)?,
        None => Toolkit::find_or_install(&work.join("toolkit"))?,
    };
    println!("CUDA toolkit: {}", toolkit.home().display());

    let links = work.join("link");
    provide_libraries(&toolkit, &links)?;
    let built = build(&toolkit, &links, &work.join("build"))?;
    let library = place(&toolkit, &built, &target.join("bundled"))?;
    println!("built {} ({} MB)", library.display(), library.metadata()?.len() / 1_000_000);
    match Library::load(&library) {
        Ok(_) => println!("It loads here: try cargo xtask generate \"rain\" --device cuda"),
        Err(error @ GpuError::Unloadable { .. }) => println!("On this computer the CPU serves: {error}"),
        Err(error) => return Err(error.into()),
    }
    match user_folder() {
        Some(folder) if args.install => {
            let installed = place(&toolkit, &library, &folder)?;
            println!("installed {}", installed.display());
        }
        Some(folder) => println!(
            "Put it into {} (or run this with --install), or beside the plugin; cargo xtask finds it where it is.",
            folder.display()
        ),
        None if args.install => bail!("there is no home folder to install to"),
        None => {}
    }
    Ok(())
}

/// Fills `links` with what the linker looks for: NVIDIA's libraries by their plain names, and stubs.
fn provide_libraries(toolkit: &Toolkit, links: &Path) -> Result<()> {
    std::fs::create_dir_all(links).with_context(|| format!("could not create {}", links.display()))?;
    for name in toolkit::RUNTIME_LIBRARIES {
        link(&toolkit.library(name)?, &links.join(format!("lib{name}.so")))?;
    }
    // Statically, so that one library fewer must be there when it runs.
    link(&toolkit.file("libcudart_static.a")?, &links.join("libcudart.a"))?;
    stub("libcuda.so", "libcuda.so.1", links)?;
    // Linked with, but never called: candle's kernels are compiled beforehand. The linker drops it.
    stub("libnvrtc.so", "libnvrtc.so", links)
}

/// Makes an empty library that links as the one that is loaded by the name `loaded`.
fn stub(name: &str, loaded: &str, folder: &Path) -> Result<()> {
    let empty = folder.join("empty.c");
    std::fs::write(&empty, "").with_context(|| format!("could not write {}", empty.display()))?;
    let library = folder.join(name);
    // Never through a link into a toolkit.
    if library.symlink_metadata().is_ok() {
        std::fs::remove_file(&library).with_context(|| format!("could not replace {}", library.display()))?;
    }
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    checked(
        Command::new(compiler)
            .arg("-shared")
            .arg(format!("-Wl,-soname,{loaded}"))
            .arg("-o")
            .arg(&library)
            .arg(&empty),
    )
}

/// Compiles; answers where the library is.
fn build(toolkit: &Toolkit, links: &Path, target: &Path) -> Result<PathBuf> {
    let mut path = vec![toolkit.home().join("bin")];
    path.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let mut native = std::ffi::OsString::from("native=");
    native.push(links);
    checked(
        workspace::cargo()?
            .args(["rustc", "--release", "--package=soundlocd-cuda", "--features=cuda", "--lib"])
            .args(["--crate-type=cdylib", "--target-dir"])
            .arg(target)
            .env("CUDA_HOME", toolkit.home())
            .env("PATH", std::env::join_paths(path)?)
            .env("CUDA_COMPUTE_CAP", COMPUTE_CAPABILITY)
            .arg("--")
            .arg("-L")
            .arg(native)
            // The stub of the driver has no symbols for whose sake the linker would keep it.
            .args(["-C", "link-args=-Wl,--no-as-needed -lcuda -Wl,--as-needed"])
            // NVIDIA's libraries may lie beside it.
            .args(["-C", "link-arg=-Wl,-rpath,$ORIGIN"]),
    )?;
    Ok(target.join("release").join(BUILT))
}

/// Copies the library into `folder` under the name that is looked for. Beside it, links to those libraries of NVIDIA's
/// that no installed toolkit provides.
fn place(toolkit: &Toolkit, library: &Path, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    let placed = folder.join(file_name());
    // By another name first: who has the old one loaded keeps it.
    let fresh = folder.join(format!("{}.new", file_name()));
    std::fs::copy(library, &fresh)
        .with_context(|| format!("could not copy {} to {}", library.display(), fresh.display()))?;
    std::fs::rename(&fresh, &placed).with_context(|| format!("could not write {}", placed.display()))?;
    if toolkit.is_ours() {
        for name in toolkit::RUNTIME_LIBRARIES {
            let file = toolkit.library(name)?;
            link(&file, &folder.join(file.file_name().context("a library without a name")?))?;
        }
    }
    Ok(placed)
}

/// Makes `at` a link to `to`, in place of one that is there.
#[cfg(unix)]
fn link(to: &Path, at: &Path) -> Result<()> {
    if at.symlink_metadata().is_ok() {
        std::fs::remove_file(at).with_context(|| format!("could not replace {}", at.display()))?;
    }
    std::os::unix::fs::symlink(to, at).with_context(|| format!("could not create {}", at.display()))
}

/// Links are not made on other systems: see [`run`].
#[cfg(not(unix))]
fn link(_: &Path, at: &Path) -> Result<()> {
    bail!("{} cannot be made on this system", at.display())
}

/// Runs a command that must succeed.
fn checked(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("{} could not be run", program.display()))?;
    ensure!(status.success(), "{} failed ({status})", program.display());
    Ok(())
}
