//! Keys, transpositions and controllers: how high it sounds, and how bright.

use super::*;

const HOST_RATES: [f32; 5] = [22_050.0, 44_100.0, 48_000.0, 96_000.0, 192_000.0];

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
    let pad = PadSettings::default;
    let cases: [(PadSettings, f32, u8, f32, f64); 5] = [
        (PadSettings { root_key: 69, ..pad() }, 2.0, 69, 0.0, 0.0),
        (PadSettings { tune: -7.5, ..pad() }, 2.0, 60, 0.0, -7.5),
        (PadSettings { key_tracking: 0.0, ..pad() }, 2.0, 90, 0.0, 0.0),
        (PadSettings { key_tracking: 0.5, ..pad() }, 2.0, 72, 0.0, 6.0),
        (pad(), 12.0, 60, -0.5, -6.0),
    ];
    for (settings, bend_range, key, bend, semitones) in cases {
        let mut sampler = sampler(48_000.0, &source);
        sampler.set_pad(0, settings);
        sampler.set_master(Master { bend_range, ..Master::default() });
        sampler.note_on(NoteTag::key(3, key), 1.0);
        sampler.set_controller(3, Controller::Bend, bend);
        sampler.set_controller(4, Controller::Bend, 1.0);
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

#[test]
fn controllers_move_pitch_and_cutoff() {
    let source = sine(2_000.0, 4.0);
    let level = |act: fn(&mut Sampler)| {
        let mut sampler = sampler(48_000.0, &source);
        sampler
            .set_pad(0, PadSettings { filter: FilterMode::LowPass, cutoff: 500.0, ..PadSettings::default() });
        sampler.set_master(Master { wheel_cutoff: -1.0, pressure_cutoff: 2.0, ..Master::default() });
        sampler.note_on(NoteTag::key(5, 60), 1.0);
        act(&mut sampler);
        render(&mut sampler, 4_000);
        let sum: f32 = render(&mut sampler, 4_800).into_iter().map(|x| x * x).sum();
        10.0 * sum.log10()
    };
    let rest = level(|_| {});
    // Two octaves above the cutoff, at 12 dB an octave.
    for (act, change) in [
        ((|s| s.set_controller(5, Controller::Pressure, 1.0)) as fn(&mut Sampler), 20.4),
        (|s| s.set_expression(NoteTag::key(5, 60), Expression::Pressure(0.5)), 11.4),
        (|s| s.set_expression(NoteTag::key(5, 60), Expression::Brightness(0.375)), -12.1),
        (|s| s.set_controller(5, Controller::Brightness, 0.375), -12.1),
        (|s| s.set_controller(4, Controller::Pressure, 1.0), 0.0),
    ] {
        let got = level(act) - rest;
        assert!((got - change).abs() < 1.0, "{got} dB, not {change} dB");
    }

    // Vibrato: the pitch swings by its depth to both sides.
    let mut sampler = sampler(48_000.0, &source);
    sampler.set_master(Master { vibrato: 100.0, ..Master::default() });
    sampler.note_on(NoteTag::key(0, 60), 1.0);
    sampler.set_controller(0, Controller::Wheel, 1.0);
    let ratios: Vec<f64> = (0..48_000 / 64)
        .map(|_| {
            let before = sampler.voices[0].playhead().unwrap().1;
            render(&mut sampler, 64);
            f64::from(sampler.voices[0].playhead().unwrap().1 - before) * 48_000.0 / 64.0
        })
        .collect();
    let (least, most) = ratios.iter().fold((9.0, 0.0), |(a, b), x| (x.min(a), x.max(b)));
    let semitone = 2f64.powf(1.0 / 12.0);
    assert!((most - semitone).abs() < 5e-3 && (least - 1.0 / semitone).abs() < 5e-3, "{least} {most}");
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
