//! The training loss and its gradients (SPEC 5.5, 5.6).

use super::{Fixture, Fixtures, Network, ParityError, Report, Tolerance, network, values};
use crate::diffusion::{
    LossBatch, PosteriorKind, Schedule, ScheduleConfig, TimeSampler, loss, noised_by_gumbel, predict_start,
    q_posterior,
};
use candle_core::{Device, Tensor};

/// `loss`: the noised tokens, both posteriors, every term, every weight's gradient, the timesteps' history.
pub(super) fn stage(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("loss")?;
    let mut report = Report::default();
    let network = Network::main(fixtures)?;
    let config = network.transformer.config();
    let schedule = Schedule::new(
        config.codebook,
        &ScheduleConfig { steps: config.timesteps, ..ScheduleConfig::default() },
    )?;
    let (x0, xt, t, pt) = (fixture.ids("x0")?, fixture.ids("xt")?, fixture.counts("t")?, fixture.f32("pt")?);
    report.ids("xt", &noised(&fixture, &x0, &t, &schedule)?, &xt);

    let logits = network.logits(&xt, &t, &fixture.get("cond")?)?;
    posteriors(&fixture, &logits, &schedule, &mut report)?;
    let batch = LossBatch {
        x0: &x0,
        xt: &xt,
        t: &t,
        pt: &pt,
        valid: None,
        negatives: &[],
        contrast_weight: 0.0,
        auxiliary_weight: fixture.number("aux_weight")?,
        kind: PosteriorKind::Diffsound,
    };
    let got = loss(&logits, &batch, &schedule)?;
    report.numbers("kl_loss", &got.kl, &fixture.f64("kl_loss")?, Tolerance::ACTIVATION);
    // The likelihood takes the auxiliary term's place at timestep 0.
    let (aux, nll) = (fixture.f64("aux_kl")?, fixture.f64("nll")?);
    let want: Vec<f64> =
        t.iter().zip(aux.iter().zip(&nll)).map(|(&t, (&aux, &nll))| if t == 0 { nll } else { aux }).collect();
    report.numbers("aux_kl", &got.auxiliary, &want, Tolerance::ACTIVATION);
    report.numbers("vb", &bounds(&got, &batch, &schedule), &fixture.f64("vb")?, Tolerance::ACTIVATION);
    report.tensor(&fixture, "loss", &got.loss, Tolerance::ACTIVATION)?;

    let gradients = got.loss.backward()?;
    for name in fixture.under("grad.") {
        let recorded = format!("grad.{name}");
        let Some(weight) = network.weights.get(&network::our_name(&name)) else {
            report.fail(format!("{recorded}: there is no such weight"));
            continue;
        };
        match gradients.get(&weight.var) {
            Some(g) => {
                let g = if weight.transposed { g.t()?.contiguous()? } else { g.clone() };
                report.tensor(&fixture, &recorded, &g, Tolerance::GRADIENT)?;
            }
            None => report.fail(format!("{recorded}: the loss does not depend on it")),
        }
    }
    history(&fixture, &t, &got.kl, &mut report)?;
    Ok(report)
}

/// `kl / pt + w(t) weight aux / pt` of each sample.
pub(super) fn bounds(
    got: &crate::diffusion::DiffusionLoss,
    batch: &LossBatch,
    schedule: &Schedule,
) -> Vec<f64> {
    let terms = got.kl.iter().zip(&got.auxiliary).zip(batch.t.iter().zip(batch.pt));
    terms
        .map(|((kl, aux), (&t, &pt))| {
            let later = t as f64 / schedule.steps() as f64 + 1.0;
            (kl + later * batch.auxiliary_weight * aux) / f64::from(pt)
        })
        .collect()
}

/// `x0` noised to each sample's timestep with the draws `u`.
pub(super) fn noised(
    fixture: &Fixture,
    x0: &[u32],
    t: &[usize],
    schedule: &Schedule,
) -> Result<Vec<u32>, ParityError> {
    let mut u = fixture.class_last("u")?.flatten_all()?.to_vec1::<f32>()?;
    let length = (x0.len() / t.len().max(1)).max(1);
    let rows = u.chunks_mut(schedule.classes()).zip(x0).enumerate();
    Ok(rows
        .map(|(n, (row, &token))| {
            let t = t.get(n / length).copied().unwrap_or(0);
            noised_by_gumbel(token, schedule.cumulative(t), row)
        })
        .collect())
}

/// The prediction, the posterior it gives and the true one, and the terms made of them.
fn posteriors(
    fixture: &Fixture,
    logits: &Tensor,
    schedule: &Schedule,
    report: &mut Report,
) -> Result<(), ParityError> {
    let (x0, xt, t) = (fixture.ids("x0")?, fixture.ids("xt")?, fixture.counts("t")?);
    let predicted = predict_start(logits)?;
    let clean = crate::diffusion::log_transition(&x0, schedule.cumulative(schedule.steps()), schedule);
    let clean: Vec<f32> = clean.into_iter().map(|log| log as f32).collect();
    let clean = Tensor::from_vec(clean, predicted.shape(), &Device::Cpu)?;
    let posterior = |log: &Tensor| q_posterior(log, &xt, &t, schedule, PosteriorKind::Diffsound);
    let (model, truth) = (posterior(&predicted)?, posterior(&clean)?);
    for (name, got) in [
        ("log_x0_recon", &predicted),
        ("log_model_prob", &model),
        ("log_true_prob", &truth),
        ("model_prob", &model.exp()?),
    ] {
        report.pair(name, got, &fixture.class_last(name)?, Tolerance::ACTIVATION)?;
    }
    let (model, truth, classes) = (values(&model)?, values(&truth)?, schedule.classes());
    let length = x0.len() / t.len().max(1);
    let divergence = |q: &[f64], m: &[f64]| q.iter().zip(m).map(|(q, m)| q.exp() * (q - m)).sum::<f64>();
    let rows: Vec<(f64, f64)> = model
        .chunks(classes)
        .zip(truth.chunks(classes))
        .zip(&x0)
        .map(|((m, q), &y)| (divergence(q, m), -m.get(y as usize).copied().unwrap_or(f64::NAN)))
        .collect();
    let sums = |get: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        rows.chunks(length.max(1)).map(|sample| sample.iter().map(get).sum()).collect()
    };
    report.numbers("kl", &sums(|row| row.0), &fixture.f64("kl")?, Tolerance::ACTIVATION);
    report.numbers("nll", &sums(|row| row.1), &fixture.f64("nll")?, Tolerance::ACTIVATION);
    Ok(())
}

/// The running history of the timesteps' bounds, and what it makes likely.
fn history(fixture: &Fixture, t: &[usize], kl: &[f64], report: &mut Report) -> Result<(), ParityError> {
    /// Recorded with every timestep seen so often.
    const SEEN: u32 = 20;
    let before = fixture.f32("Lt_history_before")?;
    let counts = vec![SEEN; before.len()];
    let mut sampler = TimeSampler::from_history(before, counts)?;
    let name = "importance_p";
    report.numbers(name, &sampler.probabilities(), &fixture.f64(name)?, Tolerance::ACTIVATION);
    for (&t, &kl) in t.iter().zip(kl) {
        sampler.record(t, kl);
    }
    let history: Vec<f64> = sampler.history().iter().map(|&h| f64::from(h)).collect();
    report.numbers("Lt_history", &history, &fixture.f64("Lt_history_after")?, Tolerance::ACTIVATION);
    // The recorded count went on from one of its own: what is added to it counts.
    let added: Vec<f64> = sampler.counts().iter().map(|&n| f64::from(n - SEEN)).collect();
    let recorded = fixture.f64("Lt_count_after")?;
    let least = recorded.iter().copied().fold(f64::INFINITY, f64::min);
    let recorded: Vec<f64> = recorded.iter().map(|count| count - least).collect();
    report.numbers("Lt_count", &added, &recorded, Tolerance::Exact);
    Ok(())
}
