//! Nothing clicks. A jump shows as a step between two samples that is larger than the clip's own largest step at
//! that pitch and level; on top of that a fade may move the level by its slope, and no more.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::{
    Controller, EnvelopeTimes, Expression, FilterMode, Master, NoteTag, PadSettings, PlayMode, Playheads,
    Sampler, Source,
};

const RATE: f32 = 48_000.0;
const CLIP_RATE: f64 = 22_050.0;
const PEAK: f32 = 0.8;
/// The key of the notes here.
const NOTE: NoteTag = NoteTag::key(0, 60);

/// Slopes of fades per sample: by time in seconds.
fn slope(seconds: f32) -> f32 {
    1.0 / (seconds * RATE)
}

/// A low tone that rises slowly: its own steps are small, so that any jump shows, and no two places are alike.
fn tone() -> Arc<Source> {
    let len = 2 * CLIP_RATE as usize;
    let audio: Vec<f32> = (0..len)
        .map(|i| {
            let time = i as f64 / CLIP_RATE;
            let fade = (i as f32 / 100.0).min((len - i) as f32 / 400.0).min(1.0);
            fade * PEAK * (std::f64::consts::TAU * (40.0 + 10.0 * time) * time).sin() as f32
        })
        .collect();
    Arc::new(Source::new(&audio, CLIP_RATE, 1))
}

fn pad() -> PadSettings {
    let envelope = EnvelopeTimes { release: 0.0, ..EnvelopeTimes::default() };
    PadSettings { velocity_amount: 0.0, envelope, ..PadSettings::default() }
}

fn sampler(settings: PadSettings) -> Sampler {
    let mut sampler = Sampler::new(RATE);
    sampler.set_source(0, Some(tone()));
    sampler.set_pad(0, settings);
    sampler
}

/// The next samples of the left output.
fn render(sampler: &mut Sampler, samples: usize) -> Vec<f32> {
    let (mut left, mut right) = (vec![0.0; samples], vec![0.0; samples]);
    sampler.render(&mut left, &mut right, &mut [], |_| {});
    left
}

/// Where the first voice is, in seconds of its clip.
fn seconds(sampler: &Sampler) -> f32 {
    let playheads = Playheads::default();
    sampler.publish(&playheads);
    playheads.sounding().next().unwrap().seconds
}

/// Largest step between neighbouring samples, from silence on.
fn largest_step(signal: &[f32]) -> f32 {
    signal.iter().fold((0f32, 0f32), |(last, most), x| (*x, most.max((x - last).abs()))).1
}

/// The clip's own largest step on a key: played as it is, from end to end.
fn own_step(key: u8) -> f32 {
    let mut sampler = sampler(pad());
    sampler.note_on(NoteTag::key(0, key), 1.0);
    let step = largest_step(&render(&mut sampler, 192_000));
    assert!(!sampler.is_sounding() || key < 60);
    step
}

#[test]
fn the_measure_sees_a_click() {
    let mut signal = render(
        &mut {
            let mut sampler = sampler(pad());
            sampler.note_on(NOTE, 1.0);
            sampler
        },
        4_000,
    );
    signal.iter_mut().skip(2_000).for_each(|x| *x = 0.0);
    let worst = (1_900..2_100).map(|cut| signal[cut % 2_000].abs()).fold(0.0, f32::max);
    assert!(worst > 20.0 * own_step(60), "a tone that is cut makes steps that no fade here explains");
}

/// What happens to a sounding note.
type Action = fn(&mut Sampler);

#[test]
fn events_and_changes_do_not_click() {
    let filtered = || PadSettings { filter: FilterMode::LowPass, cutoff: 2_000.0, ..pad() };
    let actions: [(&str, PadSettings, f32, Action); 26] = [
        ("off", pad(), slope(0.02 / 6.9), |s| s.note_off(NOTE)),
        ("steal", pad(), slope(0.005), |s| s.note_on(NoteTag::key(0, 59), 1.0)),
        ("same key again", pad(), slope(0.005), |s| s.note_on(NOTE, 1.0)),
        ("choke", pad(), slope(0.005), |s| s.choke(NOTE)),
        ("choke group", PadSettings { choke_group: 1, ..pad() }, slope(0.005), |s| {
            s.set_pad(1, PadSettings { choke_group: 1, ..pad() });
            s.trigger(1, 1.0);
        }),
        ("swap", pad(), 0.0, |s| s.set_source(0, Some(Arc::new(Source::new(&[0.7; 999], CLIP_RATE, 2))))),
        ("empty", pad(), 0.0, |s| s.set_source(0, None)),
        ("level", pad(), slope(0.005), |s| s.set_pad(0, PadSettings { level: -60.0, ..pad() })),
        ("pan", pad(), slope(0.005), |s| s.set_pad(0, PadSettings { pan: 1.0, ..pad() })),
        ("tune", pad(), 0.0, |s| s.set_pad(0, PadSettings { tune: -5.0, ..pad() })),
        ("range", pad(), 0.0, |s| s.set_pad(0, PadSettings { range: [0.7, 0.71], ..pad() })),
        ("direction", pad(), 0.0, |s| s.set_pad(0, PadSettings { reverse: true, ..pad() })),
        ("mode", pad(), 0.0, |s| s.set_pad(0, PadSettings { mode: PlayMode::Loop, ..pad() })),
        ("gain", pad(), slope(0.005), |s| {
            s.set_master(Master { gain: 0.0, polyphony: 1, ..Master::default() })
        }),
        ("volume", pad(), slope(0.005), |s| s.set_expression(NOTE, Expression::Volume(0.0))),
        ("expression", pad(), slope(0.005), |s| s.set_controller(0, Controller::Expression, 0.0)),
        ("bend", pad(), 0.0, |s| s.set_controller(0, Controller::Bend, -1.0)),
        ("sustain", pad(), slope(0.02 / 6.9), |s| {
            let envelope = EnvelopeTimes { decay: 0.0, sustain: 0.1, release: 0.0, attack: 0.0 };
            s.set_pad(0, PadSettings { envelope, ..pad() });
        }),
        ("filter on", pad(), 2.0 * slope(0.01), |s| {
            s.set_pad(0, PadSettings { filter: FilterMode::HighPass, cutoff: 5_000.0, ..pad() });
        }),
        ("filter off", PadSettings { cutoff: 30.0, ..filtered() }, 2.0 * slope(0.01), |s| {
            s.set_pad(0, pad())
        }),
        ("other filter", filtered(), 2.0 * slope(0.01), |s| {
            s.set_pad(0, PadSettings { filter: FilterMode::HighPass, ..pad() });
        }),
        ("cutoff", filtered(), slope(0.01), |s| {
            s.set_pad(0, PadSettings { filter: FilterMode::LowPass, cutoff: 30.0, ..pad() });
        }),
        ("air", pad(), slope(0.05), |s| s.set_pad(0, PadSettings { air: 1.0, ..pad() })),
        ("width on", pad(), slope(0.005), |s| s.set_pad(0, PadSettings { width: 1.0, ..pad() })),
        ("width off", PadSettings { width: 1.0, ..pad() }, slope(0.005), |s| s.set_pad(0, pad())),
        ("pressure", filtered(), slope(0.01), |s| s.set_controller(0, Controller::Pressure, 1.0)),
    ];
    let own = own_step(60);
    for (name, settings, slope, action) in actions {
        // At many phases of the tone, its peaks among them.
        for delay in (9_000..10_200).step_by(60) {
            let mut sampler = sampler(settings);
            sampler.set_master(Master { polyphony: 1, ..Master::default() });
            sampler.note_on(NOTE, 1.0);
            let mut out = render(&mut sampler, delay);
            action(&mut sampler);
            out.extend(render(&mut sampler, 4_000));
            // Two at once where a new note fades in below the old one's end.
            let (step, bound) = (largest_step(&out), 1.02 * own + PEAK * slope + 1e-4);
            let bound = if name == "steal" || name == "same key again" { bound + own } else { bound };
            assert!(step < bound, "{name} after {delay}: step {step}, bound {bound}");
        }
    }
}

#[test]
fn ranges_inside_the_clip_neither_begin_nor_end_with_a_click() {
    for key in [48, 60, 84] {
        let own = own_step(key);
        for reverse in [false, true] {
            for filter in [FilterMode::Off, FilterMode::LowPass] {
                for i in 0..20 {
                    let at = 0.2 + 0.003 * i as f32;
                    let settings = PadSettings {
                        range: [at, at + 0.1],
                        reverse,
                        filter,
                        cutoff: 300.0,
                        resonance: 0.0,
                        mode: PlayMode::OneShot,
                        ..pad()
                    };
                    let mut sampler = sampler(settings);
                    sampler.note_on(NoteTag::key(0, key), 1.0);
                    let out = render(&mut sampler, 40_000);
                    assert!(!sampler.is_sounding() && out.iter().any(|x| x.abs() > 0.1));
                    let (step, bound) = (largest_step(&out), 1.02 * own + PEAK * slope(0.002) + 1e-4);
                    assert!(
                        step < bound,
                        "key {key}, range from {at}, {reverse}: step {step}, bound {bound}"
                    );
                }
            }
        }
    }
}

#[test]
fn loops_do_not_click_though_their_ends_differ() {
    for key in [48, 60, 84] {
        let own = own_step(key);
        for reverse in [false, true] {
            for crossfade in [0.0, 0.05f32] {
                for i in 0..20 {
                    // The last of them lies at the clip's very beginning.
                    let first = 0.2 - 0.01 * (i as f32 + 1.0);
                    let settings = PadSettings {
                        mode: PlayMode::Loop,
                        loop_range: [first, 0.5],
                        crossfade,
                        reverse,
                        ..pad()
                    };
                    let mut sampler = sampler(settings);
                    sampler.note_on(NoteTag::key(0, key), 1.0);
                    let out = render(&mut sampler, 192_000);
                    assert!(sampler.is_sounding());
                    assert!(out.iter().skip(180_000).any(|x| x.abs() > 0.1), "it goes on");
                    // In seconds of the clip, but never shorter than 2 ms; an equal-power fade is √2 as steep and
                    // as loud as a linear one.
                    let fade = (crossfade / 2f32.powf((f32::from(key) - 60.0) / 12.0)).max(0.002);
                    let bound = 1.45 * own + 2.0 * 1.42 * PEAK * slope(fade) + 1e-4;
                    let step = largest_step(&out);
                    assert!(step < bound, "key {key}, from {first}, {reverse}: step {step}, bound {bound}");
                }
            }
        }
    }
}

#[test]
fn loops_may_be_moved_while_they_are_heard() {
    let own = own_step(60);
    let looped = |first: f32, last: f32| PadSettings {
        mode: PlayMode::Loop,
        loop_range: [first, last],
        crossfade: 0.03,
        ..pad()
    };
    // Later, earlier, wider, narrower; the clip is 2 s long.
    for (first, last) in [(0.7, 0.9), (0.05, 0.2), (0.1, 0.9), (0.38, 0.42), (0.3, 0.5)] {
        for delay in (45_000..60_000).step_by(700) {
            let mut sampler = sampler(looped(0.3, 0.5));
            sampler.note_on(NOTE, 1.0);
            let mut out = render(&mut sampler, delay);
            // On the way there, a loop that is replaced at once.
            sampler.set_pad(0, looped(0.2, 0.3));
            out.extend(render(&mut sampler, 500));
            sampler.set_pad(0, looped(first, last));
            out.extend(render(&mut sampler, 96_000));
            let bound = 1.45 * own + 2.0 * 1.42 * PEAK * slope(0.03) + 1e-4;
            let step = largest_step(&out);
            assert!(step < bound, "to {first}..{last} after {delay}: step {step}, bound {bound}");
            // Two seconds later it is where it should be.
            for _ in 0..100 {
                let seconds = seconds(&sampler);
                assert!((2.0 * first..2.0 * last + 1e-3).contains(&seconds), "{seconds} s");
                render(&mut sampler, 300);
            }
        }
    }
}

#[test]
fn a_loop_of_whole_periods_is_as_if_it_had_no_end() {
    // 100 periods of 50 samples; the loop is 20 periods.
    let audio: Vec<f32> = (0..5_000).map(|i| (i as f32 * std::f32::consts::TAU / 50.0).sin()).collect();
    let mut sampler = Sampler::new(CLIP_RATE as f32);
    sampler.set_source(0, Some(Arc::new(Source::new(&audio, CLIP_RATE, 1))));
    let settings = PadSettings {
        mode: PlayMode::Loop,
        loop_range: [0.4, 0.6],
        crossfade: 0.02,
        ..PadSettings::default()
    };
    sampler.set_pad(0, settings);
    sampler.note_on(NOTE, 1.0);
    let out = render(&mut sampler, 40_000);
    for (i, x) in out.iter().enumerate().skip(100) {
        let expected = (i as f32 * std::f32::consts::TAU / 50.0).sin();
        // 40,000 samples on, single precision of the expectation itself is some 1e-3.
        let expected = if i % 50 == 0 { 0.0 } else { expected };
        assert!((x - expected).abs() < 4e-3, "{i}: {x} instead of {expected}");
    }
}

#[test]
fn the_filter_rings_out_after_the_end_of_the_clip() {
    // A tone that ends at its loudest, through a resonant filter that goes on for long.
    let audio: Vec<f32> = (0..4_000).map(|i| 0.5 * (i as f32 / 4_000.0) * (i as f32 * 0.02).sin()).collect();
    let mut sampler = Sampler::new(RATE);
    sampler.set_source(0, Some(Arc::new(Source::new(&audio, CLIP_RATE, 1))));
    let settings = PadSettings { filter: FilterMode::LowPass, cutoff: 70.0, resonance: 0.7, ..pad() };
    sampler.set_pad(0, settings);
    sampler.note_on(NOTE, 1.0);
    let out = render(&mut sampler, 10_000);
    assert!(!sampler.is_sounding());
    let peak = out.iter().fold(0f32, |a, x| a.max(x.abs()));
    assert!(peak > 0.5, "{peak}");
    let tone = std::f32::consts::TAU * 70.0 / RATE * peak;
    assert!(largest_step(&out) < 1.1 * tone + peak * slope(0.005), "{}", largest_step(&out));
}
