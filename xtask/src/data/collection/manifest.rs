//! `manifest.tsv`: which recordings a data set has and what they sound like.
//!
//! One recording a line, columns separated by tabs, no quoting; the first line names the columns.
//! `id`, `file` (relative to the manifest's folder), `category`, `caption` and `split` (`train` or
//! `valid`) are needed, `caption2` (a paraphrase) is used where present, others are ignored.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::folder::Folder;
use super::listing::{Described, Listing};
use super::table::Csv;
use crate::data::Split;

const NAME: &str = "manifest.tsv";

/// The manifest in `folder`, if it has one.
pub fn find(folder: &Folder) -> Vec<PathBuf> {
    if folder.has(NAME) { vec![NAME.into()] } else { Vec::new() }
}

/// Reads it.
///
/// # Errors
/// Where it lacks a column.
pub fn read(lists: &[PathBuf], listing: &mut Listing) -> Result<()> {
    for list in lists {
        let text = listing.folder().text(list)?;
        let table = Csv::new(&text)?;
        for column in ["id", "file", "category", "caption", "split"] {
            let found = table.columns.join(", ");
            ensure!(table.has(&[column]), "no column '{column}' in the first line of {NAME}; found: {found}");
        }
        for row in table.rows() {
            let row = row?;
            let field = |name| row.get(&[name]).unwrap_or_default().to_owned();
            let line = format!("line {}", row.line);
            let split = match row.get(&["split"]) {
                Some("train") => Split::Train,
                Some("valid") => Split::Valid,
                other => {
                    let found = other.unwrap_or_default();
                    listing.skip(line, format!("split is '{found}', not train or valid"));
                    continue;
                }
            };
            if field("id").is_empty() || field("category").is_empty() {
                listing.skip(line, "the id or the category is empty");
                continue;
            }
            listing.add(Described {
                id: field("id"),
                file: field("file").into(),
                category: field("category"),
                captions: vec![field("caption"), field("caption2")],
                split: Some(split),
            });
        }
    }
    Ok(())
}
