//! `metadata.csv` or `metadata.jsonl`, as Hugging Face's audiofolder has them: beside the recordings, or one in each of
//! the folders `train`, `validation`, `test`. Beside the recordings, a CSV of another name with the same columns serves, too.
//!
//! `file_name` (or `file`), relative to the table, and a caption: `caption`, `text` or `description`, with or without a
//! number (`caption_2`). `split` and `category` are used where present. Several rows for one file are several captions.

use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::audiocaps;
use super::folder::Folder;
use super::listing::{Described, Listing, id_of};
use super::table::{Csv, Row, json_rows};
use crate::data::Split;

const FILE: &[&str] = &["file_name", "file"];
const CAPTION: &[&str] = &["caption", "text", "description"];
/// Folders that name a split.
const SPLITS: &[&str] =
    &["train", "training", "valid", "validation", "val", "dev", "test", "eval", "evaluation"];

/// The tables in `folder`, CSV first.
///
/// # Errors
/// Where one is called `metadata.csv` but cannot be read.
pub fn find(folder: &Folder) -> Result<Vec<PathBuf>> {
    let named = |name: &'static str| {
        let in_splits = SPLITS.iter().map(move |split| Path::new(split).join(name));
        iter::once(PathBuf::from(name)).chain(in_splits).filter(|list| folder.file(list).is_ok())
    };
    let mut tables = Vec::new();
    for list in named("metadata.csv") {
        // AudioCaps' lists may have this name as well.
        if !audiocaps::is_list(&Csv::new(&folder.text(&list)?)?) {
            tables.push(list);
        }
    }
    if tables.is_empty() {
        tables.extend(folder.lists("csv").into_iter().filter(|list| is_table(folder, list)));
    }
    tables.extend(named("metadata.jsonl"));
    Ok(tables)
}

/// Whether `list` is a CSV with columns for files and captions.
fn is_table(folder: &Folder, list: &Path) -> bool {
    let Ok(text) = folder.text(list) else { return false };
    Csv::new(&text)
        .is_ok_and(|table| table.has(FILE) && table.columns.iter().any(|column| is_caption(column)))
}

/// Reads the tables.
///
/// # Errors
/// Where one has no column for files or captions.
pub fn read(lists: &[PathBuf], listing: &mut Listing) -> Result<()> {
    let csv = |list: &Path| list.extension().is_some_and(|extension| extension == "csv");
    let first_is_csv = lists.first().is_some_and(|list| csv(list));
    for list in lists {
        if csv(list) != first_is_csv {
            listing.skip(list.display(), "not read, since there is a CSV");
            continue;
        }
        let text = listing.folder().text(list)?;
        if csv(list) {
            let table = Csv::new(&text)?;
            let (name, columns) = (list.display(), table.columns.join(", "));
            ensure!(
                table.has(FILE),
                "no column 'file_name' or 'file' in the first line of {name}; found: {columns}"
            );
            let has_caption = table.columns.iter().any(|column| is_caption(column));
            ensure!(has_caption, "no column 'caption', 'text' or 'description' in {name}; found: {columns}");
            for row in table.rows() {
                match row {
                    Ok(row) => add(&row, list, listing),
                    Err(error) => listing.skip(list.display(), error.to_string()),
                }
            }
        } else {
            for (line, row) in json_rows(&text) {
                match row {
                    Ok(row) => add(&row, list, listing),
                    Err(error) => listing.skip(format!("{}, line {line}", list.display()), error.to_string()),
                }
            }
        }
    }
    Ok(())
}

fn add(row: &Row, list: &Path, listing: &mut Listing) {
    let line = format!("{}, line {}", list.display(), row.line);
    let Some(file) = row.get(FILE) else { return listing.skip(line, "it names no file") };
    let folder = list.parent().unwrap_or(Path::new(""));
    let file = folder.join(file);
    let named = row.get(&["split"]).map(str::to_lowercase);
    let folder_name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let split = match named.or(folder_name).as_deref() {
        None => None,
        Some("train" | "training") => Some(Split::Train),
        Some(name) if SPLITS.contains(&name) => Some(Split::Valid),
        Some(other) => return listing.skip(line, format!("split is '{other}', not train, valid or test")),
    };
    listing.add(Described {
        id: id_of(&file),
        file,
        category: row.get(&["category"]).unwrap_or_default().to_owned(),
        captions: row
            .fields()
            .filter(|(name, _)| is_caption(name))
            .map(|(_, value)| value.to_owned())
            .collect(),
        split,
    });
}

/// Whether a column called `name` holds captions: `caption`, `caption2`, `caption_2`.
fn is_caption(name: &str) -> bool {
    CAPTION.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_'))
}
