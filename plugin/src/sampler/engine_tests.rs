#![allow(clippy::unwrap_used)]

use rustfft::{FftPlanner, num_complex::Complex};

use super::*;
use crate::sampler::{EnvelopeTimes, FilterMode};

#[path = "pitch_tests.rs"]
mod pitch;

const CLIP_RATE: f64 = 22_050.0;

fn sine(hz: f64, seconds: f64) -> Arc<Source> {
    let len = (seconds * CLIP_RATE) as usize;
    let audio: Vec<f32> = (0..len)
        .map(|i| {
            // Clips fade in and out.
            let fade = (i as f64 / 40.0).min((len - i) as f64 / 200.0).min(1.0);
            (fade * 0.8 * (std::f64::consts::TAU * hz * i as f64 / CLIP_RATE).sin()) as f32
        })
        .collect();
    Arc::new(Source::new(&audio, CLIP_RATE, 1))
}

/// A sampler with a clip on its first pad, which plays every key.
fn sampler(rate: f32, source: &Arc<Source>) -> Sampler {
    let mut sampler = Sampler::new(rate);
    sampler.set_source(0, Some(Arc::clone(source)));
    sampler
}

/// The next `samples` of the left output.
fn render(sampler: &mut Sampler, samples: usize) -> Vec<f32> {
    let (mut left, mut right) = (vec![9.0; samples], vec![9.0; samples]);
    sampler.render(&mut left, &mut right, &mut [], |_| {});
    assert!(left.iter().chain(&right).all(|x| x.is_finite()));
    left
}

/// Magnitude spectrum of a Hann-windowed signal, and Hz per bin.
fn spectrum(signal: &[f32], rate: f32) -> (Vec<f64>, f64) {
    let n = signal.len();
    let mut bins: Vec<Complex<f64>> = signal
        .iter()
        .enumerate()
        .map(|(i, x)| {
            let window = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / n as f64).cos();
            Complex::new(f64::from(*x) * window, 0.0)
        })
        .collect();
    FftPlanner::new().plan_fft_forward(n).process(&mut bins);
    (bins[..n / 2].iter().map(|c| c.norm()).collect(), f64::from(rate) / n as f64)
}

/// The strongest frequency, by parabolic interpolation of the log spectrum.
fn peak_hz(signal: &[f32], rate: f32) -> f64 {
    let (bins, width) = spectrum(signal, rate);
    let peak = (1..bins.len() - 1).max_by(|a, b| bins[*a].total_cmp(&bins[*b])).unwrap();
    let [a, b, c] = [bins[peak - 1].ln(), bins[peak].ln(), bins[peak + 1].ln()];
    (peak as f64 + 0.5 * (a - c) / (a - 2.0 * b + c)) * width
}

/// Something that happens.
type Action = fn(&mut Sampler);
/// Everything that can happen, as (sample, action).
type Score = Vec<(usize, Action)>;

/// A looped, filtered pad that the score changes while it plays.
fn rich_pad() -> PadSettings {
    PadSettings {
        range: [0.1, 0.9],
        mode: PlayMode::Loop,
        loop_range: [0.3, 0.5],
        crossfade: 0.03,
        filter: FilterMode::LowPass,
        cutoff: 1_500.0,
        resonance: 0.6,
        air: 0.4,
        width: 0.6,
        fade_in: 0.004,
        ..PadSettings::default()
    }
}

fn score() -> Score {
    vec![
        (3, |s| s.note_on(NoteTag::key(0, 60), 0.8)),
        (777, |s| s.note_on(NoteTag::key(0, 67), 0.5)),
        (1_500, |s| s.set_controller(0, Controller::Bend, 0.7)),
        (1_600, |s| s.set_controller(0, Controller::Wheel, 0.7)),
        (2_048, |s| s.set_pedal(0, true)),
        (2_500, |s| {
            s.set_pad(
                0,
                PadSettings { cutoff: 300.0, pan: -0.5, level: -6.0, air: 0.0, width: 0.0, ..rich_pad() },
            )
        }),
        (3_001, |s| s.note_off(NoteTag::key(0, 60))),
        (3_300, |s| s.trigger(1, 0.9)),
        (4_000, |s| (40..80).for_each(|key| s.note_on(NoteTag::key(1, key), 1.0))),
        (5_000, |s| s.set_master(Master { gain: 0.2, ..Master::default() })),
        (5_050, |s| s.set_pad(0, PadSettings { filter: FilterMode::Off, ..rich_pad() })),
        (6_100, |s| s.set_pedal(0, false)),
        (7_000, |s| s.set_source(0, Some(sine(300.0, 1.0)))),
        (7_001, |s| s.note_on(NoteTag::key(0, 50), 1.0)),
        (8_000, |s| s.set_controller(0, Controller::Wheel, 0.0)),
        (9_000, |s| s.note_off(NoteTag::default())),
        (9_500, |s| s.choke(NoteTag::key(1, 70))),
        (12_000, |s| s.trigger(1, 0.5)),
    ]
}

/// Plays the score in blocks of `block` samples: left and right.
fn play(block: usize) -> [Vec<f32>; 2] {
    let mut sampler = sampler(48_000.0, &sine(440.0, 0.5));
    let envelope = EnvelopeTimes { attack: 0.01, decay: 0.05, sustain: 0.6, release: 0.1 };
    sampler.set_source(1, Some(sine(200.0, 0.1)));
    sampler.set_pad(0, PadSettings { envelope, ..rich_pad() });
    let short = PadSettings {
        range: [0.2, 0.7],
        reverse: true,
        filter: FilterMode::HighPass,
        cutoff: 100.0,
        resonance: 1.0,
        keys: [50, 51],
        choke_group: 3,
        ..PadSettings::default()
    };
    sampler.set_pad(1, short);
    sampler.set_master(Master { gain: 0.3, ..Master::default() });
    let (mut out, score) = ([Vec::new(), Vec::new()], score());
    let advance = |sampler: &mut Sampler, out: &mut [Vec<f32>; 2], samples: usize| {
        let (mut left, mut right) = (vec![9.0; samples], vec![9.0; samples]);
        sampler.render(&mut left, &mut right, &mut [], |_| {});
        out[0].extend(left);
        out[1].extend(right);
    };
    while out[0].len() < 20_000 {
        let end = out[0].len() + block;
        let now: Score = score.iter().filter(|(at, _)| (out[0].len()..end).contains(at)).copied().collect();
        for (at, action) in now {
            let before = at - out[0].len();
            advance(&mut sampler, &mut out, before);
            action(&mut sampler);
        }
        let rest = end - out[0].len();
        advance(&mut sampler, &mut out, rest);
    }
    out.map(|mut side| {
        side.truncate(20_000);
        side
    })
}

#[test]
fn output_is_the_same_bit_for_bit_whatever_the_block_size() {
    let reference = play(64);
    for side in &reference {
        assert!(side.iter().any(|x| x.abs() > 0.01));
    }
    for block in [1, 17, 512, 8_192] {
        let same = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(play(block).iter().zip(&reference).all(same), "{block}");
    }
}

/// Keys that sound and do not fade out on the side, in order.
fn keys(sampler: &Sampler) -> Vec<u8> {
    let mut keys: Vec<_> =
        sampler.voices.iter().filter(|v| v.is_active()).map(|v| v.tag.key.unwrap()).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn stealing_keeps_the_newest_notes_and_fades_the_others() {
    let mut sampler = sampler(48_000.0, &sine(100.0, 4.0));
    sampler.set_master(Master { polyphony: 4, ..Master::default() });
    (50..60).for_each(|key| sampler.note_on(NoteTag::key(0, key), 1.0));
    assert_eq!(keys(&sampler), [56, 57, 58, 59]);
    assert_eq!(sampler.fading.iter().filter(|v| v.is_active()).count(), 6);
    let mut ended = 0;
    sampler.render(&mut [0.0; 300], &mut [0.0; 300], &mut [], |_| ended += 1);
    assert_eq!(ended, 6);
    // Those let go are stolen first, though they are newer.
    sampler.note_off(NoteTag::key(0, 58));
    render(&mut sampler, 10);
    sampler.note_on(NoteTag::key(0, 80), 1.0);
    assert_eq!(keys(&sampler), [56, 57, 59, 80]);
    // Then the same key again, though it is newer too; then the oldest.
    sampler.note_on(NoteTag::key(0, 59), 1.0);
    assert_eq!(keys(&sampler), [56, 57, 59, 80]);
    sampler.note_on(NoteTag::key(0, 81), 1.0);
    assert_eq!(keys(&sampler), [57, 59, 80, 81]);
}

#[test]
fn pedal_holds_one_shot_ignores_and_release_ends() {
    let mut sampler = sampler(48_000.0, &sine(100.0, 4.0));
    let tag = NoteTag::key(2, 60);
    sampler.set_pedal(2, true);
    sampler.note_on(tag, 1.0);
    sampler.note_off(tag);
    render(&mut sampler, 20_000);
    assert!(sampler.is_sounding());
    sampler.set_pedal(2, false);
    render(&mut sampler, 20_000);
    assert!(!sampler.is_sounding());

    sampler.set_pad(0, PadSettings { mode: PlayMode::OneShot, ..PadSettings::default() });
    sampler.note_on(tag, 1.0);
    sampler.note_off(tag);
    render(&mut sampler, 48_000 * 3);
    assert!(sampler.is_sounding(), "one-shot notes play to the end of the clip");
    render(&mut sampler, 48_000 * 2);
    assert!(!sampler.is_sounding());

    sampler.set_pad(0, PadSettings { mode: PlayMode::Loop, ..PadSettings::default() });
    sampler.note_on(tag, 1.0);
    render(&mut sampler, 48_000 * 9);
    assert!(sampler.is_sounding(), "a loop goes on until the key is let go");
    sampler.note_off(tag);
    render(&mut sampler, 20_000);
    assert!(!sampler.is_sounding());
}

#[test]
fn a_key_plays_every_pad_that_has_it_and_a_clip() {
    let mut sampler = Sampler::new(48_000.0);
    for (pad, keys) in [[0, 127], [36, 36], [40, 50], [127, 0]].into_iter().enumerate() {
        sampler.set_pad(pad, PadSettings { keys, ..PadSettings::default() });
        if pad != 3 {
            sampler.set_source(pad, Some(sine(100.0, 1.0)));
        }
    }
    let pads = |sampler: &mut Sampler, key: u8| {
        sampler.reset();
        sampler.note_on(NoteTag::key(0, key), 1.0);
        sampler.voices.iter().filter(|v| v.is_active()).map(|v| v.pad).collect::<Vec<_>>()
    };
    for (key, expected) in
        [(35, vec![0]), (36, vec![0, 1]), (40, vec![0, 2]), (50, vec![0, 2]), (51, vec![0])]
    {
        assert_eq!(pads(&mut sampler, key), expected, "{key}");
    }
    // One end for both layers, when the last one is over.
    sampler.reset();
    sampler.set_pad(1, PadSettings { range: [0.0, 0.5], keys: [36, 36], ..PadSettings::default() });
    sampler.note_on(NoteTag::key(0, 36), 1.0);
    // Two octaves below the root: the clip lasts four seconds.
    let mut ends = Vec::new();
    for second in 0..5 {
        sampler.render(&mut [0.0; 48_000], &mut [0.0; 48_000], &mut [], |tag| ends.push((second, tag)));
    }
    assert_eq!(ends, [(4, NoteTag::key(0, 36))]);
}

#[test]
fn a_click_on_a_pad_plays_its_root_key() {
    let mut sampler = sampler(48_000.0, &sine(440.0, 6.0));
    sampler.set_pad(0, PadSettings { keys: [10, 10], root_key: 90, ..PadSettings::default() });
    sampler.trigger(0, 1.0);
    sampler.trigger(7, 1.0);
    sampler.trigger(PADS, 1.0);
    sampler.note_off(NoteTag::default());
    render(&mut sampler, 4_000);
    let found = peak_hz(&render(&mut sampler, 16_384), 48_000.0);
    assert!((found - 440.0).abs() < 0.5, "{found}");
    let mut ends = 0;
    sampler.release(0);
    sampler.render(&mut [0.0; 20_000], &mut [0.0; 20_000], &mut [], |_| ends += 1);
    assert!(!sampler.is_sounding());
    assert_eq!(ends, 0, "the host knows of no such note");
}

#[test]
fn a_note_ends_the_others_of_its_choke_group() {
    let mut sampler = Sampler::new(48_000.0);
    for (pad, choke_group) in [2, 2, 3, 0].into_iter().enumerate() {
        let key = 36 + pad as i32;
        sampler.set_source(pad, Some(sine(100.0, 1.0)));
        sampler.set_pad(pad, PadSettings { keys: [key, key], choke_group, ..PadSettings::default() });
    }
    for key in 36..40 {
        sampler.note_on(NoteTag::key(0, key), 1.0);
    }
    assert_eq!(keys(&sampler), [37, 38, 39]);
    sampler.note_on(NoteTag::key(0, 37), 1.0);
    assert_eq!(keys(&sampler), [37, 38, 39], "a pad chokes itself");
    sampler.trigger(0, 1.0);
    assert_eq!(sampler.voices.iter().filter(|v| v.is_active()).map(|v| v.pad).max(), Some(3));
    assert!(!keys(&sampler).contains(&37));
    // The layers of one note leave each other alone.
    for pad in 0..2 {
        sampler.set_pad(pad, PadSettings { choke_group: 2, ..PadSettings::default() });
    }
    sampler.reset();
    sampler.note_on(NoteTag::key(0, 60), 1.0);
    assert_eq!(keys(&sampler), [60, 60]);
}

#[test]
fn a_pad_may_have_an_output_of_its_own() {
    let mut sampler = Sampler::new(48_000.0);
    for (pad, output) in [PadOutput::Main, PadOutput::Own].into_iter().enumerate() {
        sampler.set_source(pad, Some(sine(400.0, 1.0)));
        let keys = [60 + pad as i32; 2];
        sampler.set_pad(pad, PadSettings { keys, output, key_tracking: 0.0, ..PadSettings::default() });
    }
    let mut peaks = |key: u8, own: bool| {
        sampler.reset();
        sampler.note_on(NoteTag::key(0, key), 1.0);
        let mut buffers = [[9f32; 4_000]; 6];
        let [left, right, left_1, right_1, left_2, right_2] = &mut buffers;
        if own {
            let mut outputs = [
                StereoOutput { left: left_1, right: right_1 },
                StereoOutput { left: left_2, right: right_2 },
            ];
            sampler.render(left, right, &mut outputs, |_| {});
        } else {
            sampler.render(left, right, &mut [], |_| {});
        }
        buffers.map(|buffer| buffer.into_iter().fold(0f32, |a, x| a.max(x.abs())) > 0.7)
    };
    assert_eq!(peaks(60, true), [true, true, false, false, false, false]);
    assert_eq!(peaks(61, true), [false, false, false, false, true, true]);
    // Without such an output it goes to the main one.
    assert_eq!(peaks(61, false)[..2], [true, true]);
}

#[test]
fn velocity_and_note_expressions_scale_the_level() {
    let peak = |velocity: f32, amount: f32, expression: Expression| {
        let mut sampler = sampler(48_000.0, &sine(400.0, 1.0));
        sampler.set_pad(0, PadSettings { velocity_amount: amount, ..PadSettings::default() });
        sampler.note_on(NoteTag::key(0, 60), velocity);
        sampler.set_expression(NoteTag::key(0, 60), expression);
        render(&mut sampler, 4_000);
        render(&mut sampler, 4_000).into_iter().fold(0f32, |a, x| a.max(x.abs()))
    };
    let full = peak(1.0, 1.0, Expression::Volume(1.0));
    assert!((full - 0.8).abs() < 0.01);
    assert!((peak(0.5, 1.0, Expression::Volume(1.0)) / full - 0.25).abs() < 0.01);
    assert!((peak(0.5, 0.0, Expression::Volume(1.0)) / full - 1.0).abs() < 0.01);
    assert!((peak(1.0, 1.0, Expression::Volume(0.5)) / full - 0.5).abs() < 0.01);
    assert!((peak(1.0, 1.0, Expression::Level(0.3)) / full - 0.3).abs() < 0.01);
    assert!((peak(f32::NAN, 1.0, Expression::Volume(f32::NAN)) / full - 1.0).abs() < 0.01);
}

#[test]
fn balance_moves_between_the_outputs() {
    let mut sampler = sampler(48_000.0, &sine(400.0, 1.0));
    let tag = NoteTag::key(0, 60);
    let mut peaks = |pad: f32, note: f32| {
        sampler.set_pad(0, PadSettings { pan: pad, ..PadSettings::default() });
        sampler.note_on(tag, 1.0);
        sampler.set_expression(tag, Expression::Pan(note));
        render(&mut sampler, 4_000);
        let (mut left, mut right) = ([0.0; 1_000], [0.0; 1_000]);
        sampler.render(&mut left, &mut right, &mut [], |_| {});
        sampler.reset();
        [left, right].map(|side| side.into_iter().fold(0f32, |a, x| a.max(x.abs())))
    };
    let [left, right] = peaks(0.0, 0.0);
    assert_eq!(left, right);
    for (pad, note) in [(1.0, 0.0), (0.0, 1.0)] {
        let [left, right] = peaks(pad, note);
        assert!(left < 1e-3 && right > 0.75, "{left} {right}");
    }
    let [left, right] = peaks(-0.5, 0.0);
    assert!((right / left - 0.5).abs() < 0.01);
}

#[test]
fn hostile_events_do_no_harm() {
    for len in [0, 1, 3, 20_000] {
        let source = Arc::new(Source::new(&vec![0.5; len], CLIP_RATE, 1));
        let mut sampler = sampler(48_000.0, &source);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 0.0] {
            for mode in [PlayMode::OneShot, PlayMode::Gate, PlayMode::Loop] {
                let settings = PadSettings {
                    keys: [300, -300],
                    root_key: i32::from(i16::MIN),
                    key_tracking: value,
                    tune: value,
                    level: value,
                    pan: value,
                    velocity_amount: value,
                    velocity_curve: value,
                    range: [value, 0.0],
                    fade_in: value,
                    fade_out: value,
                    mode,
                    loop_range: [0.9, value],
                    crossfade: value,
                    reverse: mode == PlayMode::Gate,
                    envelope: EnvelopeTimes { attack: value, decay: value, sustain: value, release: value },
                    filter: FilterMode::LowPass,
                    cutoff: value,
                    resonance: value,
                    air: value,
                    width: value,
                    choke_group: 200,
                    output: PadOutput::Own,
                };
                sampler.set_pad(0, settings);
                sampler.set_pad(PADS, settings);
                sampler.set_source(PADS, None);
                sampler.set_master(Master {
                    gain: value,
                    bend_range: value,
                    polyphony: 0,
                    vibrato: value,
                    wheel_cutoff: value,
                    pressure_cutoff: value,
                });
                sampler.note_on(NoteTag::key(255, 255), value);
                sampler.note_on(NoteTag::key(255, 60), value);
                sampler.note_on(NoteTag::default(), value);
                sampler.trigger(0, value);
                sampler.set_controller(255, Controller::Bend, value);
                for controller in
                    [Controller::Bend, Controller::Wheel, Controller::Pressure, Controller::Brightness]
                {
                    sampler.set_controller(0, controller, value);
                }
                sampler.set_pedal(255, true);
                sampler.set_expression(NoteTag::default(), Expression::Tuning(value));
                sampler.set_expression(NoteTag::default(), Expression::Pan(value));
                render(&mut sampler, 500);
            }
        }
    }
}

#[test]
fn playing_allocates_nothing() {
    let first = sine(440.0, 0.2);
    let second = sine(220.0, 0.2);
    let playheads = Playheads::default();
    let mut sampler = sampler(48_000.0, &first);
    let mut buffers = vec![vec![0.0; 512]; 4];
    // Both are kept alive here, as the handover does: dropping one in there frees nothing.
    nice_assert_no_alloc::assert_no_alloc(|| {
        for round in 0..200u8 {
            let key = 20 + round % 100;
            let modes = [PlayMode::OneShot, PlayMode::Gate, PlayMode::Loop];
            let settings = PadSettings {
                tune: f32::from(round) / 50.0,
                loop_range: [0.1, f32::from(round) / 200.0],
                mode: modes[usize::from(round) % 3],
                choke_group: round % 3,
                output: if round % 2 == 0 { PadOutput::Own } else { PadOutput::Main },
                ..rich_pad()
            };
            sampler.set_pad(usize::from(round) % PADS, settings);
            sampler.set_master(Master { gain: f32::from(round) / 200.0, ..Master::default() });
            sampler.note_on(NoteTag::key(0, key), 0.9);
            sampler.note_on(NoteTag { id: Some(i32::from(round)), ..NoteTag::key(1, key) }, 0.4);
            sampler.trigger(usize::from(round) % PADS, 0.5);
            sampler.set_controller(0, Controller::Bend, f32::from(round) / 200.0);
            sampler.set_controller(1, Controller::Wheel, f32::from(round) / 200.0);
            sampler.set_pedal(0, round % 7 == 0);
            let [left, right, own_left, own_right] = &mut buffers[..] else { return };
            sampler.render(left, right, &mut [StereoOutput { left: own_left, right: own_right }], |_| {});
            sampler.note_off(NoteTag::key(0, key.saturating_sub(3)));
            sampler.release(usize::from(round) % PADS);
            let source = if round % 2 == 0 { &first } else { &second };
            sampler.set_source(usize::from(round) % PADS, Some(Arc::clone(source)));
            sampler.publish(&playheads);
        }
        sampler.choke(NoteTag::default());
        sampler.reset();
    });
}
