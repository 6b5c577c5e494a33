//! What an adapter says of itself: the card in its file.

use super::LoraError;
use super::json::{MAX_LINE, brief, line, plain, scalars, table, texts, whole};
use crate::pack::{Pack, Part};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the card that this engine reads and writes.
pub const FORMAT: u32 = 1;

/// Metadata key of the card, as JSON.
pub const CARD_KEY: &str = "soundlocd.adapter";

/// Longest text of a field, in characters; what is longer is cut when the card is read.
const MAX_TEXT: usize = 2000;

/// The base model that an adapter was trained on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BaseId {
    /// Name of the pack.
    pub name: String,
    /// [`Pack::hash`], which covers everything in the pack.
    pub pack: String,
    /// SHA-256 of the transformer's weights file.
    pub transformer: String,
    /// SHA-256 of the codec's weights file: it says what the tokens mean.
    pub codec: String,
    /// SHA-256 of the text encoder's weights file: it says what the features mean.
    pub text: String,
}

impl BaseId {
    /// Of a pack.
    #[must_use]
    pub fn of(pack: &Pack) -> Self {
        let files = &pack.manifest().files;
        let hash = |part| files.weights(part).sha256.clone();
        Self {
            name: pack.manifest().name.clone(),
            pack: pack.hash().to_owned(),
            transformer: hash(Part::Transformer),
            codec: hash(Part::Codec),
            text: hash(Part::Text),
        }
    }

    /// Whether an adapter for the one serves the other: the same pack, or one that differs only in what does not concern
    /// adapters (its vocoder, its description).
    #[must_use]
    pub fn serves(&self, other: &Self) -> bool {
        let parts = |id: &Self| [id.transformer.clone(), id.codec.clone(), id.text.clone()];
        (!self.pack.is_empty() && self.pack == other.pack)
            || (parts(self) == parts(other) && parts(self).iter().all(|hash| !hash.is_empty()))
    }
}

/// What an adapter was trained on, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSummary {
    /// Where the recordings come from and under which licences.
    pub description: String,
    /// Clips that it learnt from.
    #[serde(deserialize_with = "plain")]
    pub clips: usize,
    /// Their length together, in seconds.
    #[serde(deserialize_with = "plain")]
    pub seconds: f64,
}

/// What an adapter says of itself. Only the rank, alpha and base concern the engine; the rest is for people.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// Version of this format, [`FORMAT`].
    #[serde(deserialize_with = "plain")]
    pub format: u32,
    /// What it is called.
    pub title: String,
    /// Who made it.
    pub author: String,
    /// Licence of its weights.
    pub licence: String,
    /// What it is good for.
    pub description: String,
    /// Prompts that bring out what it has learnt.
    #[serde(deserialize_with = "texts")]
    pub triggers: Vec<String>,
    /// The rank `r` of all its matrices.
    #[serde(deserialize_with = "plain")]
    pub rank: usize,
    /// The numerator of the scale `alpha / r`.
    #[serde(deserialize_with = "plain")]
    pub alpha: f64,
    /// The projections that it changes (`q`, `k`, `v`, `proj`), for people: the tensors decide.
    #[serde(deserialize_with = "texts")]
    pub targets: Vec<String>,
    /// The base that it was trained on.
    #[serde(deserialize_with = "table")]
    pub base: BaseId,
    /// What it was trained on.
    #[serde(deserialize_with = "table")]
    pub data: DataSummary,
    /// How it was trained: names and values of settings.
    #[serde(deserialize_with = "scalars")]
    pub training: BTreeMap<String, serde_json::Value>,
    /// Version of the program that wrote it.
    pub engine_version: String,
    /// When it was written, in seconds since 1970-01-01 00:00 UTC.
    #[serde(deserialize_with = "plain")]
    pub created_unix: u64,
}

impl Card {
    /// Parses the card of `file`. Texts and lists that are too long are cut, control characters removed.
    ///
    /// # Errors
    /// When it is not a card, or of a version that this engine does not know.
    pub fn parse(file: &str, json: &str) -> Result<Self, LoraError> {
        let refuse = |what, expected: String, found: String| {
            Err(LoraError::Card { file: file.to_owned(), what, expected, found })
        };
        let mut card: Self = match whole(json.as_bytes()) {
            Ok(card) => card,
            Err(error) => return refuse("its card", "SoundLoCD's JSON".into(), brief(&error)),
        };
        if card.format != FORMAT {
            return refuse("the version of its card", FORMAT.to_string(), card.format.to_string());
        }
        for text in [
            &mut card.title,
            &mut card.author,
            &mut card.licence,
            &mut card.base.name,
            &mut card.base.pack,
            &mut card.base.transformer,
            &mut card.base.codec,
            &mut card.base.text,
            &mut card.engine_version,
        ] {
            *text = line(text, MAX_LINE);
        }
        for text in [&mut card.description, &mut card.data.description] {
            *text = line(text, MAX_TEXT);
        }
        card.triggers.retain(|text| !text.trim().is_empty());
        Ok(card)
    }

    /// The card as JSON.
    ///
    /// # Errors
    /// When a number in it has no JSON form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_card_reads_back_and_hostile_text_is_cut() {
        let card = Card {
            format: FORMAT,
            title: "Old typewriters".into(),
            triggers: vec!["a typewriter types fast".into()],
            rank: 8,
            alpha: 16.0,
            ..Card::default()
        };
        assert_eq!(Card::parse("a", &card.to_json().unwrap()).unwrap(), card);

        let hostile = Card {
            title: format!("bad\u{7}\n{}", "x".repeat(100_000)),
            triggers: vec!["\0".into(); 10_000],
            ..card.clone()
        };
        let read = Card::parse("a", &hostile.to_json().unwrap()).unwrap();
        assert_eq!((read.title.chars().count(), &read.title[..4]), (200, "badx"));
        assert!(read.triggers.is_empty());

        for (json, part) in [("[]", "card"), ("{", "card"), (r#"{"format": 2, "rank": 8}"#, "version")] {
            let message = Card::parse("my.safetensors", json).unwrap_err().to_string();
            assert!(message.contains("my.safetensors") && message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_base_with_another_vocoder_is_served() {
        let id = |pack: &str, part: &str| BaseId {
            pack: pack.into(),
            transformer: part.into(),
            codec: part.into(),
            text: part.into(),
            ..BaseId::default()
        };
        assert!(id("a", "1").serves(&id("a", "1")) && id("a", "1").serves(&id("b", "1")));
        assert!(!id("a", "1").serves(&id("b", "2")));
        // Nothing known is not the same as equal.
        assert!(!BaseId::default().serves(&BaseId::default()));
    }
}
