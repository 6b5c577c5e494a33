#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use soundlocd_engine::{clip::wav, service::Settings};
use tempfile::TempDir;

use super::*;
use crate::session::tests::wait;

/// A session with a library of its own.
fn with_library() -> (Session, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::for_tests();
    session.use_library(Some(folder.path().to_owned()));
    (session, folder)
}

/// Makes a sound; its take.
fn make(session: &Session, prompt: &str, seed: u64) -> Arc<Take> {
    session.with(|model| {
        model.project = Project { prompt: prompt.to_owned(), seed, seed_locked: true, ..Project::default() };
    });
    session.generate(Settings { seconds: 0.3, ..Settings::default() }, 1);
    wait(session, "end", |model| model.job.is_none());
    session.with(|model| Arc::clone(model.arrangement.takes.last().unwrap()))
}

/// The entry of a take, once it has been kept.
fn entry_of(session: &Session, take: &Arc<Take>) -> Entry {
    wait(session, "file", |_| take.file.get().is_some());
    session.with(|model| model.looked_up = None);
    session.look_up(take);
    let mut entry = None;
    wait(session, "entry", |model| {
        entry = model.looked_up.clone().filter(|(id, _)| *id == take.id).and_then(|(_, entry)| entry);
        entry.is_some()
    });
    entry.unwrap()
}

/// Numbers of the takes in the tray and on the first two pads.
fn arrangement(session: &Session) -> (Vec<u64>, [Option<u64>; 2]) {
    session.with(|model| {
        let id = |take: &Arc<Take>| take.id;
        let pads = &model.arrangement.pads;
        (model.arrangement.takes.iter().map(id).collect(), [0, 1].map(|pad| pads[pad].as_ref().map(id)))
    })
}

fn auditions(session: &Session) -> Vec<Audition> {
    std::iter::from_fn(|| session.shared().auditions.pop()).collect()
}

#[test]
fn finished_sounds_are_in_the_library() {
    let (session, folder) = with_library();
    let take = make(&session, "a tone", 3);
    let entry = entry_of(&session, &take);
    assert_eq!(take.file.get(), Some(folder.path().join("Sounds/a tone 3.wav")));
    assert_eq!((entry.path, entry.prompt.as_str(), entry.seed), (take.file.get().unwrap(), "a tone", 3));
    let kept = wav::read(&take.file.get().unwrap()).unwrap();
    assert_eq!((&kept.audio[..], kept.sample_rate), (&take.clip.audio[..], SAMPLE_RATE));

    // Sounds of a project are not added, but known if they are there.
    let other = Session::for_tests();
    let elsewhere = tempfile::tempdir().unwrap();
    other.use_library(Some(elsewhere.path().to_owned()));
    other.restore_kit(&session.kit_value());
    let restored = other.with(|model| Arc::clone(model.playing().unwrap()));
    other.look_up(&restored);
    wait(&other, "answer", |model| model.looked_up == Some((restored.id, None)));
    assert!(restored.file.get().is_none() && !elsewhere.path().join("Sounds").exists());
    other.keep(&restored);
    assert_eq!(entry_of(&other, &restored).prompt, "a tone");
}

#[test]
fn a_sound_of_the_library_comes_to_the_pad_it_was_meant_for() {
    let (session, _folder) = with_library();
    let take = make(&session, "a tone", 3);
    let entry = entry_of(&session, &take);
    session.restore_kit(&serde_json::Value::Null);
    // Held, and the pad is another by the time that it comes.
    session.press_entry(entry.id);
    session.select_pad(1);
    wait(&session, "sound", |model| model.arrangement.pads[0].is_some());
    wait(&session, "picture", |model| model.arrangement.pads[0].as_ref().unwrap().picture.get().is_some());
    let loaded = session.with(|model| Arc::clone(model.arrangement.pads[0].as_ref().unwrap()));
    assert_eq!((&loaded.clip.audio, loaded.file.get()), (&take.clip.audio, Some(entry.path.clone())));
    assert_eq!(arrangement(&session), (vec![loaded.id], [Some(loaded.id), None]));
    assert_eq!(session.shared().handover.take(0).unwrap().unwrap().id(), loaded.id);
    assert_eq!(auditions(&session), [Audition::PressPad(0, VELOCITY)]);
    session.release_entry();
    session.release_entry();
    assert_eq!(auditions(&session), [Audition::ReleasePad(0)]);
    session.undo();
    assert_eq!(arrangement(&session), (vec![], [None, None]));
    session.redo();
    // The same sound again is the same take, on whatever pad.
    session.place_entry(entry.id, 1);
    wait(&session, "sound", |model| model.arrangement.pads[1].is_some());
    assert_eq!(arrangement(&session), (vec![loaded.id], [Some(loaded.id), Some(loaded.id)]));
    session.place_entry(entry.id, PADS);
    assert!(auditions(&session).is_empty());
    // Let go before it comes: heard all the same, and not held for ever.
    session.clear_pad(1);
    session.press_entry(entry.id);
    session.release_entry();
    wait(&session, "sound", |model| model.arrangement.pads[1].is_some());
    wait(&session, "release", |_| session.shared().auditions.len() == 2);
    assert_eq!(auditions(&session), [Audition::PressPad(1, VELOCITY), Audition::ReleasePad(1)]);
}

#[test]
fn a_sound_that_is_dragged_away_leaves_the_pad_again() {
    let (session, _folder) = with_library();
    let [first, second] = [1, 2].map(|seed| make(&session, "a tone", seed));
    let entry = entry_of(&session, &first);
    assert_eq!(session.with(|model| model.playing().unwrap().id), second.id);
    session.press_entry(entry.id);
    wait(&session, "sound", |model| model.playing().unwrap().id == first.id);
    session.withdraw_entry();
    assert_eq!(session.with(|model| model.playing().unwrap().id), second.id);
    // What was on the pad already was put there by nobody.
    session.select(first.id);
    session.press_entry(entry.id);
    wait(&session, "press", |_| session.shared().auditions.len() == 3);
    session.withdraw_entry();
    assert_eq!(session.with(|model| model.playing().unwrap().id), first.id);
    auditions(&session);
    // Gone before it comes: nothing happens.
    session.select(second.id);
    session.press_entry(entry.id);
    session.withdraw_entry();
    entry_of(&session, &first);
    assert_eq!(session.with(|model| model.playing().unwrap().id), second.id);
}

#[test]
fn what_cannot_be_kept_is_said_and_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    fs::write(&file, "in the way").unwrap();
    for (place, part) in [(Some(file), "a file"), (None, "no home folder")] {
        let session = Session::for_tests();
        session.use_library(place);
        let take = make(&session, "a tone", 3);
        wait(&session, "message", |model| model.message.is_some());
        let message = session.with(|model| model.message.take().unwrap());
        assert!(message.is_error && message.text.starts_with("“a tone” could not be kept in the library."));
        assert!(message.text.contains(part), "{message:?}");
        assert_eq!(arrangement(&session), (vec![take.id], [Some(take.id), None]));
        assert!(take.file.get().is_none());
        // The window does not say it a second time.
        assert!(session.snapshot().shelf.unwrap().message.is_none());
    }
}

#[test]
fn a_sound_whose_file_is_gone_is_said_and_marked() {
    let (session, _folder) = with_library();
    let take = make(&session, "a tone", 3);
    let entry = entry_of(&session, &take);
    fs::remove_file(&entry.path).unwrap();
    session.place_entry(entry.id, 1);
    wait(&session, "message", |model| model.message.is_some());
    assert!(session.with(|model| model.message.take().unwrap().text.contains("not there any more")));
    assert!(entry_of(&session, &take).is_missing);
    session.show_in_folder(entry.path);
    wait(&session, "message", |model| model.message.is_some());
}

#[test]
fn renamed_files_are_known_to_their_takes() {
    let (session, folder) = with_library();
    let take = make(&session, "a tone", 3);
    let entry = entry_of(&session, &take);
    session.rename_entry(entry.id, "Bell".to_owned());
    let renamed = folder.path().join("Sounds/Bell.wav");
    wait(&session, "name", |_| take.file.get().as_ref() == Some(&renamed));
    assert!(renamed.is_file());
}

#[test]
fn copies_replace_nothing() {
    let (session, folder) = with_library();
    let take = make(&session, "a tone", 3);
    let entry = entry_of(&session, &take);
    let shared = session.shared();
    let path = folder.path().join("My copy.WAV");
    shared.copy(Original::Take(Arc::clone(&take)), &path);
    let written = folder.path().join("My copy.wav");
    assert_eq!(wav::read(&written).unwrap().audio[..], take.clip.audio[..]);
    assert!(session.with(|model| model.message.is_none()));
    fs::write(&written, "precious").unwrap();
    shared.copy(Original::Entry(entry.id, "a tone".to_owned()), &written);
    wait(&session, "message", |model| model.message.is_some());
    let message = session.with(|model| model.message.take().unwrap());
    assert!(!message.is_error && message.text.contains("“My copy 2.wav”"), "{message:?}");
    assert_eq!(fs::read(&written).unwrap(), b"precious");
    assert_eq!(wav::read(&folder.path().join("My copy 2.wav")).unwrap().audio[..], take.clip.audio[..]);
    shared.copy(Original::Take(take), Path::new(&folder.path().join("My copy.wav/never.wav")));
    assert!(session.with(|model| model.message.take().unwrap().is_error));
}

#[test]
fn a_repainted_sound_keeps_its_name() {
    use crate::session::Change;
    let (session, _folder) = with_library();
    make(&session, "a bell", 1);
    session.with(|model| model.project.prompt = "squeaking wheels".to_owned());
    let region = soundlocd_engine::clip::Region { start: 0.0, end: 0.2, low: 0.0, high: 4_000.0 };
    for _ in 0..2 {
        session.edit(Change::Repaint(region), Settings { seconds: 0.3, ..Settings::default() });
        wait(&session, "end", |model| model.job.is_none());
    }
    let take = session.with(|model| Arc::clone(model.playing().unwrap()));
    assert_eq!((take.name(), take.tip().as_str()), ("a bell", "a bell\nrepainted: squeaking wheels"));
    session.recall(take.id);
    assert_eq!(session.project().prompt, "squeaking wheels");
}
