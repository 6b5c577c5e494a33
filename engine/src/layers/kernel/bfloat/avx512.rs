//! AVX-512 BF16: `vdpbf16ps` multiplies 16 pairs of bfloat16 and adds each pair's sum to an f32 lane.

use super::Block;

/// Whether this process may use the instruction.
#[cfg(target_arch = "x86_64")]
pub(super) fn detect() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn detect() -> bool {
    false
}

/// Whether it is faster than f32, where it exists: AMD's is (on Zen 5 it peaks at 451 GFLOP/s a core, f32 at 245), Intel's
/// takes longer (measured on Sapphire Rapids, see the README).
#[cfg(target_arch = "x86_64")]
pub(super) fn pays() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    let vendor = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat();
    vendor != b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn pays() -> bool {
    false
}

/// The first `height` rows of one 32 x 32 block: two halves of 16 rows, two of 16 columns, a number of tiles deep.
/// Adds to what `out` holds (`accumulate`) or overwrites it. Rows come in groups of eight; those of the last group
/// past `height` are undefined.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(super) fn multiply(
    left: [&[u16]; 2],
    right: [&[u16]; 2],
    height: usize,
    accumulate: bool,
    out: &mut Block,
) {
    // SAFETY: the caller has seen `detect()` be true.
    unsafe { kernel::multiply(left, right, height, accumulate, out) }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn multiply(_: [&[u16]; 2], _: [&[u16]; 2], _: usize, _: bool, _: &mut Block) {}

#[cfg(target_arch = "x86_64")]
mod kernel {
    use super::super::{BLOCK, Block, DEPTH, TILE};
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_load_ps, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_setzero_ps, _mm512_store_ps,
    };

    /// Rows whose sums are in registers at a time: 8 x 2 of the 32 registers.
    const ROWS: usize = 8;

    #[target_feature(enable = "avx512f,avx512bf16")]
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
        for group in 0..height.min(BLOCK).div_ceil(ROWS) {
            let first = group * ROWS;
            let rows = left[first / 16];
            let offset = first % 16 * DEPTH;
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            if accumulate {
                for (row, sums) in sums.iter_mut().enumerate() {
                    let source = &out.0[(first + row) * BLOCK..][..BLOCK];
                    // SAFETY: 32 aligned floats are read of a row of 32 of a block aligned to 64 bytes.
                    *sums =
                        unsafe { [_mm512_load_ps(source.as_ptr()), _mm512_load_ps(source.as_ptr().add(16))] };
                }
            }
            for tile in 0..depth_tiles {
                let left = &rows[tile * TILE + offset..][..ROWS * DEPTH];
                let (b0, b1) = (&right[0][tile * TILE..][..TILE], &right[1][tile * TILE..][..TILE]);
                for pair in 0..DEPTH / 2 {
                    // SAFETY: 32 elements are read at `pair * 32` of slices of 16 * 32 elements.
                    let (b0, b1) = unsafe {
                        (
                            _mm512_loadu_si512(b0.as_ptr().add(pair * 32).cast()),
                            _mm512_loadu_si512(b1.as_ptr().add(pair * 32).cast()),
                        )
                    };
                    let (b0, b1) = (bits(b0), bits(b1));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: two elements are read at `row * 32 + 2 * pair`, below 8 * 32.
                        let a = unsafe {
                            left.as_ptr().add(row * DEPTH + 2 * pair).cast::<i32>().read_unaligned()
                        };
                        let a = bits(_mm512_set1_epi32(a));
                        sums[0] = _mm512_dpbf16_ps(sums[0], a, b0);
                        sums[1] = _mm512_dpbf16_ps(sums[1], a, b1);
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                let target = &mut out.0[(first + row) * BLOCK..][..BLOCK];
                // SAFETY: 32 aligned floats are written over a row of 32 of a block aligned to 64 bytes.
                unsafe {
                    _mm512_store_ps(target.as_mut_ptr(), sums[0]);
                    _mm512_store_ps(target.as_mut_ptr().add(16), sums[1]);
                }
            }
        }
    }

    /// The same bits, seen as bfloat16.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[allow(unsafe_code)]
    fn bits(x: __m512i) -> __m512bh {
        // SAFETY: both types are 64 bytes without invalid patterns.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(x) }
    }
}
