#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::needless_range_loop)]

use super::*;
use crate::diffusion::ScheduleConfig;
use crate::diffusion::testing::{close, flat};

#[test]
fn a_jump_of_one_timestep_is_the_step() {
    let schedule = Schedule::new(16, &ScheduleConfig::default()).unwrap();
    let r: Vec<f32> = (1..=16).map(|c| c as f32 / 136.0).collect();
    for t in [0, 1, 50, 99] {
        for kind in [PosteriorKind::Diffsound, PosteriorKind::Cdcd] {
            let step = Terms::new(&schedule, t, kind);
            let jump = Terms::between(&schedule, t, t.checked_sub(1), kind);
            for xt in [0, 15, 16] {
                let (mut a, mut b) = ([0.0; 17], [0.0; 17]);
                step.posterior(xt, &r, 1e-31, &mut a);
                jump.posterior(xt, &r, 1e-31, &mut b);
                let (a, b): (Vec<f64>, Vec<f64>) = (a.map(f64::from).into(), b.map(f64::from).into());
                close("posterior", &a, &b, 1e-6);
            }
        }
    }
}

/// Bayes' rule over the two kernels, summed over the clean token, for a jump over several timesteps.
#[test]
fn a_jump_is_the_exact_posterior_of_the_kernels() {
    let codebook = 32;
    let schedule = Schedule::new(codebook, &ScheduleConfig::default()).unwrap();
    let r: Vec<f32> = (1..=32).map(|c| c as f32 / 528.0).collect();
    let kernel = |rates: Rates, from: usize, to: usize| match (from == codebook, to == codebook) {
        (true, true) => 1.0,
        (true, false) => 0.0,
        (false, true) => rates.mask,
        (false, false) => rates.replace + if from == to { rates.keep } else { 0.0 },
    };
    let (t, earlier) = (80, 30);
    let (late, early) = (schedule.cumulative(t), schedule.cumulative(earlier));
    // The kernel between them, composed step by step.
    let mut between = vec![vec![0.0; codebook + 1]; codebook + 1];
    for (from, row) in between.iter_mut().enumerate() {
        let mut p = vec![0.0; codebook + 1];
        p[from] = 1.0;
        for s in earlier + 1..=t {
            p = (0..=codebook)
                .map(|to| (0..=codebook).map(|via| p[via] * kernel(schedule.step(s), via, to)).sum())
                .collect();
        }
        row.copy_from_slice(&p);
    }
    let terms = Terms::between(&schedule, t, Some(earlier), PosteriorKind::Cdcd);
    for xt in 0..=codebook {
        let want: Vec<f64> = (0..codebook)
            .map(|c| {
                let p: f64 = (0..codebook)
                    .map(|y| {
                        let joint = kernel(early, y, c) * between[c][xt];
                        f64::from(r[y]) * joint / kernel(late, y, xt)
                    })
                    .sum();
                p.ln()
            })
            .collect();
        let mut got = [0.0; 33];
        terms.posterior(xt as u32, &r, 0.0, &mut got);
        let got: Vec<f64> = got.iter().take(codebook).map(|&p| f64::from(p).ln()).collect();
        // The kernels leak (see Schedule), so the closed form is theirs only nearly.
        close("log posterior", &got, &want, 0.02);
    }
}

#[test]
fn predicted_start_is_a_floored_log_softmax() {
    let logits = Tensor::from_vec(vec![0.0_f32, 200.0, 0.0], (1, 1, 3), &Device::Cpu).unwrap();
    let got = flat(&predict_start(&logits).unwrap());
    close("log p", &got, &[-70.0, 0.0, -70.0, -70.0], 0.0);
}

#[test]
fn refuses_what_disagrees() {
    let schedule = Schedule::new(16, &ScheduleConfig::default()).unwrap();
    let log = Tensor::zeros((1, 2, 17), candle_core::DType::F32, &Device::Cpu).unwrap();
    let posterior = |xt: &[u32], t: &[usize]| q_posterior(&log, xt, t, &schedule, PosteriorKind::Cdcd);
    assert!(posterior(&[0, 16], &[0]).is_ok());
    assert!(posterior(&[0, 17], &[0]).is_err());
    assert!(posterior(&[0], &[0]).is_err());
    assert!(posterior(&[0, 1], &[100]).is_err());
}
