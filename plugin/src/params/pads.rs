//! The parameters of the pads: sixteen times the same.
//!
//! Pad 1 has the ids that the whole instrument had when it played one clip, without a prefix: "attack";
//! the others have "pad2_attack" to "pad16_attack".
//!
//! At first pad 1 plays every key, in tune with its root key, and pads 2 to 16 are those of a drum machine:
//! one key each, from C#2 up (pad 1's place would be C2), at the clip's own pitch and to its end. An
//! empty pad makes no sound, so that this disturbs nothing as long as there is one clip.

use std::sync::Arc;

use nice_plug::prelude::*;

use super::text::{balance, decibels, frequency, key, percent, semitones, switch, time};
use crate::sampler::{
    EnvelopeTimes, FilterMode, PADS, PadOutput, PadSettings, PlayMode,
    pad::{CHOKE_GROUPS, FIRST_KEY, MAX_FADE},
};

/// How a pad plays. The ids are part of every saved project and must never change.
#[derive(Params)]
pub struct PadParams {
    /// Level in dB.
    #[id = "level"]
    pub level: FloatParam,
    /// -1..=1.
    #[id = "pan"]
    pub pan: FloatParam,
    /// Lowest key.
    #[id = "low"]
    pub low_key: IntParam,
    /// Highest key.
    #[id = "high"]
    pub high_key: IntParam,
    /// The key that plays the clip as it is.
    #[id = "root"]
    pub root_key: IntParam,
    /// 0..=1.
    #[id = "tracking"]
    pub key_tracking: FloatParam,
    /// Semitones.
    #[id = "tune"]
    pub tune: FloatParam,
    /// 0..=1.
    #[id = "velocity"]
    pub velocity_amount: FloatParam,
    /// -1..=1.
    #[id = "velcurve"]
    pub velocity_curve: FloatParam,
    /// See [`PlayMode`].
    #[id = "mode"]
    pub mode: EnumParam<PlayMode>,
    /// Share of the clip.
    #[id = "start"]
    pub start: FloatParam,
    /// Share of the clip.
    #[id = "end"]
    pub end: FloatParam,
    /// Seconds.
    #[id = "fadein"]
    pub fade_in: FloatParam,
    /// Seconds.
    #[id = "fadeout"]
    pub fade_out: FloatParam,
    /// Share of the clip.
    #[id = "loopstart"]
    pub loop_start: FloatParam,
    /// Share of the clip.
    #[id = "loopend"]
    pub loop_end: FloatParam,
    /// Seconds.
    #[id = "crossfade"]
    pub crossfade: FloatParam,
    /// From the end to the beginning.
    #[id = "reverse"]
    pub reverse: BoolParam,
    /// Seconds.
    #[id = "attack"]
    pub attack: FloatParam,
    /// Seconds.
    #[id = "decay"]
    pub decay: FloatParam,
    /// Level, 0..=1.
    #[id = "sustain"]
    pub sustain: FloatParam,
    /// Seconds.
    #[id = "release"]
    pub release: FloatParam,
    /// 0..=1; see [`crate::sampler::air`].
    #[id = "air"]
    pub air: FloatParam,
    /// See [`FilterMode`].
    #[id = "filter"]
    pub filter: EnumParam<FilterMode>,
    /// Hz.
    #[id = "cutoff"]
    pub cutoff: FloatParam,
    /// 0..=1.
    #[id = "resonance"]
    pub resonance: FloatParam,
    /// 0..=1; see [`crate::sampler::width`].
    #[id = "width"]
    pub width: FloatParam,
    /// 0 is none.
    #[id = "choke"]
    pub choke_group: IntParam,
    /// See [`PadOutput`].
    #[id = "output"]
    pub output: EnumParam<PadOutput>,
}

impl PadParams {
    /// The parameters of pad `index` (from 0) at their defaults.
    fn new(index: usize) -> Self {
        let name = |what: &str| format!("Pad {} {what}", index + 1);
        let is_first = index == 0;
        let own_key = FIRST_KEY + index as i32;
        let [low, high, root] = if is_first { [0, 127, 60] } else { [own_key; 3] };
        Self {
            level: decibels(name("level"), 12.0),
            pan: balance(name("pan")),
            low_key: key(name("low key"), low),
            high_key: key(name("high key"), high),
            root_key: key(name("root key"), root),
            key_tracking: percent(name("key tracking"), if is_first { 1.0 } else { 0.0 }),
            tune: semitones(name("tune"), 24.0),
            velocity_amount: percent(name("velocity"), 0.7),
            velocity_curve: super::text::with_unit(
                name("velocity curve"),
                0.0,
                FloatRange::Linear { min: -1.0, max: 1.0 },
                2,
                "",
                &[],
            ),
            mode: EnumParam::new(name("mode"), if is_first { PlayMode::Gate } else { PlayMode::OneShot }),
            start: percent(name("start"), 0.0),
            end: percent(name("end"), 1.0),
            fade_in: time(name("fade-in"), 0.0, MAX_FADE),
            fade_out: time(name("fade-out"), 0.0, MAX_FADE),
            loop_start: percent(name("loop start"), 0.25),
            loop_end: percent(name("loop end"), 0.75),
            crossfade: time(name("loop crossfade"), 0.05, MAX_FADE),
            reverse: switch(name("reverse")),
            attack: time(name("attack"), 0.0, 5.0),
            decay: time(name("decay"), 0.5, 10.0),
            sustain: percent(name("sustain"), 1.0),
            release: time(name("release"), 0.08, 10.0),
            air: percent(name("air"), 0.0),
            filter: EnumParam::new(name("filter"), FilterMode::Off),
            cutoff: frequency(name("cutoff"), 2_000.0),
            resonance: percent(name("resonance"), 0.2),
            width: percent(name("width"), 0.0),
            choke_group: IntParam::new(
                name("choke group"),
                0,
                IntRange::Linear { min: 0, max: i32::from(CHOKE_GROUPS) },
            )
            .with_value_to_string(Arc::new(
                |group| if group == 0 { "None".to_owned() } else { group.to_string() },
            ))
            .with_string_to_value(Arc::new(|text| match text.trim().to_lowercase().as_str() {
                "none" | "off" => Some(0),
                text => text.parse().ok().filter(|group| (0..=i32::from(CHOKE_GROUPS)).contains(group)),
            })),
            output: EnumParam::new(name("output"), PadOutput::Main),
        }
    }

    /// How the pad plays now. Reads atomics only.
    #[must_use]
    pub fn settings(&self) -> PadSettings {
        PadSettings {
            keys: [self.low_key.value(), self.high_key.value()],
            root_key: self.root_key.value(),
            key_tracking: self.key_tracking.value(),
            tune: self.tune.value(),
            level: self.level.value(),
            pan: self.pan.value(),
            velocity_amount: self.velocity_amount.value(),
            velocity_curve: self.velocity_curve.value(),
            range: [self.start.value(), self.end.value()],
            fade_in: self.fade_in.value(),
            fade_out: self.fade_out.value(),
            mode: self.mode.value(),
            loop_range: [self.loop_start.value(), self.loop_end.value()],
            crossfade: self.crossfade.value(),
            reverse: self.reverse.value(),
            envelope: EnvelopeTimes {
                attack: self.attack.value(),
                decay: self.decay.value(),
                sustain: self.sustain.value(),
                release: self.release.value(),
            },
            air: self.air.value(),
            filter: self.filter.value(),
            cutoff: self.cutoff.value(),
            resonance: self.resonance.value(),
            width: self.width.value(),
            choke_group: u8::try_from(self.choke_group.value()).unwrap_or(0),
            output: self.output.value(),
        }
    }
}

/// The parameters of all pads.
pub struct Pads {
    first: PadParams,
    others: Box<[PadParams]>,
}

impl Pads {
    /// All at their defaults.
    #[must_use]
    pub fn new() -> Self {
        Self { first: PadParams::new(0), others: (1..PADS).map(PadParams::new).collect() }
    }

    /// The parameters of a pad, counted from 0; of the first for a number that no pad has.
    #[must_use]
    pub fn pad(&self, index: usize) -> &PadParams {
        index.checked_sub(1).and_then(|index| self.others.get(index)).unwrap_or(&self.first)
    }

    /// The parameters of all pads in order.
    pub fn iter(&self) -> impl Iterator<Item = &PadParams> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl Default for Pads {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the pointers are those of the parameters in `self`, boxed or not, which stay where they are as long as
// `self` does.
#[allow(unsafe_code)]
unsafe impl Params for Pads {
    fn param_map(&self) -> Vec<(String, ParamPtr, String)> {
        let mut map = Vec::new();
        for (index, pad) in self.iter().enumerate() {
            map.extend(pad.param_map().into_iter().map(|(id, pointer, _)| {
                let id = if index == 0 { id } else { format!("pad{}_{id}", index + 1) };
                (id, pointer, format!("Pad {}", index + 1))
            }));
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pad_plays_every_key_and_the_others_one_each() {
        let pads = Pads::new();
        let settings: Vec<PadSettings> = pads.iter().map(PadParams::settings).collect();
        assert_eq!(settings.len(), PADS);
        assert_eq!((settings[0].keys, settings[0].root_key, settings[0].key_tracking), ([0, 127], 60, 1.0));
        for (index, pad) in settings.iter().enumerate().skip(1) {
            let key = 36 + index as i32;
            assert_eq!((pad.keys, pad.root_key, pad.key_tracking), ([key, key], key, 0.0));
            assert_eq!(*pad, pads.pad(index).settings());
        }
        for pad in settings {
            assert_eq!(pad.repaired(), pad);
        }
    }
}
