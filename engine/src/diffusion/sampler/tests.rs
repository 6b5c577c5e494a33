#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::diffusion::{Noise, ScheduleConfig, Truncation};

fn schedule(codebook: usize) -> Schedule {
    Schedule::new(codebook, &ScheduleConfig::default()).unwrap()
}

/// A network made of a function from (sample, position, noisy id, timestep) to logits.
struct Toy<F>(usize, F);

impl<F: Fn(usize, usize, u32, usize) -> Vec<f32>> Denoiser for Toy<F> {
    fn logits(&self, ids: &Tensor, t: &[usize]) -> candle_core::Result<Tensor> {
        let (batch, length) = ids.dims2()?;
        let ids = ids.to_vec2::<u32>()?;
        let mut out = Vec::new();
        for (sample, row) in ids.iter().enumerate() {
            for (position, &id) in row.iter().enumerate() {
                out.extend((self.1)(sample, position, id, t[sample]));
            }
        }
        Tensor::from_vec(out, (batch, length, self.0), &Device::Cpu)
    }
}

/// Sure of one token a position.
fn sure(position: usize) -> u32 {
    (position * 7 % 11) as u32
}

fn one_hot(token: u32, codebook: usize) -> Vec<f32> {
    (0..codebook as u32).map(|c| if c == token { 12.0 } else { 0.0 }).collect()
}

/// Pseudo-random logits that depend on everything.
fn arbitrary(codebook: usize) -> Toy<impl Fn(usize, usize, u32, usize) -> Vec<f32>> {
    Toy(codebook, move |_, position, id, t| {
        let noise = Noise::new(u64::from(id) * 1000 + t as u64, position as u64);
        (0..codebook as u64).map(|c| 4.0 * noise.uniform_at(c)).collect()
    })
}

fn methods() -> Vec<Method> {
    let mut methods = vec![Method::Diffsound { skip: 0 }, Method::Diffsound { skip: 3 }];
    for steps in [1, 4, 7, 16, 100] {
        methods.push(Method::Ancestral { steps });
        methods.push(Method::Purity { steps, order_temperature: 4.5 });
        methods.push(Method::Purity { steps, order_temperature: 0.0 });
    }
    methods
}

fn run(config: SamplerConfig, canvas: Canvas, variations: &[u64], network: &dyn Denoiser) -> Vec<u32> {
    let mut sampler = Sampler::new(&schedule(11), config, canvas, 42, variations).unwrap();
    let mut steps = 0;
    while !sampler.is_done() {
        let info = sampler.step(network).unwrap();
        steps += 1;
        assert_eq!((info.step, info.steps), (steps, sampler.steps()));
        assert_eq!(info.masked, sampler.tokens().iter().filter(|&&id| id == 11).count());
        assert!(sampler.predicted().iter().all(|&id| id < 11));
    }
    assert!(sampler.tokens().iter().all(|&id| id < 11), "{config:?}");
    sampler.tokens().to_vec()
}

#[test]
fn every_method_finds_what_the_network_is_sure_of_at_every_width() {
    let network = Toy(11, |_, position, _, _| one_hot(sure(position), 11));
    for method in methods() {
        for columns in [1, 2, 53] {
            let length = 5 * columns;
            let config = SamplerConfig { method, ..SamplerConfig::default() };
            let got = run(config, Canvas::blank(2, length), &[0, 1], &network);
            let want: Vec<u32> = (0..2 * length).map(|cell| sure(cell % length)).collect();
            assert_eq!(got, want, "{method:?}");
        }
    }
}

#[test]
fn the_result_depends_on_seed_and_variation_alone() {
    let network = arbitrary(11);
    for method in methods() {
        let config = SamplerConfig { method, ..SamplerConfig::default() };
        let in_threads = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(config, Canvas::blank(2, 40), &[3, 4], &network))
        };
        let (one, four) = (in_threads(1), in_threads(4));
        assert_eq!(one, four, "{method:?}");
        assert_eq!(run(config, Canvas::blank(1, 40), &[4], &network), one[40..], "{method:?}");
        assert_ne!(one[..40], one[40..]);
    }
}

#[test]
fn fixed_cells_stay_and_the_network_sees_them() {
    let given: Vec<u32> = (0..40).map(|l| l % 11).collect();
    let fixed: Vec<bool> = (0..40).map(|l| l % 3 == 0).collect();
    let (expected, kept) = (given.clone(), fixed.clone());
    let network = Toy(11, move |_, position: usize, id, _| {
        assert!(!kept[position] || id == expected[position]);
        one_hot(sure(position), 11)
    });
    for method in methods() {
        let config = SamplerConfig { method, ..SamplerConfig::default() };
        let canvas = Canvas::vary(given.clone(), 40, 1.0).with_fixed(fixed.clone());
        let got = run(config, canvas, &[0], &network);
        for (l, &id) in got.iter().enumerate() {
            assert_eq!(id, if fixed[l] { given[l] } else { sure(l) }, "{method:?}");
        }
        // Everything fixed: nothing to do, but it must end.
        let canvas = Canvas::vary(given.clone(), 40, 1.0).with_fixed(vec![true; 40]);
        let everything = Toy(11, |_, position, _, _| one_hot(sure(position), 11));
        assert_eq!(run(config, canvas, &[0], &everything), given);
    }
}

#[test]
fn a_weak_variation_changes_little() {
    let given: Vec<u32> = (0..265).map(|l| l % 11).collect();
    // Believes the tokens that it sees, and draws the masked ones at random.
    let network = Toy(11, |_, _, id, _| if id < 11 { one_hot(id, 11) } else { vec![0.0; 11] });
    for method in methods() {
        let config = SamplerConfig { method, ..SamplerConfig::default() };
        let changed = |strength: f32| {
            let got = run(config, Canvas::vary(given.clone(), 265, strength), &[0], &network);
            got.iter().zip(&given).filter(|(a, b)| a != b).count()
        };
        let (weak, strong) = (changed(0.05), changed(1.0));
        assert!(strong > 200, "{method:?}: {strong}");
        // A twentieth is 14 cells; where each is noised by chance, rarely twice that.
        assert!(weak <= if matches!(method, Method::Purity { .. }) { 14 } else { 28 }, "{method:?}: {weak}");
    }
}

#[test]
fn a_weak_variation_of_a_part_leaves_the_rest() {
    let given: Vec<u32> = (0..265).map(|l| l % 11).collect();
    let fixed: Vec<bool> = (0..265).map(|l| l < 100 || l % 2 == 0).collect();
    let network = Toy(11, |_, _, id, _| if id < 11 { one_hot(id, 11) } else { vec![0.0; 11] });
    for method in methods() {
        let config = SamplerConfig { method, ..SamplerConfig::default() };
        let changed = |strength: f32| {
            let canvas = Canvas::vary(given.clone(), 265, strength).with_fixed(fixed.clone());
            let got = run(config, canvas, &[0], &network);
            assert!((0..265).all(|l| !fixed[l] || got[l] == given[l]), "{method:?}");
            got.iter().zip(&given).filter(|(a, b)| a != b).count()
        };
        // Of 82 free cells a quarter is 21; where each is noised by chance, rarely half.
        let (weak, strong) = (changed(0.25), changed(1.0));
        assert!((1..=41).contains(&weak) && strong > 60, "{method:?}: {weak}, {strong}");
    }
}

#[test]
fn guidance_moves_away_from_the_empty_prompt() {
    // For the prompt token 1 leads by 1, without it token 2 by 1.
    let network =
        Toy(3, |sample, _, _, _| if sample == 0 { vec![0.0, 2.0, 1.0] } else { vec![0.0, 1.0, 2.0] });
    let logits = |guidance: f32| {
        let config = SamplerConfig { guidance, ..SamplerConfig::default() };
        let sampler = Sampler::new(&schedule(3), config, Canvas::blank(1, 5), 0, &[0]).unwrap();
        let mut out = Vec::new();
        sampler.predict(&network, &[50]).unwrap().probabilities(2, 1.0, &mut out).unwrap();
        out
    };
    for (guidance, want) in [(1.0, [0.0, 2.0, 1.0]), (3.0, [0.0, 4.0, -1.0]), (0.0, [0.0, 1.0, 2.0])] {
        let total: f32 = want.iter().map(|x: &f32| x.exp()).sum();
        for (got, want) in logits(guidance).iter().zip(want) {
            assert!((got - want.exp() / total).abs() < 1e-6, "guidance {guidance}");
        }
    }
}

/// With the network replaced by Bayes' rule for independent cells, the samples must follow the
/// cells' distribution whatever the number of steps.
#[test]
fn samples_follow_the_distribution_that_the_network_knows() {
    let codebook = 5;
    let truth = [0.4, 0.3, 0.15, 0.1, 0.05];
    let s = schedule(codebook);
    let network = Toy(codebook, |_, _, id, t| {
        let rates = schedule(codebook).cumulative(t);
        let likelihood = |y: usize| match id as usize {
            x if x == codebook => rates.mask,
            x => rates.replace + if x == y { rates.keep } else { 0.0 },
        };
        (0..codebook).map(|y| (truth[y] * likelihood(y)).ln() as f32).collect()
    });
    let cells = 4000;
    for method in [
        Method::Purity { steps: 1, order_temperature: 0.0 },
        Method::Purity { steps: 6, order_temperature: 1000.0 },
        Method::Ancestral { steps: 1 },
        Method::Ancestral { steps: 3 },
        Method::Ancestral { steps: 20 },
        Method::Diffsound { skip: 0 },
    ] {
        let config = SamplerConfig { method, truncation: Truncation::None, ..SamplerConfig::default() };
        let mut sampler = Sampler::new(&s, config, Canvas::blank(1, cells), 9, &[0]).unwrap();
        while !sampler.is_done() {
            sampler.step(&network).unwrap();
        }
        for (token, &p) in truth.iter().enumerate() {
            let share =
                sampler.tokens().iter().filter(|&&id| id == token as u32).count() as f64 / cells as f64;
            let deviation: f64 = (p * (1.0 - p) / cells as f64).sqrt();
            // The small codebook's leak (see Schedule) adds to chance.
            assert!((share - p).abs() < 4.5 * deviation + 0.01, "{method:?}: token {token} {share} {p}");
        }
    }
}

#[test]
fn purity_decides_the_surest_first() {
    // Sureness falls with the position.
    let network = Toy(11, |_, position: usize, _, _| {
        (0..11).map(|c| if c == sure(position) { 8.0 - 0.15 * position as f32 } else { 0.0 }).collect()
    });
    let config = SamplerConfig {
        method: Method::Purity { steps: 8, order_temperature: 0.0 },
        truncation: Truncation::Count(1),
        ..SamplerConfig::default()
    };
    let mut sampler = Sampler::new(&schedule(11), config, Canvas::blank(1, 40), 1, &[0]).unwrap();
    let mut before = 40;
    while !sampler.is_done() {
        let masked = sampler.step(&network).unwrap().masked;
        assert!(masked < before);
        before = masked;
        let first_masked = sampler.tokens().iter().position(|&id| id == 11).unwrap_or(40);
        assert_eq!(first_masked, 40 - masked);
    }
    assert_eq!(before, 0);
}

#[test]
fn a_broken_network_is_an_error_and_changes_nothing() {
    for method in methods() {
        let config = SamplerConfig { method, ..SamplerConfig::default() };
        let mut sampler = Sampler::new(&schedule(11), config, Canvas::blank(1, 10), 1, &[0]).unwrap();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let network = Toy(11, move |_, position, _, _| vec![if position == 7 { value } else { 0.0 }; 11]);
            let error = sampler.step(&network).unwrap_err();
            assert!(matches!(error, DiffusionError::NotANumber { position: 7 }), "{error}");
        }
        assert!(sampler.step(&arbitrary(12)).is_err());
        assert_eq!(sampler.tokens(), vec![11; 10]);
    }
}

#[test]
fn refuses_settings_out_of_range() {
    let s = schedule(11);
    let new = |config, canvas, variations: &[u64]| Sampler::new(&s, config, canvas, 0, variations);
    let good = SamplerConfig::default();
    assert!(new(good, Canvas::blank(1, 5), &[0]).is_ok());
    for config in [
        SamplerConfig { guidance: f32::NAN, ..good },
        SamplerConfig { temperature: 0.0, ..good },
        SamplerConfig { truncation: Truncation::Rate(0.0), ..good },
        SamplerConfig { truncation: Truncation::Rate(f32::NAN), ..good },
        SamplerConfig { truncation: Truncation::Count(0), ..good },
        SamplerConfig { method: Method::Ancestral { steps: 0 }, ..good },
        SamplerConfig { method: Method::Purity { steps: 0, order_temperature: 0.0 }, ..good },
        SamplerConfig { method: Method::Purity { steps: 4, order_temperature: f32::NAN }, ..good },
    ] {
        assert!(new(config, Canvas::blank(1, 5), &[0]).is_err(), "{config:?}");
    }
    for canvas in [
        Canvas::blank(0, 5),
        Canvas::blank(1, 0),
        Canvas::blank(1, 5).with_fixed(vec![true; 5]),
        Canvas::blank(1, 5).with_fixed(Vec::new()),
        Canvas::vary(vec![11; 5], 5, 1.0),
        Canvas::vary(vec![0; 5], 5, 0.0),
        Canvas::vary(vec![0; 5], 5, f32::NAN),
        Canvas::vary(vec![0; 7], 5, 0.5),
    ] {
        assert!(new(good, canvas.clone(), &vec![0; canvas.batch().max(1)]).is_err(), "{canvas:?}");
    }
    assert!(new(good, Canvas::blank(2, 5), &[0]).is_err());
    let most = Method::Diffsound { skip: usize::MAX };
    assert!(new(SamplerConfig { method: most, ..good }, Canvas::blank(1, 5), &[0]).is_ok());
}
