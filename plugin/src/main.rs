//! SoundLoCD as a program of its own, with audio and MIDI devices.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Ctrl-C, and what systems send at the end of a session: a window alone would not hear of it.
    let end = || {
        soundlocd::standalone::closed();
        std::process::exit(0);
    };
    if let Err(error) = ctrlc::set_handler(end) {
        eprintln!("Ctrl-C will not close SoundLoCD: {error}");
    }
    if nice_plug::nice_export_standalone::<soundlocd::SoundLocd>() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
