//! The operations of the diffusion process (SPEC 5.2 to 5.4, 5.7).

use super::{Fixture, Fixtures, Network, ParityError, Report, Tolerance, values};
use crate::diffusion::{
    PosteriorKind, Schedule, ScheduleConfig, Truncation, log_transition, noised_by_gumbel, predict_start,
    q_posterior, truncate,
};
use candle_core::{Device, Tensor};

/// `diffusion_ops`: transitions, draws, predictions, posteriors, truncations.
pub(super) fn stage(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("diffusion_ops")?;
    let mut report = Report::default();
    let network = Network::main(fixtures)?;
    let config = network.transformer.config();
    let config_of = ScheduleConfig { steps: config.timesteps, ..ScheduleConfig::default() };
    let schedule = Schedule::new(config.codebook, &config_of)?;
    let shape = fixture.get("x0")?.dims().to_vec();
    let transition = |ids: &[u32], rates| -> Result<Tensor, ParityError> {
        let log: Vec<f32> = log_transition(ids, rates, &schedule).into_iter().map(|p| p as f32).collect();
        Ok(Tensor::from_vec(log, [&shape[..], &[schedule.classes()]].concat(), &Device::Cpu)?)
    };
    let mut close = |name: &str, got: &Tensor| -> Result<(), ParityError> {
        report.pair(name, got, &fixture.class_last(name)?, Tolerance::ACTIVATION)
    };
    let (x0, ids, cond) = (fixture.ids("x0")?, fixture.ids("ids")?, fixture.get("cond")?);
    let log_x0 = fixture.class_last("log_x0")?;

    // Timestep "-1": nothing is noised.
    let clean = transition(&x0, schedule.cumulative(schedule.steps()))?;
    close("log_x0", &clean)?;
    close("q_pred_tminus1", &clean)?;
    let mut draws = Vec::new();
    for t in timesteps(&fixture)? {
        let name = |part: &str| format!("t{t}.{part}");
        close(&name("q_pred_x0"), &transition(&x0, schedule.cumulative(t))?)?;
        close(&name("q_pred_one_xt"), &transition(&ids, schedule.step(t))?)?;
        let u = fixture.class_last(&name("q_sample_u"))?.flatten_all()?.to_vec1::<f32>()?;
        let mut rows = u.chunks(schedule.classes());
        let drawn: Vec<u32> = x0
            .iter()
            .map(|&token| {
                let mut row = rows.next().unwrap_or_default().to_vec();
                noised_by_gumbel(token, schedule.cumulative(t), &mut row)
            })
            .collect();
        draws.push((name("q_sample_ids"), drawn));
        let xt = fixture.ids(&name("xt_ids"))?;
        let batch = vec![t; shape.first().copied().unwrap_or(0)];
        let predicted = predict_start(&network.logits(&xt, &batch, &cond)?)?;
        close(&name("predict_start"), &predicted)?;
        let posterior = |log_x0: &Tensor, xt: &[u32]| {
            q_posterior(log_x0, xt, &batch, &schedule, PosteriorKind::Diffsound)
        };
        close(&name("q_posterior_true"), &posterior(&log_x0, &xt)?)?;
        close(&name("q_posterior_model"), &posterior(&predicted, &xt)?)?;
        close(&name("q_posterior_true_idsxt"), &posterior(&log_x0, &ids)?)?;
    }
    for (name, drawn) in draws {
        report.ids(&name, &drawn, &fixture.ids(&name)?);
    }
    truncations(&fixture, schedule.classes(), &mut report)?;
    Ok(report)
}

/// The timesteps `t<number>.` that were recorded.
fn timesteps(fixture: &Fixture) -> Result<Vec<usize>, ParityError> {
    let mut timesteps: Vec<usize> =
        fixture.under("t").iter().filter_map(|name| name.strip_suffix(".xt_ids")?.parse().ok()).collect();
    timesteps.sort_unstable();
    if timesteps.is_empty() {
        return Err(fixture.unusable("t<number>.xt_ids", "is missing"));
    }
    Ok(timesteps)
}

/// `trunc.top0.85r` keeps a share of the probability, `trunc.top3p` a number of classes.
fn truncations(fixture: &Fixture, classes: usize, report: &mut Report) -> Result<(), ParityError> {
    let input = values(&fixture.class_last("trunc.in")?)?;
    for rule in fixture.under("trunc.top") {
        let name = format!("trunc.top{rule}");
        let (rate, count) = (rule.strip_suffix('r'), rule.strip_suffix('p'));
        let truncation = match (rate.and_then(|r| r.parse().ok()), count.and_then(|c| c.parse().ok())) {
            (Some(rate), _) => Truncation::Rate(rate),
            (None, Some(count)) => Truncation::Count(count),
            (None, None) => return Err(fixture.unusable(&name, "names no truncation such as top0.85r")),
        };
        let mut got = Vec::with_capacity(input.len());
        for row in input.chunks(classes) {
            let mut p: Vec<f32> = row.iter().map(|log| log.exp() as f32).collect();
            truncate(&mut p, truncation);
            got.extend(p.iter().map(|&p| f64::from(p).ln()));
        }
        report.numbers(&name, &got, &values(&fixture.class_last(&name)?)?, Tolerance::ACTIVATION);
    }
    Ok(())
}
