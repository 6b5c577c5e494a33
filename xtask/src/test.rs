//! `cargo xtask test`: every check of this repository, and one line of summary.

mod hosts;
mod tally;

use std::process::Command;

use anyhow::{Result, bail};

use crate::{bundle, licences, parity, workspace};
use tally::Tally;

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave out the release bundles and the plugin hosts.
    #[arg(long)]
    fast: bool,
    /// First install the Debian packages that the host tests need, with apt-get.
    #[arg(long)]
    install: bool,
}

/// Runs `cargo xtask test`.
pub fn run(args: Args) -> Result<()> {
    workspace::enter_root()?;
    if !args.fast {
        // Found out now rather than after twenty minutes of compiling.
        hosts::provide_tools(args.install)?;
    }

    // The program that needs no DAW is compiled against the system's audio libraries.
    let standalone = !args.fast && hosts::has_audio_libraries();
    let mut run = Run::default();
    run.step("format", || passes(workspace::cargo()?.args(["fmt", "--all", "--check"])));
    run.step("lints", || {
        let features: &[_] = if standalone { &["--features=soundlocd/standalone"] } else { &[] };
        let mut clippy = workspace::cargo()?;
        clippy.args(["clippy", "--workspace", "--all-targets"]).args(features);
        passes(clippy.args(["--", "--deny=warnings"]))
    });
    run.step("documentation", || {
        passes(workspace::cargo()?.env("RUSTDOCFLAGS", "--deny=warnings").args([
            "doc",
            "--workspace",
            "--no-deps",
        ]))
    });
    run.step("licences", licences_allowed);
    // The development profile: debug assertions on, and an allocation on the audio thread aborts.
    run.step("tests", || tally::of(workspace::cargo()?.args(["test", "--workspace", "--no-fail-fast"])));
    run.step("parity with the reference", || {
        let minilm = if args.fast { None } else { Some(hosts::published_minilm()?) };
        let (passed, failed) = parity::check(&workspace::root()?.join("tests/fixtures"), minilm)?;
        Ok(Tally { passed, failed, ..Tally::default() })
    });
    if !args.fast {
        run.step("bundle", || {
            bundle::build(&bundle::Args { debug: false, standalone })?;
            Ok(Tally::one_passed())
        });
        run.step("bundle in a CLAP host", || {
            tally::of(workspace::cargo()?.args([
                "test",
                // With the features that the tests were compiled with, or all is compiled again.
                "--workspace",
                "--test=bundle",
                "--",
                "--ignored",
                // Memory is measured: one test at a time.
                "--test-threads=1",
            ]))
        });
        run.step("VST3 hosts and window", || hosts::run(standalone));
    }
    run.finish()
}

/// The steps done so far.
#[derive(Default)]
struct Run {
    total: Tally,
    failed_steps: Vec<&'static str>,
}

impl Run {
    /// Does one step and goes on whatever comes of it, so that one run shows all that is wrong.
    fn step(&mut self, name: &'static str, step: impl FnOnce() -> Result<Tally>) {
        println!("\n== {name}");
        let tally = step().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Tally::one_failed()
        });
        if tally.failed > 0 {
            self.failed_steps.push(name);
        }
        self.total += tally;
    }

    /// Prints the summary; an error if anything failed.
    fn finish(self) -> Result<()> {
        println!("\n{}", self.total);
        if self.failed_steps.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", self.failed_steps.join(", "));
    }
}

/// Counts a command as one check, passed if it exits with 0.
fn passes(command: &mut Command) -> Result<Tally> {
    Ok(if command.status()?.success() { Tally::one_passed() } else { Tally::one_failed() })
}

/// Counts the licence check, and prints what it refuses.
fn licences_allowed() -> Result<Tally> {
    let report = licences::check()?;
    println!("{} dependencies allowed", report.allowed);
    for line in &report.refused {
        println!("refused: {line}");
    }
    Ok(if report.refused.is_empty() { Tally::one_passed() } else { Tally::one_failed() })
}
