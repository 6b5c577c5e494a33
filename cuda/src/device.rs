//! The device that a model runs on, and whether it can.

use candle_core::Device;
use soundlocd_engine::gpu::abi::Target;
use soundlocd_engine::pack::Pack;

/// Opens a device for `pack`.
///
/// # Errors
/// Why it cannot be used, in words.
pub fn open(target: Target, pack: &Pack) -> Result<Device, String> {
    match target {
        Target::Cpu => Ok(Device::Cpu),
        Target::Cuda => cuda(pack),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: &Pack) -> Result<Device, String> {
    Err("this GPU library was built without CUDA: build it with cargo xtask build-cuda".to_owned())
}

#[cfg(feature = "cuda")]
fn cuda(pack: &Pack) -> Result<Device, String> {
    use soundlocd_engine::service::caught;
    // The driver's bindings panic where it is there but of no use (too old, say).
    let device = caught(|| Device::new_cuda(0))
        .map_err(|panic| format!("the NVIDIA driver cannot be used: {panic}"))?
        .map_err(|error| format!("there is no NVIDIA GPU that can be used: {}", headline(&error)))?;
    let stream = device.as_cuda_device().map_err(|error| headline(&error))?.cuda_stream();
    let (free, _) = stream
        .context()
        .mem_get_info()
        .map_err(|error| format!("the GPU does not tell how much memory it has: {error}"))?;
    enough_memory(free as u64, pack)?;
    Ok(device)
}

/// What went wrong, without the backtrace that candle may append.
#[cfg(feature = "cuda")]
fn headline(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Refuses a GPU with `free` bytes of memory if `pack` may need more.
#[cfg(any(feature = "cuda", test))]
fn enough_memory(free: u64, pack: &Pack) -> Result<(), String> {
    /// Bytes of a weight at most: some are kept in 32 bits, most in 16.
    const WEIGHT: u64 = 4;
    /// Activations, the libraries' own needs, and the window that the GPU draws for others.
    const BESIDE: u64 = 768 << 20;
    // Files that do not say how many weights they hold fail when they are loaded; until then, by their size.
    let weights = pack.parameters().unwrap_or(pack.bytes());
    let needed = weights.saturating_mul(WEIGHT).saturating_add(BESIDE);
    if free >= needed {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(format!(
        "the GPU has too little memory: {} MiB are free, about {} are needed",
        mib(free),
        mib(needed)
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memory_must_hold_the_weights_and_more() {
        let pack = Pack::embedded().unwrap();
        let weights = 4 * pack.parameters().unwrap();
        assert!(weights > 100_000_000, "the default pack has {weights} bytes of weights");
        enough_memory(weights + (1 << 30), &pack).unwrap();
        let error = enough_memory(weights, &pack).unwrap_err();
        assert!(error.contains("too little memory"), "{error}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_so() {
        let error = open(Target::Cuda, &Pack::embedded().unwrap()).unwrap_err();
        assert!(error.contains("without CUDA"), "{error}");
    }
}
