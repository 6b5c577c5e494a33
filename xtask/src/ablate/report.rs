//! The tables of an ablation, as Markdown and as a picture.

use super::Outcome;
use super::variant::{FINISHED, LAMBDA, LAMBDAS, RANKS, TARGETS, Variant};
use crate::eval::metrics::Spread;
use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use std::fmt::Write;
use std::path::Path;

/// The rows of tables 1 and 2.
fn methods() -> [(&'static str, Variant); 4] {
    [
        ("base", Variant::base()),
        ("base, all weights fine-tuned", Variant::full(0.0)),
        ("LoRA", Variant::lora("q,k,v,proj", 8, 0.0)),
        ("SoundLoCD (LoRA + contrastive)", Variant::soundlocd()),
    ]
}

/// The rows of table 4.
fn losses() -> Vec<(String, Variant)> {
    let full = [0.0, LAMBDA].map(|lambda| (format!("all weights, lambda {lambda:e}"), Variant::full(lambda)));
    let lora =
        LAMBDAS.map(|lambda| (format!("LoRA, lambda {lambda:e}"), Variant::lora("q,k,v,proj", 8, lambda)));
    full.into_iter().chain(lora).collect()
}

/// A measure: its heading, how to get it where it is known, its digits.
type Column = (&'static str, fn(&Outcome) -> Option<f64>, usize);

const MEASURES: [Column; 7] = [
    ("category recognised, %", |o| Some(100.0 * o.measures.accuracy), 1),
    ("FID", |o| Some(o.measures.fid), 2),
    ("ISc", |o| Some(o.measures.isc), 2),
    ("KL", |o| Some(o.measures.kl), 3),
    ("KID", |o| Some(o.measures.kid), 3),
    ("held-out cross-entropy", |o| Some(o.measures.cross_entropy), 3),
    ("caption margin", |o| Some(o.measures.margin), 3),
];

const COSTS: [Column; 4] = [
    ("trained", |o| Some(o.parameters as f64), 0),
    ("kept step", |o| Some(o.steps.1 as f64), 0),
    ("processor time, s", |o| o.cpu_seconds, 0),
    ("peak memory, MB", |o| o.peak_bytes.map(|bytes| bytes as f64 / 1e6), 0),
];

/// Writes `ablation.md` and `ablation.png`.
pub fn write(outcomes: &[Outcome], out: &Path) -> Result<()> {
    let text = markdown(outcomes);
    let path = out.join("ablation.md");
    std::fs::write(&path, &text).with_context(|| format!("could not write {}", path.display()))?;
    picture(outcomes, &out.join("ablation.png"))?;
    println!("{text}\n{} runs, in {}", outcomes.len(), out.display());
    Ok(())
}

/// The domains that there are runs of, in the order of their first.
fn domains(outcomes: &[Outcome]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !names.contains(&outcome.domain.as_str()) {
            names.push(&outcome.domain);
        }
    }
    names
}

/// The runs of a variant in a domain.
fn of<'a>(outcomes: &'a [Outcome], domain: &str, variant: &Variant) -> Vec<&'a Outcome> {
    outcomes.iter().filter(|o| o.domain == domain && o.variant == variant.key).collect()
}

/// Mean and deviation of a measure over the runs of which it is known; `None` without any.
fn spread(runs: &[&Outcome], get: fn(&Outcome) -> Option<f64>) -> Option<Spread> {
    let values: Vec<f64> = runs.iter().filter_map(|run| get(run)).collect();
    (!values.is_empty()).then(|| Spread::of(&values))
}

fn cell(runs: &[&Outcome], (_, get, digits): Column) -> String {
    match spread(runs, get) {
        None => "-".into(),
        Some(Spread { mean, deviation }) if runs.len() > 1 && digits > 0 => {
            format!("{mean:.digits$} ± {deviation:.digits$}")
        }
        Some(Spread { mean, .. }) => format!("{mean:.digits$}"),
    }
}

fn table<'a>(
    outcomes: &[Outcome],
    domain: &str,
    rows: impl Iterator<Item = (&'a str, &'a Variant)>,
    columns: &[Column],
) -> String {
    let mut text = String::from("| | runs |");
    for (heading, ..) in columns {
        let _ = write!(text, " {heading} |");
    }
    let _ = writeln!(text, "\n|---|---|{}", "---|".repeat(columns.len()));
    for (name, variant) in rows {
        let runs = of(outcomes, domain, variant);
        let _ = write!(text, "| {name} | {} |", runs.len());
        for column in columns {
            let _ = write!(text, " {} |", cell(&runs, *column));
        }
        text.push('\n');
    }
    text
}

fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for domain in domains(outcomes) {
        let all: Vec<Column> = COSTS.into_iter().chain(MEASURES).collect();
        let mut methods = methods().map(|(name, variant)| (name.to_owned(), variant)).to_vec();
        let finished = outcomes.iter().filter(|o| o.domain == domain && o.variant.starts_with(FINISHED));
        methods.extend(
            finished.map(|o| (o.variant.clone(), Variant { key: o.variant.clone(), ..Variant::base() })),
        );
        let rows = methods.iter().map(|(name, variant)| (name.as_str(), variant));
        let _ = writeln!(text, "### Domain {domain}\n\nMethods (the paper's tables 1 and 2):\n");
        text += &table(outcomes, domain, rows, &all);
        let losses = losses();
        let rows = losses.iter().map(|(name, variant)| (name.as_str(), variant));
        let _ = writeln!(text, "\nWith and without LoRA and the contrastive loss (table 4):\n");
        text += &table(outcomes, domain, rows, &MEASURES);
        let grid: Vec<(String, Variant)> = TARGETS
            .iter()
            .flat_map(|targets| {
                RANKS.map(|rank| (format!("{targets}, rank {rank}"), Variant::lora(targets, rank, LAMBDA)))
            })
            .collect();
        if grid.iter().filter(|(_, variant)| !of(outcomes, domain, variant).is_empty()).count() > 1 {
            let _ = writeln!(text, "\nMatrices and ranks (table 3):\n");
            let columns: Vec<Column> = COSTS.into_iter().take(1).chain(MEASURES).collect();
            text += &table(
                outcomes,
                domain,
                grid.iter().map(|(name, variant)| (name.as_str(), variant)),
                &columns,
            );
        }
        text.push('\n');
    }
    text
}

/// A row of panels a domain: for each measure a point a variant, with a bar of one deviation to each side.
fn picture(outcomes: &[Outcome], path: &Path) -> Result<()> {
    let domains = domains(outcomes);
    if domains.is_empty() {
        return Ok(());
    }
    let measures = [MEASURES[0], MEASURES[1], MEASURES[5], MEASURES[6]];
    let draw = |e: &dyn std::fmt::Display| anyhow!("could not draw {}: {e}", path.display());
    crate::train::plots::register_font();
    let root = BitMapBackend::new(path, (1500, 420 * domains.len() as u32)).into_drawing_area();
    root.fill(&WHITE).map_err(|e| draw(&e))?;
    let mut variants: Vec<(String, Variant)> = vec![("base".into(), Variant::base())];
    variants.extend(losses());
    for targets in TARGETS {
        variants
            .extend(RANKS.map(|rank| (format!("{targets} r{rank}"), Variant::lora(targets, rank, LAMBDA))));
    }
    let areas = root.split_evenly((domains.len(), measures.len()));
    for (n, area) in areas.iter().enumerate() {
        let (domain, (heading, get, _)) = (domains[n / measures.len()], measures[n % measures.len()]);
        let points: Vec<(usize, &str, Spread)> = variants
            .iter()
            .filter_map(|(name, variant)| Some((name, spread(&of(outcomes, domain, variant), get)?)))
            .enumerate()
            .map(|(row, (name, spread))| (row, name.as_str(), spread))
            .collect();
        let low = points.iter().map(|p| p.2.mean - p.2.deviation).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|p| p.2.mean + p.2.deviation).fold(f64::NEG_INFINITY, f64::max);
        let room = ((high - low) * 0.1).max(1e-6);
        let last = points.len().max(1) - 1;
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .caption(format!("{domain}: {heading}"), ("sans-serif", 15))
            .x_label_area_size(22)
            .y_label_area_size(150)
            .build_cartesian_2d(low - room..high + room, -(last as f64) - 0.5..0.5)
            .map_err(|e| draw(&e))?;
        let label = |y: &f64| {
            let row = -y.round();
            points.iter().find(|p| p.0 as f64 == row).map_or(String::new(), |p| p.1.to_owned())
        };
        chart
            .configure_mesh()
            .x_labels(5)
            .y_labels(points.len() + 1)
            .y_label_formatter(&label)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 11))
            .draw()
            .map_err(|e| draw(&e))?;
        for (row, _, Spread { mean, deviation }) in &points {
            let y = -(*row as f64);
            let bar =
                PathElement::new(vec![(mean - deviation, y), (mean + deviation, y)], BLUE.stroke_width(2));
            chart.draw_series([bar]).map_err(|e| draw(&e))?;
            chart.draw_series([Circle::new((*mean, y), 4, BLUE.filled())]).map_err(|e| draw(&e))?;
        }
    }
    root.present().map_err(|e| draw(&e))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::measure::Measures;
    use super::*;

    fn outcome(variant: &Variant, seed: u64, fid: f64) -> Outcome {
        Outcome {
            domain: "keyboard".into(),
            variant: variant.key.clone(),
            seed,
            base: String::new(),
            parameters: 1000,
            steps: (100, 80),
            seconds: 10.0,
            cpu_seconds: None,
            peak_bytes: None,
            measures: Measures { fid, accuracy: 0.5, ..Measures::default() },
        }
    }

    #[test]
    fn tables_have_means_and_deviations_and_gaps_where_nothing_was_run() {
        let finished = Variant::finished(Path::new("some/keys.safetensors"));
        let outcomes = [
            outcome(&Variant::base(), 1, 4.0),
            outcome(&finished, 1, 1.5),
            // The other one was interrupted.
            Outcome { cpu_seconds: Some(70.0), ..outcome(&Variant::soundlocd(), 1, 2.0) },
            outcome(&Variant::soundlocd(), 2, 3.0),
        ];
        let text = markdown(&outcomes);
        let row = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        assert!(
            row("| SoundLoCD").contains("| 2 | 1000 | 80 | 70 | - | 50.0 ± 0.0 | 2.50 ± 0.50 |"),
            "{text}"
        );
        assert!(row("| base |").contains("| 4.00 |"), "{text}");
        assert!(row("| LoRA |").contains("| 0 | - |"), "{text}");
        assert!(row("| adapter keys |").contains("| 1.50 |"), "{text}");
        let folder = std::env::temp_dir().join(format!("soundlocd-ablate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        write(&outcomes, &folder).unwrap();
        assert!(folder.join("ablation.png").metadata().unwrap().len() > 1000);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
