//! Writes a plugin state in which a sine of 440 Hz plays on middle C, for the tests in hosts that
//! are not written in Rust: `sine_state FILE` (the JSON text, without a format's frame around it).
#![allow(clippy::expect_used, reason = "only tests run this")]

use soundlocd_tests::clap_host::{Instance, entry_in_process};
use soundlocd_tests::{plugin_state, sounds};

fn main() {
    let path = std::env::args_os().nth(1).expect("usage: sine_state FILE");
    let mut instance = Instance::new(&entry_in_process());
    let state = plugin_state::unshaped(&instance.save(), &sounds::sine_clip(440.0, 2.0));
    let text = plugin_state::object(&state).to_string();
    std::fs::write(path, text).expect("the file can be written");
}
