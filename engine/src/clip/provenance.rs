//! Where a clip comes from: enough to make it again, and to say so in a file's metadata.

use serde::{Deserialize, Serialize};

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

/// Longest JSON accepted from outside, in bytes.
pub(super) const MAX_JSON_BYTES: usize = 64 << 10;

impl Provenance {
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
        let finite = provenance.adapters.iter().all(|adapter| adapter.strength.is_finite());
        (finite && provenance.settings.validate().is_ok()).then_some(provenance)
    }
}
