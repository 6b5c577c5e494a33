//! The matrices of an adapter, in memory.

use super::{Dropout, LoraError, LowRank, MAX_RANK, Target};
use crate::diffusion::transformer::Config;
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

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

    /// The targets that it changes.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.matrices.keys().copied()
    }

    /// Its `A` `[rank, in]` and `B` `[out, rank]` by target.
    pub(super) fn matrices(&self) -> impl Iterator<Item = (Target, &(Tensor, Tensor))> {
        self.matrices.iter().map(|(target, pair)| (*target, pair))
    }

    /// The same adapter on another device.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn to_device(&self, device: &Device) -> Result<Self, LoraError> {
        let moved = |(target, (a, b)): (&Target, &(Tensor, Tensor))| {
            Ok((*target, (a.to_device(device)?, b.to_device(device)?)))
        };
        Ok(Self { matrices: self.matrices.iter().map(moved).collect::<Result<_, LoraError>>()?, ..*self })
    }

    /// What it changes at full strength while it is trained: with dropout, of another pattern for each matrix.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn in_training(&self, dropout: Dropout) -> Result<BTreeMap<Target, LowRank>, LoraError> {
        let blend = Self::blend(&[(self, 1.0)])?;
        let with = |(n, (target, change)): (u64, (Target, LowRank))| {
            let seed = dropout.seed.wrapping_add(n.wrapping_mul(0x2545_f491_4f6c_dd1d));
            (target, change.with_dropout(Dropout { seed, ..dropout }))
        };
        Ok((0..).zip(blend).map(with).collect())
    }

    /// What `adapters` change together, each at its strength. Those at strength 0 are as good as absent.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn blend(adapters: &[(&Self, f64)]) -> Result<BTreeMap<Target, LowRank>, LoraError> {
        let mut pairs: BTreeMap<Target, Vec<(&Tensor, &Tensor, f64)>> = BTreeMap::new();
        for (adapter, strength) in adapters.iter().filter(|(_, strength)| *strength != 0.0) {
            let scale = strength * adapter.alpha / adapter.rank as f64;
            for (target, (a, b)) in &adapter.matrices {
                pairs.entry(*target).or_default().push((a, b, scale));
            }
        }
        pairs.into_iter().map(|(target, pairs)| Ok((target, LowRank::new(&pairs)?))).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::DType;

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
