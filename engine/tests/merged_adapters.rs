//! An adapter beside the weights and one added into them are the same function, up to f32's rounding.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use soundlocd_engine::diffusion::transformer::{Config, Transformer};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::lora::{Adapter, AdapterFile, Projection, Target};
use soundlocd_engine::pack::{Pack, Part};
use std::collections::HashMap;
use std::path::Path;

/// Columns of the token grid.
const COLUMNS: usize = 6;

/// Values from -`size` to `size` that follow from `seed`.
fn noise(shape: &[usize], size: f32, seed: u64) -> Tensor {
    let mut state = seed;
    let count = shape.iter().product();
    let values: Vec<f32> = std::iter::repeat_with(|| {
        // splitmix64, the same everywhere.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        size * (((z ^ (z >> 31)) >> 40) as f32 / f32::from(2u16).powi(23) - 1.0)
    })
    .take(count)
    .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Of rank `rank` on every matrix.
fn random_adapter(config: &Config, rank: usize, seed: u64) -> Adapter {
    let pair = |(n, target): (u64, Target)| {
        let (input, output) = target.shape(config);
        let seed = seed + 2 * n;
        (target, (noise(&[rank, input], 0.5, seed), noise(&[output, rank], 0.5, seed + 1)))
    };
    let matrices = (0..).zip(Target::all(config, &Projection::ALL)).map(pair).collect();
    Adapter::new(config, rank, 1.5 * rank as f64, matrices).unwrap()
}

/// Logits of two half-masked grids under two prompts.
fn logits(model: &Transformer) -> Vec<f32> {
    let config = model.config();
    let length = COLUMNS * config.rows;
    let ids = (0..2 * length as u32)
        .map(|i| if i % 2 == 0 { i * 97 % config.codebook as u32 } else { config.codebook as u32 });
    let ids = Tensor::from_vec(ids.collect::<Vec<u32>>(), (2, length), &Device::Cpu).unwrap();
    let condition = model.condition(&noise(&[2, 7, config.cond_width], 1.0, 99), None).unwrap();
    let logits = model.forward(&ids, &[3, 70], &condition).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |most, value| most.max(value.abs()))
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    largest(a.iter().zip(b).map(|(a, b)| a - b))
}

/// Both ways give the same; the adapters themselves make a difference that could not be overlooked.
#[track_caller]
fn agree(base: &Transformer, adapters: &[(&Adapter, f64)]) {
    let plain = logits(base);
    let beside = logits(&base.clone().adapted(adapters).unwrap());
    let inside = logits(&base.clone().merged(adapters).unwrap());
    let size = largest(beside.iter().copied());
    let (apart, change) = (difference(&beside, &inside), difference(&beside, &plain));
    println!("apart by {apart:e}, changed by {change}, the largest {size}");
    assert!(apart <= 1e-4 * size.max(1.0), "apart by {apart}, the largest is {size}");
    assert!(change > 0.01 * size, "changed by {change} only, the largest is {size}");
}

#[test]
fn merged_and_unmerged_agree_on_a_random_transformer() {
    let config = Config {
        layers: 3,
        width: 48,
        heads: 4,
        cond_width: 20,
        max_columns: 9,
        timesteps: 80,
        ..Config::small(37, 20)
    };
    // The names and shapes; the values are our own, since candle's generator has no seed.
    let variables = VarMap::new();
    Transformer::new(&config, Precision::F32, VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu))
        .unwrap();
    let mut shapes: Vec<(String, Vec<usize>)> = variables
        .data()
        .lock()
        .unwrap()
        .iter()
        .map(|(name, var)| (name.clone(), var.dims().to_vec()))
        .collect();
    shapes.sort();
    let weights: HashMap<String, Tensor> =
        (1000..).zip(shapes).map(|(seed, (name, shape))| (name, noise(&shape, 0.2, seed))).collect();
    let base = Transformer::new(
        &config,
        Precision::F32,
        VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu),
    )
    .unwrap();
    let (one, other) = (random_adapter(&config, 4, 1), random_adapter(&config, 7, 5000));
    agree(&base, &[(&one, 1.0)]);
    agree(&base, &[(&one, 0.7), (&other, 0.4)]);
}

#[test]
fn merged_and_unmerged_agree_on_the_default_pack() {
    let pack = Pack::embedded().unwrap();
    let weights = pack.weights(Part::Transformer).unwrap().into_var_builder(&Device::Cpu);
    let config = &pack.manifest().transformer;
    let base = Transformer::new(config, Precision::F32, weights).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/adapters/keyboards.safetensors");
    let adapter = AdapterFile::open(&path).unwrap().fit(config).unwrap();
    for strength in [0.5, 1.0, 2.0] {
        agree(&base, &[(&adapter, strength)]);
    }
}
