//! The width of a voice: stereo made of a mono clip.
//!
//! The clip goes through a chain of allpasses, which turns its phase once around every one and a third octaves, and what
//! comes out is the side signal `s` of the mid signal `x` (Manfred Schroeder, "An artificial stereophonic effect obtained from a
//! single audio signal", JAES 6, 1958; the allpasses in place of a delay as in Robert Orban's, JAES 18, 1970):
//!
//! ```text
//! left = x + w s    right = x - w s
//! ```
//!
//! What is louder on one side is softer on the other, in bands too narrow to be heard as colours. Their sum is `2 x`: nothing is lost
//! in mono. The bass stays in the middle.

use std::f64::consts::PI;

use super::ramp::Ramp;

/// How long a change takes, in seconds.
const RAMP_TIME: f32 = 0.005;
/// Share of the side signal at full width: the sides differ by up to 15 dB.
const MOST: f32 = 0.7;
/// Centres of the allpasses, in Hz, and their Q.
const CENTRES: [f64; 5] = [200.0, 500.0, 1_250.0, 3_125.0, 7_812.5];
const Q: f64 = 0.5;
/// Edge of the bass that stays in the middle, in Hz: 6 dB an octave.
const BASS: f64 = 200.0;

/// An allpass of second order, in the second transposed direct form: with `a` for the pole radius squared and `b`
/// for the rest, `(a + b z⁻¹ + z⁻²) / (1 + b z⁻¹ + a z⁻²)`.
#[derive(Clone, Copy, Debug, Default)]
struct Allpass {
    a: f64,
    b: f64,
    state: [f64; 2],
}

impl Allpass {
    fn new(hz: f64, rate: f64) -> Self {
        // The bilinear transform of (s² - s/Q + 1) / (s² + s/Q + 1).
        let g = (PI * hz.min(0.45 * rate) / rate).tan();
        let scale = 1.0 / (1.0 + g / Q + g * g);
        Self { a: (1.0 - g / Q + g * g) * scale, b: 2.0 * (g * g - 1.0) * scale, state: [0.0; 2] }
    }

    #[inline]
    fn take(&mut self, x: f64) -> f64 {
        let y = self.a * x + self.state[0];
        self.state = [self.b * (x - y) + self.state[1], x - self.a * y];
        y
    }
}

/// The running stage of one voice.
#[derive(Clone, Copy, Debug)]
pub struct Width {
    chain: [Allpass; CENTRES.len()],
    /// Follows the bass, by this share of the way in a sample.
    bass: f64,
    bass_step: f64,
    /// Share of the side signal.
    gain: Ramp,
}

impl Width {
    /// Leaves everything in the middle.
    #[must_use]
    pub const fn off() -> Self {
        let allpass = Allpass { a: 0.0, b: 0.0, state: [0.0; 2] };
        Self { chain: [allpass; CENTRES.len()], bass: 0.0, bass_step: 0.0, gain: Ramp::at(0.0) }
    }

    /// A stage at rest for `amount` from 0 to 1 and an output of `sample_rate` Hz.
    #[must_use]
    pub fn new(amount: f32, sample_rate: f32) -> Self {
        if amount == 0.0 {
            return Self::off();
        }
        let rate = f64::from(sample_rate);
        Self {
            chain: CENTRES.map(|hz| Allpass::new(hz, rate)),
            bass: 0.0,
            bass_step: 1.0 - (-2.0 * PI * BASS / rate).exp(),
            gain: Ramp::at(MOST * amount),
        }
    }

    /// Moves to another amount.
    pub fn aim(&mut self, amount: f32, sample_rate: f32) {
        if self.is_off() {
            if amount == 0.0 {
                return;
            }
            // From rest, faded in.
            *self = Self { gain: Ramp::at(0.0), ..Self::new(amount, sample_rate) };
        }
        self.gain.aim(MOST * amount, (RAMP_TIME * sample_rate) as u32);
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.gain.is_still() && self.gain.value() == 0.0
    }

    /// Writes what is to be added on the left, and taken away on the right, of `samples` to `side` (of the same length).
    pub fn process(&mut self, samples: &[f32], side: &mut [f32]) {
        // Copies, which can be held in registers.
        let (mut chain, mut bass) = (self.chain, self.bass);
        for (x, side) in samples.iter().zip(side) {
            let turned = chain.iter_mut().fold(f64::from(*x), |x, allpass| allpass.take(x));
            bass += self.bass_step * (turned - bass);
            *side = self.gain.advance() * (turned - bass) as f32;
        }
        (self.chain, self.bass) = (chain, bass);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f32 = 48_000.0;

    fn noise(len: usize) -> Vec<f32> {
        let mut seed = 7u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn sine(hz: f64) -> Vec<f32> {
        (0..48_000).map(|n| (2.0 * PI * hz * f64::from(n) / f64::from(RATE)).sin() as f32).collect()
    }

    /// Both sides of `mid`.
    fn sides(amount: f32, mid: &[f32]) -> [Vec<f32>; 2] {
        let mut side = vec![0.0; mid.len()];
        Width::new(amount, RATE).process(mid, &mut side);
        [1.0, -1.0].map(|sign| mid.iter().zip(&side).map(|(x, s)| x + sign * s).collect())
    }

    fn power(signal: &[f32]) -> f32 {
        signal.iter().map(|x| x * x).sum()
    }

    #[test]
    fn noise_becomes_wide_and_stays_in_the_middle() {
        let mid = noise(96_000);
        let mut before = 1.1;
        for amount in [0.0, 0.25, 0.5, 1.0] {
            let [left, right] = sides(amount, &mid);
            let product: f32 = left.iter().zip(&right).map(|(l, r)| l * r).sum();
            let correlation = product / (power(&left) * power(&right)).sqrt();
            assert!(correlation < before, "{amount}: {correlation}");
            before = correlation;
            let balance_db = 10.0 * (power(&left) / power(&right)).log10();
            assert!(balance_db.abs() < 1.0, "{amount}: {balance_db} dB");
        }
        assert!(before < 0.5, "{before}");
    }

    #[test]
    fn the_chain_only_turns_phases() {
        for hz in [300.0, 700.0, 2_000.0, 5_000.0, 15_000.0] {
            let mid = sine(hz);
            let mut width = Width::new(1.0, RATE);
            width.bass_step = 0.0;
            let mut side = vec![0.0; mid.len()];
            width.process(&mid, &mut side);
            let gain = (power(&side[24_000..]) / power(&mid[24_000..])).sqrt();
            assert!((gain - MOST).abs() < 1e-3, "{hz}: {gain}");
        }
    }

    #[test]
    fn the_sides_differ_by_no_more_than_promised_and_differ_everywhere() {
        let mut most = 0f32;
        // Third octaves.
        for third in 0..18 {
            let [left, right] = sides(1.0, &sine(250.0 * 2f64.powf(f64::from(third) / 3.0)))
                .map(|side| power(&side[24_000..]));
            most = most.max((10.0 * (left / right).log10()).abs());
        }
        assert!(most > 6.0 && most < 15.1, "{most} dB");
    }

    #[test]
    fn the_bass_stays_in_the_middle() {
        let [left, right] = sides(1.0, &sine(50.0)).map(|side| side[24_000..].to_vec());
        let difference: Vec<f32> = left.iter().zip(&right).map(|(l, r)| 0.5 * (l - r)).collect();
        let db = 10.0 * (power(&difference) / power(&left)).log10();
        assert!(db < -14.0, "{db} dB");
    }

    #[test]
    fn blocks_of_any_size_give_the_same_bits() {
        let play = |block: usize| {
            let mid = noise(6_000);
            let mut width = Width::off();
            let mut out = Vec::new();
            for (amount, part) in [0.3, 0.0, 1.0].into_iter().zip(mid.chunks(2_000)) {
                width.aim(amount, RATE);
                for samples in part.chunks(block) {
                    let mut side = vec![0.0; samples.len()];
                    if !width.is_off() {
                        width.process(samples, &mut side);
                    }
                    out.extend(side.into_iter().map(f32::to_bits));
                }
            }
            out
        };
        let bits = |values: Vec<u32>| {
            values.into_iter().map(|v| if v << 1 == 0 { 0 } else { v }).collect::<Vec<_>>()
        };
        let whole = bits(play(2_000));
        for block in [1, 7, 64, 481] {
            assert!(bits(play(block)) == whole, "{block}");
        }
    }
}
