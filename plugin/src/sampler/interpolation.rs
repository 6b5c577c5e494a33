//! Band-limited interpolation: reads a recording between its samples without audible images
//! (pitch down, or a host rate above the clip's) and without audible aliases (pitch up).
//!
//! Windowed-sinc kernels are tabulated in 256 fractional positions, with linear
//! interpolation between neighbouring phases (error below -100 dB). For a playback ratio (source
//! samples per output sample) of `1 < r < 2` a kernel with its cutoff lowered by `r` is taken from
//! a small bank; from `r = 2` on, [`super::Source`] supplies octave-decimated copies of the
//! recording, so that one kernel length serves every pitch.

use std::sync::OnceLock;

use pulp::{Simd, WithSimd};

/// Length of every kernel in source samples.
pub const TAPS: usize = 48;
/// Samples of silence on either side of what is read: the kernel may lie anywhere on it.
pub const PADDING: usize = TAPS;
/// Fractional positions tabulated between two source samples.
const PHASES: usize = 256;
/// Kernels per octave of playback ratio above 1.
const STEPS_PER_OCTAVE: usize = 6;
/// Cutoff relative to the source's Nyquist frequency at ratios up to 1: the middle of the
/// kernel's transition band, low enough that images of the highest band stay below it.
const CUTOFF: f64 = 0.94;
/// Kaiser window parameter: about 80 dB of stop-band attenuation.
const KAISER_BETA: f64 = 8.0;
/// Most numbers in a vector register.
const MOST_LANES: usize = 16;

const _: () = assert!(TAPS.is_multiple_of(MOST_LANES));

/// The coefficients for one fraction. Aligned to the cache's lines, of which it fills three.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Row([f32; TAPS]);

/// One kernel, tabulated: `PHASES + 1` rows, row `p` for the fraction `p / PHASES`.
type Table = Box<[Row]>;

/// Interpolation kernels for playback ratios in `(0, 2)`.
#[derive(Debug)]
pub struct KernelBank {
    /// Entry `i` keeps everything that stays below the output's Nyquist frequency at the ratio
    /// `2^(i / STEPS_PER_OCTAVE)`.
    tables: Vec<Table>,
    /// What vector instructions this machine has.
    machine: pulp::Arch,
}

impl KernelBank {
    /// The process-wide bank, computed at the first call (some 10 ms): call it off the audio
    /// thread before the first note.
    pub fn shared() -> &'static Self {
        static BANK: OnceLock<KernelBank> = OnceLock::new();
        BANK.get_or_init(|| Self {
            tables: (0..=STEPS_PER_OCTAVE)
                .map(|i| tabulate(CUTOFF / 2f64.powf(i as f64 / STEPS_PER_OCTAVE as f64)))
                .collect(),
            machine: pulp::Arch::new(),
        })
    }

    /// Runs `work`, which interpolates, compiled for this machine's vector instructions. What it calls must be
    /// `#[inline(always)]` to profit.
    #[inline]
    pub fn dispatch<W: WithSimd>(&self, work: W) -> W::Output {
        self.machine.dispatch(work)
    }

    /// Number of the kernel for a playback ratio; ratios of 2 and above get the last one.
    #[must_use]
    pub fn index_for(ratio: f64) -> usize {
        if ratio <= 1.0 {
            return 0;
        }
        // A float-to-integer cast saturates, so that any ratio is fine here.
        ((ratio.log2() * STEPS_PER_OCTAVE as f64 - 1e-9).ceil() as usize).min(STEPS_PER_OCTAVE)
    }

    /// The value of `samples` at `position`, with the kernel from [`Self::index_for`].
    ///
    /// `samples` carries [`PADDING`] samples before position 0 and after the last; where the kernel
    /// would reach beyond that the result is 0.
    #[inline(always)]
    #[must_use]
    pub fn interpolate<S: Simd>(&self, simd: S, index: usize, samples: &[f32], position: f64) -> f32 {
        // Sample n sits at index n + PADDING; the window is [n - TAPS / 2 + 1, n + TAPS / 2].
        let place = position + (PADDING - TAPS / 2 + 1) as f64;
        if place < 0.0 {
            return 0.0;
        }
        // Of a number that is not negative, the cast is the floor.
        let start = place as usize;
        let phase = (place - start as f64) as f32 * PHASES as f32;
        let row = (phase as usize).min(PHASES - 1);
        let blend = phase - row as f32;
        let (Some(window), Some([Row(near), Row(far)])) = (
            samples.get(start..).and_then(|rest| rest.first_chunk::<TAPS>()),
            self.tables.get(index).and_then(|table| table.get(row..row + 2)),
        ) else {
            return 0.0;
        };
        // The remainders are empty: TAPS is a multiple of the lanes of every machine.
        let vectors = [window, near, far].map(|row| S::as_simd_f32s(row).0);
        let zero = simd.splat_f32s(0.0);
        let (mut near_sum, mut far_sum) = (zero, zero);
        for ((x, near), far) in vectors[0].iter().zip(vectors[1]).zip(vectors[2]) {
            near_sum = simd.mul_add_e_f32s(*x, *near, near_sum);
            far_sum = simd.mul_add_e_f32s(*x, *far, far_sum);
        }
        let difference = simd.sub_f32s(far_sum, near_sum);
        simd.reduce_sum_f32s(simd.mul_add_e_f32s(simd.splat_f32s(blend), difference, near_sum))
    }
}

/// Tabulates a Kaiser-windowed sinc with its cutoff at `cutoff` times the Nyquist frequency. Every
/// row is scaled to a sum of 1, so that a constant passes unchanged at any fraction.
fn tabulate(cutoff: f64) -> Table {
    let half = (TAPS / 2) as f64;
    let mut table = vec![Row([0.0; TAPS]); PHASES + 1];
    for (p, Row(row)) in table.iter_mut().enumerate() {
        let fraction = p as f64 / PHASES as f64;
        // Tap k weighs the sample at offset k - half + 1 from the whole position.
        let weight = |k: usize| {
            let x = k as f64 - half + 1.0 - fraction;
            cutoff * sinc(cutoff * x) * kaiser(x / half, KAISER_BETA)
        };
        let sum: f64 = (0..TAPS).map(weight).sum();
        for (k, value) in row.iter_mut().enumerate() {
            *value = (weight(k) / sum) as f32;
        }
    }
    table.into_boxed_slice()
}

/// `sin(πx) / πx`.
pub(super) fn sinc(x: f64) -> f64 {
    let x = std::f64::consts::PI * x;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

/// The Kaiser window at `x` in [-1, 1], 0 outside, peak 1 at the centre.
pub(super) fn kaiser(x: f64, beta: f64) -> f64 {
    let inside = 1.0 - x * x;
    if inside < 0.0 { 0.0 } else { bessel_i0(beta * inside.sqrt()) / bessel_i0(beta) }
}

/// The modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..64 {
        term *= quarter / f64::from(k * k);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// [`KernelBank::interpolate`], with this machine's instructions.
    struct Read<'a>(usize, &'a [f32], f64);

    impl WithSimd for Read<'_> {
        type Output = f32;

        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            KernelBank::shared().interpolate(simd, self.0, self.1, self.2)
        }
    }

    fn read(index: usize, samples: &[f32], position: f64) -> f32 {
        KernelBank::shared().dispatch(Read(index, samples, position))
    }

    /// A padded sine of `frequency` cycles per sample.
    fn sine(frequency: f64, len: usize) -> Vec<f32> {
        (0..len + 2 * PADDING).map(|i| (TAU * frequency * (i as f64 - PADDING as f64)).sin() as f32).collect()
    }

    /// Largest error, in dB, of reading a sine at many fractions, against the sine itself.
    fn worst_error_db(frequency: f64) -> f64 {
        let samples = sine(frequency, 400);
        let worst = (0..5000)
            .map(|i| {
                let position = 50.0 + f64::from(i) * 0.0577;
                let got = f64::from(read(0, &samples, position));
                (got - (TAU * frequency * position).sin()).abs()
            })
            .fold(0.0, f64::max);
        20.0 * worst.log10()
    }

    #[test]
    fn sines_in_the_pass_band_are_read_exactly() {
        for frequency in [0.01, 0.1, 0.25, 0.4] {
            assert!(worst_error_db(frequency) < -75.0, "{frequency}: {} dB", worst_error_db(frequency));
        }
    }

    #[test]
    fn whole_positions_of_a_constant_and_a_ramp_are_exact() {
        let ramp: Vec<f32> = (0..300).map(|i| i as f32 / 300.0).collect();
        for i in 0..200 {
            let position = f64::from(i) + 0.37;
            let got = read(0, &ramp, position);
            let want = (position as f32 + PADDING as f32) / 300.0;
            assert!((got - want).abs() < 1e-4, "{position}: {got} against {want}");
        }
    }

    #[test]
    fn lowered_kernels_stop_what_would_alias() {
        // At ratio 2 everything above half of the source's Nyquist frequency would fold back.
        let samples = sine(0.32, 400);
        let index = KernelBank::index_for(1.999);
        let worst =
            (0..2000).map(|i| read(index, &samples, 50.0 + f64::from(i) * 0.1).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{worst}");
    }

    #[test]
    fn every_ratio_has_a_kernel_and_every_position_is_safe() {
        assert_eq!(KernelBank::index_for(0.001), 0);
        assert_eq!(KernelBank::index_for(1.0), 0);
        assert_eq!(KernelBank::index_for(1.01), 1);
        assert_eq!(KernelBank::index_for(1e300), STEPS_PER_OCTAVE);
        assert_eq!(KernelBank::index_for(f64::NAN), 0);
        let samples = [1f32; 2 * PADDING];
        for position in [-1e9, -1.0, 1.0, 1e9, f64::NAN, f64::MAX] {
            let value = read(0, &samples, position.min(1e15));
            assert!(value.is_finite());
        }
    }

    #[test]
    fn machines_without_vectors_read_the_same() {
        let samples = sine(0.31, 400);
        for index in 0..=STEPS_PER_OCTAVE {
            for i in 0..2000 {
                let position = f64::from(i) * 0.213 - 20.0;
                let plain = KernelBank::shared().interpolate(pulp::Scalar::new(), index, &samples, position);
                assert!((read(index, &samples, position) - plain).abs() < 2e-6);
            }
        }
    }
}
