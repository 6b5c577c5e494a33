//! The codec's adversarial objective (SPEC 2), without its perceptual term.

use super::{Fixture, Fixtures, ParityError, Report, Tolerance};
use crate::codec::patchgan::{AdaptiveWeight, PatchGan, PatchGanConfig, discriminator_loss, generator_loss};
use crate::layers::{Conv2d, ConvGeometry};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;

/// `codec_loss`: the discriminator, both losses and the weight between them.
pub(super) fn stage(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("codec_loss")?;
    let mut report = Report::default();
    let real = fixture.get("real")?;
    let discriminator = || discriminator(&fixture, &real);

    let last = Var::from_tensor(&fixture.get("lastw")?)?;
    let kernel = last.dim(2)?;
    let decode = Conv2d::from_tensors(last.as_tensor().clone(), None, ConvGeometry::same(kernel));
    let rec = decode.forward(&fixture.get("feat")?)?;
    report.tensor(&fixture, "rec", &rec, Tolerance::ACTIVATION)?;

    let network = discriminator()?;
    report.tensor(&fixture, "disc_eval_real", &network.forward(&real, false)?, Tolerance::ACTIVATION)?;
    let adversarial = generator_loss(&network.forward(&rec, true)?)?;
    report.tensor(&fixture, "g_loss", &adversarial, Tolerance::ACTIVATION)?;
    let nll = (&real - &rec)?.abs()?.mean_all()?;
    report.tensor(&fixture, "nll", &nll, Tolerance::ACTIVATION)?;

    let scale = fixture.number("disc_weight")?;
    let (nll_value, adversarial_value) = (scalar(&nll)?, scalar(&adversarial)?);
    let codebook_loss = fixture.scalar("codebook_loss")?;
    for (kind, min, max) in [("clamped", 1.0, 1.0), ("adaptive", 0.0, 1e4)] {
        let weight = AdaptiveWeight { min, max, scale }.evaluate(&nll, &adversarial, last.as_tensor())?;
        let total = nll_value + weight * adversarial_value + codebook_loss;
        for (name, got) in [(format!("d_weight_{kind}"), weight), (format!("loss_g_{kind}"), total)] {
            report.numbers(&name, &[got], &fixture.f64(&name)?, Tolerance::ACTIVATION);
        }
    }
    let before = [nll_value + codebook_loss];
    let name = "loss_before_disc_start";
    report.numbers(name, &before, &fixture.f64(name)?, Tolerance::ACTIVATION);

    // The running statistics do not enter in training, so the order of the passes does not matter.
    let logits_real = network.forward(&real, true)?;
    let logits_fake = network.forward(&rec.detach(), true)?;
    report.tensor(&fixture, "logits_real", &logits_real.mean_all()?, Tolerance::ACTIVATION)?;
    report.tensor(&fixture, "logits_fake", &logits_fake.mean_all()?, Tolerance::ACTIVATION)?;
    let loss = discriminator_loss(&logits_real, &logits_fake)?;
    report.tensor(&fixture, "loss_d", &loss, Tolerance::ACTIVATION)?;
    Ok(report)
}

/// The discriminator of the weights `d.*`.
fn discriminator(fixture: &Fixture, picture: &Tensor) -> Result<PatchGan, ParityError> {
    let config = PatchGanConfig {
        channels: picture.dim(1)?,
        width: fixture.number("disc_ndf")?,
        layers: fixture.number("disc_layers")?,
    };
    let vs = VarBuilder::from_tensors(fixture.part("d."), DType::F32, &Device::Cpu);
    Ok(PatchGan::new(&config, vs)?)
}

fn scalar(x: &Tensor) -> Result<f64, ParityError> {
    Ok(f64::from(x.to_scalar::<f32>()?))
}
