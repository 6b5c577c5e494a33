//! What an adapted base is worth: its sounds for held-out captions against the held-out recordings.

use super::domain::Domain;
use crate::data::Cache;
use crate::eval::classifier::{Classifier, Judgement};
use crate::eval::metrics;
use crate::eval::{INCEPTION_PARTS, kernel_draws, mel_of as real_mel, share};
use crate::train::adapter::{Material, mel_of};
use crate::train::grids::cross_entropy;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use soundlocd_engine::codec::mel::to_frame_major;
use soundlocd_engine::diffusion::transformer::Transformer;
use soundlocd_engine::diffusion::{Noise, SamplerConfig};
use soundlocd_engine::{FRAMES_PER_COLUMN, MEL_BANDS};

/// Sounds of each held-out caption at most, and all together about.
const PER_CAPTION: usize = 4;
const SOUNDS: usize = 160;
/// Noises of each held-out clip for its cross-entropy.
const NOISES: usize = 4;

/// The measures of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Fréchet distance of the classifier's features.
    pub fid: f64,
    /// Inception score.
    pub isc: f64,
    /// Divergence from the paired recording.
    pub kl: f64,
    /// Kernel distance.
    pub kid: f64,
    /// Share of the sounds recognised as the caption's category.
    pub accuracy: f64,
    /// Cross-entropy of the held-out tokens under their own captions, in nats a token.
    pub cross_entropy: f64,
    /// How much more it is under another clip's caption.
    pub margin: f64,
}

/// The held-out recordings of a domain, judged.
pub struct Yardstick<'a> {
    cache: &'a Cache,
    classifier: &'a Classifier,
    domain: &'a Domain,
    real: Vec<Judgement>,
}

impl<'a> Yardstick<'a> {
    pub fn new(cache: &'a Cache, classifier: &'a Classifier, domain: &'a Domain) -> Result<Self> {
        let mels: Vec<Vec<f32>> = domain.test.iter().map(|&clip| real_mel(cache, clip)).collect();
        let real = classifier.judge(mels.iter().map(Vec::as_slice))?;
        Ok(Self { cache, classifier, domain, real })
    }

    /// Share of the held-out recordings that the classifier recognises.
    pub fn ceiling(&self) -> f64 {
        share(
            self.real.iter().zip(&self.domain.test).map(|(judgement, &clip)| self.is_right(judgement, clip)),
        )
    }

    fn is_right(&self, judgement: &Judgement, clip: usize) -> bool {
        self.classifier.categories.get(judgement.category()) == Some(&self.cache.clips[clip].category)
    }

    /// Measures a model; the same seeds for all. `material.valid` has to be the held-out clips.
    pub fn measure(
        &self,
        model: &Transformer,
        material: &mut Material,
        config: SamplerConfig,
    ) -> Result<Measures> {
        let test = &self.domain.test;
        let each = (SOUNDS / test.len()).clamp(1, PER_CAPTION);
        let (mut judged, mut real_of) = (Vec::new(), Vec::new());
        for (position, &clip) in test.iter().enumerate() {
            let entry = &self.cache.clips[clip];
            let columns = entry.frames.div_ceil(FRAMES_PER_COLUMN).max(1);
            let caption = entry.captions.first().map_or("", String::as_str);
            for take in 0..each {
                let seed = (position * PER_CAPTION + take) as u64;
                let mel = mel_of(model, material, config, (caption, columns), seed)?;
                let mut frames = to_frame_major(&mel.flatten_all()?.to_vec1::<f32>()?);
                frames.truncate(entry.frames * MEL_BANDS);
                judged.extend(self.classifier.judge([frames.as_slice()])?);
                real_of.push(position);
            }
        }
        let features =
            |all: &[Judgement]| -> Vec<Vec<f32>> { all.iter().map(|j| j.features.clone()).collect() };
        let logits = |all: &[Judgement]| -> Vec<Vec<f32>> { all.iter().map(|j| j.logits.clone()).collect() };
        let unbiased: Vec<Vec<f32>> = judged.iter().map(|j| self.classifier.unbiased(j)).collect();
        let order = Noise::new(2020, 0).permutation(judged.len());
        let (made, real) = (features(&judged), features(&self.real));
        let right = judged.iter().zip(&real_of).map(|(j, &position)| self.is_right(j, test[position]));
        let own = self.cross_entropy(model, material, 0)?;
        let other = self.cross_entropy(model, material, test.len() / 2)?;
        Ok(Measures {
            fid: metrics::frechet_distance(&made, &real),
            isc: metrics::inception_score(&unbiased, &order, INCEPTION_PARTS).mean,
            kl: metrics::paired_divergence(&logits(&self.real), &logits(&judged), &real_of),
            kid: metrics::kernel_distance(&made, &real, &kernel_draws(made.len(), real.len())).mean,
            accuracy: share(right),
            cross_entropy: own,
            margin: other - own,
        })
    }

    /// Of the held-out tokens under the captions of the clips `shift` further on.
    fn cross_entropy(&self, model: &Transformer, material: &mut Material, shift: usize) -> Result<f64> {
        let Material { captions, schedule, device, valid, .. } = material;
        let count = valid.len().max(1);
        cross_entropy(model, valid, (captions, schedule, device), NOISES, |i| (i + shift) % count)
    }
}
