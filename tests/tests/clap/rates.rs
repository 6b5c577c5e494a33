//! The host changes the sample rate, the block size and the mode of rendering while a project is open.

use serde_json::json;
use soundlocd_tests::clap_host::{Event, Instance};
use soundlocd_tests::plugin_state;
use soundlocd_tests::sounds::{frequency, peak};

use crate::{PITCH, ROOT, plain_instance};

/// The largest block of these hosts, in frames.
const LARGEST: u32 = 4_096;
/// Length of the clip in [`plain_instance`], in seconds.
const SECONDS: f64 = 2.0;

/// The root key goes down.
const NOTE: (usize, Event) = (0, Event::NoteOn { key: ROOT, velocity: 0.8 });

/// Sizes from 1 to [`LARGEST`], the smallest beside the largest.
fn blocks() -> impl Iterator<Item = usize> {
    [1, 4_096, 3, 17, 64, 1_000, 2, 511, 2_048, 63, 480, 4_095].into_iter().cycle()
}

/// The largest step from one sample to the next.
fn steepest(audio: &[f32]) -> f32 {
    audio.windows(2).fold(0.0, |steepest, pair| steepest.max((pair[1] - pair[0]).abs()))
}

#[test]
fn the_sound_stays_the_same_at_every_rate_and_in_blocks_of_changing_size() {
    let mut instance = plain_instance();
    let saved = plugin_state::object(&instance.save());
    for rate in [44_100.0, 48_000.0, 96_000.0, 192_000.0, 44_100.0] {
        // Stopped in the middle of a note, as when the user changes the rate of a project that plays.
        let [left, _] = instance.start(rate, LARGEST).play(rate as usize / 3, blocks(), &[NOTE]);
        assert!(peak(&left) > 0.1, "nothing at a rate of {rate}");

        let mut playing = instance.start(rate, LARGEST);
        let [before, _] = playing.play(5_000, blocks(), &[]);
        assert!(before.iter().all(|sample| *sample == 0.0), "the old note came back at a rate of {rate}");
        let [left, right] = playing.play((2.5 * rate) as usize, blocks(), &[NOTE]);
        assert_eq!(plugin_state::object(&playing.instance().save()), saved, "while playing at {rate}");
        drop(playing);

        assert!(left.iter().chain(&right).all(|sample| sample.is_finite()));
        let (tenth, end) = (rate as usize / 10, (SECONDS * rate) as usize);
        let heard = frequency(&left[tenth..end - tenth], rate).unwrap();
        assert!((heard / PITCH).log2().abs() * 1200.0 < 1.0, "{heard} Hz at a rate of {rate}");
        // The sine ends where it began.
        let last = left.iter().rposition(|sample| sample.abs() > 1e-4).unwrap();
        let seconds = last as f64 / rate;
        assert!((seconds - SECONDS).abs() < 0.002, "{seconds} s at a rate of {rate}");
        // What is steeper than the sine itself would be heard as a click. At its ends it has corners, near which
        // every interpolation within the clip's band rings a little.
        let (within, margin) = (&left[tenth..end - tenth], rate as usize / 200);
        let sine = f64::from(peak(within)) * std::f64::consts::TAU * PITCH / rate;
        for (part, most) in [(&left[margin..end - margin], 1.05), (&left[..], 1.3)] {
            let step = f64::from(steepest(part));
            assert!(step < most * sine, "a step of {step} at a rate of {rate}, of a sine {sine}");
        }
    }
    assert_eq!(plugin_state::object(&instance.save()), saved);
}

/// An instance with everything on that changes over time: loop, envelope, filter, pitch.
fn shaped_instance() -> Instance {
    let mut instance = plain_instance();
    let state = instance.save();
    let shape = [
        ("attack", json!(0.02)),
        ("decay", json!(0.2)),
        ("sustain", json!(0.5)),
        ("release", json!(0.3)),
        ("mode", json!("loop")),
        ("filter", json!("low_pass")),
        ("cutoff", json!(700.0)),
        ("resonance", json!(0.6)),
        ("tune", json!(0.37)),
        ("pan", json!(-0.4)),
    ];
    let state =
        shape.into_iter().fold(state, |state, (id, value)| plugin_state::with_parameter(&state, id, &value));
    assert!(instance.load(&state));
    instance
}

#[test]
fn an_offline_bounce_is_what_was_heard() {
    let phrase = [
        NOTE,
        (4_801, Event::NoteOn { key: 67, velocity: 0.5 }),
        (24_000, Event::NoteOff { key: ROOT }),
        (30_011, Event::NoteOn { key: ROOT, velocity: 1.0 }),
        (40_000, Event::NoteOff { key: 67 }),
    ];
    for make in [plain_instance, shaped_instance] {
        let heard = make().render(48_000.0, 64, 72_000, &phrase);
        assert!(peak(&heard[0]) > 0.1);
        let mut instance = make();
        instance.set_offline(true);
        for block in [1_024, 8_192, 1, 1_024] {
            let bounced = instance.render(48_000.0, block, 72_000, &phrase);
            let differences = (0..2).map(|side| {
                heard[side].iter().zip(&bounced[side]).filter(|(heard, bounced)| heard != bounced).count()
            });
            assert_eq!(differences.sum::<usize>(), 0, "samples that differ in blocks of {block}");
        }
    }
}
