//! The law of a loop's crossfade.
//!
//! Two sounds that are alike add up in amplitude, two that have nothing to do with each other in
//! power: a linear crossfade of the former keeps the level, of the latter it dips by 3 dB in the
//! middle, and an equal-power crossfade is wrong the other way round. So the weights are linear ones,
//! raised to what keeps the power for the correlation `ρ` of the two sounds:
//!
//! ```text
//! out = (1 - w) / n    in = w / n    n² = (1 - w)² + w² + 2 ρ w (1 - w)
//! ```
//!
//! With `ρ = 1` that is the linear crossfade, with `ρ = 0` an equal-power one. At both ends it is
//! exactly one of the sounds.

use super::Source;

/// Most pairs of samples that the correlation is measured at.
const MOST_PAIRS: usize = 1_024;

/// Weights of the outgoing and the incoming sound at `w` of the crossfade, both 0..=1.
#[inline]
#[must_use]
pub fn weights(w: f32, correlation: f32) -> [f32; 2] {
    let rest = 1.0 - w;
    let scale = 1.0 / (rest * rest + w * w + 2.0 * correlation * w * rest).sqrt();
    [rest * scale, w * scale]
}

/// How alike two stretches of a clip are, of `len` samples from `first` and from `second` on, both
/// in the direction of `step` (1 or -1): their normalized correlation, negative ones as 0. Silence is
/// like anything.
#[must_use]
pub fn correlation(source: &Source, first: f64, second: f64, len: f64, step: i64) -> f32 {
    let (first, second) = (first.round() as i64, second.round() as i64);
    let len = len.max(1.0) as usize;
    let stride = len.div_ceil(MOST_PAIRS);
    let (mut product, mut powers) = (0.0, [0.0; 2]);
    for i in (0..len).step_by(stride) {
        let offset = i as i64 * step;
        let (a, b) = (source.sample(first + offset), source.sample(second + offset));
        product += f64::from(a * b);
        powers[0] += f64::from(a * a);
        powers[1] += f64::from(b * b);
    }
    let power = (powers[0] * powers[1]).sqrt();
    if power > 0.0 { (product / power).clamp(0.0, 1.0) as f32 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_kept_for_every_correlation() {
        for correlation in [0.0, 0.3, 1.0] {
            for i in 0..=100 {
                let [a, b] = weights(i as f32 / 100.0, correlation);
                let power = a * a + b * b + 2.0 * correlation * a * b;
                assert!((power - 1.0).abs() < 1e-5);
            }
            assert_eq!([0.0, 1.0].map(|w| weights(w, correlation)), [[1.0, 0.0], [0.0, 1.0]]);
        }
        // Linear where both are alike.
        let [a, b] = weights(0.25, 1.0);
        assert!((a - 0.75).abs() < 1e-6 && (b - 0.25).abs() < 1e-6);
    }

    #[test]
    fn correlation_tells_alike_from_unlike() {
        let tone: Vec<f32> = (0..8_000).map(|i| (i as f32 * std::f32::consts::TAU / 50.0).sin()).collect();
        let source = Source::new(&tone, 22_050.0, 0);
        assert!(correlation(&source, 1_000.0, 3_000.0, 1_000.0, 1) > 0.999);
        // A quarter of a period apart, and half of one.
        assert!(correlation(&source, 1_000.0, 3_012.5, 1_000.0, 1) < 0.1);
        assert_eq!(correlation(&source, 1_000.0, 3_025.0, 1_000.0, -1), 0.0);
        // Silence, before the clip.
        assert_eq!(correlation(&source, 1_000.0, -5_000.0, 1_000.0, 1), 1.0);
        assert_eq!(correlation(&source, f64::NAN, f64::INFINITY, f64::NAN, 1), 1.0);
    }
}
