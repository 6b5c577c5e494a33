//! `cargo xtask import diffsound`: the published checkpoints become a pack.

use super::conversion::Stored;
use super::{codec, melgan, print_part, text, transformer};
use crate::pack::grouped;
use anyhow::{Context, Result, bail, ensure};
use soundlocd_engine::checkpoint::Checkpoint;
use soundlocd_engine::pack::{
    CodecConfig, FORMAT, Files, MANIFEST_FILE, Manifest, Pack, Part, Sampling, VocoderConfig,
};
use soundlocd_engine::service::request::{MAX_SECONDS, MAX_STEPS, MIN_SECONDS};
use soundlocd_engine::service::{SamplerKind, Settings};
use soundlocd_engine::text::Kind;
use soundlocd_engine::{HOP, SAMPLE_RATE};
use std::fs;
use std::path::{Path, PathBuf};

/// Arguments of `cargo xtask import diffsound`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The checkpoint of the whole model: its moving averages (EMA) are taken where it has them.
    #[arg(long, value_name = "FILE.pth")]
    diffsound: PathBuf,
    /// The spectrogram codec's own checkpoint; by default the codec inside the model's.
    #[arg(long, value_name = "FILE.ckpt")]
    vqvae: Option<PathBuf>,
    /// The MelGAN generator's checkpoint.
    #[arg(long, value_name = "FILE.pt")]
    vocoder: PathBuf,
    /// A CLIP text tower's checkpoint; by default the tower inside the model's.
    #[arg(long, value_name = "FILE")]
    clip: Option<PathBuf>,
    /// The tokenizer.json (or the vocab.json with merges.txt beside it) of the text tower; CLIP's is built in.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// The pack's folder, which must not exist yet.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Attention heads of the transformer, which the checkpoint does not tell; by default one for every 64 of its width.
    #[arg(long)]
    heads: Option<usize>,
    /// How matrices are stored.
    #[arg(long, value_enum, default_value_t = Stored::F16)]
    storage: Stored,
    /// Name of the pack; by default the checkpoint's.
    #[arg(long)]
    name: Option<String>,
    /// Licence of the weights (an SPDX expression), as their authors say.
    #[arg(long, default_value = "LicenseRef-unknown")]
    licence: String,
    /// Where the training data came from, as the authors say.
    #[arg(long, default_value = "Not known to this program: ask whoever published the checkpoints.")]
    training_data: String,
}

/// Runs `cargo xtask import diffsound`. Everything is checked before anything is written.
pub fn run(args: &Args) -> Result<()> {
    let model = Checkpoint::open(&args.diffsound)?;
    let (denoiser, which) = transformer::find(&model)?;
    let transformer_config = transformer::config(&denoiser, args.heads)?;
    let schedule = transformer::schedule(&denoiser, &transformer_config)?;
    let transformer = transformer::conversion(&denoiser, &transformer_config)?;

    let vqvae = args.vqvae.as_deref().map(Checkpoint::open).transpose()?;
    let codec_dict = codec::find(vqvae.as_ref().unwrap_or(&model))?;
    let codec_config = codec::config(&codec_dict, transformer_config.max_columns)?;
    let codec = codec::conversion(&codec_dict, &codec_config)?;

    let vocoder_file = Checkpoint::open(&args.vocoder)?;
    let vocoder_dict = melgan::find(&vocoder_file)?;
    let vocoder_config = melgan::config(&vocoder_dict)?;
    let vocoder = melgan::conversion(&vocoder_dict, &vocoder_config)?;

    let text = match &args.clip {
        Some(path) => text::convert(Kind::Clip, path, args.tokenizer.as_deref())?,
        None => {
            let tower = denoiser.below("condition_emb.");
            if tower.is_empty() {
                bail!(
                    "{} has no text encoder (condition_emb): name a CLIP checkpoint by --clip",
                    args.diffsound.display()
                );
            }
            text::tower(&tower, args.tokenizer.as_deref())?
        }
    };

    let (codec_config, vocoder_config) =
        (CodecConfig::Vqgan(codec_config), VocoderConfig::Melgan(vocoder_config));
    let frames = transformer_config.max_columns * codec_config.frames_per_column();
    let longest = (frames * HOP) as f32 / SAMPLE_RATE as f32;
    let write = |folder: &Path| -> Result<()> {
        let (text_file, tokenizer_file) = text::write(&text, folder, args.storage, true)?;
        let manifest = Manifest {
            format: FORMAT,
            name: args.name.clone().unwrap_or_else(|| stem(&args.diffsound)),
            description: "A Diffsound model, imported from its published checkpoints.".into(),
            licence: args.licence.clone(),
            training_data: args.training_data.clone(),
            text: text.config.clone(),
            transformer: transformer_config,
            schedule,
            codec: codec_config.clone(),
            vocoder: vocoder_config.clone(),
            // How the paper samples.
            recommended: Settings {
                // Down to whole milliseconds: a longer sound would need one more column.
                seconds: ((longest * 1000.0).floor() / 1000.0).clamp(MIN_SECONDS, MAX_SECONDS),
                steps: u32::try_from(schedule.steps).unwrap_or(MAX_STEPS).min(MAX_STEPS),
                guidance: 1.0,
                truncation: 0.85,
                sampler: SamplerKind::Ancestral,
            },
            sampling: Sampling::default(),
            files: Files {
                tokenizer: tokenizer_file,
                text: text_file,
                transformer: transformer.write(folder, Part::Transformer, args.storage, None)?,
                codec: codec.write(folder, Part::Codec, args.storage, None)?,
                vocoder: vocoder.write(folder, Part::Vocoder, args.storage, None)?,
            },
        };
        fs::write(folder.join(MANIFEST_FILE), manifest.to_json()?)
            .with_context(|| format!("cannot write {MANIFEST_FILE}"))?;
        // Whether the parts fit together is said by whoever reads it.
        Pack::open(folder)?;
        Ok(())
    };
    with_folder(&args.out, write)?;

    print_part(Part::Text, text::parameters(&text), args.clip.as_deref().unwrap_or(&args.diffsound), "");
    print_part(Part::Transformer, transformer.parameters(), &args.diffsound, which);
    print_part(Part::Codec, codec.parameters(), codec_dict.path(), "");
    print_part(Part::Vocoder, vocoder.parameters(), &args.vocoder, "weight norm folded");
    let both = transformer.parameters() + codec.parameters();
    println!(
        "transformer and codec: {} parameters = {:.2} x 2^20 (the paper counts 434.23)",
        grouped(both),
        both as f64 / f64::from(1 << 20)
    );
    println!(
        "{} heads, {} timesteps, {} x {} tokens, up to {longest:.2} s; the pack is in {}",
        transformer_config.heads,
        schedule.steps,
        transformer_config.rows,
        transformer_config.max_columns,
        args.out.display()
    );
    Ok(())
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Has `write` fill a new folder, which becomes `out` when that has worked: half an import is none.
///
/// # Errors
/// When `out` exists and is not empty, or `write` fails.
pub fn with_folder(out: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let is_empty = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(
        !out.exists() || is_empty(out),
        "{} exists already: name a new folder, or remove that one first",
        out.display()
    );
    let name = out.file_name().with_context(|| format!("{} is no name for a folder", out.display()))?;
    let unfinished = out.with_file_name(format!(".{}.unfinished", name.to_string_lossy()));
    // Of an import that was interrupted.
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    let result = write(&unfinished).and_then(|()| {
        if out.exists() {
            fs::remove_dir(out)?;
        }
        fs::rename(&unfinished, out).with_context(|| format!("cannot make {}", out.display()))
    });
    if result.is_err() {
        // Nobody misses it.
        let _ = fs::remove_dir_all(&unfinished);
    }
    result
}
