//! How a pad plays its clip. Plain values of the parameters, and what follows from them.

use std::sync::Arc;

use nice_plug::prelude::Enum;

use super::{EnvelopeTimes, FilterMode, Source, envelope::EnvelopeRates, path::Path};

/// Pads of the instrument.
pub const PADS: usize = 16;
/// Choke groups; 0 is none.
pub const CHOKE_GROUPS: u8 = 8;
/// The key of the first pad when the pads lie on the keys as on a drum machine (C2).
pub const FIRST_KEY: i32 = 36;
/// Longest fade at the ends of the range, and longest crossfade of a loop, in seconds.
pub const MAX_FADE: f32 = 1.0;

/// What letting go of the key does, and what happens at the end of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum PlayMode {
    /// Plays to the end, however short the key is held.
    #[id = "one_shot"]
    #[name = "One-shot"]
    OneShot,
    /// Plays to the end, or until the key is let go.
    #[id = "gate"]
    Gate,
    /// Repeats the loop, until the key is let go and the release is over.
    #[id = "loop"]
    Loop,
}

/// Where a pad's sound goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum PadOutput {
    /// To the main output, with the other pads.
    #[id = "main"]
    Main,
    /// To the pad's own output, if the host gave the instrument its many outputs; else to the main
    /// one.
    #[id = "own"]
    Own,
}

/// How a pad plays. A note takes over range, direction, mode, choke group and output when it
/// starts; pitch, level, pan, envelope, air, filter, width and the place of the loop change while it sounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PadSettings {
    /// The lowest and the highest key that play the pad, 0..=127; in any order.
    pub keys: [i32; 2],
    /// The key that plays the clip at its own pitch.
    pub root_key: i32,
    /// How much the key changes the pitch: 0 not at all, 1 one semitone a key.
    pub key_tracking: f32,
    /// Transposition in semitones.
    pub tune: f32,
    /// Level in dB.
    pub level: f32,
    /// Balance, -1 (left) ..= 1 (right); both sides are at full level in the middle.
    pub pan: f32,
    /// How much the velocity changes the level: 0 not at all, 1 from silence to full.
    pub velocity_amount: f32,
    /// Form of that change, -1..=1: the level goes as the velocity to the power of `2^(1 + 2 curve)`, the
    /// square at 0, the root at -1, the eighth power at 1.
    pub velocity_curve: f32,
    /// The part of the clip that plays, as shares of its length; in any order.
    pub range: [f32; 2],
    /// Fades at the beginning and the end of that part, in seconds of playing.
    pub fade_in: f32,
    /// See [`Self::fade_in`]. A loop has none.
    pub fade_out: f32,
    /// See [`PlayMode`].
    pub mode: PlayMode,
    /// The part that repeats, as shares of the clip's length; in any order, within [`Self::range`].
    pub loop_range: [f32; 2],
    /// Crossfade at the end of the loop, in seconds of the clip; no longer than the loop.
    pub crossfade: f32,
    /// Plays from the end to the beginning.
    pub reverse: bool,
    /// The envelope of the level.
    pub envelope: EnvelopeTimes,
    /// Amount of the synthetic octave above the clip's highest frequency, 0..=1; see [`super::air`].
    pub air: f32,
    /// See [`FilterMode`].
    pub filter: FilterMode,
    /// Cutoff of the filter in Hz.
    pub cutoff: f32,
    /// Resonance of the filter, 0..=1.
    pub resonance: f32,
    /// How wide the stereo image is, 0 (mono) ..= 1; see [`super::width`].
    pub width: f32,
    /// A note on the pad ends the others of its group, 1..=[`CHOKE_GROUPS`]; 0 is no group.
    pub choke_group: u8,
    /// See [`PadOutput`].
    pub output: PadOutput,
}

impl Default for PadSettings {
    fn default() -> Self {
        Self {
            keys: [0, 127],
            root_key: 60,
            key_tracking: 1.0,
            tune: 0.0,
            level: 0.0,
            pan: 0.0,
            velocity_amount: 1.0,
            velocity_curve: 0.0,
            range: [0.0, 1.0],
            fade_in: 0.0,
            fade_out: 0.0,
            mode: PlayMode::Gate,
            loop_range: [0.0, 1.0],
            crossfade: 0.0,
            reverse: false,
            envelope: EnvelopeTimes::default(),
            air: 0.0,
            filter: FilterMode::Off,
            cutoff: 20_000.0,
            resonance: 0.0,
            width: 0.0,
            choke_group: 0,
            output: PadOutput::Main,
        }
    }
}

impl PadSettings {
    /// The settings with everything brought into range and order; what is not a number takes its default.
    #[must_use]
    pub fn repaired(mut self) -> Self {
        let default = Self::default();
        let limit = |value: f32, [least, most]: [f32; 2], default: f32| {
            if value.is_nan() { default } else { value.clamp(least, most) }
        };
        let share = |value: f32, default: f32| limit(value, [0.0, 1.0], default);
        let ordered = |[a, b]: [f32; 2]| {
            let (a, b) = (share(a, 0.0), share(b, 1.0));
            [a.min(b), a.max(b)]
        };
        let [a, b] = self.keys.map(|key| key.clamp(0, 127));
        self.keys = [a.min(b), a.max(b)];
        self.root_key = self.root_key.clamp(0, 127);
        self.key_tracking = limit(self.key_tracking, [-1.0, 1.0], default.key_tracking);
        self.tune = limit(self.tune, [-96.0, 96.0], default.tune);
        self.level = limit(self.level, [-120.0, 24.0], default.level);
        self.pan = limit(self.pan, [-1.0, 1.0], default.pan);
        self.velocity_amount = share(self.velocity_amount, default.velocity_amount);
        self.velocity_curve = limit(self.velocity_curve, [-1.0, 1.0], default.velocity_curve);
        self.range = ordered(self.range);
        self.loop_range = ordered(self.loop_range);
        for time in [&mut self.fade_in, &mut self.fade_out, &mut self.crossfade] {
            *time = limit(*time, [0.0, MAX_FADE], 0.0);
        }
        self.cutoff = limit(self.cutoff, [1.0, 1e6], default.cutoff);
        self.resonance = share(self.resonance, default.resonance);
        self.air = share(self.air, default.air);
        self.width = share(self.width, default.width);
        self.choke_group = self.choke_group.min(CHOKE_GROUPS);
        self
    }

    /// Whether the way of a note through the clip is the same with `other`.
    fn goes_the_same_way(&self, other: &Self) -> bool {
        let way = |s: &Self| (s.range, s.fade_in, s.fade_out, s.mode, s.loop_range, s.crossfade, s.reverse);
        way(self) == way(other)
    }

    /// Linear gain of a note of this velocity, 0..=1.
    #[must_use]
    pub fn velocity_gain(&self, velocity: f32) -> f32 {
        let velocity = if velocity.is_finite() { velocity.clamp(0.0, 1.0) } else { 1.0 };
        let shaped = velocity.powf(2f32.powf(1.0 + 2.0 * self.velocity_curve));
        1.0 - self.velocity_amount * (1.0 - shaped)
    }
}

/// A pad: its clip and how it plays it.
#[derive(Debug)]
pub struct Pad {
    settings: PadSettings,
    source: Option<Arc<Source>>,
    sample_rate: f32,
    rates: EnvelopeRates,
    /// Linear gain of [`PadSettings::level`].
    gain: f32,
    /// Where the next note goes; `None` until it is asked for.
    path: Option<Path>,
}

impl Pad {
    /// An empty pad for an output of `sample_rate` Hz.
    #[must_use]
    pub fn new(sample_rate: f32) -> Self {
        let settings = PadSettings::default();
        let rates = EnvelopeRates::new(settings.envelope, sample_rate);
        Self { settings, source: None, sample_rate, rates, gain: 1.0, path: None }
    }

    /// How it plays, in range and order.
    #[must_use]
    pub fn settings(&self) -> &PadSettings {
        &self.settings
    }

    /// [`PadSettings::envelope`] at the output's rate.
    #[must_use]
    pub fn rates(&self) -> &EnvelopeRates {
        &self.rates
    }

    /// Linear gain of [`PadSettings::level`].
    #[must_use]
    pub fn gain(&self) -> f32 {
        self.gain
    }

    /// Changes the clip.
    pub fn set_source(&mut self, source: Option<Arc<Source>>) {
        self.source = source;
        self.path = None;
    }

    /// Changes the output's rate.
    pub fn set_sample_rate(&mut self, sample_rate: f32) {
        self.sample_rate = sample_rate;
        self.rates = EnvelopeRates::new(self.settings.envelope, sample_rate);
        self.path = None;
    }

    /// Takes over the settings. Answers whether they are other ones than before.
    pub fn set_settings(&mut self, settings: PadSettings) -> bool {
        if settings == self.settings {
            return false;
        }
        let settings = settings.repaired();
        if settings == self.settings {
            return false;
        }
        self.rates = EnvelopeRates::new(settings.envelope, self.sample_rate);
        self.gain = 10f32.powf(settings.level / 20.0);
        if !settings.goes_the_same_way(&self.settings) {
            self.path = None;
        }
        self.settings = settings;
        true
    }

    /// Whether a key plays it.
    #[must_use]
    pub fn has_key(&self, key: u8) -> bool {
        let [low, high] = self.settings.keys;
        self.source.is_some() && (low..=high).contains(&i32::from(key))
    }

    /// Finds the way of its notes through the clip, if it is not known yet.
    pub fn prepare(&mut self) {
        if let (Some(source), None) = (&self.source, self.path) {
            self.path = Path::new(&self.settings, source, self.sample_rate);
        }
    }

    /// The clip, and the way of a note through it, once it has been [prepared](Self::prepare); nothing if there is
    /// nothing to play.
    #[must_use]
    pub fn way(&self) -> Option<(&Arc<Source>, Path)> {
        Some((self.source.as_ref()?, self.path?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_brought_into_range_and_order() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30] {
            let settings = PadSettings {
                keys: [i32::MAX, i32::MIN],
                root_key: i32::MIN,
                key_tracking: value,
                tune: value,
                level: value,
                pan: value,
                velocity_amount: value,
                velocity_curve: value,
                range: [1.0, value],
                fade_in: value,
                fade_out: value,
                loop_range: [value, 0.0],
                crossfade: value,
                cutoff: value,
                resonance: value,
                air: value,
                width: value,
                choke_group: 255,
                ..PadSettings::default()
            }
            .repaired();
            assert_eq!((settings.keys, settings.root_key, settings.choke_group), ([0, 127], 0, CHOKE_GROUPS));
            assert!(
                settings.range[0] <= settings.range[1] && settings.loop_range[0] <= settings.loop_range[1]
            );
            assert!(settings.repaired() == settings, "once is enough: {settings:?}");
            assert!((0.0..=1.0).contains(&settings.velocity_gain(value)));
        }
        assert_eq!(PadSettings::default().repaired(), PadSettings::default());
    }

    #[test]
    fn velocity_follows_the_curve() {
        let gain = |amount, curve| {
            PadSettings { velocity_amount: amount, velocity_curve: curve, ..PadSettings::default() }
                .velocity_gain(0.25)
        };
        for (amount, curve, expected) in
            [(1.0, 0.0, 0.0625), (1.0, -1.0, 0.5), (1.0, -0.5, 0.25), (0.0, 0.3, 1.0), (0.5, 0.0, 0.53125)]
        {
            assert!((gain(amount, curve) - expected).abs() < 1e-6, "{amount} {curve}");
        }
        for curve in [-1.0, 0.0, 1.0] {
            let settings = PadSettings { velocity_curve: curve, ..PadSettings::default() };
            assert_eq!([0.0, 1.0].map(|velocity| settings.velocity_gain(velocity)), [0.0, 1.0]);
        }
    }
}
