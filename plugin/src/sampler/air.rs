//! The air of a voice: a synthetic octave above the clip's highest frequency.
//!
//! Clips end at 11 kHz. As in spectral band replication (Dietz et al., AES convention 112, 2002) what is missing above
//! is made of what is there: the clip's own top octave is shifted up, by half of the clip's highest frequency `top` and
//! once more by the same,
//!
//! ```text
//! 0.55 top .. top  ->  1.05 top .. 1.5 top  and, 6 dB lower, 1.55 top .. 2 top
//! ```
//!
//! so that noise stays noise, and its level over time that of the clip. The shift is a modulation of one side band:
//! with the band's analytic signal `i - jq` and a carrier `e^(jwn)`, the real part of the product. `i` and `q` come from two chains of
//! allpasses whose phases differ by 90 degrees (within 0.7 from 0.002 to 0.998 of the highest frequency; coefficients:
//! Olli Niemitalo, "Hilbert transform", 1999). The top octave moves with the note: at half the speed it is that of 5.5
//! kHz. What would lie above the output's highest frequency is left out.

use std::f64::consts::PI;

use super::{FilterMode, FilterTarget, filter::Filter, ramp::Ramp};

/// How long a change takes, in seconds.
const RAMP_TIME: f32 = 0.005;
/// Lower edge of the band that is shifted, as a share of the clip's highest frequency; there it is 6 dB down.
const EDGE: f32 = 0.55;
/// Gains of the two copies at full amount.
const LEVELS: [f32; 2] = [1.0, 0.5];
/// Coefficients `a` of the allpasses `(a² - z⁻²) / (1 - a² z⁻²)` of both chains; the first chain is followed by a delay of
/// one sample.
const CHAINS: [Pair; 4] = [
    [0.692_387_8, 0.402_192_116_242_6],
    [0.936_065_432_295_9, 0.856_171_088_242_0],
    [0.988_229_522_686_0, 0.972_290_954_565_1],
    [0.998_748_845_273_7, 0.995_288_479_127_8],
];

/// A value of each chain, side by side: one vector instruction serves both.
type Pair = [f64; 2];

/// An allpass in both chains: their last two inputs and outputs.
#[derive(Clone, Copy, Debug, Default)]
struct Allpass {
    inputs: [Pair; 2],
    outputs: [Pair; 2],
}

impl Allpass {
    /// `y[n] = a² (x[n] + y[n-2]) - x[n-2]`.
    #[inline]
    fn take(&mut self, x: Pair, a: Pair) -> Pair {
        let y = std::array::from_fn(|i| a[i] * a[i] * (x[i] + self.outputs[1][i]) - self.inputs[1][i]);
        self.inputs = [x, self.inputs[0]];
        self.outputs = [y, self.outputs[0]];
        y
    }
}

/// The running stage of one voice.
#[derive(Clone, Copy, Debug)]
pub struct Air {
    /// Two high passes in a row: 24 dB an octave.
    edge: [Filter; 2],
    chains: [Allpass; 4],
    /// The first chain's last output.
    late: f64,
    /// Carrier, and its turn in a sample.
    carrier: [f64; 2],
    turn: [f64; 2],
    /// Gains of the copies.
    gains: [Ramp; 2],
    /// It was switched on in the middle of a sound and has heard nothing of it yet.
    is_late: bool,
}

impl Air {
    /// Adds nothing.
    #[must_use]
    pub const fn off() -> Self {
        let allpass = Allpass { inputs: [[0.0; 2]; 2], outputs: [[0.0; 2]; 2] };
        Self {
            edge: [Filter::off(); 2],
            chains: [allpass; 4],
            late: 0.0,
            carrier: [1.0, 0.0],
            turn: [1.0, 0.0],
            gains: [Ramp::at(0.0); 2],
            is_late: false,
        }
    }

    /// A stage at rest for `amount` from 0 to 1 of a clip that is played at `ratio` clip samples per sample of the
    /// output, which has `sample_rate` Hz.
    #[must_use]
    pub fn new(amount: f32, ratio: f64, sample_rate: f32) -> Self {
        let gains = gains(amount, ratio);
        if gains == [0.0; 2] {
            return Self::off();
        }
        Self {
            edge: [Filter::new(edge(ratio, sample_rate)); 2],
            turn: turn(ratio),
            gains: gains.map(Ramp::at),
            ..Self::off()
        }
    }

    /// Moves to other values; see [`Self::new`].
    pub fn aim(&mut self, amount: f32, ratio: f64, sample_rate: f32) {
        let gains = gains(amount, ratio);
        if self.is_off() {
            if gains == [0.0; 2] {
                return;
            }
            *self =
                Self { gains: [Ramp::at(0.0); 2], is_late: true, ..Self::new(amount, ratio, sample_rate) };
        } else {
            self.turn = turn(ratio);
            let target = edge(ratio, sample_rate);
            self.edge.iter_mut().for_each(|filter| filter.aim(target, sample_rate));
        }
        for (ramp, gain) in self.gains.iter_mut().zip(gains) {
            ramp.aim(gain, (RAMP_TIME * sample_rate) as u32);
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.gains.iter().all(|gain| gain.is_still() && gain.value() == 0.0)
    }

    /// Adds its octave to `samples`.
    pub fn process(&mut self, samples: &mut [f32]) {
        if self.is_off() {
            return;
        }
        /// Samples at once; the result does not depend on it.
        const RUN: usize = 64;
        if let ([first, _], Some(sample), true) = (&mut self.edge, samples.first(), self.is_late) {
            // Otherwise it would answer to a step from silence.
            first.settle(*sample);
            self.is_late = false;
        }
        for run in samples.chunks_mut(RUN) {
            let mut band = [0f32; RUN];
            let Some(band) = band.get_mut(..run.len()) else { return };
            band.copy_from_slice(run);
            self.edge.iter_mut().for_each(|filter| filter.process(band));
            self.shift(band);
            for (sample, added) in run.iter_mut().zip(band) {
                *sample += *added;
            }
        }
    }

    /// Puts both copies of the band in its place.
    fn shift(&mut self, band: &mut [f32]) {
        // Copies, which can be held in registers.
        let (mut chains, mut late, [mut c, mut s], [a, b]) =
            (self.chains, self.late, self.carrier, self.turn);
        for sample in band {
            let x = f64::from(*sample);
            let [early, q] = chains.iter_mut().zip(CHAINS).fold([x, x], |x, (allpass, a)| allpass.take(x, a));
            let i = std::mem::replace(&mut late, early);
            let [once, twice] = self.gains.each_mut().map(|gain| f64::from(gain.advance()));
            *sample = (once * (c * i + s * q) + twice * ((c * c - s * s) * i + 2.0 * c * s * q)) as f32;
            // Rounding would let the carrier's length drift.
            let length = 1.5 - 0.5 * (c * c + s * s);
            (c, s) = (length * (a * c - b * s), length * (a * s + b * c));
        }
        (self.chains, self.late, self.carrier) = (chains, late, [c, s]);
    }
}

/// Where the band that is shifted begins.
fn edge(ratio: f64, sample_rate: f32) -> FilterTarget {
    let top = 0.5 * ratio as f32 * sample_rate;
    FilterTarget::new(FilterMode::HighPass, EDGE * top, 0.0, sample_rate)
}

/// The carrier's turn in a sample: half of the clip's highest frequency.
fn turn(ratio: f64) -> [f64; 2] {
    let (sin, cos) = (0.5 * PI * ratio).sin_cos();
    [cos, sin]
}

/// Gains of the copies: that of a copy falls from all to nothing as the output's highest frequency goes down from the
/// copy's upper edge to its lower one.
fn gains(amount: f32, ratio: f64) -> [f32; 2] {
    let room = (1.0 / ratio) as f32;
    let share = |from: f32| ((room - from) / 0.5).clamp(0.0, 1.0);
    [amount * LEVELS[0] * share(1.0), amount * LEVELS[1] * share(1.5)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 48_000.0;
    /// Speed of a clip of 22.05 kHz at its own pitch.
    const RATIO: f64 = 22_050.0 / RATE;
    const TOP: f64 = 11_025.0;

    /// A second of a sine.
    fn sine(hz: f64) -> Vec<f32> {
        (0..RATE as usize).map(|n| (2.0 * PI * hz * n as f64 / RATE).sin() as f32).collect()
    }

    /// Amplitude of the partial at `hz` in dB, over the second half, with a Hann window.
    fn partial_db(signal: &[f32], hz: f64) -> f64 {
        let half = &signal[signal.len() / 2..];
        let (mut re, mut im, mut sum) = (0.0, 0.0, 0.0);
        for (n, x) in half.iter().enumerate() {
            let window = 0.5 - 0.5 * (2.0 * PI * n as f64 / half.len() as f64).cos();
            let phase = 2.0 * PI * hz * n as f64 / RATE;
            re += window * f64::from(*x) * phase.cos();
            im += window * f64::from(*x) * phase.sin();
            sum += window;
        }
        20.0 * (2.0 * (re * re + im * im).sqrt() / sum).max(1e-12).log10()
    }

    fn played(mut air: Air, mut signal: Vec<f32>) -> Vec<f32> {
        air.process(&mut signal);
        signal
    }

    #[test]
    fn a_partial_of_the_top_octave_is_heard_twice_above_it_and_nowhere_else() {
        for hz in [7_500.0, 9_000.0, 10_500.0] {
            let out = played(Air::new(1.0, RATIO, 48_000.0), sine(hz));
            // What the two high passes, each -3 dB at their edge, leave of it.
            let warped = |hz: f64| (PI * hz / RATE).tan();
            let w = warped(hz) / warped(f64::from(EDGE) * TOP);
            let band = 20.0 * (w.powi(4) / (1.0 + w.powi(4))).log10();
            for (partial, expected) in
                [(hz, 0.0), (hz + 0.5 * TOP, band), (hz + TOP, band - 20.0 * 2f64.log10())]
            {
                let got = partial_db(&out, partial);
                assert!((got - expected).abs() < 0.2, "{hz}: {partial} Hz is {got} dB, not {expected} dB");
            }
            // The other side bands.
            for partial in [hz - 0.5 * TOP, (hz - TOP).abs()] {
                assert!(partial_db(&out, partial) < -38.0, "{hz}: {partial} Hz");
            }
        }
    }

    #[test]
    fn what_lies_below_the_top_octave_is_left_as_it_is() {
        for hz in [100.0, 1_000.0, 2_500.0] {
            let (dry, out) = (sine(hz), played(Air::new(1.0, RATIO, 48_000.0), sine(hz)));
            let added: f32 = dry.iter().zip(&out).map(|(a, b)| (a - b).powi(2)).sum();
            let power: f32 = dry.iter().map(|a| a * a).sum();
            assert!(10.0 * (added / power).log10() < -28.0, "{hz}");
        }
    }

    #[test]
    fn it_adds_nothing_where_the_output_ends() {
        // Output at the clip's rate, and a clip that is played so high that it fills the output.
        for ratio in [1.0, 1.2, 60.0] {
            assert!(Air::new(1.0, ratio, 22_050.0).is_off(), "{ratio}");
        }
        assert!(Air::new(0.0, RATIO, 48_000.0).is_off());
        // What a copy loses while the output's highest frequency, 24 kHz, lies between its edges.
        let copies = |top: f64| gains(1.0, top / 24_000.0);
        assert_eq!(copies(12_000.0), [1.0, 0.5]);
        assert!((copies(24_000.0 / 1.75)[1] - 0.25).abs() < 1e-6 && copies(24_000.0 / 1.75)[0] == 1.0);
        assert!((copies(19_200.0)[0] - 0.5).abs() < 1e-6 && copies(19_200.0)[1] == 0.0);
    }

    #[test]
    fn it_is_faded_in_and_out_without_a_step() {
        let mut air = Air::off();
        let mut signal = sine(8_000.0);
        for (index, part) in signal.chunks_mut(4_800).enumerate() {
            air.aim(if index % 2 == 1 { 1.0 } else { 0.0 }, RATIO, 48_000.0);
            air.process(part);
        }
        // The second difference of three partials of a given amplitude is bounded; a step of a tenth would be seen.
        let bound: f64 = [(8_000.0, 1.0), (8_000.0 + 0.5 * TOP, 1.0), (8_000.0 + TOP, 0.5)]
            .iter()
            .map(|(hz, amplitude)| amplitude * (2.0 - 2.0 * (2.0 * PI * hz / RATE).cos()))
            .sum();
        let most = signal.windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).abs()).fold(0f32, f32::max);
        assert!(f64::from(most) < bound, "{most} {bound}");
        let dry = sine(8_000.0);
        let is_changed = |range: std::ops::Range<usize>| signal[range.clone()] != dry[range];
        assert!(is_changed(5_000..9_600) && !is_changed(10_000..14_400));
    }

    #[test]
    fn blocks_of_any_size_give_the_same_bits() {
        let play = |block: usize| {
            let mut air = Air::new(0.3, RATIO, 48_000.0);
            let mut signal: Vec<f32> = (0..6_000).map(|i| ((i * i) as f32 * 1e-3).sin()).collect();
            for (amount, part) in [0.3, 0.0, 1.0].into_iter().zip(signal.chunks_mut(2_000)) {
                air.aim(amount, RATIO * f64::from(1.0 + amount), 48_000.0);
                part.chunks_mut(block).for_each(|samples| air.process(samples));
            }
            signal.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let whole = play(2_000);
        for block in [1, 7, 64, 481] {
            assert!(play(block) == whole, "{block}");
        }
    }

    #[test]
    fn it_stays_bounded_while_the_pitch_jumps() {
        let mut air = Air::new(1.0, RATIO, 48_000.0);
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32
        };
        for _ in 0..20_000 {
            air.aim(random(), f64::from(1e-3 * 1e5f32.powf(random())), 48_000.0);
            let mut samples = [0f32; 16].map(|_| random() * 2.0 - 1.0);
            air.process(&mut samples);
            assert!(samples.iter().all(|x| x.abs() < 20.0));
        }
        let [c, s] = air.carrier;
        assert!((c * c + s * s - 1.0).abs() < 1e-9);
    }
}
