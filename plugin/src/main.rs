//! SoundLoCD as a program of its own, with audio and MIDI devices.

use std::process::ExitCode;

fn main() -> ExitCode {
    if nice_plug::nice_export_standalone::<soundlocd::SoundLocd>() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
