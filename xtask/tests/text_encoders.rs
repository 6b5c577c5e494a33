//! `train base` and `pack build` with each text encoder, from folders as Hugging Face publishes them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use candle_core::{Device, Tensor};
use common::Scratch;
use serde_json::{Value, json};
use soundlocd_engine::pack::Pack;
use soundlocd_engine::text::{Config, Kind, clap, clip, minilm, t5};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

fn succeed(args: &[&str]) {
    common::succeed(args, &[]);
}

fn refuse(args: &[&str], part: &str) {
    common::refuse(args, &[], &[part]);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A small encoder of each kind, as wide as its published sizes would not be.
fn config(kind: Kind) -> Config {
    match kind {
        Kind::Minilm => Config::Minilm(minilm::Config {
            vocab_size: 40,
            hidden_size: 24,
            num_hidden_layers: 1,
            intermediate_size: 32,
            max_position_embeddings: 70,
            ..minilm::Config::all_minilm_l6_v2()
        }),
        Kind::Clip => Config::Clip(clip::Config {
            vocab_size: 600,
            hidden_size: 16,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 32,
            ..clip::Config::vit_b_32()
        }),
        Kind::T5 => Config::T5(t5::Config {
            vocab_size: 40,
            d_model: 16,
            d_kv: 4,
            d_ff: 32,
            num_layers: 1,
            num_heads: 2,
            ..t5::Config::t5_small()
        }),
        Kind::Clap => Config::Clap(clap::Config {
            vocab_size: 40,
            hidden_size: 24,
            num_hidden_layers: 1,
            intermediate_size: 32,
            max_position_embeddings: 70,
            projection_dim: 8,
            ..clap::Config::htsat()
        }),
    }
}

/// A tokenizer of letters; only CLIP's vocabulary is that of the published model.
fn tokenizer(kind: Kind) -> Option<Value> {
    let special = match kind {
        Kind::Minilm => ["[CLS]", "[SEP]", "[UNK]"],
        Kind::T5 | Kind::Clap => ["<s>", "</s>", "<unk>"],
        Kind::Clip => return None,
    };
    let letters = ('a'..='z').map(String::from);
    let tokens: Vec<String> = special.map(String::from).into_iter().chain(letters).collect();
    let vocabulary: HashMap<&String, usize> = tokens.iter().zip(0..).collect();
    let unigram: Vec<Value> = tokens.iter().map(|token| json!([token, -1.0])).collect();
    let model = if kind == Kind::T5 {
        json!({ "type": "Unigram", "unk_id": 2, "vocab": unigram })
    } else {
        json!({ "type": "WordLevel", "unk_token": special[2], "vocab": vocabulary })
    };
    let added: Vec<Value> = special
        .iter()
        .zip(0..)
        .map(|(content, id)| {
            json!({ "id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false })
        })
        .collect();
    Some(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": { "type": "Lowercase" },
        "pre_tokenizer": { "type": "Split", "pattern": { "Regex": "" }, "behavior": "Isolated", "invert": false },
        "post_processor": { "type": "BertProcessing", "sep": [special[1], 1], "cls": [special[0], 0] },
        "decoder": null, "model": model,
    }))
}

/// Writes the encoder with random weights, as Hugging Face would: its names, linear weights `[out, in]`.
fn publish(config: &Config, folder: &Path) {
    let mut seed = 1_u64;
    let mut draw = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / 83_886_080.0 - 0.1
    };
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for (name, shape) in config.layout().unwrap().iter() {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw()).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let table = name.starts_with("embeddings.") || name.starts_with("shared.") || name.contains("_bias.");
        let linear = shape.len() == 2 && !table;
        let tensor = if linear { tensor.t().unwrap().contiguous().unwrap() } else { tensor };
        tensors.insert(name.to_owned(), tensor);
    }
    fs::create_dir_all(folder).unwrap();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    let heads = match config {
        Config::Clip(config) => config.num_attention_heads,
        _ => 12,
    };
    let model_type = if config.kind() == Kind::Minilm { "bert" } else { config.kind().name() };
    let described = json!({ "model_type": model_type, "num_attention_heads": heads });
    fs::write(folder.join("config.json"), described.to_string()).unwrap();
    if let Some(tokenizer) = tokenizer(config.kind()) {
        fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    }
}

/// A prepared data set of four short tones.
fn data(scratch: &Scratch) -> PathBuf {
    let folder = scratch.path("recordings");
    fs::create_dir_all(&folder).unwrap();
    let mut manifest = "id\tfile\tcategory\tcaption\tsplit\n".to_owned();
    for (index, split) in ["train", "train", "valid", "valid"].into_iter().enumerate() {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 22_050,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(folder.join(format!("{index}.wav")), spec).unwrap();
        for sample in 0..8192 {
            let phase = sample as f32 * (0.02 + 0.01 * index as f32);
            writer.write_sample((phase.sin() * 12_000.0) as i16).unwrap();
        }
        writer.finalize().unwrap();
        manifest += &format!("t{index}\t{index}.wav\tTONES\tA tone of {index}\t{split}\n");
    }
    fs::write(folder.join("manifest.tsv"), manifest).unwrap();
    let cache = scratch.path("cache");
    succeed(&["data", "prepare", "--data", text(&folder), "--out", text(&cache)]);
    cache
}

#[test]
fn every_text_encoder_trains_and_packs() {
    let scratch = Scratch::new("text-encoders");
    let cache = data(&scratch);
    for kind in Kind::ALL {
        let config = config(kind);
        let folder = scratch.path(&format!("published-{kind}"));
        publish(&config, &folder);
        let (run, pack) = (scratch.path(&format!("run-{kind}")), scratch.path(&format!("pack-{kind}")));
        succeed(&[
            "train",
            "base",
            "--data",
            text(&cache),
            "--out",
            text(&run),
            "--steps",
            "1",
            "--tokens",
            "20",
            "--layers",
            "1",
            "--width",
            "16",
            "--copies",
            "0",
            "--composed",
            "0",
            "--text-encoder",
            kind.name(),
            "--text-weights",
            text(&folder),
        ]);
        let weights = run.join("weights.safetensors");
        let build = [
            "pack",
            "build",
            "--out",
            text(&pack),
            "--name",
            "small",
            "--licence",
            "CC0-1.0",
            "--text-storage",
            "f32",
            "--transformer",
            text(&weights),
        ];
        // Not without the encoder that it was trained with.
        refuse(&build, "another text encoder");
        let _ = fs::remove_dir_all(&pack);
        succeed(&[&build[..], &["--text", text(&folder)]].concat());

        let opened = Pack::open(&pack).unwrap();
        assert_eq!(opened.manifest().text, config);
        let encoder = opened.text_encoder(&Device::Cpu).unwrap();
        let features = encoder.encode("a dog").unwrap().features;
        let tokens = if kind == Kind::Clip { 77 } else { 7 };
        assert_eq!(features.dims(), [1, tokens, config.width()], "{kind}");
        let sum = features.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(sum.is_finite() && sum > 0.0, "{kind}: {sum}");
        // By way of an import it is the same.
        let (imported, again) =
            (scratch.path(&format!("imported-{kind}")), scratch.path(&format!("again-{kind}")));
        let weights = folder.join("model.safetensors");
        let import = ["import", kind.name(), "--storage", "f32", "--weights", text(&weights)];
        succeed(&[&import[..], &["--out", text(&imported)]].concat());
        let build = ["pack", "build", "--out", text(&again), "--name", "again", "--licence", "CC0-1.0"];
        succeed(&[&build[..], &["--text-storage", "f32", "--text", text(&imported)]].concat());
        let hash = |pack: &Pack| pack.manifest().files.text.sha256.clone();
        let again = Pack::open(&again).unwrap();
        assert_eq!((&again.manifest().text, hash(&again)), (&config, hash(&opened)));
    }
    // The folders are told apart.
    let folder = scratch.path("published-t5");
    let train =
        ["train", "base", "--data", text(&cache), "--out", text(&scratch.path("none")), "--steps", "1"]
            .map(String::from);
    let train: Vec<&str> = train.iter().map(String::as_str).collect();
    let with = |more: &[&'static str]| [&train[..], more].concat();
    refuse(&with(&["--text-encoder", "clip"]), "--text-weights");
    refuse(&with(&["--text-encoder", "bert"]), "expected one of minilm, clip, t5, clap");
    let confused = [&with(&["--text-encoder", "clap", "--text-weights"])[..], &[text(&folder)]].concat();
    refuse(&confused, "of the kind t5, not clap");
}
