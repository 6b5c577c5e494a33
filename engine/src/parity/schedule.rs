//! The noise schedule (SPEC 5.1).

use super::{Fixture, Fixtures, ParityError, Report, Tolerance};
use crate::diffusion::{Rates, Schedule, ScheduleConfig};

/// `schedule`: the rates in f64 and the buffers of a checkpoint in f32, for every size in the file.
pub(super) fn stage(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("schedule")?;
    let mut report = Report::default();
    let prefixes: Vec<String> =
        fixture.under("").iter().filter_map(|name| name.strip_suffix("_att").map(str::to_owned)).collect();
    for prefix in prefixes {
        let schedule = of_rates(&fixture, &prefix)?;
        type Get = fn(&Rates) -> f64;
        let columns: [(&str, Get); 3] = [("a", |r| r.keep), ("b", |r| r.replace), ("c", |r| r.mask)];
        for (letter, get) in columns {
            let steps = schedule.steps();
            let one: Vec<f64> = (0..steps).map(|t| get(&schedule.step(t))).collect();
            let all: Vec<f64> = (0..=steps).map(|t| get(&schedule.cumulative(t))).collect();
            for (name, got) in [(format!("{prefix}_{letter}t"), one), (format!("{prefix}_{letter}tt"), all)] {
                report.numbers(&name, &got, &fixture.f64(&name)?, Tolerance::DOUBLE);
            }
        }
        buffers(&fixture, &format!("{prefix}_"), &schedule, &mut report)?;
    }
    Ok(report)
}

/// Compares a schedule with the buffers `prefix` + `log_at` ... of a checkpoint.
pub(super) fn buffers(
    fixture: &Fixture,
    prefix: &str,
    schedule: &Schedule,
    report: &mut Report,
) -> Result<(), ParityError> {
    for (name, got) in schedule.log_buffers() {
        let name = format!("{prefix}{name}");
        report.numbers(&name, &got, &fixture.f64(&name)?, Tolerance::ACTIVATION);
    }
    Ok(())
}

/// The schedule whose rates are recorded: as many timesteps as they have values, and as many classes as share what
/// is neither kept nor masked.
fn of_rates(fixture: &Fixture, prefix: &str) -> Result<Schedule, ParityError> {
    let rates = |letter: &str| fixture.f64(&format!("{prefix}_{letter}t"));
    let (a, b, c) = (rates("a")?, rates("b")?, rates("c")?);
    let shared = a.iter().zip(&c).map(|(a, c)| 1.0 - a - c);
    // Where most is shared, the quotient is the most exact.
    let classes = shared
        .zip(&b)
        .max_by(|(x, _), (y, _)| x.total_cmp(y))
        .map(|(shared, b)| (shared / b).round())
        .filter(|classes| *classes > 1.0)
        .ok_or_else(|| fixture.unusable(&format!("{prefix}_bt"), "shares nothing among classes"))?;
    let config = ScheduleConfig { steps: a.len(), ..ScheduleConfig::default() };
    Ok(Schedule::new(classes as usize - 1, &config)?)
}
