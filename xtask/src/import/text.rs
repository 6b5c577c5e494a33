//! Text encoders: their tensors in any of the layouts they are published in, and their tokenizers.

use super::conversion::Stored;
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use soundlocd_engine::checkpoint::{Checkpoint, StateDict};
use soundlocd_engine::pack::{FileEntry, Part};
use soundlocd_engine::text::{Config, Description, Kind, Tokenizer, clip};
use soundlocd_engine::weights::{Pending, write_file};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// A `config.json` or a part of a tokenizer larger than this is refused.
const MAX_BESIDE: u64 = 32 << 20;

/// A text encoder in our layout, with its tokenizer.
#[derive(Debug)]
pub struct Converted {
    /// Its architecture.
    pub config: Config,
    tensors: BTreeMap<String, Tensor>,
    /// A `tokenizer.json`.
    tokenizer: Vec<u8>,
}

impl Converted {
    /// Numbers in all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(|tensor| tensor.elem_count() as u64).sum()
    }

    /// Writes weights and tokenizer to `folder`, in that order.
    ///
    /// # Errors
    /// When a value does not fit its storage or a file cannot be written.
    pub fn write(&self, folder: &Path, stored: Stored) -> Result<(FileEntry, FileEntry)> {
        let (weights, tokenizer) = ("text.safetensors", "tokenizer.json");
        let pending = |(name, tensor): (&String, &'_ Tensor)| {
            let (name, tensor) = (name.clone(), tensor.clone());
            Pending {
                name,
                shape: tensor.dims().to_vec(),
                storage: stored.storage(tensor.rank()),
                values: Box::new(move || {
                    let values = tensor.flatten_all().and_then(|values| values.to_vec1());
                    values.map_err(|error| error.to_string())
                }),
            }
        };
        let config = serde_json::to_string(&self.config)?;
        let tensors = self.tensors.iter().map(pending).collect();
        write_file(&folder.join(weights), Part::Text.name(), config, tensors)?;
        fs::write(folder.join(tokenizer), &self.tokenizer)
            .with_context(|| format!("cannot write {tokenizer}"))?;
        Ok((FileEntry::of(folder, weights)?, FileEntry::of(folder, tokenizer)?))
    }
}

/// The encoder of `kind` in the checkpoint `weights`, with `tokenizer` or what lies beside the weights.
///
/// # Errors
/// When it is another kind, its tensors do not fit together, or there is no tokenizer for it.
pub fn convert(kind: Kind, weights: &Path, tokenizer: Option<&Path>) -> Result<Converted> {
    let checkpoint = Checkpoint::open(weights)?;
    let mut found = None;
    // Diffsound's checkpoint has a CLIP tower in it.
    for (keys, prefix) in
        [(&["ema"][..], "condition_emb."), (&["state_dict"], ""), (&["model"], ""), (&[], "")]
    {
        if let Some(dict) = checkpoint.state_dict(keys)? {
            let dict = dict.below(prefix);
            if !dict.is_empty() {
                found = Some(dict);
                break;
            }
        }
    }
    let Some(dict) = found else {
        bail!("{} has no tensors; what it has at the top is: {}", weights.display(), checkpoint.summary());
    };
    let description = match beside(weights, "config.json")? {
        Some(json) => Description::parse(&json)?,
        None => Description::default(),
    };
    if let Some(described) = description.kind() {
        ensure!(described == kind, "the config.json beside {} is of a {described} model", weights.display());
    }
    of_tensors(kind, &dict, &description, tokenizer)
}

/// The encoder of `kind` made of the tensors of `dict`.
///
/// # Errors
/// As [`convert`].
pub fn of_tensors(
    kind: Kind,
    dict: &StateDict<'_>,
    description: &Description,
    tokenizer: Option<&Path>,
) -> Result<Converted> {
    let failed = || format!("{} is not a text encoder of the kind {kind}", dict.path().display());
    let published = load(dict)?;
    let openai = kind == Kind::Clip && published.contains_key("token_embedding.weight");
    let tensors = if openai { clip::from_openai(&published) } else { kind.from_hugging_face(&published) };
    let tensors = tensors.with_context(failed)?;
    let config = Config::infer(kind, &tensors, description).with_context(failed)?;
    let tokenizer = match (read_tokenizer(dict.path(), tokenizer)?, &config) {
        (Some(json), _) => json,
        (None, Config::Clip(config)) => clip::tokenizer_json(config.vocab_size)?,
        (None, _) => {
            bail!("{} has no tokenizer.json beside it: name the file by --tokenizer", dict.path().display())
        }
    };
    Tokenizer::of(&config, &tokenizer)?;
    Ok(Converted { config, tensors, tokenizer })
}

/// All float tensors but those of other towers, which can be several times larger.
fn load(dict: &StateDict<'_>) -> Result<HashMap<String, Tensor>> {
    const OTHERS: [&str; 5] = ["visual.", "vision_model.", "audio_", "decoder.", "lm_head."];
    let wanted = |name: &&str| dict.is_float(name) && !OTHERS.iter().any(|other| name.starts_with(other));
    dict.names().filter(wanted).map(|name| Ok((name.to_owned(), dict.tensor(name)?))).collect()
}

/// The file `name` in the folder of `weights`, if there is one.
fn beside(weights: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = weights.with_file_name(name);
    if path.is_file() { read(&path).map(Some) } else { Ok(None) }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let read = || -> Result<Vec<u8>> {
        let size = fs::metadata(path)?.len();
        ensure!(size <= MAX_BESIDE, "it has {size} bytes, more than the {MAX_BESIDE} possible");
        Ok(fs::read(path)?)
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

/// The tokenizer named, or the one beside the weights, as a `tokenizer.json`.
fn read_tokenizer(weights: &Path, named: Option<&Path>) -> Result<Option<Vec<u8>>> {
    let Some(path) = named else {
        if let Some(json) = beside(weights, "tokenizer.json")? {
            return Ok(Some(json));
        }
        return match (beside(weights, "vocab.json")?, beside(weights, "merges.txt")?) {
            (Some(vocabulary), Some(merges)) => Ok(Some(clip::tokenizer_json_from(&vocabulary, &merges)?)),
            _ => Ok(None),
        };
    };
    let json = read(path)?;
    // A vocabulary is a flat table; its merges are a file of their own.
    let is_vocabulary = path.file_name().is_some_and(|name| name == "vocab.json");
    if !is_vocabulary {
        return Ok(Some(json));
    }
    let merges = read(&path.with_file_name("merges.txt"))?;
    Ok(Some(clip::tokenizer_json_from(&json, &merges)?))
}
