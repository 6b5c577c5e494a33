//! Training of a codebook by running averages, with revival of unused entries.
//!
//! Each entry is the running mean of the latents assigned to it (van den Oord et al. 2017,
//! appendix A); an entry that hardly anything is assigned to starts again at a latent of the batch.

use candle_core::{Device, Result, Tensor};
use std::collections::BTreeMap;

/// Running counts and sums of the latents of every entry.
#[derive(Debug, Clone)]
pub struct CodebookTrainer {
    counts: Vec<f32>,
    sums: Vec<f32>,
    width: usize,
    /// Decay of counts and sums per step.
    decay: f32,
}

/// An entry whose running count falls below this share of the mean is revived.
const DEAD: f32 = 0.03;

impl CodebookTrainer {
    /// Starts from a codebook `[entries, width]`, every entry as if seen `mean count` times.
    ///
    /// # Errors
    /// When `codebook` is not a matrix of f32.
    pub fn new(codebook: &Tensor, mean_count: f32, decay: f32) -> Result<Self> {
        let (entries, width) = codebook.dims2()?;
        let sums = codebook.flatten_all()?.to_vec1::<f32>()?.into_iter().map(|v| v * mean_count).collect();
        Ok(Self { counts: vec![mean_count; entries], sums, width, decay })
    }

    /// Takes in latents `[n, width]` (row-major) with their entries `ids`, and returns the new codebook
    /// `[entries, width]` and how many entries were revived. `pick(n)` draws a number below n.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn update(
        &mut self,
        latents: &[f32],
        ids: &[u32],
        mut pick: impl FnMut(usize) -> usize,
        device: &Device,
    ) -> Result<(Tensor, usize)> {
        let width = self.width;
        for c in self.counts.iter_mut().chain(self.sums.iter_mut()) {
            *c *= self.decay;
        }
        let fresh = 1.0 - self.decay;
        for (latent, id) in latents.chunks_exact(width).zip(ids) {
            let id = *id as usize;
            if let (Some(count), Some(sum)) =
                (self.counts.get_mut(id), self.sums.get_mut(id * width..(id + 1) * width))
            {
                *count += fresh;
                for (s, v) in sum.iter_mut().zip(latent) {
                    *s += fresh * v;
                }
            }
        }
        let mean = self.counts.iter().sum::<f32>() / self.counts.len().max(1) as f32;
        let mut revived = 0;
        if !ids.is_empty() {
            for (count, sum) in self.counts.iter_mut().zip(self.sums.chunks_exact_mut(width)) {
                if *count < DEAD * mean {
                    let at = pick(ids.len()).min(ids.len() - 1) * width;
                    *count = 0.3 * mean;
                    for (s, v) in sum.iter_mut().zip(&latents[at..at + width]) {
                        *s = *count * v;
                    }
                    revived += 1;
                }
            }
        }
        let mut codebook = self.sums.clone();
        for (row, count) in codebook.chunks_exact_mut(width).zip(&self.counts) {
            for v in row {
                *v /= count.max(1e-6);
            }
        }
        Ok((Tensor::from_vec(codebook, (self.counts.len(), width), device)?, revived))
    }

    /// Share of entries in use, as `e^entropy / entries`.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        let total: f64 = self.counts.iter().map(|c| f64::from(*c)).sum();
        let entropy: f64 =
            self.counts.iter().map(|c| f64::from(*c) / total).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
        entropy.exp()
    }

    /// For a checkpoint.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let n = self.counts.len();
        Ok(BTreeMap::from([
            ("codebook.counts".to_owned(), Tensor::from_slice(&self.counts, n, &Device::Cpu)?),
            ("codebook.sums".to_owned(), Tensor::from_slice(&self.sums, (n, self.width), &Device::Cpu)?),
        ]))
    }

    /// From a checkpoint's tensors.
    ///
    /// # Errors
    /// When a tensor is missing or of another size.
    pub fn restore(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, target) in [("codebook.counts", &mut self.counts), ("codebook.sums", &mut self.sums)] {
            let Some(tensor) = tensors.get(name) else { candle_core::bail!("{name}: missing") };
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            if values.len() != target.len() {
                candle_core::bail!("{name}: expected {} values, found {}", target.len(), values.len());
            }
            *target = values;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn entries_move_to_their_means_and_unused_ones_are_revived() {
        let start = Tensor::new(&[[0.0_f32, 0.0], [1.0, 1.0], [50.0, 50.0]], &Device::Cpu).unwrap();
        let mut trainer = CodebookTrainer::new(&start, 1.0, 0.9).unwrap();
        let latents = [2.0, 0.0, 4.0, 0.0, 1.0, 3.0];
        let mut last = None;
        let mut revived = 0;
        for _ in 0..200 {
            let (codebook, new) = trainer.update(&latents, &[0, 0, 1], |_| 2, &Device::Cpu).unwrap();
            revived += new;
            last = Some(codebook.to_vec2::<f32>().unwrap());
        }
        let codebook = last.unwrap();
        assert!((codebook[0][0] - 3.0).abs() < 1e-3 && codebook[0][1].abs() < 1e-3);
        assert!((codebook[1][0] - 1.0).abs() < 1e-3 && (codebook[1][1] - 3.0).abs() < 1e-3);
        assert!(revived > 0 && (codebook[2][1] - 3.0).abs() < 1e-3);
    }
}
