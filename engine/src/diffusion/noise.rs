//! The generator of all random draws: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as
//! easy as 1, 2, 3", 2011).
//!
//! It is counter-based: the n-th draw of a stream is a function of (seed, stream, n) alone, so the
//! same seed gives the same sound on every machine, with any number of threads, in any order.

/// Multipliers and key increments of Philox 4x32.
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One block of Philox 4x32-10: four words from a counter and a key.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let [low, high] = [
            u64::from(MULTIPLIERS[0]) * u64::from(counter[0]),
            u64::from(MULTIPLIERS[1]) * u64::from(counter[2]),
        ];
        counter = [
            (high >> 32) as u32 ^ counter[1] ^ key[0],
            high as u32,
            (low >> 32) as u32 ^ counter[3] ^ key[1],
            low as u32,
        ];
    }
    counter
}

/// A stream of random draws. Cloning it repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noise {
    seed: u64,
    stream: u64,
    /// Draws taken by the sequential methods.
    position: u64,
}

impl Noise {
    /// The stream number `stream` of `seed`; different streams are independent.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { seed, stream, position: 0 }
    }

    /// Draws taken so far by the sequential methods; with seed and stream, the whole state.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Continues at draw `position` (a checkpoint's).
    #[must_use]
    pub fn at(mut self, position: u64) -> Self {
        self.position = position;
        self
    }

    /// The four words of block `block`: draws `4 block ..= 4 block + 3`.
    fn block(&self, block: u64) -> [u32; 4] {
        let counter = [block as u32, (block >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32];
        philox(counter, [self.seed as u32, (self.seed >> 32) as u32])
    }

    /// Draw number `index` of the stream, uniform in 32 bits; does not advance it.
    #[must_use]
    pub fn word_at(&self, index: u64) -> u32 {
        let [a, b, c, d] = self.block(index / 4);
        match index % 4 {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        }
    }

    /// Draw number `index`, uniform in `[0, 1)` on a grid of 2^-24; does not advance the stream.
    #[must_use]
    pub fn uniform_at(&self, index: u64) -> f32 {
        unit(self.word_at(index))
    }

    /// Fills `out` with the draws from `first` on, uniform in `[0, 1)`; does not advance the stream.
    /// Threads may each fill their own part.
    pub fn fill_at(&self, first: u64, out: &mut [f32]) {
        let mut block = None;
        for (index, value) in (first..).zip(out) {
            let words = match block {
                Some((number, words)) if number == index / 4 => words,
                _ => {
                    let words = self.block(index / 4);
                    block = Some((index / 4, words));
                    words
                }
            };
            let [a, b, c, d] = words;
            *value = unit(match index % 4 {
                0 => a,
                1 => b,
                2 => c,
                _ => d,
            });
        }
    }

    /// The next draw, uniform in 32 bits.
    pub fn word(&mut self) -> u32 {
        let word = self.word_at(self.position);
        self.position += 1;
        word
    }

    /// The next draw, uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f32 {
        unit(self.word())
    }

    /// The next draw, uniform in `0..bound` (0 if `bound` is 0). The bias is below `bound / 2^32`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.word()) * bound as u64) >> 32) as usize
    }

    /// The next draw (two of them) from the standard normal distribution (Box-Muller).
    pub fn normal(&mut self) -> f32 {
        // 1 - u lies in (0, 1]: its logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }

    /// A random order of `0..n` (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }

    /// An index drawn with probability proportional to its weight; `None` if no weight is above 0.
    pub fn weighted(&mut self, weights: &[f64]) -> Option<usize> {
        let total: f64 = weights.iter().filter(|w| **w > 0.0).sum();
        let mut rest = f64::from(self.uniform()) * total;
        let mut chosen = None;
        for (index, &weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            chosen = Some(index);
            if rest < weight {
                break;
            }
            rest -= weight;
        }
        chosen
    }
}

/// The upper 24 bits as a number in `[0, 1)`.
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the Random123 library (`kat_vectors`, philox4x32 10).
    #[test]
    fn agrees_with_random123() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn sequential_and_random_access_draws_are_the_same() {
        let mut noise = Noise::new(7, 3);
        let sequential: Vec<f32> = (0..100).map(|_| noise.uniform()).collect();
        let mut filled = vec![0.0; 90];
        noise.fill_at(10, &mut filled);
        assert_eq!(sequential.get(10..), Some(filled.as_slice()));
        assert_ne!(Noise::new(7, 4).uniform_at(0), Noise::new(7, 3).uniform_at(0));
        assert!(sequential.iter().all(|u| (0.0..1.0).contains(u)));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut noise = Noise::new(1, 0);
        let n = 100_000;
        let mean = (0..n).map(|_| f64::from(noise.uniform())).sum::<f64>() / f64::from(n);
        assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12.0_f64 / f64::from(n)).sqrt());
        let normals: Vec<f64> = (0..n).map(|_| f64::from(noise.normal())).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 5.0 / f64::from(n).sqrt());
        assert!((variance - 1.0).abs() < 5.0 * (2.0 / f64::from(n)).sqrt());
        let draws = (0..n).filter(|_| noise.weighted(&[1.0, 0.0, 3.0]) == Some(2)).count() as f64;
        assert!((draws / f64::from(n) - 0.75).abs() < 5.0 * (0.1875 / f64::from(n)).sqrt());
        let mut order = noise.permutation(50);
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}
