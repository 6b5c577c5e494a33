//! The plugin in a CLAP host, in this process: debug assertions are on and an allocation on the
//! audio thread aborts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod adapters;
mod formats;
mod lifecycle;
mod notes;
mod outputs;
mod packs;
mod parameters;
mod processing;
mod rates;
mod state;

use soundlocd_tests::clap_host::{Instance, entry_in_process};
use soundlocd_tests::plugin_state::ROOT;
use soundlocd_tests::{plugin_state, sounds};

/// The pitch of the clip in [`plain_instance`], in Hz.
const PITCH: f64 = 440.0;
/// The name of the engine's thread, `soundlocd-engine`, as far as the kernel keeps it.
const ENGINE_THREAD: &str = "soundlocd-engin";

/// An instance in which two seconds of a sine play without any shaping but velocity.
fn plain_instance() -> Instance {
    let mut instance = Instance::new(&entry_in_process());
    let state = plugin_state::unshaped(&instance.save(), &sounds::sine_clip(PITCH, 2.0));
    assert!(instance.load(&state));
    instance
}
