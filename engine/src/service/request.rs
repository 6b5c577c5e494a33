//! What a client asks for: a prompt, how many variations, and the [`Settings`] of the sampler.
//!
//! Everything here comes from outside (a text box, a command line, a saved project), so it is
//! checked once, by [`Request::validate`], before any of it reaches the model. The messages of
//! [`RequestError`] are shown to the musician as they are.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::edit::{Edit, EditError};
use crate::{HOP, SAMPLE_RATE};

/// Shortest sound that can be asked for, in seconds.
pub const MIN_SECONDS: f32 = 0.2;
/// Longest sound that can be asked for, in seconds: [`MAX_COLUMNS`](crate::MAX_COLUMNS) token columns.
pub const MAX_SECONDS: f32 = 9.845;
/// Longest prompt, in characters after normalisation.
pub const MAX_PROMPT_CHARS: usize = 500;
/// Most denoising steps (the paper's schedule has this many).
pub const MAX_STEPS: u32 = 100;
/// Strongest classifier-free guidance.
pub const MAX_GUIDANCE: f32 = 10.0;
/// Most variations of one request.
pub const MAX_VARIATIONS: u32 = 8;
/// Most adapters that one request blends.
pub const MAX_ADAPTERS: usize = 8;
/// Largest strength of an adapter.
pub const MAX_STRENGTH: f32 = 2.0;

/// The order in which the sampler decides the tokens of the grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// Most confident tokens first: good from 8 steps on.
    #[default]
    Purity,
    /// The reverse diffusion process itself, one posterior draw a step: the paper's sampler.
    Ancestral,
}

/// How a sound is made from its prompt. Musical or model quantities only; nothing of the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Length of the sound in seconds, [`MIN_SECONDS`]..=[`MAX_SECONDS`].
    pub seconds: f32,
    /// Denoising steps, 1..=[`MAX_STEPS`]: more is slower and finer.
    pub steps: u32,
    /// Classifier-free guidance, 0..=[`MAX_GUIDANCE`]: 1 follows the prompt as trained, more follows it more
    /// strictly, 0 ignores it.
    pub guidance: f32,
    /// Truncation rate in (0, 1]: the share of probability mass that stays eligible at each
    /// draw; 1 keeps every token.
    pub truncation: f32,
    /// The order in which tokens are decided.
    pub sampler: SamplerKind,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seconds: 3.0, steps: 16, guidance: 3.0, truncation: 0.85, sampler: SamplerKind::default() }
    }
}

impl Settings {
    /// Checks every value against its range.
    ///
    /// # Errors
    /// The first [`RequestError`] found, naming the setting, its range and the value.
    pub fn validate(&self) -> Result<(), RequestError> {
        in_range("length in seconds", self.seconds, MIN_SECONDS, MAX_SECONDS)?;
        if !(1..=MAX_STEPS).contains(&self.steps) {
            return Err(RequestError::Steps { found: self.steps, most: MAX_STEPS });
        }
        in_range("guidance", self.guidance, 0.0, MAX_GUIDANCE)?;
        // Written so that NaN fails too.
        if !(self.truncation > 0.0 && self.truncation <= 1.0) {
            return Err(RequestError::Truncation { found: self.truncation });
        }
        Ok(())
    }

    /// Width `W` of the token grid that holds [`Self::seconds`], a column being `frames_per_column` spectrogram frames:
    /// whole columns, rounded up, 1 to `most` whatever the value.
    #[must_use]
    pub fn columns(&self, frames_per_column: usize, most: usize) -> usize {
        let column = (frames_per_column * HOP) as f64 / f64::from(SAMPLE_RATE);
        // A float-to-integer cast saturates, and takes NaN to 0: the clamp makes it valid.
        let columns = (f64::from(self.seconds) / column).ceil() as usize;
        columns.min(most).max(1)
    }
}

/// One order to the engine: a prompt, to be made `variations` times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What to hear.
    pub prompt: String,
    /// What not to hear: takes the place of the empty prompt in guidance.
    #[serde(default)]
    pub negative_prompt: Option<String>,
    /// How to make it.
    #[serde(default)]
    pub settings: Settings,
    /// Seed of all noise: the same request with the same seed and pack gives the same sound.
    pub seed: u64,
    /// How many different sounds to make of it, 1..=[`MAX_VARIATIONS`].
    pub variations: u32,
    /// Adapters to blend in.
    #[serde(default)]
    pub adapters: Vec<AdapterRef>,
    /// What to make of another sound, or between two prompts; without it a sound of the prompt alone is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<Edit>,
}

/// An adapter file and how strongly it is to work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdapterRef {
    /// The file, or PEFT's folder.
    pub path: PathBuf,
    /// SHA-256 of its weights ([`AdapterFile::hash`](crate::lora::AdapterFile::hash)): another file at the path is
    /// refused.
    pub hash: String,
    /// 0 (as if it were not there) to [`MAX_STRENGTH`]; 1 is as trained.
    pub strength: f32,
    /// Whether to use it with another base than it was made for, where its shapes fit.
    #[serde(default)]
    pub force_base: bool,
}

impl Request {
    /// A request for one sound of `prompt` with the default [`Settings`].
    #[must_use]
    pub fn new(prompt: impl Into<String>, seed: u64) -> Self {
        Self {
            prompt: prompt.into(),
            negative_prompt: None,
            settings: Settings::default(),
            seed,
            variations: 1,
            adapters: Vec::new(),
            edit: None,
        }
    }

    /// Checks the request and returns it normalised: control characters removed, line breaks and
    /// runs of white space made single spaces, ends trimmed, an empty negative prompt dropped.
    /// Emoji and right-to-left text pass unchanged.
    ///
    /// # Errors
    /// The first [`RequestError`] found.
    pub fn validate(self) -> Result<Self, RequestError> {
        self.settings.validate()?;
        if !(1..=MAX_VARIATIONS).contains(&self.variations) {
            return Err(RequestError::Variations { found: self.variations, most: MAX_VARIATIONS });
        }
        if self.adapters.len() > MAX_ADAPTERS {
            return Err(RequestError::Adapters { found: self.adapters.len(), most: MAX_ADAPTERS });
        }
        for adapter in &self.adapters {
            in_range("strength of an adapter", adapter.strength, 0.0, MAX_STRENGTH)?;
        }
        let prompt = normalise("prompt", &self.prompt)?.ok_or(RequestError::EmptyPrompt)?;
        let negative_prompt = match &self.negative_prompt {
            Some(text) => normalise("negative prompt", text)?,
            None => None,
        };
        let edit = self.edit.map(Edit::validate).transpose()?;
        Ok(Self { prompt, negative_prompt, edit, ..self })
    }
}

/// Why a [`Request`] was refused. Nothing has been generated or changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nothing visible was typed.
    #[error("Type what you want to hear first: the prompt is empty.")]
    EmptyPrompt,
    /// More text than the model could take in.
    #[error("The {field} is too long: it has {found} characters, at most {most} are possible.")]
    TooLong {
        /// Which text: "prompt" or "negative prompt".
        field: &'static str,
        /// Its characters after normalisation.
        found: usize,
        /// The limit, [`MAX_PROMPT_CHARS`].
        most: usize,
    },
    /// A real-valued setting outside its range, or not a number.
    #[error("The {setting} must be between {least} and {most}; it is {found}.")]
    OutOfRange {
        /// The setting's name.
        setting: &'static str,
        /// Smallest value allowed.
        least: f32,
        /// Largest value allowed.
        most: f32,
        /// The value given.
        found: f32,
    },
    /// Step count outside 1..=[`MAX_STEPS`].
    #[error("The number of steps must be between 1 and {most}; it is {found}.")]
    Steps {
        /// The value given.
        found: u32,
        /// The limit.
        most: u32,
    },
    /// Truncation rate outside (0, 1].
    #[error("The truncation must be above 0 and at most 1; it is {found}.")]
    Truncation {
        /// The value given.
        found: f32,
    },
    /// Variation count outside 1..=[`MAX_VARIATIONS`].
    #[error("The number of variations must be between 1 and {most}; it is {found}.")]
    Variations {
        /// The value given.
        found: u32,
        /// The limit.
        most: u32,
    },
    /// More adapters than [`MAX_ADAPTERS`].
    #[error("At most {most} adapters can be blended; these are {found}.")]
    Adapters {
        /// How many were given.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// The edit is not possible.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The client has more requests under way than it may.
    #[error("{most} requests are already waiting: let them finish or cancel some.")]
    TooManyWaiting {
        /// The limit.
        most: usize,
    },
    /// The system gives the engine no thread.
    #[error("The sound engine cannot be started. Save your project and restart the program.")]
    EngineStopped,
}

/// `Ok` if `value` is within `least..=most`; NaN is not.
pub(super) fn in_range(setting: &'static str, value: f32, least: f32, most: f32) -> Result<(), RequestError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(RequestError::OutOfRange { setting, least, most, found: value })
    }
}

/// The text as the model should read it, or `None` if nothing visible is in it.
pub(super) fn normalise(field: &'static str, text: &str) -> Result<Option<String>, RequestError> {
    let mut clean = String::new();
    let mut chars = 0;
    let words = text.split(char::is_whitespace).map(|word| word.chars().filter(|c| !c.is_control()));
    for word in words {
        // The space before a word is written with its first character: a word may be empty.
        let mut pending_space = chars > 0;
        for c in word {
            if pending_space {
                chars += 1;
            }
            chars += 1;
            // Beyond the limit only the count is wanted, for the message.
            if chars <= MAX_PROMPT_CHARS {
                if pending_space {
                    clean.push(' ');
                }
                clean.push(c);
            }
            pending_space = false;
        }
    }
    if chars > MAX_PROMPT_CHARS {
        return Err(RequestError::TooLong { field, found: chars, most: MAX_PROMPT_CHARS });
    }
    let visible = clean.chars().any(|c| !c.is_whitespace() && !is_invisible(c));
    Ok(visible.then_some(clean))
}

/// Zero-width and directional formatting characters: they matter inside a text (emoji sequences,
/// right-to-left scripts) but say nothing by themselves.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with_settings(change: impl FnOnce(&mut Settings)) -> Result<Request, RequestError> {
        let mut request = Request::new("rain on a tent", 1);
        change(&mut request.settings);
        request.validate()
    }

    fn prompt(text: &str) -> Result<String, RequestError> {
        Request::new(text, 1).validate().map(|request| request.prompt)
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(prompt("rain on a tent").unwrap(), "rain on a tent");
    }

    #[test]
    fn empty_prompts_are_refused() {
        for text in ["", "   ", "\n\t", "\0\0", "\u{200B}", "\u{FEFF} \u{202E}"] {
            assert_eq!(prompt(text), Err(RequestError::EmptyPrompt), "{text:?}");
        }
    }

    #[test]
    fn long_prompts_are_refused_with_their_length() {
        assert_eq!(
            prompt(&"x".repeat(10_000)),
            Err(RequestError::TooLong { field: "prompt", found: 10_000, most: 500 })
        );
        // Characters, not bytes: 500 of four bytes each are still fine.
        let emoji = "\u{1F327}".repeat(500);
        assert_eq!(prompt(&emoji).unwrap(), emoji);
        // Spaces count, but not those that normalisation removes.
        assert!(prompt(&format!("{}   b   ", "a".repeat(498))).is_ok());
        assert!(prompt(&format!("{} b", "a".repeat(499))).is_err());
    }

    #[test]
    fn control_characters_vanish_and_white_space_is_single() {
        assert_eq!(prompt("  deep\0 kick\u{7}\r\n\tdrum  ").unwrap(), "deep kick drum");
        assert_eq!(prompt("\0 a \0 b \0").unwrap(), "a b");
    }

    #[test]
    fn emoji_and_right_to_left_text_pass_unchanged() {
        // A family joined by zero-width joiners, Arabic, and Hebrew with a direction mark.
        for text in ["\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} laughing", "صوت المطر", "גשם \u{200F}חזק"]
        {
            assert_eq!(prompt(text).unwrap(), text);
        }
    }

    #[test]
    fn lengths_outside_the_range_are_refused() {
        for seconds in [0.0, -1.0, 0.19, 9.9, 3600.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(
                matches!(with_settings(|s| s.seconds = seconds), Err(RequestError::OutOfRange { .. })),
                "{seconds}"
            );
        }
        for seconds in [0.2, 3.0, 9.845] {
            assert!(with_settings(|s| s.seconds = seconds).is_ok(), "{seconds}");
        }
    }

    #[test]
    fn sampler_settings_outside_their_ranges_are_refused() {
        for steps in [0, 101, u32::MAX] {
            assert!(matches!(with_settings(|s| s.steps = steps), Err(RequestError::Steps { .. })));
        }
        for guidance in [-0.1, 10.1, f32::NAN, f32::INFINITY] {
            assert!(with_settings(|s| s.guidance = guidance).is_err(), "{guidance}");
        }
        for truncation in [0.0, -1.0, 1.01, f32::NAN] {
            assert!(matches!(
                with_settings(|s| s.truncation = truncation),
                Err(RequestError::Truncation { .. })
            ));
        }
        for variations in [0, 9, u32::MAX] {
            let request = Request { variations, ..Request::new("rain", 1) };
            assert!(matches!(request.validate(), Err(RequestError::Variations { .. })));
        }
    }

    #[test]
    fn adapters_beyond_number_or_strength_are_refused() {
        let with = |adapters: Vec<f32>| {
            let adapters =
                adapters.into_iter().map(|strength| AdapterRef { strength, ..AdapterRef::default() });
            Request { adapters: adapters.collect(), ..Request::new("rain", 1) }.validate()
        };
        assert!(with(vec![0.0, 1.0, 2.0]).is_ok());
        for strength in [-0.1, 2.1, f32::NAN, f32::INFINITY] {
            assert!(matches!(with(vec![strength]), Err(RequestError::OutOfRange { .. })), "{strength}");
        }
        assert_eq!(with(vec![1.0; 9]), Err(RequestError::Adapters { found: 9, most: 8 }));
        // Requests of older versions have none.
        let old: Request = serde_json::from_str(r#"{"prompt": "rain", "seed": 1, "variations": 1}"#).unwrap();
        assert!(old.adapters.is_empty());
    }

    #[test]
    fn negative_prompt_is_normalised_and_dropped_when_empty() {
        let with = |text: &str| {
            let request = Request { negative_prompt: Some(text.into()), ..Request::new("rain", 1) };
            request.validate().map(|request| request.negative_prompt)
        };
        assert_eq!(with(" hum\0 \n hiss").unwrap(), Some("hum hiss".into()));
        assert_eq!(with(" \0 ").unwrap(), None);
        assert!(matches!(
            with(&"x".repeat(501)),
            Err(RequestError::TooLong { field: "negative prompt", found: 501, .. })
        ));
    }

    #[test]
    fn columns_cover_the_length() {
        let columns = |seconds| Settings { seconds, ..Settings::default() }.columns(16, 53);
        assert_eq!(columns(0.2), 2);
        assert_eq!(columns(0.185), 1);
        // 53 columns are 9.845 s (217,088 samples).
        assert_eq!(columns(9.845), 53);
        assert_eq!(columns(9.6), 52);
        assert_eq!((columns(0.0), columns(f32::NAN), columns(1e9)), (1, 1, 53));
        let settings = Settings { seconds: 0.2, ..Settings::default() };
        assert_eq!((settings.columns(2, 53), settings.columns(2, 8)), (9, 8));
    }

    #[test]
    fn settings_of_older_versions_fill_in_defaults() {
        let settings: Settings = serde_json::from_str(r#"{"seconds": 1.5}"#).unwrap();
        assert_eq!(settings, Settings { seconds: 1.5, ..Settings::default() });
    }
}
