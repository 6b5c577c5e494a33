//! What the sampler costs: a block of 64 samples at 48 kHz, whose time is 1.333 ms. A share of real time is the
//! time measured over that.
#![allow(missing_docs, reason = "a program")]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use soundlocd::sampler::{
    FilterMode, MAX_VOICES, Master, NoteTag, PADS, PadSettings, PlayMode, Sampler, Source, StereoOutput,
};

const RATE: f32 = 48_000.0;
const BLOCK: usize = 64;

fn clip() -> Arc<Source> {
    let mut seed = 1u32;
    let audio: Vec<f32> = (0..44_100)
        .map(|i| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            0.3 * (i as f32 * 0.05).sin() + 0.1 * (seed >> 8) as f32 / (1 << 24) as f32
        })
        .collect();
    Arc::new(Source::new(&audio, 22_050.0, 1))
}

/// A sampler on which `voices` notes loop for ever.
fn playing(voices: usize, settings: PadSettings) -> Sampler {
    let mut sampler = Sampler::new(RATE);
    sampler.set_master(Master::default());
    sampler.set_source(0, Some(clip()));
    sampler.set_pad(0, settings);
    for voice in 0..voices {
        sampler.note_on(NoteTag::key(0, 44 + voice as u8), 0.9);
    }
    sampler
}

fn render(sampler: &mut Sampler, left: &mut [f32; BLOCK], right: &mut [f32; BLOCK]) {
    sampler.render(left, right, &mut [], |_| {});
    black_box((&left, &right));
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("block of 64 at 48 kHz");
    group.throughput(Throughput::Elements(BLOCK as u64));
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    let plain = PadSettings { mode: PlayMode::Loop, loop_range: [0.2, 0.8], ..PadSettings::default() };
    let filtered =
        PadSettings { filter: FilterMode::LowPass, cutoff: 2_000.0, resonance: 0.5, crossfade: 0.1, ..plain };
    // The loop is as long as its crossfade, and the note begins in it: both places are read all the time.
    let worst = PadSettings { loop_range: [0.0, 0.2], crossfade: 0.4, ..filtered };
    let wide = PadSettings { air: 0.5, width: 0.5, ..filtered };
    for (name, settings) in [
        ("loop", plain),
        ("loop and filter", filtered),
        ("always in the crossfade", worst),
        ("loop, filter, air and width", wide),
    ] {
        for voices in [1, MAX_VOICES] {
            let mut sampler = playing(voices, settings);
            let (mut left, mut right) = ([0.0; BLOCK], [0.0; BLOCK]);
            group.bench_function(BenchmarkId::new(name, voices), |bencher| {
                bencher.iter(|| render(&mut sampler, &mut left, &mut right));
            });
        }
    }
    // Every pad's settings handed over again, as the plugin does in each block, with outputs of their own.
    let mut idle = Sampler::new(RATE);
    let mut outputs = vec![[0f32; BLOCK]; 2 * PADS];
    let (mut left, mut right) = ([0.0; BLOCK], [0.0; BLOCK]);
    group.bench_function("silence, settings of all pads", |bencher| {
        bencher.iter(|| {
            (0..PADS).for_each(|pad| idle.set_pad(pad, black_box(filtered)));
            idle.set_master(Master::default());
            let mut outputs: Vec<StereoOutput<'_>> = outputs
                .chunks_exact_mut(2)
                .filter_map(|pair| match pair {
                    [left, right] => Some(StereoOutput { left, right }),
                    _ => None,
                })
                .collect();
            idle.render(&mut left, &mut right, &mut outputs, |_| {});
        });
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
