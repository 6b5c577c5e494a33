//! What adapters learn from: token grids and text features, made once for all runs on the same data.

use crate::data::Cache;
use crate::train::captions::Captions;
use crate::train::examples::{Copies, Example, Recipe, as_they_are, encode_once};
use crate::train::grids::Grids;
use anyhow::{Result, ensure};
use candle_core::Device;
use indicatif::ProgressBar;
use soundlocd_engine::codec::Codec;
use soundlocd_engine::diffusion::Schedule;
use soundlocd_engine::pack::{Pack, Part, Sampling};

/// Everything but the network.
pub struct Material {
    pub captions: Captions,
    pub codec: Codec,
    pub schedule: Schedule,
    pub sampling: Sampling,
    pub grids: Grids,
    pub valid: Vec<Example>,
    pub device: Device,
    /// Clips and seconds that are learnt from.
    pub clips: (usize, f64),
}

impl Material {
    /// Encodes the training clips (with their copies) and the valid clips of `cache`.
    pub fn new(
        pack: &Pack,
        cache: &Cache,
        (train, valid): (Vec<usize>, &[usize]),
        (copies, seed): (usize, u64),
        device: &Device,
    ) -> Result<Self> {
        ensure!(!train.is_empty(), "there is no recording to train on");
        let manifest = pack.manifest();
        let max_columns = manifest.transformer.max_columns;
        // On the CPU, where examples are encoded side by side.
        let codec = pack.codec(&Device::Cpu)?;
        let codec_id = &manifest.files.weights(Part::Codec).sha256;
        let seconds = train.iter().map(|&clip| cache.clips[clip].samples).sum::<usize>() as f64
            / f64::from(soundlocd_engine::SAMPLE_RATE);
        let clips = (train.len(), seconds);
        let copies = Copies { shifted: copies, composed: 0.0 };
        let recipe = Recipe { clips: train, balance: 1.0, copies, max_columns, seed };
        let bar = ProgressBar::no_length().with_message("encoding recordings");
        let examples = encode_once(cache, (&codec, codec_id), &recipe, |n| bar.inc(n as u64))?;
        bar.finish_and_clear();
        let valid = as_they_are(cache, &codec, valid, max_columns)?;
        let mut captions =
            Captions::new(pack.text_encoder(device)?, manifest.transformer.mask_padding, device);
        let texts = examples.iter().chain(&valid).flat_map(|example| &example.captions);
        captions.learn(texts.map(String::as_str).chain([""]))?;
        let schedule = manifest.schedule()?;
        let grids = Grids::new(examples);
        let (sampling, device) = (manifest.sampling, device.clone());
        Ok(Self { captions, codec, schedule, sampling, grids, valid, device, clips })
    }
}
