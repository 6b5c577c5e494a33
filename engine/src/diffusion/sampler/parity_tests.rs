//! The reference's sampling runs, token for token, with its recorded noise.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::diffusion::testing::{Fixture, Network};
use crate::diffusion::transformer::Transformer;
use crate::diffusion::{PosteriorKind, ScheduleConfig, Truncation};
use crate::layers::kernel::Precision;

/// The reference's uniform draws `[calls, batch, classes, length]`.
#[derive(Debug)]
struct Recorded {
    u: Vec<f32>,
    dims: [usize; 4],
    /// Our number of the first recorded call: 0 if the start was drawn, else 1.
    first: usize,
}

impl NoiseSource for Recorded {
    fn classes(&self, call: usize, sample: usize, position: usize, out: &mut [f32]) {
        let [_, batch, classes, length] = self.dims;
        let start = ((call - self.first) * batch + sample) * classes;
        for (class, value) in out.iter_mut().enumerate() {
            *value = self.u[(start + class) * length + position];
        }
    }

    fn order(&self, _: usize, _: usize, _: usize) -> f32 {
        0.5
    }
}

fn check(name: &str, skip: usize, strength: f32) {
    let network = Network::load("dit");
    check_with(&network.transformer, name, skip, strength);
    // The recorded draws leave enough room for bfloat16 too; the machine takes it where it has a unit for it.
    check_with(&network.frozen(Precision::Bf16), name, skip, strength);
}

fn check_with(transformer: &Transformer, name: &str, skip: usize, strength: f32) {
    let fixture = Fixture::load(name);
    let condition = transformer.condition(&fixture.get("cond"), None).unwrap();
    let denoiser = transformer.bind(&condition);
    let schedule = Schedule::new(16, &ScheduleConfig::default()).unwrap();
    let dims = fixture.get("u").dims().to_vec();
    let noise = Recorded {
        u: fixture.f32("u"),
        dims: dims.clone().try_into().unwrap(),
        first: usize::from(strength == 1.0),
    };
    let config = SamplerConfig {
        method: Method::Diffsound { skip },
        truncation: Truncation::Rate(0.85),
        posterior: PosteriorKind::Diffsound,
        ..SamplerConfig::default()
    };
    let (batch, length) = (dims[1], dims[3]);
    let canvas = if strength == 1.0 {
        Canvas::blank(batch, length)
    } else {
        Canvas::vary(fixture.ids("x0"), length, strength)
    };
    let mut sampler = Sampler::with_noise(&schedule, config, canvas, Box::new(noise)).unwrap();
    let recorded = fixture.ids("z_ids");
    let mut states = recorded.chunks(batch * length);
    if strength < 1.0 {
        assert_eq!(sampler.tokens(), states.next().unwrap(), "{name}: start");
    }
    assert_eq!(sampler.steps(), states.len(), "{name}: steps");
    for (step, want) in states.enumerate() {
        sampler.step(&denoiser).unwrap();
        assert_eq!(sampler.tokens(), want, "{name}: step {step}");
    }
    assert_eq!(sampler.tokens(), fixture.ids("tokens"), "{name}: tokens");
}

#[test]
fn full_sampling_agrees() {
    check("sample_full", 0, 1.0);
}

#[test]
fn fast_sampling_agrees() {
    check("sample_fast", 3, 1.0);
}

#[test]
fn variation_agrees() {
    check("sample_var", 0, 0.5);
}
