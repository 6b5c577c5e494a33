//! The service with generators that are slow, broken or hostile, but need no model.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::*;
use crate::clip::{Clip, ClipError, Provenance};

/// Long enough for anything to happen on a busy machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a [`Fake`] does, told by the prompt's first word: "panic", "fail", "silent",
/// "silent-first", "silent-elsewhere", or anything else for a clip. Shared with the test.
#[derive(Default)]
struct Script {
    /// Time of a step.
    step: Mutex<Duration>,
    /// While set, a step does not end.
    held: AtomicBool,
    loads: AtomicU32,
    alive: AtomicU32,
    /// Most generators that were alive at once.
    most_alive: AtomicU32,
    /// Steps done by all generators.
    steps: AtomicU32,
    /// Prompts in the order of being generated, and loads of models between them.
    order: Mutex<Vec<String>>,
}

impl Script {
    fn prompts(&self) -> Vec<String> {
        self.order.lock().iter().filter(|entry| !entry.starts_with("load ")).cloned().collect()
    }
}

struct Fake {
    script: Arc<Script>,
    name: String,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.script.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Generator for Fake {
    fn generate(
        &mut self,
        request: &Request,
        variation: u32,
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Clip, GenerateError> {
        self.script.order.lock().push(request.prompt.clone());
        let steps = request.settings.steps;
        for step in 1..=steps {
            thread::sleep(*self.script.step.lock());
            while self.script.held.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            self.script.steps.fetch_add(1, Ordering::SeqCst);
            let preview = Some(Arc::new(Preview { mel: vec![0.5; 80], frames: 1 }));
            if on_progress(Progress { step, steps, preview }).is_break() {
                return Err(GenerateError::Cancelled);
            }
        }
        let provenance = Provenance { pack_name: self.name.clone(), ..Provenance::default() };
        match request.prompt.split(' ').next().unwrap_or_default() {
            "panic" => panic!("the {} hit the fan", "token"),
            "fail" => Err(GenerateError::stage("reading the prompt", "no such word")),
            "silent-elsewhere" => Err(GenerateError::Unusable("The sound came out silent.".into())),
            "silent" => Err(ClipError::Silent { peak_db: -90.0 }.into()),
            "silent-first" if variation == 0 => Err(ClipError::Silent { peak_db: -90.0 }.into()),
            _ => Ok(Clip::new([0.5; 10], provenance)),
        }
    }

    fn describe(&self) -> PackInfo {
        PackInfo { name: self.name.clone(), ..PackInfo::default() }
    }

    fn notice(&self) -> Option<String> {
        (self.name == "noted").then(|| "It runs on the CPU.".to_owned())
    }
}

fn service(script: &Arc<Script>) -> Service {
    let script = Arc::clone(script);
    Service::new(move |pack| {
        let name = match pack {
            PackRef::Embedded => "fake",
            PackRef::Folder { hash, .. } => hash,
        };
        match name {
            "missing" => return Err("the pack is gone".into()),
            "corrupt" => panic!("corrupt"),
            _ => {}
        }
        script.loads.fetch_add(1, Ordering::SeqCst);
        let alive = 1 + script.alive.fetch_add(1, Ordering::SeqCst);
        script.most_alive.fetch_max(alive, Ordering::SeqCst);
        script.order.lock().push(format!("load {name}"));
        Ok(Box::new(Fake { script: Arc::clone(&script), name: name.to_owned() }))
    })
}

/// The pack whose generator gives clips this name.
fn pack(name: &str) -> PackRef {
    PackRef::Folder { hash: name.into(), folder: "/nowhere".into() }
}

fn request(prompt: &str, variations: u32) -> Request {
    Request { variations, ..Request::new(prompt, 7) }
}

/// All events of the client up to the last of `job`.
fn until_end(client: &Client, job: JobId) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = client.recv_timeout(PATIENCE).unwrap();
        let end = event.is_final() && event.job() == job;
        events.push(event);
        if end {
            return events;
        }
    }
}

fn names(events: &[Event]) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Queued { .. } => "queued",
        Event::Loading { .. } => "loading",
        Event::Notice { .. } => "notice",
        Event::Progress { .. } => "progress",
        Event::Clip { .. } => "clip",
        Event::Skipped { .. } => "skipped",
        Event::Finished { .. } => "finished",
        Event::Cancelled { .. } => "cancelled",
        Event::Failed { .. } => "failed",
    };
    let mut names: Vec<_> = events.iter().map(name).collect();
    names.dedup();
    names
}

fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_request_goes_from_queue_to_clip() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let client = service.client();
    assert_eq!((script.loads.load(Ordering::SeqCst), client.pack()), (0, None));
    let job = client.submit(request("rain", 2)).unwrap();
    let events = until_end(&client, job);
    let names = names(&events);
    assert_eq!(names[..2], ["queued", "loading"]);
    assert_eq!(names.iter().filter(|&&name| name == "clip").count(), 2);
    assert_eq!(names.last(), Some(&"finished"));
    assert!(events.iter().all(|event| event.job() == job));
    let variations: Vec<u32> = events
        .iter()
        .filter_map(|event| match event {
            Event::Clip { variation, clip, .. } => {
                assert_eq!(clip.audio.len(), 10);
                Some(*variation)
            }
            _ => None,
        })
        .collect();
    assert_eq!(variations, [0, 1]);
    assert_eq!(client.pack().unwrap().name, "fake");
    // The second request finds the model loaded.
    let job = client.submit(request("rain", 1)).unwrap();
    assert!(!until_end(&client, job).iter().any(|event| matches!(event, Event::Loading { .. })));
    assert_eq!(script.loads.load(Ordering::SeqCst), 1);
}

#[test]
fn what_is_to_be_said_of_a_model_is_said_once() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let client = service.client();
    let job = client.submit_to(pack("noted"), request("rain", 1)).unwrap();
    let events = until_end(&client, job);
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Notice { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["It runs on the CPU."]);
    assert_eq!(names(&events)[..3], ["queued", "loading", "notice"]);
    let job = client.submit_to(pack("noted"), request("rain", 1)).unwrap();
    assert!(!names(&until_end(&client, job)).contains(&"notice"));
}

#[test]
fn progress_comes_with_picture_and_estimate() {
    let script = Arc::<Script>::default();
    *script.step.lock() = Duration::from_millis(5);
    let service = service(&script);
    let client = service.client();
    let job = client.submit(request("rain", 1)).unwrap();
    let reports: Vec<(u32, u32, bool, bool)> = until_end(&client, job)
        .iter()
        .filter_map(|event| match event {
            Event::Progress { step, steps, preview, eta_seconds, .. } => {
                Some((*step, *steps, preview.is_some(), eta_seconds.is_some()))
            }
            _ => None,
        })
        .collect();
    assert!(!reports.is_empty());
    for (step, steps, preview, estimate) in reports {
        assert_eq!((steps, preview, estimate), (16, true, step > 1));
    }
}

#[test]
fn invalid_requests_never_reach_the_queue() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let client = service.client();
    assert_eq!(client.submit(request(" \0", 1)), Err(RequestError::EmptyPrompt));
    assert!(client.submit(request("rain", 0)).is_err());
    assert!(client.try_recv().is_none());
}

#[test]
fn an_error_becomes_a_message_and_the_next_request_is_served() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let client = service.client();
    let job = client.submit(request("fail now", 3)).unwrap();
    let events = until_end(&client, job);
    let Some(Event::Failed { message, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(message, "Making the sound failed while reading the prompt: no such word");
    let job = client.submit(request("rain", 1)).unwrap();
    assert!(names(&until_end(&client, job)).contains(&"clip"));
    // An error leaves the model usable.
    assert_eq!(script.loads.load(Ordering::SeqCst), 1);
}

#[test]
fn a_panic_becomes_a_message_and_the_model_is_loaded_anew() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let client = service.client();
    let job = client.submit(request("panic now", 1)).unwrap();
    let events = until_end(&client, job);
    let Some(Event::Failed { message, .. }) = events.last() else { panic!("{events:?}") };
    assert!(message.contains("the token hit the fan"), "{message}");
    let job = client.submit(request("rain", 1)).unwrap();
    let names = names(&until_end(&client, job));
    assert!(names.contains(&"loading") && names.contains(&"clip"), "{names:?}");
    assert_eq!(script.loads.load(Ordering::SeqCst), 2);
    assert_eq!(script.alive.load(Ordering::SeqCst), 1);
}

#[test]
fn a_loader_that_fails_or_panics_is_asked_again() {
    let attempts = Arc::new(AtomicU32::new(0));
    let script = Arc::<Script>::default();
    let service = {
        let attempts = Arc::clone(&attempts);
        Service::new(move |_| match attempts.fetch_add(1, Ordering::SeqCst) {
            0 => Err("the file \"codec.safetensors\" is missing".into()),
            1 => panic!("corrupt"),
            _ => {
                script.alive.fetch_add(1, Ordering::SeqCst);
                Ok(Box::new(Fake { script: Arc::clone(&script), name: "fake".into() }) as Box<dyn Generator>)
            }
        })
    };
    let client = service.client();
    for expected in ["\"codec.safetensors\" is missing", "corrupt"] {
        let job = client.submit(request("rain", 1)).unwrap();
        let events = until_end(&client, job);
        let Some(Event::Failed { message, .. }) = events.last() else { panic!("{events:?}") };
        assert!(message.contains(expected), "{message}");
    }
    let job = client.submit(request("rain", 1)).unwrap();
    assert_eq!(names(&until_end(&client, job)).last(), Some(&"finished"));
}

#[test]
fn one_silent_variation_does_not_cost_the_others() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let client = service.client();
    let job = client.submit(request("silent-first", 3)).unwrap();
    let events = until_end(&client, job);
    let count = |name: &str| names(&events).iter().filter(|&&n| n == name).count();
    assert_eq!((count("skipped"), count("clip"), count("finished")), (1, 2, 1));
    for (prompt, variations) in [("silent", 1), ("silent", 2), ("silent-elsewhere", 1)] {
        let job = client.submit(request(prompt, variations)).unwrap();
        assert!(matches!(until_end(&client, job).last(), Some(Event::Failed { .. })));
    }
    let job = client.submit(request("silent-elsewhere", 2)).unwrap();
    let events = until_end(&client, job);
    assert!(events.iter().any(|event| matches!(event, Event::Skipped { .. })), "{events:?}");
}

#[test]
fn cancelling_stops_the_running_request_at_the_next_step() {
    let script = Arc::<Script>::default();
    script.held.store(true, Ordering::SeqCst);
    let service = service(&script);
    let client = service.client();
    let job = client.submit(request("rain", 8)).unwrap();
    wait_for(|| !script.prompts().is_empty());
    client.cancel(job);
    script.held.store(false, Ordering::SeqCst);
    assert_eq!(names(&until_end(&client, job)).last(), Some(&"cancelled"));
    // It was in its first step.
    assert_eq!(script.steps.load(Ordering::SeqCst), 1);
    // A job that has ended is left alone.
    client.cancel(job);
    assert!(client.try_recv().is_none());
}

#[test]
fn cancelling_a_waiting_request_needs_no_step() {
    let script = Arc::<Script>::default();
    script.held.store(true, Ordering::SeqCst);
    let service = service(&script);
    let client = service.client();
    let running = client.submit(request("rain", 1)).unwrap();
    wait_for(|| !script.prompts().is_empty());
    let waiting = client.submit(request("wind", 1)).unwrap();
    client.cancel(waiting);
    let events = until_end(&client, waiting);
    assert!(matches!(events.last(), Some(Event::Cancelled { .. })));
    script.held.store(false, Ordering::SeqCst);
    assert_eq!(names(&until_end(&client, running)).last(), Some(&"finished"));
    assert_eq!(script.prompts(), ["rain"]);
}

#[test]
fn two_clients_are_served_in_turn_and_hear_only_of_their_own() {
    let script = Arc::<Script>::default();
    script.held.store(true, Ordering::SeqCst);
    let service = service(&script);
    let [a, b] = [service.client(), service.client()];
    let job_a = a.submit(request("a", 3)).unwrap();
    wait_for(|| !script.prompts().is_empty());
    let job_b = b.submit(request("b", 2)).unwrap();
    script.held.store(false, Ordering::SeqCst);
    let events_b = until_end(&b, job_b);
    let events_a = until_end(&a, job_a);
    assert!(events_b.iter().all(|event| event.job() == job_b));
    assert!(events_a.iter().all(|event| event.job() == job_a));
    assert_eq!(script.prompts(), ["a", "b", "a", "b", "a"]);
}

#[test]
fn one_client_s_panic_is_not_another_s() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let [a, b] = [service.client(), service.client()];
    let job_a = a.submit(request("panic", 1)).unwrap();
    let job_b = b.submit(request("rain", 1)).unwrap();
    assert_eq!(names(&until_end(&b, job_b)).last(), Some(&"finished"));
    assert_eq!(names(&until_end(&a, job_a)).last(), Some(&"failed"));
}

#[test]
fn a_client_dropped_while_generating_neither_waits_nor_disturbs() {
    let script = Arc::<Script>::default();
    script.held.store(true, Ordering::SeqCst);
    let service = service(&script);
    let leaving = service.client();
    leaving.submit(request("long", 8)).unwrap();
    leaving.submit(request("long", 8)).unwrap();
    wait_for(|| !script.prompts().is_empty());
    // The generator stands still: waiting for it here would never end.
    drop(leaving);
    let staying = service.client();
    let job = staying.submit(request("rain", 1)).unwrap();
    script.held.store(false, Ordering::SeqCst);
    assert_eq!(names(&until_end(&staying, job)).last(), Some(&"finished"));
    assert_eq!(script.prompts(), ["long", "rain"]);
}

#[test]
fn the_last_to_leave_stops_the_engine_and_frees_the_model() {
    let script = Arc::<Script>::default();
    script.held.store(true, Ordering::SeqCst);
    let service = service(&script);
    let client = service.client();
    client.submit(request("rain", 8)).unwrap();
    wait_for(|| !script.prompts().is_empty());
    drop(service);
    assert_eq!(script.alive.load(Ordering::SeqCst), 1);
    drop(client);
    script.held.store(false, Ordering::SeqCst);
    wait_for(|| script.alive.load(Ordering::SeqCst) == 0);
    assert_eq!(script.steps.load(Ordering::SeqCst), 1);
}

#[test]
fn a_client_keeps_the_engine_without_the_service() {
    let script = Arc::<Script>::default();
    let client = service(&script).client();
    let job = client.submit(request("rain", 1)).unwrap();
    assert_eq!(names(&until_end(&client, job)).last(), Some(&"finished"));
}

#[test]
fn submitting_without_receiving_is_bounded() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let client = service.client();
    let mut accepted = Vec::new();
    let refused = loop {
        match client.submit(request("rain", 8)) {
            Ok(job) => accepted.push(job),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, RequestError::TooManyWaiting { most: accepted.len() });
    // All are served nevertheless, each with a bounded number of events...
    let last = *accepted.last().unwrap();
    wait_for(|| script.prompts().len() == 8 * accepted.len());
    let events = until_end(&client, last);
    assert!(events.len() <= accepted.len() * (1 + 8 * 2 + 1) + 1, "{} events", events.len());
    // ... and receiving them makes room.
    assert!(client.submit(request("rain", 1)).is_ok());
}

#[test]
fn many_clients_submitting_at_once_all_get_their_sounds() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = service.client();
                for round in 0..10 {
                    let job = client.submit(request("rain", 1 + round % 3)).unwrap();
                    let events = until_end(&client, job);
                    let clips = names(&events).iter().filter(|&&name| name == "clip").count();
                    assert_eq!(clips, 1 + round as usize % 3);
                }
            });
        }
    });
    assert_eq!(script.loads.load(Ordering::SeqCst), 1);
}

#[test]
fn the_shared_engine_lives_as_long_as_somebody_holds_it() {
    let first = Service::shared();
    let engine = Arc::downgrade(&first.engine);
    assert!(Arc::ptr_eq(&first.engine, &Service::shared().engine));
    // A client alone keeps it too.
    let client = first.client();
    drop(first);
    assert!(Arc::ptr_eq(&engine.upgrade().unwrap(), &Service::shared().engine));
    drop(client);
    assert!(engine.upgrade().is_none());
}

/// Names of the packs that made the clips.
fn makers(events: &[Event]) -> Vec<String> {
    let maker = |event: &Event| match event {
        Event::Clip { clip, .. } => Some(clip.provenance.pack_name.clone()),
        _ => None,
    };
    events.iter().filter_map(maker).collect()
}

#[test]
fn each_request_is_served_by_its_own_pack() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let client = service.client();
    for (choice, name) in
        [(PackRef::Embedded, "fake"), (pack("a"), "a"), (PackRef::Embedded, "fake"), (pack("a"), "a")]
    {
        let job = client.submit_to(choice, request("rain", 2)).unwrap();
        assert_eq!(makers(&until_end(&client, job)), [name, name]);
        assert_eq!(client.pack().unwrap().name, name);
    }
    // Both stay loaded.
    assert_eq!(script.loads.load(Ordering::SeqCst), 2);
    // The same pack in another place is the same pack.
    let moved = PackRef::Folder { hash: "a".into(), folder: "/elsewhere".into() };
    let job = client.submit_to(moved, request("rain", 1)).unwrap();
    assert!(!names(&until_end(&client, job)).contains(&"loading"));
}

#[test]
fn one_pack_besides_the_default_one_is_in_memory() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let client = service.client();
    for name in ["a", "b", "a"] {
        let job = client.submit_to(pack(name), request("rain", 1)).unwrap();
        let events = until_end(&client, job);
        assert!(names(&events).contains(&"loading"));
        assert_eq!(makers(&events), [name]);
        let job = client.submit(request("rain", 1)).unwrap();
        assert_eq!(makers(&until_end(&client, job)), ["fake"]);
    }
    let order: Vec<String> =
        script.order.lock().iter().filter(|entry| entry.starts_with("load ")).cloned().collect();
    assert_eq!(order, ["load a", "load fake", "load b", "load a"]);
    // Not even while the next one is being loaded.
    assert_eq!(script.most_alive.load(Ordering::SeqCst), 2);
}

#[test]
fn clients_with_different_packs_take_turns() {
    let script = Arc::<Script>::default();
    script.held.store(true, Ordering::SeqCst);
    let service = service(&script);
    let [a, b] = [service.client(), service.client()];
    let job_a = a.submit_to(pack("a"), request("a", 2)).unwrap();
    wait_for(|| !script.prompts().is_empty());
    let job_b = b.submit_to(pack("b"), request("b", 2)).unwrap();
    script.held.store(false, Ordering::SeqCst);
    assert_eq!(makers(&until_end(&b, job_b)), ["b", "b"]);
    assert_eq!(makers(&until_end(&a, job_a)), ["a", "a"]);
    assert_eq!(script.prompts(), ["a", "b", "a", "b"]);
}

#[test]
fn a_pack_that_cannot_be_loaded_is_told_to_who_asked_and_costs_nobody_else() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let [a, b] = [service.client(), service.client()];
    let job = b.submit(request("rain", 1)).unwrap();
    until_end(&b, job);
    for (name, expected) in [("missing", "the pack is gone"), ("corrupt", "corrupt")] {
        let job_a = a.submit_to(pack(name), request("rain", 4)).unwrap();
        let job_b = b.submit(request("rain", 1)).unwrap();
        let events = until_end(&a, job_a);
        let Some(Event::Failed { message, .. }) = events.last() else { panic!("{events:?}") };
        assert!(message.contains(expected), "{message}");
        assert_eq!(names(&until_end(&b, job_b)).last(), Some(&"finished"));
    }
    // The default model was loaded once, for it is not the one that failed.
    assert_eq!(script.loads.load(Ordering::SeqCst), 1);
}

#[test]
fn a_panic_of_one_pack_s_model_keeps_the_other_s() {
    let script = Arc::<Script>::default();
    let service = service(&script);
    let client = service.client();
    let job = client.submit(request("rain", 1)).unwrap();
    until_end(&client, job);
    let job = client.submit_to(pack("a"), request("panic", 1)).unwrap();
    assert_eq!(names(&until_end(&client, job)).last(), Some(&"failed"));
    assert_eq!(script.alive.load(Ordering::SeqCst), 1);
    let job = client.submit(request("rain", 1)).unwrap();
    assert!(!names(&until_end(&client, job)).contains(&"loading"));
}

#[test]
fn cancelling_while_waiting_saves_the_load() {
    let script = Arc::<Script>::default();
    script.held.store(true, Ordering::SeqCst);
    let service = service(&script);
    let [a, b] = [service.client(), service.client()];
    let job_a = a.submit(request("rain", 1)).unwrap();
    wait_for(|| !script.prompts().is_empty());
    let job_b = b.submit_to(pack("b"), request("rain", 1)).unwrap();
    b.cancel(job_b);
    assert_eq!(names(&until_end(&b, job_b)).last(), Some(&"cancelled"));
    script.held.store(false, Ordering::SeqCst);
    assert_eq!(names(&until_end(&a, job_a)).last(), Some(&"finished"));
    assert_eq!(script.loads.load(Ordering::SeqCst), 1);
}
