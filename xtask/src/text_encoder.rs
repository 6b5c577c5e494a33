//! Text encoders as Hugging Face publishes them: a folder with `config.json`, `model.safetensors` and the tokenizer; and
//! as `cargo xtask import` leaves them: `text.safetensors` and the tokenizer.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use soundlocd_engine::text::{Config, Description, Kind, TextEncoder, clip};
use soundlocd_engine::weights::{CONFIG_KEY, Weights};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The weights of an imported text encoder, its architecture in their header.
pub const IMPORTED: &str = "text.safetensors";

/// A text encoder's tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";

/// A published text encoder, in our layout.
#[derive(Debug)]
pub struct Published {
    /// Its architecture.
    pub config: Config,
    /// Its weights.
    pub tensors: BTreeMap<String, Tensor>,
    /// Its `tokenizer.json`.
    pub tokenizer: Vec<u8>,
}

impl Published {
    /// Reads `folder`; without `kind`, its `config.json` says what it is. `max_tokens` cuts prompts where the encoder has
    /// no fixed context.
    pub fn open(folder: &Path, kind: Option<Kind>, max_tokens: Option<usize>) -> Result<Self> {
        if let Some(imported) = read_if_there(folder, IMPORTED)? {
            return Self::imported(folder, &imported, kind, max_tokens);
        }
        let description = match read_if_there(folder, "config.json")? {
            Some(json) => {
                Description::parse(&json).with_context(|| format!("cannot use {}", folder.display()))?
            }
            None => Description::default(),
        };
        let kind = match (kind, description.kind()) {
            (Some(kind), Some(described)) => {
                ensure!(
                    kind == described,
                    "{} holds a text encoder of the kind {described}, not {kind}",
                    folder.display()
                );
                kind
            }
            (given, described) => given.or(described).with_context(|| {
                let known = Kind::ALL.map(Kind::name).join(", ");
                format!(
                    "{} does not say which text encoder it holds; --text-encoder can be {known}",
                    folder.display()
                )
            })?,
        };
        let weights = folder.join("model.safetensors");
        let checkpoint = candle_core::safetensors::load(&weights, &Device::Cpu)
            .with_context(|| format!("cannot read {}", weights.display()))?;
        let tensors = kind.from_hugging_face(&checkpoint)?;
        let mut config = Config::infer(kind, &tensors, &description)
            .with_context(|| format!("cannot use {}", weights.display()))?;
        if let Some(max_tokens) = max_tokens {
            config = config.with_max_tokens(max_tokens);
        }
        Ok(Self { tokenizer: tokenizer_beside(folder, &config)?, config, tensors })
    }

    /// What [`IMPORTED`] holds.
    fn imported(folder: &Path, bytes: &[u8], kind: Option<Kind>, max_tokens: Option<usize>) -> Result<Self> {
        let path = folder.join(IMPORTED).display().to_string();
        let (_, header) = safetensors::SafeTensors::read_metadata(bytes).with_context(|| path.clone())?;
        let config = header.metadata().as_ref().and_then(|metadata| metadata.get(CONFIG_KEY));
        let config = config.with_context(|| format!("{path} does not say its architecture"))?;
        let mut config: Config = serde_json::from_str(config).with_context(|| path.clone())?;
        ensure!(
            kind.is_none_or(|kind| kind == config.kind()),
            "{} holds a text encoder of the kind {}",
            folder.display(),
            config.kind()
        );
        if let Some(max_tokens) = max_tokens {
            config = config.with_max_tokens(max_tokens);
        }
        let tensors: BTreeMap<String, Tensor> =
            Weights::decode(&path, bytes)?.tensors()?.into_iter().collect();
        config.layout()?.check(&tensors).with_context(|| path.clone())?;
        Ok(Self { tokenizer: tokenizer_beside(folder, &config)?, config, tensors })
    }

    /// The encoder itself, on `device`.
    pub fn encoder(&self, device: &Device) -> Result<TextEncoder> {
        let vs = VarBuilder::from_tensors(self.tensors.clone().into_iter().collect(), DType::F32, device);
        Ok(TextEncoder::new(&self.config, &self.tokenizer, vs)?)
    }
}

/// The folder's `tokenizer.json`. CLIP's may also come as `vocab.json` and `merges.txt`, or not at all: then it is the
/// published vocabulary.
pub fn tokenizer_beside(folder: &Path, config: &Config) -> Result<Vec<u8>> {
    if let Some(json) = read_if_there(folder, TOKENIZER)? {
        return Ok(json);
    }
    ensure!(
        config.kind() == Kind::Clip,
        "{} has no tokenizer.json, which the text encoder {} needs",
        folder.display(),
        config.kind()
    );
    Ok(match (read_if_there(folder, "vocab.json")?, read_if_there(folder, "merges.txt")?) {
        (Some(vocabulary), Some(merges)) => clip::tokenizer_json_from(&vocabulary, &merges)?,
        _ => clip::tokenizer_json(config.vocab_size())?,
    })
}

fn read_if_there(folder: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(None);
    }
    fs::read(&path).map(Some).with_context(|| format!("cannot read {}", path.display()))
}
