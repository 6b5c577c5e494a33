#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    env, fs,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use soundlocd_engine::{
    SAMPLE_RATE,
    clip::{
        AdapterUse, Clip, Provenance,
        wav::{self, Export, Naming},
    },
};

use super::*;

/// A library in a new folder of the system's temporary one, removed at the end.
pub(super) struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("soundlocd-library-{}-{number}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn open(&self) -> Library {
        Library::open(&self.0).unwrap()
    }

    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A short clip whose samples depend on its number alone.
pub(super) fn clip(number: u64, prompt: &str) -> Clip {
    let audio: Vec<f32> = (0..50u64).map(|i| ((number * 50 + i) % 8_388_608) as f32 / 8_388_608.0).collect();
    let provenance = Provenance {
        prompt: prompt.into(),
        negative_prompt: number.is_multiple_of(2).then(|| "hiss".into()),
        seed: u64::MAX - number,
        variation: 1,
        pack_name: "default".into(),
        pack_hash: "ab".repeat(32),
        adapters: vec![AdapterUse { name: "bells".into(), hash: "cd".repeat(32), strength: 0.5 }],
        created_unix: 1_700_000_000 + number,
        ..Provenance::default()
    };
    Clip::new(audio, provenance)
}

pub(super) fn add(library: &mut Library, number: u64, prompt: &str) -> Entry {
    library.add(&clip(number, prompt), &Naming::Prompt, &Export::default()).unwrap()
}

/// The prompts that are found, newest first.
fn found(library: &Library, query: &str) -> Vec<String> {
    let page = library.search(query, &Filter::default(), 100, 0).unwrap();
    assert_eq!(page.total, page.entries.len());
    page.entries.into_iter().map(|entry| entry.prompt).collect()
}

#[test]
fn sounds_are_kept_with_all_that_is_known() {
    let place = Place::new();
    let original = clip(2, "Glocken & \u{1F514} läuten");
    let export = Export { root_key: Some(57.0), ..Export::at(48_000) };
    let entry = place.open().add(&original, &Naming::Prompt, &export).unwrap();
    assert_eq!(entry.provenance(), original.provenance);
    assert_eq!(entry.name(), format!("Glocken & \u{1F514} läuten {}-2", u64::MAX - 2));
    assert!((entry.seconds - 50.0 / SAMPLE_RATE as f32).abs() < 1e-6);
    assert!(!entry.is_favourite && !entry.is_missing && entry.tags.is_empty());

    let library = place.open();
    assert!(library.notice().is_none());
    assert_eq!(library.entry(entry.id).unwrap(), entry);
    assert_eq!(library.load(&entry).unwrap(), original);
    assert_eq!(wav::read(&entry.path).unwrap().sample_rate, SAMPLE_RATE);
    assert!(matches!(library.entry(entry.id + 1), Err(LibraryError::Unknown)));
}

#[test]
fn a_sound_is_there_once() {
    let place = Place::new();
    let mut library = place.open();
    let first = add(&mut library, 1, "a bell");
    // The same samples under another name.
    let again = library.add(
        &clip(1, "a bell"),
        &Naming::Ucs { creator: String::new(), source: String::new() },
        &Export::default(),
    );
    assert_eq!(again.unwrap(), first);
    // Another sound of the same name.
    let mut other = clip(2, "a bell");
    other.provenance.seed = u64::MAX - 1;
    let second = library.add(&other, &Naming::Prompt, &Export::default()).unwrap();
    assert_eq!(second.name(), format!("{} 2", first.name()));
    // Its file was deleted: it comes back.
    fs::remove_file(&first.path).unwrap();
    assert_eq!(library.refresh().unwrap().missing, 1);
    assert_eq!(add(&mut library, 1, "a bell"), first);
    assert_eq!(library.load(&first).unwrap().audio, clip(1, "").audio);
    assert_eq!(place.names(SOUNDS).len(), 2);
}

#[test]
fn words_are_found_as_they_are_typed() {
    let place = Place::new();
    let mut library = place.open();
    let door = add(&mut library, 1, "A heavy wooden door creaks open");
    add(&mut library, 2, "Türen schlagen zu");
    add(&mut library, 3, "rain on a tin roof \u{1F514}");
    for query in ["d", "do", "door", "DOOR", "wood do", "open, heavy!", "door-creak"] {
        assert_eq!(found(&library, query), ["A heavy wooden door creaks open"], "{query}");
    }
    assert_eq!(found(&library, "turen"), ["Türen schlagen zu"]);
    assert_eq!(found(&library, "\u{1F514}"), ["rain on a tin roof \u{1F514}"]);
    assert_eq!(found(&library, "oor"), [""; 0]);
    assert_eq!(found(&library, " ").len(), 3);
    assert_eq!(found(&library, "").first().unwrap(), "rain on a tin roof \u{1F514}");

    library.set_tags(door.id, &["  Haunted  house".into(), "haunted  House".into(), "\n".into()]).unwrap();
    assert_eq!(found(&library, "haunt"), ["A heavy wooden door creaks open"]);
    library.rename(door.id, "Castle/Gate?").unwrap();
    assert_eq!(found(&library, "castle gat"), ["A heavy wooden door creaks open"]);
    library.set_tags(door.id, &[]).unwrap();
    assert_eq!(found(&library, "haunt"), [""; 0]);
}

#[test]
fn no_query_is_an_error() {
    let place = Place::new();
    let mut library = place.open();
    add(&mut library, 1, "it's a \"bell\" AND (not) NEAR^2 col:umn -x* 100%");
    let mut queries: Vec<String> = [
        "\"",
        "'",
        "''; DROP TABLE sound; --",
        "AND",
        "OR OR",
        "NOT",
        "NEAR(a b)",
        "(",
        ")",
        "*",
        "a*",
        "^a",
        "-a",
        "{a b}: c",
        "name: bell",
        "\u{0}",
        "a\u{0}b",
        "%",
        "_",
        "\\",
        "\"a\" \"",
        "\u{301}",
        "\u{93e}",
        "\u{FFFF}",
        "+",
        "a + b",
        ":",
    ]
    .map(str::to_owned)
    .to_vec();
    queries.push("a ".repeat(100_000));
    queries.push("\"".repeat(100_000));
    queries.push("\u{1F514}".repeat(100_000));
    queries.extend((0..128u8).map(|byte| char::from(byte).to_string()));
    for query in &queries {
        let filter = Filter { only_favourites: false, tags: vec![query.clone()], pack: Some(query.clone()) };
        library.search(query, &Filter::default(), 10, 0).unwrap();
        library.search("", &filter, usize::MAX, usize::MAX).unwrap();
        library.set_tags(1, &[query.clone(), query.chars().rev().collect()]).unwrap();
        library.search(query, &Filter::default(), 10, 0).unwrap();
    }
    assert_eq!(found(&library, "").len(), 1);
    for query in ["bell and", "near 2", "col umn", "it's"] {
        assert_eq!(found(&library, query).len(), 1, "{query}");
    }
}

#[test]
fn lists_can_be_narrowed_and_paged() {
    let place = Place::new();
    let mut library = place.open();
    let entries: Vec<Entry> = (0..10).map(|n| add(&mut library, n, &format!("sound {n}"))).collect();
    library.set_favourite(entries[3].id, true).unwrap();
    library.set_tags(entries[3].id, &["Metal".into(), "wet".into()]).unwrap();
    library.set_tags(entries[4].id, &["metal".into()]).unwrap();
    let ids = |filter: &Filter| -> Vec<i64> {
        library.search("sound", filter, 100, 0).unwrap().entries.iter().map(|entry| entry.id).collect()
    };
    assert_eq!(ids(&Filter { only_favourites: true, ..Filter::default() }), [entries[3].id]);
    let tagged =
        |tags: &[&str]| Filter { tags: tags.iter().map(|&tag| tag.into()).collect(), ..Filter::default() };
    assert_eq!(ids(&tagged(&["METAL"])), [entries[4].id, entries[3].id]);
    assert_eq!(ids(&tagged(&["metal", "wet"])), [entries[3].id]);
    assert_eq!(ids(&Filter { pack: Some("other".into()), ..Filter::default() }), [0; 0]);
    assert_eq!(ids(&Filter { pack: Some("ab".repeat(32)), ..Filter::default() }).len(), 10);
    assert_eq!(library.tags().unwrap(), [("Metal".into(), 2), ("wet".into(), 1)]);
    assert_eq!(library.packs().unwrap(), [("default".into(), "ab".repeat(32))]);

    let page = library.search("", &Filter::default(), 3, 8).unwrap();
    assert_eq!((page.total, page.entries.len()), (10, 2));
    assert_eq!(page.entries[1], entries[0]);
}

#[test]
fn renaming_moves_the_file_and_never_onto_another() {
    let place = Place::new();
    let mut library = place.open();
    let one = add(&mut library, 1, "one");
    let two = add(&mut library, 2, "two");
    let one = library.rename(one.id, "Bell").unwrap();
    let two = library.rename(two.id, "Bell").unwrap();
    assert_eq!((one.name(), two.name()), ("Bell".into(), "Bell 2".into()));
    assert_eq!(library.rename(one.id, "Bell").unwrap(), one);
    assert_eq!(place.names(SOUNDS), ["Bell 2.wav", "Bell.wav"]);
    assert_eq!(library.load(&two).unwrap().audio, clip(2, "").audio);
    assert!(matches!(library.rename(one.id, " / "), Err(LibraryError::BadName)));
    fs::remove_file(&one.path).unwrap();
    assert!(matches!(library.rename(one.id, "Gong"), Err(LibraryError::Missing { .. })));
    assert!(matches!(library.load(&one), Err(LibraryError::Missing { .. })));
}

#[test]
fn missing_files_are_told_found_again_and_forgotten() {
    let place = Place::new();
    let mut library = place.open();
    let one = add(&mut library, 1, "one");
    let two = add(&mut library, 2, "two");
    let three = add(&mut library, 3, "three");
    library.set_favourite(one.id, true).unwrap();
    // Renamed by hand, moved away, and deleted with the name taken by another.
    fs::rename(&one.path, library.sounds().join("by hand.wav")).unwrap();
    let elsewhere = place.0.join("elsewhere.wav");
    fs::rename(&two.path, &elsewhere).unwrap();
    wav::write(&three.path, &clip(4, "four"), SAMPLE_RATE).unwrap();
    fs::write(library.sounds().join("no sound.wav"), b"RIFF").unwrap();

    assert_eq!(library.refresh().unwrap(), Change { added: 1, missing: 1, unusable: 1 });
    let one = library.entry(one.id).unwrap();
    assert_eq!((one.name(), one.is_missing, one.is_favourite), ("by hand".into(), false, true));
    assert!(library.entry(two.id).unwrap().is_missing);

    assert!(matches!(library.relocate(two.id, &one.path), Err(LibraryError::OtherSound { .. })));
    assert!(library.relocate(two.id, &place.0.join("nowhere.wav")).is_err());
    let two = library.relocate(two.id, &elsewhere).unwrap();
    assert_eq!((two.path.as_path(), two.is_missing), (elsewhere.as_path(), false));
    library.forget(two.id).unwrap();
    assert!(elsewhere.is_file());
    assert_eq!(found(&library, "two"), [""; 0]);
    assert!(matches!(library.forget(two.id), Err(LibraryError::Unknown)));

    // Deleted, and the name given to a new sound.
    fs::remove_file(&three.path).unwrap();
    let mut namesake = clip(5, "three");
    namesake.provenance.seed = three.seed;
    let namesake = library.add(&namesake, &Naming::Prompt, &Export::default()).unwrap();
    assert_eq!(namesake.path, three.path);
    let three = library.entry(three.id).unwrap();
    assert!(three.is_missing && !three.path.exists());
    assert_eq!(three.name(), namesake.name());
}

#[test]
fn what_is_thrown_away_can_be_got_back() {
    let place = Place::new();
    let mut library = place.open();
    let one = add(&mut library, 1, "one");
    let Trashed::Folder(path) = library.trash_with(one.id, |_| false).unwrap() else { unreachable!() };
    assert_eq!(wav::read(&path).unwrap().provenance, Some(clip(1, "one").provenance));
    assert!(!one.path.exists() && path.starts_with(place.0.join("Trash")));
    assert_eq!(found(&library, ""), [""; 0]);
    // It may come again and go again.
    let one = add(&mut library, 1, "one");
    assert!(
        matches!(library.trash_with(one.id, |_| false).unwrap(), Trashed::Folder(other) if other != path)
    );
    let two = add(&mut library, 2, "two");
    assert_eq!(library.trash_with(two.id, |path| fs::remove_file(path).is_ok()).unwrap(), Trashed::System);
    let three = add(&mut library, 3, "three");
    fs::remove_file(&three.path).unwrap();
    assert_eq!(library.trash_with(three.id, |_| unreachable!()).unwrap(), Trashed::Gone);
    assert!(matches!(library.trash_with(three.id, |_| false), Err(LibraryError::Unknown)));
}

/// Run by [`the_system_s_rubbish_bin_is_used`] in a process of its own; alone it does nothing.
#[test]
#[ignore = "part of another test"]
fn trash_process() {
    if let Some(folder) = env::var_os("SOUNDLOCD_TEST_FOLDER") {
        let mut library = Library::open(Path::new(&folder)).unwrap();
        let entry = add(&mut library, 1, "one");
        assert_eq!(library.trash(entry.id).unwrap(), Trashed::System);
        assert!(!entry.path.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_system_s_rubbish_bin_is_used() {
    let place = Place::new();
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "library::tests::trash_process", "--ignored"])
        .env("SOUNDLOCD_TEST_FOLDER", &place.0)
        .env("XDG_DATA_HOME", place.0.join("data"))
        .stdout(process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(place.names("data/Trash/files").len(), 1);
    assert_eq!(place.names("data/Trash/info").len(), 1);
}

/// Everything that a broken disk or another program may leave in the database's place.
#[test]
fn a_damaged_database_is_made_again_from_the_sounds() {
    let place = Place::new();
    {
        let mut library = place.open();
        for n in 0..20 {
            add(&mut library, n, &format!("sound {n}"));
        }
        library.set_favourite(1, true).unwrap();
    }
    let database = place.0.join("library.sqlite");
    let whole = fs::read(&database).unwrap();
    let mut torn = whole.clone();
    for byte in torn.iter_mut().skip(4_096) {
        *byte ^= 0x5A;
    }
    // Another program's database, at our version.
    let foreign = place.0.join("foreign");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (a); PRAGMA user_version = 1;")
        .unwrap();
    let damages =
        [b"no database at all, but long enough to look at".repeat(100), torn, fs::read(&foreign).unwrap()];
    fs::remove_file(&foreign).unwrap();
    for (number, damage) in damages.iter().enumerate() {
        fs::write(&database, damage).unwrap();
        let library = place.open();
        let aside = format!("library damaged {}.sqlite", number + 1);
        assert!(library.notice().unwrap().contains(&aside), "{:?}", library.notice());
        // Its head may be marked by having been opened; nothing is lost.
        let kept = fs::read(place.0.join(aside)).unwrap();
        assert!(kept.len() == damage.len() && kept[100..] == damage[100..]);
        assert_eq!(found(&library, "").len(), 20);
        assert_eq!(found(&library, "")[..2], ["sound 19", "sound 18"]);
        let entry = &library.search("7", &Filter::default(), 1, 0).unwrap().entries[0];
        assert_eq!(entry.provenance(), clip(7, "sound 7").provenance);
        drop(library);
        assert!(place.open().notice().is_none());
    }
    // Deleted, or never finished: made again without a word.
    fs::write(&database, b"").unwrap();
    let library = place.open();
    assert!(library.notice().is_none());
    assert_eq!(found(&library, "").len(), 20);
}

#[test]
fn a_newer_library_is_left_as_it_is() {
    let place = Place::new();
    add(&mut place.open(), 1, "one");
    let database = place.0.join("library.sqlite");
    Connection::open(&database).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let error = Library::open(&place.0).unwrap_err();
    assert!(matches!(error, LibraryError::Newer { found: 99, known: 1 }), "{error}");
    Connection::open(&database).unwrap().execute_batch("PRAGMA user_version = 1").unwrap();
    assert_eq!(found(&place.open(), "").len(), 1);
}

#[test]
fn unusable_folders_are_reported() {
    let place = Place::new();
    let file = place.0.join("file");
    fs::write(&file, b"x").unwrap();
    assert!(matches!(Library::open(&file.join("library")), Err(LibraryError::Io { .. })));
    // Sounds cannot be written: nothing is listed.
    let mut library = place.open();
    fs::write(library.sounds(), b"no folder").unwrap();
    assert!(library.add(&clip(1, "one"), &Naming::Prompt, &Export::default()).is_err());
    assert_eq!(found(&library, ""), [""; 0]);
}

/// Prints how long searches take among ten thousand sounds: `cargo test ... measured_searches -- --ignored
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measured_searches() {
    let place = Place::new();
    let library = place.open();
    let words = [
        "door", "rain", "metal", "bell", "dog", "engine", "glass", "wind", "drum", "paper", "small", "heavy",
    ];
    library.connection.execute_batch("BEGIN").unwrap();
    for n in 0..10_000usize {
        let mut state = n as u64 + 1;
        let prompt: Vec<&str> = (0..6)
            .map(|_| {
                // Knuth's MMIX generator.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                words[(state >> 33) as usize % words.len()]
            })
            .collect();
        let prompt = prompt.join(" ");
        let sql = "INSERT INTO sound (file, prompt, seed, variation, created, seconds, pack_name, pack_hash, adapters, tags, \
                   hash) VALUES (?1, ?2, 1, 0, ?3, 1.0, 'default', 'x', '[]', '[\"one\", \"two\"]', ?1)";
        library.connection.execute(sql, rusqlite::params![format!("{n}.wav"), prompt, n as i64]).unwrap();
        let sql = "INSERT INTO sound_text (rowid, name, prompt, tags) VALUES (?1, ?2, ?3, 'one two')";
        library.connection.execute(sql, rusqlite::params![n as i64 + 1, n.to_string(), prompt]).unwrap();
    }
    library.connection.execute_batch("COMMIT").unwrap();
    let tagged = Filter { tags: vec!["two".into()], ..Filter::default() };
    for (query, filter) in [
        ("", Filter::default()),
        ("d", Filter::default()),
        ("do", Filter::default()),
        ("metal be", Filter::default()),
        ("door smal heav", Filter::default()),
        ("door", tagged),
    ] {
        let mut times: Vec<Duration> = (0..31)
            .map(|_| {
                let start = Instant::now();
                library.search(query, &filter, 100, 0).unwrap();
                start.elapsed()
            })
            .collect();
        times.sort();
        let total = library.search(query, &filter, 0, 0).unwrap().total;
        println!(
            "{query:?} {} tags: {total} found, median {:?}, longest {:?}",
            filter.tags.len(),
            times[15],
            times[30]
        );
    }
    let start = Instant::now();
    library.tags().unwrap();
    println!("tags {:?}", start.elapsed());
}
