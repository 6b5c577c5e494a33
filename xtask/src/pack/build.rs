//! `cargo xtask pack build`: checkpoints become a pack.

use super::measure;
use crate::text_encoder::Published;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use clap::ValueEnum;
use soundlocd_engine::codec::patch;
use soundlocd_engine::diffusion::ScheduleConfig;
use soundlocd_engine::diffusion::transformer::{self, Transformer};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::pack::{
    Codec, CodecConfig, FORMAT, FileEntry, Files, MANIFEST_FILE, Manifest, Pack, Part, Sampling, Vocoder,
    VocoderConfig, sha256_hex,
};
use soundlocd_engine::service::Settings;
use soundlocd_engine::text::{self, Kind, minilm};
use soundlocd_engine::vocoder::vocos;
use soundlocd_engine::weights::{Storage, Weights, encode};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Arguments of `cargo xtask pack build`.
///
/// Parts that are not named keep what `--out` already has; a new pack has empty files for them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a published text encoder (config.json, model.safetensors, tokenizer.json).
    #[arg(long, value_name = "FOLDER")]
    text: Option<PathBuf>,
    /// Which text encoder it is: minilm, clip, t5 or clap [default: what its config.json says].
    #[arg(long, value_name = "KIND", requires = "text")]
    text_encoder: Option<Kind>,
    /// Checkpoint of the denoising transformer.
    #[arg(long, value_name = "FILE")]
    transformer: Option<PathBuf>,
    /// Checkpoint of the codec.
    #[arg(long, value_name = "FILE")]
    codec: Option<PathBuf>,
    /// Checkpoint of the vocoder.
    #[arg(long, value_name = "FILE")]
    vocoder: Option<PathBuf>,
    /// The pack's folder.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// How the text encoder's weights are stored.
    #[arg(long, value_enum, default_value_t = Stored::Int8)]
    text_storage: Stored,
    /// How the transformer's weights are stored.
    #[arg(long, value_enum, default_value_t = Stored::Int8)]
    transformer_storage: Stored,
    /// How the codec's weights are stored.
    #[arg(long, value_enum, default_value_t = Stored::Int8)]
    codec_storage: Stored,
    /// How the vocoder's weights are stored.
    #[arg(long, value_enum, default_value_t = Stored::F16)]
    vocoder_storage: Stored,
    /// Prompts are cut to this many tokens [default: 64, or what the text encoder allows].
    #[arg(long)]
    max_tokens: Option<usize>,
    /// Name of the pack.
    #[arg(long)]
    name: Option<String>,
    /// What it is good for.
    #[arg(long)]
    description: Option<String>,
    /// Licence of the weights.
    #[arg(long)]
    licence: Option<String>,
    /// Where the training data came from.
    #[arg(long)]
    training_data: Option<String>,
}

/// How weights are stored. Vectors (biases, norms) always stay f32: they are small and matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stored {
    F32,
    F16,
    Bf16,
    Int8,
}

impl Stored {
    fn storage(self, tensor: &Tensor) -> Storage {
        if tensor.rank() < 2 {
            return Storage::F32;
        }
        match self {
            Self::F32 => Storage::F32,
            Self::F16 => Storage::F16,
            Self::Bf16 => Storage::Bf16,
            Self::Int8 => Storage::Int8,
        }
    }
}

/// Runs `cargo xtask pack build`.
pub fn run(args: &Args) -> Result<()> {
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let mut manifest = match fs::metadata(args.out.join(MANIFEST_FILE)) {
        Ok(metadata) if metadata.len() > 0 => Pack::open(&args.out)?.manifest().clone(),
        _ => blank(args)?,
    };
    let encoder = published(args)?;
    if let Some(encoder) = &encoder {
        manifest.text = build_text(args, encoder, &manifest.files)?;
        // A transformer still to come will have to fit.
        if manifest.files.transformer.bytes == 0 {
            manifest.transformer.cond_width = manifest.text.width();
        }
    }
    for (part, checkpoint) in
        [(Part::Transformer, &args.transformer), (Part::Codec, &args.codec), (Part::Vocoder, &args.vocoder)]
    {
        let Some(checkpoint) = checkpoint else { continue };
        let config = build_part(args, part, checkpoint, &manifest.files)?;
        let misfit = || format!("the architecture in {} is not of a {part}", checkpoint.display());
        match part {
            Part::Transformer => {
                // The noise that it learned to undo belongs to the weights.
                let trained: Trained = serde_json::from_value(config).with_context(misfit)?;
                if let Some(text) = trained.text {
                    ensure!(
                        text == manifest.text,
                        "{} was trained with another text encoder ({}) than the pack has ({}): name its folder by --text",
                        checkpoint.display(),
                        serde_json::to_string(&text)?,
                        serde_json::to_string(&manifest.text)?
                    );
                }
                (manifest.transformer, manifest.schedule) = (trained.transformer, trained.schedule);
            }
            Part::Codec => {
                manifest.codec = serde_json::from_value(kind(config, "patch")).with_context(misfit)?
            }
            Part::Vocoder => {
                manifest.vocoder = serde_json::from_value(kind(config, "vocos")).with_context(misfit)?;
            }
            Part::Text => {}
        }
    }
    for (given, field) in [
        (&args.name, &mut manifest.name),
        (&args.description, &mut manifest.description),
        (&args.licence, &mut manifest.licence),
        (&args.training_data, &mut manifest.training_data),
    ] {
        if let Some(given) = given {
            field.clone_from(given);
        }
    }
    let files = &mut manifest.files;
    for file in
        [&mut files.tokenizer, &mut files.text, &mut files.transformer, &mut files.codec, &mut files.vocoder]
    {
        let path = args.out.join(&file.name);
        // Parts still to come.
        if !path.exists() {
            fs::write(&path, [])?;
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        (file.bytes, file.sha256) = (bytes.len() as u64, sha256_hex(&bytes));
    }
    let json = manifest.to_json()?;
    Manifest::parse(json.as_bytes())?;
    let path = args.out.join(MANIFEST_FILE);
    fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    measure(args, encoder.as_ref())
}

/// What `train base` says of its weights.
#[derive(serde::Deserialize)]
struct Trained {
    transformer: transformer::Config,
    schedule: ScheduleConfig,
    /// Absent in the oldest runs, which had the default pack's.
    text: Option<text::Config>,
}

/// The manifest of a pack that has nothing yet.
fn blank(args: &Args) -> Result<Manifest> {
    let (Some(name), Some(licence)) = (&args.name, &args.licence) else {
        bail!("{} is a new pack: give it a --name and a --licence", args.out.display());
    };
    let text = minilm::Config::all_minilm_l6_v2();
    let file = |name: &str| FileEntry { name: name.into(), bytes: 0, sha256: sha256_hex(&[]) };
    Ok(Manifest {
        format: FORMAT,
        name: name.clone(),
        description: args.description.clone().unwrap_or_default(),
        licence: licence.clone(),
        training_data: args.training_data.clone().unwrap_or_default(),
        text: text::Config::Minilm(text.clone()),
        transformer: transformer::Config::small(patch::Config::default().codebook, text.hidden_size),
        schedule: ScheduleConfig::default(),
        codec: CodecConfig::Patch(patch::Config::default()),
        vocoder: VocoderConfig::Vocos(vocos::Config::default()),
        recommended: Settings::default(),
        sampling: Sampling::default(),
        files: Files {
            tokenizer: file("tokenizer.json"),
            text: file("text.safetensors"),
            transformer: file("transformer.safetensors"),
            codec: file("codec.safetensors"),
            vocoder: file("vocoder.safetensors"),
        },
    })
}

/// The published text encoder that the arguments name.
fn published(args: &Args) -> Result<Option<Published>> {
    let open = |folder: &PathBuf| Published::open(folder, args.text_encoder, args.max_tokens);
    args.text.as_ref().map(open).transpose()
}

/// Converts a published text encoder; returns its architecture.
fn build_text(args: &Args, published: &Published, files: &Files) -> Result<text::Config> {
    // A tokenizer that does not suit the weights is noticed here.
    published.encoder(&Device::Cpu)?;
    let store = |_: &str, tensor: &Tensor| args.text_storage.storage(tensor);
    let bytes = encode(Part::Text.name(), &published.tensors, store)?;
    fs::write(args.out.join(&files.tokenizer.name), &published.tokenizer)?;
    fs::write(args.out.join(&files.text.name), bytes)?;
    Ok(published.config.clone())
}

/// A trainer's configuration as one of several kinds: what it trains itself is of the default pack's kind.
fn kind(mut config: serde_json::Value, default: &str) -> serde_json::Value {
    if let Some(fields) = config.as_object_mut() {
        fields.entry("kind").or_insert_with(|| default.into());
    }
    config
}

/// Converts a training checkpoint; returns its architecture, which it carries in its metadata.
fn build_part(args: &Args, part: Part, checkpoint: &Path, files: &Files) -> Result<serde_json::Value> {
    let bytes = fs::read(checkpoint).with_context(|| format!("cannot read {}", checkpoint.display()))?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)
        .with_context(|| format!("{} is not a safetensors file", checkpoint.display()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let config = metadata.get("config").with_context(|| {
        format!("{} does not say its architecture (metadata \"config\")", checkpoint.display())
    })?;
    let tensors: BTreeMap<String, Tensor> =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?.into_iter().collect();
    let stored = match part {
        Part::Text => args.text_storage,
        Part::Transformer => args.transformer_storage,
        Part::Codec => args.codec_storage,
        Part::Vocoder => args.vocoder_storage,
    };
    let packed = encode(part.name(), &tensors, |_, tensor| stored.storage(tensor))?;
    fs::write(args.out.join(&files.weights(part).name), packed)?;
    Ok(serde_json::from_str(config)?)
}

/// Prints what the storage types cost, where the exact weights are at hand.
fn measure(args: &Args, published: Option<&Published>) -> Result<()> {
    let pack = Pack::open(&args.out)?;
    let exact = |path: &Path| {
        let failed = || format!("cannot read {}", path.display());
        let file = fs::File::open(path).with_context(failed)?;
        let size = file.metadata().with_context(failed)?.len();
        let weights = Weights::read(&path.display().to_string(), size, file)?;
        Ok::<_, anyhow::Error>(weights.into_var_builder(&Device::Cpu))
    };
    if let Some(published) = published {
        measure::text(&published.encoder(&Device::Cpu)?, &pack.text_encoder(&Device::Cpu)?)?;
    }
    if let Some(path) = &args.transformer {
        let transformer = Transformer::new(&pack.manifest().transformer, Precision::F32, exact(path)?)?;
        measure::transformer(&transformer, &pack)?;
    }
    if let Some(path) = &args.codec {
        let Manifest { codec, transformer, .. } = pack.manifest();
        let codec = Codec::new(codec, transformer.rows, Precision::F32, exact(path)?)?;
        measure::codec(&codec, &pack)?;
    }
    // The vocoder is compared on what the codec decodes.
    let has_codec = pack.manifest().files.codec.bytes > 0;
    if let Some(path) = args.vocoder.as_ref().filter(|_| has_codec) {
        let vocoder = Vocoder::new(&pack.manifest().vocoder, Precision::F32, exact(path)?)?;
        measure::vocoder(&vocoder, &pack)?;
    }
    Ok(())
}
