//! What CLIP does to a prompt before it becomes tokens (SPEC 3).

use htmlize::unescape;
use unicode_normalization::UnicodeNormalization;

/// Lower-cases, replaces typographic characters by plain ones, expands HTML entities, collapses white space.
///
/// The reference runs ftfy, of which this has what matters to text that somebody typed: curly quotes, Latin ligatures,
/// full- and half-width forms, control characters and NFC. ftfy's guesses at text decoded with the wrong character
/// encoding ("sÃ³" for "só", C1 control characters) and its removal of terminal colours are not here: a prompt is never
/// decoded from bytes.
#[must_use]
pub fn clean(prompt: &str) -> String {
    let fixed = fix(prompt.to_lowercase());
    let plain = unescape(unescape(fixed));
    let mut cleaned = String::with_capacity(plain.len());
    for word in plain.split_whitespace() {
        if !cleaned.is_empty() {
            cleaned.push(' ');
        }
        cleaned.push_str(word);
    }
    cleaned.to_lowercase()
}

/// ftfy's character fixes, repeated until nothing changes, as there.
fn fix(mut text: String) -> String {
    // Text with a "<" may be HTML, whose entities ftfy leaves alone.
    let entities = !text.contains('<');
    loop {
        let expanded = if entities { unescape(text.as_str()) } else { text.as_str().into() };
        let mut plain = String::with_capacity(expanded.len());
        expanded.chars().for_each(|c| push_plain(c, &mut plain));
        let fixed: String = plain.nfc().collect();
        if fixed == text {
            return fixed;
        }
        text = fixed;
    }
}

/// Appends what ftfy makes of `c`.
fn push_plain(c: char, out: &mut String) {
    match c {
        // Control characters that are no white space, and invisible ones of similar use.
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' => {}
        '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffc}' | '\u{feff}' => {}
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => out.push('\''),
        '\u{201c}'..='\u{201f}' => out.push('"'),
        // The long s of this ligature stays long.
        'ﬅ' => out.push_str("ſt"),
        'Ĳ' | 'ĳ' | 'ŉ' | 'Ǆ'..='ǌ' | 'Ǳ'..='ǳ' | 'ﬀ'..='ﬆ' => out.extend([c].into_iter().nfkc()),
        // Ideographic space, full-width ASCII, half-width Katakana and Hangul.
        '\u{3000}' | '\u{ff01}'..='\u{ffef}' => out.extend([c].into_iter().nfkc()),
        _ => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of ftfy's and Python's documentation, lower-cased as CLIP does it.
    #[test]
    fn characters_become_plain() {
        for (prompt, cleaned) in [
            ("\u{201c}here\u{2019}s a test\u{201d}", "\"here's a test\""),
            ("ﬂuﬃest", "fluffiest"),
            ("ＬＯＵＤ　ＮＯＩＳＥＳ", "loud noises"),
            ("Ｕﾀｰﾝ", "uターン"),
            ("cafe\u{301}", "caf\u{e9}"),
            ("&lt;p&gt; &amp;amp; &eacute; &times 3", "<p> & é × 3"),
            ("a\u{0}b\u{feff}c \t\n d", "abc d"),
        ] {
            assert_eq!(clean(prompt), cleaned, "{prompt:?}");
        }
    }

    #[test]
    fn nested_entities_end() {
        assert_eq!(clean(&format!("&{}lt;", "amp;".repeat(100))), "<");
        // With a "<" in it, only the two expansions of CLIP itself.
        assert_eq!(clean("< &amp;amp;amp;"), "< &amp;");
    }
}
