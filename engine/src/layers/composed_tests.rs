//! The layers as a GPU computes them, composed of candle's operations, against the CPU's own operations.
#![allow(clippy::unwrap_used)]

use super::gradient_check::values;
use super::kernel::Precision;
use super::*;
use crate::diffusion::transformer::{Config, Transformer};
use crate::pack::Pack;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use std::collections::HashMap;

const CPU: Device = Device::Cpu;

/// Values in -1..1.
fn tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::from_vec(values(shape.iter().product(), seed), shape, &CPU).unwrap()
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// The difference's norm, as a share of the expectation's.
fn difference(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let norm = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let (got, want) = (flat(got), flat(want));
    let between: Vec<f32> = got.iter().zip(&want).map(|(g, w)| g - w).collect();
    norm(&between) / norm(&want)
}

/// `f` gives the same both ways.
#[track_caller]
fn agree(f: impl Fn() -> Result<Tensor>) {
    let (want, got) = (f().unwrap(), composed(&f).unwrap());
    let difference = difference(&got, &want);
    assert!(difference < 1e-5, "differs by {difference:e}");
}

/// Weights without a gradient for whatever is asked for.
fn weights(new: impl FnOnce(VarBuilder)) -> VarBuilder<'static> {
    let map = VarMap::new();
    new(VarBuilder::from_varmap(&map, DType::F32, &CPU));
    let made = map.data().lock().unwrap();
    let tensors: HashMap<String, Tensor> = made
        .iter()
        .zip(1..)
        .map(|((name, var), seed)| (name.clone(), (tensor(var.dims(), seed) * 0.3).unwrap()))
        .collect();
    VarBuilder::from_tensors(tensors, DType::F32, &CPU)
}

#[test]
fn activations_and_softmaxes_agree() {
    let x = (tensor(&[3, 70], 1) * 6.0).unwrap();
    for f in [gelu_tanh, gelu_erf, quick_gelu, silu, softmax, log_softmax] {
        agree(|| f(&x));
    }
    agree(|| leaky_relu(&x, 0.2));
}

#[test]
fn norms_agree() {
    let x = (tensor(&[2, 6, 35], 2) * 4.0).unwrap();
    let (scale, shift) = (tensor(&[2, 35], 3), tensor(&[2, 35], 4));
    agree(|| layer_norm(&x, 1e-5));
    agree(|| adaptive_layer_norm(&x, &scale, &shift, 1e-5));
    let new = |vs: VarBuilder| {
        (
            LayerNorm::new(35, 1e-6, vs.pp("layer")).unwrap(),
            RmsNorm::new(35, 1e-6, vs.pp("rms")).unwrap(),
            GroupNorm::new(3, 6, 1e-6, vs.pp("group")).unwrap(),
        )
    };
    let (layer, rms, group) = new(weights(|vs| drop(new(vs))));
    agree(|| layer.forward(&x));
    agree(|| rms.forward(&x));
    agree(|| group.forward(&x));
}

#[test]
fn attention_agrees_with_and_without_a_mask() {
    let (q, k, v) = (tensor(&[2, 9, 24], 5), tensor(&[2, 7, 24], 6), tensor(&[2, 7, 24], 7));
    agree(|| attention(&q, &k, &v, 3, None));
    let hidden = (0..14).map(|i| if i % 5 == 3 { -1e9_f32 } else { 0.0 }).collect();
    let mask = Tensor::from_vec(hidden, (2, 1, 1, 7), &CPU).unwrap();
    agree(|| attention(&q, &k, &v, 3, Some(&mask)));
}

#[test]
fn convolutions_agree() {
    let geometry = ConvGeometry { kernel: 4, stride: 2, padding: 1, dilation: 1, groups: 2 };
    let (picture, wave) = (tensor(&[2, 6, 11, 14], 8), tensor(&[2, 6, 40], 9));
    let (weight, bias) = (tensor(&[8, 3, 4, 4], 10), tensor(&[8], 11));
    agree(|| Conv2d::from_tensors(weight.clone(), Some(bias.clone()), geometry).forward(&picture));
    let weight = tensor(&[8, 3, 4], 12);
    agree(|| Conv1d::from_tensors(weight.clone(), Some(bias.clone()), geometry).forward(&wave));
    let (weight, bias) = (tensor(&[6, 4, 4], 13), tensor(&[4], 14));
    let geometry = ConvGeometry { groups: 1, ..geometry };
    agree(|| ConvTranspose1d::from_tensors(weight.clone(), Some(bias.clone()), geometry, 0).forward(&wave));
}

#[test]
fn convnext_blocks_agree() {
    for kernel in [(1, 7), (3, 5)] {
        let new = |vs: VarBuilder| ConvNext::new(12, 24, kernel, Precision::F32, vs).unwrap();
        let block = new(weights(|vs| drop(new(vs))));
        let x = tensor(&[2, 5, 9, 12], 15);
        agree(|| block.forward(&x));
    }
}

/// Logits of `model` for a grid with a few masked cells.
fn logits(model: &Transformer, features: &Tensor) -> Result<Tensor> {
    let config = model.config();
    let ids: Vec<u32> = (0..35).map(|i| (i * 7919) % (config.codebook as u32 + 1)).collect();
    let ids = Tensor::from_vec([ids.as_slice(), &ids].concat(), (2, 35), &CPU)?;
    let mask = Tensor::from_vec(vec![1f32, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0], (2, 5), &CPU)?;
    let condition = model.condition(features, Some(&mask))?;
    model.forward(&ids, &[97, 3], &condition)
}

#[test]
fn a_whole_transformer_agrees_in_f32_and_nearly_in_f16() {
    let config = Config { layers: 3, width: 48, heads: 4, ..Config::small(40, 20) };
    let vs = weights(|vs| drop(Transformer::new(&config, Precision::F32, vs).unwrap()));
    let features = tensor(&[2, 5, 20], 16);
    let new = |precision| Transformer::new(&config, precision, vs.clone()).unwrap().tabulated().unwrap();
    let want = logits(&new(Precision::F32), &features).unwrap();
    let in_f32 = composed(|| logits(&new(Precision::F32), &features)).unwrap();
    assert!(difference(&in_f32, &want) < 1e-5);
    let in_f16 = composed(|| logits(&new(Precision::F16), &features)).unwrap();
    let rounding = difference(&in_f16, &want);
    assert!(rounding > 1e-6, "nothing was rounded: the weights were not in 16 bits");
    assert!(rounding < 5e-3, "differs by {rounding:e}");
    // The fused operations know f32 only.
    assert_eq!(difference(&logits(&new(Precision::F16), &features).unwrap(), &want), 0.0);
}

#[test]
fn the_default_pack_in_f16_differs_by_rounding_only() {
    let pack = Pack::embedded().unwrap();
    let weights = pack.weights(crate::pack::Part::Transformer).unwrap().tensors().unwrap();
    let config = pack.manifest().transformer;
    let features = tensor(&[2, 5, config.cond_width], 17);
    let new = |precision| {
        let vs = VarBuilder::from_tensors(weights.clone(), DType::F32, &CPU);
        Transformer::new(&config, precision, vs).unwrap()
    };
    let want = logits(&new(Precision::F32), &features).unwrap();
    let got = composed(|| logits(&new(Precision::F16), &features)).unwrap();
    let rounding = difference(&got, &want);
    assert!(rounding < 5e-3, "differs by {rounding:e}");
}
