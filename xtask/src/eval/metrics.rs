//! How far generated sounds are from real ones: FID, inception score, KID and KL, computed as
//! Diffsound's `evaluate.py` computes them, on whatever features and logits it is given.
//!
//! Features and logits are one row a sound. Everything is computed in f64.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// One row a sound, all of one length.
pub type Rows = [Vec<f32>];

/// A measurement over several parts of the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean over the parts.
    pub mean: f64,
    /// Population standard deviation over the parts.
    pub deviation: f64,
}

impl Spread {
    /// Of some values.
    pub fn of(values: &[f64]) -> Self {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        Self { mean, deviation: variance.sqrt() }
    }
}

/// Fréchet distance of two sets of features (FID): of normal distributions with their means and
/// covariances, `|m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)`. NaN for fewer than two rows.
pub fn frechet_distance(a: &Rows, b: &Rows) -> f64 {
    if a.len() < 2 || b.len() < 2 {
        return f64::NAN;
    }
    let ((mean_a, cov_a), (mean_b, cov_b)) = (moments(a), moments(b));
    // C1 C2 is similar to the symmetric S C2 S with S = C1^(1/2), so that its root's trace is the
    // sum of the roots of real, non-negative eigenvalues.
    let root = square_root(cov_a.clone());
    let product = &root * &cov_b * &root;
    let eigenvalues = (&product + product.transpose()).scale(0.5).symmetric_eigenvalues();
    let root_trace: f64 = eigenvalues.iter().map(|value| value.max(0.0).sqrt()).sum();
    (mean_a - mean_b).norm_squared() + cov_a.trace() + cov_b.trace() - 2.0 * root_trace
}

/// Mean and unbiased covariance of rows.
fn moments(rows: &Rows) -> (DVector<f64>, DMatrix<f64>) {
    let width = rows.first().map_or(0, Vec::len);
    let values = rows.iter().flatten().map(|&v| f64::from(v));
    let mut matrix = DMatrix::from_row_iterator(rows.len(), width, values);
    let mean = matrix.row_mean().transpose();
    for mut row in matrix.row_iter_mut() {
        row -= mean.transpose();
    }
    let covariance = (matrix.transpose() * &matrix).unscale(rows.len() as f64 - 1.0);
    (mean, covariance)
}

/// Square root of a symmetric positive semidefinite matrix.
fn square_root(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let SymmetricEigen { eigenvectors, eigenvalues } = matrix.symmetric_eigen();
    let roots = DMatrix::from_diagonal(&eigenvalues.map(|value| value.max(0.0).sqrt()));
    &eigenvectors * roots * eigenvectors.transpose()
}

/// Inception score of logits: `exp` of the mean divergence of a sound's class distribution from its
/// part's average, over `parts` parts of the rows taken in `order`. High where single sounds are
/// recognised with certainty and together they cover many classes.
pub fn inception_score(logits: &Rows, order: &[usize], parts: usize) -> Spread {
    let parts = parts.min(order.len());
    let scores: Vec<f64> = (0..parts)
        .map(|part| {
            let range = part * order.len() / parts..(part + 1) * order.len() / parts;
            let rows: Vec<Vec<f64>> = order[range].iter().map(|&row| softmax(&logits[row])).collect();
            let average: Vec<f64> = (0..rows[0].len())
                .map(|class| rows.iter().map(|row| row[class]).sum::<f64>() / rows.len() as f64)
                .collect();
            let divergence: f64 = rows
                .iter()
                .flat_map(|row| row.iter().zip(&average))
                .filter(|(p, _)| **p > 0.0)
                .map(|(p, q)| p * (p.ln() - q.ln()))
                .sum();
            (divergence / rows.len() as f64).exp()
        })
        .collect();
    Spread::of(&scores)
}

/// Kernel distance of two sets of features (KID): the squared maximum mean discrepancy under the
/// kernel `(x . y / width + 1)^3`, over `draws` of equally many rows of each set.
pub fn kernel_distance(a: &Rows, b: &Rows, draws: &[(Vec<usize>, Vec<usize>)]) -> Spread {
    let values: Vec<f64> = draws
        .iter()
        .map(|(rows_a, rows_b)| {
            let pick = |set: &Rows, rows: &[usize]| -> Vec<Vec<f32>> {
                rows.iter().map(|&row| set[row].clone()).collect()
            };
            discrepancy(&pick(a, rows_a), &pick(b, rows_b))
        })
        .collect();
    Spread::of(&values)
}

/// Squared maximum mean discrepancy of two sets of `m` rows; unbiased within the sets, and between
/// them, as the reference has it, with all pairs.
fn discrepancy(a: &Rows, b: &Rows) -> f64 {
    let m = a.len() as f64;
    let within = |rows: &Rows| -> f64 {
        let pairs = rows.iter().enumerate().flat_map(|(i, x)| rows[..i].iter().map(move |y| (x, y)));
        2.0 * pairs.map(|(x, y)| kernel(x, y)).sum::<f64>()
    };
    let between: f64 = a.iter().flat_map(|x| b.iter().map(move |y| kernel(x, y))).sum();
    (within(a) + within(b)) / (m * (m - 1.0)) - 2.0 * between / (m * m)
}

fn kernel(x: &[f32], y: &[f32]) -> f64 {
    let product: f64 = x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    (product / x.len() as f64 + 1.0).powi(3)
}

/// Mean divergence of a generated sound's class distribution from that of the real sound whose
/// caption it was made from: `sum p_real (ln p_real - ln(p_generated + 1e-6))`. `real_of[i]` is the
/// row of the real sound of generated row `i`.
pub fn paired_divergence(real: &Rows, generated: &Rows, real_of: &[usize]) -> f64 {
    let divergences = generated.iter().zip(real_of).map(|(row, &real_row)| {
        let (p, q) = (softmax(&real[real_row]), softmax(row));
        p.iter().zip(&q).filter(|(p, _)| **p > 0.0).map(|(p, q)| p * (p.ln() - (q + 1e-6).ln())).sum::<f64>()
    });
    divergences.sum::<f64>() / generated.len() as f64
}

/// `exp(x) / sum exp(x)` in f64.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|&x| f64::from(x - top).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_at_no_distance_from_itself() {
        let row = |seed: usize| (0..5).map(|i| ((seed * 7 + i * 3) % 11) as f32).collect::<Vec<_>>();
        let features: Vec<_> = (0..20).map(row).collect();
        assert!(frechet_distance(&features, &features).abs() < 1e-6);
        assert!(frechet_distance(&features[..1], &features).is_nan());
    }
}
