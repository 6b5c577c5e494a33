//! The controllers of a MIDI channel, and the expressions of a single note.
//!
//! | controller | does |
//! |---|---|
//! | pitch wheel | bends by [`Master::bend_range`](super::Master::bend_range) |
//! | modulation wheel (CC 1) | vibrato, and moves the cutoff, as far as [`Master`] says |
//! | pressure of channel or note | moves the cutoff, as far as [`Master`] says |
//! | brightness (CC 74, or of a note) | moves the cutoff by up to [`BRIGHTNESS_OCTAVES`] up or down |
//! | expression (CC 11, or of a note) | level, from silence to full |
//! | sustain pedal (CC 64) | holds notes |

use super::Master;

/// MIDI channels.
pub const CHANNELS: usize = 16;
/// How far brightness moves the cutoff from its rest in the middle, in octaves.
pub const BRIGHTNESS_OCTAVES: f32 = 4.0;

/// Something that a player moves while notes sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// -1..=1 of the bend range.
    Bend,
    /// Modulation wheel, 0..=1.
    Wheel,
    /// 0..=1.
    Pressure,
    /// 0..=1, with its rest in the middle.
    Brightness,
    /// 0..=1.
    Expression,
}

/// Where the controllers of a channel are.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// Sustain pedal.
    pub pedal: bool,
    bend: f32,
    wheel: f32,
    pressure: f32,
    brightness: f32,
    expression: f32,
}

impl Channel {
    /// Every controller at rest.
    pub const REST: Self =
        Self { pedal: false, bend: 0.0, wheel: 0.0, pressure: 0.0, brightness: 0.5, expression: 1.0 };

    /// Moves a controller. What is not finite changes nothing.
    pub fn set(&mut self, controller: Controller, value: f32) {
        if !value.is_finite() {
            return;
        }
        let share = value.clamp(0.0, 1.0);
        match controller {
            Controller::Bend => self.bend = value.clamp(-1.0, 1.0),
            Controller::Wheel => self.wheel = share,
            Controller::Pressure => self.pressure = share,
            Controller::Brightness => self.brightness = share,
            Controller::Expression => self.expression = share,
        }
    }
}

/// What the host changes about a single note.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expression {
    /// Semitones.
    Tuning(f32),
    /// Linear gain, 0..=4.
    Volume(f32),
    /// Balance, -1..=1.
    Pan(f32),
    /// Depth of the vibrato as a share of [`Master::vibrato`], 0..=1.
    Vibrato(f32),
    /// Level, 0..=1.
    Level(f32),
    /// 0..=1, with its rest in the middle.
    Brightness(f32),
    /// 0..=1.
    Pressure(f32),
}

/// Where the expressions of a note are.
#[derive(Clone, Copy, Debug)]
pub struct Expressions {
    tuning: f32,
    volume: f32,
    pan: f32,
    vibrato: f32,
    level: f32,
    brightness: f32,
    pressure: f32,
}

impl Expressions {
    /// Every expression at rest.
    pub const REST: Self =
        Self { tuning: 0.0, volume: 1.0, pan: 0.0, vibrato: 0.0, level: 1.0, brightness: 0.5, pressure: 0.0 };

    /// Changes one. What is not finite changes nothing.
    pub fn set(&mut self, expression: Expression) {
        let (place, value, [least, most]) = match expression {
            Expression::Tuning(value) => (&mut self.tuning, value, [-128.0, 128.0]),
            Expression::Volume(value) => (&mut self.volume, value, [0.0, 4.0]),
            Expression::Pan(value) => (&mut self.pan, value, [-1.0, 1.0]),
            Expression::Vibrato(value) => (&mut self.vibrato, value, [0.0, 1.0]),
            Expression::Level(value) => (&mut self.level, value, [0.0, 1.0]),
            Expression::Brightness(value) => (&mut self.brightness, value, [0.0, 1.0]),
            Expression::Pressure(value) => (&mut self.pressure, value, [0.0, 1.0]),
        };
        if value.is_finite() {
            *place = value.clamp(least, most);
        }
    }

    /// Balance of the note.
    #[must_use]
    pub fn pan(&self) -> f32 {
        self.pan
    }
}

/// What channel and note together do to a voice.
#[derive(Clone, Copy, Debug)]
pub struct Modulation {
    /// Transposition in semitones, without the vibrato. In double precision: a long note adds up what is
    /// missing.
    pub semitones: f64,
    /// Depth of the vibrato in semitones.
    pub vibrato: f64,
    /// Linear gain.
    pub gain: f32,
    /// How far the cutoff is moved, in octaves.
    pub octaves: f32,
}

impl Modulation {
    /// What `channel` and `note` do.
    #[must_use]
    pub fn new(channel: &Channel, note: &Expressions, master: &Master) -> Self {
        let brightness = (channel.brightness - 0.5) + (note.brightness - 0.5);
        Self {
            semitones: f64::from(channel.bend) * f64::from(master.bend_range) + f64::from(note.tuning),
            vibrato: f64::from(channel.wheel.max(note.vibrato)) * f64::from(master.vibrato) / 100.0,
            gain: channel.expression * note.level * note.volume,
            octaves: channel.wheel * master.wheel_cutoff
                + channel.pressure.max(note.pressure) * master.pressure_cutoff
                + brightness * 2.0 * BRIGHTNESS_OCTAVES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_rest_nothing_is_changed() {
        let modulation = Modulation::new(&Channel::REST, &Expressions::REST, &Master::default());
        assert_eq!((modulation.semitones, modulation.vibrato), (0.0, 0.0));
        assert_eq!((modulation.gain, modulation.octaves), (1.0, 0.0));
    }

    #[test]
    fn hostile_values_change_nothing_or_are_limited() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30] {
            let (mut channel, mut note) = (Channel::REST, Expressions::REST);
            use Controller::{Bend, Brightness, Expression as Level, Pressure, Wheel};
            [Bend, Wheel, Pressure, Brightness, Level].into_iter().for_each(|c| channel.set(c, value));
            for expression in [
                Expression::Tuning(value),
                Expression::Volume(value),
                Expression::Pan(value),
                Expression::Vibrato(value),
                Expression::Level(value),
                Expression::Brightness(value),
                Expression::Pressure(value),
            ] {
                note.set(expression);
            }
            let modulation = Modulation::new(&channel, &note, &Master::default());
            assert!(modulation.semitones.abs() < 200.0 && modulation.octaves.abs() < 30.0);
            assert!((0.0..=4.0).contains(&modulation.gain) && note.pan().abs() <= 1.0);
        }
    }
}
