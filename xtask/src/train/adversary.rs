//! The codec's opponent in training: a patch discriminator with its own optimizer.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use soundlocd_engine::codec::patchgan::{PatchGan, PatchGanConfig, discriminator_loss, generator_loss};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::train::{AdamW, AdamWConfig, initialise};

/// Half the reference's width: the spectrograms here are smaller, and it costs a quarter.
const CONFIG: PatchGanConfig = PatchGanConfig { channels: 1, width: 32, layers: 3 };
/// Its learning rate, as a share of the codec's.
const RATE_SHARE: f64 = 0.5;

/// A discriminator in training.
pub struct Adversary {
    model: PatchGan,
    /// Named `discriminator` in checkpoints.
    pub optimizer: AdamW,
    device: Device,
}

impl Adversary {
    /// A discriminator that knows nothing yet.
    pub fn new(seed: u64, device: &Device) -> Result<Self> {
        let map = VarMap::new();
        let vs = VarBuilder::from_varmap(&map, DType::F32, device);
        let model = PatchGan::new(&CONFIG, vs)?.with_precision(Precision::fastest());
        initialise(&map, seed, |_, shape| (shape.len() > 1).then_some(0.02))?;
        let settings =
            AdamWConfig { beta1: 0.5, beta2: 0.9, weight_decay: 0.0, ema: 0.0, ..AdamWConfig::default() };
        Ok(Self { model, optimizer: AdamW::new(&map, settings)?, device: device.clone() })
    }

    /// Its mean logit for `output` `[batch, 1, 80, frames]` (above zero: it believes it), and how the
    /// codec's adversarial loss changes with every bin of it.
    pub fn judge(&self, output: &Tensor) -> Result<(f64, Vec<f32>)> {
        // Through weights that take no gradient: theirs would be made for nothing.
        let weights = self.optimizer.weights().into_iter().collect();
        let vs = VarBuilder::from_tensors(weights, DType::F32, &self.device);
        let model = PatchGan::new(&CONFIG, vs)?.with_precision(Precision::fastest());
        let output = Var::from_tensor(&output.detach())?;
        let loss = generator_loss(&model.forward(&output, true)?)?;
        let grads = loss.backward()?;
        let gradient = grads.get(&output).context("the discriminator does not depend on its input")?;
        Ok((-f64::from(loss.to_scalar::<f32>()?), gradient.flatten_all()?.to_vec1()?))
    }

    /// One step towards telling `real` from `fake`; returns the hinge loss (1 at the start, 0 for a perfect judge).
    pub fn learn(&mut self, real: &Tensor, fake: &Tensor, rate: f64) -> Result<f64> {
        let real = self.model.forward(real, true)?;
        let fake = self.model.forward(&fake.detach(), true)?;
        let loss = discriminator_loss(&real, &fake)?;
        self.optimizer.step(&loss.backward()?, rate * RATE_SHARE)?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }
}

/// Adds `addition`, scaled to `share` of the norm of `gradient`, to `gradient`.
///
/// VQGAN's adaptive weight (Esser et al., 2021, eq. 7), taken at the decoder's output instead of at its last layer:
/// neither loss can drown the other, whatever their scales.
pub fn blend(gradient: &mut [f32], addition: &[f32], share: f64) {
    let norm = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let scale = (share * norm(gradient) / (norm(addition) + 1e-12)) as f32;
    for (g, a) in gradient.iter_mut().zip(addition) {
        *g += scale * a;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use soundlocd_engine::diffusion::Noise;

    #[test]
    fn it_learns_to_tell_noise_from_silence() {
        let mut adversary = Adversary::new(1, &Device::Cpu).unwrap();
        let mut noise = Noise::new(3, 0);
        let mut picture = |level: f32| {
            let values: Vec<f32> = (0..4 * 80 * 32).map(|_| level * noise.normal()).collect();
            Tensor::from_vec(values, (4, 1, 80, 32), &Device::Cpu).unwrap()
        };
        let first = adversary.learn(&picture(0.5), &picture(0.0), 2e-3).unwrap();
        let mut last = first;
        for _ in 0..15 {
            last = adversary.learn(&picture(0.5), &picture(0.0), 2e-3).unwrap();
        }
        assert!(last < 0.5 * first, "{first} {last}");
        let (believed, gradient) = adversary.judge(&picture(0.0)).unwrap();
        assert!(believed < 0.0, "{believed}");
        assert!(gradient.iter().any(|g| *g != 0.0));
    }

    #[test]
    fn a_blend_has_the_asked_for_share() {
        let mut gradient = vec![3.0, 0.0, 4.0];
        blend(&mut gradient, &[0.0, 0.01, 0.0], 0.2);
        assert!((gradient[1] - 1.0).abs() < 1e-6 && gradient[0] == 3.0 && gradient[2] == 4.0, "{gradient:?}");
    }
}
