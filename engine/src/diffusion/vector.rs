//! Logarithms over a row of classes, written so that the compiler vectorises them (see
//! [`simd`](crate::layers::kernel::simd) for the rest).

/// Independent running sums, one a vector lane.
const LANES: usize = 16;

/// `ln(x)` within 2 units in the last place for positive normal `x`; branch-free.
///
/// Cephes' `logf`: `x = 2^n m` with `m` around 1, and a polynomial in `m - 1`.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let exponent = (bits >> 23) as i32 - 127;
    let high = mantissa > std::f32::consts::SQRT_2;
    let n = (exponent + i32::from(high)) as f32;
    let m = if high { 0.5 * mantissa } else { mantissa } - 1.0;
    let square = m * m;
    let p = 7.037_683_6e-2;
    let p = p * m - 1.151_461e-1;
    let p = p * m + 1.167_699_9e-1;
    let p = p * m - 1.242_014_1e-1;
    let p = p * m + 1.424_932_3e-1;
    let p = p * m - 1.666_805_8e-1;
    let p = p * m + 2.000_071_5e-1;
    let p = p * m - 2.499_999_4e-1;
    let p = p * m + 3.333_333e-1;
    let tail = p * m * square + n * -2.121_944_4e-4 - 0.5 * square;
    m + tail + n * 0.693_359_4
}

/// The sum of the natural logarithms of positive normal numbers.
///
/// Mantissas multiply and exponents add, so that only one logarithm a lane is taken.
#[inline(always)]
pub(super) fn sum_ln(row: &[f32]) -> f64 {
    let mut total = 0.0;
    let mut exponents = 0_i64;
    // A lane multiplies at most 64 mantissas below 2: no overflow.
    for block in row.chunks(64 * LANES) {
        let mut products = [1.0_f32; LANES];
        let mut sums = [0_i32; LANES];
        let chunks = block.chunks_exact(LANES);
        for &x in chunks.remainder() {
            total += f64::from(x).ln();
        }
        for chunk in chunks {
            for ((product, sum), &x) in products.iter_mut().zip(&mut sums).zip(chunk) {
                let bits = x.to_bits();
                *sum += (bits >> 23) as i32 - 127;
                *product *= f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
            }
        }
        exponents += sums.iter().map(|&s| i64::from(s)).sum::<i64>();
        total += products.iter().map(|&p| f64::from(p).ln()).sum::<f64>();
    }
    total + exponents as f64 * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Noise;

    #[test]
    fn agree_with_the_standard_library() {
        let mut noise = Noise::new(1, 0);
        for n in [0, 1, 15, 16, 17, 1024, 1025, 5000] {
            let p: Vec<f32> = (0..n).map(|_| (noise.uniform() * 160.0 - 80.0).exp()).collect();
            let want: f64 = p.iter().map(|&p| f64::from(p).ln()).sum();
            assert!((sum_ln(&p) - want).abs() <= 1e-5 * f64::from(n).max(1.0), "{n}");
            for x in p.into_iter().chain((0..n).map(|_| noise.uniform() + 0.5)) {
                let want = f64::from(x).ln();
                assert!(
                    (f64::from(ln(x)) - want).abs() < 3e-7 * want.abs() + 1e-12,
                    "ln {x}: {} {want}",
                    ln(x)
                );
            }
        }
    }
}
