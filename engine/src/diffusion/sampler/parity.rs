//! The reference's sampling runs, token for token, with its recorded noise.

use super::*;
use crate::diffusion::transformer::Transformer;
use crate::diffusion::{PosteriorKind, ScheduleConfig, Truncation, predict_start, q_posterior, truncate};
use crate::parity::{Fixture, Fixtures, Network, ParityError, Report, Tolerance};

/// The reference's uniform draws `[calls, batch, classes, length]`.
#[derive(Debug)]
struct Recorded {
    u: Vec<f32>,
    /// Of one call.
    shape: (usize, usize, usize),
    /// Our number of the first recorded call: 0 if the start was drawn, else 1.
    first: usize,
}

impl NoiseSource for Recorded {
    fn classes(&self, call: usize, sample: usize, position: usize, out: &mut [f32]) {
        let (batch, classes, length) = self.shape;
        let start = (call.saturating_sub(self.first) * batch + sample) * classes;
        for (class, value) in out.iter_mut().enumerate() {
            // A draw that was not recorded shows as a token that differs.
            *value = self.u.get((start + class) * length + position).copied().unwrap_or(0.5);
        }
    }

    fn order(&self, _: usize, _: usize, _: usize) -> f32 {
        0.5
    }
}

/// `sample_full`: every timestep, from all masked.
pub(crate) fn full(fixtures: &Fixtures) -> Result<Report, ParityError> {
    // The metadata's skip is another file's.
    run(fixtures, "sample_full", false)
}

/// `sample_fast`: timesteps passed over.
pub(crate) fn fast(fixtures: &Fixtures) -> Result<Report, ParityError> {
    run(fixtures, "sample_fast", true)
}

/// `sample_var`: from given tokens, noised.
pub(crate) fn variation(fixtures: &Fixtures) -> Result<Report, ParityError> {
    run(fixtures, "sample_var", false)
}

/// The reference's setting in all recorded runs, "top0.85r".
const TRUNCATION: Truncation = Truncation::Rate(0.85);

fn run(fixtures: &Fixtures, name: &str, skips: bool) -> Result<Report, ParityError> {
    compare(fixtures, &Network::main(fixtures)?.transformer, name, skips, true)
}

/// Compares the tokens of every step and, if `exact`, what they are drawn from.
fn compare(
    fixtures: &Fixtures,
    transformer: &Transformer,
    name: &str,
    skips: bool,
    exact: bool,
) -> Result<Report, ParityError> {
    let fixture = fixtures.open(name)?;
    let mut report = Report::default();
    let sizes = transformer.config();
    let schedule = Schedule::new(
        sizes.codebook,
        &ScheduleConfig { steps: sizes.timesteps, ..ScheduleConfig::default() },
    )?;
    let skip = if skips { fixture.number("skip_step")? } else { 0 };
    let strength = fixture.number_if_any("filter_ratio").filter(|ratio| *ratio > 0.0).unwrap_or(1.0);
    let (_, batch, classes, length) = fixture.get("u")?.dims4()?;
    let noise = Recorded {
        u: fixture.f32("u")?,
        shape: (batch, classes, length),
        first: usize::from(strength == 1.0),
    };
    let config = SamplerConfig {
        method: Method::Diffsound { skip },
        truncation: TRUNCATION,
        posterior: PosteriorKind::Diffsound,
        ..SamplerConfig::default()
    };
    let canvas = if strength == 1.0 {
        Canvas::blank(batch, length)
    } else {
        Canvas::vary(fixture.ids("x0")?, length, strength)
    };
    let mut sampler = Sampler::with_noise(&schedule, config, canvas, Box::new(noise))?;
    let condition = transformer.condition(&fixture.get("cond")?, None)?;
    let denoiser = transformer.bind(&condition);

    let recorded = fixture.ids("z_ids")?;
    let mut states = recorded.chunks(batch * length);
    if strength < 1.0 {
        report.ids("z_ids: start", sampler.tokens(), states.next().unwrap_or_default());
    }
    if sampler.steps() != states.len() {
        report.fail(format!("{} steps were recorded, found {}", states.len(), sampler.steps()));
    }
    for (step, want) in states.enumerate() {
        if exact {
            distributions(&fixture, &sampler, &denoiser, step, &mut report)?;
        }
        sampler.step(&denoiser)?;
        report.ids(&format!("z_ids: step {step}"), sampler.tokens(), want);
    }
    report.ids("tokens", sampler.tokens(), &fixture.ids("tokens")?);
    Ok(report)
}

/// What the coming step draws from, where it was recorded: the truncated prediction and its posterior.
fn distributions(
    fixture: &Fixture,
    sampler: &Sampler,
    denoiser: &dyn Denoiser,
    step: usize,
    report: &mut Report,
) -> Result<(), ParityError> {
    let (prediction, posterior) = (format!("step{step}.log_x_recon"), format!("step{step}.model_log_prob"));
    let (Plan::Ancestral(steps), true) = (&sampler.plan, fixture.has(&prediction)) else { return Ok(()) };
    let Some(reverse) = steps.get(step) else { return Ok(()) };
    let batch = sampler.tokens.len() / sampler.length.max(1);
    let ids = Tensor::from_slice(&sampler.tokens, (batch, sampler.length), &Device::Cpu)?;
    let log = predict_start(&denoiser.logits(&ids, &vec![reverse.t; batch])?)?;
    let classes = sampler.schedule.classes();
    let mut p: Vec<f32> = log.exp()?.flatten_all()?.to_vec1()?;
    p.chunks_mut(classes).for_each(|row| truncate(row, TRUNCATION));
    let log = Tensor::from_vec(p, log.shape(), &Device::Cpu)?.log()?;
    report.pair(&prediction, &log, &fixture.class_last(&prediction)?, Tolerance::ACTIVATION)?;
    let skip = match sampler.config.method {
        Method::Diffsound { skip } => skip,
        _ => 0,
    };
    let t = if reverse.t > skip { reverse.t - skip } else { reverse.t };
    let kind = sampler.config.posterior;
    let got = q_posterior(&log, &sampler.tokens, &vec![t; batch], &sampler.schedule, kind)?;
    report.pair(&posterior, &got, &fixture.class_last(&posterior)?, Tolerance::ACTIVATION)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::layers::kernel::Precision;

    /// The recorded draws leave room for rounding: a pack's transformer, its weights frozen and in bfloat16 where the
    /// machine has a unit for it, draws every token of every step as the reference did.
    #[test]
    fn inference_draws_the_recorded_tokens() {
        let fixtures = Fixtures::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures"));
        let network = Network::main(&fixtures).unwrap();
        for precision in [Precision::F32, Precision::Bf16] {
            let transformer = network.frozen(precision).unwrap();
            for (name, skips) in [("sample_full", false), ("sample_fast", true), ("sample_var", false)] {
                let report = compare(&fixtures, &transformer, name, skips, false).unwrap();
                assert!(report.passed(), "{precision:?}, {name}: {:#?}", report.failures);
            }
        }
    }
}
