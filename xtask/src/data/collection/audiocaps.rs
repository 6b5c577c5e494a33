//! AudioCaps (Kim et al., 2019): lists of `audiocap_id,youtube_id,start_time,caption`, each of one split, and ten-second
//! clips that everybody cuts and names in their own way.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::folder::Folder;
use super::listing::{Described, Listing};
use super::table::{Csv, Row};
use crate::data::Split;

/// Length of a clip, in seconds: some name clips by start and end.
const CLIP_SECONDS: f64 = 10.0;

/// Whether a table has AudioCaps' columns.
pub fn is_list(table: &Csv) -> bool {
    ["youtube_id", "start_time", "caption"].iter().all(|column| table.has(&[column]))
}

/// The lists in `folder`; a CSV that cannot be read is not one.
pub fn find(folder: &Folder) -> Vec<PathBuf> {
    let is_one = |list: &PathBuf| {
        folder.text(list).is_ok_and(|text| Csv::new(&text).is_ok_and(|table| is_list(&table)))
    };
    folder.lists("csv").into_iter().filter(is_one).collect()
}

/// Reads them and looks for the clips in the folder and below.
///
/// # Errors
/// Where a list cannot be read.
pub fn read(lists: &[PathBuf], listing: &mut Listing) -> Result<()> {
    let mut by_stem = HashMap::new();
    for file in listing.folder().sounds() {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        by_stem.entry(stem).or_insert(file);
    }
    for list in lists {
        let split = split_of(list);
        let text = listing.folder().text(list)?;
        // Most people have a part of the clips only: one line for all that are missing.
        let (mut missing, mut rows) = (Vec::new(), 0);
        for row in Csv::new(&text)?.rows() {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    listing.skip(list.display(), error.to_string());
                    continue;
                }
            };
            let Some(youtube) = row.get(&["youtube_id"]) else {
                listing.skip(format!("{}, line {}", list.display(), row.line), "it has no youtube_id");
                continue;
            };
            rows += 1;
            let start = row.get(&["start_time"]).unwrap_or("0");
            let Some(file) = stems(&row, youtube, start).into_iter().find_map(|stem| by_stem.get(&stem))
            else {
                missing.push(youtube.to_owned());
                continue;
            };
            listing.add(Described {
                id: format!("{youtube}_{start}"),
                file: file.clone(),
                category: String::new(),
                captions: row.get(&["caption"]).map(str::to_owned).into_iter().collect(),
                split,
            });
        }
        if let Some(first) = missing.first() {
            let why = format!("no clip found for {} of its {rows} rows, such as {first}", missing.len());
            listing.skip(list.display(), why);
        }
    }
    Ok(())
}

/// Names, without ending, that the clip of `row` may have.
fn stems(row: &Row, youtube: &str, start: &str) -> Vec<String> {
    let mut spans = vec![String::new(), format!("_{start}")];
    if let Ok(start) = start.parse::<f64>() {
        let end = start + CLIP_SECONDS;
        spans.extend([format!("_{start}"), format!("_{start:.1}"), format!("_{start:.3}")]);
        spans.extend([
            format!("_{start}_{end}"),
            format!("_{start:.1}_{end:.1}"),
            format!("_{start:.3}_{end:.3}"),
        ]);
        // In milliseconds, as AudioSet's own names have it.
        spans.extend([format!("_{}", 1000.0 * start), format!("_{}_{}", 1000.0 * start, 1000.0 * end)]);
    }
    // With the most specific first, so that two clips of one video are not mistaken for each other.
    let names = spans.iter().rev().flat_map(|span| ["", "Y"].map(|y| format!("{y}{youtube}{span}")));
    names.chain(row.get(&["audiocap_id"]).map(str::to_owned)).collect()
}

/// The split that a list's name tells: `train.csv`, `audiocaps_val.csv`.
fn split_of(list: &Path) -> Option<Split> {
    let stem = list.file_stem()?.to_string_lossy().to_lowercase();
    let mut words = stem.split(|c: char| !c.is_ascii_alphabetic());
    words.find_map(|word| match word {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validation" | "dev" | "test" => Some(Split::Valid),
        _ => None,
    })
}
