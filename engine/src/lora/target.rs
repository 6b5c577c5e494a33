//! Which matrices an adapter can change.

use super::LoraError;
use crate::diffusion::transformer::Config;
use std::fmt;
use std::str::FromStr;

/// The two attentions of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attention {
    /// Among the tokens of the grid.
    SelfAttention,
    /// From the tokens to the prompt's features.
    CrossAttention,
}

impl Attention {
    /// Both, in the order of the block.
    pub const ALL: [Self; 2] = [Self::SelfAttention, Self::CrossAttention];

    /// Its name in tensor names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SelfAttention => "self_attn",
            Self::CrossAttention => "cross_attn",
        }
    }
}

/// The four matrices of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// To queries.
    Q,
    /// To keys.
    K,
    /// To values.
    V,
    /// From the weighted values to the output.
    Proj,
}

impl Projection {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Q, Self::K, Self::V, Self::Proj];

    /// Its name in tensor names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::Proj => "proj",
        }
    }
}

/// One matrix of the denoising transformer, written as `blocks.3.cross_attn.k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The block's number.
    pub block: usize,
    /// Which attention.
    pub attention: Attention,
    /// Which matrix.
    pub projection: Projection,
}

impl Target {
    /// The targets of all blocks of a transformer, for the given matrices of both attentions.
    pub fn all(config: &Config, projections: &[Projection]) -> Vec<Self> {
        let mut targets = Vec::with_capacity(config.layers * 2 * projections.len());
        for block in 0..config.layers {
            for attention in Attention::ALL {
                targets.extend(projections.iter().map(|&projection| Self { block, attention, projection }));
            }
        }
        targets
    }

    /// `(in, out)` of the matrix in a transformer of `config`.
    #[must_use]
    pub fn shape(&self, config: &Config) -> (usize, usize) {
        match (self.attention, self.projection) {
            (Attention::CrossAttention, Projection::K | Projection::V) => (config.cond_width, config.width),
            _ => (config.width, config.width),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blocks.{}.{}.{}", self.block, self.attention.name(), self.projection.name())
    }
}

impl FromStr for Target {
    type Err = LoraError;

    fn from_str(text: &str) -> Result<Self, LoraError> {
        let parse = || {
            let mut parts = text.split('.');
            let ("blocks", block, attention, projection, None) =
                (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next())
            else {
                return None;
            };
            Some(Self {
                block: block.parse().ok()?,
                attention: Attention::ALL.into_iter().find(|a| a.name() == attention)?,
                projection: Projection::ALL.into_iter().find(|p| p.name() == projection)?,
            })
        };
        parse().ok_or_else(|| LoraError::UnknownTarget { found: text.chars().take(200).collect() })
    }
}

/// How many numbers an adapter of `rank` on these matrices trains (SPEC 7.1's table).
#[must_use]
pub fn trainable_parameters(config: &Config, projections: &[Projection], rank: usize) -> usize {
    Target::all(config, projections)
        .iter()
        .map(|target| {
            let (input, output) = target.shape(config);
            rank * (input + output)
        })
        .sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::diffusion::transformer::PositionKind;

    fn paper() -> Config {
        Config {
            layers: 19,
            width: 1024,
            heads: 16,
            cond_width: 512,
            codebook: 256,
            position: PositionKind::RowMajor,
            mask_padding: false,
            ..Config::small(256, 512)
        }
    }

    #[test]
    fn trainable_counts_are_the_papers() {
        use Projection::{K, Proj, Q, V};
        // SPEC 7.1: pairs, triples and all four, at ranks 4, 8 and 16.
        for (projections, counts) in [
            (&[Q, V][..], [583_680, 1_167_360, 2_334_720]),
            (&[Q, K], [583_680, 1_167_360, 2_334_720]),
            (&[Q, K, V], [856_064, 1_712_128, 3_424_256]),
            (&[Q, K, V, Proj], [1_167_360, 2_334_720, 4_669_440]),
        ] {
            for (rank, count) in [4, 8, 16].into_iter().zip(counts) {
                assert_eq!(trainable_parameters(&paper(), projections, rank), count, "{projections:?}");
            }
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for target in Target::all(&paper(), &Projection::ALL) {
            assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
        }
        for odd in
            ["", "blocks.0.self_attn", "blocks.x.self_attn.q", "blocks.0.attn.q", "blocks.0.self_attn.q.A"]
        {
            assert!(odd.parse::<Target>().is_err(), "{odd}");
        }
    }
}
