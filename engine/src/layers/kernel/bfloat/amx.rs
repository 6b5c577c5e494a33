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

/// One 32 x 32 block: two panels of 16 rows, two of 16 columns, `depth_tiles` tiles deep.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
pub(super) fn multiply(depth_tiles: usize, left: &[u16], right: &[u16], out: &mut Block) {
    assert!(left.len() == depth_tiles * TILE * 2 && right.len() == depth_tiles * TILE * 2);
    if depth_tiles == 0 {
        out.0.fill(0.0);
        return;
    }
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
    let half = depth_tiles * TILE;
    // SAFETY: `detect()` was checked by the caller, so tile instructions exist and are
    // permitted. The loop reads `depth_tiles` tiles of 1 KiB from each of the four half panels,
    // whose lengths were checked above, and stores 32 rows of 32 floats into `out`.
    unsafe {
        std::arch::asm!(
            "ldtilecfg [{config}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
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
            "mov {stride}, 128",
            "tilestored [{out} + {stride}*1], tmm0",
            "tilestored [{out} + {stride}*1 + 64], tmm1",
            "tilestored [{out} + {stride}*1 + 2048], tmm2",
            "tilestored [{out} + {stride}*1 + 2112], tmm3",
            config = in(reg) &raw const CONFIG,
            a0 = inout(reg) left.as_ptr() => _,
            a1 = inout(reg) left.as_ptr().add(half) => _,
            b0 = inout(reg) right.as_ptr() => _,
            b1 = inout(reg) right.as_ptr().add(half) => _,
            count = inout(reg) depth_tiles => _,
            stride = inout(reg) 64_usize => _,
            out = in(reg) out.0.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) fn multiply(_: usize, _: &[u16], _: &[u16], _: &mut Block) {}

/// Gives the tile registers back, so that the system need not save them at a thread switch.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
pub(super) fn release() {
    // SAFETY: only reached after `multiply`, that is with tiles available.
    unsafe { std::arch::asm!("tilerelease", options(nomem, nostack)) }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) fn release() {}
