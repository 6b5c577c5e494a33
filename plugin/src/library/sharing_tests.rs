#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    env,
    path::Path,
    process::{self, Command},
    thread,
};

use super::{
    Filter, Library, SOUNDS,
    tests::{Place, add},
};

/// Adds sounds `first..first + count`, and one that all writers add.
fn write_many(folder: &Path, first: u64, count: u64) {
    let mut library = Library::open(folder).unwrap();
    for number in first..first + count {
        let entry = add(&mut library, number, "many at once");
        library.set_tags(entry.id, &[format!("writer {first}")]).unwrap();
        add(&mut library, 1_000_000, "the same for all");
        library.search("many", &Filter::default(), 10, 0).unwrap();
    }
}

fn assert_many(place: &Place, count: usize) {
    let library = place.open();
    let page = library.search("", &Filter::default(), usize::MAX, 0).unwrap();
    assert_eq!(page.total, count + 1);
    assert_eq!(place.names(SOUNDS).len(), count + 1);
    for entry in &page.entries {
        assert_eq!(super::add::sample_hash(&library.load(entry).unwrap().audio), entry.hash);
    }
    assert_eq!(library.search("writer", &Filter::default(), 0, 0).unwrap().total, count);
    let state: String = library.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(state, "ok");
}

#[test]
fn threads_may_write_at_once() {
    let place = Place::new();
    thread::scope(|scope| {
        for writer in 0..4 {
            let folder = &place.0;
            scope.spawn(move || write_many(folder, 100 * writer, 10));
        }
    });
    assert_many(&place, 40);
}

/// Run by [`processes_may_write_at_once`] in processes of their own; alone it does nothing.
#[test]
#[ignore = "part of another test"]
fn writer_process() {
    if let (Some(folder), Ok(first)) =
        (env::var_os("SOUNDLOCD_TEST_FOLDER"), env::var("SOUNDLOCD_TEST_FIRST"))
    {
        write_many(Path::new(&folder), first.parse().unwrap(), 10);
    }
}

#[test]
fn processes_may_write_at_once() {
    let place = Place::new();
    let children: Vec<_> = (0..3)
        .map(|writer| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "library::sharing_tests::writer_process", "--ignored"])
                .env("SOUNDLOCD_TEST_FOLDER", &place.0)
                .env("SOUNDLOCD_TEST_FIRST", (100 * writer).to_string())
                .stdout(process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_many(&place, 30);
}
