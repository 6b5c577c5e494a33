//! Counts of passed and failed checks, read from the test runners' summary lines.

use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// How many checks passed, failed and were skipped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Tally {
    /// One check that passed.
    pub fn one_passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One check that failed.
    pub fn one_failed() -> Self {
        Self { failed: 1, ..Self::default() }
    }

    /// Reads a summary line of `cargo test` or pytest; any other line counts nothing.
    ///
    /// `cargo test`: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`. What is ignored there
    /// is run by a step of its own, so it is not counted as skipped.
    /// pytest: `==== 1 failed, 2 passed, 1 skipped in 0.12s ====`.
    fn from_line(line: &str) -> Self {
        let line = line.trim();
        let (counts, separator) = if let Some(rest) = line.strip_prefix("test result: ") {
            (rest.split_once(". ").map_or("", |(_, counts)| counts), ';')
        } else if line.starts_with("==") && line.ends_with("==") {
            let inner = line.trim_matches('=').trim();
            (inner.rsplit_once(" in ").map_or("", |(counts, _)| counts), ',')
        } else {
            ("", ';')
        };
        let mut tally = Self::default();
        for part in counts.split(separator) {
            if let Some((count, what)) = part.trim().split_once(' ')
                && let Ok(count) = count.parse::<usize>()
            {
                match what {
                    "passed" => tally.passed += count,
                    "failed" | "error" | "errors" => tally.failed += count,
                    "skipped" => tally.skipped += count,
                    _ => {}
                }
            }
        }
        tally
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs a test runner, shows what it prints and counts its tests.
///
/// A runner that exits badly without a failed test (it did not compile, or crashed) counts as one
/// failure, and so does one that ran no test at all.
pub fn of(command: &mut Command) -> Result<Tally> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("could not run {program}"))?;
    let stdout = child.stdout.take().with_context(|| format!("{program} has no output to read"))?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally += Tally::from_line(&line);
    }
    let succeeded = child.wait()?.success();
    if (!succeeded && tally.failed == 0) || tally.passed + tally.failed + tally.skipped == 0 {
        tally.failed += 1;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargo_test() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(Tally::from_line(line), Tally { passed: 3, failed: 2, skipped: 0 });
    }

    #[test]
    fn reads_pytest() {
        let line = "============ 1 failed, 12 passed, 2 skipped, 1 error in 31.20s (0:00:31) ============";
        assert_eq!(Tally::from_line(line), Tally { passed: 12, failed: 2, skipped: 2 });
        assert_eq!(
            Tally::from_line("===== 1 passed in 0.01s ====="),
            Tally { passed: 1, failed: 0, skipped: 0 }
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in ["", "12 passed", "==== FAILURES ====", "test a ... ok", "test result: ", "== =="] {
            assert_eq!(Tally::from_line(line), Tally::default(), "{line:?}");
        }
    }
}
