//! Finding sounds as their words are typed.

use rusqlite::{ToSql, params_from_iter};

use super::{Entry, Library, LibraryError, entry::COLUMNS};

/// Words of a query that count; who types more has pasted something.
const MAX_WORDS: usize = 16;
/// Characters of a query that count.
const MAX_CHARS: usize = 500;

/// What the list is narrowed to besides the typed words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only what the user marked.
    pub only_favourites: bool,
    /// Only what has all these tags; upper and lower case of ASCII letters are the same.
    pub tags: Vec<String>,
    /// Only sounds of the model with this hash.
    pub pack: Option<String>,
}

/// A part of the list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The sounds, those first that were added last.
    pub entries: Vec<Entry>,
    /// How many there are in all.
    pub total: usize,
}

impl Library {
    /// The sounds whose prompt, name or tags have, for each word of `query`, a word that begins so: `limit` of them from the
    /// `offset`th, those first that were added last. Accents and case do not matter. Without words all are found; text that has
    /// none (an emoji) is looked for in the prompts as it is.
    ///
    /// # Errors
    /// Where the database cannot be read. No text is an error.
    pub fn search(
        &self,
        query: &str,
        filter: &Filter,
        limit: usize,
        offset: usize,
    ) -> Result<Page, LibraryError> {
        let query: String = query.chars().take(MAX_CHARS).collect();
        // The full-text index alone is read where that is enough, from the newest: it need not find all to show some.
        let mut source = "sound";
        let mut newest = "id DESC";
        let mut conditions = Vec::new();
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        if let Some(words) = full_text(&query) {
            source = "sound_text CROSS JOIN sound ON sound.id = sound_text.rowid";
            newest = "sound_text.rowid DESC";
            conditions.push("sound_text MATCH ?");
            values.push(Box::new(words));
        } else if !query.trim().is_empty() {
            conditions.push("instr(sound.prompt, ?) > 0");
            values.push(Box::new(query.trim().replace('\0', "")));
        }
        let typed = conditions.len();
        if filter.only_favourites {
            conditions.push("sound.favourite");
        }
        for tag in &filter.tags {
            conditions.push("EXISTS (SELECT 1 FROM json_each(sound.tags) WHERE value = ? COLLATE NOCASE)");
            values.push(Box::new(tag.clone()));
        }
        if let Some(pack) = &filter.pack {
            conditions.push("sound.pack_hash = ?");
            values.push(Box::new(pack.clone()));
        }
        let is_text_alone = newest != "id DESC" && conditions.len() == typed;
        let counted = if is_text_alone { "sound_text" } else { source };
        conditions.push("1");
        let conditions = conditions.join(" AND ");
        let count = format!("SELECT count(*) FROM {counted} WHERE {conditions}");
        let total: i64 = self.connection.query_row(&count, params_from_iter(&values), |row| row.get(0))?;
        let columns =
            COLUMNS.split(", ").map(|column| format!("sound.{column}")).collect::<Vec<_>>().join(", ");
        let page = format!(
            "SELECT {columns} FROM {source} WHERE {conditions} ORDER BY {newest} LIMIT {limit} OFFSET {offset}",
            limit = i64::try_from(limit).unwrap_or(i64::MAX),
            offset = i64::try_from(offset).unwrap_or(i64::MAX),
        );
        let sounds = self.sounds();
        let mut statement = self.connection.prepare(&page)?;
        let rows = statement.query_map(params_from_iter(&values), |row| Entry::from_row(row, &sounds))?;
        let entries = rows.collect::<Result<_, _>>()?;
        Ok(Page { entries, total: usize::try_from(total).unwrap_or_default() })
    }

    /// A number that changes with every change that others make through their own [`Library`].
    pub(super) fn version(&self) -> Result<i64, LibraryError> {
        Ok(self.connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
    }

    /// All tags with the number of sounds that have them, the most used first.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn tags(&self) -> Result<Vec<(String, usize)>, LibraryError> {
        let sql = "SELECT min(value), count(*) FROM sound, json_each(tags) GROUP BY value COLLATE NOCASE \
                   ORDER BY count(*) DESC, min(value)";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, usize::try_from(row.get::<_, i64>(1)?).unwrap_or_default()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Name and hash of the models that made the sounds, by name.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn packs(&self) -> Result<Vec<(String, String)>, LibraryError> {
        let sql = "SELECT min(pack_name), pack_hash FROM sound WHERE pack_hash != '' GROUP BY pack_hash \
                   ORDER BY min(pack_name), pack_hash";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// The query in FTS5's language: every word as the beginning of one. `None` without words.
///
/// Words hold letters and digits alone, and stand in quotation marks: nothing typed is part of the language.
fn full_text(query: &str) -> Option<String> {
    let words: Vec<String> = query
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(MAX_WORDS)
        .map(|word| format!("\"{word}\"*"))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}
