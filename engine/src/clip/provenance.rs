//! Where a clip comes from: enough to make it again, and to say so in a file's metadata.

use serde::{Deserialize, Serialize};

use super::Region;
use crate::service::request::Settings;

/// Everything that determined a clip. Travels with it through WAV files and project state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The normalised prompt.
    pub prompt: String,
    /// The normalised negative prompt, if one was given.
    pub negative_prompt: Option<String>,
    /// Seed of the request.
    pub seed: u64,
    /// Number of this variation within the request, from 0.
    pub variation: u32,
    /// Name of the model pack.
    pub pack_name: String,
    /// SHA-256 of the model pack's manifest, in lower-case hexadecimal.
    pub pack_hash: String,
    /// Settings of the request.
    pub settings: Settings,
    /// Adapters that were blended in, in order.
    pub adapters: Vec<AdapterUse>,
    /// How it was edited, if it is an edit of another clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edit: Option<EditNote>,
    /// Version of the engine.
    pub engine_version: String,
    /// Creation time in seconds since 1970-01-01 00:00 UTC.
    pub created_unix: u64,
}

/// One adapter that took part in making a clip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdapterUse {
    /// Title of the adapter.
    pub name: String,
    /// SHA-256 of the adapter's file, in lower-case hexadecimal.
    pub hash: String,
    /// Strength it was blended in with, 0..=2.
    pub strength: f32,
}

/// What an [`Edit`](crate::service::Edit) did, without the sound that it started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EditNote {
    /// A part of the tokens was drawn anew, here and there.
    Vary {
        /// Which share, 0 to 1.
        amount: f32,
    },
    /// The tokens of a region were drawn anew.
    Repaint {
        /// Where: in seconds of the clip and Hz.
        region: Region,
        /// What the sound was called that it was made from; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        of: String,
    },
    /// Sound was added at the ends.
    Extend {
        /// Before the beginning, in seconds.
        before: f32,
        /// After the end, in seconds.
        after: f32,
    },
    /// It was made to go round.
    Loop,
    /// It lies between two prompts.
    Morph {
        /// The second prompt.
        prompt: String,
        /// The share of the steps that followed the first, 0 to 1.
        at: f32,
    },
}

impl EditNote {
    fn is_finite(&self) -> bool {
        match self {
            Self::Vary { amount } => amount.is_finite(),
            Self::Repaint { region: Region { start, end, low, high }, .. } => {
                [start, end, low, high].iter().all(|edge| edge.is_finite())
            }
            Self::Extend { before, after } => before.is_finite() && after.is_finite(),
            Self::Loop => true,
            Self::Morph { at, .. } => at.is_finite(),
        }
    }
}

/// Longest JSON accepted from outside, in bytes.
pub(super) const MAX_JSON_BYTES: usize = 64 << 10;

impl Provenance {
    /// What the sound is called: its prompt, or, where that tells of a region only, what the whole was called before.
    #[must_use]
    pub fn title(&self) -> &str {
        match &self.edit {
            Some(EditNote::Repaint { of, .. }) if !of.trim().is_empty() => of,
            _ => &self.prompt,
        }
    }

    /// As JSON, UTF-8 without line breaks.
    pub(super) fn to_json(&self) -> String {
        // Strings, numbers and lists of them always serialise; floats that are not finite become
        // `null`, which `from_json` refuses.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From JSON of a file or project. `None` if it is too long, not of this form, or its
    /// settings are outside their ranges.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        if json.len() > MAX_JSON_BYTES {
            return None;
        }
        let provenance: Self = serde_json::from_slice(json).ok()?;
        let finite = provenance.adapters.iter().all(|adapter| adapter.strength.is_finite())
            && provenance.edit.iter().all(EditNote::is_finite);
        (finite && provenance.settings.validate().is_ok()).then_some(provenance)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn edits_are_kept_and_older_json_has_none() {
        let region = Region { start: 0.5, end: 1.25, low: 200.0, high: 4_000.0 };
        for edit in [
            EditNote::Vary { amount: 0.3 },
            EditNote::Repaint { region, of: String::new() },
            EditNote::Repaint { region, of: "a bell".into() },
            EditNote::Extend { before: 0.0, after: 2.5 },
            EditNote::Loop,
            EditNote::Morph { prompt: "\u{1F514} \"rain\"".into(), at: 0.5 },
        ] {
            let provenance = Provenance { edit: Some(edit), ..Provenance::default() };
            let json = provenance.to_json();
            assert_eq!(Provenance::from_json(json.as_bytes()).unwrap(), provenance, "{json}");
        }
        let json = Provenance::default().to_json();
        assert!(!json.contains("edit"));
        // As it was before the sound's name was kept.
        let edit = EditNote::Repaint { region, of: String::new() };
        let repainted = Provenance { prompt: "wheels".into(), edit: Some(edit), ..Provenance::default() };
        assert!(!repainted.to_json().contains("\"of\""));
        assert_eq!(repainted.title(), "wheels");
        let edit = Some(EditNote::Repaint { region, of: "a bell".into() });
        assert_eq!(Provenance { edit, ..repainted }.title(), "a bell");
        assert_eq!(Provenance::from_json(json.as_bytes()).unwrap().edit, None);
        // Written as null: no number.
        let edit = Some(EditNote::Vary { amount: f32::NAN });
        let json = Provenance { edit, ..Provenance::default() }.to_json();
        assert_eq!(Provenance::from_json(json.as_bytes()), None);
        assert_eq!(Provenance::from_json(json.replace("null}", "1e99}").as_bytes()), None);
    }
}
