#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::diffusion::testing::{close, close_in_norm, flat};
use crate::diffusion::{Noise, Rates, ScheduleConfig, q_sample};
use candle_core::Var;

fn schedule(codebook: usize) -> Schedule {
    Schedule::new(codebook, &ScheduleConfig::default()).unwrap()
}

/// A batch of four samples of eight tokens at several timesteps.
struct Batch {
    logits: Var,
    x0: Vec<u32>,
    xt: Vec<u32>,
    t: Vec<usize>,
    pt: Vec<f32>,
}

impl Batch {
    fn new() -> Self {
        let mut noise = Noise::new(3, 0);
        let mut ids = |classes| (0..32).map(|_| noise.below(classes) as u32).collect::<Vec<_>>();
        let (x0, xt) = (ids(16), ids(17));
        let logits = (0..32 * 16).map(|_| noise.normal()).collect();
        Self {
            logits: Var::from_vec(logits, (4, 8, 16), &Device::Cpu).unwrap(),
            x0,
            xt,
            t: vec![0, 3, 50, 99],
            pt: vec![0.01; 4],
        }
    }

    fn batch(&self) -> LossBatch<'_> {
        LossBatch {
            x0: &self.x0,
            xt: &self.xt,
            t: &self.t,
            pt: &self.pt,
            valid: None,
            negatives: &[],
            contrast_weight: 0.0,
            auxiliary_weight: 5e-4,
            kind: PosteriorKind::Diffsound,
        }
    }
}

/// Loss and kl in f64 by SPEC 5.4 and 5.5 to the letter, over log-probabilities of all classes.
fn literal(logits: &[f64], batch: &LossBatch, schedule: &Schedule) -> f64 {
    let classes = schedule.classes();
    let codebook = schedule.codebook();
    let length = batch.x0.len() / batch.t.len();
    let counted = batch.valid.map_or(batch.x0.len(), |v| v.iter().filter(|v| **v).count());
    let z = 1e-30_f64.ln();
    let add = |a: f64, b: f64| -> f64 {
        let m = a.max(b);
        if m == f64::NEG_INFINITY { m } else { m + ((a - m).exp() + (b - m).exp()).ln() }
    };
    let one_hot =
        |id: u32| -> Vec<f64> { (0..classes).map(|c| if c == id as usize { 0.0 } else { z }).collect() };
    let spread = |log: &[f64], r: Rates| -> Vec<f64> {
        let row = |c: usize| {
            if c == codebook {
                add(log[c] + (1.0_f64 - r.mask).ln(), r.mask.ln())
            } else {
                add(log[c] + r.keep.ln(), r.replace.ln())
            }
        };
        (0..classes).map(row).collect()
    };
    let posterior = |log_x0: &[f64], xt: u32, t: usize| -> Vec<f64> {
        let masked = xt as usize == codebook;
        let log_xt = one_hot(xt);
        let (mut a, mut b) = (spread(&log_xt, schedule.cumulative(t)), spread(&log_xt, schedule.step(t)));
        (a[codebook], b[codebook]) = (z, z);
        if masked {
            a = vec![schedule.cumulative(t).mask.ln(); classes];
            b = vec![schedule.step(t).mask.ln(); classes];
            (a[codebook], b[codebook]) = (0.0, 0.0);
        }
        let mut q: Vec<f64> = (0..classes).map(|c| log_x0[c] - a[c]).collect();
        let rows = if batch.kind == PosteriorKind::Cdcd { codebook } else { classes };
        let s = q[..rows].iter().copied().fold(f64::NEG_INFINITY, add);
        q.iter_mut().for_each(|q| *q -= s);
        if batch.kind == PosteriorKind::Cdcd {
            q[codebook] = z;
        }
        let before = t.checked_sub(1).unwrap_or(schedule.steps());
        let q = spread(&q, schedule.cumulative(before));
        (0..classes).map(|c| (q[c] + b[c] + s).clamp(-70.0, 0.0)).collect()
    };
    let kl = |p: &[f64], q: &[f64]| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
    let mut total = 0.0;
    for row in (0..batch.x0.len()).filter(|&row| batch.valid.is_none_or(|v| v[row])) {
        let (t, pt) = (batch.t[row / length], f64::from(batch.pt[row / length]));
        let logits = &logits[row * codebook..][..codebook];
        let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let norm = highest + logits.iter().map(|l| (l - highest).exp()).sum::<f64>().ln();
        let mut log_r: Vec<f64> = logits.iter().map(|l| (l - norm).clamp(-70.0, 0.0)).collect();
        log_r.push(-70.0);
        let m = posterior(&log_r, batch.xt[row], t);
        let bound = |y: u32| {
            if t == 0 { -m[y as usize] } else { kl(&posterior(&one_hot(y), batch.xt[row], t), &m) }
        };
        let clean = one_hot(batch.x0[row]);
        let auxiliary =
            if t == 0 { -m[batch.x0[row] as usize] } else { kl(&clean[..codebook], &log_r[..codebook]) };
        let later = t as f64 / schedule.steps() as f64 + 1.0;
        let mut value = bound(batch.x0[row]) + later * batch.auxiliary_weight * auxiliary;
        for negative in batch.negatives {
            value -= later * batch.contrast_weight / batch.negatives.len() as f64 * bound(negative[row]);
        }
        total += value / pt;
    }
    total / counted as f64
}

/// A batch over every kind of position: masked, kept, replaced; all timesteps; sharp and flat logits.
fn check_against_literal(kind: PosteriorKind, codebook: usize, contrast_weight: f64) {
    let schedule = schedule(codebook);
    let mut noise = Noise::new(11, codebook as u64);
    let (length, t) = (7, vec![0, 1, 2, 50, 98, 99]);
    let rows = t.len() * length;
    let x0: Vec<u32> = (0..rows).map(|_| noise.below(codebook) as u32).collect();
    let mut xt = Vec::new();
    for (sample, &t) in x0.chunks(length).zip(&t) {
        xt.extend(q_sample(sample, t, &schedule, &mut noise).unwrap());
    }
    for (row, xt) in xt.iter_mut().enumerate() {
        match row % length {
            0 => *xt = x0[row],
            1 => *xt = noise.below(codebook) as u32,
            2 => *xt = schedule.mask_id(),
            _ => {}
        }
    }
    let logits: Vec<f64> =
        (0..rows * codebook).map(|i| f64::from(noise.normal() * (1 + i / codebook % 5) as f32)).collect();
    let pt: Vec<f32> = t.iter().map(|&t| 0.005 + t as f32 * 1e-4).collect();
    let valid: Vec<bool> = (0..rows).map(|row| row % length != 4).collect();
    let negatives: Vec<Vec<u32>> = if contrast_weight > 0.0 {
        (0..3).map(|_| (0..rows).map(|_| noise.below(codebook) as u32).collect()).collect()
    } else {
        Vec::new()
    };
    let batch = LossBatch {
        x0: &x0,
        xt: &xt,
        t: &t,
        pt: &pt,
        valid: Some(&valid),
        negatives: &negatives,
        contrast_weight,
        auxiliary_weight: 5e-2,
        kind,
    };
    let values: Vec<f32> = logits.iter().map(|&l| l as f32).collect();
    let logits: Vec<f64> = values.iter().map(|&l| f64::from(l)).collect();
    let var = Var::from_vec(values, (t.len(), length, codebook), &Device::Cpu).unwrap();
    let got = loss(&var, &batch, &schedule).unwrap();
    let want = literal(&logits, &batch, &schedule);
    close("loss", &flat(&got.loss), &[want], 2e-5);
    let gradient = flat(got.loss.backward().unwrap().get(&var).unwrap());
    // Central differences of the literal loss, in f64.
    let step = 1e-4;
    let differences: Vec<f64> = (0..logits.len())
        .map(|i| {
            let moved = |by: f64| {
                let mut logits = logits.clone();
                logits[i] += by;
                literal(&logits, &batch, &schedule)
            };
            (moved(step) - moved(-step)) / (2.0 * step)
        })
        .collect();
    for (sample, (g, d)) in
        gradient.chunks(length * codebook).zip(differences.chunks(length * codebook)).enumerate()
    {
        close_in_norm(&format!("gradient at t {}", t[sample]), g, d, 2e-4);
    }
}

#[test]
fn value_and_gradient_are_those_of_the_literal_formula() {
    check_against_literal(PosteriorKind::Diffsound, 16, 0.0);
    check_against_literal(PosteriorKind::Cdcd, 16, 0.0);
    check_against_literal(PosteriorKind::Diffsound, 35, 0.3);
    check_against_literal(PosteriorKind::Cdcd, 35, 0.3);
}

#[test]
fn an_outer_factor_scales_the_gradient_and_evaluation_agrees() {
    let four = Batch::new();
    let gradient = |factor: f64| {
        let got = loss(&four.logits, &four.batch(), &schedule(16)).unwrap();
        flat((got.loss * factor).unwrap().backward().unwrap().get(&four.logits).unwrap())
    };
    let (one, three) = (gradient(1.0), gradient(3.0));
    close("scaled", &three, &one.iter().map(|g| 3.0 * g).collect::<Vec<_>>(), 1e-6);
    let detached = loss(&four.logits.detach(), &four.batch(), &schedule(16)).unwrap();
    let tracked = loss(&four.logits, &four.batch(), &schedule(16)).unwrap();
    assert_eq!(flat(&detached.loss), flat(&tracked.loss));
}

#[test]
fn refuses_disagreeing_inputs_and_shows_a_broken_network() {
    let four = Batch::new();
    let s = schedule(16);
    let good = four.batch();
    let bad_ids = vec![16; 32];
    let bad = [
        LossBatch { x0: &four.x0[1..], ..good },
        LossBatch { x0: &bad_ids, ..good },
        LossBatch { t: &[0, 1, 2, 100], ..good },
        LossBatch { pt: &[0.0; 4], ..good },
        LossBatch { pt: &[f32::NAN; 4], ..good },
        LossBatch { valid: Some(&[false; 32]), ..good },
    ];
    for batch in bad {
        assert!(loss(&four.logits, &batch, &s).is_err());
    }
    let nan = (four.logits.as_tensor() * f64::NAN).unwrap();
    for t in [0, 1, 99] {
        let got = loss(&nan, &LossBatch { t: &[t; 4], ..good }, &s).unwrap();
        assert!(got.loss.to_scalar::<f32>().unwrap().is_nan(), "timestep {t}");
    }
}
