//! Values as text and back. The framework's own formatters and parsers lose digits or panic on text outside
//! ASCII.

use std::sync::Arc;

use nice_plug::prelude::*;

/// A duration from 0 to `max` seconds, finer at the short end.
pub fn time(name: impl Into<String>, default: f32, max: f32) -> FloatParam {
    FloatParam::new(
        name,
        default,
        FloatRange::Skewed { min: 0.0, max, factor: FloatRange::skew_factor(-2.0) },
    )
    .with_value_to_string(Arc::new(|seconds| {
        let ms = (seconds * 10_000.0).round() / 10.0;
        // The unit is chosen after rounding, so that the text reads back to the same text.
        if ms < 1000.0 { format!("{ms:.1} ms") } else { format!("{seconds:.2} s") }
    }))
    .with_string_to_value(Arc::new(parse_seconds))
}

/// A share, 0..=1, shown in percent.
pub fn percent(name: impl Into<String>, default: f32) -> FloatParam {
    FloatParam::new(name, default, FloatRange::Linear { min: 0.0, max: 1.0 })
        .with_value_to_string(Arc::new(|value| format!("{} %", rounded(value * 100.0, 1))))
        .with_string_to_value(Arc::new(|text| number(text, &["%"]).map(|v| v / 100.0)))
}

/// A number with a unit, shown with so many decimals.
pub fn with_unit(
    name: impl Into<String>,
    default: f32,
    range: FloatRange,
    decimals: usize,
    unit: &'static str,
    spellings: &'static [&'static str],
) -> FloatParam {
    FloatParam::new(name, default, range)
        .with_value_to_string(Arc::new(move |value| {
            format!("{} {unit}", rounded(value, decimals)).trim_end().to_owned()
        }))
        .with_string_to_value(Arc::new(move |text| number(text, spellings)))
}

/// A level in dB.
pub fn decibels(name: impl Into<String>, max: f32) -> FloatParam {
    with_unit(name, 0.0, FloatRange::Linear { min: -60.0, max }, 1, "dB", &["db"])
}

/// A transposition of up to `most` semitones in either direction.
pub fn semitones(name: impl Into<String>, most: f32) -> FloatParam {
    with_unit(name, 0.0, FloatRange::Linear { min: -most, max: most }, 2, "st", &["st", "semitones"])
}

/// A shift of a cutoff in octaves.
pub fn octaves(name: impl Into<String>, default: f32) -> FloatParam {
    with_unit(name, default, FloatRange::Linear { min: -5.0, max: 5.0 }, 1, "oct", &["oct", "octaves"])
}

/// A frequency from 20 Hz to 20 kHz, in octaves over the range of the knob.
pub fn frequency(name: impl Into<String>, default: f32) -> FloatParam {
    FloatParam::new(
        name,
        default,
        FloatRange::Skewed { min: 20.0, max: 20_000.0, factor: FloatRange::skew_factor(-2.2) },
    )
    .with_value_to_string(Arc::new(|hz| {
        let tenths = (hz * 10.0).round() / 10.0;
        if tenths < 1000.0 { format!("{tenths:.1} Hz") } else { format!("{:.2} kHz", hz / 1000.0) }
    }))
    .with_string_to_value(Arc::new(parse_hertz))
}

/// A balance, -1..=1, shown as "30 % L" or "C".
pub fn balance(name: impl Into<String>) -> FloatParam {
    FloatParam::new(name, 0.0, FloatRange::Linear { min: -1.0, max: 1.0 })
        .with_value_to_string(Arc::new(|pan| {
            let percent = (pan.abs() * 100.0).round();
            match (percent > 0.0, pan < 0.0) {
                (false, _) => "C".to_owned(),
                (true, true) => format!("{percent} % L"),
                (true, false) => format!("{percent} % R"),
            }
        }))
        .with_string_to_value(Arc::new(parse_balance))
}

/// A MIDI key.
pub fn key(name: impl Into<String>, default: i32) -> IntParam {
    IntParam::new(name, default, IntRange::Linear { min: 0, max: 127 })
        .with_value_to_string(Arc::new(key_name))
        .with_string_to_value(Arc::new(parse_key))
}

/// A switch.
pub fn switch(name: impl Into<String>) -> BoolParam {
    BoolParam::new(name, false)
        .with_value_to_string(Arc::new(|on| if on { "On" } else { "Off" }.to_owned()))
        .with_string_to_value(Arc::new(|text| match text.trim().to_lowercase().as_str() {
            "on" | "yes" | "true" | "1" => Some(true),
            "off" | "no" | "false" | "0" => Some(false),
            _ => None,
        }))
}

/// `value` with so many decimals, never as a negative zero.
pub fn rounded(value: f32, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| matches!(c, '0' | '.')) => digits.to_owned(),
        _ => text,
    }
}

/// A finite number with an optional unit; a decimal comma is understood.
pub fn number(text: &str, units: &[&str]) -> Option<f32> {
    let text = text.trim().to_lowercase().replace(',', ".");
    let digits = units.iter().find_map(|unit| text.strip_suffix(unit)).unwrap_or(&text);
    digits.trim().parse().ok().filter(|value: &f32| value.is_finite())
}

/// "250 ms", "1.5 s" or plain seconds.
pub fn parse_seconds(text: &str) -> Option<f32> {
    number(text, &["ms"])
        .filter(|_| text.trim().to_lowercase().ends_with("ms"))
        .map(|ms| ms / 1000.0)
        .or_else(|| number(text, &["seconds", "sec", "s"]))
}

/// "800 Hz", "1.5 kHz", "1.5k" or plain Hz.
fn parse_hertz(text: &str) -> Option<f32> {
    let lower = text.trim().to_lowercase();
    if lower.ends_with("khz") || lower.ends_with('k') {
        number(text, &["khz", "k"]).map(|khz| khz * 1000.0)
    } else {
        number(text, &["hz"])
    }
}

/// "C", "30 % L", "30R", or percent with the left ones negative.
fn parse_balance(text: &str) -> Option<f32> {
    let lower = text.trim().to_lowercase();
    if lower == "c" {
        return Some(0.0);
    }
    let (digits, sign) = match (lower.strip_suffix('l'), lower.strip_suffix('r')) {
        (Some(digits), _) => (digits, -1.0),
        (_, Some(digits)) => (digits, 1.0),
        _ => (lower.as_str(), 1.0),
    };
    number(digits, &["%"]).map(|percent| sign * percent / 100.0)
}

/// Names of the keys within an octave.
const KEY_NAMES: [&str; 12] = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];

/// The name of a MIDI key; 60 is C4.
#[must_use]
pub fn key_name(key: i32) -> String {
    let name = KEY_NAMES.get(key.rem_euclid(12) as usize).copied().unwrap_or_default();
    format!("{name}{}", key.div_euclid(12) - 1)
}

/// A key from its name ("C4", "f#3", "Bb2") or its MIDI number.
fn parse_key(text: &str) -> Option<i32> {
    let text = text.trim().to_lowercase();
    if let Ok(number) = text.parse::<i32>() {
        return (0..=127).contains(&number).then_some(number);
    }
    let mut chars = text.chars();
    let letter = chars.next()?;
    let rest = chars.as_str();
    let (accidental, octave) = match rest.chars().next()? {
        '#' => (1, rest.get(1..)?),
        'b' => (-1, rest.get(1..)?),
        _ => (0, rest),
    };
    let natural = KEY_NAMES.iter().position(|name| name.to_lowercase() == letter.to_string())?;
    let octave: i32 = octave.trim().parse().ok()?;
    let key = octave.checked_add(1)?.checked_mul(12)? + natural as i32 + accidental;
    (0..=127).contains(&key).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        assert_eq!(key_name(60), "C4");
        assert_eq!(key_name(69), "A4");
        assert_eq!(key_name(0), "C-1");
        for key in 0..128 {
            assert_eq!(parse_key(&key_name(key)), Some(key));
        }
        assert_eq!(parse_key("Bb3"), Some(58));
        assert_eq!(parse_key(" 61 "), Some(61));
        for text in ["", "H2", "é4", "C", "C#", "c99999999999", "128", "-1", "😀"] {
            assert_eq!(parse_key(text), None, "{text}");
        }
    }

    #[test]
    fn times_and_numbers_read_back() {
        assert_eq!(parse_seconds("250 ms"), Some(0.25));
        assert_eq!(parse_seconds("1,5 s"), Some(1.5));
        assert_eq!(parse_seconds("2"), Some(2.0));
        for text in ["", "ms", "NaN", "inf", "1 h"] {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
        assert_eq!(number("-3.5 dB", &["db"]), Some(-3.5));
        assert_eq!(rounded(-0.04, 1), "0.0");
    }

    #[test]
    fn frequencies_and_balances_read_back() {
        for (text, hz) in [("800 Hz", 800.0), ("1,5 kHz", 1_500.0), ("2k", 2_000.0), ("440", 440.0)] {
            assert_eq!(parse_hertz(text), Some(hz), "{text}");
        }
        for (text, pan) in [("C", 0.0), ("30 % L", -0.3), ("100r", 1.0), ("-50", -0.5)] {
            assert_eq!(parse_balance(text), Some(pan), "{text}");
        }
        for text in ["", "l", "kHz", "😀", "NaN"] {
            assert_eq!((parse_hertz(text), parse_balance(text)), (None, None), "{text}");
        }
    }
}
