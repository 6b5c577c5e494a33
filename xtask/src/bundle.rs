//! `cargo xtask bundle`: builds the plugin and lays out its CLAP and VST3 bundles.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The plugin's cargo package; `bundler.toml` maps it to [`NAME`].
const PACKAGE: &str = "soundlocd";
/// The program that needs no DAW, as cargo names it.
const STANDALONE: &str = "soundlocd-standalone";
/// What the bundles are called, without extension.
pub const NAME: &str = "SoundLoCD";

/// Arguments of `cargo xtask bundle`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Build the development profile, with debug assertions and the audio thread's allocation guard.
    #[arg(long)]
    pub debug: bool,
    /// Also build the standalone program (needs ALSA's development files on Linux: libasound2-dev).
    #[arg(long)]
    pub standalone: bool,
}

/// The finished bundles.
#[derive(Debug)]
pub struct Bundles {
    /// A file on Linux and Windows, a folder on macOS.
    pub clap: PathBuf,
    /// A folder everywhere.
    pub vst3: PathBuf,
    /// The program that needs no DAW, if it was asked for.
    pub standalone: PathBuf,
}

impl Bundles {
    /// Where the bundles lie inside the build folder `target`, built or not.
    pub fn in_target(target: &Path) -> Self {
        let home = target.join("bundled");
        Self {
            clap: home.join(format!("{NAME}.clap")),
            vst3: home.join(format!("{NAME}.vst3")),
            standalone: home.join(program()),
        }
    }
}

/// The file of the standalone program.
fn program() -> String {
    format!("{STANDALONE}{}", std::env::consts::EXE_SUFFIX)
}

/// Runs `cargo xtask bundle`.
pub fn run(args: Args) -> Result<()> {
    build(&args).map(|_| ())
}

/// Builds the bundles and returns where they are.
///
/// # Errors
/// If the plugin does not compile or a bundle cannot be written.
pub fn build(args: &Args) -> Result<Bundles> {
    workspace::enter_root()?;
    let mut cargo_args = Vec::new();
    if !args.debug {
        cargo_args.push("--release".to_owned());
    }
    if args.standalone {
        cargo_args.push("--features=standalone".to_owned());
    }
    let target = workspace::target_dir()?;
    nice_plug_xtask::build(&[PACKAGE.to_owned()], &cargo_args)?;
    nice_plug_xtask::bundle(&target, PACKAGE, &cargo_args, false)?;

    let bundles = Bundles::in_target(&target);
    // The bundler only warns when the library exports no plugin.
    for path in [&bundles.clap, &bundles.vst3] {
        if !path.exists() {
            bail!("the build made no {}: does the plugin still export CLAP and VST3?", path.display());
        }
    }
    if args.standalone {
        let built = target.join(if args.debug { "debug" } else { "release" }).join(program());
        let beside = &bundles.standalone;
        std::fs::copy(&built, beside)
            .with_context(|| format!("could not copy {} to {}", built.display(), beside.display()))?;
        println!("Created a program at '{}'", beside.display());
    }
    Ok(bundles)
}
