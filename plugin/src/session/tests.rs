#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;
use soundlocd_engine::{
    clip::{Clip, Provenance},
    lora::BaseId,
    pack::{PackRef, library::Library},
    service::Service,
};

use super::*;
use crate::testing::{ToneGenerator, write_adapter};

impl Session {
    /// A session whose engine makes tones.
    pub(crate) fn for_tests() -> Self {
        Self::with_step_time(Duration::from_millis(1))
    }

    fn with_step_time(step_time: Duration) -> Self {
        Self::new(Box::new(move || {
            let loader = move |_: &PackRef| Ok(Box::new(ToneGenerator { step_time }) as _);
            Service::new(loader).client()
        }))
    }
}

/// Waits until the session says yes.
pub(super) fn wait(session: &Session, what: &str, mut done: impl FnMut(&Model) -> bool) {
    let start = Instant::now();
    while !session.with(|model| done(model)) {
        assert!(start.elapsed() < Duration::from_secs(20), "no {what} within 20 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn short() -> Settings {
    Settings { seconds: 0.3, ..Settings::default() }
}

fn ask(session: &Session, prompt: &str, variations: u32) {
    session.with(|model| model.project.prompt = prompt.to_owned());
    session.generate(short(), variations);
}

#[test]
fn variations_arrive_and_the_first_is_played_and_saved() {
    let session = Session::for_tests();
    ask(&session, "a tone", 3);
    wait(&session, "end", |model| model.job.is_none());
    let (takes, playing) = session.with(|model| (model.arrangement.takes.clone(), model.playing().cloned()));
    assert_eq!(takes.len(), 3);
    assert_eq!(playing.unwrap().id, takes[0].id);
    assert_eq!(session.shared().handover.take(0).unwrap().unwrap().id(), takes[0].id);
    let saved = session.kit_value();
    assert_eq!(saved["clips"], json!(takes.iter().map(|take| take.encoded()).collect::<Vec<_>>()));
    assert_eq!((&saved["pads"][0], &saved["tray"]), (&json!(0), &json!([0, 1, 2])));
    session.select(takes[2].id);
    assert_eq!(session.kit_value()["pads"][0], 2);
}

#[test]
fn pictures_of_an_opened_project_are_drawn_but_not_waited_for() {
    let clip = Arc::new(Clip::new(vec![0.25; 22_050 * 5], Provenance::default()));
    let takes: Vec<_> = (1..=40).map(|id| Take::new(id, Arc::clone(&clip))).collect();
    let clips: Vec<_> = takes.iter().map(Take::encoded).collect();
    let kit = json!({ "clips": clips, "tray": (0..40).collect::<Vec<_>>() });
    let open = || {
        let session = Session::for_tests();
        session.restore_kit(&kit);
        let takes = session.with(|model| model.arrangement.takes.clone());
        assert_eq!(takes.len(), 40);
        (session, takes)
    };
    let drawn = |takes: &[Arc<Take>]| takes.iter().filter(|take| take.picture.get().is_some()).count();
    let (session, takes) = open();
    drop(session);
    assert!(drawn(&takes) < 40, "closing a project draws all of its sounds first");
    let (session, takes) = open();
    // What is asked for meanwhile comes in between.
    ask(&session, "a tone", 1);
    wait(&session, "sound", |model| model.arrangement.takes.len() == 41);
    wait(&session, "pictures", |_| drawn(&takes) == 40);
}

#[test]
fn state_reads_back_bit_for_bit_without_an_engine() {
    let first = Session::for_tests();
    ask(&first, "a tone", 1);
    wait(&first, "end", |model| model.job.is_none());
    let (project, clip) = (first.project(), first.kit_value());

    let second = Session::new(Box::new(|| panic!("restoring a project must not reach the engine")));
    second.restore_kit(&clip);
    second.restore_project(&project.to_value());
    assert_eq!(second.project(), project);
    assert_eq!(second.kit_value(), clip);
    let audio = |session: &Session| session.with(|model| model.playing().cloned().unwrap().clip.clone());
    assert_eq!(audio(&first), audio(&second));
    // It is there for the very next block.
    assert!(second.shared().handover.take(0).unwrap().is_some());
}

#[test]
fn damaged_sounds_leave_a_message_and_are_written_back() {
    let damaged = [json!("not base64!"), json!("AAAA"), json!(""), json!(7), json!({"a": []}), json!(false)];
    for value in damaged {
        let session = Session::for_tests();
        ask(&session, "a tone", 1);
        wait(&session, "end", |model| model.job.is_none());
        let good = session.kit_value()["clips"][0].clone();
        // As the only sound, as the clip of an older project, and beside one that can be read.
        for kit in
            [value.clone(), kit::of_one_clip(value.clone()), json!({"clips": [value], "pads": [0, null, 0]})]
        {
            session.restore_kit(&kit);
            session.with(|model| {
                assert!(model.playing().is_none() && model.arrangement.takes.is_empty());
                assert!(model.message.as_ref().unwrap().is_error);
            });
            assert_eq!(session.kit_value()["clips"], json!([value]));
            assert!(session.shared().handover.take(0).unwrap().is_none());
        }
        session.restore_kit(
            &json!({"clips": [value, good], "pads": [0, 1, 99, -1, "x"], "tray": [1, 0, 99, "x"]}),
        );
        assert!(session.with(|model| model.message.as_ref().unwrap().is_error));
        let saved = session.kit_value();
        assert_eq!((&saved["clips"], &saved["tray"]), (&json!([good, value]), &json!([0])));
        assert_eq!(saved["pads"].as_array().unwrap()[..3], [Value::Null, json!(0), Value::Null]);
    }
    let session = Session::for_tests();
    session.restore_kit(&Value::Null);
    assert!(session.with(|model| model.message.is_none()));
    assert_eq!(session.kit_value(), Value::Null);
}

#[test]
fn pads_take_sounds_and_everything_can_be_undone() {
    let session = Session::for_tests();
    session.select_pad(4);
    session.select_pad(99);
    ask(&session, "a tone", 2);
    wait(&session, "end", |model| model.job.is_none());
    let [first, second] = session.with(|model| [0, 1].map(|i| model.arrangement.takes[i].id));
    let pads = || {
        session.with(|model| {
            let pads = model.arrangement.pads.iter().enumerate();
            pads.filter_map(|(pad, take)| Some((pad, take.as_ref()?.id))).collect::<Vec<_>>()
        })
    };
    let handed = |pad| session.shared().handover.take(pad).map(|source| source.map(|source| source.id()));
    assert_eq!((pads(), handed(4), handed(0)), (vec![(4, first)], Some(Some(first)), None));
    session.place(&[second], 7);
    session.place(&[12_345], 8);
    session.swap_pads(4, 7);
    session.swap_pads(4, 99);
    assert_eq!(
        (pads(), handed(4), handed(7)),
        (vec![(4, second), (7, first)], Some(Some(second)), Some(Some(first)))
    );
    session.clear_pad(7);
    session.discard(&[second]);
    session.with(|model| assert_eq!(model.arrangement.takes.len(), 1));
    assert_eq!((pads(), handed(7)), (vec![(4, second)], Some(None)));
    // What is on a pad only is saved all the same, and undone changes come back.
    let kit = session.kit_value();
    assert_eq!(
        (kit["clips"].as_array().unwrap().len(), &kit["pads"][4], &kit["tray"]),
        (2, &json!(1), &json!([0]))
    );
    for _ in 0..4 {
        session.undo();
    }
    assert_eq!((pads(), handed(4)), (vec![(4, first)], Some(Some(first))));
    session.with(|model| assert_eq!(model.arrangement.takes.len(), 2));
    (0..20).for_each(|_| session.redo());
    assert_eq!(session.kit_value(), kit);
    let other = Session::for_tests();
    other.restore_kit(&kit);
    assert_eq!(other.kit_value(), kit);
    assert_eq!(other.with(|model| model.selected), 4);
    // A project that was opened cannot be undone into the one before.
    session.restore_kit(&kit);
    session.undo();
    assert_eq!(session.kit_value(), kit);
}

#[test]
fn a_sound_goes_to_the_pad_that_was_selected_when_it_was_asked_for() {
    let session = Session::with_step_time(Duration::from_millis(10));
    ask(&session, "a tone", 1);
    session.select_pad(3);
    wait(&session, "end", |model| model.job.is_none());
    session.with(|model| assert!(model.arrangement.pads[0].is_some() && model.playing().is_none()));
}

#[test]
fn projects_keep_the_newest_loose_sounds() {
    let session = Session::for_tests();
    ask(&session, "a tone", 1);
    wait(&session, "end", |model| model.job.is_none());
    let clip = session.with(|model| Arc::clone(&model.playing().unwrap().clip));
    let takes: Vec<_> =
        (0..30).map(|_| Arc::new(Take::new(session.shared().next_take(), Arc::clone(&clip)))).collect();
    session.shared().rearrange("many", |arrangement| takes.iter().for_each(|take| arrangement.add(take)));
    let kit = session.kit_value();
    assert_eq!((kit["clips"].as_array().unwrap().len(), &kit["pads"][0]), (17, &json!(0)));
}

#[test]
fn failures_and_bad_prompts_become_messages() {
    let session = Session::for_tests();
    for prompt in ["", " \0 ", &"x".repeat(10_000)] {
        ask(&session, prompt, 1);
        assert!(session.with(|model| model.job.is_none() && model.message.take().is_some()), "{prompt:.9}");
    }
    for prompt in ["fail", "panic"] {
        ask(&session, prompt, 1);
        wait(&session, "message", |model| model.job.is_none() && model.message.is_some());
    }
    // The engine goes on.
    ask(&session, "\u{1F941} صوت", 1);
    wait(&session, "end", |model| model.job.is_none());
    session.with(|model| assert!(model.message.is_none() && model.arrangement.takes.len() == 1));
}

#[test]
fn requests_wait_for_each_other_in_order_and_can_be_taken_back() {
    let session = Session::with_step_time(Duration::from_millis(10));
    for prompt in ["first", "second", "third", "fourth"] {
        ask(&session, prompt, 1);
    }
    let waiting = session.with(|model| model.queue.listed());
    assert_eq!(
        waiting.iter().map(|(_, prompt)| prompt.as_str()).collect::<Vec<_>>(),
        ["second", "third", "fourth"]
    );
    session.unqueue(waiting[1].0);
    // The one that is being worked on ends; those behind it are made all the same.
    wait(&session, "progress", |model| {
        matches!(model.job.as_ref().unwrap().phase, Phase::Making { step: 2.., .. })
    });
    session.cancel();
    wait(&session, "end", |model| model.job.is_none());
    session.with(|model| {
        assert!(model.message.is_none());
        let made: Vec<&str> =
            model.arrangement.takes.iter().map(|take| take.clip.provenance.prompt.as_str()).collect();
        assert_eq!(made, ["second", "fourth"]);
        assert_eq!(model.playing().unwrap().clip.provenance.prompt, "fourth");
    });
}

#[test]
fn a_full_queue_says_so_and_a_failed_request_does_not_hold_the_next_one_up() {
    let session = Session::with_step_time(Duration::from_millis(30));
    for number in 0..queue::MAX_WAITING + 1 {
        ask(&session, &number.to_string(), 1);
    }
    session.with(|model| assert!(model.message.is_none()));
    ask(&session, "one too many", 1);
    session.with(|model| {
        assert!(model.message.as_ref().unwrap().text.contains("16 sounds are waiting"));
        assert_eq!(model.queue.listed().len(), queue::MAX_WAITING);
        model.queue.clear();
    });
    ask(&session, "panic", 1);
    ask(&session, "after it", 1);
    wait(&session, "end", |model| model.job.is_none());
    session.with(|model| assert_eq!(model.playing().unwrap().clip.provenance.prompt, "after it"));
}

#[test]
fn dropping_a_session_while_it_works_returns_at_once() {
    let session = Session::with_step_time(Duration::from_millis(50));
    ask(&session, "a tone", 8);
    wait(&session, "progress", |model| model.job.as_ref().unwrap().preview.is_some());
    let start = Instant::now();
    drop(session);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn restoring_a_project_stops_what_was_being_made() {
    let session = Session::with_step_time(Duration::from_millis(5));
    ask(&session, "old", 8);
    wait(&session, "clip", |model| model.playing().is_some());
    let clip = session.kit_value();
    session.restore_kit(&clip);
    let id = session.with(|model| model.playing().cloned().unwrap().id);
    std::thread::sleep(Duration::from_millis(300));
    session.with(|model| {
        assert!(model.job.is_none());
        assert_eq!(model.playing().unwrap().id, id);
    });
}

#[test]
fn changes_are_reported_to_the_host() {
    let session = Session::for_tests();
    let (sender, receiver) = crossbeam_channel::unbounded();
    session.set_on_change(Box::new(move || sender.send(()).unwrap()));
    ask(&session, "a tone", 1);
    assert!(receiver.recv_timeout(Duration::from_secs(20)).is_ok());
}

/// A model that is on no computer.
fn nowhere() -> ChosenPack {
    ChosenPack { hash: "5a".repeat(32), name: "Nowhere".into(), folder: Some("/nowhere/packs".into()) }
}

#[test]
fn a_missing_model_is_said_and_kept_and_the_sound_plays() {
    let first = Session::for_tests();
    ask(&first, "a tone", 1);
    wait(&first, "end", |model| model.job.is_none());
    let project = Project { pack: Some(nowhere()), ..first.project() };

    let session = Session::new(Box::new(|| panic!("a missing model must not reach the engine")));
    session.restore_project(&project.to_value());
    session.restore_kit(&first.kit_value());
    wait(&session, "look at the packs", |model| model.packs.is_some());
    assert!(session.shared().handover.take(0).unwrap().is_some());
    let Standing::Unavailable(reason) = session.snapshot().standing else { panic!("it is not there") };
    assert!(reason.contains("“Nowhere” is not on this computer"), "{reason}");
    ask(&session, "a tone", 1);
    session.with(|model| {
        assert!(model.job.is_none());
        assert_eq!(model.message.as_ref().unwrap(), &Message { text: reason, is_error: true });
    });
    assert_eq!(session.project().pack, Some(nowhere()));
    assert_eq!(session.kit_value(), first.kit_value());
    // The way out.
    session.choose_pack(None);
    session.with(|model| assert!(model.message.is_none() && matches!(model.standing(), Standing::Ready(_))));
    // A project opened next that names no model has the default one.
    session.choose_pack(Some(nowhere()));
    session.restore_project(&json!({"format": 1, "prompt": "x"}));
    assert_eq!(session.project().pack, None);
}

#[test]
fn sounds_are_made_with_the_chosen_model() {
    let packs = std::env::temp_dir().join(format!("soundlocd-session-{}", std::process::id()));
    let folder = packs.join("doors");
    std::fs::create_dir_all(&folder).unwrap();
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pack");
    for file in std::fs::read_dir(default).unwrap() {
        let file = file.unwrap();
        let place = folder.join(file.file_name());
        let _ =
            std::fs::hard_link(file.path(), &place).or_else(|_| std::fs::copy(file.path(), &place).map(drop));
    }
    let manifest = std::fs::read_to_string(folder.join("pack.json")).unwrap();
    std::fs::remove_file(folder.join("pack.json")).unwrap();
    std::fs::write(folder.join("pack.json"), manifest.replace("SoundLoCD default", "Doors")).unwrap();
    let library = Library::scan_places(Some(&packs), None);
    std::fs::remove_dir_all(&packs).unwrap();

    let (sender, loaded) = crossbeam_channel::unbounded();
    let session = Session::new(Box::new(move || {
        let loader = move |pack: &PackRef| {
            sender.send(pack.clone()).unwrap();
            Ok(Box::new(ToneGenerator { step_time: Duration::from_millis(1) }) as _)
        };
        Service::new(loader).client()
    }));
    let [_, listed] = library.packs() else { panic!("{library:?}") };
    let pack = listed.pack.clone().unwrap();
    session.choose_pack(ChosenPack::of(listed, &pack));
    ask(&session, "too early", 1);
    assert!(session.with(|model| model.job.is_none() && !model.message.as_ref().unwrap().is_error));
    session.with(|model| model.packs = Some(Arc::new(library.clone())));
    ask(&session, "a tone", 1);
    wait(&session, "end", |model| model.job.is_none());
    assert_eq!(loaded.recv().unwrap(), pack.reference);
    assert_eq!(session.project().pack.unwrap().name, "Doors");
    session.choose_pack(None);
    ask(&session, "a tone", 1);
    wait(&session, "end", |model| model.job.is_none());
    assert_eq!(loaded.recv().unwrap(), PackRef::Embedded);
}

/// A session that knows the adapters "Bells" and "Whistles", and their folder.
fn with_adapters(name: &str) -> (Session, PathBuf, [String; 2]) {
    let folder = std::env::temp_dir().join(format!("soundlocd-session-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let session = Session::for_tests();
    let paths = ["Bells", "Whistles"].map(|title| {
        let path = folder.join(format!("{title}.safetensors"));
        write_adapter(&path, title, &BaseId::default(), &["a bell rings"]);
        path
    });
    // Which base they are for is not known, and neither is which one the project has.
    session.add_adapters(paths.to_vec());
    wait(&session, "two adapters", |model| model.project.adapters.len() == 2);
    let hashes = session.with(|model| {
        let adapters = &model.project.adapters;
        assert!(adapters.iter().all(|adapter| adapter.is_on && adapter.strength == 1.0));
        [adapters[0].hash.clone(), adapters[1].hash.clone()]
    });
    (session, folder, hashes)
}

/// The adapters that the sound under the keys was made with.
fn used(session: &Session) -> Vec<(String, f32)> {
    wait(session, "end", |model| model.job.is_none());
    let used = |take: &Take| {
        take.clip.provenance.adapters.iter().map(|one| (one.hash.clone(), one.strength)).collect()
    };
    session.with(|model| used(model.playing().unwrap()))
}

#[test]
fn the_next_sound_has_the_adapters_as_they_are_set() {
    let (session, folder, [bells, whistles]) = with_adapters("use");
    ask(&session, "a tone", 1);
    assert_eq!(used(&session), [(bells.clone(), 1.0), (whistles.clone(), 1.0)]);
    session.set_adapter_strength(&bells, 0.5);
    session.switch_adapter(&whistles, false);
    ask(&session, "a tone", 1);
    assert_eq!(used(&session), [(bells.clone(), 0.5)]);
    session.set_adapter_strength(&bells, f32::NAN);
    ask(&session, "a tone", 1);
    assert_eq!(used(&session), []);
    // Whoever switches one on wants to hear it.
    session.switch_adapter(&bells, true);
    assert_eq!(session.project().adapters[0].strength, 1.0);
    // Prompts of old takes come back without changing the adapters.
    let id = session.with(|model| model.playing().cloned().unwrap().id);
    session.recall(id);
    assert_eq!(session.project().adapters.len(), 2);
    session.forget_adapter(&whistles);
    assert_eq!(session.project().adapters.len(), 1);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_missing_adapter_is_said_and_kept_and_refuses_only_new_sounds() {
    let (first, folder, [bells, _]) = with_adapters("missing");
    ask(&first, "a tone", 1);
    wait(&first, "end", |model| model.job.is_none());
    let (project, clip) = (first.project().to_value(), first.kit_value());
    std::fs::remove_file(folder.join("Bells.safetensors")).unwrap();

    let session = Session::for_tests();
    session.restore_project(&project);
    session.restore_kit(&clip);
    assert!(session.shared().handover.take(0).unwrap().is_some());
    wait(&session, "look at the adapters", |model| model.adapters.is_some());
    let place = folder.join("Bells.safetensors");
    let said = format!("The adapter “Bells” is not on this computer: it was at {}.", place.display());
    assert!(session.snapshot().notice.unwrap().starts_with(&said));
    assert_eq!(session.project().to_value(), project);

    ask(&session, "another tone", 1);
    session.with(|model| {
        assert!(model.job.is_none());
        assert!(model.message.as_ref().unwrap().text.starts_with(&said));
    });
    assert_eq!(session.snapshot().notice, None, "said once is enough");
    // The ways out: without it, or with it again.
    session.switch_adapter(&bells, false);
    assert!(session.with(|model| model.message.is_none()));
    ask(&session, "another tone", 1);
    assert_eq!(used(&session).len(), 1);
    write_adapter(&folder.join("moved.safetensors"), "Bells", &BaseId::default(), &["a bell rings"]);
    session.add_adapters(vec![folder.join("moved.safetensors")]);
    wait(&session, "adapter", |model| model.project.adapters[0].is_on);
    ask(&session, "a third tone", 1);
    assert_eq!(used(&session)[0].0, bells);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_no_adapter_leaves_a_message_and_the_project_as_it_was() {
    let (session, folder, _) = with_adapters("wrong");
    for (name, part) in
        [("kick.wav", "no adapter"), ("broken.safetensors", "cannot be used"), ("gone.safetensors", "")]
    {
        let path = folder.join(name);
        if !part.is_empty() {
            std::fs::write(&path, b"RIFF").unwrap();
        }
        session.add_adapters(vec![path]);
        wait(&session, "message", |model| model.message.is_some());
        let message = session.with(|model| model.message.take().unwrap());
        assert!(
            message.is_error && message.text.contains(part) && message.text.contains(name),
            "{message:?}"
        );
    }
    assert_eq!(session.project().adapters.len(), 2);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_ninth_adapter_is_not_switched_on() {
    let (session, folder, _) = with_adapters("many");
    let paths: Vec<PathBuf> = (0..7)
        .map(|n| {
            let path = folder.join(format!("{n}.safetensors"));
            write_adapter(&path, &format!("Number {n}"), &BaseId::default(), &[]);
            path
        })
        .collect();
    session.add_adapters(paths);
    wait(&session, "message", |model| model.project.adapters.len() == 9 && model.message.is_some());
    let last = session.project().adapters[8].clone();
    assert!(!last.is_on);
    session.switch_adapter(&last.hash, true);
    session.with(|model| {
        assert!(model.message.as_ref().unwrap().text.starts_with("At most 8"));
        assert!(!model.project.adapters[8].is_on);
    });
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn captions_are_put_into_the_prompt_while_there_is_room() {
    let session = Session::for_tests();
    session.add_caption("a bell rings");
    session.add_caption("a bell rings");
    assert_eq!(session.project().prompt, "a bell rings");
    session.with(|model| model.project.prompt = "x".repeat(495));
    session.add_caption("a bell rings");
    session.with(|model| assert!(model.project.prompt.len() == 495 && model.message.is_some()));
}

#[test]
fn a_placement_is_taken_back_only_if_nothing_came_after_it() {
    let session = Session::for_tests();
    ask(&session, "a tone", 2);
    wait(&session, "end", |model| model.job.is_none());
    let ids: Vec<u64> = session.with(|model| model.arrangement.takes.iter().map(|take| take.id).collect());
    let on_pad = |session: &Session| session.with(|model| model.playing().unwrap().id);
    let change = session.select(ids[1]).unwrap();
    assert_eq!(session.select(ids[1]), None, "it was there already");
    session.take_back(change);
    assert_eq!(on_pad(&session), ids[0]);
    assert_eq!(session.snapshot().history[1], None, "nothing to be done again");
    // A sound arrives between the press and the drag.
    let change = session.select(ids[1]).unwrap();
    session.select_pad(5);
    ask(&session, "another tone", 1);
    wait(&session, "end", |model| model.job.is_none());
    session.take_back(change);
    session.with(|model| {
        assert_eq!(model.arrangement.takes.len(), 3);
        assert_eq!(model.arrangement.pads[5].as_ref().unwrap().clip.provenance.prompt, "another tone");
        assert_eq!(model.arrangement.pads[0].as_ref().unwrap().id, ids[1]);
    });
}
