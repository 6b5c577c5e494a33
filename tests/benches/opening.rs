//! What it costs to open a project with sixteen sounds: the whole, on all cores as hosts see it, and its parts, for one
//! sound of ten seconds and on one core.
#![allow(missing_docs, clippy::unwrap_used, reason = "a program")]

use std::{hint::black_box, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use soundlocd::{sampler::Source, session::Session, take::Take};
use soundlocd_engine::{
    SAMPLE_RATE,
    clip::{Clip, Provenance, state},
    service::Service,
};
use soundlocd_tests::{
    clap_host::{Instance, entry_in_process},
    plugin_state,
};

const SECONDS: usize = 10;

/// Seconds that compress badly (white noise) or as recordings do (noise through a low pass, in fading bursts).
fn clip(seed: u32, seconds: usize, is_white: bool) -> Clip {
    let (mut state, mut low) = (seed, 0.0f32);
    let rate = SAMPLE_RATE as usize;
    let audio: Vec<f32> = (0..seconds * rate)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            low += 0.2 * (noise - low);
            let fade = (-((i % rate) as f32) / rate as f32 * 5.0).exp();
            if is_white { 0.5 * noise } else { 0.9 * low * fade }
        })
        .collect();
    Clip::finish(&audio, seconds as f32, Provenance::default()).unwrap()
}

fn kit(seconds: usize, is_white: bool) -> String {
    let takes: Vec<_> = (0..16).map(|n| Take::new(n, clip(n as u32 + 1, seconds, is_white).into())).collect();
    let clips: Vec<_> = takes.iter().map(Take::encoded).collect();
    let indices: Vec<_> = (0..16).collect();
    json!({ "clips": clips, "pads": indices, "tray": indices, "selected": 0 }).to_string()
}

/// As a CLAP host sees it: all of the plugin's state, read from a stream.
fn in_a_host(c: &mut Criterion) {
    let mut group = c.benchmark_group("opening in a CLAP host");
    let entry = entry_in_process();
    let saved = Instance::new(&entry).save();
    group.bench_function("no sounds", |b| {
        b.iter_batched_ref(
            || Instance::new(&entry),
            |instance| assert!(instance.load(black_box(&saved))),
            BatchSize::PerIteration,
        );
    });
    for (name, seconds, is_white) in [
        ("16 sounds of 4 s, like recordings", 4, false),
        ("16 sounds of 10 s, like recordings", SECONDS, false),
        ("16 sounds of 10 s, white noise", SECONDS, true),
    ] {
        let mut state = plugin_state::object(&saved);
        state["fields"]["kit"] = kit(seconds, is_white).into();
        let bytes = plugin_state::from_json(&state);
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || Instance::new(&entry),
                |instance| assert!(instance.load(black_box(&bytes))),
                BatchSize::PerIteration,
            );
        });
    }
}

fn bench(c: &mut Criterion) {
    for (name, is_white) in [("like recordings", false), ("white noise", true)] {
        let mut group = c.benchmark_group(format!("opening, {name}"));
        let text = kit(SECONDS, is_white);
        println!("{name}: {} kB", text.len() / 1000);
        group.bench_function("16 sounds", |b| {
            let session = || Session::new(Box::new(|| Service::shared().client()));
            // Without the pictures, which come later: the session's thread ends with it.
            b.iter_batched_ref(
                session,
                |session| session.restore_kit(&serde_json::from_str(&text).unwrap()),
                BatchSize::PerIteration,
            );
        });
        group.bench_function("16 sounds, their JSON", |b| {
            b.iter(|| serde_json::from_str::<Value>(black_box(&text)).unwrap());
        });
        let clip = clip(1, SECONDS, is_white);
        let bytes = state::encode(&clip);
        let encoded = BASE64.encode(&bytes);
        group.bench_function("a sound", |b| b.iter(|| Take::decode(1, black_box(&encoded)).unwrap()));
        group.bench_function("a sound, base64", |b| b.iter(|| BASE64.decode(black_box(&encoded)).unwrap()));
        group.bench_function("a sound, checksum and FLAC", |b| {
            b.iter(|| state::decode(black_box(&bytes)).unwrap());
        });
        group.bench_function("a sound, for the sampler", |b| {
            b.iter(|| Source::new(black_box(&clip.audio), f64::from(SAMPLE_RATE), 1));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = in_a_host, bench
}
criterion_main!(benches);
