//! The layouts of outputs: one stereo pair, or one for each pad besides.

use serde_json::json;
use soundlocd_tests::clap_host::{Event, Instance};
use soundlocd_tests::plugin_state;
use soundlocd_tests::sounds::peak;

use crate::{ROOT, plain_instance};

/// Plays the clip of [`plain_instance`], which is on pad 1, with a layout; the peak of every output.
fn peaks(layout: u32, output: &str) -> Vec<f32> {
    let mut instance = plain_instance();
    let state = plugin_state::with_parameter(&instance.save(), "output", &json!(output));
    assert!(instance.load(&state));
    instance.choose_layout(layout);
    let events = [(0, Event::NoteOn { key: ROOT, velocity: 0.8 })];
    let outputs = instance.start(48_000.0, 256).play_all(4_096, std::iter::repeat(256), &events);
    outputs.iter().flatten().map(|channel| peak(channel)).collect()
}

#[test]
fn the_first_layout_is_a_stereo_pair_and_the_second_has_one_for_each_pad() {
    let mut instance = Instance::new(&soundlocd_tests::clap_host::entry_in_process());
    assert_eq!(instance.layouts(), ["Stereo", "Stereo and pads"]);
    assert_eq!(instance.choose_layout(0).len(), 1);
    let names = instance.choose_layout(1);
    assert_eq!(names.len(), 17);
    for (pad, name) in names.iter().enumerate().skip(1) {
        assert_eq!(*name, format!("Pad {pad}"));
    }
}

#[test]
fn a_pad_goes_to_its_own_output_if_there_is_one_and_it_is_told_to() {
    for (layout, output, expected) in [(0, "main", 0), (0, "own", 0), (1, "main", 0), (1, "own", 1)] {
        let heard = peaks(layout, output);
        assert_eq!(heard.len(), if layout == 0 { 2 } else { 34 });
        for (channel, peak) in heard.iter().enumerate() {
            let is_expected = channel / 2 == expected;
            assert!(
                if is_expected { *peak > 0.1 } else { *peak == 0.0 },
                "{layout} {output} {channel}: {peak}"
            );
        }
    }
}
