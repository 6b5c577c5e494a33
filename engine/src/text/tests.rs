#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn default_tokenizer() -> Tokenizer {
    let json = std::fs::read(root().join("assets/pack/tokenizer.json")).unwrap();
    Tokenizer::new(&json, 64, 30_522).unwrap()
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

#[test]
fn impossible_sizes_of_every_kind_are_refused() {
    let refuse = |config: Config, part: &str| {
        let message = config.validate().unwrap_err();
        assert!(message.contains(part), "{message}");
        assert!(config.layout().is_err());
    };
    let clip = clip::Config::vit_b_32();
    assert_eq!(Config::Clip(clip.clone()).validate(), Ok(()));
    refuse(Config::Clip(clip::Config { num_attention_heads: 7, ..clip.clone() }), "multiple of 7");
    refuse(Config::Clip(clip::Config { max_position_embeddings: 2, ..clip.clone() }), "at least 3");
    refuse(Config::Clip(clip::Config { max_position_embeddings: 1 << 20, ..clip }), "max_position");
    let t5 = t5::Config::t5_small();
    assert_eq!(Config::T5(t5.clone()).validate(), Ok(()));
    refuse(Config::T5(t5::Config { d_kv: 0, ..t5.clone() }), "d_kv");
    refuse(Config::T5(t5::Config { relative_attention_num_buckets: 2, ..t5.clone() }), "multiple of 4");
    refuse(Config::T5(t5::Config { relative_attention_max_distance: 8, ..t5.clone() }), "near buckets");
    refuse(Config::T5(t5::Config { layer_norm_epsilon: f64::INFINITY, ..t5.clone() }), "layer_norm_epsilon");
    refuse(Config::T5(t5::Config { max_tokens: 1 << 20, ..t5 }), "max_tokens");
    let clap = clap::Config::htsat();
    assert_eq!(Config::Clap(clap.clone()).validate(), Ok(()));
    assert_eq!(Config::Clap(clap.clone()).width(), 512);
    refuse(Config::Clap(clap::Config { max_tokens: 513, ..clap.clone() }), "3 to 512");
    refuse(Config::Clap(clap::Config { pad_token_id: usize::MAX, ..clap }), "max_tokens");
}

#[test]
fn every_kind_round_trips_through_the_manifest() {
    for config in [
        Config::Minilm(minilm::Config::all_minilm_l6_v2()),
        Config::Clip(clip::Config::vit_b_32()),
        Config::T5(t5::Config::t5_small()),
        Config::Clap(clap::Config::htsat()),
    ] {
        let mut json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["kind"], config.kind().name());
        assert_eq!(serde_json::from_value::<Config>(json.clone()).unwrap(), config);
        json["surprise"] = 1.into();
        assert!(serde_json::from_value::<Config>(json).is_err());
        assert_eq!(config.kind().name().parse(), Ok(config.kind()));
    }
    assert!("bert".parse::<Kind>().unwrap_err().contains("minilm, clip, t5, clap"));
}

#[test]
fn published_sizes_have_the_published_numbers_of_parameters() {
    let parameters = |config: Config| -> usize {
        config.layout().unwrap().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    };
    // SPEC 3 counts 63,428,096 with the projection, 512 x 512, that the features do without.
    assert_eq!(parameters(Config::Clip(clip::Config::vit_b_32())), 63_428_096 - 512 * 512);
}

/// Weights of `config` that are all zero.
fn zeros(config: &Config) -> std::collections::BTreeMap<String, Tensor> {
    let layout = config.layout().unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    layout.iter().map(|(name, shape)| (name.to_owned(), zeros(shape))).collect()
}

fn small_clip() -> Config {
    Config::Clip(clip::Config {
        vocab_size: 600,
        hidden_size: 8,
        num_hidden_layers: 2,
        num_attention_heads: 1,
        intermediate_size: 16,
        ..clip::Config::vit_b_32()
    })
}

#[test]
fn checkpoints_that_do_not_fit_name_every_tensor() {
    let good = zeros(&small_clip());
    let infer = |tensors: &_| Config::infer(Kind::Clip, tensors, &Description::default());
    assert_eq!(infer(&good).unwrap(), small_clip());

    let mut bad = good.clone();
    bad.remove("encoder.layers.1.mlp.fc2.bias");
    bad.insert("encoder.layers.0.self_attn.k_proj.weight".into(), good["final_layer_norm.bias"].clone());
    bad.insert("surprise".into(), good["final_layer_norm.bias"].clone());
    let message = infer(&bad).unwrap_err().to_string();
    for part in [
        "encoder.layers.1.mlp.fc2.bias [8] is missing",
        "encoder.layers.0.self_attn.k_proj.weight should have the shape [8, 8] and has [8]",
        "surprise [8] is not expected",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // Nothing to tell the sizes from.
    for kind in Kind::ALL {
        let message = Config::infer(kind, &Default::default(), &Description::default()).unwrap_err();
        assert!(message.to_string().contains("weight is missing"), "{message}");
    }
    let gelu = Description::parse(br#"{"text_config": {"hidden_act": "gelu"}}"#).unwrap();
    assert!(Config::infer(Kind::Clip, &good, &gelu).unwrap_err().to_string().contains("hidden_act"));
    let odd = Description::parse(br#"{"num_attention_heads": "many"}"#).unwrap();
    assert!(Config::infer(Kind::Clip, &good, &odd).unwrap_err().to_string().contains("whole number"));
}

#[test]
fn packed_attention_of_an_odd_size_is_refused() {
    let name = "transformer.resblocks.0.attn.in_proj_weight";
    let tensor = Tensor::zeros((7, 4), DType::F32, &Device::Cpu).unwrap();
    let error = clip::from_openai(&HashMap::from([(name.to_owned(), tensor)])).unwrap_err();
    assert!(error.to_string().contains(name), "{error}");
}

#[test]
fn clip_encodes_with_its_own_vocabulary_only() {
    let config = small_clip();
    let build = |json: &[u8]| {
        let vs = VarBuilder::from_tensors(zeros(&config).into_iter().collect(), DType::F32, &Device::Cpu);
        TextEncoder::new(&config, json, vs)
    };
    let encoder = build(&clip::tokenizer_json(600).unwrap()).unwrap();
    assert_eq!((encoder.max_tokens(), encoder.width()), (77, 8));
    let batch = encoder.encode_batch(&["a", "a much longer prompt"]).unwrap();
    assert_eq!((batch.features.dims(), batch.mask.dims()), (&[2, 77, 8][..], &[2, 77][..]));
    // A smaller vocabulary's markers are elsewhere.
    let message = build(&clip::tokenizer_json(599).unwrap()).unwrap_err().to_string();
    assert!(message.contains("not CLIP's"), "{message}");
    assert!(build(&clip::tokenizer_json(601).unwrap()).unwrap_err().to_string().contains("only 600 tokens"));
}

#[test]
fn small_clip_vocabularies_spell_words_out() {
    let tokenizer = Tokenizer::of(&small_clip(), &clip::tokenizer_json(600).unwrap()).unwrap();
    // "the</w>" is the seventh merge; "z" is byte 0x7a, 89 after "!", and 256 more at a word's end.
    assert_eq!(tokenizer.encode("the").unwrap(), [598, 512 + 6, 599]);
    assert_eq!(tokenizer.encode("zz").unwrap(), [598, 89, 256 + 89, 599]);
    let long = tokenizer.encode(&"zz ".repeat(500)).unwrap();
    assert_eq!((long.len(), long[0], long[76]), (77, 598, 599));
}

/// A SentencePiece Unigram model, as T5's `tokenizer.json` has one.
#[test]
fn unigram_tokens_are_the_likeliest() {
    let json = |whole: f64| {
        serde_json::to_vec(&serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{ "id": 1, "content": "</s>", "special": true, "single_word": false,
                               "lstrip": false, "rstrip": false, "normalized": false }],
            "normalizer": null,
            "pre_tokenizer": { "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always",
                               "split": true },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{ "Sequence": { "id": "A", "type_id": 0 } },
                           { "SpecialToken": { "id": "</s>", "type_id": 0 } }],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
                "special_tokens": { "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
            },
            "decoder": null,
            "model": { "type": "Unigram", "unk_id": 2, "vocab": [
                ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["\u{2581}dog", -3.0], ["s", -2.0],
                ["\u{2581}dogs", whole], ["\u{2581}d", -2.5], ["og", -2.5], ["\u{2581}", -1.0],
            ] },
        }))
        .unwrap()
    };
    let config = Config::T5(t5::Config::t5_small());
    let encode = |whole, prompt| Tokenizer::of(&config, &json(whole)).unwrap().encode(prompt).unwrap();
    // In parts -5: more than a rare word, less than a frequent one.
    assert_eq!(encode(-6.0, "dogs"), [3, 4, 1]);
    assert_eq!(encode(-4.0, "dogs dog"), [5, 3, 1]);
    assert_eq!(encode(-4.0, ""), [1]);
}
