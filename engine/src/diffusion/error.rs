//! What can go wrong in the diffusion process.

/// An error of the diffusion process: always a disagreement between its inputs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffusionError {
    /// A schedule that is not one.
    #[error("noise schedule: {0}")]
    Schedule(String),
    /// Lengths that should agree do not.
    #[error("{what}: expected {expected} values, found {actual}")]
    Length {
        /// The input at fault.
        what: &'static str,
        /// The length that was needed.
        expected: usize,
        /// The length that came.
        actual: usize,
    },
    /// A value outside its range.
    #[error("{what}: {value} is outside {range}")]
    Range {
        /// The input at fault.
        what: &'static str,
        /// The value that came.
        value: f64,
        /// What is allowed, readable.
        range: String,
    },
    /// The network returned something that is no number.
    #[error("the network's output at position {position} is not a number; the weights may be damaged")]
    NotANumber {
        /// Position in the token sequence.
        position: usize,
    },
    /// The tensor library failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl DiffusionError {
    /// [`DiffusionError::Length`] unless `actual == expected`.
    pub(super) fn check_length(what: &'static str, expected: usize, actual: usize) -> Result<(), Self> {
        if expected == actual { Ok(()) } else { Err(Self::Length { what, expected, actual }) }
    }

    /// [`DiffusionError::Range`] unless every id is below `classes`.
    pub(super) fn check_ids(what: &'static str, ids: &[u32], classes: usize) -> Result<(), Self> {
        match ids.iter().find(|&&id| id as usize >= classes) {
            None => Ok(()),
            Some(&id) => {
                Err(Self::Range { what, value: f64::from(id), range: format!("the {classes} classes") })
            }
        }
    }
}
