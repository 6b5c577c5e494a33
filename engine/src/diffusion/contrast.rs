//! Contrastive negatives of CDCD's "step-wise parallel, intra-negative" mode (SPEC 7.2): the clip's
//! own tokens with chunks of time exchanged. A model that heeds the order of events finds them
//! unlikely.

use super::Noise;

/// Chunks that a sequence is cut into, CDCD's number.
pub const CHUNKS: usize = 8;

/// Reorders each sequence of `tokens` (flat `[batch, length]`, time-major) by `order`, a permutation
/// of the chunks that all sequences share; what is left after the last whole chunk stays.
#[must_use]
pub fn shuffle_chunks(tokens: &[u32], length: usize, order: &[usize]) -> Vec<u32> {
    let chunk = length / order.len().max(1);
    let mut out = Vec::with_capacity(tokens.len());
    for sequence in tokens.chunks(length.max(1)) {
        for &n in order {
            out.extend(sequence.get(n * chunk..(n + 1) * chunk).unwrap_or_default());
        }
        out.extend(sequence.get(order.len() * chunk..).unwrap_or_default());
    }
    out
}

/// `count` negatives of `tokens`, each with a random order of its [`CHUNKS`] chunks (which may be the
/// identity, as in the reference), for [`LossBatch::negatives`](super::LossBatch::negatives).
#[must_use]
pub fn negatives(tokens: &[u32], length: usize, count: usize, noise: &mut Noise) -> Vec<Vec<u32>> {
    (0..count).map(|_| shuffle_chunks(tokens, length, &noise.permutation(CHUNKS))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negatives_keep_every_token() {
        for length in [5, 8, 40, 265] {
            let tokens: Vec<u32> = (0..2 * length as u32).collect();
            for mut negative in negatives(&tokens, length, 10, &mut Noise::new(2, 0)) {
                negative.sort_unstable();
                assert_eq!(negative, tokens);
            }
        }
    }
}
