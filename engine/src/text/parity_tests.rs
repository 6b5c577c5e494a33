//! Every encoder and CLIP's tokenizer against the reference implementations' recorded numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::tests::{fixture, worst};
use super::*;
use std::collections::{BTreeMap, HashMap};

/// A fixture's inputs, outputs and weights.
struct Fixture {
    tensors: HashMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

impl Fixture {
    fn load(name: &str) -> Self {
        let (tensors, metadata) = fixture(name);
        Self { tensors, metadata }
    }

    /// The weights under the names of their publisher.
    fn checkpoint(&self) -> HashMap<String, Tensor> {
        self.tensors
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("w.")?.to_owned(), tensor.clone())))
            .collect()
    }

    /// The metadata as the `config.json` that it was.
    fn description(&self) -> Description {
        let value = |text: &String| {
            serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::String(text.clone()))
        };
        let fields: serde_json::Map<_, _> =
            self.metadata.iter().map(|(name, text)| (name.clone(), value(text))).collect();
        Description::parse(&serde_json::to_vec(&fields).unwrap()).unwrap()
    }

    /// Configuration and weights in our layout.
    fn open(&self, kind: Kind) -> (Config, VarBuilder<'static>) {
        let tensors = kind.from_hugging_face(&self.checkpoint()).unwrap();
        let config = Config::infer(kind, &tensors, &self.description()).unwrap();
        (config, builder(tensors))
    }

    fn ids(&self) -> Tensor {
        self.tensors["in.ids"].to_dtype(DType::U32).unwrap()
    }

    fn mask(&self) -> Tensor {
        self.tensors["in.mask"].to_dtype(DType::F32).unwrap()
    }
}

fn builder(tensors: BTreeMap<String, Tensor>) -> VarBuilder<'static> {
    VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, &Device::Cpu)
}

/// Asserts that all elements agree.
fn close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f32) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let theirs = theirs.to_dtype(DType::F32).unwrap();
    let everywhere = Tensor::ones(&ours.dims()[..ours.rank() - 1], DType::F32, &Device::Cpu).unwrap();
    let difference = worst(ours, &theirs, &everywhere);
    assert!(difference < tolerance, "{what}: largest difference {difference}");
}

#[test]
fn clip_agrees_with_diffsounds_at_every_block() {
    let fixture = Fixture::load("clip_text.safetensors");
    let tensors = clip::from_openai(&fixture.checkpoint()).unwrap();
    // As a published checkpoint: without any config.json.
    let config = Config::infer(Kind::Clip, &tensors, &Description::default()).unwrap();
    let Config::Clip(config) = config else { panic!("{config:?}") };
    assert_eq!(config.num_attention_heads.to_string(), fixture.metadata["heads"]);
    let network = clip::Clip::new(&config, builder(tensors)).unwrap();
    let ids = fixture.tensors["tokens"].to_dtype(DType::U32).unwrap();
    let ours = network.activations(&ids).unwrap();
    assert_eq!(ours.blocks.len(), 2);
    for (index, block) in ours.blocks.iter().enumerate() {
        let name = format!("act.resblock{index}");
        close(&name, block, &fixture.tensors[&name], 1e-4);
    }
    close("after the last norm", &ours.last_hidden, &fixture.tensors["out_f32_lnfinal"], 1e-4);
    close("features", &ours.features, &fixture.tensors["out_f32_normalised"], 1e-4);
    close("f16 features", &ours.features, &fixture.tensors["out_f16_normalised"], 5e-3);
    close("forward", &network.forward(&ids).unwrap(), &fixture.tensors["out_f32_normalised"], 1e-4);
}

#[test]
fn clip_agrees_with_hugging_faces() {
    let fixture = Fixture::load("text_clip_hf.safetensors");
    let (config, vs) = fixture.open(Kind::Clip);
    let Config::Clip(config) = config else { panic!("{config:?}") };
    assert!(config.normalise);
    let network = clip::Clip::new(&clip::Config { normalise: false, ..config }, vs).unwrap();
    let ours = network.forward(&fixture.ids()).unwrap();
    close("last hidden", &ours, &fixture.tensors["out.last_hidden"], 1e-4);
}

#[test]
fn t5_agrees_with_hugging_faces() {
    let fixture = Fixture::load("text_t5.safetensors");
    let (config, vs) = fixture.open(Kind::T5);
    let Config::T5(config) = config else { panic!("{config:?}") };
    assert_eq!((config.num_heads, config.d_kv, config.num_layers), (4, 8, 2));
    let ours = t5::T5::new(&config, vs).unwrap().forward(&fixture.ids(), &fixture.mask()).unwrap();
    let difference = worst(&ours, &fixture.tensors["out.last_hidden"], &fixture.mask());
    assert!(difference < 1e-4, "largest difference {difference}");
}

#[test]
fn clap_agrees_with_hugging_faces() {
    let fixture = Fixture::load("text_clap.safetensors");
    let (config, vs) = fixture.open(Kind::Clap);
    let Config::Clap(config) = config else { panic!("{config:?}") };
    let network = clap::Clap::new(&config, vs.clone()).unwrap();
    let (ids, mask) = (fixture.ids(), fixture.mask());
    let hidden = network.hidden(&ids, &mask).unwrap();
    let difference = worst(&hidden, &fixture.tensors["out.last_hidden"], &mask);
    assert!(difference < 1e-4, "largest difference {difference}");
    let embeds = &fixture.tensors["out.text_embeds"];
    close("embeddings", &network.embed(&ids, &mask).unwrap(), embeds, 1e-4);

    // What the transformer sees begins with that embedding.
    let features = network.forward(&ids, &mask).unwrap();
    close("first token", &features.narrow(1, 0, 1).unwrap().squeeze(1).unwrap(), embeds, 1e-4);
    let plain = clap::Config { features: clap::Features::Hidden, ..config };
    let plain = clap::Clap::new(&plain, vs).unwrap().forward(&ids, &mask).unwrap();
    close("hidden features", &plain, &hidden, 1e-6);
}

fn clip_tokenizer() -> Tokenizer {
    let json = clip::tokenizer_json(49_408).unwrap();
    Tokenizer::of(&Config::Clip(clip::Config::vit_b_32()), &json).unwrap()
}

#[test]
fn clip_ids_are_the_references() {
    let (tensors, _) = fixture("tokenizer.safetensors");
    let bytes = tensors["bytes"].to_vec1::<u8>().unwrap();
    let offsets = tensors["offsets"].to_vec1::<i64>().unwrap();
    let prompts: Vec<&str> = offsets
        .windows(2)
        .map(|at| std::str::from_utf8(&bytes[at[0] as usize..at[1] as usize]).unwrap())
        .collect();
    assert_eq!(prompts.len(), 16);
    let expected = tensors["tokens"].to_vec2::<i64>().unwrap();
    let (ids, mask) = clip_tokenizer().encode_batch(&prompts, &Device::Cpu).unwrap();
    let ids = ids.to_dtype(DType::I64).unwrap().to_vec2::<i64>().unwrap();
    for ((prompt, ids), expected) in prompts.iter().zip(ids).zip(expected) {
        assert_eq!(ids, expected, "{prompt:?}");
    }
    // Diffsound attends to padding, too.
    let all: f32 = mask.mean_all().unwrap().to_scalar().unwrap();
    assert!((all - 1.0).abs() < 1e-6, "{all}");
    assert_eq!(mask.dims(), [16, 77]);
}
