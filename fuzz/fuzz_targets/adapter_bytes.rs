//! Any bytes: the length of the settings in two bytes, the settings (none where that is 0), and the file.
#![no_main]
#![allow(dead_code, reason = "the shared files serve several programs")]

#[path = "../../engine/tests/hostile_adapters/case.rs"]
mod case;
#[path = "../../engine/tests/hostile_adapters/check.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (settings, file) = rest.split_at(length);
    check::check(file, (length > 0).then_some(settings));
});
