//! Air and width once more, from their definitions; see [`super`]. Signals are kept whole.

use std::f64::consts::{PI, TAU};

use super::Line;

/// `b0 + b1 z⁻¹ + b2 z⁻²` over `1 + a1 z⁻¹ + a2 z⁻²`, as it is written.
#[derive(Default)]
struct Section {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Section {
    fn take(&mut self, x: f64, [b0, b1, b2]: [f64; 3], [a1, a2]: [f64; 2]) -> f64 {
        let n = self.x.len();
        let before = |signal: &[f64], by: usize| n.checked_sub(by).map_or(0.0, |n| signal[n]);
        let y = b0 * x + b1 * before(&self.x, 1) + b2 * before(&self.x, 2)
            - a1 * before(&self.y, 1)
            - a2 * before(&self.y, 2);
        self.x.push(x);
        self.y.push(y);
        y
    }
}

/// The synthetic octave.
#[derive(Default)]
pub struct Air {
    gains: [Line; 2],
    band: Band,
    was_off: bool,
}

/// All of it that begins anew when it is switched on.
#[derive(Default)]
struct Band {
    cutoff: Line,
    states: [[f64; 2]; 2],
    chains: [[Section; 4]; 2],
    late: Vec<f64>,
    phase: f64,
}

impl Air {
    /// What it adds to `x` at sample `n`, and whether it is on; `ratio` without the vibrato.
    pub fn take(&mut self, n: usize, x: f64, amount: f64, ratio: f64, rate: f64) -> (f64, bool) {
        let share = |lower: f64| ((1.0 / ratio - lower) / 0.5).clamp(0.0, 1.0);
        let targets = [amount * share(1.0), 0.5 * amount * share(1.5)];
        let mut gains = [0.0; 2];
        for ((gain, line), target) in gains.iter_mut().zip(&mut self.gains).zip(targets) {
            *gain = line.at(n, target, 0.005 * rate);
        }
        if targets == [0.0; 2] && gains == [0.0; 2] {
            self.was_off = true;
            return (0.0, false);
        }
        if std::mem::take(&mut self.was_off) {
            // As if the sound had stood still before.
            self.band = Band { states: [[0.0, x], [0.0; 2]], ..Band::default() };
        }
        let top = 0.5 * ratio * rate;
        let band = &mut self.band;
        let g = (PI * (0.55 * top).clamp(10.0, 0.49 * rate) / rate).tan();
        let g = band.cutoff.at(n, g.ln(), 0.01 * rate).exp();
        let u = band.states.iter_mut().fold(x, |x, [s1, s2]| {
            let k = 2f64.sqrt();
            let half = (*s1 + g * (x - *s2)) / (1.0 + g * (g + k));
            let low = *s2 + g * half;
            (*s1, *s2) = (2.0 * half - *s1, 2.0 * low - *s2);
            x - k * half - low
        });
        let [i, q] = [
            [0.6923878, 0.9360654322959, 0.9882295226860, 0.9987488452737],
            [0.4021921162426, 0.8561710882420, 0.9722909545651, 0.9952884791278],
        ]
        .into_iter()
        .zip(&mut band.chains)
        .map(|(chain, sections)| {
            chain
                .iter()
                .zip(sections)
                .fold(u, |x, (a, section)| section.take(x, [a * a, 0.0, -1.0], [0.0, -a * a]))
        })
        .collect::<Vec<f64>>()[..] else {
            unreachable!("there are two")
        };
        band.late.push(i);
        let i = band.late.len().checked_sub(2).map_or(0.0, |n| band.late[n]);
        let copy = |times: f64| (times * band.phase).cos() * i + (times * band.phase).sin() * q;
        let added = gains[0] * copy(1.0) + gains[1] * copy(2.0);
        // Half of the clip's highest frequency.
        band.phase += TAU * 0.5 * top / rate;
        (added, true)
    }
}

/// The side signal.
#[derive(Default)]
pub struct Width {
    sections: [Section; 5],
    bass: f64,
    gain: Line,
}

impl Width {
    pub fn take(&mut self, n: usize, x: f64, amount: f64, rate: f64) -> f64 {
        // The allpass of Robert Bristow-Johnson's "Cookbook formulae for audio equalizer biquad filter coefficients".
        let turned = self.sections.iter_mut().zip([200.0, 500.0, 1_250.0, 3_125.0, 7_812.5]).fold(
            x,
            |x, (section, hz): (_, f64)| {
                let w = TAU * hz.min(0.45 * rate) / rate;
                let alpha = w.sin() / (2.0 * 0.5);
                let [b0, b1, b2] = [1.0 - alpha, -2.0 * w.cos(), 1.0 + alpha].map(|b| b / (1.0 + alpha));
                section.take(x, [b0, b1, b2], [b1, b0])
            },
        );
        self.bass += (1.0 - (-TAU * 200.0 / rate).exp()) * (turned - self.bass);
        self.gain.at(n, 0.7 * amount, 0.005 * rate) * (turned - self.bass)
    }
}
