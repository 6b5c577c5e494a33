//! A clip's provenance as the chunks that players and broadcast tools read: LIST INFO and bext.

use super::{Export, write::chunk};
use crate::{
    SAMPLE_RATE,
    clip::{Analysis, Provenance},
};

/// Longest title, in characters: the prompt's beginning.
const TITLE_CHARS: usize = 80;
/// "Not measured" in bext's loudness fields.
const UNKNOWN_LEVEL: i16 = 0x7FFF;

/// Content of the LIST chunk: INFO with zero-terminated UTF-8 texts.
pub(super) fn info(provenance: &Provenance, export: &Export) -> Vec<u8> {
    let (date, _) = date_and_time(provenance.created_unix);
    let fields: [(&[u8; 4], &str); 7] = [
        (b"INAM", &title(provenance.title())),
        (b"IART", &export.artist),
        (b"ISBJ", &provenance.prompt),
        (b"ICRD", &date),
        (b"ISFT", &program(provenance)),
        // Separated as the format's registration asks for.
        (b"IKEY", &export.keywords.join("; ")),
        (b"ICMT", &comment(provenance)),
    ];
    let mut list = b"INFO".to_vec();
    for (name, text) in fields {
        // A zero would end the text, a line break the one line that programs show.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.trim().is_empty() {
            continue;
        }
        let mut content = text.into_bytes();
        content.push(0);
        make_even(&mut content);
        chunk(&mut list, name, &content);
    }
    list
}

/// What the sound was made from, for people.
fn comment(provenance: &Provenance) -> String {
    let Provenance { prompt, negative_prompt, seed, variation, pack_name, adapters, .. } = provenance;
    let mut comment = format!("{prompt} (seed {seed}, variation {}", u64::from(*variation) + 1);
    if let Some(unwanted) = negative_prompt {
        comment += &format!(", without: {unwanted}");
    }
    if !pack_name.is_empty() {
        comment += &format!(", model: {pack_name}");
    }
    for adapter in adapters {
        comment += &format!(", adapter: {} at {}", adapter.name, adapter.strength);
    }
    comment + ")"
}

/// Content of the bext chunk (EBU Tech 3285, version 2). `levels` are the clip's; after a
/// sample-rate conversion they hold within what the format resolves.
pub(super) fn bext(provenance: &Provenance, levels: &Analysis, sample_rate: u32) -> Vec<u8> {
    let (date, time) = date_and_time(provenance.created_unix);
    let mut bext = Vec::with_capacity(602);
    bext.extend(ascii::<256>(&provenance.prompt));
    bext.extend(ascii::<32>("SoundLoCD"));
    bext.extend(ascii::<32>(&format!("{:016X}-{}", provenance.seed, provenance.variation)));
    bext.extend(ascii::<10>(&date));
    bext.extend(ascii::<8>(&time));
    // Time reference: samples since midnight, 64 bits. The sound belongs to no time of day.
    bext.extend([0; 8]);
    bext.extend(2u16.to_le_bytes());
    // UMID: none.
    bext.extend([0; 64]);
    let true_peak_db = crate::clip::to_db(levels.true_peak);
    for level in [hundredths(levels.loudness), UNKNOWN_LEVEL, hundredths(true_peak_db)] {
        bext.extend(level.to_le_bytes());
    }
    // Largest momentary and short-term loudness: not measured.
    bext.extend([UNKNOWN_LEVEL.to_le_bytes(); 2].concat());
    bext.extend([0; 180]);
    let mut history = format!("A=PCM,F={SAMPLE_RATE},W=24,M=mono,T={}\r\n", program(provenance));
    if sample_rate != SAMPLE_RATE {
        history += &format!("A=PCM,F={sample_rate},W=24,M=mono,T=SRC\r\n");
    }
    bext.extend(printable(&history, |c| c == '\r' || c == '\n'));
    make_even(&mut bext);
    bext
}

/// Lengthens zero-terminated content to an even length, for readers (hound is one) that do not
/// skip the padding which the format puts after chunks of an odd one.
fn make_even(content: &mut Vec<u8>) {
    if !content.len().is_multiple_of(2) {
        content.push(0);
    }
}

/// The prompt's beginning.
pub(super) fn title(prompt: &str) -> String {
    match prompt.char_indices().nth(TITLE_CHARS) {
        Some((end, _)) => format!("{}…", prompt.get(..end).unwrap_or(prompt).trim_end()),
        None => prompt.to_owned(),
    }
}

fn program(provenance: &Provenance) -> String {
    format!("SoundLoCD {}", provenance.engine_version)
}

/// A level as bext stores it: hundredths of a dB. Not finite is unknown.
fn hundredths(level: f32) -> i16 {
    if level.is_finite() { (level * 100.0).round() as i16 } else { UNKNOWN_LEVEL }
}

/// The text in a field of `N` bytes, filled up with zeros. The format knows ASCII only.
fn ascii<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(printable(text, |_| false)) {
        *to = from;
    }
    field
}

/// The text's ASCII, with `?` for every other character but those that `also` allows.
fn printable(text: &str, also: impl Fn(char) -> bool) -> impl Iterator<Item = u8> {
    text.chars().map(move |c| if c.is_ascii_graphic() || c == ' ' || also(c) { c as u8 } else { b'?' })
}

/// `YYYY-MM-DD`, UTC, of seconds since 1970.
#[must_use]
pub fn date(unix: u64) -> String {
    date_and_time(unix).0
}

/// `YYYY-MM-DD` and `HH:MM:SS`, UTC, of seconds since 1970.
fn date_and_time(unix: u64) -> (String, String) {
    // Ten characters hold years up to 9999; a later time can only be a damaged one.
    let unix = unix.min(253_402_300_799);
    let (days, second) = (unix / 86_400, unix % 86_400);
    // The civil calendar from a day count: eras of 400 years (146,097 days), years that begin in
    // March so that the leap day comes last. 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, date, time) in [
            (0, "1970-01-01", "00:00:00"),
            (951_827_696, "2000-02-29", "12:34:56"),
            (1_700_000_000, "2023-11-14", "22:13:20"),
            (4_107_542_399, "2100-02-28", "23:59:59"),
            (4_107_542_400, "2100-03-01", "00:00:00"),
            (u64::MAX, "9999-12-31", "23:59:59"),
        ] {
            assert_eq!(date_and_time(unix), (date.into(), time.into()));
        }
    }

    #[test]
    fn titles_end_between_characters() {
        assert_eq!(title("kurz"), "kurz");
        assert_eq!(title(&"ü".repeat(100)), format!("{}…", "ü".repeat(80)));
    }
}
