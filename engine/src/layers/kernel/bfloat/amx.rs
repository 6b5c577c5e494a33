//! Intel AMX: a tile is 16 rows of 64 bytes, a product of two tiles one instruction.

use super::{Block, TILE};

/// Whether this process may use the tile unit.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
pub(super) fn detect() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    let (leaf1, leaf7) = (__cpuid(1), __cpuid_count(7, 0));
    let osxsave = leaf1.ecx & (1 << 27) != 0;
    let tiles = leaf7.edx & (1 << 24) != 0 && leaf7.edx & (1 << 22) != 0;
    if !(osxsave && tiles && is_x86_feature_detected!("avx512f")) {
        return false;
    }
    #[target_feature(enable = "xsave")]
    fn enabled_state() -> u64 {
        // SAFETY: only called when the OS has enabled XSAVE (checked above).
        unsafe { _xgetbv(0) }
    }
    // SAFETY: the feature was checked through CPUID's OSXSAVE bit.
    if unsafe { enabled_state() } & 0x6_0000 != 0x6_0000 {
        return false;
    }
    // Linux gives a process its tile registers only on request.
    const SYS_ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let mut result: i64 = SYS_ARCH_PRCTL;
    // SAFETY: a system call with two integer arguments that touches no memory of ours.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) fn detect() -> bool {
    false
}

/// Sets the tile registers up for [`multiply`] on this thread, until [`release`].
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
pub(super) fn configure() {
    #[repr(C, align(64))]
    struct TileConfig {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes_per_row: [u16; 16],
        rows: [u8; 16],
    }
    static CONFIG: TileConfig = TileConfig {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes_per_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    // SAFETY: `detect()` was checked by the caller, so tile instructions exist and are permitted; the configuration
    // is a valid one of 64 bytes.
    unsafe {
        std::arch::asm!("ldtilecfg [{config}]", config = in(reg) &raw const CONFIG, options(readonly, nostack));
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) fn configure() {}

/// The first `height` rows of one 32 x 32 block: two halves of 16 rows, two of 16 columns, a number of tiles deep.
/// Adds to what `out` holds (`accumulate`) or overwrites it. Rows past `height` are left as they are or undefined.
///
/// [`configure`] must have been called on this thread.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
pub(super) fn multiply(
    left: [&[u16]; 2],
    right: [&[u16]; 2],
    height: usize,
    accumulate: bool,
    out: &mut Block,
) {
    let depth_tiles = left[0].len() / TILE;
    assert!(left.iter().chain(&right).all(|half| half.len() == depth_tiles * TILE));
    if depth_tiles == 0 {
        if !accumulate {
            out.0.fill(0.0);
        }
        return;
    }
    // SAFETY: `detect()` was checked by the caller, so tile instructions exist and are permitted, and `configure`
    // has set the tiles to 16 rows of 64 bytes. The loops read `depth_tiles` tiles of 1 KiB from the halves, whose
    // lengths were checked above, and load and store rows of 32 floats of `out`: 16 of them, or 32.
    unsafe {
        if height <= 16 {
            std::arch::asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "test {accumulate:e}, {accumulate:e}",
                "jz 2f",
                "tileloadd tmm0, [{out} + {step}*1]",
                "tileloadd tmm1, [{out} + {step}*1 + 64]",
                "2:",
                "tileloadd tmm4, [{a0} + {stride}*1]",
                "tileloadd tmm6, [{b0} + {stride}*1]",
                "tileloadd tmm7, [{b1} + {stride}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {a0}, 1024",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {count}",
                "jnz 2b",
                "tilestored [{out} + {step}*1], tmm0",
                "tilestored [{out} + {step}*1 + 64], tmm1",
                a0 = inout(reg) left[0].as_ptr() => _,
                b0 = inout(reg) right[0].as_ptr() => _,
                b1 = inout(reg) right[1].as_ptr() => _,
                count = inout(reg) depth_tiles => _,
                stride = in(reg) 64_usize,
                step = in(reg) 128_usize,
                accumulate = in(reg) u32::from(accumulate),
                out = in(reg) out.0.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        } else {
            std::arch::asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "test {accumulate:e}, {accumulate:e}",
                "jz 2f",
                "tileloadd tmm0, [{out} + {step}*1]",
                "tileloadd tmm1, [{out} + {step}*1 + 64]",
                "tileloadd tmm2, [{out} + {step}*1 + 2048]",
                "tileloadd tmm3, [{out} + {step}*1 + 2112]",
                "2:",
                "tileloadd tmm4, [{a0} + {stride}*1]",
                "tileloadd tmm6, [{b0} + {stride}*1]",
                "tileloadd tmm7, [{b1} + {stride}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{a1} + {stride}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 1024",
                "add {a1}, 1024",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {count}",
                "jnz 2b",
                "tilestored [{out} + {step}*1], tmm0",
                "tilestored [{out} + {step}*1 + 64], tmm1",
                "tilestored [{out} + {step}*1 + 2048], tmm2",
                "tilestored [{out} + {step}*1 + 2112], tmm3",
                a0 = inout(reg) left[0].as_ptr() => _,
                a1 = inout(reg) left[1].as_ptr() => _,
                b0 = inout(reg) right[0].as_ptr() => _,
                b1 = inout(reg) right[1].as_ptr() => _,
                count = inout(reg) depth_tiles => _,
                stride = in(reg) 64_usize,
                step = in(reg) 128_usize,
                accumulate = in(reg) u32::from(accumulate),
                out = in(reg) out.0.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) fn multiply(_: [&[u16]; 2], _: [&[u16]; 2], _: usize, _: bool, _: &mut Block) {}

/// Gives the tile registers back, so that the system need not save them at a thread switch.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
pub(super) fn release() {
    // SAFETY: only reached after `configure`, that is with tiles available.
    unsafe { std::arch::asm!("tilerelease", options(nomem, nostack)) }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) fn release() {}
