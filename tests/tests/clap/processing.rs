//! Block sizes, sample rates, and bounces that repeat bit for bit.

use soundlocd_tests::clap_host::Event;
use soundlocd_tests::sounds::frequency;

use crate::{PITCH, ROOT, plain_instance};

/// A phrase that overlaps itself: two notes, releases, a repeated key.
fn phrase() -> Vec<(usize, Event)> {
    vec![
        (0, Event::NoteOn { key: 60, velocity: 0.9 }),
        (1_001, Event::NoteOn { key: 67, velocity: 0.4 }),
        (4_500, Event::NoteOff { key: 60 }),
        (5_003, Event::NoteOn { key: 60, velocity: 0.7 }),
        (9_999, Event::NoteOff { key: 67 }),
        (12_000, Event::NoteOff { key: 60 }),
    ]
}

#[test]
fn every_block_size_gives_the_same_sound() {
    let reference = plain_instance().render(48_000.0, 512, 16_384, &phrase());
    for block in [1, 2, 3, 7, 17, 63, 64, 127, 480, 511, 1_000, 1_024, 4_097, 8_191, 8_192] {
        let rendered = plain_instance().render(48_000.0, block, 16_384, &phrase());
        for (side, wanted) in rendered.iter().zip(&reference) {
            for (n, (found, wanted)) in side.iter().zip(wanted).enumerate() {
                assert!((found - wanted).abs() < 1e-5, "block {block}, frame {n}: {found} not {wanted}");
            }
        }
    }
}

#[test]
fn blocks_of_changing_size_give_the_same_sound() {
    let reference = plain_instance().render(48_000.0, 512, 16_384, &phrase());
    let mut instance = plain_instance();
    // Steps through all residues of 1021, a prime: sizes 1..=1021 in no musical order.
    let blocks = (1..).map(|n: usize| (n * 331) % 1_021 + 1);
    let rendered = instance.start(48_000.0, 1_024).play(16_384, blocks, &phrase());
    for (n, (found, wanted)) in rendered[0].iter().zip(&reference[0]).enumerate() {
        assert!((found - wanted).abs() < 1e-5, "frame {n}: {found} not {wanted}");
    }
}

#[test]
fn a_bounce_is_bit_identical_to_itself() {
    let mut instance = plain_instance();
    let first = instance.render(44_100.0, 512, 30_000, &phrase());
    let again = instance.render(44_100.0, 512, 30_000, &phrase());
    let elsewhere = plain_instance().render(44_100.0, 512, 30_000, &phrase());
    assert_eq!(first, again, "the same instance");
    assert_eq!(first, elsewhere, "another instance");
}

#[test]
fn the_rate_may_change_while_a_note_sounds() {
    let mut instance = plain_instance();
    let note = [(0, Event::NoteOn { key: ROOT, velocity: 0.8 })];
    for rate in [44_100.0, 96_000.0, 22_050.0, 192_000.0, 48_000.0] {
        // No note-off: the audio engine stops in the middle of the sound, as when a user changes
        // the rate of a playing project.
        let [left, right] = instance.render(rate, 256, rate as usize / 2, &note);
        assert!(left.iter().chain(&right).all(|sample| sample.is_finite()));
        let tenth = left.len() / 10;
        let heard = frequency(&left[tenth..], rate).unwrap();
        assert!((heard / PITCH).log2().abs() * 1200.0 < 1.0, "{heard} Hz at a rate of {rate}");
    }
}

#[test]
fn instances_do_not_hear_each_other() {
    let alone = plain_instance().render(48_000.0, 256, 8_192, &phrase());
    let (mut first, mut second) = (plain_instance(), plain_instance());
    let mut playing = first.start(48_000.0, 256);
    let mut other = second.start(48_000.0, 256);
    let mut left = Vec::new();
    for block in 0..32 {
        let start = block * 256;
        let due: Vec<_> = phrase()
            .into_iter()
            .filter(|(frame, _)| (start..start + 256).contains(frame))
            .map(|(frame, event)| (frame - start, event))
            .collect();
        left.extend(playing.play(256, [256], &due)[0].clone());
        other.play(256, [256], &[(0, Event::NoteOn { key: 40, velocity: 1.0 })]);
    }
    assert_eq!(left, alone[0]);
}
