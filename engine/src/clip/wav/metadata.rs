//! A clip's provenance as the chunks that other programs read.

use super::write::chunk;
use crate::clip::{Analysis, Provenance};

/// Longest title, in characters: the prompt's beginning.
const TITLE_CHARS: usize = 80;
/// "Not measured" in bext's loudness fields.
const UNKNOWN_LEVEL: i16 = 0x7FFF;

/// Content of the LIST chunk: INFO with zero-terminated UTF-8 texts.
pub(super) fn info(provenance: &Provenance) -> Vec<u8> {
    let (date, _) = date_and_time(provenance.created_unix);
    let json = provenance.to_json();
    let fields: [(&[u8; 4], &str); 5] = [
        (b"INAM", &title(&provenance.prompt)),
        (b"ISBJ", &provenance.prompt),
        (b"ICRD", &date),
        (b"ISFT", &program(provenance)),
        (b"ICMT", &json),
    ];
    let mut list = b"INFO".to_vec();
    for (name, text) in fields {
        let mut content = text.as_bytes().to_vec();
        content.push(0);
        make_even(&mut content);
        chunk(&mut list, name, &content);
    }
    list
}

/// Content of the bext chunk (EBU Tech 3285, version 2). `levels` are the clip's; after a
/// sample-rate conversion they hold within what the format resolves.
pub(super) fn bext(provenance: &Provenance, levels: &Analysis) -> Vec<u8> {
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
    let history = format!("A=PCM,F={},W=24,M=mono,T={}\r\n", crate::SAMPLE_RATE, program(provenance));
    bext.extend(printable(&history, |c| c == '\r' || c == '\n'));
    make_even(&mut bext);
    bext
}

/// Content of the iXML chunk: the prompt as a note.
pub(super) fn ixml(provenance: &Provenance) -> Vec<u8> {
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<BWFXML><IXML_VERSION>1.61</IXML_VERSION>\
         <PROJECT>SoundLoCD</PROJECT><NOTE>{}</NOTE></BWFXML>\n",
        escape(&provenance.prompt)
    )
    .into_bytes();
    if !xml.len().is_multiple_of(2) {
        xml.push(b'\n');
    }
    xml
}

/// Lengthens zero-terminated content to an even length, for readers (hound is one) that do not
/// skip the padding which the format puts after chunks of an odd one.
fn make_even(content: &mut Vec<u8>) {
    if !content.len().is_multiple_of(2) {
        content.push(0);
    }
}

fn title(prompt: &str) -> String {
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

fn escape(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            // XML cannot hold control characters, not even escaped.
            c if c.is_control() => " ".to_owned(),
            c => c.to_string(),
        })
        .collect()
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
