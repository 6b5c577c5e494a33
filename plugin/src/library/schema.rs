//! The database file: opening, its tables, and what to do with a damaged one.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::LibraryError;

/// The database within the library's folder.
const DATABASE: &str = "library.sqlite";
/// Files that SQLite may put beside it.
const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];
/// How long to wait for another program that writes.
const PATIENCE: Duration = Duration::from_secs(10);
/// What brings a database from each version to the next; their number is the version of the format.
const MIGRATIONS: [&str; 1] = [
    // `file` is a name in the folder of sounds, or a whole path. `seed` holds the bits of an unsigned number. `hash` is
    // SHA-256 of the samples as 24-bit little-endian integers: a sound is in the library once.
    // Sounds are numbered as they are added, which is the order they are shown in. Texts are indexed without being stored twice.
    "CREATE TABLE sound (
         id INTEGER PRIMARY KEY,
         file TEXT NOT NULL UNIQUE,
         prompt TEXT NOT NULL,
         negative_prompt TEXT,
         seed INTEGER NOT NULL,
         variation INTEGER NOT NULL,
         created INTEGER NOT NULL,
         seconds REAL NOT NULL,
         pack_name TEXT NOT NULL,
         pack_hash TEXT NOT NULL,
         adapters TEXT NOT NULL CHECK (json_valid(adapters)),
         favourite INTEGER NOT NULL DEFAULT 0,
         tags TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(tags)),
         missing INTEGER NOT NULL DEFAULT 0,
         hash TEXT NOT NULL UNIQUE
     );
     CREATE VIRTUAL TABLE sound_text USING fts5 (
         name, prompt, tags,
         content = '', contentless_delete = 1, detail = full, prefix = '1 2 3',
         tokenize = \"unicode61 remove_diacritics 2\"
     );",
];

/// What [`open`] gives.
pub(super) struct Opened {
    pub connection: Connection,
    /// Whether the database was made just now.
    pub is_new: bool,
    /// What was damaged, in a sentence.
    pub damage: Option<String>,
}

/// Opens the database in `folder`; makes the folder and an empty database where there are none.
pub(super) fn open(folder: &Path) -> Result<Opened, LibraryError> {
    fs::create_dir_all(folder).map_err(LibraryError::io(folder))?;
    // Of several programs that find the same damage, one repairs it.
    let _lock = lock(folder)?;
    let path = folder.join(DATABASE);
    match open_sound(&path) {
        Ok((connection, is_new)) => Ok(Opened { connection, is_new, damage: None }),
        Err(error) if error.is_damage() => {
            let aside = set_aside(folder)?;
            let (connection, is_new) = open_sound(&path)?;
            let damage = format!(
                "The list of the sound library was damaged. It was made again from the sounds themselves, without \
                 favourites and tags; the damaged one is kept as \"{}\".",
                aside.display()
            );
            Ok(Opened { connection, is_new, damage: Some(damage) })
        }
        Err(error) => Err(error),
    }
}

/// Keeps others from opening or repairing until it is dropped.
fn lock(folder: &Path) -> Result<File, LibraryError> {
    let path = folder.join("library.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(LibraryError::io(&path))?;
    match file.lock() {
        // Some network folders know no locks; then there is none.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(LibraryError::io(&path)(error)),
        _ => Ok(file),
    }
}

/// Opens a database and brings it up to date; answers whether it is new.
fn open_sound(path: &Path) -> Result<(Connection, bool), LibraryError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    // Nothing that a database from elsewhere brings along is run.
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    let found = version(&connection)?;
    if found > MIGRATIONS.len() as i64 {
        return Err(LibraryError::Newer { found, known: MIGRATIONS.len() as i64 });
    }
    // Readers and one writer at once. Where the file system cannot do that, the old way stays.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = NORMAL;")?;
    let state: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if state != "ok" {
        return Err(damaged(state));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let done = usize::try_from(found).map_err(|_| damaged(format!("version {found}")))?;
    for (migration, reached) in MIGRATIONS.iter().zip(1i64..).skip(done) {
        // Where tables of these names are there already, another program made them.
        transaction.execute_batch(migration).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::Unknown) => damaged(error.to_string()),
            _ => error.into(),
        })?;
        transaction.pragma_update(None, "user_version", reached)?;
    }
    transaction.commit()?;
    // The columns are there, whatever the version says.
    for sql in [
        "SELECT id FROM sound WHERE hash = '' AND file = '' AND missing",
        "SELECT name FROM sound_text LIMIT 0",
    ] {
        connection.prepare(sql).map_err(|error| damaged(error.to_string()))?;
    }
    Ok((connection, done == 0))
}

fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// The error of a database whose content is wrong.
fn damaged(what: String) -> LibraryError {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    LibraryError::Database(rusqlite::Error::SqliteFailure(code, Some(what)))
}

/// Gives the damaged database and its companions other names; returns the new one.
fn set_aside(folder: &Path) -> Result<PathBuf, LibraryError> {
    let number = (1..).find(|number| !folder.join(damaged_name(*number)).exists()).unwrap_or(u32::MAX);
    for companion in COMPANIONS {
        let from = folder.join(format!("{DATABASE}{companion}"));
        let to = folder.join(format!("{}{companion}", damaged_name(number)));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LibraryError::io(&from)(error));
            }
            _ => {}
        }
    }
    Ok(folder.join(damaged_name(number)))
}

fn damaged_name(number: u32) -> String {
    format!("library damaged {number}.sqlite")
}
