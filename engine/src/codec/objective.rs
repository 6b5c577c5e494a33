//! Reconstruction loss of the default codec, with its gradient in closed form.
//!
//! Mean absolute differences of the picture itself, of its 2 x 2 and 4 x 4 averages (level and
//! envelope, which single bins of a noise do not tell) and of its steps in time and frequency
//! (onsets and partials, which plain L1 blurs).

use crate::layers::kernel::simd::sign;
use rayon::prelude::*;

/// Weights of the terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReconstructionWeights {
    /// Bins of the picture.
    pub pixel: f32,
    /// 2 x 2 and 4 x 4 averages, each.
    pub pooled: f32,
    /// Steps in time and in frequency, each.
    pub step: f32,
    /// Weight of bins that are silent in both pictures (a loud bin's is 1).
    pub silence: f32,
}

impl Default for ReconstructionWeights {
    fn default() -> Self {
        Self { pixel: 1.0, pooled: 0.5, step: 0.25, silence: 0.1 }
    }
}

/// x = 2y - 1 of the quietest bin that counts as sounding (y = 0.025, SPEC 1's scale).
const AUDIBLE: f32 = 2.0 * 0.025 - 1.0;

/// Loss and its gradient with respect to `output`.
///
/// `target` and `output` are pictures `[count, height, width]` of x = 2y - 1, both axes multiples of 4.
#[must_use]
pub fn reconstruction(
    target: &[f32],
    output: &[f32],
    (height, width): (usize, usize),
    weights: ReconstructionWeights,
) -> (f32, Vec<f32>) {
    let size = height * width;
    let count = target.len().checked_div(size).unwrap_or(0);
    let norm = 1.0 / (count * size).max(1) as f32;
    let mut gradient = vec![0.0; count * size];
    let losses: Vec<f64> = gradient
        .par_chunks_mut(size.max(1))
        .enumerate()
        .map(|(i, gradient)| {
            let range = i * size..(i + 1) * size;
            picture(&target[range.clone()], &output[range], gradient, width, weights)
        })
        .collect();
    for g in &mut gradient {
        *g *= norm;
    }
    ((losses.iter().sum::<f64>() * f64::from(norm)) as f32, gradient)
}

/// Adds the gradient of one picture's summed loss to `gradient`; returns the sum.
fn picture(
    target: &[f32],
    output: &[f32],
    gradient: &mut [f32],
    width: usize,
    weights: ReconstructionWeights,
) -> f64 {
    let height = target.len() / width;
    let difference: Vec<f32> = output.iter().zip(target).map(|(o, t)| o - t).collect();
    let mut total = 0.0_f64;
    for i in 0..target.len() {
        let audible = target[i] > AUDIBLE || output[i] > AUDIBLE;
        let w = weights.pixel * if audible { 1.0 } else { weights.silence };
        total += f64::from(w * difference[i].abs());
        gradient[i] += w * sign(difference[i]);
    }
    for pool in [2, 4] {
        for top in (0..height).step_by(pool) {
            for left in (0..width).step_by(pool) {
                let cells =
                    || (top..top + pool).flat_map(move |y| (left..left + pool).map(move |x| y * width + x));
                let sum: f32 = cells().map(|i| difference[i]).sum();
                total += f64::from(weights.pooled * sum.abs());
                for i in cells() {
                    gradient[i] += weights.pooled * sign(sum);
                }
            }
        }
    }
    for y in 0..height {
        for x in 0..width {
            let i = y * width + x;
            for (inside, j) in [(x + 1 < width, i + 1), (y + 1 < height, i + width)] {
                if inside {
                    let d = difference[j] - difference[i];
                    total += f64::from(weights.step * d.abs());
                    gradient[j] += weights.step * sign(d);
                    gradient[i] -= weights.step * sign(d);
                }
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize, a: f32, b: f32) -> Vec<f32> {
        (0..n).map(|i| (a * i as f32 + b).sin() * 0.9).collect()
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let shape = (8, 12);
        let (target, output) = (wave(192, 0.7, 0.0), wave(192, 0.31, 1.0));
        let weights = ReconstructionWeights::default();
        let (_, gradient) = reconstruction(&target, &output, shape, weights);
        let mut kinks = 0;
        for i in 0..192 {
            let at = |d: f32| {
                let mut moved = output.clone();
                moved[i] += d;
                f64::from(reconstruction(&target, &moved, shape, weights).0)
            };
            let (below, above) = ((at(0.0) - at(-1e-3)) / 1e-3, (at(1e-3) - at(0.0)) / 1e-3);
            // At a kink of an absolute value there is no slope to compare with.
            if (below - above).abs() > 1e-3 {
                kinks += 1;
                continue;
            }
            let want = (below + above) / 2.0;
            assert!((f64::from(gradient[i]) - want).abs() < 2e-4, "{i}: {} {want}", gradient[i]);
        }
        assert!(kinks < 10, "{kinks} of 192 elements at a kink");
    }

    #[test]
    fn equal_pictures_cost_nothing() {
        let x = wave(64, 0.3, 0.2);
        let (loss, gradient) = reconstruction(&x, &x, (8, 8), ReconstructionWeights::default());
        assert_eq!(loss, 0.0);
        assert!(gradient.iter().all(|g| *g == 0.0));
    }
}
