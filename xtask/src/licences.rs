//! Checks the licence of every dependency against `deny.toml`.
//!
//! The file and its meaning are cargo-deny's. Building cargo-deny itself takes longer than all
//! other checks together, so the one part of it that must never be skipped, `[licenses]`, is
//! evaluated here: with the same SPDX expression parser, on the same `cargo metadata`.

use anyhow::{Context, Result};
use cargo_metadata::Package;
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::workspace;

/// The part of `deny.toml` that is read here.
#[derive(Deserialize)]
struct DenyFile {
    licenses: Licenses,
}

/// `deny.toml`'s `[licenses]`.
#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// Licences that one crate alone may have.
#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

/// What the check found.
#[derive(Debug)]
pub struct Report {
    /// Dependencies whose licence is allowed.
    pub allowed: usize,
    /// One line for each dependency whose licence is not, or that names none.
    pub refused: Vec<String>,
}

/// Checks all dependencies of the workspace, those of every feature and platform included.
///
/// # Errors
/// If `deny.toml` cannot be read or `cargo metadata` fails.
pub fn check() -> Result<Report> {
    let path = workspace::root()?.join("deny.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let rules: DenyFile = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
    let metadata = workspace::metadata()?;

    let mut report = Report { allowed: 0, refused: Vec::new() };
    for package in metadata.packages.iter().filter(|package| package.source.is_some()) {
        match verdict(&rules.licenses, package) {
            Ok(()) => report.allowed += 1,
            Err(reason) => report.refused.push(format!("{} {}: {reason}", package.name, package.version)),
        }
    }
    Ok(report)
}

/// Whether `package` may be used; the reason if not.
fn verdict(rules: &Licenses, package: &Package) -> Result<(), String> {
    let Some(licence) = &package.license else {
        return Err("its Cargo.toml names no licence".to_owned());
    };
    let extra = rules.exceptions.iter().filter(|e| e.name == package.name.as_str()).flat_map(|e| &e.allow);
    let allowed: Vec<&str> = rules.allow.iter().chain(extra).map(String::as_str).collect();
    evaluate(licence, &allowed)
}

/// Whether the SPDX expression `licence` can be met with the licences `allowed`.
fn evaluate(licence: &str, allowed: &[&str]) -> Result<(), String> {
    // Lax: older crates write "MIT/Apache-2.0".
    let expression = Expression::parse_mode(licence, ParseMode::LAX)
        .map_err(|error| format!("'{licence}' is no SPDX licence expression: {}", error.reason))?;
    if expression.evaluate(|requirement| allowed.contains(&requirement.to_string().as_str())) {
        Ok(())
    } else {
        Err(format!("'{licence}' is not allowed by deny.toml"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &[&str] = &["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"];

    #[test]
    fn one_allowed_choice_is_enough() {
        assert!(evaluate("MIT OR GPL-3.0-only", ALLOWED).is_ok());
        assert!(evaluate("MIT/Apache-2.0", ALLOWED).is_ok());
        assert!(evaluate("Apache-2.0 WITH LLVM-exception", ALLOWED).is_ok());
    }

    #[test]
    fn every_part_of_a_conjunction_must_be_allowed() {
        assert!(evaluate("(MIT OR Apache-2.0) AND Unicode-3.0", ALLOWED).is_ok());
        assert!(evaluate("MIT AND OFL-1.1", ALLOWED).is_err());
    }

    #[test]
    fn copyleft_and_nonsense_are_refused() {
        assert!(evaluate("GPL-3.0-or-later", ALLOWED).is_err());
        assert!(evaluate("mine, all mine", ALLOWED).is_err());
    }
}
