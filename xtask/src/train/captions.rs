//! Features of captions, from a frozen text encoder: encoded once, then remembered.

use anyhow::Result;
use candle_core::{Device, Tensor};
use half::f16;
use soundlocd_engine::text::TextEncoder;
use std::collections::HashMap;

/// A text encoder and what it said of the captions so far.
pub struct Captions {
    encoder: TextEncoder,
    device: Device,
    /// Whether the transformer hides padding from itself. Diffsound's does not: there padding is a part of the prompt.
    hides_padding: bool,
    /// `[tokens, width]` of each, without hidden padding.
    known: HashMap<String, Vec<f16>>,
}

impl Captions {
    /// For a transformer that [hides padding](soundlocd_engine::diffusion::transformer::Config::mask_padding) or not.
    pub fn new(encoder: TextEncoder, hides_padding: bool, device: &Device) -> Self {
        Self { encoder, device: device.clone(), hides_padding, known: HashMap::new() }
    }

    /// The encoder.
    pub fn encoder(&self) -> &TextEncoder {
        &self.encoder
    }

    /// Encodes what is not known yet.
    pub fn learn<'a>(&mut self, captions: impl Iterator<Item = &'a str>) -> Result<()> {
        let mut missing: Vec<&str> = captions.filter(|c| !self.known.contains_key(*c)).collect();
        missing.sort_unstable();
        missing.dedup();
        for chunk in missing.chunks(64) {
            let encoded = self.encoder.encode_batch(chunk)?;
            let masks = encoded.mask.to_vec2::<f32>()?;
            for (i, (caption, mask)) in chunk.iter().zip(masks).enumerate() {
                let real = mask.iter().filter(|m| **m > 0.5).count();
                let tokens = if self.hides_padding { real } else { mask.len() };
                let values =
                    encoded.features.get(i)?.narrow(0, 0, tokens)?.flatten_all()?.to_vec1::<f32>()?;
                self.known.insert((*caption).to_owned(), values.into_iter().map(f16::from_f32).collect());
            }
        }
        Ok(())
    }

    /// Features and mask of captions, `[batch, n, width]` and `[batch, n]`.
    pub fn features(&mut self, captions: &[&str]) -> Result<(Tensor, Tensor)> {
        self.learn(captions.iter().copied())?;
        let width = self.encoder.width();
        let rows: Vec<&[f16]> =
            captions.iter().map(|c| self.known.get(*c).map_or(&[][..], Vec::as_slice)).collect();
        let longest = rows.iter().map(|r| r.len() / width).max().unwrap_or(1).max(1);
        let mut features = vec![0.0_f32; captions.len() * longest * width];
        let mut mask = vec![0.0_f32; captions.len() * longest];
        for (i, row) in rows.iter().enumerate() {
            let start = i * longest * width;
            for (target, value) in features[start..].iter_mut().zip(row.iter()) {
                *target = value.to_f32();
            }
            mask[i * longest..i * longest + row.len() / width].fill(1.0);
        }
        Ok((
            Tensor::from_vec(features, (captions.len(), longest, width), &self.device)?,
            Tensor::from_vec(mask, (captions.len(), longest), &self.device)?,
        ))
    }
}
