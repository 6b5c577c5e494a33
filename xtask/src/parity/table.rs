//! The rows as text.

use super::Row;

/// Prints one line a stage, and under it what differs or was left out.
pub fn print(rows: &[Row]) {
    println!("{:<18}{:>8}{:>12}{:>12}  {:<36}", "stage", "tensors", "absolute", "relative", "tolerance");
    for row in rows {
        let number = |x: Option<f64>| x.map_or_else(|| "-".into(), |x| format!("{x:.1e}"));
        let verdict = if row.passed { "pass" } else { "FAIL" };
        println!(
            "{:<18}{:>8}{:>12}{:>12}  {:<36}{verdict}",
            row.stage,
            row.tensors,
            number(row.absolute),
            number(row.relative),
            row.tolerance
        );
        for failure in row.failures.iter().chain(&row.note) {
            println!("    {failure}");
        }
    }
}
