//! Notes play the clip in the project: when, how high, how loud, and when they end.

use soundlocd_tests::clap_host::{Event, Instance, entry_in_process};
use soundlocd_tests::sounds::{frequency, peak};

use crate::{PITCH, ROOT, plain_instance};

/// A note in the middle of full level.
fn note_on(key: u16) -> Event {
    Event::NoteOn { key, velocity: 0.8 }
}

#[test]
fn the_root_key_plays_the_clip_at_its_own_pitch_at_every_rate() {
    for rate in [22_050.0, 44_100.0, 48_000.0, 88_200.0, 96_000.0, 176_400.0, 192_000.0] {
        let mut instance = plain_instance();
        let [left, right] = instance.render(rate, 512, rate as usize, &[(0, note_on(ROOT))]);
        let tenth = rate as usize / 10;
        let heard = frequency(&left[tenth..9 * tenth], rate).unwrap();
        assert!((heard / PITCH).log2().abs() * 1200.0 < 1.0, "{heard} Hz at a rate of {rate}");
        assert_eq!(left, right, "a mono clip sounds the same on both sides");
    }
}

#[test]
fn other_keys_are_in_equal_temperament() {
    let rate = 48_000.0;
    for key in [36, 48, 55, 59, 61, 67, 72, 84] {
        let mut instance = plain_instance();
        let [left, _] = instance.render(rate, 256, 12_000, &[(0, note_on(key))]);
        let wanted = PITCH * ((f64::from(key) - f64::from(ROOT)) / 12.0).exp2();
        let heard = frequency(&left[2_000..10_000], rate).unwrap();
        let cents = (heard / wanted).log2() * 1200.0;
        assert!(cents.abs() < 1.0, "key {key}: {heard} Hz instead of {wanted} Hz ({cents:+.2} cents)");
    }
}

#[test]
fn without_a_note_or_a_clip_there_is_silence() {
    let mut idle = plain_instance();
    let [left, right] = idle.render(44_100.0, 333, 10_000, &[]);
    assert!(left.iter().chain(&right).all(|sample| *sample == 0.0));

    let mut empty = Instance::new(&entry_in_process());
    let [left, right] = empty.render(44_100.0, 333, 10_000, &[(5, note_on(ROOT))]);
    assert!(left.iter().chain(&right).all(|sample| *sample == 0.0));
}

#[test]
fn a_note_starts_at_its_sample() {
    let mut instance = plain_instance();
    let [left, _] = instance.render(44_100.0, 1_024, 8_192, &[(3_001, note_on(ROOT))]);
    assert!(left[..3_001].iter().all(|sample| *sample == 0.0), "sound before the note");
    // The sine starts at zero, and so may the attack: within a quarter of its period it is heard.
    assert!(peak(&left[3_001..3_001 + 60]) > 0.01, "no sound after the note");
}

#[test]
fn a_released_note_ends() {
    let mut instance = plain_instance();
    let events = [(0, note_on(ROOT)), (4_000, Event::NoteOff { key: ROOT })];
    let [left, _] = instance.render(44_100.0, 512, 44_100, &events);
    assert!(peak(&left[1_000..4_000]) > 0.1);
    assert!(left[40_000..].iter().all(|sample| *sample == 0.0), "still sounding after the release");
}

#[test]
fn two_keys_sound_as_the_sum_of_each() {
    let alone = |key| plain_instance().render(44_100.0, 512, 8_000, &[(0, note_on(key))])[0].clone();
    let (low, high) = (alone(48), alone(52));
    let [both, _] = plain_instance().render(44_100.0, 512, 8_000, &[(0, note_on(48)), (0, note_on(52))]);
    for (n, sample) in both.iter().enumerate() {
        let sum = low[n] + high[n];
        assert!((sample - sum).abs() < 1e-5, "frame {n}: {sample} instead of {sum}");
    }
}

#[test]
fn a_softer_note_is_softer() {
    let level = |velocity| {
        let event = Event::NoteOn { key: ROOT, velocity };
        peak(&plain_instance().render(44_100.0, 512, 8_000, &[(0, event)])[0])
    };
    let (soft, middle, hard) = (level(0.2), level(0.6), level(1.0));
    assert!(0.0 < soft && soft < middle && middle < hard, "{soft} {middle} {hard}");
}

#[test]
fn more_notes_than_voices_stay_finite() {
    let mut instance = plain_instance();
    let events: Vec<_> = (0..128).map(|key| (usize::from(key) * 10, note_on(key))).collect();
    let [left, right] = instance.render(48_000.0, 64, 24_000, &events);
    assert!(left.iter().chain(&right).all(|sample| sample.is_finite()));
    assert!(peak(&left) > 0.1);
}
