//! Edits: a new sound made of one that is there, by drawing some of its tokens anew.
//!
//! ```
//! use soundlocd_engine::clip::{Clip, Region};
//! use soundlocd_engine::service::{Edit, Request, Source};
//!
//! /// The same again with other wheels, from 1 s to 1.5 s and above 2 kHz.
//! fn repaint(clip: &Clip) -> Request {
//!     let region = Region { start: 1.0, end: 1.5, low: 2_000.0, high: 8_000.0 };
//!     let of = clip.provenance.title().to_owned();
//!     let edit = Edit::Repaint { source: Source::of(clip), region, of };
//!     Request { edit: Some(edit), ..Request::new("squeaking wheels", 7) }
//! }
//! ```

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::request::{MIN_SECONDS, RequestError, in_range, normalise};
use crate::SAMPLE_RATE;
use crate::clip::{Clip, EditNote, Region, TokenGrid};

/// Longest sound that an edit starts from or makes, in seconds.
pub const MAX_EDIT_SECONDS: f32 = 30.0;

/// What an edit starts from. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The tokens of a clip. They belong to the pack that made it: another refuses them.
    Grid(#[serde(with = "shared")] Arc<TokenGrid>),
    /// Mono samples at [`SAMPLE_RATE`], full scale 1.0, which the pack's codec turns into tokens. The codec keeps
    /// what it can: the sound is not quite the same even where nothing is changed.
    Audio(#[serde(with = "shared")] Arc<[f32]>),
}

impl Source {
    /// The tokens of `clip` if it has them, else its audio.
    #[must_use]
    pub fn of(clip: &Clip) -> Self {
        match &clip.grid {
            Some(grid) => Self::Grid(Arc::clone(grid)),
            None => Self::Audio(Arc::clone(&clip.audio)),
        }
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f32 {
        match self {
            Self::Grid(grid) => grid.seconds(),
            Self::Audio(audio) => audio.len() as f32 / SAMPLE_RATE as f32,
        }
    }

    fn validate(&self) -> Result<(), EditError> {
        let seconds = self.seconds();
        if seconds > MAX_EDIT_SECONDS {
            return Err(EditError::TooLong { seconds, most: MAX_EDIT_SECONDS });
        }
        match self {
            // A trimmed click of the model's own may be as short as it likes.
            Self::Grid(_) => Ok(()),
            Self::Audio(_) if seconds < MIN_SECONDS => {
                Err(EditError::TooShort { seconds, least: MIN_SECONDS })
            }
            Self::Audio(audio) if !audio.iter().all(|sample| sample.is_finite()) => Err(EditError::NotFinite),
            Self::Audio(_) => Ok(()),
        }
    }
}

/// How a sound is made of another, or between two prompts.
///
/// The prompt, negative prompt, guidance, sampler, steps and adapters of the request hold as for any other. Its
/// length in seconds is that of the source instead, where there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Edit {
    /// Draws a part of the tokens anew, scattered over the sound: its relatives.
    Vary {
        /// What to start from.
        source: Source,
        /// Which share of the tokens, 0 to 1: near 0 the sound comes back, 1 is one of the prompt alone.
        amount: f32,
    },
    /// Draws a region anew, to fit what is around it; the request's prompt says what of, and may differ from the
    /// source's. Outside, tokens and level stay as they are.
    Repaint {
        /// What to start from.
        source: Source,
        /// Where: [`TokenGrid::snap`] tells in which cells.
        region: Region,
        /// What the source is called, which the result is called too; may be empty. Changes nothing that is heard.
        #[serde(default)]
        of: String,
    },
    /// Adds sound that fits at the ends.
    Extend {
        /// What to start from.
        source: Source,
        /// How much before the beginning, in seconds.
        before: f32,
        /// How much after the end, in seconds. In all the sound may be [`MAX_EDIT_SECONDS`] long.
        after: f32,
    },
    /// Makes a sound that goes round without a seam: its end is drawn anew to lead into its beginning, and all of it
    /// is the clip's [loop](Clip::loop_range). Its length is a whole number of token columns (0.186 s in the default
    /// pack).
    Loop {
        /// What to start from; without it a sound of the request is made first.
        source: Option<Source>,
    },
    /// Makes a sound between two prompts: the request's decides the first steps, and with them the outline; the other
    /// one decides the rest, and with that the details.
    Morph {
        /// The second prompt.
        prompt: String,
        /// The share of the steps that follow the first prompt, 0 (all of the second) to 1 (all of the first).
        at: f32,
    },
}

impl Edit {
    /// What it starts from.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        match self {
            Self::Vary { source, .. } | Self::Repaint { source, .. } | Self::Extend { source, .. } => {
                Some(source)
            }
            Self::Loop { source } => source.as_ref(),
            Self::Morph { .. } => None,
        }
    }

    /// What a clip's provenance keeps of it.
    #[must_use]
    pub fn note(&self) -> EditNote {
        match self {
            Self::Vary { amount, .. } => EditNote::Vary { amount: *amount },
            Self::Repaint { region, of, .. } => EditNote::Repaint { region: *region, of: of.clone() },
            Self::Extend { before, after, .. } => EditNote::Extend { before: *before, after: *after },
            Self::Loop { .. } => EditNote::Loop,
            Self::Morph { prompt, at } => EditNote::Morph { prompt: prompt.clone(), at: *at },
        }
    }

    /// Checks it and returns it with its prompt normalised.
    ///
    /// # Errors
    /// The first [`RequestError`] found.
    pub(super) fn validate(self) -> Result<Self, RequestError> {
        if let Some(source) = self.source() {
            source.validate()?;
        }
        match &self {
            Self::Vary { amount, .. } => in_range("amount of variation", *amount, 0.0, 1.0)?,
            Self::Repaint { source, region, .. } => check_region(region, source.seconds())?,
            Self::Extend { source, before, after } => {
                in_range("length before the beginning in seconds", *before, 0.0, MAX_EDIT_SECONDS)?;
                in_range("length after the end in seconds", *after, 0.0, MAX_EDIT_SECONDS)?;
                let seconds = source.seconds() + before + after;
                if seconds > MAX_EDIT_SECONDS {
                    return Err(EditError::TooLong { seconds, most: MAX_EDIT_SECONDS }.into());
                }
                if *before == 0.0 && *after == 0.0 {
                    return Err(EditError::NothingToAdd.into());
                }
            }
            Self::Loop { .. } => {}
            Self::Morph { prompt, at } => {
                in_range("place between the prompts", *at, 0.0, 1.0)?;
                let prompt = normalise("second prompt", prompt)?.ok_or(EditError::EmptyPrompt)?;
                return Ok(Self::Morph { prompt, at: *at });
            }
        }
        Ok(self)
    }
}

fn check_region(region: &Region, seconds: f32) -> Result<(), EditError> {
    let Region { start, end, low, high } = *region;
    // Written so that NaN fails too.
    if !(start < end && low < high && [start, end, low, high].iter().all(|edge| edge.is_finite())) {
        return Err(EditError::NoRegion);
    }
    let overlaps = end > 0.0 && start < seconds && high > 0.0 && low < SAMPLE_RATE as f32 / 2.0;
    if overlaps { Ok(()) } else { Err(EditError::OutsideRegion { seconds }) }
}

/// Why an [`Edit`] was refused; shown to the musician as it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Source or result would be longer than [`MAX_EDIT_SECONDS`].
    #[error("That would make a sound of {seconds:.1} s; edited sounds can be up to {most} s long.")]
    TooLong {
        /// Its length, in seconds.
        seconds: f32,
        /// The limit, in seconds.
        most: f32,
    },
    /// Audio that is shorter than any sound that can be made.
    #[error("The sound is too short to be edited: it has {seconds:.2} s, at least {least} s are needed.")]
    TooShort {
        /// Its length, in seconds.
        seconds: f32,
        /// The limit, in seconds.
        least: f32,
    },
    /// Audio with NaN or infinity in it.
    #[error("The sound is broken: it has samples that are not numbers.")]
    NotFinite,
    /// A rectangle without an area.
    #[error("Draw a rectangle on the spectrogram first: the region to repaint is empty.")]
    NoRegion,
    /// A rectangle beside the sound.
    #[error("The region to repaint lies outside of the sound, which is {seconds:.2} s long.")]
    OutsideRegion {
        /// The sound's length, in seconds.
        seconds: f32,
    },
    /// An extension by nothing.
    #[error("Say how many seconds to add before the beginning or after the end: both are 0.")]
    NothingToAdd,
    /// No second prompt.
    #[error("Type the second prompt first: it is empty.")]
    EmptyPrompt,
    /// The tokens belong to another pack's codebook.
    #[error(
        "This sound was made with another model than the one chosen now, so it cannot be edited as it is. Choose its \
         model, or edit its audio instead."
    )]
    OtherPack,
    /// The tokens say that they belong to the pack, but do not fit its codec.
    #[error("The tokens saved with this sound do not fit its model. Edit its audio instead.")]
    Misfit,
}

/// What lies behind an `Arc` in serialised data.
mod shared {
    use super::{Arc, Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize + ?Sized, S: Serializer>(
        value: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: ?Sized, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error>
    where
        Box<T>: Deserialize<'de>,
    {
        Box::<T>::deserialize(deserializer).map(Arc::from)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clip::Placement;
    use crate::service::Request;

    fn audio(seconds: f32) -> Source {
        Source::Audio(vec![0.25; (seconds * SAMPLE_RATE as f32) as usize].into())
    }

    fn grid() -> Source {
        let placement = Placement { first: 0, samples: 40_000, asked: 40_960, gain: 0.5 };
        let grid = TokenGrid::new(vec![3; 50], 5, 16, "ab".repeat(32), placement);
        Source::Grid(Arc::new(grid.unwrap()))
    }

    fn check(edit: Edit) -> Result<Request, RequestError> {
        Request { edit: Some(edit), ..Request::new("rain", 1) }.validate()
    }

    fn region(start: f32, end: f32, low: f32, high: f32) -> Region {
        Region { start, end, low, high }
    }

    #[test]
    fn sensible_edits_pass() {
        for source in [audio(1.0), grid()] {
            for amount in [0.0, 0.4, 1.0] {
                check(Edit::Vary { source: source.clone(), amount }).unwrap();
            }
            check(Edit::Loop { source: Some(source.clone()) }).unwrap();
            // Over the edge: what is inside counts.
            let region = region(-1.0, 99.0, -5.0, 1e6);
            check(Edit::Repaint { source: source.clone(), region, of: String::new() }).unwrap();
            check(Edit::Extend { source, before: 0.0, after: 28.0 }).unwrap();
        }
        check(Edit::Loop { source: None }).unwrap();
        let morph = check(Edit::Morph { prompt: " a  bell\n".into(), at: 0.5 }).unwrap();
        assert_eq!(morph.edit, Some(Edit::Morph { prompt: "a bell".into(), at: 0.5 }));
    }

    #[test]
    fn amounts_outside_their_ranges_are_refused() {
        for value in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
            let vary = check(Edit::Vary { source: grid(), amount: value });
            assert!(matches!(vary, Err(RequestError::OutOfRange { .. })), "{value}");
            let morph = check(Edit::Morph { prompt: "bell".into(), at: value });
            assert!(matches!(morph, Err(RequestError::OutOfRange { .. })), "{value}");
        }
        for value in [-0.1, 31.0, f32::NAN, f32::INFINITY] {
            for (before, after) in [(value, 1.0), (1.0, value)] {
                let extend = check(Edit::Extend { source: grid(), before, after });
                assert!(matches!(extend, Err(RequestError::OutOfRange { .. })), "{value}");
            }
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let refused = |edit: Edit, part: &str| {
            let error = check(edit).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        let extend = |source, before, after| Edit::Extend { source, before, after };
        refused(extend(grid(), 0.0, 0.0), "how many seconds");
        refused(extend(audio(10.0), 12.0, 9.0), "31.0 s; edited sounds can be up to 30 s");
        refused(Edit::Vary { source: audio(31.0), amount: 0.5 }, "up to 30 s");
        refused(Edit::Loop { source: Some(audio(0.1)) }, "too short to be edited: it has 0.10 s");
        refused(Edit::Loop { source: Some(Source::Audio(Arc::new([]))) }, "too short");
        let broken = Source::Audio([f32::NAN].repeat(10_000).into());
        refused(Edit::Loop { source: Some(broken) }, "not numbers");
        refused(Edit::Morph { prompt: " \u{200B}".into(), at: 0.5 }, "second prompt first");
        refused(Edit::Morph { prompt: "x".repeat(501), at: 0.5 }, "second prompt is too long");
        let repaint = |region| Edit::Repaint { source: grid(), region, of: String::new() };
        for empty in [
            region(1.0, 1.0, 100.0, 200.0),
            region(1.0, 0.5, 100.0, 200.0),
            region(0.0, 1.0, 200.0, 200.0),
            region(f32::NAN, 1.0, 100.0, 200.0),
            region(0.0, f32::INFINITY, 100.0, 200.0),
        ] {
            refused(repaint(empty), "region to repaint is empty");
        }
        for outside in [region(1.9, 2.5, 100.0, 200.0), region(-1.0, 0.0, 100.0, 200.0)] {
            refused(repaint(outside), "outside of the sound, which is 1.81 s");
        }
        refused(repaint(region(0.0, 1.0, 12_000.0, 20_000.0)), "outside");
    }

    #[test]
    fn requests_with_edits_survive_json() {
        for source in [Source::Audio(vec![0.1, -1.0 / 3.0, 1e-7].into()), grid()] {
            let region = region(0.1, 0.2, 300.0, 400.0);
            for edit in [
                Edit::Vary { source: source.clone(), amount: 0.3 },
                Edit::Repaint { source: source.clone(), region, of: "a tone".into() },
                Edit::Extend { source: source.clone(), before: 0.0, after: 1.5 },
                Edit::Loop { source: Some(source.clone()) },
                Edit::Loop { source: None },
                Edit::Morph { prompt: "bell".into(), at: 0.5 },
            ] {
                let request = Request { edit: Some(edit), ..Request::new("rain", 1) };
                let json = serde_json::to_string(&request).unwrap();
                assert_eq!(serde_json::from_str::<Request>(&json).unwrap(), request);
            }
        }
        let hostile = r#"{"kind": "loop", "source": {"grid": {"tokens": [1], "rows": 0}}}"#;
        assert!(serde_json::from_str::<Edit>(hostile).is_err());
    }
}
