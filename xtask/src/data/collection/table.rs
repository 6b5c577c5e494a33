//! Tables in files: CSV with a header, and JSON lines.

use anyhow::{Context, Result, bail};
use csv::{ReaderBuilder, StringRecord};
use serde_json::Value;

/// A row: the columns that have something in them, by their lower-case names, in the file's order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its line in the file, from 1.
    pub line: u64,
    fields: Vec<(String, String)>,
}

impl Row {
    /// The first of the columns `names` that the row has something in.
    pub fn get(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .find_map(|name| self.fields.iter().find(|(n, _)| n == name))
            .map(|(_, value)| value.as_str())
    }

    /// All columns and what is in them.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A CSV file's text with the names of its columns.
pub struct Csv<'a> {
    reader: csv::Reader<&'a [u8]>,
    /// Lower case.
    pub columns: Vec<String>,
}

impl<'a> Csv<'a> {
    /// Reads the header of `text`; columns are separated by commas or, as some spreadsheets write, by semicolons or tabs.
    ///
    /// # Errors
    /// Where the first line is damaged.
    pub fn new(text: &'a str) -> Result<Self> {
        let header = text.lines().next().unwrap_or_default();
        let delimiter =
            [b'\t', b',', b';'].into_iter().find(|&d| header.contains(char::from(d))).unwrap_or(b',');
        // Quotes mean nothing where tabs separate: `5" snare`.
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(delimiter != b'\t')
            .flexible(true)
            .from_reader(text.as_bytes());
        let columns = reader.headers().context("the first line is damaged")?;
        let columns = columns.iter().map(|column| column.trim().to_lowercase()).collect();
        Ok(Self { reader, columns })
    }

    /// Whether there is a column called by one of `names`.
    pub fn has(&self, names: &[&str]) -> bool {
        self.columns.iter().any(|column| names.contains(&column.as_str()))
    }

    /// The rows, with the reason where one cannot be read.
    pub fn rows(self) -> impl Iterator<Item = Result<Row, csv::Error>> {
        let Self { reader, columns } = self;
        reader.into_records().map(move |record| {
            let record: StringRecord = record?;
            let line = record.position().map_or(0, csv::Position::line);
            let fields = columns.iter().cloned().zip(record.iter().map(|field| field.trim().to_owned()));
            Ok(Row { line, fields: fields.filter(|(_, field)| !field.is_empty()).collect() })
        })
    }
}

/// The rows of JSON lines: one object a line, whose strings, numbers and lists of strings are fields.
pub fn json_rows(text: &str) -> impl Iterator<Item = (u64, Result<Row>)> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(line, text)| (line, json_row(line, text)))
}

fn json_row(line: u64, text: &str) -> Result<Row> {
    let Value::Object(object) = serde_json::from_str(text)? else { bail!("it is no JSON object") };
    let mut row = Row { line, fields: Vec::new() };
    for (name, value) in object {
        let values = if let Value::Array(values) = value { values } else { vec![value] };
        for value in values {
            let field = match value {
                Value::String(text) => text.trim().to_owned(),
                Value::Number(number) => number.to_string(),
                _ => continue,
            };
            if !field.is_empty() {
                row.fields.push((name.to_lowercase(), field));
            }
        }
    }
    Ok(row)
}
