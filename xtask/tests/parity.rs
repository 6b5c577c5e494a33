//! `cargo xtask parity` as a program: its table, its JSON, and what makes it fail.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn parity(folder: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["parity", "--fixtures"])
        .arg(folder)
        .args(options)
        .output()
        .unwrap()
}

#[test]
fn every_stage_passes_and_json_says_so() {
    let output = parity(&fixtures(), &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let stages: Vec<_> = rows.iter().filter_map(|row| row["stage"].as_str()).collect();
    for stage in ["mel", "clip_text", "tokenizer", "dit", "lora", "cdcd", "sample_var", "melgan", "metrics"] {
        assert!(stages.contains(&stage), "{stage} is missing");
    }
    for row in &rows {
        assert_eq!(row["passed"], true, "{row}");
        assert!(row["tensors"].as_u64().unwrap() > 0 && row["absolute"].as_f64().is_some(), "{row}");
    }
}

/// A copy of one fixture with one recorded value moved by more than any tolerance.
#[test]
fn a_number_that_differs_fails_by_name() {
    let folder = std::env::temp_dir().join(format!("soundlocd-parity-cli-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut bytes = std::fs::read(fixtures().join("schedule.safetensors")).unwrap();
    let header_length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_length]).unwrap();
    let start = 8 + header_length + header["full_at"]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[start..start + 8].copy_from_slice(&0.5_f64.to_le_bytes());
    std::fs::write(folder.join("schedule.safetensors"), bytes).unwrap();

    let output = parity(&folder, &["--stages", "schedule"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("FAIL") && text.contains("full_at[0]: expected 0.5"), "{text}");

    // The other files are not there: an error a stage, and still a table.
    let output = parity(&folder, &[]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("mel.safetensors"));
    let output = parity(&folder, &["--stages", "taste"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no stage taste"));
    std::fs::remove_dir_all(&folder).unwrap();
}
