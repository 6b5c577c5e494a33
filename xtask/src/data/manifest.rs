//! `manifest.tsv`: which recordings a data set has and what they sound like.
//!
//! One recording a line, columns separated by tabs, no quoting; the first line names the columns.
//! `id`, `file` (relative to the manifest's folder), `category`, `caption` and `split` (`train` or
//! `valid`) are needed, `caption2` (a paraphrase) is used where present, others are ignored.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Split;

/// One recording as the manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the recording, unique in the manifest.
    pub id: String,
    /// The recording, relative to the manifest's folder.
    pub file: PathBuf,
    /// Kind of sound, upper case.
    pub category: String,
    /// One caption or more, never empty.
    pub captions: Vec<String>,
    /// What the recording is for.
    pub split: Split,
}

/// A manifest's usable rows, and why the others are not.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Rows in the manifest's order.
    pub rows: Vec<Row>,
    /// One message for each row left out, with its line number.
    pub skipped: Vec<String>,
}

/// Reads `manifest.tsv` in `folder`.
pub fn read(folder: &Path) -> Result<Manifest> {
    let path = folder.join("manifest.tsv");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}: a data set needs a manifest", path.display()))?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

/// Parses a manifest's text. Fails only where no row at all can be understood.
pub fn parse(text: &str) -> Result<Manifest> {
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let header: Vec<&str> = lines.next().map(|(_, line)| line.split('\t').collect()).unwrap_or_default();
    let optional = |name: &str| header.iter().position(|column| column.trim() == name);
    let needed = |name: &str| match optional(name) {
        Some(column) => Ok(column),
        None => bail!("no column '{name}' in the first line; found: {}", header.join(", ")),
    };
    let (id, file, category) = (needed("id")?, needed("file")?, needed("category")?);
    let (caption, split) = (needed("caption")?, needed("split")?);
    let paraphrase = optional("caption2");

    let mut manifest = Manifest::default();
    let mut seen = HashSet::new();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
        let field = |column: usize| fields.get(column).copied().unwrap_or_default();
        let row = Row {
            id: field(id).to_owned(),
            file: PathBuf::from(field(file)),
            category: field(category).to_uppercase(),
            captions: [Some(caption), paraphrase]
                .into_iter()
                .flatten()
                .map(|column| field(column).to_owned())
                .filter(|caption| !caption.is_empty())
                .collect(),
            split: match field(split) {
                "train" => Split::Train,
                "valid" => Split::Valid,
                other => {
                    let message = format!("line {}: split is '{other}', not train or valid", index + 1);
                    manifest.skipped.push(message);
                    continue;
                }
            },
        };
        match reason_to_skip(&row, &mut seen) {
            Some(reason) => manifest.skipped.push(format!("line {}: {reason}", index + 1)),
            None => manifest.rows.push(row),
        }
    }
    Ok(manifest)
}

/// Why `row` cannot be used, or `None`; notes its id as seen.
fn reason_to_skip(row: &Row, seen: &mut HashSet<String>) -> Option<String> {
    if row.id.is_empty() || row.category.is_empty() {
        return Some("the id or the category is empty".into());
    }
    if row.captions.is_empty() {
        return Some(format!("{} has no caption", row.id));
    }
    // A manifest from elsewhere must not make us read files outside its folder.
    let inside = row.file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if row.file.as_os_str().is_empty() || !inside {
        return Some(format!("{}: '{}' is not a path inside the data set", row.id, row.file.display()));
    }
    if !seen.insert(row.id.clone()) {
        return Some(format!("{} is there twice", row.id));
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEADER: &str = "id\tfile\tlicence\tcategory\tcaption\tcaption2\tsplit\n";

    #[test]
    fn reads_rows_with_columns_in_any_order() {
        let text = "split\tcaption\tid\tfile\tcategory\nvalid\tA \"bell\" rings\tx1\ta/x1.opus\tbells\r\n\n";
        let manifest = parse(text).unwrap();
        assert_eq!(
            manifest.rows,
            [Row {
                id: "x1".into(),
                file: "a/x1.opus".into(),
                category: "BELLS".into(),
                captions: vec!["A \"bell\" rings".into()],
                split: Split::Valid,
            }]
        );
        assert!(manifest.skipped.is_empty());
    }

    #[test]
    fn skips_rows_that_cannot_be_used_and_says_why() {
        let rows = [
            "a\ta.opus\t\tDOORS\tA door\tThe door\ttrain",
            "a\tb.opus\t\tDOORS\tA door\t\ttrain",
            "c\t../../etc/passwd\t\tDOORS\tA door\t\ttrain",
            "d\t/etc/passwd\t\tDOORS\tA door\t\ttrain",
            "e\te.opus\t\tDOORS\t\t\ttrain",
            "f\tf.opus\t\tDOORS\tA door\t\ttest",
            "g\tg.opus",
        ];
        let manifest = parse(&format!("{HEADER}{}", rows.join("\n"))).unwrap();
        assert_eq!(manifest.rows.len(), 1);
        assert_eq!(manifest.rows[0].captions, ["A door", "The door"]);
        assert_eq!(manifest.skipped.len(), 6);
        assert!(manifest.skipped[0].starts_with("line 3: a is there twice"), "{:?}", manifest.skipped);
    }

    #[test]
    fn names_the_missing_column() {
        let error = parse("id\tfile\tcaption\tsplit\n").unwrap_err().to_string();
        assert!(error.contains("'category'"), "{error}");
        assert!(parse("").is_err());
    }
}
