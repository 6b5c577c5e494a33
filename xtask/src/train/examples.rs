//! Token grids with captions that a base model learns from: clips, shifted and scaled copies, and
//! composed ones ("A while B", "A, then B").

use super::batch::Sampler;
use crate::data::{Cache, Split};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use soundlocd_engine::codec::Codec;
use soundlocd_engine::codec::mel::{compress, expand};
use soundlocd_engine::diffusion::Noise;
use soundlocd_engine::{FRAMES_PER_COLUMN, MEL_BANDS};

/// A token grid and the captions that fit it.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Example {
    /// Time-major ids `[5 columns]`.
    pub tokens: Vec<u32>,
    /// Columns of the grid.
    pub columns: usize,
    /// One caption or more.
    pub captions: Vec<String>,
    /// How often it is drawn, relative to others.
    pub weight: f64,
}

/// How many copies to make.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Copies {
    /// Shifted and scaled copies of each clip, besides the clip itself.
    pub shifted: usize,
    /// Composed examples, as a share of the clips.
    pub composed: f64,
}

/// How to make one example.
struct Plan {
    source: Source,
    captions: Vec<String>,
    weight: f64,
}

/// Where an example's spectrogram comes from; clips by their index in the cache.
enum Source {
    /// A clip after `lead` silent frames, its sounding bins shifted by `gain`.
    Copy { clip: usize, lead: usize, gain: f32 },
    /// One clip after the other.
    Sequence(usize, usize),
    /// Both at once.
    Mix(usize, usize),
}

impl Source {
    fn mel(&self, cache: &Cache) -> Vec<f32> {
        match *self {
            Self::Copy { clip, lead, gain } => pad(&whole(cache, clip, gain), lead),
            Self::Sequence(a, b) => [whole(cache, a, 0.0), whole(cache, b, 0.0)].concat(),
            Self::Mix(a, b) => mix(&whole(cache, a, 0.0), &whole(cache, b, 0.0)),
        }
    }
}

/// Which examples to make.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Recipe {
    /// Clips of the cache.
    pub clips: Vec<usize>,
    /// A category of n clips is drawn in proportion to `n^balance`.
    pub balance: f64,
    /// Copies of them.
    pub copies: Copies,
    /// Most columns of a grid; the rest of a longer clip is not used.
    pub max_columns: usize,
    /// Seed of all draws.
    pub seed: u64,
}

impl Recipe {
    /// What a base model learns from: all training clips but those of the category `held_out`.
    pub fn base(
        cache: &Cache,
        held_out: Option<&str>,
        copies: Copies,
        max_columns: usize,
        seed: u64,
    ) -> Self {
        let mut clips = cache.indices(Split::Train);
        clips.retain(|&clip| held_out != Some(cache.clips[clip].category.as_str()));
        Self { clips, balance: 0.6, copies, max_columns, seed }
    }
}

/// Encodes the clips and their copies; the same recipe gives the same examples.
///
/// `progress` hears how many more examples were made.
pub fn encode(
    cache: &Cache,
    codec: &Codec,
    recipe: &Recipe,
    progress: impl Fn(usize) + Sync,
) -> Result<Vec<Example>> {
    let plans = plan(cache, recipe)?;
    plans
        .into_par_iter()
        .map(|plan| {
            let grid = (codec, recipe.max_columns);
            let made = example(grid, &plan.source.mel(cache), plan.captions, plan.weight);
            progress(1);
            made
        })
        .collect()
}

/// [`encode`], or what an earlier run with the same recipe and codec (of the hash `codec_id`) has left beside the data.
pub fn encode_once(
    cache: &Cache,
    (codec, codec_id): (&Codec, &str),
    recipe: &Recipe,
    progress: impl Fn(usize) + Sync,
) -> Result<Vec<Example>> {
    let key = serde_json::to_vec(&(codec_id, recipe, cache.hash()))?;
    let name = format!("tokens-{}.json", &soundlocd_engine::pack::sha256_hex(&key)[..12]);
    let path = cache.folder().join(name);
    if let Ok(bytes) = std::fs::read(&path) {
        return serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged: delete it", path.display()));
    }
    let examples = encode(cache, codec, recipe, progress)?;
    let partial = path.with_extension("partial");
    std::fs::write(&partial, serde_json::to_vec(&examples)?)
        .and_then(|()| std::fs::rename(&partial, &path))
        .with_context(|| format!("could not write {}", path.display()))?;
    Ok(examples)
}

/// Draws what the examples will be.
fn plan(cache: &Cache, recipe: &Recipe) -> Result<Vec<Plan>> {
    let &Recipe { balance, copies, max_columns, seed, .. } = recipe;
    ensure!(!recipe.clips.is_empty(), "the data has no clips to train on");
    let sampler = Sampler::of(cache, recipe.clips.clone(), balance, 0.0);
    let mut noise = Noise::new(seed, 0);
    let composed = (sampler.clips().len() as f64 * copies.composed) as usize;
    let mut out = Vec::with_capacity(sampler.clips().len() * (1 + copies.shifted) + composed);
    for (&clip, weight) in sampler.clips().iter().zip(sampler.weights()) {
        let captions = &cache.clips[clip].captions;
        for copy in 0..=copies.shifted {
            let (lead, gain) = if copy == 0 {
                (0, 0.0)
            } else {
                (noise.below(FRAMES_PER_COLUMN), (noise.uniform() - 0.5) * 0.1)
            };
            out.push(Plan {
                source: Source::Copy { clip, lead, gain },
                captions: captions.clone(),
                weight: weight / (1 + copies.shifted) as f64,
            });
        }
    }
    let mean = out.iter().map(|e| e.weight).sum::<f64>() / sampler.clips().len() as f64;
    for _ in 0..composed {
        let (a, b) = (sampler.draw(&mut noise), sampler.draw(&mut noise));
        let caption = |index: usize, noise: &mut Noise| {
            let captions = &cache.clips[index].captions;
            captions.get(noise.below(captions.len())).cloned().unwrap_or_default()
        };
        let (one, two) = (caption(a, &mut noise), lower(&caption(b, &mut noise)));
        let frames = cache.clips[a].frames + cache.clips[b].frames;
        let (source, caption) = if noise.uniform() < 0.5 && frames <= max_columns * FRAMES_PER_COLUMN {
            (Source::Sequence(a, b), format!("{one}, then {two}"))
        } else {
            (Source::Mix(a, b), format!("{one} while {two}"))
        };
        out.push(Plan { source, captions: vec![caption], weight: mean * 0.7 });
    }
    Ok(out)
}

/// The whole clip, frame-major `[frames, 80]`, sounding bins shifted by `gain`.
fn whole(cache: &Cache, index: usize, gain: f32) -> Vec<f32> {
    let values = cache.mel(index).iter().map(|v| v.to_f32());
    values.map(|y| if y > 0.0 { (y + gain).clamp(0.0, 1.0) } else { 0.0 }).collect()
}

/// `lead` silent frames before.
fn pad(mel: &[f32], lead: usize) -> Vec<f32> {
    let mut out = vec![0.0; lead * MEL_BANDS];
    out.extend_from_slice(mel);
    out
}

/// Both at once: powers add, as those of unrelated sounds do.
fn mix(a: &[f32], b: &[f32]) -> Vec<f32> {
    let at = |x: &[f32], i: usize| x.get(i).copied().filter(|y| *y > 0.0).map_or(0.0, expand);
    (0..a.len().max(b.len())).map(|i| compress(at(a, i).hypot(at(b, i)))).collect()
}

/// A caption inside a sentence.
fn lower(caption: &str) -> String {
    let mut chars = caption.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn example(
    (codec, max_columns): (&Codec, usize),
    mel: &[f32],
    captions: Vec<String>,
    weight: f64,
) -> Result<Example> {
    let frames = mel.len() / MEL_BANDS;
    let columns = frames.div_ceil(codec.frames_per_column()).clamp(1, max_columns);
    let width = columns * codec.frames_per_column();
    let mut picture = vec![0.0_f32; MEL_BANDS * width];
    for (frame, bands) in mel.chunks_exact(MEL_BANDS).take(width).enumerate() {
        for (band, y) in bands.iter().enumerate() {
            picture[band * width + frame] = *y;
        }
    }
    let y = Tensor::from_vec(picture, (1, MEL_BANDS, width), &Device::Cpu)?;
    let tokens = codec.encode(&y)?.flatten_all()?.to_vec1::<u32>()?;
    ensure!(
        tokens.len() == codec.rows() * columns,
        "the codec made {} tokens of {columns} columns",
        tokens.len()
    );
    Ok(Example { tokens, columns, captions, weight })
}

/// Clips as they are, without copies.
pub fn as_they_are(
    cache: &Cache,
    codec: &Codec,
    clips: &[usize],
    max_columns: usize,
) -> Result<Vec<Example>> {
    let of = |&clip: &usize| {
        let captions = cache.clips[clip].captions.clone();
        example((codec, max_columns), &whole(cache, clip, 0.0), captions, 1.0)
    };
    clips.par_iter().map(of).collect()
}
