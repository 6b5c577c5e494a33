#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use soundlocd_engine::clip::wav::{Export, Naming};

use super::{
    LibraryWorker, Search, Shelf,
    tests::{Place, clip},
};

/// Waits for a state of the shelf.
fn wait(worker: &LibraryWorker, until: impl Fn(&Shelf) -> bool) -> Shelf {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let shelf = worker.shelf();
        if until(&shelf) {
            return shelf;
        }
        assert!(Instant::now() < deadline, "{shelf:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_worker_fills_the_shelf() {
    let place = Place::new();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let on_change = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let worker = LibraryWorker::start(Some(place.0.clone()), on_change).unwrap();
    let search = |query: &str| Search { query: query.into(), limit: 50, ..Search::default() };
    for n in 0..5 {
        worker.add(Arc::new(clip(n, &format!("sound {n}"))), Naming::Prompt, Export::default());
    }
    for n in 0..1_000 {
        worker.search(search(&format!("soun {n}")));
    }
    worker.search(search("sound 3"));
    let shelf = wait(&worker, |shelf| shelf.search.query == "sound 3");
    let entry = shelf.page.unwrap().entries[0].clone();
    assert_eq!(entry.prompt, "sound 3");
    assert_eq!(shelf.packs.len(), 1);
    assert_eq!(shelf.added.unwrap().prompt, "sound 4");
    assert!(calls.load(Ordering::Relaxed) > 0);

    // Changes are seen without asking again, those of others, too.
    worker.set_tags(entry.id, vec!["wet".into()]);
    let shelf = wait(&worker, |shelf| !shelf.tags.is_empty());
    assert_eq!(shelf.page.unwrap().entries[0].tags, ["wet"]);
    place.open().set_favourite(entry.id, true).unwrap();
    wait(&worker, |shelf| shelf.page.as_ref().unwrap().entries[0].is_favourite);

    let loaded = Arc::new(Mutex::new(None));
    let slot = loaded.clone();
    worker.load(entry.id, move |clip| *slot.lock().unwrap() = Some(clip));
    worker.rename(entry.id, "/".into());
    let shelf = wait(&worker, |shelf| shelf.message.is_some());
    assert_eq!(shelf.message.unwrap(), ("A name needs letters or digits.".to_owned(), true));
    let (entry, loaded) = loaded.lock().unwrap().take().unwrap().unwrap();
    assert_eq!((entry.prompt.as_str(), loaded), ("sound 3", clip(3, "sound 3")));
}

#[test]
fn what_was_to_be_kept_is_kept_though_the_window_closes() {
    let place = Place::new();
    let worker = LibraryWorker::start(Some(place.0.clone()), Arc::new(|| ())).unwrap();
    let (sender, added) = crossbeam_channel::bounded(1);
    worker.add_then(Arc::new(clip(1, "one")), Naming::Prompt, Export::default(), move |entry| {
        let _ = sender.send(entry);
    });
    drop(worker);
    let entry = added.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(place.open().load(&entry).unwrap(), clip(1, "one"));
    assert_eq!(place.open().find(&clip(1, "another name")).unwrap(), Some(entry));
    assert_eq!(place.open().find(&clip(2, "one")).unwrap(), None);
}

#[test]
fn without_a_home_there_is_a_message() {
    let worker = LibraryWorker::start(None, Arc::new(|| ())).unwrap();
    worker.search(Search::default());
    let shelf = wait(&worker, |shelf| shelf.message.is_some());
    assert!(shelf.message.unwrap().0.contains("SOUNDLOCD_LIBRARY"));
    assert!(shelf.page.is_none());
}
