//! The words in a name, without what only serves to number and sort files.

use unicode_normalization::UnicodeNormalization;

/// The words of `name` in lower case: split at everything that is no letter and inside camelCase; without numbers of
/// takes, notes and keys, formats and ids; with the commonest shorthand of sample libraries written out.
pub fn words(name: &str) -> Vec<String> {
    // macOS writes accents as characters of their own.
    let name: String = name.nfc().collect();
    let mut words: Vec<String> = Vec::new();
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '\u{2019}' | '#');
    let tokens: Vec<&str> = name.split(|c| !is_part(c)).filter(|token| !token.is_empty()).collect();
    for (i, token) in tokens.iter().enumerate() {
        if is_id(token) || is_note_or_key(token) {
            continue;
        }
        let next = tokens.get(i + 1).and_then(|next| next.chars().next());
        for piece in pieces(token) {
            let word = piece.to_lowercase();
            if piece.starts_with(|c: char| c.is_ascii_digit()) {
                if MACHINES.contains(&piece) {
                    words.push(word);
                } else if words.last().is_some_and(|last| NUMBERED.contains(&last.as_str())) {
                    words.pop();
                }
                continue;
            }
            // "a dog barks" has an article, "Door A 01" a letter to tell doors apart.
            let article = word == "a" && next.is_some_and(|c| c.is_lowercase()) && (piece == "a" || i == 0);
            if (word.chars().count() < 2 && !article) || DROPPED.contains(&word.as_str()) {
                continue;
            }
            let written_out =
                SHORTHAND.iter().find(|(short, _)| *short == word).map(|(_, long)| (*long).to_owned());
            let word = written_out.unwrap_or(word);
            if words.last() != Some(&word) {
                words.push(word);
            }
        }
    }
    words
}

/// Whether `words` are only what a recorder or a program calls every file.
pub fn says_nothing(words: &[String]) -> bool {
    const DEFAULTS: &[&str] = &[
        "audio",
        "clip",
        "dr",
        "file",
        "img",
        "memo",
        "mvi",
        "new",
        "rec",
        "recording",
        "sample",
        "sound",
        "ste",
        "tascam",
        "track",
        "vid",
        "voc",
        "zoom",
        "take",
        "dji",
        "dsc",
        "gopro",
    ];
    words.iter().all(|word| DEFAULTS.contains(&word.as_str()))
}

/// Whether a caption that begins with `word` is a sentence or a phrase of its own.
pub fn is_article(word: Option<&str>) -> bool {
    word.is_some_and(|word| matches!(word, "a" | "an" | "the" | "some" | "somebody" | "someone"))
}

/// `word` in the singular, for what folders are called: "doors", "boxes"; "glass" and "bass" stay.
pub fn singular(word: &str) -> &str {
    let ends_in = |ends: &[&str]| ends.iter().any(|end| word.ends_with(end));
    if word.len() <= 3 || ends_in(&["ss", "us", "is", "ies"]) {
        word
    } else if ends_in(&["ches", "shes", "xes", "sses"]) {
        word.strip_suffix("es").unwrap_or(word)
    } else {
        word.strip_suffix('s').unwrap_or(word)
    }
}

/// Drum machines and synthesizers that are known by their numbers.
const MACHINES: &[&str] = &["303", "505", "606", "626", "707", "727", "808", "909"];

/// Words that mean nothing but the number after them.
const NUMBERED: &[&str] =
    &["take", "tk", "ver", "version", "var", "variation", "alt", "rr", "no", "nr", "vol", "part", "pt"];

/// What never describes a sound.
const DROPPED: &[&str] = &[
    "aif",
    "aiff",
    "bit",
    "bounce",
    "bpm",
    "copy",
    "export",
    "flac",
    "hz",
    "kbps",
    "khz",
    "mixdown",
    "mono",
    "mp3",
    "mp",
    "normalized",
    "ogg",
    "opus",
    "rendered",
    "sfx",
    "stereo",
    "untitled",
    "wav",
];

/// Shorthand and what it means.
const SHORTHAND: &[(&str, &str)] = &[
    ("amb", "ambience"),
    ("atmo", "atmosphere"),
    ("atmos", "atmosphere"),
    ("bd", "bass drum"),
    ("chh", "closed hi-hat"),
    ("cym", "cymbal"),
    ("ext", "exterior"),
    ("fx", "effect"),
    ("gtr", "guitar"),
    ("hh", "hi-hat"),
    ("hihat", "hi-hat"),
    ("hvy", "heavy"),
    ("int", "interior"),
    ("kik", "kick"),
    ("ohh", "open hi-hat"),
    ("perc", "percussion"),
    ("sd", "snare drum"),
    ("snr", "snare"),
    ("tamb", "tambourine"),
    ("vox", "voice"),
];

/// Whether `token` is a hash, a UUID's part or a video's id.
fn is_id(token: &str) -> bool {
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    let hexadecimal = token.len() >= 8 && digits > 0 && token.bytes().all(|b| b.is_ascii_hexdigit());
    let kinds: Vec<bool> = token.chars().map(|c| c.is_ascii_digit()).collect();
    let changes = kinds.windows(2).filter(|pair| pair.first() != pair.last()).count();
    hexadecimal || changes >= 4
}

/// Whether `token` is a note or a key: `C3`, `F#`, `Bb2`, `Am`, `Ebmaj7`.
fn is_note_or_key(token: &str) -> bool {
    let Some(rest) = token.strip_prefix(|c: char| ('A'..='G').contains(&c)) else { return false };
    let rest = rest.strip_prefix(['#', 'b']).unwrap_or(rest);
    let rest = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    token.len() > 1 && matches!(rest, "" | "m" | "min" | "minor" | "maj" | "major" | "sus" | "dim")
}

/// `token` split where letters and digits meet and where camelCase begins a word: `HTTPDoor2` is `HTTP`, `Door`, `2`.
fn pieces(token: &str) -> Vec<&str> {
    let chars: Vec<(usize, char)> = token.char_indices().collect();
    let mut cuts = vec![0];
    for window in chars.windows(2).zip(chars.iter().skip(2).map(Some).chain([None])) {
        let (&[(_, before), (at, here)], after) = window else { continue };
        let camel = here.is_uppercase()
            && (before.is_lowercase()
                || before.is_uppercase() && after.is_some_and(|(_, c)| c.is_lowercase()));
        if camel || before.is_ascii_digit() != here.is_ascii_digit() {
            cuts.push(at);
        }
    }
    cuts.push(token.len());
    let piece = |pair: &[usize]| token.get(*pair.first()?..*pair.last()?);
    let pieces = cuts.windows(2).filter_map(piece).map(|piece| piece.trim_matches(['\'', '\u{2019}', '#']));
    pieces.filter(|piece| !piece.is_empty()).collect()
}
