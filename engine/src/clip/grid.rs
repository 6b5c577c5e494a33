//! The 24-bit grid: every sample of a clip is exactly `k / 2^23`.
//!
//! 24 bits is what WAV files and the project state store and what f32 represents exactly, so a
//! clip put on the grid once stays the same bit for bit wherever it goes.

/// Full scale of 24-bit audio, 2^23, as a float.
const FULL_SCALE: f32 = 8_388_608.0;

/// The sample as a 24-bit integer, rounded to the nearest (ties away from zero) and clamped to
/// -2^23..=2^23-1. NaN becomes 0.
#[must_use]
pub fn to_i24(sample: f32) -> i32 {
    // In f64 the product and the rounding are exact; the cast saturates and takes NaN to 0.
    let scaled = (f64::from(sample) * f64::from(FULL_SCALE)).round();
    scaled.clamp(-f64::from(FULL_SCALE), f64::from(FULL_SCALE) - 1.0) as i32
}

/// The sample that a 24-bit integer stands for: exact for -2^23..=2^23-1.
#[must_use]
pub fn from_i24(value: i32) -> f32 {
    value as f32 / FULL_SCALE
}

/// The nearest sample on the grid.
#[must_use]
pub fn snap(sample: f32) -> f32 {
    from_i24(to_i24(sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_survive_the_way_through_f32() {
        for value in (-8_388_608..=8_388_607).step_by(997).chain([-8_388_608, -1, 0, 1, 8_388_607]) {
            assert_eq!(to_i24(from_i24(value)), value);
        }
    }

    #[test]
    fn values_beyond_full_scale_clamp() {
        assert_eq!(to_i24(1.0), 8_388_607);
        assert_eq!(to_i24(-1.5), -8_388_608);
        assert_eq!(to_i24(f32::INFINITY), 8_388_607);
        assert_eq!(to_i24(f32::NAN), 0);
    }
}
