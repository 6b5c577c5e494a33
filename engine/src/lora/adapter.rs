//! The matrices of an adapter, in memory.

use super::{LowRank, Target};
use crate::diffusion::transformer::Config;
use candle_core::Tensor;
use std::collections::BTreeMap;

/// Why an adapter cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A name that means no matrix of a transformer.
    #[error("the adapter names {found}, which is no attention matrix such as blocks.0.self_attn.q")]
    UnknownTarget {
        /// The name.
        found: String,
    },
    /// A target that the transformer lacks.
    #[error("the adapter changes {target}, but the model has {layers} blocks only")]
    NoSuchBlock {
        /// The target.
        target: String,
        /// Blocks of the transformer.
        layers: usize,
    },
    /// A matrix of another shape than the target needs.
    #[error("the adapter's {tensor}: expected the shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// What the target and the rank need.
        expected: Vec<usize>,
        /// What is there.
        found: Vec<usize>,
    },
    /// A rank, alpha or strength that cannot be.
    #[error("the adapter's {what} is {found}, expected {expected}")]
    Number {
        /// Which number.
        what: &'static str,
        /// What it is.
        found: f64,
        /// What it can be.
        expected: &'static str,
    },
    /// The tensor library failed.
    #[error(transparent)]
    Backend(#[from] candle_core::Error),
}

/// Largest rank that is accepted.
const MAX_RANK: usize = 256;

/// An adapter: its matrices by target, of one rank.
#[derive(Debug, Clone)]
pub struct Adapter {
    rank: usize,
    alpha: f64,
    /// `A` `[rank, in]` and `B` `[out, rank]`.
    matrices: BTreeMap<Target, (Tensor, Tensor)>,
}

impl Adapter {
    /// An adapter for a transformer of `config`, of `A` `[rank, in]` and `B` `[out, rank]` for each target.
    ///
    /// # Errors
    /// When the rank or alpha is out of range, a target is not in the transformer or a shape does not fit it.
    pub fn new(
        config: &Config,
        rank: usize,
        alpha: f64,
        matrices: BTreeMap<Target, (Tensor, Tensor)>,
    ) -> Result<Self, LoraError> {
        if !(1..=MAX_RANK).contains(&rank) {
            return Err(LoraError::Number { what: "rank", found: rank as f64, expected: "1 to 256" });
        }
        if !(alpha.is_finite() && alpha > 0.0) {
            return Err(LoraError::Number { what: "alpha", found: alpha, expected: "a number above 0" });
        }
        for (target, (a, b)) in &matrices {
            if target.block >= config.layers {
                return Err(LoraError::NoSuchBlock { target: target.to_string(), layers: config.layers });
            }
            let (input, output) = target.shape(config);
            for (part, tensor, expected) in [("A", a, [rank, input]), ("B", b, [output, rank])] {
                if tensor.dims() != expected {
                    return Err(LoraError::Shape {
                        tensor: format!("{target}.{part}"),
                        expected: expected.to_vec(),
                        found: tensor.dims().to_vec(),
                    });
                }
            }
        }
        Ok(Self { rank, alpha, matrices })
    }

    /// The rank `r`.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The numerator of the scale `alpha / r`.
    #[must_use]
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Numbers in all matrices.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.matrices.values().map(|(a, b)| a.elem_count() + b.elem_count()).sum()
    }

    /// The changes at `strength`.
    pub fn changes(&self, strength: f64) -> impl Iterator<Item = (Target, LowRank)> {
        let scale = strength * self.alpha / self.rank as f64;
        self.matrices.iter().map(move |(target, (a, b))| (*target, LowRank::new(a.clone(), b.clone(), scale)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn pair(rank: usize, input: usize, output: usize) -> (Tensor, Tensor) {
        let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        (zeros((rank, input)), zeros((output, rank)))
    }

    #[test]
    fn what_does_not_fit_the_transformer_is_refused_by_name() {
        let config = Config { layers: 2, width: 8, cond_width: 4, heads: 2, ..Config::small(16, 4) };
        let refuse = |target: &str, rank, alpha, matrices, part: &str| {
            let matrices = [(target.parse().unwrap(), matrices)].into();
            let message = Adapter::new(&config, rank, alpha, matrices).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        refuse("blocks.2.self_attn.q", 2, 2.0, pair(2, 8, 8), "blocks.2.self_attn.q");
        refuse(
            "blocks.0.cross_attn.k",
            2,
            2.0,
            pair(2, 8, 8),
            "blocks.0.cross_attn.k.A: expected the shape [2, 4]",
        );
        refuse("blocks.0.self_attn.q", 2, 2.0, pair(3, 8, 8), "expected the shape [2, 8], found [3, 8]");
        refuse("blocks.0.self_attn.q", 257, 2.0, pair(257, 8, 8), "rank is 257");
        refuse("blocks.0.self_attn.q", 2, f64::NAN, pair(2, 8, 8), "alpha");
        let good = [("blocks.1.cross_attn.k".parse().unwrap(), pair(2, 4, 8))].into();
        assert_eq!(Adapter::new(&config, 2, 4.0, good).unwrap().parameters(), 24);
    }
}
