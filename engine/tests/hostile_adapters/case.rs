//! Adapter files that are wrong in few places: valid ones of each program, changed a few times. Everything follows
//! from some bytes, a seed's or a fuzzer's. The fuzz targets in `fuzz/` share this file.

use soundlocd_engine::diffusion::transformer::Config;
use soundlocd_engine::lora::CARD_KEY;

/// Bytes that decide; zeros after their end.
pub struct Entropy<'a>(pub &'a [u8]);

impl Entropy<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// Below `n`, which is at most 256.
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// What is to be read.
pub struct Case {
    /// The weights file.
    pub file: Vec<u8>,
    /// The `adapter_config.json` beside it.
    pub settings: Option<String>,
    /// How often it was changed.
    pub changes: usize,
}

impl Case {
    /// Both in one: the length of the settings in two bytes, the settings, the file.
    pub fn framed(&self) -> Vec<u8> {
        let settings = self.settings.as_deref().unwrap_or_default();
        [&(settings.len() as u16).to_le_bytes(), settings.as_bytes(), &self.file].concat()
    }
}

/// The transformer that the unchanged cases fit.
pub fn config() -> Config {
    Config { layers: 2, width: 8, cond_width: 4, heads: 2, ..Config::small(16, 4) }
}

/// A tensor as the header and the data have it.
#[derive(Clone)]
struct Tensor {
    name: String,
    dtype: String,
    /// Numbers, as JSON.
    shape: Vec<String>,
    data: Vec<u8>,
    /// `data_offsets` other than where the data lie, as JSON.
    extent: Option<String>,
}

/// A file in the making: texts are JSON.
struct Draft {
    tensors: Vec<Tensor>,
    card: Option<Vec<(String, String)>>,
    /// The card where it is no table, or other metadata: key and value.
    metadata: Vec<(String, String)>,
    settings: Option<Vec<(String, String)>>,
    /// Settings where they are no table.
    odd_settings: Option<String>,
    /// What follows the header.
    padding: String,
}

const BLOCKS: [&str; 6] = ["0", "1", "1", "2", "127", "18446744073709551615"];
const NAMES: [&str; 14] = [
    "",
    "blocks.0.self_attn.q.weight",
    "base_model.model.blocks.0.mlp.fc1.lora_A.weight",
    "base_model.model.blocks.007.self_attn.q.lora_A.weight",
    "base_model.model.blocks.0.self_attn.q.lora_magnitude_vector",
    "lora_unet_blocks_0_self_attn_q.hada_w1_a",
    "lora_unet_blocks_0_self_attn_q.alpha",
    "blocks.99999999999999999999.self_attn.q.lora_A.weight",
    "transformer.transformer.blocks.0.attn1.query.lora_A.weight",
    "dit.blocks.1.attn2.value.lora_B.weight",
    "bl\\u0000ocks",
    "\\ud800",
    "__metadata__",
    "blocks.0.self_attn.q.lora_A.weight.scale",
];
const DTYPES: [&str; 12] =
    ["F32", "F16", "BF16", "I8", "F64", "BOOL", "F4", "I64", "F8_E4M3", "f32", "", "\\u0007\\n"];
const NUMBERS: [&str; 17] = [
    "0",
    "1",
    "2",
    "3",
    "8",
    "256",
    "257",
    "65536",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "1.5",
    "null",
    "\"8\"",
    "[2]",
];
const VALUES: [&str; 16] = [
    "null", "true", "-1", "0", "1", "2", "16", "0.5", "1e308", "1e999", "\"\"", "\"none\"", "\"all\"", "[]",
    "{}", "",
];
const CARD_FIELDS: [&str; 12] = [
    "format",
    "title",
    "author",
    "triggers",
    "rank",
    "alpha",
    "targets",
    "base",
    "data",
    "training",
    "created_unix",
    "unknown",
];
const SETTINGS: [&str; 12] = [
    "peft_type",
    "r",
    "lora_alpha",
    "use_dora",
    "use_rslora",
    "fan_in_fan_out",
    "bias",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "target_modules",
    "unknown",
];

/// The case that `entropy` describes.
pub fn case(mut entropy: Entropy) -> Case {
    let e = &mut entropy;
    let mut draft = valid(e);
    let changes = [0, 1, 1, 1, 2, 2, 3, 6][e.below(8)];
    for _ in 0..changes {
        change(&mut draft, e);
    }
    let mut file = draft.file();
    // Some are also damaged.
    let damage = if changes == 6 { e.below(6) } else { 5 };
    let at = e.word() % file.len().max(1);
    match damage {
        0 => file.truncate(at),
        1 => file.extend(vec![0; 1 + at % 64]),
        2 => file.iter_mut().take(8).zip([e.byte(), e.byte(), e.byte()]).for_each(|(x, by)| *x ^= by),
        3 | 4 => file.iter_mut().skip(at).take(1).for_each(|x| *x = e.byte()),
        _ => {}
    }
    Case { file, settings: draft.settings(), changes }
}

/// An adapter that is as it should be.
fn valid(e: &mut Entropy) -> Draft {
    let program = e.below(4);
    let rank = 1 + e.below(4);
    let dtype = e.of(&["F32", "F32", "F16", "BF16"]);
    let mut tensors = Vec::new();
    for n in 0..1 + e.below(6) {
        let (block, projection) = (n / 4, n % 4);
        let attention = n / 2 % 2;
        let input = if attention == 1 && (projection == 1 || projection == 2) { 4 } else { 8 };
        let ours = ["q", "k", "v", "proj"][projection];
        let (prefix, suffixes) = match program {
            2 => (
                format!("lora_unet_blocks_{block}_{}_{ours}", ["self_attn", "cross_attn"][attention]),
                [".lora_down.weight", ".lora_up.weight"],
            ),
            3 => {
                let theirs = ["query", "key", "value", "proj"][projection];
                (
                    format!("base_model.model.transformer.blocks.{block}.attn{}.{theirs}", attention + 1),
                    [".lora_A.default.weight", ".lora_B.default.weight"],
                )
            }
            _ => (
                format!("base_model.model.blocks.{block}.{}.{ours}", ["self_attn", "cross_attn"][attention]),
                [".lora_A.weight", ".lora_B.weight"],
            ),
        };
        for (suffix, shape) in suffixes.into_iter().zip([[rank, input], [8, rank]]) {
            tensors.push(tensor(format!("{prefix}{suffix}"), dtype, &shape, e));
        }
        if program == 2 {
            tensors.push(Tensor {
                data: 2f32.to_le_bytes().to_vec(),
                ..tensor(format!("{prefix}.alpha"), "F32", &[], e)
            });
        }
    }
    let pairs = |list: &[(&str, String)]| list.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    let card = pairs(&[
        ("format", "1".into()),
        ("title", "\"Bells\"".into()),
        ("triggers", "[\"a bell rings\"]".into()),
        ("rank", rank.to_string()),
        ("alpha", "4.0".into()),
        ("targets", "[\"q\"]".into()),
        ("base", "{\"name\": \"small\", \"pack\": \"ab\"}".into()),
        ("training", "{\"steps\": 40, \"rate\": 0.002}".into()),
    ]);
    let settings = pairs(&[
        ("peft_type", "\"LORA\"".into()),
        ("r", rank.to_string()),
        ("lora_alpha", "16".into()),
        ("bias", "\"none\"".into()),
        ("rank_pattern", "{}".into()),
    ]);
    Draft {
        tensors,
        card: (program == 0).then_some(card),
        metadata: Vec::new(),
        settings: matches!(program, 1 | 3).then_some(settings),
        odd_settings: None,
        padding: String::new(),
    }
}

/// Of this type and shape, filled with small values.
fn tensor(name: String, dtype: &str, shape: &[usize], e: &mut Entropy) -> Tensor {
    let count: usize = shape.iter().product();
    let value = 0.01 * f32::from(e.byte());
    let half = |bits: u16| bits.to_le_bytes().to_vec();
    let data = match dtype {
        // The upper half of an f32 is a bf16; any pattern of a small exponent is an f16.
        "BF16" => half((value.to_bits() >> 16) as u16).repeat(count),
        "F16" => half(0x2000 | (value.to_bits() as u16 & 0x0fff)).repeat(count),
        "I8" => vec![1; count],
        "F64" => f64::from(value).to_le_bytes().repeat(count),
        _ => value.to_le_bytes().repeat(count),
    };
    let shape = shape.iter().map(ToString::to_string).collect();
    Tensor { name, dtype: dtype.into(), shape, data, extent: None }
}

fn change(draft: &mut Draft, e: &mut Entropy) {
    let kind = e.below(20);
    let index = e.byte() as usize % draft.tensors.len().max(1);
    let Some(chosen) = draft.tensors.get_mut(index) else { return };
    match kind {
        0 => chosen.name = e.of(&NAMES).into(),
        1 => chosen.name = chosen.name.replacen('0', e.of(&BLOCKS), 1),
        2 => chosen.dtype = e.of(&DTYPES).into(),
        3 => {
            let (at, number) = (e.below(4), e.of(&NUMBERS).to_owned());
            match chosen.shape.get_mut(at) {
                Some(size) => *size = number,
                None => chosen.shape.push(number),
            }
        }
        4 => chosen.shape = vec![e.of(&NUMBERS).into(); e.word() % 3000],
        // Other shapes with as much data as they need, also of no data at all.
        5 => {
            let shape: &[usize] = [
                &[2, 8][..],
                &[3, 8],
                &[8, 3],
                &[8],
                &[],
                &[0],
                &[0, 8],
                &[8, 0],
                &[1, 1, 1],
                &[1; 8],
                &[1; 9],
                &[257, 1],
                &[0, usize::MAX, 8],
                &[usize::MAX, 8, 0],
            ][e.below(14)];
            let dtype = e.of(&["F32", "F16", "BF16", "I8", "F64"]);
            // The count of what has a zero in it overflows on the way there.
            let known: &[usize] = if shape.contains(&0) { &[0] } else { shape };
            let of = tensor(chosen.name.clone(), dtype, known, e);
            *chosen = Tensor { shape: shape.iter().map(ToString::to_string).collect(), ..of };
        }
        6 => {
            let at = e.word() % chosen.data.len().max(1);
            let bits = [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE / 2.0, -0.0][e.below(5)];
            chosen.data.iter_mut().skip(at & !3).zip(bits.to_le_bytes()).for_each(|(x, y)| *x = y);
        }
        7 => drop(draft.tensors.remove(index)),
        8 => {
            let mut copy = chosen.clone();
            copy.name = match e.below(3) {
                0 => copy.name,
                1 => copy.name.replace("base_model.model.", "dit."),
                _ => copy.name + ".scale",
            };
            draft.tensors.push(copy);
        }
        9 => chosen.extent = Some(format!("[{},{}]", e.of(&NUMBERS), e.of(&NUMBERS))),
        10 => {
            // int8 with its scales, as packs have it.
            let scales = format!("{}.scale", chosen.name);
            *chosen = tensor(chosen.name.clone(), "I8", &[2, 8], e);
            let scales = tensor(scales, "F32", [&[1, 8][..], &[2, 1], &[2, 8], &[8]][e.below(4)], e);
            draft.tensors.push(scales);
        }
        11 | 12 => {
            let value = odd(e);
            let field = e.of(&CARD_FIELDS).to_owned();
            let card = draft.card.get_or_insert_default();
            card.retain(|(name, _)| *name != field);
            card.push((field, value));
        }
        13 => draft.metadata.push((CARD_KEY.into(), quoted(&odd(e)))),
        14 => {
            for n in 0..1 + e.word() % 500 {
                draft.metadata.push((format!("ss_{n}"), odd_text(e)));
            }
        }
        15 | 16 => {
            let value = odd(e);
            let field = e.of(&SETTINGS).to_owned();
            let settings = draft.settings.get_or_insert_default();
            settings.retain(|(name, _)| *name != field);
            settings.push((field, value));
        }
        17 => draft.odd_settings = Some(odd(e)),
        18 => draft.padding = [" ", "\\n", "\0", "}", ",\"x\":{}"][e.below(5)].repeat(1 + e.word() % 2000),
        _ => {
            // Many more matrices.
            let count = [3, 3, 5, 10, 20, 60, 200, 1600][e.below(8)];
            for block in 2..2 + count {
                for (letter, shape) in [("A", [1, 8]), ("B", [8, 1])] {
                    let name = format!("blocks.{block}.self_attn.q.lora_{letter}.weight");
                    draft.tensors.push(tensor(name, "F16", &shape, e));
                }
            }
        }
    }
}

/// A JSON value that nobody expects.
fn odd(e: &mut Entropy) -> String {
    let count = e.word() % 3000;
    match e.below(12) {
        0 => format!("[{}0]", "0,".repeat(count)),
        1 => format!("[{}\"\"]", "\"\",".repeat(count)),
        2 => "[".repeat(count) + &"]".repeat(count),
        3 => "{\"a\":".repeat(count) + "1" + &"}".repeat(count),
        4 => format!("[{}{{}}]", "{\"a\":[0]},".repeat(count / 8)),
        5 => {
            let entries: String = (0..count / 8).map(|n| format!("\"{n}\":{n},")).collect();
            format!("{{{entries}\"\":0}}")
        }
        6 | 7 => odd_text(e),
        _ => e.of(&VALUES).into(),
    }
}

/// A long JSON text, with characters that take another length when they are written in other ways.
fn odd_text(e: &mut Entropy) -> String {
    let piece = e.of(&["x", "\\\"", "\\u0001", "\\n", "\u{200b}", "\u{e4}", "\\ud83d\\ude00", "\\\\u0000"]);
    format!("\"{}\"", piece.repeat(e.word() % 4000))
}

/// A JSON text that holds `text`.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn table(entries: &[(String, String)]) -> String {
    let entries: Vec<String> = entries.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", entries.join(","))
}

impl Draft {
    fn settings(&self) -> Option<String> {
        self.odd_settings.clone().or_else(|| self.settings.as_deref().map(table))
    }

    fn file(&self) -> Vec<u8> {
        let mut entries = Vec::new();
        let mut metadata = self.metadata.clone();
        if let Some(card) = &self.card {
            metadata.push((CARD_KEY.into(), quoted(&table(card))));
        }
        if !metadata.is_empty() {
            entries.push(("__metadata__".to_owned(), table(&metadata)));
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            let start = data.len();
            data.extend(&tensor.data);
            let extent = tensor.extent.clone().unwrap_or_else(|| format!("[{start},{}]", data.len()));
            let (dtype, shape) = (&tensor.dtype, tensor.shape.join(","));
            let info = format!("{{\"dtype\":\"{dtype}\",\"shape\":[{shape}],\"data_offsets\":{extent}}}");
            entries.push((tensor.name.clone(), info));
        }
        let header = table(&entries) + &self.padding;
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
    }
}
