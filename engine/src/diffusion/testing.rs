//! Comparing numbers in tests.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Tensor};

/// All elements as f64.
pub(super) fn flat(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Asserts `|got - want| <= tolerance * max(1, |want|)` element by element.
#[track_caller]
pub(super) fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "{what}[{i}]: got {g}, want {w}");
    }
}

/// Asserts that the difference's norm is at most `tolerance` times the expectation's.
#[track_caller]
pub(super) fn close_in_norm(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(want).map(|(g, w)| g - w));
    let size = norm(&mut want.iter().copied());
    assert!(difference <= tolerance * size, "{what}: difference {difference:e}, size {size:e}");
}
