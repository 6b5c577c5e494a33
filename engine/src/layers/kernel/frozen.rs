//! Right factors that do not change any more.

use super::bfloat::{self, Packed};
use super::columns::by_columns;
use super::half::Half;
use super::{Addend, Finish, Matrix, Precision};

/// A right factor `[k, n]` in the form in which this machine multiplies by it fastest, and in that form alone.
#[derive(Debug, Clone)]
pub struct Frozen(Form);

#[derive(Debug, Clone)]
enum Form {
    /// Rounded to bfloat16, for a unit that multiplies that.
    Packed(Packed),
    /// f32 values that 16 bits hold exactly.
    Half(Half),
    /// Any f32 values, row-major.
    Full { data: Vec<f32>, rows: usize, cols: usize },
}

impl Frozen {
    /// The form of `b` in which products of `precision` are fastest.
    #[must_use]
    pub fn new(b: Matrix, precision: Precision) -> Self {
        Self(match precision.unit() {
            Some(unit) => Form::Packed(Packed::new(unit, b)),
            None => Form::Full { data: b.to_row_major().into_owned(), rows: b.rows, cols: b.cols },
        })
    }

    /// The smallest form of `b` that keeps the precision and is no slower, or not much.
    #[must_use]
    pub fn smallest(b: Matrix, precision: Precision) -> Self {
        let values = b.to_row_major();
        match precision.unit() {
            None => Half::exact(&values, b.rows, b.cols).map(|half| Self(Form::Half(half))),
            Some(_) => None,
        }
        .unwrap_or_else(|| Self::new(b, precision))
    }

    /// Number of rows, the inner size of products.
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.rows(),
            Form::Half(half) => half.rows(),
            Form::Full { rows, .. } => *rows,
        }
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.cols(),
            Form::Half(half) => half.cols(),
            Form::Full { cols, .. } => *cols,
        }
    }

    /// How products round their factors.
    #[must_use]
    pub fn precision(&self) -> Precision {
        if self.packed().is_some() { Precision::Bf16 } else { Precision::F32 }
    }

    /// The packed form, if it is that.
    #[must_use]
    pub fn packed(&self) -> Option<&Packed> {
        match &self.0 {
            Form::Packed(packed) => Some(packed),
            _ => None,
        }
    }

    /// The f32 values, if they are kept as such.
    #[must_use]
    pub fn full(&self) -> Option<Matrix<'_>> {
        match &self.0 {
            Form::Full { data, rows, cols } => Some(Matrix::row_major(data, *rows, *cols)),
            _ => None,
        }
    }

    /// The values by which it multiplies, row-major `[k, n]`.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        match &self.0 {
            Form::Packed(packed) => packed.unpack(),
            Form::Half(half) => half.widen(),
            Form::Full { data, .. } => data.clone(),
        }
    }

    /// `out = a b + addend`, then `finish`; `out` row-major `[a.rows, n]`. On all threads of the current rayon pool.
    ///
    /// # Panics
    /// When the sizes disagree: callers check shapes first.
    pub fn multiply(&self, a: Matrix, out: &mut [f32], addend: Addend, finish: Finish) {
        assert_eq!(a.cols, self.rows(), "matmul: inner sizes");
        assert_eq!(out.len(), a.rows * self.cols(), "matmul: output size");
        assert!(a.fits(), "matmul: strides leave the slice");
        match &self.0 {
            Form::Packed(packed) => bfloat::matmul(a, packed, out, addend, finish),
            Form::Half(half) => half.matmul(a, out, addend, finish),
            Form::Full { data, rows, cols } => {
                by_columns(a, (*rows, *cols), out, addend, finish, |columns, part| {
                    for (part, row) in part.chunks_exact_mut(columns.len()).zip(data.chunks_exact(*cols)) {
                        part.copy_from_slice(&row[columns.clone()]);
                    }
                });
            }
        }
    }
}
