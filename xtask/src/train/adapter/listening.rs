//! What prompts sound like before and after: the same words and seeds, with the base and with the adapter.

use super::Material;
use crate::train::plots;
use anyhow::Result;
use candle_core::Tensor;
use soundlocd_engine::clip::{Clip, Provenance, wav};
use soundlocd_engine::diffusion::transformer::Transformer;
use soundlocd_engine::diffusion::{Canvas, Sampler, SamplerConfig};
use soundlocd_engine::pack::Pack;
use soundlocd_engine::vocoder::Vocoder;
use soundlocd_engine::{HOP, SAMPLE_RATE};
use std::path::Path;

/// Prompts on the sheet.
const PROMPTS: usize = 8;
/// Length of the sounds, in columns of the token grid (1.5 s).
const COLUMNS: usize = 8;

/// Prompts to listen to.
pub struct Listening {
    prompts: Vec<String>,
    base: Transformer,
    vocoder: Vocoder,
    config: SamplerConfig,
    /// Log-mel pictures of the base, made once.
    before: Vec<Vec<f32>>,
}

impl Listening {
    /// Of the valid captions, or, where there are none, of those that are learnt.
    pub fn new(pack: &Pack, material: &Material) -> Result<Self> {
        let examples = if material.valid.is_empty() { material.grids.examples() } else { &material.valid };
        let mut prompts: Vec<String> =
            examples.iter().filter_map(|example| example.captions.first().cloned()).collect();
        prompts.sort();
        prompts.dedup();
        let count = prompts.len().min(PROMPTS);
        let prompts = (0..count).filter_map(|i| prompts.get(i * prompts.len() / count).cloned()).collect();
        Ok(Self {
            prompts,
            base: pack.transformer(&material.device)?,
            vocoder: pack.vocoder(&candle_core::Device::Cpu)?,
            config: material.sampling.config(&pack.manifest().recommended, material.schedule.steps()),
            before: Vec::new(),
        })
    }

    /// Writes `listening.png` (above the base, below the adapter at this step) and WAV files.
    pub fn write(
        &mut self,
        model: &Transformer,
        material: &mut Material,
        folder: &Path,
        step: u64,
    ) -> Result<()> {
        let sounds = folder.join("listening");
        std::fs::create_dir_all(&sounds)?;
        if self.before.is_empty() {
            self.before = self.make(&self.base, material, &sounds, "before")?;
        }
        let after = self.make(model, material, &sounds, "after")?;
        let list: Vec<String> =
            self.prompts.iter().enumerate().map(|(i, prompt)| format!("{:02} {prompt}\n", i + 1)).collect();
        std::fs::write(sounds.join("prompts.txt"), format!("after {step} steps\n{}", list.concat()))?;
        plots::spectrograms(&[self.before.clone(), after], &folder.join("listening.png"))
    }

    fn make(
        &self,
        model: &Transformer,
        material: &mut Material,
        sounds: &Path,
        name: &str,
    ) -> Result<Vec<Vec<f32>>> {
        let mut pictures = Vec::new();
        for (i, prompt) in self.prompts.iter().enumerate() {
            let mel = mel_of(model, material, self.config, (prompt, COLUMNS), i as u64)?;
            let audio = self.vocoder.forward(&mel)?.squeeze(0)?.to_vec1::<f32>()?;
            let seconds = (COLUMNS * material.codec.frames_per_column() * HOP) as f32 / SAMPLE_RATE as f32;
            let provenance = Provenance { prompt: prompt.clone(), seed: i as u64, ..Provenance::default() };
            // A silent one leaves no file; its picture shows it.
            if let Ok(clip) = Clip::finish(&audio, seconds, provenance) {
                wav::write(&sounds.join(format!("{:02}-{name}.wav", i + 1)), &clip, SAMPLE_RATE)?;
            }
            pictures.push(mel.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(pictures)
    }
}

/// The log-mel spectrogram `[1, 80, 16 columns]` that `model` makes of a prompt, on the CPU.
pub fn mel_of(
    model: &Transformer,
    material: &mut Material,
    config: SamplerConfig,
    (prompt, columns): (&str, usize),
    seed: u64,
) -> Result<Tensor> {
    let prompts: &[&str] = if config.is_guided() { &[prompt, ""] } else { &[prompt] };
    let (features, mask) = material.captions.features(prompts)?;
    let condition = model.condition(&features, Some(&mask))?;
    let canvas = Canvas::blank(1, columns.min(model.config().max_columns) * model.config().rows);
    let mut sampler = Sampler::new(&material.schedule, config, canvas, seed, &[0])?;
    while !sampler.is_done() {
        sampler.step(&model.bind(&condition))?;
    }
    let tokens = sampler.tokens();
    let ids = Tensor::from_slice(tokens, (1, tokens.len()), &candle_core::Device::Cpu)?;
    Ok(material.codec.decode(&ids)?)
}
