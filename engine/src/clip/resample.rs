//! Sample-rate conversion of whole clips.

use rubato::{Fft, FixedSync, Resampler, WindowFunction, audioadapter_buffers::direct::InterleavedSlice};

use super::ClipError;

/// Lowest rate converted from or to, in Hz.
pub const MIN_RATE: u32 = 8_000;
/// Highest rate converted from or to, in Hz.
pub const MAX_RATE: u32 = 384_000;
/// Least length of the anti-aliasing filter, in input samples: its transition band is some 14/2048 of the
/// lower Nyquist frequency (75 Hz at 22.05 kHz).
const FILTER_LENGTH: usize = 2048;

/// Converts mono `audio` from `from_hz` to `to_hz`: `round(len * to_hz / from_hz)` samples, in
/// time with the input (the filter's delay is removed), band-limited to the lower Nyquist
/// frequency. The same rate returns a copy.
///
/// The product of a sample may exceed full scale where the input's crest lies between samples.
///
/// # Errors
/// [`ClipError::SampleRate`] for a rate outside [`MIN_RATE`]..=[`MAX_RATE`];
/// [`ClipError::Resample`] should the converter fail.
pub fn resample(audio: &[f32], from_hz: u32, to_hz: u32) -> Result<Vec<f32>, ClipError> {
    for rate in [from_hz, to_hz] {
        check_rate(rate)?;
    }
    if from_hz == to_hz || audio.is_empty() {
        return Ok(audio.to_vec());
    }
    convert(audio, from_hz, to_hz).map_err(|reason| ClipError::Resample { from_hz, to_hz, reason })
}

/// `Ok` for a rate within [`MIN_RATE`]..=[`MAX_RATE`].
pub(crate) fn check_rate(rate: u32) -> Result<(), ClipError> {
    if (MIN_RATE..=MAX_RATE).contains(&rate) {
        Ok(())
    } else {
        Err(ClipError::SampleRate { found: rate, least: MIN_RATE, most: MAX_RATE })
    }
}

fn convert(audio: &[f32], from_hz: u32, to_hz: u32) -> Result<Vec<f32>, String> {
    // The converter works in blocks of `from / gcd` input samples. An even number of them makes
    // the filter's delay, half a chunk, a whole number of samples on either side.
    let block = 2 * (from_hz / gcd(from_hz, to_hz)) as usize;
    // The filter spans one chunk of input; converting down it must be longer by the ratio to be
    // as steep in terms of the output.
    let filter = FILTER_LENGTH * (from_hz as usize).div_ceil(to_hz as usize);
    let chunk = filter.div_ceil(block) * block;
    // In f64 the rounding noise stays far below the 24-bit grid whatever the transform's size.
    let mut converter = Fft::<f64>::new_custom(
        from_hz as usize,
        to_hz as usize,
        chunk,
        1,
        1,
        WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    )
    .map_err(|error| error.to_string())?;
    let input: Vec<f64> = audio.iter().map(|&x| f64::from(x)).collect();
    let adapter = InterleavedSlice::new(&input, 1, input.len()).map_err(|error| error.to_string())?;
    let output = converter.process_all(&adapter, input.len(), None).map_err(|error| error.to_string())?;
    let mut output: Vec<f32> = output.take_data().into_iter().map(|x| x as f32).collect();
    output.resize(length(audio.len(), from_hz, to_hz), 0.0);
    Ok(output)
}

/// `round(len * to / from)`.
fn length(len: usize, from_hz: u32, to_hz: u32) -> usize {
    let (from, to) = (u128::from(from_hz), u128::from(to_hz));
    ((len as u128 * to * 2 + from) / (2 * from)) as usize
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::f64::consts::PI;

    /// A sine with a raised-cosine start and end, defined in continuous time, sampled at `rate`.
    fn burst(hz: f64, rate: u32, seconds: f64) -> Vec<f32> {
        let n = (seconds * f64::from(rate)).round() as usize;
        (0..n)
            .map(|i| {
                let t = i as f64 / f64::from(rate);
                let window = (PI * t / seconds).sin().powi(4);
                (0.5 * window * (2.0 * PI * hz * t).sin()) as f32
            })
            .collect()
    }

    /// Ratio of the expected signal's power to that of the difference, in dB.
    fn snr_db(expected: &[f32], found: &[f32]) -> f64 {
        let power = |x: f64| x * x;
        let signal: f64 = expected.iter().map(|&x| power(x.into())).sum();
        let noise: f64 = expected.iter().zip(found).map(|(&a, &b)| power(f64::from(a) - f64::from(b))).sum();
        10.0 * (signal / noise).log10()
    }

    fn rms_db(audio: &[f32]) -> f64 {
        let power: f64 = audio.iter().map(|&x| f64::from(x).powi(2)).sum();
        10.0 * (power / audio.len() as f64).log10()
    }

    #[test]
    fn sines_come_out_as_if_sampled_at_the_new_rate() {
        for to in [22_051, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000] {
            for hz in [50.0, 997.0, 5_000.0, 10_000.0] {
                let found = resample(&burst(hz, 22_050, 1.0), 22_050, to).unwrap();
                let snr = snr_db(&burst(hz, to, 1.0), &found);
                assert!(snr > 100.0, "{hz} Hz to {to} Hz: {snr:.1} dB");
            }
        }
    }

    #[test]
    fn conversion_down_and_back_keeps_the_band() {
        let signal = burst(3_000.0, 48_000, 0.5);
        let down = resample(&signal, 48_000, 22_050).unwrap();
        assert!(snr_db(&burst(3_000.0, 22_050, 0.5), &down) > 100.0);
    }

    #[test]
    fn nothing_above_the_lower_nyquist_frequency_comes_through() {
        // Downwards: 15 kHz would fold to 7,050 Hz.
        let folded = resample(&burst(15_000.0, 48_000, 0.5), 48_000, 22_050).unwrap();
        assert!(rms_db(&folded) < -100.0, "{:.1} dB", rms_db(&folded));
        // Upwards: the image of 10 kHz lies at 12,050 Hz. What is left after taking the sine away
        // is image and noise together.
        let sine = burst(10_000.0, 22_050, 0.5);
        let up = resample(&sine, 22_050, 44_100).unwrap();
        assert!(snr_db(&burst(10_000.0, 44_100, 0.5), &up) > 100.0);
    }

    #[test]
    fn length_is_exact() {
        for len in [1, 2, 100, 147, 4_095, 22_050] {
            for to in [8_000, 22_051, 44_100, 48_000, 192_000] {
                let found = resample(&vec![0.1; len], 22_050, to).unwrap().len();
                let expected = (len as f64 * f64::from(to) / 22_050.0).round() as usize;
                assert_eq!(found, expected, "{len} samples to {to} Hz");
            }
        }
    }

    #[test]
    fn an_impulse_stays_where_it_is() {
        let mut impulse = vec![0.0; 2_205];
        impulse[1_000] = 1.0;
        for factor in [2, 4, 8] {
            let up = resample(&impulse, 22_050, 22_050 * factor).unwrap();
            let loudest = (0..up.len()).max_by(|&a, &b| up[a].abs().total_cmp(&up[b].abs())).unwrap();
            assert_eq!(loudest, 1_000 * factor as usize);
        }
    }

    #[test]
    fn the_same_rate_changes_nothing() {
        let audio = burst(440.0, 22_050, 0.1);
        assert_eq!(resample(&audio, 22_050, 22_050).unwrap(), audio);
        assert_eq!(resample(&[], 22_050, 48_000).unwrap(), Vec::<f32>::new());
    }

    #[test]
    fn impossible_rates_are_refused() {
        for rate in [0, 1, 7_999, 384_001, u32::MAX] {
            assert!(matches!(
                resample(&[0.0; 10], 22_050, rate),
                Err(ClipError::SampleRate { found, .. }) if found == rate
            ));
        }
    }
}
