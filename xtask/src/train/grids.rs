//! Token grids in training: which of them make a batch, how they are noised, and how well a model knows those that it
//! has not seen.

use super::captions::Captions;
use super::examples::Example;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use soundlocd_engine::diffusion::transformer::Transformer;
use soundlocd_engine::diffusion::{Noise, Schedule, TimeSampler, q_sample};
use soundlocd_engine::layers::log_softmax;
use std::collections::BTreeMap;

/// A clip's chance grows with its length to this power.
const LENGTH_POWER: f64 = 0.6;

/// Examples of one width.
struct Bucket {
    columns: usize,
    members: Vec<usize>,
    weights: Vec<f64>,
}

/// Examples to train on. A batch holds grids of one width.
pub struct Grids {
    examples: Vec<Example>,
    buckets: Vec<Bucket>,
    chances: Vec<f64>,
}

/// How a batch is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    /// Tokens of a batch, at most (but one grid at least).
    pub tokens: usize,
    /// How often a caption is replaced by the empty one, so that guidance has something to compare with.
    pub drop_caption: f32,
}

/// A noised batch; `[batch, length]` arrays are flat.
pub struct Batch {
    /// Clean tokens `[batch, length]`.
    pub x0: Vec<u32>,
    /// Noisy tokens `[batch, length]`.
    pub xt: Vec<u32>,
    /// Timesteps `[batch]`.
    pub t: Vec<usize>,
    /// Their probabilities `[batch]`.
    pub pt: Vec<f32>,
    /// A caption of each.
    pub captions: Vec<String>,
    /// Tokens of a grid.
    pub length: usize,
}

impl Grids {
    pub fn new(examples: Vec<Example>) -> Self {
        let mut by_width: BTreeMap<usize, Bucket> = BTreeMap::new();
        for (i, example) in examples.iter().enumerate() {
            let bucket = by_width.entry(example.columns).or_insert_with(|| Bucket {
                columns: example.columns,
                members: Vec::new(),
                weights: Vec::new(),
            });
            bucket.members.push(i);
            bucket.weights.push(example.weight);
        }
        let buckets: Vec<Bucket> = by_width.into_values().collect();
        // A batch of a narrow bucket holds more clips: this keeps a clip's chance at weight * length^power.
        let chance = |b: &Bucket| b.weights.iter().sum::<f64>() * (b.columns as f64).powf(LENGTH_POWER);
        let chances = buckets.iter().map(chance).collect();
        Self { examples, buckets, chances }
    }

    /// The examples.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// How many widths there are.
    pub fn widths(&self) -> usize {
        self.buckets.len()
    }

    /// A batch, noised at timesteps that `times` draws.
    pub fn draw(
        &self,
        draw: Draw,
        times: &TimeSampler,
        schedule: &Schedule,
        noise: &mut Noise,
    ) -> Result<Batch> {
        let bucket = noise.weighted(&self.chances).and_then(|i| self.buckets.get(i));
        let bucket = bucket.context("there is nothing to train on")?;
        let length = self.examples[bucket.members[0]].tokens.len();
        let batch = (draw.tokens / length).max(1);
        let mut members = Vec::with_capacity(batch);
        for _ in 0..batch {
            members.push(noise.weighted(&bucket.weights).map_or(bucket.members[0], |i| bucket.members[i]));
        }
        let drawn = times.draw(batch, noise);
        let (mut x0, mut xt, mut captions) = (Vec::new(), Vec::new(), Vec::new());
        for (&member, (t, _)) in members.iter().zip(&drawn) {
            let example = &self.examples[member];
            x0.extend_from_slice(&example.tokens);
            xt.extend(q_sample(&example.tokens, *t, schedule, noise)?);
            let caption =
                example.captions.get(noise.below(example.captions.len())).cloned().unwrap_or_default();
            captions.push(if noise.uniform() < draw.drop_caption { String::new() } else { caption });
        }
        let (t, pt) = drawn.into_iter().unzip();
        Ok(Batch { x0, xt, t, pt, captions, length })
    }
}

/// Mean cross-entropy of the masked tokens of `examples` under their first captions, in nats a token, each noised
/// `repeats` times with the same noise at every call. `caption_of` picks whose caption an example gets.
pub fn cross_entropy(
    model: &Transformer,
    examples: &[Example],
    (captions, schedule, device): (&mut Captions, &Schedule, &Device),
    repeats: usize,
    caption_of: impl Fn(usize) -> usize,
) -> Result<f64> {
    let mut order: Vec<(usize, usize)> =
        (0..repeats.max(1)).flat_map(|repeat| (0..examples.len()).map(move |i| (i, repeat))).collect();
    order.sort_by_key(|&(i, _)| examples[i].columns);
    let (mut sum, mut count) = (0.0, 0_usize);
    let steps = schedule.steps();
    for same in order.chunk_by(|a, b| examples[a.0].columns == examples[b.0].columns) {
        for members in same.chunks(32) {
            let texts: Vec<&str> = members
                .iter()
                .map(|&(i, _)| examples[caption_of(i)].captions.first().map_or("", String::as_str))
                .collect();
            let (features, mask) = captions.features(&texts)?;
            let condition = model.condition(&features, Some(&mask))?;
            let (mut x0, mut xt, mut t) = (Vec::new(), Vec::new(), Vec::new());
            for &(i, repeat) in members {
                let mut noise = Noise::new(7 + repeat as u64, i as u64);
                let at = steps / 4 + noise.below(steps - steps / 4);
                xt.extend(q_sample(&examples[i].tokens, at, schedule, &mut noise)?);
                x0.extend_from_slice(&examples[i].tokens);
                t.push(at);
            }
            let length = x0.len() / members.len();
            let ids = Tensor::from_slice(&xt, (members.len(), length), device)?;
            let logits = model.forward(&ids, &t, &condition)?;
            let log_p = log_softmax(&logits)?;
            let targets = Tensor::from_slice(&x0, (members.len(), length, 1), device)?;
            let picked = log_p.gather(&targets, 2)?.flatten_all()?.to_vec1::<f32>()?;
            for (p, x) in picked.iter().zip(&xt) {
                if *x == schedule.mask_id() {
                    sum -= f64::from(*p);
                    count += 1;
                }
            }
        }
    }
    Ok(sum / count.max(1) as f64)
}
