//! `cargo xtask pack random`: a pack of a known size with random weights, to measure with.
//!
//! The parts themselves say which tensors they want and how each starts in training; those are drawn and written
//! one at a time, so that the paper's size needs no more memory than its largest tensor.

use super::build::Stored;
use anyhow::{Context, Result};
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::init::{Init, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;
use clap::ValueEnum;
use half::{bf16, f16};
use safetensors::tensor::View;
use safetensors::{Dtype, serialize_to_file};
use sha2::{Digest, Sha256};
use soundlocd_engine::codec::vqgan;
use soundlocd_engine::diffusion::transformer::{self, PositionKind, Transformer};
use soundlocd_engine::diffusion::{Noise, ScheduleConfig};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::pack::{
    Codec, CodecConfig, FORMAT, FileEntry, Files, MANIFEST_FILE, Manifest, Pack, Part, Sampling, Vocoder,
    VocoderConfig,
};
use soundlocd_engine::service::{SamplerKind, Settings};
use soundlocd_engine::text::{self, TextEncoder, clip};
use soundlocd_engine::vocoder::melgan;
use soundlocd_engine::weights::PART_KEY;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Arguments of `cargo xtask pack random`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose sizes the pack has.
    #[arg(long, value_enum, default_value_t = Like::Diffsound)]
    like: Like,
    /// The pack's folder.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Other seeds give other weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How the weights are stored.
    #[arg(long, value_enum, default_value_t = Stored::F16)]
    storage: Stored,
}

/// Known sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Like {
    /// The paper's.
    Diffsound,
    /// The default pack's.
    Default,
}

/// Runs `cargo xtask pack random`.
pub fn run(args: &Args) -> Result<()> {
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let default = Pack::embedded()?;
    let (mut manifest, tokenizer) = match args.like {
        Like::Default => (default.manifest().clone(), default.tokenizer()?),
        Like::Diffsound => {
            let manifest = diffsound();
            let tokenizer = clip::tokenizer_json(manifest.text.vocab_size())?;
            (manifest, tokenizer.into())
        }
    };
    manifest.name = format!("random weights, {:?} size", args.like).to_lowercase();
    manifest.description = "Random weights, to measure speed and memory with. It makes noise.".into();
    manifest.licence = "CC0-1.0".into();
    manifest.training_data = format!("none: drawn with the seed {}", args.seed);

    let path = args.out.join(&manifest.files.tokenizer.name);
    fs::write(&path, &tokenizer).with_context(|| format!("cannot write {}", path.display()))?;
    for (stream, part) in (0..).zip(Part::ALL) {
        let noise = Noise::new(args.seed, stream);
        let path = args.out.join(&manifest.files.weights(part).name);
        write(part, &wanted(&manifest, part, &tokenizer)?, &noise, args.storage, &path)?;
    }
    let Files { tokenizer, text, transformer, codec, vocoder } = &mut manifest.files;
    for file in [tokenizer, text, transformer, codec, vocoder] {
        *file = entry(&args.out, &file.name)?;
    }
    let path = args.out.join(MANIFEST_FILE);
    fs::write(&path, manifest.to_json()?).with_context(|| format!("cannot write {}", path.display()))
}

/// The paper's architecture (SPEC 2 to 4).
fn diffsound() -> Manifest {
    let text = clip::Config::vit_b_32();
    let codec = vqgan::Config::default();
    let transformer = transformer::Config {
        layers: 19,
        width: 1024,
        heads: 16,
        position: PositionKind::RowMajor,
        mask_padding: false,
        ..transformer::Config::small(codec.n_embed, text.hidden_size)
    };
    let file = |part: &str| FileEntry { name: part.into(), bytes: 0, sha256: String::new() };
    Manifest {
        format: FORMAT,
        name: String::new(),
        description: String::new(),
        licence: String::new(),
        training_data: String::new(),
        text: text::Config::Clip(text),
        transformer,
        schedule: ScheduleConfig::default(),
        codec: CodecConfig::Vqgan(codec),
        vocoder: VocoderConfig::Melgan(melgan::Config::default()),
        recommended: Settings {
            seconds: 9.8,
            steps: 100,
            guidance: 1.0,
            sampler: SamplerKind::Ancestral,
            ..Settings::default()
        },
        sampling: Sampling::default(),
        files: Files {
            tokenizer: file("tokenizer.json"),
            text: file("text.safetensors"),
            transformer: file("transformer.safetensors"),
            codec: file("codec.safetensors"),
            vocoder: file("vocoder.safetensors"),
        },
    }
}

/// Name, size and hash of a file, read a piece at a time.
fn entry(folder: &Path, name: &str) -> Result<FileEntry> {
    let path = folder.join(name);
    let failed = || format!("cannot read {}", path.display());
    let mut hash = Sha256::new();
    let bytes =
        std::io::copy(&mut File::open(&path).with_context(failed)?, &mut hash).with_context(failed)?;
    let sha256 = hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok(FileEntry { name: name.into(), bytes, sha256 })
}

/// A tensor that a part asks for.
#[derive(Debug)]
struct Wanted {
    name: String,
    shape: Vec<usize>,
    init: Init,
}

/// What the constructor of `part` asks for.
fn wanted(manifest: &Manifest, part: Part, tokenizer: &[u8]) -> Result<Vec<Wanted>> {
    let recorder = Recorder::default();
    let vs = VarBuilder::from_backend(Box::new(recorder.clone()), DType::F32, Device::Cpu);
    match part {
        Part::Text => {
            TextEncoder::new(&manifest.text, tokenizer, vs)?;
        }
        Part::Transformer => drop(Transformer::new(&manifest.transformer, Precision::F32, vs)?),
        Part::Codec => drop(Codec::new(&manifest.codec, manifest.transformer.rows, Precision::F32, vs)?),
        Part::Vocoder => drop(Vocoder::new(&manifest.vocoder, Precision::F32, vs)?),
    }
    let mut asked = recorder.0.lock().map_err(|_| anyhow::anyhow!("the list of tensors is lost"))?;
    Ok(std::mem::take(&mut *asked))
}

/// Notes what is asked for and gives zeros that take no room.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Wanted>>>);

impl SimpleBackend for Recorder {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        if let Ok(mut asked) = self.0.lock() {
            asked.push(Wanted { name: name.into(), shape: shape.dims().to_vec(), init });
        }
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("random weights: the shape of {name} is not known")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Writes the tensors, each drawn when its turn comes.
fn write(part: Part, wanted: &[Wanted], noise: &Noise, storage: Stored, path: &Path) -> Result<()> {
    let mut first = 0;
    let mut tensors = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        // Normal draws take two words each.
        let tensor = Drawn { wanted, noise, first, dtype: dtype(storage, wanted.shape.len())? };
        first += 2 * tensor.values() as u64;
        tensors.push((wanted.name.clone(), tensor));
    }
    let metadata = HashMap::from([(PART_KEY.to_owned(), part.name().to_owned())]);
    serialize_to_file(tensors, Some(metadata), path)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn dtype(storage: Stored, rank: usize) -> Result<Dtype> {
    Ok(match storage {
        // As in `pack build`: vectors are small and matter.
        _ if rank < 2 => Dtype::F32,
        Stored::F32 => Dtype::F32,
        Stored::F16 => Dtype::F16,
        Stored::Bf16 => Dtype::BF16,
        Stored::Int8 => anyhow::bail!("random weights can be stored as f32, f16 and bf16"),
    })
}

/// A tensor that is drawn when it is written.
struct Drawn<'a> {
    wanted: &'a Wanted,
    noise: &'a Noise,
    /// Its first draw.
    first: u64,
    dtype: Dtype,
}

impl Drawn<'_> {
    fn values(&self) -> usize {
        self.wanted.shape.iter().product()
    }

    /// The values, as training would start with them.
    fn draw(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.values()];
        let normal = |values: &mut [f32], mean: f64, deviation: f64| {
            let mut uniform = [0.0; 2];
            for (index, value) in (0..).zip(values) {
                self.noise.fill_at(self.first + 2 * index, &mut uniform);
                // Box and Muller; 1 - u is never 0.
                let [u, v] = uniform.map(f64::from);
                let radius = (-2.0 * (1.0 - u).ln()).sqrt();
                *value = (mean + deviation * radius * (std::f64::consts::TAU * v).cos()) as f32;
            }
        };
        let uniform = |values: &mut [f32], low: f64, high: f64| {
            self.noise.fill_at(self.first, values);
            values.iter_mut().for_each(|v| *v = (low + (high - low) * f64::from(*v)) as f32);
        };
        match self.wanted.init {
            Init::Const(value) => values.fill(value as f32),
            Init::Randn { mean, stdev } => normal(&mut values, mean, stdev),
            Init::Uniform { lo, up } => uniform(&mut values, lo, up),
            Init::Kaiming { dist, fan, non_linearity } => {
                let fan = fan.for_shape(&Shape::from(self.wanted.shape.clone()));
                let deviation = non_linearity.gain() / (fan as f64).sqrt();
                match dist {
                    NormalOrUniform::Normal => normal(&mut values, 0.0, deviation),
                    NormalOrUniform::Uniform => {
                        let bound = 3_f64.sqrt() * deviation;
                        uniform(&mut values, -bound, bound);
                    }
                }
            }
        }
        values
    }
}

impl View for Drawn<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.wanted.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.draw();
        Cow::Owned(match self.dtype {
            Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        self.values() * self.dtype.bitsize() / 8
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_drawn_as_training_starts_them() {
        let noise = Noise::new(3, 0);
        let deviation = |init: Init, shape: &[usize]| {
            let wanted = Wanted { name: "w".into(), shape: shape.to_vec(), init };
            let values = Drawn { wanted: &wanted, noise: &noise, first: 8, dtype: Dtype::F32 }.draw();
            assert!(values.iter().all(|x| x.is_finite()));
            let n = values.len() as f64;
            let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
            let square = values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
            (mean, square.sqrt())
        };
        let close = |(mean, deviation): (f64, f64), want: f64| {
            assert!(mean.abs() < 0.05 * want && (deviation / want - 1.0).abs() < 0.05, "{mean} {deviation}");
        };
        close(deviation(Init::Randn { mean: 0.0, stdev: 0.02 }, &[100, 100]), 0.02);
        // Kaiming: the square root of 2 by the 25 * 4 inputs; uniform in -1..1: the square root of a third.
        close(deviation(candle_nn::init::DEFAULT_KAIMING_NORMAL, &[100, 25, 4]), 0.02_f64.sqrt());
        close(deviation(Init::Uniform { lo: -1.0, up: 1.0 }, &[100, 100]), (1.0_f64 / 3.0).sqrt());
        assert_eq!(deviation(candle_nn::init::ONE, &[7]).1, 0.0);
    }

    /// What is asked for, streamed to a file, is what the part is built of again.
    #[test]
    fn a_part_loads_from_its_random_weights() {
        let config =
            VocoderConfig::Melgan(melgan::Config { ngf: 4, residual_layers: 1, ..melgan::Config::default() });
        let mut manifest = diffsound();
        manifest.vocoder = config.clone();
        let wanted = wanted(&manifest, Part::Vocoder, &[]).unwrap();
        let path = std::env::temp_dir().join(format!("soundlocd-random-{}", std::process::id()));
        let read = |seed| {
            write(Part::Vocoder, &wanted, &Noise::new(seed, 0), Stored::F16, &path).unwrap();
            fs::read(&path).unwrap()
        };
        let (bytes, again, other) = (read(1), read(1), read(2));
        fs::remove_file(&path).unwrap();
        assert!(bytes == again && bytes != other);
        let weights = soundlocd_engine::weights::Weights::decode("vocoder.safetensors", &bytes).unwrap();
        assert_eq!(weights.part(), Some("vocoder"));
        let vocoder = Vocoder::new(&config, Precision::F32, weights.into_var_builder(&Device::Cpu)).unwrap();
        let mel = Tensor::full(0.5_f32, (1, 80, 8), &Device::Cpu).unwrap();
        let peak =
            vocoder.forward(&mel).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(peak.is_finite() && peak > 0.0, "{peak}");
    }
}
