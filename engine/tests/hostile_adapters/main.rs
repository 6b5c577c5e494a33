//! Adapter files from strangers: whatever is wrong with them, they are read or refused in words, within three times the
//! memory that they have on disk. The fuzz targets in `fuzz/` go on where this ends.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

mod case;
mod check;

use case::{Entropy, case};
use check::{Outcome, check, peak_of, warm_up};
use soundlocd_engine::lora::AdapterFile;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Memory is measured: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Bytes that describe case number `seed`.
fn entropy(seed: u64) -> Vec<u8> {
    // splitmix64, the same everywhere.
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let mut word = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..12).flat_map(|_| word().to_le_bytes()).collect()
}

#[test]
fn changed_files_are_read_or_refused_within_their_memory() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut fit, mut read, mut messages) = (0, 0, Vec::new());
    for seed in 0..6000 {
        let case = case(Entropy(&entropy(seed)));
        match check(&case.file, case.settings.as_deref().map(str::as_bytes)) {
            Outcome::Read { fits } => {
                read += 1;
                fit += usize::from(fits);
            }
            Outcome::Refused(message) => {
                assert!(case.changes > 0, "case {seed} was as it should be: {message}");
                messages.push(message);
            }
        }
    }
    // The changes reach every check: none is hidden behind another.
    assert!(fit > 600 && read > fit, "{fit} of {read} fit");
    for part in [
        "header is said to have",
        "another size than the file",
        "more than 3072 tensors",
        "is there twice",
        "unknown dtype",
        "a shape is too large",
        "control characters",
        "at most 8 numbers",
        "is of the type I8",
        "is of the type F64",
        "not a number",
        "would go unused",
        "a LoHa adapter",
        "are there, for the same matrix",
        "is missing",
        "several alphas",
        "for some matrices only",
        "expected the shape",
        "has the rank",
        "the version of its card",
        "the rank of its tensors",
        "a number above 0",
        "its peft_type",
        "a DoRA adapter",
        "a LoRA with several ranks",
        "those of a LoRA adapter",
    ] {
        assert!(messages.iter().any(|message| message.contains(part)), "nothing was refused with {part:?}");
    }
}

#[test]
#[ignore = "takes as long as SOUNDLOCD_CASES, as \"6000..10000000\", says: about an hour a core for ten million"]
fn as_many_more_as_asked_for() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let range = std::env::var("SOUNDLOCD_CASES").unwrap();
    let (first, end) = range.split_once("..").unwrap();
    let (first, end): (u64, u64) = (first.parse().unwrap(), end.parse().unwrap());
    let (mut read, mut refused) = (0_u64, 0_u64);
    for seed in first..end {
        let case = case(Entropy(&entropy(seed)));
        match check(&case.file, case.settings.as_deref().map(str::as_bytes)) {
            Outcome::Read { .. } => read += 1,
            Outcome::Refused(message) => {
                assert!(case.changes > 0, "case {seed} was as it should be: {message}");
                refused += 1;
            }
        }
        if (seed + 1) % 100_000 == 0 {
            println!("{} cases: {read} read, {refused} refused", seed + 1);
        }
    }
    assert!(read > 0 && refused > 0);
}

#[test]
#[ignore = "writes first inputs for the fuzz targets into the folder that SOUNDLOCD_FUZZ_CORPUS names"]
fn write_the_fuzz_targets_first_inputs() {
    let folder = PathBuf::from(std::env::var_os("SOUNDLOCD_FUZZ_CORPUS").unwrap());
    for target in ["adapter_bytes", "adapter_cases"] {
        std::fs::create_dir_all(folder.join(target)).unwrap();
    }
    for seed in 0..400 {
        let entropy = entropy(seed);
        let case = case(Entropy(&entropy));
        std::fs::write(folder.join("adapter_cases").join(seed.to_string()), &entropy).unwrap();
        if case.changes <= 1 && case.file.len() < 4000 {
            std::fs::write(folder.join("adapter_bytes").join(seed.to_string()), case.framed()).unwrap();
        }
    }
}

#[test]
fn the_example_adapter_takes_three_times_its_size_at_most() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    warm_up();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/adapters/keyboards.safetensors");
    let size = path.metadata().unwrap().len() as usize;
    let (file, peak) = peak_of(|| AdapterFile::open(&path).unwrap());
    assert!(file.parameters() * 4 <= peak && peak <= 3 * size, "{size} bytes took {peak}");
}
