//! The ADSR envelope of a voice, computed sample by sample.

/// Shortest decay and release: at once would click. Their exponentials are steepest at first, as
/// steep as a straight line of 2.9 ms.
const SHORTEST_FALL: f32 = 0.02;
/// How long a voice takes to fall silent when it is stolen or choked, in seconds.
pub const KILL_TIME: f32 = 0.005;
/// Longest stage in seconds.
const LONGEST: f32 = 60.0;
/// Level below which a falling voice is over (-100 dB), and distance at which the sustain level is
/// reached.
const SILENCE: f64 = 1e-5;
/// `ln(1000)`: the exponential stages fall by 60 dB in their nominal time.
const SIXTY_DB: f64 = 6.907_755_278_982_137;

/// Times and level of an envelope, as the parameters give them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnvelopeTimes {
    /// Linear rise from silence, in seconds; 0 leaves the clip's own onset untouched.
    pub attack: f32,
    /// Exponential fall to the sustain level: 60 dB of the way, in seconds, at least 20 ms.
    pub decay: f32,
    /// Level held until the key is let go, 0..=1.
    pub sustain: f32,
    /// Exponential fall after the key is let go: 60 dB, in seconds, at least 20 ms.
    pub release: f32,
}

impl Default for EnvelopeTimes {
    fn default() -> Self {
        Self { attack: 0.0, decay: 0.0, sustain: 1.0, release: 0.05 }
    }
}

/// [`EnvelopeTimes`] at a sample rate: the increments and factors per sample.
#[derive(Clone, Copy, Debug)]
pub struct EnvelopeRates {
    attack_step: f64,
    decay_factor: f64,
    sustain: f64,
    release_factor: f64,
    kill_step: f64,
}

impl EnvelopeRates {
    /// Rates for `sample_rate` Hz. Values that are not finite or out of range are clamped.
    #[must_use]
    pub fn new(times: EnvelopeTimes, sample_rate: f32) -> Self {
        // In this order, what is not a number becomes the least.
        let samples =
            |seconds: f32, least: f32| f64::from(seconds.max(least).min(LONGEST) * sample_rate).max(1.0);
        let factor = |seconds: f32| (-SIXTY_DB / samples(seconds, SHORTEST_FALL)).exp();
        Self {
            attack_step: 1.0 / samples(times.attack, 0.0),
            decay_factor: factor(times.decay),
            sustain: if times.sustain.is_nan() { 1.0 } else { f64::from(times.sustain.clamp(0.0, 1.0)) },
            release_factor: factor(times.release),
            kill_step: 1.0 / samples(KILL_TIME, 0.0),
        }
    }
}

/// Where in its life an envelope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Attack,
    Decay,
    /// At the sustain level, until that moves.
    Sustain,
    Release,
    Kill,
    Over,
}

/// The running envelope of one voice. In double precision, so that long stages add up.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    stage: Stage,
    level: f64,
    /// Factor of the linear fade of [`Self::kill`], 1 until then.
    fade: f64,
}

impl Envelope {
    /// An envelope that has ended.
    pub const OVER: Self = Self { stage: Stage::Over, level: 0.0, fade: 1.0 };

    /// A fresh envelope at the key press. With no attack it starts at full level: clips begin
    /// with a short fade of their own.
    #[must_use]
    pub fn start(rates: &EnvelopeRates) -> Self {
        if rates.attack_step >= 1.0 {
            Self { stage: Stage::Decay, level: 1.0, fade: 1.0 }
        } else {
            Self { stage: Stage::Attack, level: 0.0, fade: 1.0 }
        }
    }

    /// The key was let go.
    pub fn release(&mut self) {
        if matches!(self.stage, Stage::Attack | Stage::Decay | Stage::Sustain) {
            self.stage = Stage::Release;
        }
    }

    /// Fade out within 5 ms, whatever the stage.
    pub fn kill(&mut self) {
        if self.stage != Stage::Over {
            self.stage = Stage::Kill;
        }
    }

    /// Whether there is nothing more to hear.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether the key has been let go or the voice killed.
    #[must_use]
    pub fn is_releasing(&self) -> bool {
        matches!(self.stage, Stage::Release | Stage::Kill)
    }

    /// Current level, 0..=1.
    #[must_use]
    pub fn level(&self) -> f32 {
        (self.level * self.fade) as f32
    }

    /// Writes the levels of the next samples. Answers how many there were before it was over.
    pub fn fill(&mut self, rates: &EnvelopeRates, levels: &mut [f32]) -> usize {
        if self.stage == Stage::Sustain && self.level == rates.sustain {
            levels.fill(self.level());
            return levels.len();
        }
        for (i, level) in levels.iter_mut().enumerate() {
            if self.is_over() {
                return i;
            }
            *level = self.next(rates);
        }
        levels.len()
    }

    /// The level for this sample; moves on by one.
    #[inline]
    pub fn next(&mut self, rates: &EnvelopeRates) -> f32 {
        let level = self.level();
        match self.stage {
            Stage::Attack => {
                self.level += rates.attack_step;
                if self.level >= 1.0 {
                    self.level = 1.0;
                    self.stage = Stage::Decay;
                }
            }
            Stage::Decay => {
                self.level = rates.sustain + (self.level - rates.sustain) * rates.decay_factor;
                if self.level < SILENCE {
                    // Without sustain there is nothing more to come.
                    self.stage = Stage::Over;
                } else if (self.level - rates.sustain).abs() < SILENCE {
                    self.level = rates.sustain;
                    self.stage = Stage::Sustain;
                }
            }
            Stage::Sustain => {
                if self.level != rates.sustain {
                    self.stage = Stage::Decay;
                }
            }
            Stage::Release => {
                self.level *= rates.release_factor;
                if self.level < SILENCE {
                    self.stage = Stage::Over;
                }
            }
            Stage::Kill => {
                self.fade -= rates.kill_step;
                if self.fade <= 0.0 {
                    *self = Self::OVER;
                }
            }
            Stage::Over => {}
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f32 = 1000.0;

    fn rates(attack: f32, decay: f32, sustain: f32, release: f32) -> EnvelopeRates {
        EnvelopeRates::new(EnvelopeTimes { attack, decay, sustain, release }, RATE)
    }

    #[test]
    fn stages_take_their_times() {
        let rates = rates(0.1, 0.2, 0.5, 0.3);
        let mut envelope = Envelope::start(&rates);
        let levels: Vec<f32> = (0..600).map(|_| envelope.next(&rates)).collect();
        assert_eq!(levels[0], 0.0);
        assert!((levels[50] - 0.5).abs() < 0.02, "half way up after half the attack");
        assert!((levels[100] - 1.0).abs() < 0.02);
        // After the decay time the distance to the sustain level has fallen by 60 dB.
        assert!((levels[301] - 0.5).abs() < 0.5 * 1.1e-3);
        envelope.release();
        let levels: Vec<f32> = (0..1000).map(|_| envelope.next(&rates)).collect();
        let db = 20.0 * (levels[300] / levels[0]).log10();
        assert!((db + 60.0).abs() < 0.5, "{db} dB after the release time");
        assert!(envelope.is_over());
    }

    #[test]
    fn without_sustain_a_held_note_ends() {
        let rates = rates(0.0, 0.1, 0.0, 0.3);
        let mut envelope = Envelope::start(&rates);
        (0..400).for_each(|_| {
            envelope.next(&rates);
        });
        assert!(envelope.is_over());
    }

    #[test]
    fn a_kill_is_a_short_ramp_from_any_level() {
        let rates = EnvelopeRates::new(EnvelopeTimes::default(), 48_000.0);
        let mut envelope = Envelope::start(&rates);
        envelope.next(&rates);
        envelope.kill();
        let levels: Vec<f32> = (0..300).map(|_| envelope.next(&rates)).collect();
        assert!(envelope.is_over());
        assert!(levels.windows(2).all(|w| w[0] - w[1] <= 1.01 / 240.0));
    }

    #[test]
    fn hostile_times_stay_finite() {
        for x in [f32::NAN, f32::INFINITY, -1.0, 1e30] {
            let rates = rates(x, x, x, x);
            let mut envelope = Envelope::start(&rates);
            (0..100).for_each(|_| {
                envelope.next(&rates);
            });
            envelope.release();
            let level = envelope.next(&rates);
            assert!((0.0..=1.0).contains(&level), "{x}: {level}");
        }
    }
}
