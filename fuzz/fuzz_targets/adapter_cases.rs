//! Valid adapter files of several programs, changed in few places: the bytes decide which and how.
#![no_main]
#![allow(dead_code, reason = "the shared files serve several programs")]

#[path = "../../engine/tests/hostile_adapters/case.rs"]
mod case;
#[path = "../../engine/tests/hostile_adapters/check.rs"]
mod check;

use case::{Entropy, case};
use check::Outcome;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let case = case(Entropy(data));
    let outcome = check::check(&case.file, case.settings.as_deref().map(str::as_bytes));
    // What nobody changed has to be read.
    assert!(case.changes > 0 || matches!(outcome, Outcome::Read { fits: true }));
});
