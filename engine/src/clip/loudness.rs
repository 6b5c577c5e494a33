//! Integrated loudness of mono audio after Recommendation ITU-R BS.1770-4 (annex 1):
//! K-weighting, 400 ms blocks that overlap by 75 %, an absolute gate at -70 LUFS and a relative
//! one 10 LU below what passes the first.

use std::f64::consts::PI;

/// Block length in seconds.
const BLOCK_SECONDS: f64 = 0.4;
/// Blocks begin this often within one block length.
const BLOCKS_PER_LENGTH: usize = 4;
/// Absolute gate in LUFS.
const ABSOLUTE_GATE: f64 = -70.0;
/// Relative gate in LU.
const RELATIVE_GATE: f64 = -10.0;
/// Offset of the loudness scale: a full-scale 997 Hz sine in one channel reads -3.01 LUFS.
const OFFSET: f64 = -0.691;

/// Integrated loudness in LUFS of mono `audio` at `sample_rate` Hz; `-inf` for silence.
///
/// Audio shorter than one block of 400 ms, for which the recommendation has no value, is measured
/// as one block of its own length.
#[must_use]
pub fn integrated(audio: &[f32], sample_rate: u32) -> f64 {
    let weighted = k_weighted_squares(audio, f64::from(sample_rate));
    let block = ((f64::from(sample_rate) * BLOCK_SECONDS).round() as usize).clamp(1, audio.len().max(1));
    let hop = (block / BLOCKS_PER_LENGTH).max(1);
    let powers: Vec<f64> =
        weighted.windows(block).step_by(hop).map(|w| w.iter().sum::<f64>() / block as f64).collect();
    let above = |gate: f64| mean(powers.iter().copied().filter(|&power| loudness(power) > gate));
    match above(ABSOLUTE_GATE) {
        Some(power) => above(loudness(power) + RELATIVE_GATE).map_or(f64::NEG_INFINITY, loudness),
        None => f64::NEG_INFINITY,
    }
}

/// Mean square after K-weighting to LUFS.
fn loudness(power: f64) -> f64 {
    OFFSET + 10.0 * power.log10()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn k_weighted_squares(audio: &[f32], sample_rate: f64) -> Vec<f64> {
    let mut shelf = Biquad::head_shelf(sample_rate);
    let mut highpass = Biquad::revised_low_frequency(sample_rate);
    audio
        .iter()
        .map(|&x| {
            let y = highpass.next(shelf.next(f64::from(x)));
            y * y
        })
        .collect()
}

/// A second-order filter in transposed direct form II, `a0 = 1`.
struct Biquad {
    b: [f64; 3],
    a: [f64; 2],
    state: [f64; 2],
}

impl Biquad {
    /// Stage 1: the head's high shelf. The recommendation tabulates it for 48 kHz only; this is
    /// the analogue prototype that gives its table, by the bilinear transform at any rate.
    fn head_shelf(sample_rate: f64) -> Self {
        let (frequency, gain_db, q) = (1_681.974_450_955_533, 3.999_843_853_973_347, 0.707_175_236_955_419_6);
        let k = (PI * frequency / sample_rate).tan();
        let high = 10f64.powf(gain_db / 20.0);
        let band = high.powf(0.499_666_774_154_541_6);
        let a0 = 1.0 + k / q + k * k;
        Self {
            b: [
                (high + band * k / q + k * k) / a0,
                2.0 * (k * k - high) / a0,
                (high - band * k / q + k * k) / a0,
            ],
            a: [2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0],
            state: [0.0; 2],
        }
    }

    /// Stage 2: the revised low-frequency B curve, a high-pass; prototype as above.
    fn revised_low_frequency(sample_rate: f64) -> Self {
        let (frequency, q) = (38.135_470_876_024_44, 0.500_327_037_323_877_3);
        let k = (PI * frequency / sample_rate).tan();
        let a0 = 1.0 + k / q + k * k;
        Self {
            b: [1.0, -2.0, 1.0],
            a: [2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0],
            state: [0.0; 2],
        }
    }

    fn next(&mut self, x: f64) -> f64 {
        let [b0, b1, b2] = self.b;
        let [a1, a2] = self.a;
        let [s1, s2] = self.state;
        let y = b0 * x + s1;
        self.state = [b1 * x - a1 * y + s2, b2 * x - a2 * y];
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(sample_rate: u32, hz: f64, level_db: f64, seconds: f64) -> Vec<f32> {
        let amplitude = 10f64.powf(level_db / 20.0);
        (0..(f64::from(sample_rate) * seconds) as usize)
            .map(|n| (amplitude * (2.0 * PI * hz * n as f64 / f64::from(sample_rate)).sin()) as f32)
            .collect()
    }

    fn assert_close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected} within {tolerance}");
    }

    /// Tables 1 and 2 of BS.1770-4, for 48 kHz.
    #[test]
    fn filters_have_the_coefficients_of_the_recommendation() {
        let shelf = Biquad::head_shelf(48_000.0);
        for (found, expected) in
            shelf.b.iter().zip([1.535_124_859_586_97, -2.691_696_189_406_38, 1.198_392_810_852_85])
        {
            assert_close(*found, expected, 1e-9);
        }
        for (found, expected) in shelf.a.iter().zip([-1.690_659_293_182_41, 0.732_480_774_215_85]) {
            assert_close(*found, expected, 1e-9);
        }
        let highpass = Biquad::revised_low_frequency(48_000.0);
        for (found, expected) in highpass.a.iter().zip([-1.990_047_454_833_98, 0.990_072_250_366_21]) {
            assert_close(*found, expected, 1e-9);
        }
    }

    /// BS.1770-4: a 0 dB 997 Hz sine in one channel reads -3.01 LKFS.
    #[test]
    fn full_scale_sine_in_one_channel_reads_3_01_below_zero() {
        for sample_rate in [22_050, 44_100, 48_000] {
            assert_close(integrated(&sine(sample_rate, 997.0, 0.0, 5.0), sample_rate), -3.01, 0.05);
        }
    }

    /// EBU Tech 3341, test signals 3 and 4, one channel instead of two (3.01 LU less).
    #[test]
    fn gates_leave_quiet_passages_out() {
        let signal = |levels: &[(f64, f64)]| -> Vec<f32> {
            levels.iter().flat_map(|&(db, seconds)| sine(22_050, 1_000.0, db, seconds)).collect()
        };
        let three = signal(&[(-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0)]);
        assert_close(integrated(&three, 22_050), -26.01, 0.1);
        let four = signal(&[(-72.0, 10.0), (-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0), (-72.0, 10.0)]);
        assert_close(integrated(&four, 22_050), -26.01, 0.1);
    }

    #[test]
    fn short_and_silent_audio_have_a_value() {
        assert_eq!(integrated(&[], 22_050), f64::NEG_INFINITY);
        assert_eq!(integrated(&[0.0; 22_050], 22_050), f64::NEG_INFINITY);
        assert_close(integrated(&sine(22_050, 997.0, -10.0, 0.1), 22_050), -13.01, 0.5);
    }
}
