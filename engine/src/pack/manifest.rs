//! `pack.json`: what a model pack is, before any of its weights is read.

use super::{CodecConfig, PackError, VocoderConfig};
use crate::diffusion::{
    Method, PosteriorKind, SamplerConfig, Schedule, ScheduleConfig, Truncation, transformer,
};
use crate::service::{SamplerKind, Settings};
use crate::text;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the manifest that this engine reads and writes.
pub const FORMAT: u32 = 1;

/// A `pack.json` larger than this is refused unread.
pub(super) const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// No file of a pack may be larger: four times the largest part of the paper's model in f32.
const MAX_FILE_BYTES: u64 = 8 << 30;

/// The parts of a pack that have weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The text encoder.
    Text,
    /// The denoising transformer.
    Transformer,
    /// The spectrogram codec.
    Codec,
    /// The vocoder.
    Vocoder,
}

impl Part {
    /// All of them, in the order of the signal path.
    pub const ALL: [Self; 4] = [Self::Text, Self::Transformer, Self::Codec, Self::Vocoder];

    /// The part's name in the manifest and in the metadata of its weights file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Transformer => "transformer",
            Self::Codec => "codec",
            Self::Vocoder => "vocoder",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One file of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name within the pack's folder, without any path.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, lower-case hexadecimal.
    pub sha256: String,
}

/// The files of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The text encoder's `tokenizer.json`.
    pub tokenizer: FileEntry,
    /// Weights of [`Part::Text`].
    pub text: FileEntry,
    /// Weights of [`Part::Transformer`].
    pub transformer: FileEntry,
    /// Weights of [`Part::Codec`].
    pub codec: FileEntry,
    /// Weights of [`Part::Vocoder`].
    pub vocoder: FileEntry,
}

impl Files {
    /// The weights file of `part`.
    #[must_use]
    pub fn weights(&self, part: Part) -> &FileEntry {
        match part {
            Part::Text => &self.text,
            Part::Transformer => &self.transformer,
            Part::Codec => &self.codec,
            Part::Vocoder => &self.vocoder,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &FileEntry> {
        [&self.tokenizer, &self.text, &self.transformer, &self.codec, &self.vocoder].into_iter()
    }
}

/// What the sampler does besides following [`Settings`]: tuned with the weights, nothing to turn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Randomness of the order of confidence-ordered sampling
    /// ([`Method::Purity`](crate::diffusion::Method::Purity)).
    pub order_temperature: f32,
    /// Divides the logits.
    pub temperature: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { order_temperature: 4.5, temperature: 1.0 }
    }
}

impl Sampling {
    /// How to sample by `settings` with a schedule of `timesteps`.
    #[must_use]
    pub fn config(&self, settings: &Settings, timesteps: usize) -> SamplerConfig {
        let steps = settings.steps as usize;
        let method = match settings.sampler {
            SamplerKind::Purity => Method::Purity { steps, order_temperature: self.order_temperature },
            SamplerKind::Ancestral => Method::Ancestral { steps: steps.min(timesteps) },
        };
        SamplerConfig {
            method,
            truncation: Truncation::Rate(settings.truncation),
            guidance: settings.guidance,
            temperature: self.temperature,
            posterior: PosteriorKind::default(),
        }
    }
}

/// Everything about a pack but its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format, [`FORMAT`].
    pub format: u32,
    /// What the pack is called.
    pub name: String,
    /// What it is good for, in a sentence or two.
    pub description: String,
    /// Licence of the weights (an SPDX expression).
    pub licence: String,
    /// Where the training data came from and under which licences.
    pub training_data: String,
    /// Architecture of the text encoder.
    pub text: text::Config,
    /// Architecture of the denoising transformer.
    pub transformer: transformer::Config,
    /// The noise schedule that the transformer was trained with.
    pub schedule: ScheduleConfig,
    /// Architecture of the spectrogram codec.
    pub codec: CodecConfig,
    /// Architecture of the vocoder.
    pub vocoder: VocoderConfig,
    /// The sampler settings that suit the pack.
    pub recommended: Settings,
    /// What else the sampler needs to know.
    pub sampling: Sampling,
    /// The files and their hashes.
    pub files: Files,
}

impl Manifest {
    /// Parses and checks a `pack.json`.
    ///
    /// # Errors
    /// When it is not JSON of this format, or anything in it cannot be.
    pub fn parse(json: &[u8]) -> Result<Self, PackError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let invalid = |error: serde_json::Error| PackError::Manifest(error.to_string());
        // The version first: another version's fields are expected to differ.
        let Version { format } = serde_json::from_slice(json).map_err(invalid)?;
        if format != FORMAT {
            return Err(PackError::Format { found: format, supported: FORMAT });
        }
        let manifest: Self = serde_json::from_slice(json).map_err(invalid)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// The manifest as the text of a `pack.json`.
    ///
    /// # Errors
    /// When a number in it has no JSON form.
    pub fn to_json(&self) -> Result<String, PackError> {
        let mut json =
            serde_json::to_string_pretty(self).map_err(|error| PackError::Manifest(error.to_string()))?;
        json.push('\n');
        Ok(json)
    }

    /// The noise schedule for the pack's codebook.
    ///
    /// # Errors
    /// When the manifest's schedule is not one.
    pub fn schedule(&self) -> Result<Schedule, PackError> {
        Schedule::new(self.codec.codebook(), &self.schedule)
            .map_err(|error| PackError::Manifest(error.to_string()))
    }

    /// Checks what can be checked without the weights.
    fn validate(&self) -> Result<(), PackError> {
        let invalid = |reason: String| Err(PackError::Manifest(reason));
        for (field, text, most) in [
            ("name", &self.name, 200),
            ("description", &self.description, 10_000),
            ("licence", &self.licence, 1000),
            ("training_data", &self.training_data, 10_000),
        ] {
            if text.len() > most {
                return invalid(format!("{field} has {} bytes, at most {most} are possible", text.len()));
            }
        }
        if self.name.trim().is_empty() {
            return invalid("the pack has no name".into());
        }
        if let Err(error) = self.recommended.validate() {
            return invalid(format!("recommended settings: {error}"));
        }
        self.check_architecture().or_else(invalid)?;
        self.schedule()?;
        for (what, value) in [
            ("order_temperature", self.sampling.order_temperature),
            ("temperature", self.sampling.temperature),
        ] {
            if !(0.0..=100.0).contains(&value) {
                return invalid(format!("sampling: {what} is {value}, expected 0 to 100"));
            }
        }
        let mut names = Vec::new();
        for file in self.files.iter() {
            check_file(file)?;
            // Case-insensitive, as file systems may be.
            let name = file.name.to_lowercase();
            if name == super::MANIFEST_FILE || names.contains(&name) {
                return invalid(format!("the file {} is named twice", file.name));
            }
            names.push(name);
        }
        Ok(())
    }

    /// Checks each part's sizes, and that the parts fit together.
    fn check_architecture(&self) -> Result<(), String> {
        self.text.validate()?;
        self.transformer.validate()?;
        self.codec.validate()?;
        self.codec
            .validate_rows(self.transformer.rows)
            .map_err(|reason| format!("its parts do not fit together: {reason}"))?;
        self.vocoder.validate()?;
        for (what, left, right) in [
            ("widths of the text features", self.text.width(), self.transformer.cond_width),
            ("sizes of the codebook", self.codec.codebook(), self.transformer.codebook),
            ("numbers of timesteps", self.schedule.steps, self.transformer.timesteps),
            ("mel bands of spectrograms", crate::MEL_BANDS, self.vocoder.bands()),
        ] {
            if left != right {
                return Err(format!("its parts do not fit together: {what} are {left} and {right}"));
            }
        }
        Ok(())
    }
}

/// Refuses names that could lead out of the pack's folder, sizes beyond reason and hashes that are none.
fn check_file(file: &FileEntry) -> Result<(), PackError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let safe = !file.name.is_empty()
        && file.name.len() <= 100
        && !file.name.starts_with('.')
        && file.name.chars().all(plain);
    if !safe {
        return Err(PackError::UnsafeName { name: file.name.chars().take(100).collect() });
    }
    if file.bytes > MAX_FILE_BYTES {
        return Err(PackError::Manifest(format!(
            "{} is said to have {} bytes, more than the {MAX_FILE_BYTES} possible",
            file.name, file.bytes
        )));
    }
    if file.sha256.len() != 64 || !file.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(PackError::Manifest(format!("{}: its sha256 is not 64 lower-case digits", file.name)));
    }
    Ok(())
}
