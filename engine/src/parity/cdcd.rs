//! The contrastive loss (SPEC 7.2) and training an adapter with it.

use super::{
    Fixture, Fixtures, Network, ParityError, Report, Tolerance, lora, loss as training, network, schedule,
};
use crate::diffusion::transformer::Transformer;
use crate::diffusion::{LossBatch, PosteriorKind, Schedule, ScheduleConfig, loss, shuffle_chunks};
use crate::lora::Adapter;
use crate::train::{AdamW, AdamWConfig};
use candle_core::{Tensor, Var};
use candle_nn::VarMap;

/// The inputs of all recorded losses.
#[derive(Clone)]
struct Inputs {
    x0: Vec<u32>,
    xt: Vec<u32>,
    t: Vec<usize>,
    pt: Vec<f32>,
    cond: Tensor,
    length: usize,
    /// Weight of the contrastive term.
    lambda: f64,
    /// Weight of the auxiliary term.
    auxiliary: f64,
}

impl Inputs {
    fn load(fixture: &Fixture) -> Result<Self, ParityError> {
        let (x0, t) = (fixture.ids("x0")?, fixture.counts("t")?);
        let length = x0.len() / t.len().max(1);
        Ok(Self {
            length,
            xt: fixture.ids("xt")?,
            pt: fixture.f32("pt")?,
            cond: fixture.get("cond")?,
            lambda: fixture.number("lambda_")?,
            auxiliary: fixture.number("aux_weight")?,
            x0,
            t,
        })
    }

    fn batch<'a>(&'a self, negatives: &'a [Vec<u32>], kind: PosteriorKind) -> LossBatch<'a> {
        LossBatch {
            x0: &self.x0,
            xt: &self.xt,
            t: &self.t,
            pt: &self.pt,
            valid: None,
            negatives,
            contrast_weight: self.lambda,
            auxiliary_weight: self.auxiliary,
            kind,
        }
    }

    /// `x0` with its chunks in each of the recorded orders `name` `[N, chunks]`.
    fn negatives(&self, fixture: &Fixture, name: &str) -> Result<Vec<Vec<u32>>, ParityError> {
        let chunks = fixture.get(name)?.dim(1)?;
        let orders = fixture.counts(name)?;
        Ok(orders.chunks(chunks).map(|order| shuffle_chunks(&self.x0, self.length, order)).collect())
    }

    /// `t / T + 1` of each sample.
    fn later(&self, schedule: &Schedule) -> Vec<f64> {
        self.t.iter().map(|&t| t as f64 / schedule.steps() as f64 + 1.0).collect()
    }
}

/// `cdcd`: negatives, their divergences, the loss of both codes, gradients, three steps of AdamW.
pub(super) fn stage(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("cdcd")?;
    let mut report = Report::default();
    let base = Network::main(fixtures)?.transformer;
    let config = base.config();
    let steps = ScheduleConfig { steps: config.timesteps, ..ScheduleConfig::default() };
    let diffsound = Schedule::new(config.codebook, &steps)?;
    let own =
        Schedule::new(config.codebook, &ScheduleConfig { steps: steps.steps, ..ScheduleConfig::cdcd() })?;
    schedule::buffers(&fixture, "cdcd_own.", &own, &mut report)?;
    shuffles(&fixture, &mut report)?;

    let inputs = Inputs::load(&fixture)?;
    report.ids("xt", &training::noised(&fixture, &inputs.x0, &inputs.t, &diffsound)?, &inputs.xt);
    let variables = variables(fixtures)?;
    let adapter = trained(&variables, fixtures, &base)?;
    let adapted = base.clone().adapted(&[(&adapter, 1.0)])?;
    values(&fixture, &inputs, &adapted, &diffsound, &mut report)?;
    reference_values(&fixture, &inputs, &adapted, (&diffsound, &own), &mut report)?;
    steps_of_training(&fixture, &inputs, (&base, &adapter, &variables), &diffsound, &mut report)?;
    Ok(report)
}

/// `shuffle<length>_order` applied to `0..length`.
fn shuffles(fixture: &Fixture, report: &mut Report) -> Result<(), ParityError> {
    for name in fixture.under("shuffle") {
        let Some(length) = name.strip_suffix("_result").and_then(|length| length.parse::<u32>().ok()) else {
            continue;
        };
        let order = fixture.counts(&format!("shuffle{length}_order"))?;
        let tokens: Vec<u32> = (0..length).collect();
        let name = format!("shuffle{length}_result");
        report.ids(&name, &shuffle_chunks(&tokens, length as usize, &order), &fixture.ids(&name)?);
    }
    Ok(())
}

/// The adapter's matrices as variables, by the names of `lora.safetensors`.
fn variables(fixtures: &Fixtures) -> Result<VarMap, ParityError> {
    let map = VarMap::new();
    {
        let mut data =
            map.data().lock().map_err(|_| candle_core::Error::Msg("the variables are poisoned".into()))?;
        for (name, tensor) in fixtures.open("lora")?.part("lora.") {
            data.insert(name, Var::from_tensor(&tensor)?);
        }
    }
    Ok(map)
}

/// The adapter of these variables: gradients reach them.
fn trained(variables: &VarMap, fixtures: &Fixtures, base: &Transformer) -> Result<Adapter, ParityError> {
    let data =
        variables.data().lock().map_err(|_| candle_core::Error::Msg("the variables are poisoned".into()))?;
    lora::adapter(&fixtures.open("lora")?, base.config(), |name| {
        Ok(data.get(name).map(|var| var.as_tensor().clone()))
    })
}

/// The divergence of every negative, the contrastive term and the bound of each sample.
fn values(
    fixture: &Fixture,
    inputs: &Inputs,
    adapted: &Transformer,
    schedule: &Schedule,
    report: &mut Report,
) -> Result<(), ParityError> {
    let logits = network::logits(adapted, &inputs.xt, &inputs.t, &inputs.cond)?.detach();
    let negatives = inputs.negatives(fixture, "perms")?;
    for (kind, suffix) in [(PosteriorKind::Diffsound, ""), (PosteriorKind::Cdcd, "_cdcd_posterior")] {
        let divergences = divergences(&logits, inputs, &negatives, kind, schedule)?;
        let name = format!("neg_kl{suffix}");
        report.numbers(&name, &divergences.concat(), &fixture.f64(&name)?, Tolerance::ACTIVATION);
        let name = format!("contrast{suffix}");
        let contrast = contrast(&divergences, inputs, schedule);
        report.numbers(&name, &contrast, &fixture.f64(&name)?, Tolerance::ACTIVATION);
    }
    let batch = inputs.batch(&[], PosteriorKind::Diffsound);
    let positive = training::bounds(&loss(&logits, &batch, schedule)?, &batch, schedule);
    report.numbers("vb_positive", &positive, &fixture.f64("vb_positive")?, Tolerance::ACTIVATION);
    Ok(())
}

/// The bound of each sample for each negative: `[N][batch]`.
fn divergences(
    logits: &Tensor,
    inputs: &Inputs,
    negatives: &[Vec<u32>],
    kind: PosteriorKind,
    schedule: &Schedule,
) -> Result<Vec<Vec<f64>>, ParityError> {
    let of = |negative: &Vec<u32>| -> Result<Vec<f64>, ParityError> {
        // The bound does not care which of the tokens are the true ones.
        let batch = LossBatch { x0: negative, ..inputs.batch(&[], kind) };
        Ok(loss(logits, &batch, schedule)?.kl)
    };
    negatives.iter().map(of).collect()
}

/// What is subtracted from each sample's bound: the mean over negatives of `w(t) lambda divergence / pt`.
fn contrast(divergences: &[Vec<f64>], inputs: &Inputs, schedule: &Schedule) -> Vec<f64> {
    let samples = inputs.later(schedule).into_iter().zip(&inputs.pt).enumerate();
    samples
        .map(|(sample, (later, &pt))| {
            let sum: f64 = divergences.iter().filter_map(|all| all.get(sample)).sum();
            later * inputs.lambda * sum / divergences.len() as f64 / f64::from(pt)
        })
        .collect()
}

/// What CDCD's own class returned, with its posterior and its weight `2 - t/T` of the auxiliary term, under the
/// schedules of both codes.
fn reference_values(
    fixture: &Fixture,
    inputs: &Inputs,
    adapted: &Transformer,
    (diffsound, own): (&Schedule, &Schedule),
    report: &mut Report,
) -> Result<(), ParityError> {
    let kind = PosteriorKind::Cdcd;
    for (name, schedule, perms) in
        [("diffsound_schedule", diffsound, "perms"), ("own_schedule", own, "perms_own")]
    {
        // The same draws noise differently under another schedule.
        let xt = training::noised(fixture, &inputs.x0, &inputs.t, schedule)?;
        let inputs = Inputs { xt, ..inputs.clone() };
        let logits = network::logits(adapted, &inputs.xt, &inputs.t, &inputs.cond)?.detach();
        let negatives = inputs.negatives(fixture, perms)?;
        let got = loss(&logits, &inputs.batch(&[], kind), schedule)?;
        let terms = got.kl.iter().zip(&got.auxiliary).zip(inputs.t.iter().zip(&inputs.pt));
        let positive: Vec<f64> = terms
            .map(|((kl, aux), (&t, &pt))| {
                let earlier = 2.0 - t as f64 / schedule.steps() as f64;
                (kl + earlier * inputs.auxiliary * aux) / f64::from(pt)
            })
            .collect();
        let contrast =
            contrast(&divergences(&logits, &inputs, &negatives, kind, schedule)?, &inputs, schedule);
        let with = |lambda: f64| -> Vec<f64> {
            positive.iter().zip(&contrast).map(|(p, c)| p - c / inputs.lambda * lambda).collect()
        };
        let mut check = |suffix: &str, got: &[f64]| -> Result<(), ParityError> {
            let name = format!("ref_cdcd_{suffix}");
            if fixture.has(&name) {
                report.numbers(&name, got, &fixture.f64(&name)?, Tolerance::ACTIVATION);
            }
            Ok(())
        };
        check(&format!("vb_{name}"), &with(inputs.lambda))?;
        check(&format!("vb_{name}_lambda0"), &with(0.0))?;
        check(&format!("vb_{name}_lambda1"), &with(1.0))?;
        let mean = with(inputs.lambda).iter().sum::<f64>() / inputs.x0.len() as f64;
        check(&format!("loss_{name}"), &[mean])?;
        if name == "diffsound_schedule" {
            let name = "vb_positive_cdcd_posterior_cdcd_auxw";
            report.numbers(name, &positive, &fixture.f64(name)?, Tolerance::ACTIVATION);
        }
    }
    Ok(())
}

/// The whole loss, its gradients, and the matrices after three steps on the same batch.
fn steps_of_training(
    fixture: &Fixture,
    inputs: &Inputs,
    (base, adapter, variables): (&Transformer, &Adapter, &VarMap),
    schedule: &Schedule,
    report: &mut Report,
) -> Result<(), ParityError> {
    // Of README, "cdcd": SPEC 6's AdamW at a learning rate of 1e-3.
    const RATE: f64 = 1e-3;
    let config = AdamWConfig {
        beta1: 0.9,
        beta2: 0.96,
        eps: 1e-8,
        weight_decay: 0.045,
        decay_vectors: true,
        clip: 0.5,
        ema: 0.0,
    };
    let negatives = inputs.negatives(fixture, "perms")?;
    let mut optimizer = AdamW::new(variables, config)?;
    let evaluate = || -> Result<Tensor, ParityError> {
        // Anew for each step: an adapted transformer keeps the matrices as they were.
        let adapted = base.clone().adapted(&[(adapter, 1.0)])?;
        let logits = network::logits(&adapted, &inputs.xt, &inputs.t, &inputs.cond)?;
        Ok(loss(&logits, &inputs.batch(&negatives, PosteriorKind::Diffsound), schedule)?.loss)
    };
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    let steps = fixture.f64("train.grad_norms")?.len();
    for step in 0..steps {
        let value = evaluate()?;
        losses.push(f64::from(value.to_scalar::<f32>()?));
        let gradients = value.backward()?;
        if step == 0 {
            report.tensor(fixture, "loss_soundlocd", &value, Tolerance::ACTIVATION)?;
            compare(fixture, "grad.lora.", variables, report, |var| gradients.get(var).cloned())?;
        }
        norms.push(optimizer.step(&gradients, RATE)?.grad_norm);
    }
    losses.push(f64::from(evaluate()?.to_scalar::<f32>()?));
    report.numbers("train.losses", &losses, &fixture.f64("train.losses")?, Tolerance::ACTIVATION);
    report.numbers("train.grad_norms", &norms, &fixture.f64("train.grad_norms")?, Tolerance::GRADIENT);
    compare(fixture, &format!("after{steps}.lora."), variables, report, |var| Some(var.as_detached_tensor()))
}

/// Compares something of every variable with what was recorded under `prefix`.
fn compare(
    fixture: &Fixture,
    prefix: &str,
    variables: &VarMap,
    report: &mut Report,
    get: impl Fn(&Var) -> Option<Tensor>,
) -> Result<(), ParityError> {
    let data =
        variables.data().lock().map_err(|_| candle_core::Error::Msg("the variables are poisoned".into()))?;
    let tolerance = if prefix.starts_with("grad") { Tolerance::GRADIENT } else { Tolerance::ACTIVATION };
    for name in fixture.under(prefix) {
        let recorded = format!("{prefix}{name}");
        match data.get(&name).and_then(&get) {
            Some(got) => report.tensor(fixture, &recorded, &got, tolerance)?,
            None => report.fail(format!("{recorded}: the loss does not depend on it")),
        }
    }
    Ok(())
}
