//! What the storage types of a pack cost: each stored part against the exact weights it was made of.

use anyhow::Result;
use candle_core::{Device, Tensor};
use soundlocd_engine::diffusion::transformer::Transformer;
use soundlocd_engine::diffusion::{Canvas, Denoiser, Method, Noise, Sampler, SamplerConfig, Schedule};
use soundlocd_engine::layers::log_softmax;
use soundlocd_engine::pack::{Codec, Pack, Vocoder};
use soundlocd_engine::text::TextEncoder;
use std::cell::RefCell;

/// Prompts of the kinds that people type.
const PROMPTS: &[&str] = &[
    "A dog barks twice",
    "Rain falls on a tin roof while thunder rumbles far away",
    "a heavy wooden door creaks open and slams shut",
    "8-bit coin pickup",
    "deep kick drum",
    "A church bell rings in the distance",
    "footsteps on gravel",
    "a laser gun fires",
];

/// Columns of the token grids that are compared (3 s).
const COLUMNS: usize = 16;

/// Compares token features by their direction.
pub fn text(exact: &TextEncoder, stored: &TextEncoder) -> Result<()> {
    let mut cosines = Vec::new();
    for prompt in PROMPTS {
        let (x, y) = (exact.encode(prompt)?.features, stored.encode(prompt)?.features);
        let dot = |x: &Tensor, y: &Tensor| (x * y)?.sum(2);
        let norms = (dot(&x, &x)? * dot(&y, &y)?)?.sqrt()?;
        cosines.extend((dot(&x, &y)? / norms)?.flatten_all()?.to_vec1::<f32>()?);
    }
    let worst = cosines.iter().copied().fold(f32::INFINITY, f32::min);
    println!(
        "text: 1 - cosine of the features {:.1e} on average, {:.1e} at worst",
        1.0 - mean(&cosines),
        1.0 - worst
    );
    Ok(())
}

/// Compares predicted distributions at every step of sounds that the exact transformer makes.
pub fn transformer(exact: &Transformer, pack: &Pack) -> Result<()> {
    let device = Device::Cpu;
    let (stored, text) = (pack.transformer(&device)?, pack.text_encoder(&device)?);
    let schedule: Schedule = pack.manifest().schedule()?;
    let config = SamplerConfig {
        method: Method::Purity { steps: 8, order_temperature: pack.manifest().sampling.order_temperature },
        ..SamplerConfig::default()
    };
    let divergences = RefCell::new(Vec::new());
    for (seed, prompt) in (0..).zip(PROMPTS) {
        let text = text.encode(prompt)?;
        let (a, b) = (
            exact.condition(&text.features, Some(&text.mask))?,
            stored.condition(&text.features, Some(&text.mask))?,
        );
        let both = Both { exact: &exact.bind(&a), stored: &stored.bind(&b), divergences: &divergences };
        let canvas = Canvas::blank(1, COLUMNS * exact.config().rows);
        let mut sampler = Sampler::new(&schedule, config, canvas, seed, &[0])?;
        while !sampler.is_done() {
            sampler.step(&both)?;
        }
    }
    let divergences = divergences.into_inner();
    let worst = divergences.iter().copied().fold(0.0, f32::max);
    println!(
        "transformer: divergence of the predicted tokens {:.1e} nats on average, {worst:.1e} at worst",
        mean(&divergences)
    );
    Ok(())
}

/// The exact network, with the divergence of the stored one noted at every call.
struct Both<'a> {
    exact: &'a dyn Denoiser,
    stored: &'a dyn Denoiser,
    divergences: &'a RefCell<Vec<f32>>,
}

impl Denoiser for Both<'_> {
    fn logits(&self, ids: &Tensor, t: &[usize]) -> candle_core::Result<Tensor> {
        let logits = self.exact.logits(ids, t)?;
        let (p, q) = (log_softmax(&logits)?, log_softmax(&self.stored.logits(ids, t)?)?);
        let divergence = (p.exp()? * (p - q)?)?.sum(2)?.flatten_all()?.to_vec1::<f32>()?;
        self.divergences.borrow_mut().extend(divergence);
        Ok(logits)
    }
}

/// Compares decoded spectrograms of random tokens.
pub fn codec(exact: &Codec, pack: &Pack) -> Result<()> {
    let mut noise = Noise::new(1, 0);
    let codebook = pack.manifest().codec.codebook();
    let rows = pack.manifest().transformer.rows;
    let tokens: Vec<u32> = (0..COLUMNS * rows).map(|_| noise.below(codebook) as u32).collect();
    let ids = Tensor::from_vec(tokens, (1, COLUMNS * rows), &Device::Cpu)?;
    let difference = (exact.decode(&ids)? - pack.codec(&Device::Cpu)?.decode(&ids)?)?;
    // The scale's 0.01 is 1 dB.
    let decibels = difference.abs()?.mean_all()?.to_scalar::<f32>()? * 100.0;
    println!("codec: {decibels:.3} dB mean difference of decoded spectrograms");
    Ok(())
}

/// Compares the sound of what the pack's codec makes of random tokens.
pub fn vocoder(exact: &Vocoder, pack: &Pack) -> Result<()> {
    let mut noise = Noise::new(1, 1);
    let (codebook, rows) = (pack.manifest().codec.codebook(), pack.manifest().transformer.rows);
    let tokens: Vec<u32> = (0..COLUMNS * rows).map(|_| noise.below(codebook) as u32).collect();
    let mel =
        pack.codec(&Device::Cpu)?.decode(&Tensor::from_vec(tokens, (1, COLUMNS * rows), &Device::Cpu)?)?;
    let sound = exact.forward(&mel)?;
    let error = (&sound - pack.vocoder(&Device::Cpu)?.forward(&mel)?)?;
    let power = |x: &Tensor| x.sqr()?.mean_all()?.to_scalar::<f32>();
    println!("vocoder: {:.1} dB signal to storage noise", 10.0 * (power(&sound)? / power(&error)?).log10());
    Ok(())
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len().max(1) as f32
}
