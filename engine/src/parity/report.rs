//! What comparing one stage found.

use super::{Fixture, ParityError};
use candle_core::{DType, Tensor};
use std::fmt;

/// How far a tensor may be from what was recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Every element within this of the recorded one, or within this times its magnitude.
    Element(f64),
    /// Every element within this times its own recorded magnitude.
    Relative(f64),
    /// Every element within this times the largest magnitude of the recorded tensor. A gradient that vanishes (the
    /// bias of an attention's keys moves all scores alike) is rounding on both sides: below 1e-3 its size counts as that.
    Gradient(f64),
    /// Equal.
    Exact,
}

impl Tolerance {
    /// f32 activations and losses.
    pub const ACTIVATION: Self = Self::Element(1e-4);
    /// What went through f16.
    pub const HALF: Self = Self::Element(5e-3);
    /// Gradients.
    pub const GRADIENT: Self = Self::Gradient(1e-3);
    /// f64 numbers by closed formulas.
    pub const DOUBLE: Self = Self::Relative(1e-9);

    /// What is smaller counts as this large.
    const VANISHING: f64 = 1e-3;

    /// What a difference from `want` is related to, `largest` being the largest of its tensor.
    fn scale(self, want: f64, largest: f64) -> f64 {
        match self {
            Self::Relative(_) => want.abs(),
            _ => largest.max(Self::VANISHING),
        }
    }

    /// What an element may differ by, given its recorded value and the largest of its tensor.
    fn allows(self, want: f64, largest: f64) -> f64 {
        match self {
            // An infinity, or no number at all: nothing is near it.
            _ if !want.is_finite() => 0.0,
            Self::Element(t) => t * want.abs().max(1.0),
            Self::Relative(t) => t * want.abs(),
            Self::Gradient(t) => t * largest.max(Self::VANISHING),
            Self::Exact => 0.0,
        }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(t) => write!(f, "{t:e}"),
            Self::Relative(t) => write!(f, "{t:e} relative"),
            Self::Gradient(t) => write!(f, "{t:e} of the largest"),
            Self::Exact => f.write_str("exact"),
        }
    }
}

/// The comparisons of one stage.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Tensors compared.
    pub tensors: usize,
    /// Largest difference of any element.
    pub absolute: f64,
    /// Largest difference of any element in relation to the largest magnitude of its recorded tensor (to its own
    /// where the tolerance is relative).
    pub relative: f64,
    /// Every tolerance that was applied, in the order of their first use.
    pub tolerances: Vec<Tolerance>,
    /// What differs by more than allowed, in words.
    pub failures: Vec<String>,
    /// What could not be compared, and why.
    pub note: Option<String>,
}

impl Report {
    /// Whether everything agrees, and there was something to agree.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.tensors > 0 && self.failures.is_empty()
    }

    /// Compares numbers.
    pub fn numbers(&mut self, name: &str, got: &[f64], want: &[f64], tolerance: Tolerance) {
        self.tensors += 1;
        if !self.tolerances.contains(&tolerance) {
            self.tolerances.push(tolerance);
        }
        if got.len() != want.len() {
            self.failures.push(format!("{name}: expected {} values, found {}", want.len(), got.len()));
            return;
        }
        let finite = want.iter().filter(|w| w.is_finite());
        let largest = finite.fold(0.0, |largest: f64, w| largest.max(w.abs()));
        let mut worst: Option<(f64, String)> = None;
        for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
            // Logarithms of nothing: the same infinity is no difference.
            if g == w {
                continue;
            }
            let difference = if g.is_finite() && w.is_finite() { (g - w).abs() } else { f64::INFINITY };
            self.absolute = self.absolute.max(difference);
            self.relative = self.relative.max(difference / tolerance.scale(w, largest));
            if difference > tolerance.allows(w, largest)
                && worst.as_ref().is_none_or(|(most, _)| difference > *most)
            {
                worst = Some((difference, format!("{name}[{i}]: expected {w}, found {g}")));
            }
        }
        self.failures.extend(worst.map(|(_, text)| text));
    }

    /// Compares a tensor with what `fixture` recorded under `name`; shapes must agree.
    ///
    /// # Errors
    /// When nothing was recorded.
    pub fn tensor(
        &mut self,
        fixture: &Fixture,
        name: &str,
        got: &Tensor,
        tolerance: Tolerance,
    ) -> Result<(), ParityError> {
        let want = fixture.get(name)?;
        self.pair(name, got, &want, tolerance)
    }

    /// Compares two tensors; shapes must agree.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn pair(
        &mut self,
        name: &str,
        got: &Tensor,
        want: &Tensor,
        tolerance: Tolerance,
    ) -> Result<(), ParityError> {
        if got.dims() != want.dims() {
            self.tensors += 1;
            self.failures.push(format!("{name}: expected {:?}, found {:?}", want.dims(), got.dims()));
            return Ok(());
        }
        self.numbers(name, &values(got)?, &values(want)?, tolerance);
        Ok(())
    }

    /// Compares ids, which must be equal.
    pub fn ids(&mut self, name: &str, got: &[u32], want: &[u32]) {
        let wide = |ids: &[u32]| ids.iter().map(|&id| f64::from(id)).collect::<Vec<_>>();
        self.numbers(name, &wide(got), &wide(want), Tolerance::Exact);
    }

    /// Records a failure that no number shows.
    pub fn fail(&mut self, text: impl Into<String>) {
        self.failures.push(text.into());
    }

    /// All tolerances as one text.
    #[must_use]
    pub fn tolerance(&self) -> String {
        self.tolerances.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// All elements as f64.
///
/// # Errors
/// When they cannot be read.
pub fn values(x: &Tensor) -> Result<Vec<f64>, ParityError> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(got: &[f64], want: &[f64], tolerance: Tolerance) -> Report {
        let mut report = Report::default();
        report.numbers("x", got, want, tolerance);
        report
    }

    #[test]
    fn what_is_too_far_fails_by_name_and_the_rest_passes() {
        assert!(!Report::default().passed());
        let report = outcome(&[1.0, 200.01], &[1.0, 200.0], Tolerance::ACTIVATION);
        assert!(report.passed());
        assert!((report.absolute - 0.01).abs() < 1e-9 && (report.relative - 5e-5).abs() < 1e-9);
        let report = outcome(&[1.0, 2.001, 2.1], &[1.0, 2.0, 2.0], Tolerance::ACTIVATION);
        assert_eq!(report.failures, ["x[2]: expected 2, found 2.1"]);
        assert!(!outcome(&[1.0], &[1.0, 2.0], Tolerance::ACTIVATION).passed());
        assert!(!outcome(&[1e-6], &[2e-6], Tolerance::DOUBLE).passed());
        assert!(!outcome(&[1.0 + 1e-12], &[1.0], Tolerance::Exact).passed());
    }

    #[test]
    fn gradients_are_measured_by_their_largest_and_vanishing_ones_by_a_floor() {
        assert!(outcome(&[100.0, 0.05], &[100.0, 0.0], Tolerance::GRADIENT).passed());
        assert!(!outcome(&[100.0, 0.2], &[100.0, 0.0], Tolerance::GRADIENT).passed());
        assert!(outcome(&[1e-7], &[-1e-7], Tolerance::GRADIENT).passed());
        assert!(!outcome(&[1e-5], &[-1e-7], Tolerance::GRADIENT).passed());
    }

    #[test]
    fn infinities_must_be_the_same_and_no_number_never_passes() {
        let infinity = f64::NEG_INFINITY;
        assert!(outcome(&[infinity], &[infinity], Tolerance::ACTIVATION).passed());
        assert!(!outcome(&[-70.0], &[infinity], Tolerance::ACTIVATION).passed());
        assert!(!outcome(&[f64::NAN], &[0.0], Tolerance::ACTIVATION).passed());
        assert!(!outcome(&[f64::NAN], &[f64::NAN], Tolerance::ACTIVATION).passed());
    }
}
