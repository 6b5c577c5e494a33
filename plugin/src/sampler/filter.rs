//! The filter of a voice: a state-variable filter of second order.
//!
//! Andrew Simper's form of the topology-preserving transform ("Solving the continuous SVF equations
//! using trapezoidal integration", 2013): the analogue circuit with trapezoidal integrators, the loop
//! solved without a delay. It stays stable when cutoff and resonance move at any speed. With
//! `g = tan(π f / rate)` and `k = 1 / Q`, per sample `x`:
//!
//! ```text
//! a1 = 1 / (1 + g (g + k))    a2 = g a1    a3 = g a2
//! band = a1 s1 + a2 (x - s2)  low = s2 + a2 s1 + a3 (x - s2)  high = x - k band - low
//! s1 <- 2 band - s1           s2 <- 2 low - s2
//! ```
//!
//! Cutoff (as its logarithm), resonance and the choice of the output all move in ramps of [`RAMP_TIME`].

use nice_plug::prelude::Enum;

use super::ramp::Ramp;

/// How long a change of the filter takes, in seconds.
pub const RAMP_TIME: f32 = 0.01;
/// Highest cutoff as a share of the output's rate.
const HIGHEST: f32 = 0.49;
/// Lowest cutoff in Hz.
const LOWEST: f32 = 10.0;
/// Q at no resonance: no peak, the steepest response without one.
const LEAST_Q: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// Q at full resonance.
const MOST_Q: f32 = 20.0;

/// What the filter lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum FilterMode {
    /// Everything.
    #[id = "off"]
    Off,
    /// What is below the cutoff.
    #[id = "low_pass"]
    #[name = "Low pass"]
    LowPass,
    /// What is above the cutoff.
    #[id = "high_pass"]
    #[name = "High pass"]
    HighPass,
}

impl FilterMode {
    /// Shares of input, low-pass and high-pass output in the result.
    const fn mix(self) -> [f32; 3] {
        match self {
            Self::Off => [1.0, 0.0, 0.0],
            Self::LowPass => [0.0, 1.0, 0.0],
            Self::HighPass => [0.0, 0.0, 1.0],
        }
    }
}

/// How to filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterTarget {
    /// Logarithm to the base of 2 of `tan(π f / rate)`.
    log_g: f32,
    /// `1 / Q`.
    k: f32,
    mode: FilterMode,
}

impl FilterTarget {
    /// A filter at `cutoff` Hz for an output of `sample_rate` Hz; `resonance` from 0 (no peak) to 1 (Q of
    /// 20, a peak of 26 dB). Everything is brought into range.
    #[must_use]
    pub fn new(mode: FilterMode, cutoff: f32, resonance: f32, sample_rate: f32) -> Self {
        // In this order, what is not a number becomes the upper limit.
        let cutoff = cutoff.min(HIGHEST * sample_rate).max(LOWEST.min(HIGHEST * sample_rate));
        let resonance = if resonance.is_nan() { 0.0 } else { resonance.clamp(0.0, 1.0) };
        let q = LEAST_Q * (MOST_Q / LEAST_Q).powf(resonance);
        Self { log_g: (std::f32::consts::PI * cutoff / sample_rate).tan().log2(), k: 1.0 / q, mode }
    }
}

/// The running filter of one voice.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    g: Cutoff,
    k: Ramp,
    mode: FilterMode,
    /// Shares of input, low-pass and high-pass output in the result.
    mix: [Ramp; 3],
    /// The integrators' states. In double precision: no noise at low cutoffs, no denormal numbers.
    state: [f64; 2],
}

impl Filter {
    /// A filter at rest that is at `target` already.
    #[must_use]
    pub fn new(target: FilterTarget) -> Self {
        Self {
            g: Cutoff::at(target.log_g),
            k: Ramp::at(target.k),
            mode: target.mode,
            mix: target.mode.mix().map(Ramp::at),
            state: [0.0; 2],
        }
    }

    /// Lets everything through.
    #[must_use]
    pub const fn off() -> Self {
        let [input, low, high] = FilterMode::Off.mix();
        Self {
            g: Cutoff { log: Ramp::at(0.0), g: 1.0, factor: 1.0 },
            k: Ramp::at(1.0),
            mode: FilterMode::Off,
            mix: [Ramp::at(input), Ramp::at(low), Ramp::at(high)],
            state: [0.0; 2],
        }
    }

    /// Moves to `target`.
    pub fn aim(&mut self, target: FilterTarget, sample_rate: f32) {
        let samples = (RAMP_TIME * sample_rate) as u32;
        if self.is_off() {
            // Nothing has been filtered yet: start at the target, from rest, and fade it in.
            self.g = Cutoff::at(target.log_g);
            self.k = Ramp::at(target.k);
            self.state = [0.0; 2];
        } else {
            self.g.aim(target.log_g, samples);
            self.k.aim(target.k, samples);
        }
        self.mode = target.mode;
        for (ramp, share) in self.mix.iter_mut().zip(target.mode.mix()) {
            ramp.aim(share, samples);
        }
    }

    /// Goes to where a constant input of `x` would have brought it long since.
    pub fn settle(&mut self, x: f32) {
        self.state = [0.0, f64::from(x)];
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.mode == FilterMode::Off && self.mix.iter().all(Ramp::is_still)
    }

    /// Filters `samples` in place.
    pub fn process(&mut self, samples: &mut [f32]) {
        if self.is_off() {
            return;
        }
        let [mut s1, mut s2] = self.state;
        let mut rest = samples.iter_mut();
        while !self.is_still()
            && let Some(sample) = rest.next()
        {
            let mix = self.mix.each_mut().map(Ramp::advance);
            *sample = Step::new(self.g.advance(), self.k.advance(), mix).take(*sample, &mut s1, &mut s2);
        }
        let step = Step::new(self.g.value(), self.k.value(), self.mix.map(|share| share.value()));
        for sample in rest {
            *sample = step.take(*sample, &mut s1, &mut s2);
        }
        self.state = [s1, s2];
    }

    fn is_still(&self) -> bool {
        self.g.is_still() && self.k.is_still() && self.mix.iter().all(Ramp::is_still)
    }
}

/// `g` on its way: in equal steps of its logarithm.
#[derive(Clone, Copy, Debug)]
struct Cutoff {
    log: Ramp,
    g: f64,
    /// Change of `g` per sample, as a factor.
    factor: f64,
}

impl Cutoff {
    /// Samples after which `g` is computed anew on its way, so that rounding does not add up.
    const FRESH: u32 = 32;

    fn at(log: f32) -> Self {
        Self { log: Ramp::at(log), g: f64::from(log).exp2(), factor: 1.0 }
    }

    fn aim(&mut self, log: f32, samples: u32) {
        if log != self.log.target() {
            self.log.aim(log, samples);
            self.factor = f64::from(self.log.step()).exp2();
        }
    }

    fn is_still(&self) -> bool {
        self.log.is_still()
    }

    fn value(&self) -> f64 {
        self.g
    }

    #[inline]
    fn advance(&mut self) -> f64 {
        let g = self.g;
        if !self.log.is_still() {
            self.log.advance();
            self.g = if self.log.left().is_multiple_of(Self::FRESH) {
                f64::from(self.log.value()).exp2()
            } else {
                g * self.factor
            };
        }
        g
    }
}

/// One step of the filter, with its equations (see the [module](self)) solved for output and next states: the weights
/// of input, first and second state in each.
#[derive(Clone, Copy)]
struct Step {
    output: [f64; 3],
    next_1: [f64; 3],
    next_2: [f64; 3],
}

impl Step {
    #[inline]
    fn new(g: f64, k: f32, [input, low, high]: [f32; 3]) -> Self {
        let [k, input, low, high] = [k, input, low, high].map(f64::from);
        let a1 = 1.0 / (1.0 + g * (g + k));
        let a2 = g * a1;
        let a3 = g * a2;
        // The high-pass output is what is left of the input.
        let (input, band, low) = (input + high, -high * k, low - high);
        Self {
            output: [input + band * a2 + low * a3, band * a1 + low * a2, low * (1.0 - a3) - band * a2],
            next_1: [2.0 * a2, 2.0 * a1 - 1.0, -2.0 * a2],
            next_2: [2.0 * a3, 2.0 * a2, 1.0 - 2.0 * a3],
        }
    }

    #[inline]
    fn take(&self, sample: f32, s1: &mut f64, s2: &mut f64) -> f32 {
        let x = f64::from(sample);
        let dot = |weights: [f64; 3]| (weights[0] * x + weights[1] * *s1) + weights[2] * *s2;
        let output = dot(self.output);
        (*s1, *s2) = (dot(self.next_1), dot(self.next_2));
        output as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f32 = 48_000.0;

    /// Level of a sine of `hz` after the filter, against before, in dB.
    fn response_db(filter: Filter, hz: f32) -> f32 {
        let mut filter = filter;
        let mut tone: Vec<f32> = (0..48_000)
            .map(|i| (std::f64::consts::TAU * f64::from(hz) * f64::from(i) / 48_000.0).sin() as f32)
            .collect();
        filter.process(&mut tone);
        // Whole periods, of which the second half of a second holds many.
        let power: f32 = tone.iter().skip(24_000).map(|x| x * x).sum::<f32>() / 24_000.0;
        10.0 * (2.0 * power).log10()
    }

    #[test]
    fn responses_are_those_of_the_analogue_filter() {
        for resonance in [0.0, 0.5, 1.0] {
            let q = f64::from(LEAST_Q) * f64::from(MOST_Q / LEAST_Q).powf(f64::from(resonance));
            for hz in [100.0, 700.0, 1_000.0, 1_400.0, 8_000.0] {
                // The transform maps analogue frequencies by the tangent.
                let warped = |hz: f64| (std::f64::consts::PI * hz / f64::from(RATE)).tan();
                let w = warped(f64::from(hz)) / warped(1_000.0);
                let denominator = ((1.0 - w * w).powi(2) + (w / q).powi(2)).sqrt();
                for (mode, gain) in
                    [(FilterMode::LowPass, 1.0 / denominator), (FilterMode::HighPass, w * w / denominator)]
                {
                    let filter = Filter::new(FilterTarget::new(mode, 1_000.0, resonance, RATE));
                    let (got, want) = (response_db(filter, hz), 20.0 * gain.log10() as f32);
                    assert!(
                        (got - want).abs() < 0.05,
                        "{mode:?} {resonance} {hz} Hz: {got} dB, not {want} dB"
                    );
                }
            }
        }
        assert_eq!(response_db(Filter::off(), 1_000.0).round(), 0.0);
    }

    #[test]
    fn it_is_stable_under_any_modulation() {
        let mut filter = Filter::new(FilterTarget::new(FilterMode::LowPass, 1_000.0, 1.0, RATE));
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32
        };
        let modes = [FilterMode::LowPass, FilterMode::HighPass, FilterMode::Off];
        let mut peak = 0f32;
        for _ in 0..40_000 {
            let mode = modes[(random() * 3.0) as usize];
            let cutoff = 20.0 * 1_000f32.powf(random());
            let target = FilterTarget::new(mode, cutoff, random(), RATE);
            // A third of the changes are jumps.
            if random() < 0.3 {
                let state = filter.state;
                filter = Filter { state, ..Filter::new(target) };
            } else {
                filter.aim(target, RATE);
            }
            let mut samples = [0f32; 16].map(|_| random() * 2.0 - 1.0);
            filter.process(&mut samples);
            peak = samples.iter().fold(peak, |a, x| a.max(x.abs()));
        }
        // The resonance alone can raise a tone twentyfold.
        assert!(peak < 40.0, "{peak}");
        let mut silence = vec![0f32; 480_000];
        filter.aim(FilterTarget::new(FilterMode::LowPass, 1_000.0, 1.0, RATE), RATE);
        filter.process(&mut silence);
        assert!(silence.iter().skip(400_000).all(|x| x.abs() < 1e-9));
    }

    #[test]
    fn blocks_of_any_size_give_the_same_bits() {
        let play = |block: usize| {
            let mut filter = Filter::new(FilterTarget::new(FilterMode::LowPass, 500.0, 0.7, RATE));
            let mut signal: Vec<f32> = (0..6_000).map(|i| ((i * i) as f32 * 1e-4).sin()).collect();
            for (i, half) in signal.chunks_mut(3_000).enumerate() {
                if i == 1 {
                    filter.aim(FilterTarget::new(FilterMode::HighPass, 5_000.0, 0.1, RATE), RATE);
                }
                half.chunks_mut(block).for_each(|samples| filter.process(samples));
            }
            signal.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let whole = play(3_000);
        for block in [1, 7, 64, 481] {
            assert!(play(block) == whole, "{block}");
        }
    }

    #[test]
    fn hostile_targets_are_brought_into_range() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -5.0, 1e30] {
            for rate in [8_000.0, 22_050.0, 192_000.0] {
                let target = FilterTarget::new(FilterMode::LowPass, value, value, rate);
                assert!(target.log_g.is_finite() && target.k > 0.0 && target.k.is_finite());
            }
        }
    }
}
