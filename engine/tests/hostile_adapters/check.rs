//! What has to hold of every file, however wrong. The fuzz targets in `fuzz/` share this file.

use super::case::{Entropy, case, config};
use peak_alloc::PeakAlloc;
use soundlocd_engine::lora::{AdapterFile, CONFIG_FILE, LoraError, MAX_RANK, PeftConfig};
use std::sync::Once;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes that reading may take besides three times what is read: buffers, error messages.
const ANY_FILE: usize = 16 << 10;
/// Bytes that a tensor may take besides its values: its name, shape and strides, and its places in tables.
const ANY_TENSOR: usize = 512;

/// What became of a file.
pub enum Outcome {
    /// It was read; whether it also fits the small transformer.
    Read { fits: bool },
    /// It was refused, with this message.
    Refused(String),
}

/// Reads a file with the settings beside it.
///
/// # Panics
/// When that takes too much memory, or what was read or said is not what a user may meet.
pub fn check(file: &[u8], settings: Option<&[u8]>) -> Outcome {
    warm_up();
    let (outcome, peak) = peak_of(|| read(file, settings));
    let size = file.len() + settings.map_or(0, <[u8]>::len);
    let tensors = file.windows(14).filter(|bytes| bytes == b"\"data_offsets\"").count();
    let most = 3 * size + ANY_FILE + ANY_TENSOR * tensors;
    assert!(
        peak <= most,
        "{size} bytes with {tensors} tensors took {peak} bytes of memory, {} too many",
        peak - most
    );
    outcome
}

fn read(file: &[u8], settings: Option<&[u8]>) -> Outcome {
    let settings = settings.map(|json| PeftConfig::parse(CONFIG_FILE, json));
    let refused = |error: LoraError| {
        let message = error.to_string();
        assert!(message.chars().count() < 1000 && !message.contains(char::is_control), "{message:?}");
        Outcome::Refused(message)
    };
    let read = match AdapterFile::decode("my.safetensors", file.len() as u64, file, settings) {
        Ok(read) => read,
        Err(error) => return refused(error),
    };
    assert!((1..=MAX_RANK).contains(&read.rank()) && read.alpha() > 0.0 && read.alpha().is_finite());
    assert!(read.targets().count() > 0 && read.parameters() >= read.rank() * read.targets().count());
    assert!(read.title().chars().count() <= 200 && read.hash().len() == 64);
    match read.fit(&config()) {
        Ok(adapter) => {
            assert_eq!(adapter.parameters(), read.parameters());
            Outcome::Read { fits: true }
        }
        Err(error) => {
            refused(error);
            Outcome::Read { fits: false }
        }
    }
}

/// Makes the threads and tables that the first use of the engine makes: they are not the file's.
pub fn warm_up() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let first = case(Entropy(&[]));
        read(&first.file, first.settings.as_deref().map(str::as_bytes));
    });
}

/// What `work` returns, and the most memory that it held at a time, in bytes.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let result = work();
    (result, ALLOCATOR.peak_usage().saturating_sub(before))
}
