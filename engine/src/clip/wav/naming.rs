//! Names of files: read from the prompt, and legal on every system.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

use super::ucs;
use crate::clip::Provenance;

/// Characters of the prompt that a name keeps.
const MAX_WORDS: usize = 60;
/// Characters that a part of a catalogue name keeps besides the title.
const MAX_PART: usize = 20;
/// Bytes of a whole file name, with number and extension: what a home folder encrypted by eCryptfs allows, which is less than
/// anything else (255 bytes or UTF-16 units).
const MAX_NAME_BYTES: usize = 143;
/// What every name ends with, and the room for the number before it.
const EXTENSION: &str = ".wav";
const NUMBER_BYTES: usize = " 9999".len();
/// The sign before the names of devices.
const SIGN_BYTES: usize = "_".len();
/// The name of what has no words.
const NAMELESS: &str = "Sound";

/// How a sound's file is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// The prompt and the seed: `A heavy wooden door creaks open 42.wav`; with a further variation of that seed,
    /// `... 42-2.wav`.
    #[default]
    Prompt,
    /// As the Universal Category System wants it, `CatID_FXName_CreatorID_SourceID_UserData`:
    /// `DOORWood_A Heavy Wooden Door Creaks Open_MM_Haunted House_42.wav`. The CatID comes from words of the
    /// prompt ([`categorize`](super::categorize)), `DSGNMisc` where they tell nothing; the user data is the seed.
    Ucs {
        /// Who made the sound, as a short form.
        creator: String,
        /// The library or project that it belongs to; `NONE` if empty.
        source: String,
    },
}

impl Naming {
    /// The file's name without number and extension.
    #[must_use]
    pub fn stem(&self, provenance: &Provenance) -> String {
        let mut take = provenance.seed.to_string();
        if provenance.variation > 0 {
            take += &format!("-{}", u64::from(provenance.variation) + 1);
        }
        match self {
            Self::Prompt => {
                let words = clean(provenance.title(), MAX_WORDS, room() - take.len() - 1);
                stem_of(&format!("{} {take}", or(&words, NAMELESS)))
            }
            Self::Ucs { creator, source } => {
                let id = ucs::categorize(provenance.title()).map_or(ucs::UNKNOWN_ID, |category| category.id);
                let part = |text: &str, other: &str| {
                    or(&clean(&text.replace('_', "-"), MAX_PART, 30), other).into_owned()
                };
                let rest = format!("{}_{}_{take}", part(creator, "SoundLoCD"), part(source, "NONE"));
                let title = title_case(provenance.title()).replace('_', "-");
                let title = clean(&title, MAX_WORDS, room().saturating_sub(id.len() + rest.len() + 2));
                stem_of(&format!("{id}_{}_{rest}", or(&title, NAMELESS)))
            }
        }
    }
}

/// The name of the `number`th file that wants to be called `stem`, from 1: only further ones show it.
#[must_use]
pub fn file_name(stem: &str, number: u32) -> String {
    if number <= 1 { format!("{stem}{EXTENSION}") } else { format!("{stem} {number}{EXTENSION}") }
}

/// What somebody typed as the stem of a file name: legal on every system, with as much of it as fits. `None` if
/// nothing is left.
#[must_use]
pub fn legal_stem(text: &str) -> Option<String> {
    let clean = clean(text, usize::MAX, room());
    (!clean.is_empty()).then(|| stem_of(&clean))
}

/// The prompt with capitals at the beginnings of its words.
pub(super) fn title_case(prompt: &str) -> String {
    let mut title = String::with_capacity(prompt.len());
    let mut is_within = false;
    for c in prompt.chars() {
        if is_within {
            title.push(c);
        } else {
            title.extend(c.to_uppercase());
        }
        is_within = !c.is_whitespace();
    }
    title
}

/// Bytes that a stem may have.
fn room() -> usize {
    MAX_NAME_BYTES - EXTENSION.len() - NUMBER_BYTES - SIGN_BYTES
}

fn or<'a>(text: &'a str, other: &'a str) -> Cow<'a, str> {
    Cow::Borrowed(if text.is_empty() { other } else { text })
}

/// The text without what some system forbids or what would deceive the reader of a list of files; of at most so many
/// characters and bytes, cut between words where that leaves half.
fn clean(text: &str, max_chars: usize, max_bytes: usize) -> String {
    let mut clean = String::new();
    for c in text.nfc() {
        if is_separator(c) {
            if !clean.is_empty() && !clean.ends_with(' ') {
                clean.push(' ');
            }
        // Not at the beginning: a hidden file on Unix.
        } else if !is_invisible(c) && (c != '.' || !clean.is_empty()) {
            clean.push(c);
        }
    }
    let end = clean.char_indices().map(|(at, c)| at + c.len_utf8()).take(max_chars);
    let end = end.take_while(|end| *end <= max_bytes).last().unwrap_or(0);
    let (kept, cut) = clean.split_at(end);
    let kept = match kept.rfind(' ') {
        Some(at) if !cut.is_empty() && !cut.starts_with(' ') && at >= kept.len() / 2 => {
            kept.get(..at).unwrap_or(kept)
        }
        _ => kept,
    };
    // Windows drops dots and spaces at the end.
    kept.trim_end_matches([' ', '.']).to_owned()
}

/// What stands between words: spaces, control characters, and what Windows, macOS or Linux forbids in names.
fn is_separator(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*')
}

/// Characters that change how others are shown, but those that emoji and some scripts need (the joiners).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}' | '\u{FFF0}'..='\u{FFFB}' | '\u{FFFE}' | '\u{FFFF}')
}

/// `clean` with a sign before it if Windows knows a device of that name.
fn stem_of(clean: &str) -> String {
    let name = clean.split('.').next().unwrap_or(clean).trim_end().to_uppercase();
    let numbered = |name: &str| {
        matches!(name.chars().next(), Some('0'..='9' | '¹' | '²' | '³')) && name.chars().count() == 1
    };
    let is_device = matches!(name.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || name.strip_prefix("COM").is_some_and(numbered)
        || name.strip_prefix("LPT").is_some_and(numbered);
    if is_device { format!("_{clean}") } else { clean.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clip::{EditNote, Region};

    fn stem(prompt: &str) -> String {
        Naming::Prompt.stem(&Provenance { prompt: prompt.into(), seed: 42, ..Provenance::default() })
    }

    fn ucs(prompt: &str, creator: &str, source: &str) -> String {
        let naming = Naming::Ucs { creator: creator.into(), source: source.into() };
        naming.stem(&Provenance { prompt: prompt.into(), seed: 42, ..Provenance::default() })
    }

    #[test]
    fn names_read_like_the_prompt() {
        assert_eq!(stem("A heavy wooden door creaks open"), "A heavy wooden door creaks open 42");
        assert_eq!(stem("rain/thunder: \"loud\"?"), "rain thunder loud 42");
        assert_eq!(stem("Türen  schlägt\tصوت المطر \u{1F514}"), "Türen schlägt صوت المطر \u{1F514} 42");
        assert_eq!(stem(""), "Sound 42");
        assert_eq!(stem("\u{202E}\u{0}..."), "Sound 42");
        assert_eq!(
            stem(&"wind and rain ".repeat(30)),
            "wind and rain wind and rain wind and rain wind and rain wind 42"
        );
        let second = Provenance { prompt: "a".into(), seed: 7, variation: 1, ..Provenance::default() };
        assert_eq!(Naming::Prompt.stem(&second), "a 7-2");
        let region = Region { start: 0.0, end: 1.0, low: 0.0, high: 1_000.0 };
        let edit = EditNote::Repaint { region, of: "a door".into() };
        let repainted = Provenance { prompt: "a bell".into(), edit: Some(edit), ..Provenance::default() };
        assert_eq!(Naming::Prompt.stem(&repainted), "a door 0");
        assert_eq!(file_name("a 7", 1), "a 7.wav");
        assert_eq!(file_name("a 7", 3), "a 7 3.wav");
    }

    #[test]
    fn catalogue_names_have_five_parts() {
        assert_eq!(
            ucs("a heavy wooden door creaks open", "MM", "Haunted House"),
            "DOORWood_A Heavy Wooden Door Creaks Open_MM_Haunted House_42"
        );
        assert_eq!(ucs("glitch_y texture", "", ""), "DSGNMisc_Glitch-y Texture_SoundLoCD_NONE_42");
        assert_eq!(ucs("", "a_b/c", "\u{0}"), "DSGNMisc_Sound_a-b c_NONE_42");
        let long = ucs(&"gong ".repeat(100), &"x".repeat(1_000), &"y".repeat(1_000));
        assert_eq!(long.split('_').count(), 5);
    }

    #[test]
    fn typed_names_become_legal() {
        for (typed, legal) in [
            ("Door 1", "Door 1"),
            ("CON", "_CON"),
            ("con.tape", "_con.tape"),
            ("Lpt³ ", "_Lpt³"),
            ("COM10", "COM10"),
            ("console", "console"),
            ("../../etc/passwd", "etc passwd"),
            (".hidden", "hidden"),
            ("ends. . .", "ends"),
            ("e\u{301}te\u{301}", "\u{e9}t\u{e9}"),
            ("a\u{202E}vaw.exe", "avaw.exe"),
        ] {
            assert_eq!(legal_stem(typed).as_deref(), Some(legal), "{typed:?}");
        }
        for typed in ["", " ", "...", "/\\:*?\"<>|", "\u{0}\u{7f}\u{85}", "\u{FEFF}"] {
            assert_eq!(legal_stem(typed), None, "{typed:?}");
        }
    }

    /// What Windows, macOS and Linux demand of every name, for texts of all kinds.
    #[test]
    fn no_text_makes_an_illegal_name() {
        let mut state = 1u64;
        let mut next = || {
            // Knuth's MMIX generator.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        let texts = (0..2_000).map(|_| {
            let chars = next() % 600;
            (0..chars)
                .filter_map(|_| match next() % 3 {
                    0 => char::from_u32(next() % 128),
                    1 => char::from_u32(next() % 0x11_0000),
                    _ => "./\\ .CON_ー家\u{301}\u{1F469}\u{200D}".chars().nth((next() % 16) as usize),
                })
                .collect::<String>()
        });
        for text in texts {
            let typed = legal_stem(&text).unwrap_or_else(|| "x".into());
            for stem in [stem(&text), ucs(&text, &text, &text), typed] {
                let name = file_name(&stem, 9_999);
                assert!(name.len() <= MAX_NAME_BYTES, "{name:?}");
                assert!(!name.starts_with(['.', ' ']) && !stem.ends_with(['.', ' ']), "{name:?}");
                assert!(!name.chars().any(|c| c.is_control() || "<>:\"/\\|?*".contains(c)), "{name:?}");
                assert_eq!(std::path::Path::new(&name).file_name().unwrap().to_str(), Some(name.as_str()));
            }
        }
    }
}
