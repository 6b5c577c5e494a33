//! What work costs: processor time and memory, as Linux counts them.

use std::fs;

/// Processor time of this process so far, in seconds; it does not grow while others have the processor.
pub fn cpu_seconds() -> Option<f64> {
    // The 14th and 15th fields, in hundredths of a second; the second one, in brackets, may hold spaces.
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

/// Forgets the peak of the memory so far.
pub fn reset_peak() {
    // Without it peaks include what came before: too much rather than too little.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Most memory in RAM (`VmHWM`) since [`reset_peak`] or the start, in bytes; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_follows_what_is_touched_and_work_takes_time() {
        let before = cpu_seconds().unwrap();
        reset_peak();
        let low = peak_bytes().unwrap();
        let block: Vec<u8> = (0..64_000_000u32).map(|i| (i % 251) as u8).collect();
        assert!(block.iter().map(|b| u64::from(*b)).sum::<u64>() > 0);
        assert!(peak_bytes().unwrap() > low + 48_000_000);
        assert!(cpu_seconds().unwrap() > before);
    }
}
