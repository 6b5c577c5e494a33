//! MelGAN's discriminators and both losses (SPEC 8).

use super::{Fixtures, ParityError, Report, Tolerance};
use crate::vocoder::melgan_discriminator::{Config, MelGanDiscriminator};
use candle_core::{DType, Device, Var};
use candle_nn::VarBuilder;

/// `melgan_disc`: every layer's output at every scale, the losses, the gradient of the generator's loss.
pub(super) fn stage(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("melgan_disc")?;
    let mut report = Report::default();
    let config = Config {
        scales: fixture.number("num_D")?,
        ndf: fixture.number("ndf")?,
        layers: fixture.number("n_layers")?,
        factor: fixture.number("factor")?,
        max_channels: fixture.number("cap")?,
    };
    let vs = VarBuilder::from_tensors(fixture.part("w."), DType::F32, &Device::Cpu);
    let discriminator = MelGanDiscriminator::new(&config, vs)?;
    let wave = Var::from_tensor(&fixture.get("fake")?)?;
    let fake = discriminator.forward(&wave)?;
    let real = discriminator.forward(&fixture.get("real")?)?;
    for (set, features) in [("fake", &fake), ("real", &real)] {
        for (s, scale) in features.iter().enumerate() {
            for (l, layer) in scale.iter().enumerate() {
                let name = format!("{set}.s{s}.l{l}");
                if fixture.has(&name) {
                    report.tensor(&fixture, &name, layer, Tolerance::ACTIVATION)?;
                }
            }
        }
    }
    let loss = MelGanDiscriminator::discriminator_loss(&real, &fake)?;
    report.tensor(&fixture, "loss_D", &loss, Tolerance::ACTIVATION)?;
    let loss = MelGanDiscriminator::adversarial_loss(&fake)?;
    report.tensor(&fixture, "loss_G", &loss, Tolerance::ACTIVATION)?;
    let loss = discriminator.feature_loss(&real, &fake)?;
    report.tensor(&fixture, "loss_feat", &loss, Tolerance::ACTIVATION)?;
    let gradients = discriminator.generator_loss(&real, &fake)?.backward()?;
    match gradients.get(&wave) {
        Some(gradient) => report.tensor(&fixture, "grad_fake", gradient, Tolerance::GRADIENT)?,
        None => report.fail("grad_fake: the loss does not depend on the waveform"),
    }
    Ok(report)
}
