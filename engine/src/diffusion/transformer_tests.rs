//! The transformer, its losses and their gradients against the reference's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::testing::{Fixture, Network, close, close_in_norm, flat, our_name};
use super::{LossBatch, PosteriorKind, Schedule, ScheduleConfig, loss, predict_start, shuffle_chunks};
use crate::layers::kernel::Precision;
use candle_core::Tensor;
use std::collections::HashMap;

fn schedule() -> Schedule {
    Schedule::new(16, &ScheduleConfig::default()).unwrap()
}

#[test]
fn logits_agree_with_the_reference() {
    for name in ["dit", "dit_grid5x53"] {
        let fixture = Fixture::load(name);
        let network = Network::load(name);
        let got = network.logits(&fixture.ids("ids"), &fixture.timesteps("t"), &fixture.get("cond"));
        close(name, &flat(&got), &flat(&fixture.class_last("out.logits")), 1e-4);
    }
}

/// What a pack's transformer does: tabulated timesteps, frozen weights, fused products.
#[test]
fn inference_agrees_with_the_reference() {
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 1e-2)] {
        for name in ["dit", "dit_grid5x53"] {
            let fixture = Fixture::load(name);
            let mut network = Network::load(name);
            network.transformer = network.frozen(precision);
            let got = network.logits(&fixture.ids("ids"), &fixture.timesteps("t"), &fixture.get("cond"));
            close_in_norm(name, &flat(&got), &flat(&fixture.class_last("out.logits")), tolerance);
        }
    }
}

#[test]
fn tabulated_timesteps_are_exact() {
    let fixture = Fixture::load("dit");
    let mut network = Network::load("dit");
    network.transformer = network.transformer.tabulated().unwrap();
    let got = network.logits(&fixture.ids("ids"), &fixture.timesteps("t"), &fixture.get("cond"));
    close("logits", &flat(&got), &flat(&fixture.class_last("out.logits")), 1e-4);
}

#[test]
fn predictions_agree_with_the_reference() {
    let fixture = Fixture::load("diffusion_ops");
    let network = Network::load("dit");
    for t in [0, 1, 50, 98, 99] {
        let logits = network.logits(&fixture.ids(&format!("t{t}.xt_ids")), &[t; 3], &fixture.get("cond"));
        let got = predict_start(&logits).unwrap();
        close("log p(x0)", &flat(&got), &flat(&fixture.class_last(&format!("t{t}.predict_start"))), 1e-4);
    }
}

#[test]
fn every_weights_gradient_agrees_with_the_reference() {
    let fixture = Fixture::load("loss");
    let network = Network::load("dit");
    let (x0, xt, t, pt) = (fixture.ids("x0"), fixture.ids("xt"), fixture.timesteps("t"), fixture.f32("pt"));
    let batch = LossBatch {
        x0: &x0,
        xt: &xt,
        t: &t,
        pt: &pt,
        valid: None,
        negatives: &[],
        contrast_weight: 0.0,
        auxiliary_weight: 5e-4,
        kind: PosteriorKind::Diffsound,
    };
    let got = loss(&network.logits(&xt, &t, &fixture.get("cond")), &batch, &schedule()).unwrap();
    close("loss", &flat(&got.loss), &fixture.f64("loss"), 1e-4);
    let gradients = got.loss.backward().unwrap();
    let mut checked = 0;
    for name in fixture.names().filter_map(|name| name.strip_prefix("grad.")) {
        let weight = &network.weights[&our_name(name)];
        let gradient = gradients.get(&weight.var).unwrap();
        let gradient = if weight.transposed { gradient.t().unwrap() } else { gradient.clone() };
        let want = fixture.f64(&format!("grad.{name}"));
        // The key's bias shifts all scores of a query alike: its gradient is rounding.
        if name.ends_with("key.bias") {
            assert!(flat(&gradient).iter().chain(&want).all(|g| g.abs() < 1e-4), "{name}");
        } else {
            close_in_norm(name, &flat(&gradient), &want, 1e-3);
        }
        checked += 1;
    }
    assert_eq!(checked, network.weights.len());
}

/// The network of the contrastive fixture: the base with its adapter merged.
fn adapted() -> Network {
    let adapter = Fixture::load("lora");
    let mut deltas = HashMap::new();
    for name in adapter.names().filter_map(|n| n.strip_prefix("lora.")?.strip_suffix(".A")) {
        let matrix = |part: &str| adapter.get(&format!("lora.{name}.{part}"));
        // alpha / r = 16 / 8.
        let delta = (matrix("B").matmul(&matrix("A")).unwrap() * 2.0).unwrap().t().unwrap();
        deltas.insert(format!("{name}.weight"), delta);
    }
    assert_eq!(deltas.len(), 16);
    Network::with_deltas("dit", &deltas)
}

#[test]
fn contrastive_loss_agrees_with_the_reference() {
    let fixture = Fixture::load("cdcd");
    let (x0, xt, t, pt) = (fixture.ids("x0"), fixture.ids("xt"), fixture.timesteps("t"), fixture.f32("pt"));
    let logits = adapted().logits(&xt, &t, &fixture.get("cond"));
    let negatives: Vec<Vec<u32>> =
        fixture.timesteps("perms").chunks(8).map(|order| shuffle_chunks(&x0, 8, order)).collect();
    let batch = LossBatch {
        x0: &x0,
        xt: &xt,
        t: &t,
        pt: &pt,
        valid: None,
        negatives: &negatives,
        contrast_weight: 5e-5,
        auxiliary_weight: 5e-4,
        kind: PosteriorKind::Diffsound,
    };
    let got = loss(&logits, &batch, &schedule()).unwrap();
    close("loss", &flat(&got.loss), &fixture.f64("loss_soundlocd"), 1e-4);
    // Each sample alone, the contrastive term enlarged so that it can be told from the rest.
    for (kind, name) in
        [(PosteriorKind::Diffsound, "contrast"), (PosteriorKind::Cdcd, "contrast_cdcd_posterior")]
    {
        let want = fixture.f64(name);
        for sample in 0..4 {
            let cut = |tokens: &[u32]| tokens[8 * sample..8 * (sample + 1)].to_vec();
            let logits: Tensor = logits.narrow(0, sample, 1).unwrap();
            let loss_of = |contrast_weight: f64| {
                let batch = LossBatch {
                    x0: &cut(&x0),
                    xt: &cut(&xt),
                    t: &t[sample..=sample],
                    pt: &pt[sample..=sample],
                    negatives: &negatives.iter().map(|n| cut(n)).collect::<Vec<_>>(),
                    contrast_weight,
                    kind,
                    ..batch
                };
                flat(&loss(&logits, &batch, &schedule()).unwrap().loss)[0]
            };
            let contrast = (loss_of(0.0) - loss_of(1.0)) * 8.0 * 5e-5;
            close(name, &[contrast / want[sample]], &[1.0], 1e-3);
        }
    }
}
