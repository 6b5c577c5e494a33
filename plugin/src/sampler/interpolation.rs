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
/// Most positions read at once.
pub const RUN: usize = 64;
/// Longest recording that can be read, in samples.
const MOST_SAMPLES: f64 = 2e9;
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

    /// Number of the kernel for a playback ratio; ratios of 2 and above get the last one.
    #[must_use]
    pub fn index_for(ratio: f64) -> usize {
        if ratio <= 1.0 {
            return 0;
        }
        // A float-to-integer cast saturates, so that any ratio is fine here.
        ((ratio.log2() * STEPS_PER_OCTAVE as f64 - 1e-9).ceil() as usize).min(STEPS_PER_OCTAVE)
    }

    /// Writes the values of `samples` at `positions` times `scale` to `output` (as many of both), with the kernel
    /// from [`Self::index_for`].
    ///
    /// `samples` carries [`PADDING`] samples before position 0 and after the last; where the kernel
    /// would reach beyond that the result is 0.
    pub fn read(&self, index: usize, samples: &[f32], scale: f64, positions: &[f64], output: &mut [f32]) {
        let Some(table) = self.tables.get(index) else { return output.fill(0.0) };
        for (positions, output) in positions.chunks(RUN).zip(output.chunks_mut(RUN)) {
            self.machine.dispatch(Read { table, samples, scale, positions, output });
        }
    }
}

/// The work of [`KernelBank::read`] for up to [`RUN`] positions.
struct Read<'a> {
    table: &'a [Row],
    samples: &'a [f32],
    scale: f64,
    positions: &'a [f64],
    output: &'a mut [f32],
}

/// Where a position lies.
#[derive(Clone, Copy, Default)]
struct Place {
    /// First sample under the kernel.
    start: u32,
    /// Row of the table, and how far it is to the next one.
    row: u32,
    blend: f32,
}

impl WithSimd for Read<'_> {
    type Output = ();

    /// In two loops, so that both use vector instructions: the first along the positions, the second
    /// along the kernel.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut places = [Place::default(); RUN];
        for (place, position) in places.iter_mut().zip(self.positions) {
            *place = Place::of(position * self.scale);
        }
        for (place, output) in places.iter().zip(self.output) {
            *output = place.value(simd, self.table, self.samples);
        }
    }
}

impl Place {
    #[allow(clippy::manual_clamp, reason = "that one would keep what is not a number")]
    #[inline(always)]
    fn of(position: f64) -> Self {
        /// Added to a whole number that is not negative, it puts its bits into the lowest of the sum.
        const WHOLE_F64: f64 = (1u64 << 52) as f64;
        const WHOLE_F32: f32 = (1u32 << 23) as f32;

        // Sample n sits at index n + PADDING; the window is [n - TAPS / 2 + 1, n + TAPS / 2]. Before its first
        // place there is nothing but padding, as in it.
        let place = (position + (PADDING - TAPS / 2 + 1) as f64).max(0.0).min(MOST_SAMPLES);
        let whole = place.floor();
        let phase = (place - whole) as f32 * PHASES as f32;
        let row = phase.floor().min((PHASES - 1) as f32);
        Self {
            start: (whole + WHOLE_F64).to_bits() as u32,
            row: (row + WHOLE_F32).to_bits() & (WHOLE_F32 as u32 - 1),
            blend: phase - row,
        }
    }

    /// The value there.
    #[inline(always)]
    fn value<S: Simd>(&self, simd: S, table: &[Row], samples: &[f32]) -> f32 {
        let (start, row) = (self.start as usize, self.row as usize);
        let (Some(window), Some([Row(near), Row(far)])) =
            (samples.get(start..).and_then(|rest| rest.first_chunk::<TAPS>()), table.get(row..row + 2))
        else {
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
        simd.reduce_sum_f32s(simd.mul_add_e_f32s(simd.splat_f32s(self.blend), difference, near_sum))
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

    fn read(index: usize, samples: &[f32], position: f64) -> f32 {
        let mut value = [9.0];
        KernelBank::shared().read(index, samples, 1.0, &[position], &mut value);
        value[0]
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
            assert!(read(0, &samples, position).is_finite());
        }
    }

    #[test]
    fn machines_without_vectors_read_the_same() {
        let samples = sine(0.31, 400);
        for index in 0..=STEPS_PER_OCTAVE {
            for i in 0..2000 {
                let position = f64::from(i) * 0.213 - 20.0;
                let mut plain = [9.0];
                let table = &KernelBank::shared().tables[index];
                Read { table, samples: &samples, scale: 1.0, positions: &[position], output: &mut plain }
                    .with_simd(pulp::Scalar::new());
                assert!((read(index, &samples, position) - plain[0]).abs() < 2e-6);
            }
        }
    }
}
