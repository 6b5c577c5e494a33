//! Changes of a level that take a moment, so that they do not click.

/// A value that moves to its target in a straight line, sample by sample.
#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    value: f32,
    target: f32,
    /// Change per sample on the way.
    step: f32,
    /// Samples until the target is reached; 0 once it is.
    left: u32,
}

impl Ramp {
    /// Stands still at `value`.
    #[must_use]
    pub const fn at(value: f32) -> Self {
        Self { value, target: value, step: 0.0, left: 0 }
    }

    /// Moves to `target` (finite) within so many samples, from wherever it is.
    pub fn aim(&mut self, target: f32, samples: u32) {
        if target != self.target {
            let samples = samples.max(1);
            *self = Self {
                value: self.value,
                target,
                step: (target - self.value) / samples as f32,
                left: samples,
            };
        }
    }

    /// The value for this sample, without moving on.
    #[must_use]
    pub const fn value(&self) -> f32 {
        self.value
    }

    /// Where it is going.
    #[must_use]
    pub const fn target(&self) -> f32 {
        self.target
    }

    /// Change per sample on the way.
    #[must_use]
    pub const fn step(&self) -> f32 {
        self.step
    }

    /// Samples until the target is reached.
    #[must_use]
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// Whether it has reached its target.
    #[must_use]
    pub const fn is_still(&self) -> bool {
        self.left == 0
    }

    /// The value for this sample; moves on by one.
    #[inline]
    pub fn advance(&mut self) -> f32 {
        let value = self.value;
        if self.left > 0 {
            self.left -= 1;
            // From the target, so that rounding does not add up and it lands exactly.
            self.value = self.target - self.step * self.left as f32;
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_in_a_line_and_lands_exactly() {
        let mut ramp = Ramp::at(1.0);
        ramp.aim(0.3, 7);
        let values: Vec<f32> = (0..10).map(|_| ramp.advance()).collect();
        for (i, value) in values.iter().enumerate() {
            let expected = 1.0 - 0.7 * (i as f32 / 7.0).min(1.0);
            assert!((value - expected).abs() < 1e-6, "{i}: {value}");
        }
        assert!(ramp.is_still());
        assert_eq!(values[7..], [0.3; 3]);
    }

    #[test]
    fn another_target_on_the_way_starts_from_where_it_is() {
        let mut ramp = Ramp::at(0.0);
        ramp.aim(1.0, 10);
        (0..5).for_each(|_| {
            ramp.advance();
        });
        ramp.aim(0.0, 5);
        assert!((ramp.advance() - 0.5).abs() < 1e-6);
        assert!((ramp.advance() - 0.4).abs() < 1e-6);
    }
}
