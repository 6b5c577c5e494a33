//! A tiny pack with random weights, for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{
    Codec, CodecConfig, FORMAT, FileEntry, Files, MANIFEST_FILE, Manifest, Pack, Part, Sampling, Vocoder,
    VocoderConfig, sha256_hex,
};
use crate::codec::patch;
use crate::diffusion::{ScheduleConfig, transformer};
use crate::layers::kernel::Precision;
use crate::service::Settings;
use crate::text::{self, minilm};
use crate::vocoder::vocos;
use crate::weights::{Storage, encode};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that goes with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("soundlocd-pack-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap()
    }

    /// Replaces the first `from` in `pack.json`.
    pub(crate) fn edit_manifest(&self, from: &str, to: &str) {
        let json = String::from_utf8(self.read(MANIFEST_FILE)).unwrap();
        assert!(json.contains(from), "{from} is not in {json}");
        self.write(MANIFEST_FILE, json.replacen(from, to, 1).as_bytes());
    }

    /// Replaces a file and what `pack.json` says of it.
    pub(crate) fn replace(&self, part: Part, bytes: &[u8]) {
        let mut manifest = Pack::open(&self.0).unwrap().manifest().clone();
        let files = &mut manifest.files;
        let entry = match part {
            Part::Text => &mut files.text,
            Part::Transformer => &mut files.transformer,
            Part::Codec => &mut files.codec,
            Part::Vocoder => &mut files.vocoder,
        };
        (entry.bytes, entry.sha256) = (bytes.len() as u64, sha256_hex(bytes));
        self.write(&entry.name, bytes);
        self.write(MANIFEST_FILE, manifest.to_json().unwrap().as_bytes());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The variables that `new` makes.
fn random(new: impl FnOnce(VarBuilder)) -> BTreeMap<String, Tensor> {
    let variables = VarMap::new();
    new(VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu));
    let data = variables.data().lock().unwrap();
    data.iter().map(|(name, variable)| (name.clone(), variable.as_detached_tensor())).collect()
}

/// A whole pack with tiny parts.
pub(crate) fn tiny() -> Folder {
    let text = minilm::Config {
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 16,
        ..minilm::Config::all_minilm_l6_v2()
    };
    let transformer =
        transformer::Config { layers: 2, width: 16, heads: 2, ..transformer::Config::small(16, 8) };
    let codec = CodecConfig::Patch(patch::Config {
        fine_width: 8,
        fine_encoder_blocks: 1,
        fine_decoder_blocks: 1,
        width: 16,
        encoder_blocks: 1,
        decoder_blocks: 1,
        code_width: 4,
        codebook: 16,
    });
    let vocoder = VocoderConfig::Vocos(vocos::Config { width: 16, hidden: 32, blocks: 1 });

    let folder = Folder::new();
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pack/tokenizer.json");
    folder.write("tokenizer.json", &std::fs::read(tokenizer).unwrap());
    for part in Part::ALL {
        let tensors = random(|vs| match part {
            Part::Text => drop(minilm::MiniLm::new(&text, vs).unwrap()),
            Part::Transformer => {
                drop(transformer::Transformer::new(&transformer, Precision::F32, vs).unwrap());
            }
            Part::Codec => drop(Codec::new(&codec, crate::GRID_ROWS, Precision::F32, vs).unwrap()),
            Part::Vocoder => drop(Vocoder::new(&vocoder, Precision::F32, vs).unwrap()),
        });
        folder.write(
            &format!("{part}.safetensors"),
            &encode(part.name(), &tensors, |_, _| Storage::F16).unwrap(),
        );
    }
    let entry = |name: &str| {
        let bytes = folder.read(name);
        FileEntry { name: name.into(), bytes: bytes.len() as u64, sha256: sha256_hex(&bytes) }
    };
    let manifest = Manifest {
        format: FORMAT,
        name: "tiny".into(),
        description: String::new(),
        licence: "CC0-1.0".into(),
        training_data: "none: random weights".into(),
        text: text::Config::Minilm(text),
        transformer,
        schedule: ScheduleConfig::default(),
        codec,
        vocoder,
        recommended: Settings::default(),
        sampling: Sampling::default(),
        files: Files {
            tokenizer: entry("tokenizer.json"),
            text: entry("text.safetensors"),
            transformer: entry("transformer.safetensors"),
            codec: entry("codec.safetensors"),
            vocoder: entry("vocoder.safetensors"),
        },
    };
    folder.write(MANIFEST_FILE, manifest.to_json().unwrap().as_bytes());
    folder
}
