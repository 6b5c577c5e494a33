//! Loops that the compiler vectorises for the widest instructions of the machine it runs on.

use std::sync::OnceLock;

/// Runs `work` compiled for this machine's widest vector instructions.
///
/// The closure and everything that it calls must be `#[inline(always)]` to profit.
#[inline(always)]
pub fn dispatch<R>(work: impl FnOnce() -> R) -> R {
    arch().dispatch(work)
}

/// The same for work that names the vectors it wants.
#[inline(always)]
pub fn vectorise<W: pulp::WithSimd>(work: W) -> W::Output {
    arch().dispatch(work)
}

fn arch() -> pulp::Arch {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    *ARCH.get_or_init(pulp::Arch::new)
}

/// Rounds to the nearest bfloat16, ties to even. NaN stays NaN for every payload that arithmetic makes.
#[inline(always)]
#[must_use]
pub fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// `e^x`, relative error below 3e-7, 0 below -87.3 and clamped above 88; branch-free, so that loops over it vectorise.
///
/// Range reduction to `2^n * e^r` and Cephes' degree-5 polynomial.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.3, 88.0);
    let n = (clamped * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = (clamped - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    let scale = f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < -87.3 { 0.0 } else { e * scale }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `tanh x`.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// `x * sigmoid(1.702 x)`: Diffsound's GELU2, CLIP's QuickGELU.
#[inline(always)]
#[must_use]
pub fn quick_gelu(x: f32) -> f32 {
    x * sigmoid(1.702 * x)
}

/// `x * sigmoid(x)`.
#[inline(always)]
#[must_use]
pub fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// `sqrt(2 / pi)` and the cubic coefficient of GELU's tanh approximation.
pub const GELU_TANH: (f32, f32) = (0.797_884_6, 0.044_715);

/// GELU's tanh approximation.
#[inline(always)]
#[must_use]
pub fn gelu_tanh(x: f32) -> f32 {
    0.5 * x * (1.0 + tanh(GELU_TANH.0 * (x + GELU_TANH.1 * x * x * x)))
}

/// The slope of `|x|`: -1, 0 or 1.
#[inline(always)]
#[must_use]
pub fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// Sum with 16 partial sums (vectorisable, and more exact than a running one).
#[inline(always)]
#[must_use]
pub fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let chunks = values.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Dot product with 16 partial sums.
#[inline(always)]
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (x, y) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = x.remainder().iter().zip(y.remainder()).map(|(a, b)| a * b).sum();
    for (x, y) in x.zip(y) {
        for j in 0..16 {
            lanes[j] += x[j] * y[j];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Largest value (-inf for none).
#[inline(always)]
#[must_use]
pub fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = values.chunks_exact(16);
    let mut rest = f32::NEG_INFINITY;
    for value in chunks.remainder() {
        rest = if *value > rest { *value } else { rest };
    }
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.iter().fold(rest, |m, v| if *v > m { *v } else { m })
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_follows_the_standard_library() {
        for i in -8800..8800 {
            let x = i as f32 / 100.0;
            let (got, want) = (f64::from(super::exp(x)), f64::from(x).exp());
            assert!((got - want).abs() <= 3e-7 * want + 1.3e-38, "{x}: {got} {want}");
        }
        assert_eq!(super::exp(-100.0), 0.0);
        assert!(super::exp(1000.0).is_finite());
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        for x in [0.0_f32, 1.0, -1.0, 1.003_906_3, 1.011_718_8, 3.0e38, 1e-30, f32::INFINITY] {
            assert_eq!(super::bf16(x), half::bf16::from_f32(x).to_bits(), "{x}");
        }
    }
}
