#![allow(clippy::unwrap_used)]

use rustfft::{FftPlanner, num_complex::Complex};

use super::*;

const HOST_RATES: [f32; 5] = [22_050.0, 44_100.0, 48_000.0, 96_000.0, 192_000.0];
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

fn sampler(rate: f32, source: &Arc<Source>) -> Sampler {
    let mut sampler = Sampler::new(rate);
    sampler.set_source(Some(Arc::clone(source)));
    sampler
}

/// The next `samples` of the left output.
fn render(sampler: &mut Sampler, samples: usize) -> Vec<f32> {
    let (mut left, mut right) = (vec![9.0; samples], vec![9.0; samples]);
    sampler.render(&mut left, &mut right, |_| {});
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

#[test]
fn keys_sound_at_equal_temperament_at_every_host_rate() {
    let source = sine(440.0, 6.0);
    for rate in HOST_RATES {
        for key in [36, 48, 59, 60, 61, 67, 72, 84] {
            let mut sampler = sampler(rate, &source);
            sampler.note_on(NoteTag::key(0, key), 1.0);
            let samples = (rate / 4.0) as usize;
            render(&mut sampler, samples / 4);
            let found = peak_hz(&render(&mut sampler, samples), rate);
            let wanted = 440.0 * 2f64.powf((f64::from(key) - 60.0) / 12.0);
            let cents = 1200.0 * (found / wanted).log2();
            assert!(cents.abs() < 3.0, "key {key} at {rate} Hz: {found} Hz, {cents} cents off");
        }
    }
}

#[test]
fn root_tune_tracking_and_bend_shift_the_pitch() {
    let source = sine(440.0, 6.0);
    let cases: [(SamplerSettings, u8, f32, f64); 5] = [
        (SamplerSettings { root_key: 69, ..Default::default() }, 69, 0.0, 0.0),
        (SamplerSettings { tune: -7.5, ..Default::default() }, 60, 0.0, -7.5),
        (SamplerSettings { key_tracking: 0.0, ..Default::default() }, 90, 0.0, 0.0),
        (SamplerSettings { key_tracking: 0.5, ..Default::default() }, 72, 0.0, 6.0),
        (SamplerSettings { bend_range: 12.0, ..Default::default() }, 60, -0.5, -6.0),
    ];
    for (settings, key, bend, semitones) in cases {
        let mut sampler = sampler(48_000.0, &source);
        sampler.set_settings(settings);
        sampler.note_on(NoteTag::key(3, key), 1.0);
        sampler.set_bend(3, bend);
        sampler.set_bend(4, 1.0);
        render(&mut sampler, 4_000);
        let found = peak_hz(&render(&mut sampler, 16_384), 48_000.0);
        let cents = 1200.0 * (found / (440.0 * 2f64.powf(semitones / 12.0))).log2();
        assert!(cents.abs() < 3.0, "{settings:?}: {cents} cents off");
    }
}

#[test]
fn pitching_up_does_not_alias_and_down_makes_no_images() {
    // At +24 semitones 9 kHz would become 36 kHz and fold back to 12 kHz.
    for (hz, key, rate) in [(9_000.0, 84, 48_000.0), (9_000.0, 77, 44_100.0), (9_000.0, 84, 22_050.0)] {
        let mut sampler = sampler(rate, &sine(hz, 6.0));
        sampler.note_on(NoteTag::key(0, key), 1.0);
        render(&mut sampler, 2_000);
        let peak = render(&mut sampler, 8_192).into_iter().fold(0f32, |a, x| a.max(x.abs()));
        assert!(peak < 0.002, "{hz} Hz on key {key} at {rate} Hz leaves {peak}");
    }
    // An octave down at 48 kHz, the first image of 4 kHz would lie at (22.05 - 4) / 2 kHz.
    let mut sampler = sampler(48_000.0, &sine(4_000.0, 6.0));
    sampler.note_on(NoteTag::key(0, 48), 1.0);
    render(&mut sampler, 4_000);
    let (bins, width) = spectrum(&render(&mut sampler, 16_384), 48_000.0);
    let tone = bins.iter().copied().fold(0.0, f64::max);
    let image = bins.iter().skip((3_000.0 / width) as usize).copied().fold(0.0, f64::max);
    assert!(20.0 * (image / tone).log10() < -70.0);
}

/// Something that happens.
type Action = fn(&mut Sampler);
/// Everything that can happen, as (sample, action).
type Score = Vec<(usize, Action)>;

fn score() -> Score {
    vec![
        (3, |s| s.note_on(NoteTag::key(0, 60), 0.8)),
        (777, |s| s.note_on(NoteTag::key(0, 67), 0.5)),
        (1_500, |s| s.set_bend(0, 0.7)),
        (2_048, |s| s.set_pedal(0, true)),
        (3_001, |s| s.note_off(NoteTag::key(0, 60))),
        (4_000, |s| (40..80).for_each(|key| s.note_on(NoteTag::key(1, key), 1.0))),
        (6_100, |s| s.set_pedal(0, false)),
        (7_000, |s| s.set_source(Some(sine(300.0, 1.0)))),
        (7_001, |s| s.note_on(NoteTag::key(0, 50), 1.0)),
        (9_000, |s| s.note_off(NoteTag::default())),
        (9_500, |s| s.choke(NoteTag::key(1, 70))),
    ]
}

/// Plays the score in blocks of `block` samples.
fn play(block: usize) -> Vec<f32> {
    let mut sampler = sampler(48_000.0, &sine(440.0, 0.5));
    let envelope = EnvelopeTimes { attack: 0.01, decay: 0.05, sustain: 0.6, release: 0.1 };
    sampler.set_settings(SamplerSettings { envelope, gain: 0.3, ..Default::default() });
    let (mut out, score) = (Vec::new(), score());
    while out.len() < 20_000 {
        let end = out.len() + block;
        for (at, action) in
            score.iter().filter(|(at, _)| (out.len()..end).contains(at)).copied().collect::<Score>()
        {
            let before = at - out.len();
            out.extend(render(&mut sampler, before));
            action(&mut sampler);
        }
        let rest = end - out.len();
        out.extend(render(&mut sampler, rest));
    }
    out.truncate(20_000);
    out
}

#[test]
fn output_is_the_same_bit_for_bit_whatever_the_block_size() {
    let reference = play(64);
    assert!(reference.iter().any(|x| x.abs() > 0.01));
    for block in [1, 17, 512, 8_192] {
        assert!(play(block).iter().zip(&reference).all(|(a, b)| a.to_bits() == b.to_bits()), "{block}");
    }
}

/// Largest step between neighbouring samples.
fn largest_step(signal: &[f32]) -> f32 {
    signal.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
}

#[test]
fn nothing_clicks_at_on_off_steal_choke_or_swap() {
    // A low tone: its own steps are small, so that any jump of the level shows.
    let source = sine(60.0, 4.0);
    let settings = SamplerSettings { polyphony: 1, velocity_amount: 0.0, ..Default::default() };
    let own_step = (std::f32::consts::TAU * 60.0 / 48_000.0) * 0.8;
    let actions: [(&str, Action); 5] = [
        ("off", |s| s.note_off(NoteTag::key(0, 60))),
        ("steal", |s| s.note_on(NoteTag::key(0, 60), 1.0)),
        ("choke", |s| s.choke(NoteTag::key(0, 60))),
        ("swap", |s| s.set_source(Some(sine(90.0, 1.0)))),
        ("empty", |s| s.set_source(None)),
    ];
    for (name, action) in actions {
        // At several phases of the tone, its peak among them.
        for delay in [1_000, 1_050, 1_100, 1_200, 1_333] {
            let mut sampler = sampler(48_000.0, &source);
            let envelope = EnvelopeTimes { release: 0.0, ..EnvelopeTimes::default() };
            sampler.set_settings(SamplerSettings { envelope, ..settings });
            sampler.note_on(NoteTag::key(0, 60), 1.0);
            let mut out = render(&mut sampler, delay);
            action(&mut sampler);
            out.extend(render(&mut sampler, 4_000));
            // A fade of 4 ms at full level moves by 0.8 / 192 a sample; exponentials start at
            // seven times that rate. The new note of a steal fades in as its clip does.
            let bound = 2.0 * own_step + 7.0 * 0.8 / 192.0;
            let step = largest_step(&out);
            assert!(step < bound, "{name} after {delay}: step {step}, bound {bound}");
        }
    }
}

#[test]
fn stealing_keeps_the_newest_notes_and_fades_the_others() {
    let mut sampler = sampler(48_000.0, &sine(100.0, 4.0));
    sampler.set_settings(SamplerSettings { polyphony: 4, ..Default::default() });
    (50..60).for_each(|key| sampler.note_on(NoteTag::key(0, key), 1.0));
    let keys = |s: &Sampler| {
        let mut keys: Vec<_> =
            s.voices.iter().filter(|v| v.is_active()).map(|v| v.tag.key.unwrap()).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(&sampler), [56, 57, 58, 59]);
    assert_eq!(sampler.fading.iter().filter(|v| v.is_active()).count(), 6);
    let mut ended = 0;
    sampler.render(&mut [0.0; 300], &mut [0.0; 300], |_| ended += 1);
    assert_eq!(ended, 6);
    // Those let go are stolen first, though they are newer.
    sampler.note_off(NoteTag::key(0, 58));
    render(&mut sampler, 10);
    sampler.note_on(NoteTag::key(0, 80), 1.0);
    assert_eq!(keys(&sampler), [56, 57, 59, 80]);
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

    sampler.set_settings(SamplerSettings { one_shot: true, ..Default::default() });
    sampler.note_on(tag, 1.0);
    sampler.note_off(tag);
    render(&mut sampler, 48_000 * 3);
    assert!(sampler.is_sounding(), "one-shot notes play to the end of the clip");
    render(&mut sampler, 48_000 * 2);
    assert!(!sampler.is_sounding());
}

#[test]
fn velocity_and_note_expressions_scale_the_level() {
    let peak = |velocity: f32, amount: f32, volume: f32| {
        let mut sampler = sampler(48_000.0, &sine(400.0, 1.0));
        sampler.set_settings(SamplerSettings { velocity_amount: amount, ..Default::default() });
        sampler.note_on(NoteTag::key(0, 60), velocity);
        sampler.set_note_volume(NoteTag::key(0, 60), volume);
        render(&mut sampler, 4_000);
        render(&mut sampler, 4_000).into_iter().fold(0f32, |a, x| a.max(x.abs()))
    };
    let full = peak(1.0, 1.0, 1.0);
    assert!((full - 0.8).abs() < 0.01);
    assert!((peak(0.5, 1.0, 1.0) / full - 0.25).abs() < 0.01);
    assert!((peak(0.5, 0.0, 1.0) / full - 1.0).abs() < 0.01);
    assert!((peak(1.0, 1.0, 0.5) / full - 0.5).abs() < 0.01);
    assert!((peak(f32::NAN, 1.0, f32::NAN) / full - 1.0).abs() < 0.01);
}

#[test]
fn balance_moves_between_the_outputs() {
    let mut sampler = sampler(48_000.0, &sine(400.0, 1.0));
    let tag = NoteTag::key(0, 60);
    let mut peaks = |pan: f32| {
        sampler.note_on(tag, 1.0);
        sampler.set_note_pan(tag, pan);
        render(&mut sampler, 4_000);
        let (mut left, mut right) = ([0.0; 1_000], [0.0; 1_000]);
        sampler.render(&mut left, &mut right, |_| {});
        sampler.reset();
        [left, right].map(|side| side.into_iter().fold(0f32, |a, x| a.max(x.abs())))
    };
    let [left, right] = peaks(0.0);
    assert_eq!(left, right);
    let [left, right] = peaks(1.0);
    assert!(left < 1e-3 && right > 0.75, "{left} {right}");
}

#[test]
fn hostile_events_do_no_harm() {
    let mut sampler = sampler(48_000.0, &sine(400.0, 1.0));
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30] {
        let settings = SamplerSettings {
            root_key: i32::from(i16::MIN),
            key_tracking: value,
            tune: value,
            bend_range: value,
            velocity_amount: 1.0,
            polyphony: 0,
            ..Default::default()
        };
        sampler.set_settings(settings);
        sampler.note_on(NoteTag::key(255, 255), value);
        sampler.note_on(NoteTag::default(), value);
        sampler.set_bend(255, value);
        sampler.set_bend(1, value);
        sampler.set_pedal(255, true);
        sampler.set_note_tuning(NoteTag::default(), value);
        sampler.set_note_pan(NoteTag::default(), value);
        render(&mut sampler, 500);
    }
}

#[test]
fn sample_rate_changes_silence_and_retune() {
    let source = sine(440.0, 6.0);
    let mut sampler = sampler(44_100.0, &source);
    sampler.note_on(NoteTag::key(0, 60), 1.0);
    render(&mut sampler, 1_000);
    sampler.set_sample_rate(96_000.0);
    assert!(!sampler.is_sounding());
    sampler.note_on(NoteTag::key(0, 60), 1.0);
    render(&mut sampler, 4_000);
    let found = peak_hz(&render(&mut sampler, 32_768), 96_000.0);
    assert!((found - 440.0).abs() < 0.5, "{found}");
}

#[test]
fn playing_allocates_nothing() {
    let first = sine(440.0, 0.2);
    let second = sine(220.0, 0.2);
    let playheads = Playheads::default();
    let mut sampler = sampler(48_000.0, &first);
    let (mut left, mut right) = (vec![0.0; 512], vec![0.0; 512]);
    // Both are kept alive here, as the handover does: dropping one in there frees nothing.
    nice_assert_no_alloc::assert_no_alloc(|| {
        for round in 0..200u8 {
            let key = 20 + round % 100;
            sampler.note_on(NoteTag::key(0, key), 0.9);
            sampler.note_on(NoteTag { id: Some(i32::from(round)), ..NoteTag::key(1, key) }, 0.4);
            sampler.set_bend(0, f32::from(round) / 200.0);
            sampler.set_settings(SamplerSettings { tune: f32::from(round) / 50.0, ..Default::default() });
            sampler.render(&mut left, &mut right, |_| {});
            sampler.note_off(NoteTag::key(0, key.saturating_sub(3)));
            sampler.set_source(Some(Arc::clone(if round % 2 == 0 { &first } else { &second })));
            sampler.publish(&playheads);
        }
        sampler.reset();
    });
}
