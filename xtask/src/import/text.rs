//! Text encoders: their tensors in any of the layouts they are published in, and their tokenizers.

use super::conversion::{Stored, label};
use crate::text_encoder::{IMPORTED, Published, TOKENIZER, tokenizer_beside};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use soundlocd_engine::checkpoint::{Checkpoint, StateDict};
use soundlocd_engine::pack::{FileEntry, Part};
use soundlocd_engine::text::{Config, Description, Kind, Tokenizer, clip};
use soundlocd_engine::weights::{Pending, write_file};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A `config.json` or a part of a tokenizer larger than this is refused.
const MAX_BESIDE: u64 = 32 << 20;

/// Numbers in all tensors.
pub fn parameters(encoder: &Published) -> u64 {
    encoder.tensors.values().map(|tensor| tensor.elem_count() as u64).sum()
}

/// Writes weights and tokenizer to `folder`, in that order; for a pack, or else with the architecture in the header.
///
/// # Errors
/// When a value does not fit its storage or a file cannot be written.
pub fn write(
    encoder: &Published,
    folder: &Path,
    stored: Stored,
    for_pack: bool,
) -> Result<(FileEntry, FileEntry)> {
    let pending = |(name, tensor): (&String, &Tensor)| {
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
    let config = serde_json::to_string(&encoder.config)?;
    let tensors = encoder.tensors.iter().map(pending).collect();
    let label = label(Part::Text, Some(config.as_str()).filter(|_| !for_pack));
    write_file(&folder.join(IMPORTED), label, tensors)?;
    fs::write(folder.join(TOKENIZER), &encoder.tokenizer)
        .with_context(|| format!("cannot write {TOKENIZER}"))?;
    Ok((FileEntry::of(folder, IMPORTED)?, FileEntry::of(folder, TOKENIZER)?))
}

/// The encoder of `kind` in the checkpoint `weights`, with `tokenizer` or what lies beside the weights.
///
/// # Errors
/// When it is another kind, its tensors do not fit together, or there is no tokenizer for it.
pub fn convert(kind: Kind, weights: &Path, tokenizer: Option<&Path>) -> Result<Published> {
    const PLACES: [(&[&str], &str); 5] = [
        // Diffsound's checkpoint has a CLIP tower in it.
        (&["ema"], "condition_emb."),
        (&["model"], "transformer.condition_emb."),
        (&["state_dict"], ""),
        (&["model"], ""),
        (&[], ""),
    ];
    let checkpoint = Checkpoint::open(weights)?;
    let mut found = None;
    for (keys, prefix) in PLACES {
        let dict = checkpoint.state_dict(keys)?.map(|dict| dict.below(prefix));
        found = dict.filter(|dict| !dict.is_empty());
        if found.is_some() {
            break;
        }
    }
    let Some(dict) = found else {
        bail!("{} has no tensors; what it has at the top is: {}", weights.display(), checkpoint.summary());
    };
    let described = weights.with_file_name("config.json");
    let description = if described.is_file() {
        Description::parse(&read(&described)?).with_context(|| described.display().to_string())?
    } else {
        Description::default()
    };
    if let Some(described_kind) = description.kind() {
        ensure!(described_kind == kind, "{} is of a {described_kind} model", described.display());
    }
    let folder = weights.parent().unwrap_or(Path::new("."));
    of_tensors(kind, &dict, &description, |config| match tokenizer {
        Some(path) => read_tokenizer(path),
        None => tokenizer_beside(folder, config),
    })
}

/// The CLIP tower among the tensors of a Diffsound checkpoint, with `tokenizer` or the published vocabulary.
///
/// # Errors
/// As [`convert`].
pub fn tower(dict: &StateDict<'_>, tokenizer: Option<&Path>) -> Result<Published> {
    of_tensors(Kind::Clip, dict, &Description::default(), |config| match tokenizer {
        Some(path) => read_tokenizer(path),
        None => Ok(clip::tokenizer_json(config.vocab_size())?),
    })
}

fn of_tensors(
    kind: Kind,
    dict: &StateDict<'_>,
    description: &Description,
    tokenizer: impl FnOnce(&Config) -> Result<Vec<u8>>,
) -> Result<Published> {
    let failed = || format!("{} is not a text encoder of the kind {kind}", dict.path().display());
    let published = load(dict)?;
    let openai = kind == Kind::Clip && published.contains_key("token_embedding.weight");
    let tensors = if openai { clip::from_openai(&published) } else { kind.from_hugging_face(&published) };
    let tensors = tensors.with_context(failed)?;
    let config = Config::infer(kind, &tensors, description).with_context(failed)?;
    let tokenizer = tokenizer(&config)?;
    Tokenizer::of(&config, &tokenizer)?;
    Ok(Published { config, tensors, tokenizer })
}

/// All float tensors but those of other towers, which can be several times larger.
fn load(dict: &StateDict<'_>) -> Result<HashMap<String, Tensor>> {
    const OTHERS: [&str; 5] = ["visual.", "vision_model.", "audio_", "decoder.", "lm_head."];
    let wanted = |name: &&str| dict.is_float(name) && !OTHERS.iter().any(|other| name.starts_with(other));
    dict.names().filter(wanted).map(|name| Ok((name.to_owned(), dict.tensor(name)?))).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let read = || -> Result<Vec<u8>> {
        let size = fs::metadata(path)?.len();
        ensure!(size <= MAX_BESIDE, "it has {size} bytes, more than the {MAX_BESIDE} possible");
        Ok(fs::read(path)?)
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

/// A `tokenizer.json`, or that of a `vocab.json` with `merges.txt` beside it.
fn read_tokenizer(path: &Path) -> Result<Vec<u8>> {
    let json = read(path)?;
    if path.file_name().is_none_or(|name| name != "vocab.json") {
        return Ok(json);
    }
    let merges = read(&path.with_file_name("merges.txt"))?;
    Ok(clip::tokenizer_json_from(&json, &merges)?)
}
