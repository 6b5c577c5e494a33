//! The parameters that hosts see, automate and save.
//!
//! The ids are part of every saved project and must never change. Two kinds exist: those that
//! shape how notes are played (of the whole instrument here, of each pad in [`pads`]), read by the audio
//! thread, and those that describe the next sound to make (length, quality and so on), read when
//! Generate is pressed and not automatable.

pub mod pads;
mod text;

use std::sync::Arc;

use nice_plug::prelude::*;
use soundlocd_engine::service::{
    Settings,
    request::{MAX_GUIDANCE, MAX_SECONDS, MAX_STEPS, MIN_SECONDS},
};

use pads::{PadParams, Pads};
pub use text::key_name;
use text::{decibels, number, octaves, parse_seconds, rounded, switch, with_unit};

use crate::{
    packs::Ready,
    sampler::{MAX_VOICES, Master, PadSettings, PlayMode},
    session::Session,
    state::{KitField, ProjectField},
};

/// Most variations that the window offers at once.
pub const MAX_VARIATIONS: i32 = soundlocd_engine::service::request::MAX_VARIATIONS as i32;
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
    /// The sounds.
    #[persist = "kit"]
    kit: KitField,

    /// Output level in dB.
    #[id = "gain"]
    pub gain: FloatParam,
    /// Range of the pitch wheel in semitones.
    #[id = "bend"]
    pub bend_range: FloatParam,
    /// Voices.
    #[id = "voices"]
    pub polyphony: IntParam,
    /// Depth of the vibrato with the modulation wheel at its top, in cents.
    #[id = "vibrato"]
    pub vibrato: FloatParam,
    /// How far the modulation wheel moves the filters' cutoff, in octaves.
    #[id = "wheelcutoff"]
    pub wheel_cutoff: FloatParam,
    /// How far pressure moves the filters' cutoff, in octaves.
    #[id = "presscutoff"]
    pub pressure_cutoff: FloatParam,

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
    /// Ignores note-offs on pad 1. From the time of one clip, before pads had a mode; there for
    /// projects that automate it.
    #[id = "oneshot"]
    pub one_shot: BoolParam,

    /// How each pad plays.
    #[nested]
    pub pads: Pads,
}

impl SoundLocdParams {
    /// All parameters at their defaults; persistent fields live in `session`.
    #[must_use]
    pub fn new(session: Arc<Session>) -> Self {
        let settings = Settings::default();
        Self {
            project: ProjectField::new(Arc::clone(&session)),
            kit: KitField::new(session),
            gain: decibels("Gain", 12.0),
            bend_range: with_unit(
                "Pitch bend",
                2.0,
                FloatRange::Linear { min: 0.0, max: 24.0 },
                0,
                "st",
                &["st", "semitones"],
            )
            .with_step_size(1.0),
            polyphony: IntParam::new(
                "Voices",
                MAX_VOICES as i32,
                IntRange::Linear { min: 1, max: MAX_VOICES as i32 },
            ),
            vibrato: with_unit(
                "Vibrato",
                50.0,
                FloatRange::Linear { min: 0.0, max: 200.0 },
                0,
                "ct",
                &["ct", "cents", "cent"],
            ),
            wheel_cutoff: octaves("Wheel to cutoff", 0.0),
            pressure_cutoff: octaves("Pressure to cutoff", 2.0),
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
            one_shot: switch("Pad 1 one-shot").hide_in_generic_ui(),
            pads: Pads::new(),
        }
    }

    /// What all pads share now. For the audio thread: reads atomics only.
    #[must_use]
    pub fn master(&self) -> Master {
        Master {
            gain: 10f32.powf(self.gain.value() / 20.0),
            bend_range: self.bend_range.value(),
            polyphony: usize::try_from(self.polyphony.value()).unwrap_or(1),
            vibrato: self.vibrato.value(),
            wheel_cutoff: self.wheel_cutoff.value(),
            pressure_cutoff: self.pressure_cutoff.value(),
        }
    }

    /// How each pad plays now, in order. For the audio thread: reads atomics only.
    pub fn pad_settings(&self) -> impl Iterator<Item = PadSettings> {
        let is_one_shot = self.one_shot.value();
        self.pads.iter().map(PadParams::settings).enumerate().map(move |(index, settings)| {
            let mode = if index == 0 && is_one_shot { PlayMode::OneShot } else { settings.mode };
            PadSettings { mode, ..settings }
        })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use soundlocd_engine::service::SamplerKind;

    use super::*;

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
        let (first, others) = ids.split_at(13 + 29);
        assert_eq!(
            first.join(" "),
            "gain bend voices vibrato wheelcutoff presscutoff length quality guidance randomness variations revision \
             oneshot level pan low high root tracking tune velocity velcurve mode start end fadein fadeout loopstart \
             loopend crossfade reverse attack decay sustain release air filter cutoff resonance width choke output"
        );
        assert_eq!(others.len(), 15 * 29);
        for (index, id) in others.iter().enumerate() {
            assert_eq!(*id, format!("pad{}_{}", 2 + index / 29, first[13 + index % 29]));
        }
    }

    #[test]
    fn a_project_that_automates_the_old_switch_plays_as_it_did() {
        let params = SoundLocdParams::new(Arc::new(Session::for_tests()));
        let modes = || params.pad_settings().map(|pad| pad.mode).take(2).collect::<Vec<_>>();
        assert_eq!(modes(), [PlayMode::Gate, PlayMode::OneShot]);
        let pointer = params.one_shot.as_ptr();
        // SAFETY: `params` outlives the pointer.
        unsafe { pointer._internal_set_normalized_value(1.0) };
        assert_eq!(modes(), [PlayMode::OneShot, PlayMode::OneShot]);
    }
}
