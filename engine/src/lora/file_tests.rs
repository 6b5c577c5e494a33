#![allow(clippy::unwrap_used)]

use super::*;
use candle_core::{DType, Device};
use std::collections::HashMap;

fn config() -> Config {
    Config { layers: 2, width: 8, cond_width: 4, heads: 2, ..Config::small(16, 4) }
}

fn matrix(rows: usize, cols: usize, first: f32) -> Tensor {
    let values: Vec<f32> = (0..rows * cols).map(|i| first + 0.01 * i as f32).collect();
    Tensor::from_vec(values, (rows, cols), &Device::Cpu).unwrap()
}

/// `A` and `B` of rank 2 for the four matrices of block 0's self-attention, by PEFT's names.
fn peft_tensors() -> Vec<(String, Tensor)> {
    let mut tensors = Vec::new();
    for (n, letter) in ["q", "k", "v", "proj"].into_iter().enumerate() {
        let module = format!("base_model.model.blocks.0.self_attn.{letter}");
        tensors.push((format!("{module}.lora_A.weight"), matrix(2, 8, n as f32)));
        tensors.push((format!("{module}.lora_B.weight"), matrix(8, 2, -(n as f32))));
    }
    tensors
}

fn card() -> Card {
    Card { format: super::super::FORMAT, title: "Bells".into(), rank: 2, alpha: 4.0, ..Card::default() }
}

/// A file of these tensors, with a card's JSON or without one.
fn file(tensors: Vec<(String, Tensor)>, card: Option<&str>) -> Vec<u8> {
    let metadata = card.map(|json| HashMap::from([(CARD_KEY.to_owned(), json.to_owned())]));
    safetensors::serialize(tensors, metadata).unwrap()
}

fn read(bytes: &[u8]) -> Result<AdapterFile, LoraError> {
    AdapterFile::decode("my.safetensors", bytes.len() as u64, bytes, None)
}

fn with_card(tensors: Vec<(String, Tensor)>) -> Result<AdapterFile, LoraError> {
    read(&file(tensors, Some(&card().to_json().unwrap())))
}

#[track_caller]
fn refused(result: Result<AdapterFile, LoraError>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

#[test]
fn a_written_adapter_reads_back() {
    let folder = std::env::temp_dir().join(format!("soundlocd-adapter-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("bells.safetensors");
    let adapter = with_card(peft_tensors()).unwrap().fit(&config()).unwrap();
    AdapterFile::write(&path, &card(), &adapter).unwrap();
    let read = AdapterFile::open(&path).unwrap();
    assert_eq!((read.title().as_str(), read.rank(), read.alpha(), read.parameters()), ("Bells", 2, 4.0, 128));
    assert_eq!(read.card().unwrap().targets, ["q", "k", "v", "proj"]);
    assert_eq!(read.hash(), crate::pack::sha256_hex(&std::fs::read(&path).unwrap()));
    let again = read.fit(&config()).unwrap();
    for ((target, old), (_, new)) in adapter.matrices().zip(again.matrices()) {
        let values = |tensor: &Tensor| tensor.to_vec2::<f32>().unwrap();
        assert_eq!((values(&old.0), values(&old.1)), (values(&new.0), values(&new.1)), "{target}");
    }
    // The same bytes every time, or the hash would mean nothing.
    let bytes = std::fs::read(&path).unwrap();
    AdapterFile::write(&path, &card(), &adapter).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn peft_folders_and_files_are_read_with_their_settings() {
    let folder = std::env::temp_dir().join(format!("soundlocd-peft-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    refused(AdapterFile::open(&folder), &["adapter_model.safetensors"]);
    std::fs::write(folder.join("adapter_model.bin"), b"PK\x03\x04").unwrap();
    refused(AdapterFile::open(&folder), &["pickle", "adapter_model.bin"]);
    std::fs::write(folder.join(WEIGHTS_FILE), file(peft_tensors(), None)).unwrap();
    refused(AdapterFile::open(&folder), &["alpha", CONFIG_FILE]);
    std::fs::write(folder.join(CONFIG_FILE), r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 16}"#).unwrap();
    let read = AdapterFile::open(&folder).unwrap();
    assert_eq!((read.rank(), read.alpha(), read.card()), (2, 16.0, None));
    assert_eq!(read.title(), folder.file_name().unwrap().to_string_lossy());
    let by_file = AdapterFile::open(&folder.join(WEIGHTS_FILE)).unwrap();
    assert_eq!(by_file.hash(), read.hash());
    std::fs::write(folder.join(CONFIG_FILE), r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 16}"#).unwrap();
    refused(AdapterFile::open(&folder), &["rank", "expected 4", "found 2"]);
    std::fs::write(folder.join(CONFIG_FILE), r#"{"peft_type": "LOHA", "r": 2}"#).unwrap();
    refused(AdapterFile::open(&folder), &["LOHA", "peft_type"]);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn kohya_files_are_read_with_their_alphas() {
    let tensors = |alphas: [f32; 2]| {
        let mut tensors = Vec::new();
        for (letter, alpha) in ["q", "k"].into_iter().zip(alphas) {
            let module = format!("lora_unet_blocks_1_cross_attn_{letter}");
            let input = if letter == "k" { 4 } else { 8 };
            tensors.push((format!("{module}.lora_down.weight"), matrix(2, input, 0.0)));
            tensors.push((format!("{module}.lora_up.weight"), matrix(8, 2, 0.0)));
            tensors.push((format!("{module}.alpha"), Tensor::new(alpha, &Device::Cpu).unwrap()));
        }
        tensors
    };
    let read_file = read(&file(tensors([3.0, 3.0]), None)).unwrap();
    assert_eq!((read_file.alpha(), read_file.parameters()), (3.0, 2 * 16 + 8 + 16));
    read_file.fit(&config()).unwrap();
    refused(read(&file(tensors([3.0, 4.0]), None)), &["several alphas", "cross_attn_k.alpha"]);
    let mut partly = tensors([3.0, 3.0]);
    partly.pop();
    refused(read(&file(partly, None)), &["some matrices only"]);
    let mut odd = tensors([3.0, 3.0]);
    odd[2].1 = matrix(2, 1, 0.0);
    refused(read(&file(odd, None)), &["alpha", "[2, 1]"]);
}

#[test]
fn tensors_without_a_place_or_partner_are_refused_by_name() {
    let mut tensors = peft_tensors();
    tensors.push(("base_model.model.blocks.0.mlp.fc1.lora_A.weight".into(), matrix(2, 8, 0.0)));
    refused(with_card(tensors), &["my.safetensors", "blocks.0.mlp.fc1.lora_A", "unused"]);
    let mut tensors = peft_tensors();
    tensors.remove(3);
    refused(
        with_card(tensors),
        &["blocks.0.self_attn.k.lora_A", "blocks.0.self_attn.k.lora_B.weight is missing"],
    );
    let mut tensors = peft_tensors();
    tensors.push(("blocks.0.attn1.query.lora_A.weight".into(), matrix(2, 8, 0.0)));
    refused(with_card(tensors), &["both", "attn1.query", "self_attn.q"]);
    refused(with_card(Vec::new()), &["no tensor at all"]);
}

#[test]
fn other_kinds_of_adapters_are_refused_by_their_name() {
    for (tensor, kind) in [
        ("base_model.model.blocks.0.self_attn.q.lora_magnitude_vector.weight", "DoRA"),
        ("lora_unet_blocks_0_self_attn_q.dora_scale", "DoRA"),
        ("lora_unet_blocks_0_self_attn_q.lokr_w1", "LoKr"),
        ("lora_unet_blocks_0_self_attn_q.hada_w1_a", "LoHa"),
        ("base_model.model.blocks.0.self_attn.q.oft_r.default", "OFT"),
        ("base_model.model.blocks.0.self_attn.q.ia3_l", "(IA)3"),
        ("lora_unet_blocks_0_self_attn_q.diff", "whole weights"),
        ("lora_unet_blocks_0_self_attn_q.lora_mid.weight", "Tucker"),
    ] {
        let mut tensors = peft_tensors();
        tensors.push((tensor.into(), matrix(1, 8, 0.0)));
        refused(with_card(tensors), &[kind, tensor]);
    }
}

#[test]
fn shapes_ranks_and_values_are_checked() {
    let change = |index: usize, tensor: Tensor| {
        let mut tensors = peft_tensors();
        tensors[index].1 = tensor;
        with_card(tensors)
    };
    // Another rank than the others, no matrix, rank 0, rank 257.
    refused(change(2, matrix(3, 8, 0.0)), &["self_attn.", "expected the shape [2, 8], found [3, 8]"]);
    refused(change(2, matrix(2, 8, 0.0).flatten_all().unwrap()), &["self_attn.k.lora_A", "[16]"]);
    let empty = Tensor::zeros((0, 8), DType::F32, &Device::Cpu).unwrap();
    refused(change(0, empty), &["self_attn.", "rank 0"]);
    let mut tensors = Vec::new();
    for (letter, shape) in [("A", (257, 8)), ("B", (8, 257))] {
        tensors.push((format!("blocks.0.self_attn.q.lora_{letter}.weight"), matrix(shape.0, shape.1, 0.0)));
    }
    refused(with_card(tensors), &["rank 257", "at most 256"]);
    // Values that are not numbers.
    for bad in [f32::NAN, f32::INFINITY] {
        let tensor = Tensor::from_vec(vec![bad; 16], (2, 8), &Device::Cpu).unwrap();
        refused(change(4, tensor), &["self_attn.v.lora_A.weight", "not a number"]);
    }
    let doubles = matrix(2, 8, 0.0).to_dtype(DType::F64).unwrap();
    refused(change(0, doubles), &["self_attn.q.lora_A", "F64"]);
    // Shapes that fit each other, but not the base.
    let wide = change(0, matrix(2, 9, 0.0)).unwrap();
    let message = wide.fit(&config()).unwrap_err().to_string();
    assert!(message.contains("blocks.0.self_attn.q.A: expected the shape [2, 8], found [2, 9]"), "{message}");
    let message = with_card(peft_tensors()).unwrap().fit(&Config { width: 16, ..config() }).unwrap_err();
    assert!(message.to_string().contains("expected the shape [2, 16], found [2, 8]"), "{message}");
}

#[test]
fn the_card_must_fit_the_tensors() {
    let with = |card: Card| read(&file(peft_tensors(), Some(&card.to_json().unwrap())));
    refused(with(Card { rank: 4, ..card() }), &["rank", "expected 4", "found 2"]);
    refused(with(Card { alpha: 0.0, ..card() }), &["alpha", "above 0"]);
    refused(with(Card { alpha: -1.0, ..card() }), &["alpha"]);
    refused(with(Card { format: 9, ..card() }), &["version", "9"]);
    refused(read(&file(peft_tensors(), Some("nonsense"))), &["card"]);
    let no_alpha = file(peft_tensors(), None);
    refused(read(&no_alpha), &["alpha", "none of them"]);
}

#[test]
fn messages_stay_short_whatever_a_file_says() {
    let long = "x".repeat(100_000);
    let short = |result: Result<AdapterFile, LoraError>, part: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part) && message.chars().count() < 500, "{message}");
    };
    let card = format!(r#"{{"format": 1, "rank": "{long}"}}"#);
    short(read(&file(peft_tensors(), Some(&card))), "invalid type: string \"xxx");
    let settings = format!(r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": "{long}"}}"#);
    let bytes = file(peft_tensors(), None);
    let settings = PeftConfig::parse(CONFIG_FILE, settings.as_bytes());
    let read = AdapterFile::decode("my.safetensors", bytes.len() as u64, bytes.as_slice(), Some(settings));
    short(read, "invalid type: string \"xxx");
    let mut tensors = peft_tensors();
    tensors[0].0 = "x".repeat(500);
    short(with_card(tensors), "would go unused");
}

#[test]
fn another_base_is_refused_in_words() {
    let id =
        |name: &str, hash: &str| BaseId { name: name.into(), pack: hash.repeat(32), ..BaseId::default() };
    let made_for = Card { base: id("Small", "ab"), ..card() };
    let adapter = read(&file(peft_tensors(), Some(&made_for.to_json().unwrap()))).unwrap();
    adapter.check_base(&id("Small", "ab")).unwrap();
    let message = adapter.check_base(&id("Large", "cd")).unwrap_err().to_string();
    assert!(
        ["Bells", "Small", "Large", "abababababab"].iter().all(|part| message.contains(part)),
        "{message}"
    );
    // Those of other programs name none: their shapes decide.
    let config = PeftConfig { rank: 2, alpha: 2.0 };
    let bytes = file(peft_tensors(), None);
    let foreign = AdapterFile::decode("x", bytes.len() as u64, bytes.as_slice(), Some(Ok(config))).unwrap();
    foreign.check_base(&id("Large", "cd")).unwrap();
}

#[test]
fn pickles_and_damaged_files_are_refused() {
    for (name, bytes) in [
        ("a.safetensors", &b"PK\x03\x04\x14\x00\x00\x00"[..]),
        ("a.safetensors", b"\x80\x02}q\x00(X\x01"),
        ("a.pt", b"anything"),
        ("a.bin", b""),
    ] {
        refused(AdapterFile::decode(name, bytes.len() as u64, bytes, None), &[name, "pickle"]);
    }
    let good = file(peft_tensors(), Some(&card().to_json().unwrap()));
    for length in [0, 7, 8, 100, good.len() - 1] {
        refused(read(&good[..length]), &["my.safetensors"]);
    }
    let mut longer = good.clone();
    longer.push(0);
    refused(read(&longer), &["another size"]);
    let mut huge = good.clone();
    huge[..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    refused(read(&huge), &["header"]);
    // A header of 0x280 bytes starts as a pickle of protocol 2 does, and is none.
    assert!(!is_pickle("a.safetensors", &0x280_u64.to_le_bytes()));
}
