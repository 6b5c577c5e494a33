//! The standalone program with a generator that needs no model, to look at and test the window:
//! `cargo run -p soundlocd --features standalone --example window -- --backend dummy`. Its tones are kept like any sound:
//! `SOUNDLOCD_LIBRARY` names another folder for them.

use std::{process::ExitCode, sync::Arc, time::Duration};

use soundlocd_engine::{pack::PackRef, service::Service};

#[path = "../src/testing.rs"]
#[allow(dead_code, reason = "a part of it is for other tests")]
mod testing;

fn main() -> ExitCode {
    let step_time = Duration::from_millis(150);
    let loader = move |_: &PackRef| {
        std::thread::sleep(Duration::from_millis(800));
        Ok(Box::new(testing::ToneGenerator { step_time }) as _)
    };
    if soundlocd::plugin::use_engine(Arc::new(Service::new(loader))).is_err() {
        return ExitCode::FAILURE;
    }
    if nice_plug::nice_export_standalone::<soundlocd::SoundLocd>() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
