//! Matrix products on Intel's AMX tile unit: bfloat16 factors, f32 sums.
//!
//! A tile is 16 rows of 64 bytes. The left factor is packed into tiles of 16 rows x 32
//! bfloat16, the right one into tiles of 16 *pairs* of rows x 16 columns (the "VNNI" layout that
//! `tdpbf16ps` reads); both are padded with zeros to whole tiles, so that the kernel has no edges.

use super::{Addend, Matrix, simd};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Rows and columns of one output block (2 x 2 tiles).
const BLOCK: usize = 32;
/// Depth of one tile, in bfloat16 elements.
const DEPTH: usize = 32;
/// Elements of a packed 16-wide, 32-deep tile.
const TILE: usize = 16 * DEPTH;

/// Whether this process may use the tile unit.
#[must_use]
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(detect)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
fn detect() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    // Set to force the portable path, for tests and for comparing the two.
    if std::env::var_os("SOUNDLOCD_NO_AMX").is_some() {
        return false;
    }
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
fn detect() -> bool {
    false
}

/// A right factor `[k, n]`, packed once and usable many times.
#[derive(Debug, Clone)]
pub struct Packed {
    data: Vec<u16>,
    rows: usize,
    cols: usize,
}

impl Packed {
    /// Packs `b` on all threads of the current rayon pool.
    #[must_use]
    pub fn new(b: Matrix) -> Self {
        let depth_tiles = b.rows.div_ceil(DEPTH);
        let panel = depth_tiles * TILE * 2;
        let mut data = vec![0_u16; b.cols.div_ceil(BLOCK) * panel];
        data.par_chunks_mut(panel.max(1)).enumerate().for_each(|(block, out)| {
            for (half, out) in out.chunks_exact_mut(panel / 2).enumerate() {
                pack_right(b, block * BLOCK + half * 16, out);
            }
        });
        Self { data, rows: b.rows, cols: b.cols }
    }

    /// Number of rows of the factor (the inner size).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns of the factor.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }
}

/// Packs 16 columns from `col` into tiles of row pairs; columns past the end stay zero.
fn pack_right(b: Matrix, col: usize, out: &mut [u16]) {
    let width = b.cols.saturating_sub(col).min(16);
    if width == 0 {
        return;
    }
    simd::dispatch(
        #[inline(always)]
        || {
            if b.col_stride == 1 {
                for k in 0..b.rows {
                    let start = k * b.row_stride + col;
                    let source = &b.data[start..start + width];
                    let pair = (k / 2) * 32 + k % 2;
                    let target = &mut out[pair..];
                    if width == 16 {
                        for j in 0..16 {
                            target[2 * j] = simd::bf16(source[j]);
                        }
                    } else {
                        for (j, value) in source.iter().enumerate() {
                            target[2 * j] = simd::bf16(*value);
                        }
                    }
                }
            } else {
                for j in 0..width {
                    let start = (col + j) * b.col_stride;
                    if b.row_stride == 1 {
                        let source = &b.data[start..start + b.rows];
                        for (k, value) in source.iter().enumerate() {
                            out[(k / 2) * 32 + 2 * j + k % 2] = simd::bf16(*value);
                        }
                    } else {
                        for k in 0..b.rows {
                            out[(k / 2) * 32 + 2 * j + k % 2] = simd::bf16(b.data[start + k * b.row_stride]);
                        }
                    }
                }
            }
        },
    );
}

/// Packs 16 rows from `row` into tiles `[depth tile][row][32]`; rows past the end stay zero.
fn pack_left(a: Matrix, row: usize, out: &mut [u16]) {
    let height = a.rows.saturating_sub(row).min(16);
    simd::dispatch(
        #[inline(always)]
        || {
            if height < 16 || !a.cols.is_multiple_of(DEPTH) {
                out.fill(0);
            }
            if a.col_stride == 1 {
                for i in 0..height {
                    let start = (row + i) * a.row_stride;
                    let source = &a.data[start..start + a.cols];
                    for (tile, chunk) in source.chunks(DEPTH).enumerate() {
                        let at = tile * TILE + i * DEPTH;
                        let target = &mut out[at..at + chunk.len()];
                        for (t, s) in target.iter_mut().zip(chunk) {
                            *t = simd::bf16(*s);
                        }
                    }
                }
            } else {
                for k in 0..a.cols {
                    let start = row * a.row_stride + k * a.col_stride;
                    let at = (k / DEPTH) * TILE + k % DEPTH;
                    for i in 0..height {
                        out[at + i * DEPTH] = simd::bf16(a.data[start + i * a.row_stride]);
                    }
                }
            }
        },
    );
}

/// `out = a b + addend` with `b` packed; `out` row-major `[a.rows, b.cols]`.
///
/// # Panics
/// When sizes disagree, or without the tile unit (see [`available`]).
pub fn matmul(a: Matrix, b: &Packed, out: &mut [f32], addend: Addend) {
    assert!(available(), "amx::matmul without a tile unit");
    assert_eq!(a.cols, b.rows, "matmul: inner sizes");
    assert_eq!(out.len(), a.rows * b.cols, "matmul: output size");
    if let Addend::Bias(bias) = addend {
        assert_eq!(bias.len(), b.cols, "matmul: bias size");
    }
    let depth_tiles = a.cols.div_ceil(DEPTH);
    let panel = depth_tiles * TILE * 2;
    if out.is_empty() {
        return;
    }
    let n = b.cols;
    out.par_chunks_mut(BLOCK * n).enumerate().for_each_init(
        || vec![0_u16; panel],
        |left, (block, rows)| {
            for (half, part) in left.chunks_exact_mut(panel / 2).enumerate() {
                pack_left(a, block * BLOCK + half * 16, part);
            }
            let mut result = Block([0.0; BLOCK * BLOCK]);
            for (column, right) in b.data.chunks_exact(panel.max(1)).enumerate() {
                multiply(depth_tiles, left, right, &mut result);
                let first = column * BLOCK;
                let width = (n - first).min(BLOCK);
                for (row, sums) in rows.chunks_exact_mut(n).zip(result.0.chunks_exact(BLOCK)) {
                    let target = &mut row[first..first + width];
                    match addend {
                        Addend::Nothing => target.copy_from_slice(&sums[..width]),
                        Addend::Bias(bias) => {
                            for ((t, s), b) in target.iter_mut().zip(sums).zip(&bias[first..]) {
                                *t = s + b;
                            }
                        }
                        Addend::Output => {
                            for (t, s) in target.iter_mut().zip(sums) {
                                *t += s;
                            }
                        }
                    }
                }
            }
            release_tiles();
        },
    );
}

#[repr(align(64))]
struct Block([f32; BLOCK * BLOCK]);

/// One 32 x 32 block: two panels of 16 rows, two of 16 columns, `depth_tiles` tiles deep.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
fn multiply(depth_tiles: usize, left: &[u16], right: &[u16], out: &mut Block) {
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
    // SAFETY: `available()` was checked by the caller, so tile instructions exist and are
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
fn multiply(_: usize, _: &[u16], _: &[u16], _: &mut Block) {}

/// Gives the tile registers back, so that the system need not save them at a thread switch.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
fn release_tiles() {
    // SAFETY: only reached after `multiply`, that is with tiles available.
    unsafe { std::arch::asm!("tilerelease", options(nomem, nostack)) }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn release_tiles() {}
