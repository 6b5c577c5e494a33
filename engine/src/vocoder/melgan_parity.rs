//! MelGAN's generator against the reference's.

use super::*;
use crate::parity::{Fixtures, ParityError, Report, Tolerance};
use candle_core::{DType, Device};

/// `melgan`: every recorded module of PyTorch's list, and the waveform.
pub(crate) fn stage(fixtures: &Fixtures) -> std::result::Result<Report, ParityError> {
    let fixture = fixtures.open("melgan")?;
    let mut report = Report::default();
    let config = Config {
        bands: fixture.number("nmel")?,
        ngf: fixture.number("ngf")?,
        residual_layers: fixture.number("nl")?,
    };
    let vs = VarBuilder::from_tensors(fixture.part("w."), DType::F32, &Device::Cpu);
    let generator = MelGan::new(&config, Precision::F32, vs)?;
    let mel = fixture.get("mel")?;
    let wave = generator.forward(&mel)?;
    report.tensor(&fixture, "wav", &wave.unsqueeze(1)?, Tolerance::ACTIVATION)?;

    let mut modules = Vec::new();
    let mut x = generator.first.forward(&mel)?;
    modules.push((1, x.clone()));
    // Indices count PyTorch's list, as in `MelGan::new`.
    let mut index = 3;
    for stage in &generator.stages {
        x = stage.upsample.forward_fused(&x, ACTIVATION)?;
        modules.push((index, x.clone()));
        for (i, block) in stage.residual.iter().enumerate() {
            x = block.forward(&x)?;
            modules.push((index + 1 + i, x.clone()));
        }
        index += config.residual_layers + 2;
    }
    for name in fixture.under("act.model") {
        let recorded = format!("act.model{name}");
        match modules.iter().find(|(index, _)| index.to_string() == name) {
            Some((_, got)) => report.tensor(&fixture, &recorded, got, Tolerance::ACTIVATION)?,
            None => report.fail(format!("{recorded}: recorded, but unknown here")),
        }
    }
    Ok(report)
}
