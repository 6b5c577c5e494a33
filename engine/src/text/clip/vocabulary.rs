//! CLIP's byte-pair vocabulary (SPEC 3) as a `tokenizer.json`, the one form in which packs keep tokenizers.

use super::super::TextError;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};

/// OpenAI's merges, most frequent first; of the 262,145 lines CLIP uses 48,894 after the first.
static MERGES: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/clip/bpe_simple_vocab_16e6.txt.gz"));

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// What ends the last symbol of a word.
const WORD_END: &str = "</w>";

/// The bytes, the bytes that end a word, and both markers.
const WITHOUT_MERGES: usize = 256 + 256 + 2;

/// The published vocabulary.
const LARGEST: usize = 49_408;

/// A `vocab.json` or `merges.txt` larger than this is refused.
const MAX_BYTES: usize = 32 << 20;

/// The tokenizer of a tower with `vocab_size` tokens as a `tokenizer.json`: 256 bytes, the same at the end of a word,
/// the first merges of the published vocabulary, the start and the end marker.
///
/// # Errors
/// When `vocab_size` is less than 514 or more than the published 49,408.
pub fn tokenizer_json(vocab_size: usize) -> Result<Vec<u8>, TextError> {
    if !(WITHOUT_MERGES..=LARGEST).contains(&vocab_size) {
        return Err(TextError::Tokenizer(format!(
            "CLIP's vocabulary has {WITHOUT_MERGES} to {LARGEST} tokens, not {vocab_size}"
        )));
    }
    let broken = |reason: &str| TextError::Tokenizer(format!("the built-in CLIP vocabulary {reason}"));
    let bytes = byte_symbols();
    let mut symbols: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    symbols.extend(bytes.iter().map(|symbol| format!("{symbol}{WORD_END}")));
    let mut merges = Vec::new();
    // The first line names the file's version.
    for line in BufReader::new(GzDecoder::new(MERGES)).lines().skip(1).take(vocab_size - WITHOUT_MERGES) {
        let line = line.map_err(|error| broken(&error.to_string()))?;
        let (left, right) = line.split_once(' ').ok_or_else(|| broken("has a line that is no pair"))?;
        symbols.push(format!("{left}{right}"));
        merges.push([left.to_owned(), right.to_owned()]);
    }
    symbols.extend([START.to_owned(), END.to_owned()]);
    let vocabulary: BTreeMap<String, u32> = symbols.into_iter().zip(0..).collect();
    if vocabulary.len() != vocab_size {
        return Err(broken("is incomplete"));
    }
    describe(&vocabulary, &merges)
}

/// The same from the two files that Hugging Face's older tokenizers keep.
///
/// # Errors
/// When one of them is too large or cannot be read, or the vocabulary lacks a marker.
pub fn tokenizer_json_from(vocab_json: &[u8], merges_txt: &[u8]) -> Result<Vec<u8>, TextError> {
    for (file, bytes) in [("vocab.json", vocab_json), ("merges.txt", merges_txt)] {
        if bytes.len() > MAX_BYTES {
            return Err(TextError::Tokenizer(format!(
                "{file} has {} bytes, more than the {MAX_BYTES} allowed",
                bytes.len()
            )));
        }
    }
    let vocabulary: BTreeMap<String, u32> = serde_json::from_slice(vocab_json)
        .map_err(|error| TextError::Tokenizer(format!("vocab.json cannot be read: {error}")))?;
    let text = std::str::from_utf8(merges_txt)
        .map_err(|error| TextError::Tokenizer(format!("merges.txt is not text: {error}")))?;
    let merges = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("#version"))
        .map(|line| {
            let (left, right) = line
                .split_once(' ')
                .ok_or_else(|| TextError::Tokenizer(format!("merges.txt: {line:?} is no pair")))?;
            Ok([left.to_owned(), right.to_owned()])
        })
        .collect::<Result<Vec<_>, TextError>>()?;
    describe(&vocabulary, &merges)
}

/// The characters that stand for the bytes 0..=255 in the vocabulary, in the order of its ids: printable ones for
/// themselves, then the others as U+0100 and on.
fn byte_symbols() -> Vec<char> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=u8::MAX).filter(|byte| !printable(byte)).count() as u32;
    let moved = (0..others).filter_map(|index| char::from_u32(256 + index));
    (0..=u8::MAX).filter(printable).map(char::from).chain(moved).collect()
}

/// A `tokenizer.json`. It expects prompts that are [cleaned](super::clean) already.
fn describe(vocabulary: &BTreeMap<String, u32>, merges: &[[String; 2]]) -> Result<Vec<u8>, TextError> {
    let marker = |content: &str| {
        let id = vocabulary.get(content);
        id.copied().ok_or_else(|| TextError::Tokenizer(format!("its vocabulary lacks {content}")))
    };
    let (start, end) = (marker(START)?, marker(END)?);
    // The reference knows the markers in a prompt, too (but not right after other punctuation, as this does).
    let added = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": Value::Null,
        "padding": Value::Null,
        "added_tokens": [added(start, START), added(end, END)],
        "normalizer": Value::Null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": { "Regex": r"(?i)'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+" },
                    "behavior": "Removed",
                    "invert": true,
                },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
            ],
        },
        "post_processor": {
            "type": "RobertaProcessing",
            "cls": [START, start], "sep": [END, end],
            "trim_offsets": false, "add_prefix_space": false,
        },
        "decoder": Value::Null,
        "model": {
            "type": "BPE",
            "dropout": Value::Null,
            "unk_token": Value::Null,
            "continuing_subword_prefix": Value::Null,
            "end_of_word_suffix": WORD_END,
            "fuse_unk": false,
            "byte_fallback": false,
            "vocab": vocabulary,
            "merges": merges,
        },
    });
    serde_json::to_vec(&tokenizer).map_err(|error| TextError::Tokenizer(error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn the_vocabulary_is_openais() {
        let mut text = Vec::new();
        GzDecoder::new(MERGES).read_to_end(&mut text).unwrap();
        // SPEC 3.
        let expected = "67603cfda2e032ad77b5f8808af37789d590db664b26df8705d2bf8b3c553fc8";
        assert_eq!(crate::pack::sha256_hex(&text), expected);
    }

    #[test]
    fn small_vocabularies_have_the_first_merges() {
        let tokenizer: Value = serde_json::from_slice(&tokenizer_json(600).unwrap()).unwrap();
        assert_eq!(tokenizer["model"]["merges"].as_array().unwrap().len(), 86);
        let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
        // The file's first merge is "i n", the second "t h".
        let ids = ["!", "!</w>", "in", "th", START, END].map(|token| vocabulary[token].as_u64().unwrap());
        assert_eq!(ids, [0, 256, 512, 513, 598, 599]);
        assert!(tokenizer_json(513).is_err() && tokenizer_json(49_409).is_err());
    }

    #[test]
    fn both_files_of_older_tokenizers_give_the_same_tokenizer() {
        let whole: Value = serde_json::from_slice(&tokenizer_json(1000).unwrap()).unwrap();
        let vocabulary = serde_json::to_vec(&whole["model"]["vocab"]).unwrap();
        let mut merges = "#version: 0.2\n".to_owned();
        for pair in whole["model"]["merges"].as_array().unwrap() {
            merges += &format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        }
        let again = tokenizer_json_from(&vocabulary, merges.as_bytes()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&again).unwrap(), whole);

        let refuse = |vocabulary: &[u8], merges: &[u8], part: &str| {
            let message = tokenizer_json_from(vocabulary, merges).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        refuse(b"[]", b"", "vocab.json");
        refuse(b"{\"a\": 0}", b"", "lacks <|startoftext|>");
        refuse(&vocabulary, b"unpaired", "merges.txt");
        refuse(&vocabulary, b"\xff", "merges.txt");
    }
}
