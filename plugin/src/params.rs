//! The parameters that hosts see, automate and save.
//!
//! The ids are part of every saved project and must never change. Two kinds exist: those that
//! shape how notes are played, read by the audio thread, and those that describe the next sound to
//! make (length, quality and so on), read when Generate is pressed and not automatable.

use std::sync::Arc;

use nice_plug::prelude::*;
use soundlocd_engine::service::{
    Settings,
    request::{MAX_GUIDANCE, MAX_SECONDS, MAX_STEPS, MIN_SECONDS},
};

use crate::{
    packs::Ready,
    sampler::{EnvelopeTimes, MAX_VOICES, SamplerSettings},
    session::Session,
    state::{ClipField, ProjectField},
};

/// Most variations that the window offers at once.
pub const MAX_VARIATIONS: i32 = 4;
/// The hidden change counter runs from 0 to this and starts over.
pub const MAX_REVISION: i32 = 9_999;

/// How much time to spend on a sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum Quality {
    /// A first impression: half the steps of `Good`.
    #[id = "draft"]
    Draft,
    /// For everyday use: as many steps as the model recommends.
    #[id = "good"]
    Good,
    /// Twice the steps of `Good`.
    #[id = "best"]
    Best,
}

impl Quality {
    /// Denoising steps with a model that recommends so many.
    #[must_use]
    pub fn steps(self, recommended: u32) -> u32 {
        let steps = match self {
            Self::Draft => recommended / 2,
            Self::Good => recommended,
            Self::Best => recommended.saturating_mul(2),
        };
        steps.clamp(1, MAX_STEPS)
    }
}

/// All parameters and persistent fields of one plugin instance.
#[derive(Params)]
pub struct SoundLocdParams {
    /// Prompt, seed and format version.
    #[persist = "project"]
    project: ProjectField,
    /// The clip itself.
    #[persist = "clip"]
    clip: ClipField,

    /// Output level in dB.
    #[id = "gain"]
    pub gain: FloatParam,
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
    /// The key that plays the clip as it is.
    #[id = "root"]
    pub root_key: IntParam,
    /// 0..=1.
    #[id = "tracking"]
    pub key_tracking: FloatParam,
    /// Semitones.
    #[id = "tune"]
    pub tune: FloatParam,
    /// Semitones.
    #[id = "bend"]
    pub bend_range: FloatParam,
    /// 0..=1.
    #[id = "velocity"]
    pub velocity_amount: FloatParam,
    /// Ignore note-offs.
    #[id = "oneshot"]
    pub one_shot: BoolParam,
    /// Voices.
    #[id = "voices"]
    pub polyphony: IntParam,

    /// Length of the next sound in seconds.
    #[id = "length"]
    pub length: FloatParam,
    /// Steps of the next sound.
    #[id = "quality"]
    pub quality: EnumParam<Quality>,
    /// Classifier-free guidance of the next sound.
    #[id = "guidance"]
    pub guidance: FloatParam,
    /// Truncation rate of the next sound, 0..=1.
    #[id = "randomness"]
    pub truncation: FloatParam,
    /// Sounds to make at once.
    #[id = "variations"]
    pub variations: IntParam,

    /// Counts changes of the project that no parameter shows (a new clip, another prompt).
    /// The frameworks have no other way to tell a host that there is something to save.
    #[id = "revision"]
    pub revision: IntParam,
}

impl SoundLocdParams {
    /// All parameters at their defaults; persistent fields live in `session`.
    #[must_use]
    pub fn new(session: Arc<Session>) -> Self {
        let settings = Settings::default();
        Self {
            project: ProjectField::new(Arc::clone(&session)),
            clip: ClipField::new(session),
            gain: FloatParam::new("Gain", 0.0, FloatRange::Linear { min: -60.0, max: 12.0 })
                .with_value_to_string(Arc::new(|db| format!("{} dB", rounded(db, 1))))
                .with_string_to_value(Arc::new(|text| number(text, &["db"]))),
            attack: time("Attack", 0.0, 5.0),
            decay: time("Decay", 0.5, 10.0),
            sustain: percent("Sustain", 1.0),
            release: time("Release", 0.08, 10.0),
            root_key: IntParam::new("Root key", 60, IntRange::Linear { min: 0, max: 127 })
                .with_value_to_string(Arc::new(key_name))
                .with_string_to_value(Arc::new(parse_key)),
            key_tracking: percent("Key tracking", 1.0),
            tune: FloatParam::new("Tune", 0.0, FloatRange::Linear { min: -24.0, max: 24.0 })
                .with_value_to_string(Arc::new(|st| format!("{} st", rounded(st, 2))))
                .with_string_to_value(Arc::new(|text| number(text, &["st", "semitones"]))),
            bend_range: FloatParam::new("Pitch bend", 2.0, FloatRange::Linear { min: 0.0, max: 24.0 })
                .with_step_size(1.0)
                .with_value_to_string(Arc::new(|st| format!("{} st", rounded(st, 0))))
                .with_string_to_value(Arc::new(|text| number(text, &["st", "semitones"]))),
            velocity_amount: percent("Velocity", 0.7),
            one_shot: BoolParam::new("One-shot", false)
                .with_value_to_string(Arc::new(|on| if on { "On" } else { "Off" }.to_owned()))
                .with_string_to_value(Arc::new(|text| match text.trim().to_lowercase().as_str() {
                    "on" | "yes" | "true" | "1" => Some(true),
                    "off" | "no" | "false" | "0" => Some(false),
                    _ => None,
                })),
            polyphony: IntParam::new(
                "Voices",
                MAX_VOICES as i32,
                IntRange::Linear { min: 1, max: MAX_VOICES as i32 },
            ),
            length: FloatParam::new(
                "Length",
                settings.seconds,
                FloatRange::Skewed {
                    min: MIN_SECONDS,
                    max: MAX_SECONDS,
                    factor: FloatRange::skew_factor(-1.0),
                },
            )
            .with_value_to_string(Arc::new(|seconds| format!("{} s", rounded(seconds, 2))))
            .with_string_to_value(Arc::new(parse_seconds))
            .non_automatable(),
            quality: EnumParam::new("Quality", Quality::Good).non_automatable(),
            guidance: FloatParam::new(
                "Guidance",
                settings.guidance,
                FloatRange::Linear { min: 0.0, max: MAX_GUIDANCE },
            )
            .with_value_to_string(Arc::new(|value| rounded(value, 1)))
            .with_string_to_value(Arc::new(|text| number(text, &[])))
            .non_automatable(),
            truncation: FloatParam::new(
                "Randomness",
                settings.truncation,
                FloatRange::Linear { min: 0.05, max: 1.0 },
            )
            .with_value_to_string(Arc::new(|value| format!("{} %", rounded(value * 100.0, 0))))
            .with_string_to_value(Arc::new(|text| number(text, &["%"]).map(|v| v / 100.0)))
            .non_automatable(),
            variations: IntParam::new("Variations", 1, IntRange::Linear { min: 1, max: MAX_VARIATIONS })
                .non_automatable(),
            revision: IntParam::new("Project revision", 0, IntRange::Linear { min: 0, max: MAX_REVISION })
                .hide()
                .hide_in_generic_ui(),
        }
    }

    /// How to play notes now. For the audio thread: reads atomics only.
    #[must_use]
    pub fn sampler_settings(&self) -> SamplerSettings {
        SamplerSettings {
            root_key: self.root_key.value(),
            key_tracking: self.key_tracking.value(),
            tune: self.tune.value(),
            bend_range: self.bend_range.value(),
            velocity_amount: self.velocity_amount.value(),
            one_shot: self.one_shot.value(),
            polyphony: usize::try_from(self.polyphony.value()).unwrap_or(1),
            gain: 10f32.powf(self.gain.value() / 20.0),
            envelope: EnvelopeTimes {
                attack: self.attack.value(),
                decay: self.decay.value(),
                sustain: self.sustain.value(),
                release: self.release.value(),
            },
        }
    }

    /// How to make the next sound with `model`: its own sampler, around its own number of steps,
    /// no longer than it can.
    #[must_use]
    pub fn generation_settings(&self, model: &Ready) -> Settings {
        Settings {
            seconds: self.length.value().min(model.max_seconds),
            steps: self.quality.value().steps(model.recommended.steps),
            guidance: self.guidance.value(),
            truncation: self.truncation.value(),
            sampler: model.recommended.sampler,
        }
    }
}

/// A duration from 0 to `max` seconds, finer at the short end.
fn time(name: &str, default: f32, max: f32) -> FloatParam {
    FloatParam::new(
        name,
        default,
        FloatRange::Skewed { min: 0.0, max, factor: FloatRange::skew_factor(-2.0) },
    )
    .with_value_to_string(Arc::new(|seconds| {
        let ms = (seconds * 10_000.0).round() / 10.0;
        // The unit is chosen after rounding, so that the text reads back to the same text.
        if ms < 1000.0 { format!("{ms:.1} ms") } else { format!("{seconds:.2} s") }
    }))
    .with_string_to_value(Arc::new(parse_seconds))
}

/// A share, 0..=1, shown in percent.
fn percent(name: &str, default: f32) -> FloatParam {
    FloatParam::new(name, default, FloatRange::Linear { min: 0.0, max: 1.0 })
        .with_value_to_string(Arc::new(|value| format!("{} %", rounded(value * 100.0, 1))))
        .with_string_to_value(Arc::new(|text| number(text, &["%"]).map(|v| v / 100.0)))
}

/// `value` with so many decimals, never as a negative zero.
fn rounded(value: f32, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| matches!(c, '0' | '.')) => digits.to_owned(),
        _ => text,
    }
}

/// A finite number with an optional unit; a decimal comma is understood.
fn number(text: &str, units: &[&str]) -> Option<f32> {
    let text = text.trim().to_lowercase().replace(',', ".");
    let digits = units.iter().find_map(|unit| text.strip_suffix(unit)).unwrap_or(&text);
    digits.trim().parse().ok().filter(|value: &f32| value.is_finite())
}

/// "250 ms", "1.5 s" or plain seconds.
fn parse_seconds(text: &str) -> Option<f32> {
    number(text, &["ms"])
        .filter(|_| text.trim().to_lowercase().ends_with("ms"))
        .map(|ms| ms / 1000.0)
        .or_else(|| number(text, &["seconds", "sec", "s"]))
}

/// Names of the keys within an octave.
const KEY_NAMES: [&str; 12] = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];

/// The name of a MIDI key; 60 is C4.
#[must_use]
pub fn key_name(key: i32) -> String {
    let name = KEY_NAMES.get(key.rem_euclid(12) as usize).copied().unwrap_or_default();
    format!("{name}{}", key.div_euclid(12) - 1)
}

/// A key from its name ("C4", "f#3", "Bb2") or its MIDI number. The framework's own parser panics
/// on text outside ASCII.
fn parse_key(text: &str) -> Option<i32> {
    let text = text.trim().to_lowercase();
    if let Ok(number) = text.parse::<i32>() {
        return (0..=127).contains(&number).then_some(number);
    }
    let mut chars = text.chars();
    let letter = chars.next()?;
    let rest = chars.as_str();
    let (accidental, octave) = match rest.chars().next()? {
        '#' => (1, rest.get(1..)?),
        'b' => (-1, rest.get(1..)?),
        _ => (0, rest),
    };
    let natural = KEY_NAMES.iter().position(|name| name.to_lowercase() == letter.to_string())?;
    let octave: i32 = octave.trim().parse().ok()?;
    let key = octave.checked_add(1)?.checked_mul(12)? + natural as i32 + accidental;
    (0..=127).contains(&key).then_some(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use soundlocd_engine::service::SamplerKind;

    use super::*;

    #[test]
    fn keys_read_back() {
        assert_eq!(key_name(60), "C4");
        assert_eq!(key_name(69), "A4");
        assert_eq!(key_name(0), "C-1");
        for key in 0..128 {
            assert_eq!(parse_key(&key_name(key)), Some(key));
        }
        assert_eq!(parse_key("Bb3"), Some(58));
        assert_eq!(parse_key(" 61 "), Some(61));
        for text in ["", "H2", "é4", "C", "C#", "c99999999999", "128", "-1", "😀"] {
            assert_eq!(parse_key(text), None, "{text}");
        }
    }

    #[test]
    fn times_and_numbers_read_back() {
        assert_eq!(parse_seconds("250 ms"), Some(0.25));
        assert_eq!(parse_seconds("1,5 s"), Some(1.5));
        assert_eq!(parse_seconds("2"), Some(2.0));
        for text in ["", "ms", "NaN", "inf", "1 h"] {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
        assert_eq!(number("-3.5 dB", &["db"]), Some(-3.5));
        assert_eq!(rounded(-0.04, 1), "0.0");
    }

    #[test]
    fn every_text_reads_back_to_the_same_text() {
        let params = SoundLocdParams::new(Arc::new(Session::for_tests()));
        for (id, param, _) in params.param_map() {
            for i in 0..=97 {
                // SAFETY: `params` outlives the pointer.
                let (text, again) = unsafe {
                    let text = param.normalized_value_to_string(i as f32 / 97.0, true);
                    let value = param.string_to_normalized_value(&text).unwrap();
                    (text, param.normalized_value_to_string(value, true))
                };
                assert_eq!(text, again, "{id}");
            }
        }
    }

    #[test]
    fn settings_follow_the_model() {
        assert_eq!([Quality::Draft, Quality::Good, Quality::Best].map(|q| q.steps(16)), [8, 16, 32]);
        assert_eq!([Quality::Draft, Quality::Good, Quality::Best].map(|q| q.steps(100)), [50, 100, 100]);
        assert_eq!(Quality::Draft.steps(1), 1);
        let params = SoundLocdParams::new(Arc::new(Session::for_tests()));
        assert_eq!(params.generation_settings(&Ready::default()), Settings::default());
        let recommended = Settings { steps: 100, sampler: SamplerKind::Ancestral, ..Settings::default() };
        let large = Ready { recommended: recommended.clone(), max_seconds: 1.5, ..Ready::default() };
        assert_eq!(params.generation_settings(&large), Settings { seconds: 1.5, ..recommended });
    }

    #[test]
    fn ids_are_stable() {
        let params = SoundLocdParams::new(Arc::new(Session::for_tests()));
        let ids: Vec<_> = params.param_map().into_iter().map(|(id, _, _)| id).collect();
        assert_eq!(
            ids.join(" "),
            "gain attack decay sustain release root tracking tune bend velocity oneshot voices length \
             quality guidance randomness variations revision"
        );
    }
}
