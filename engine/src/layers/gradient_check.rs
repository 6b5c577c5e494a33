//! Every layer's backward against central differences of its forward.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};

/// Deterministic values in -1..1.
pub(super) fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

pub(super) fn var(shape: &[usize], seed: u64) -> Var {
    let n = shape.iter().product();
    Var::from_vec(values(n, seed), shape, &Device::Cpu).unwrap()
}

/// Compares the gradient of `sum(weights * f)` with central differences, for every element of every variable.
pub(super) fn check(vars: &[&Var], f: impl Fn() -> Result<Tensor>) {
    let weights = {
        let y = f().unwrap();
        Tensor::from_vec(values(y.elem_count(), 99), y.shape(), &Device::Cpu).unwrap()
    };
    let objective = || -> f64 {
        let y = (f().unwrap() * &weights).unwrap().flatten_all().unwrap();
        y.to_vec1::<f32>().unwrap().iter().map(|v| f64::from(*v)).sum()
    };
    let grads = (f().unwrap() * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    for (index, var) in vars.iter().enumerate() {
        let grad = grads.get(var).expect("a gradient").flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let original = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let largest = grad.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
        assert!(largest > 0.0, "variable {index} has no gradient");
        for i in 0..original.len() {
            let step = 1e-2_f32;
            let at = |delta: f32| {
                let mut moved = original.clone();
                moved[i] += delta;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                objective()
            };
            // Fourth-order central difference.
            let (h, h2) = (at(step) - at(-step), at(2.0 * step) - at(-2.0 * step));
            let want = (8.0 * h - h2) / (12.0 * f64::from(step));
            let got = f64::from(grad[i]);
            assert!(
                (got - want).abs() <= 3e-3 * f64::from(largest).max(0.1),
                "variable {index} element {i}: backward {got}, difference {want}"
            );
        }
        var.set(&Tensor::from_vec(original, var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
}

#[test]
fn linear() {
    let (x, w, b) = (var(&[2, 3, 5], 1), var(&[5, 4], 2), var(&[4], 3));
    check(&[&x, &w, &b], || {
        Linear::from_tensors(w.as_tensor().clone(), Some(b.as_tensor().clone())).forward(&x)
    });
    check(&[&x, &w], || Linear::from_tensors(w.as_tensor().clone(), None).forward(&x));
}

/// Frozen weights pass gradients to the input, whatever form they are kept in.
#[test]
fn frozen_linear() {
    let (x, b) = (var(&[2, 3, 5], 1), var(&[4], 3));
    // Exact in 16 bits.
    let w = ((var(&[5, 4], 2).as_detached_tensor() * 64.0).unwrap().round().unwrap() / 64.0).unwrap();
    let trained = Linear::from_tensors(w.clone(), Some(b.as_tensor().clone()));
    let exact = trained.forward(&x).unwrap();
    for precision in [kernel::Precision::F32, kernel::Precision::Bf16] {
        let frozen = Linear::from_tensors(w.clone(), Some(b.as_detached_tensor())).with_precision(precision);
        assert_eq!(frozen.weight().unwrap().to_vec2::<f32>().unwrap(), w.to_vec2::<f32>().unwrap());
        let y = frozen.forward(&x).unwrap();
        let off = (&y - &exact).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        assert!(off.to_scalar::<f32>().unwrap() < 0.02);
        // The product with rounded factors has steps, so the exact one is differentiated.
        let weights = Tensor::from_vec(values(24, 99), y.shape(), &Device::Cpu).unwrap();
        let grad = |y: &Tensor| (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
        let (got, want) = (grad(&y), grad(&exact));
        let off = (got.get(&x).unwrap() - want.get(&x).unwrap()).unwrap().abs().unwrap();
        assert!(off.flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap() < 0.02);
        // Fused or not, the same.
        let still = x.as_detached_tensor();
        let residual = var(&[2, 3, 4], 9).as_detached_tensor();
        let pairs = [
            (frozen.forward_onto(&still, &residual), residual + &y),
            (frozen.forward_quick_gelu(&still), quick_gelu(&y)),
            (frozen.forward_gelu_tanh(&still), gelu_tanh(&y)),
        ];
        for (got, want) in pairs {
            let off = (got.unwrap() - want.unwrap()).unwrap().abs().unwrap().flatten_all().unwrap();
            assert!(off.max(0).unwrap().to_scalar::<f32>().unwrap() < 1e-5);
        }
    }
}

#[test]
fn activations() {
    let x = var(&[40], 4);
    check(&[&x], || gelu_tanh(&(x.as_tensor() * 3.0)?));
    check(&[&x], || gelu_erf(&(x.as_tensor() * 3.0)?));
    check(&[&x], || quick_gelu(&(x.as_tensor() * 3.0)?));
    check(&[&x], || silu(&(x.as_tensor() * 3.0)?));
    // Away from the kink at 0.
    check(&[&x], || leaky_relu(&(x.as_tensor() + 1.5)?, 0.2));
    check(&[&x], || leaky_relu(&(x.as_tensor() - 1.5)?, 0.2));
}

#[test]
fn softmaxes() {
    let x = var(&[3, 21], 5);
    check(&[&x], || softmax(&(x.as_tensor() * 2.0)?));
    check(&[&x], || log_softmax(&(x.as_tensor() * 2.0)?));
}

#[test]
fn norms() {
    let x = var(&[2, 3, 19], 6);
    check(&[&x], || layer_norm(&x, 1e-5));
    let (scale, shift) = (var(&[2, 19], 7), var(&[2, 19], 8));
    check(&[&x, &scale, &shift], || adaptive_layer_norm(&x, &scale, &shift, 1e-5));
    let map = VarMap::new();
    let vs = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let norm = LayerNorm::new(19, 1e-5, vs.pp("layer")).unwrap();
    let group = GroupNorm::new(2, 4, 1e-6, vs.pp("group")).unwrap();
    let named = map.data().lock().unwrap().clone();
    check(&[&x, &named["layer.weight"], &named["layer.bias"]], || norm.forward(&x));
    let rms = RmsNorm::new(19, 1e-6, vs.pp("rms")).unwrap();
    check(&[&x, &map.data().lock().unwrap()["rms.weight"].clone()], || rms.forward(&x));
    let picture = var(&[2, 4, 3, 3], 9);
    check(&[&picture, &named["group.weight"], &named["group.bias"]], || group.forward(&picture));
}

#[test]
fn attentions() {
    let (q, k, v) = (var(&[2, 4, 6], 10), var(&[2, 5, 6], 11), var(&[2, 5, 6], 12));
    check(&[&q, &k, &v], || attention(&q, &k, &v, 2, None));
    let mut hidden = vec![0.0_f32; 10];
    hidden[3] = -1e9;
    hidden[9] = -1e9;
    let mask = Tensor::from_vec(hidden, (2, 1, 1, 5), &Device::Cpu).unwrap();
    check(&[&q, &k, &v], || attention(&q, &k, &v, 2, Some(&mask)));
}

#[test]
fn depthwise_convolution() {
    let map = VarMap::new();
    let vs = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let conv = Depthwise::new(3, (3, 5), vs).unwrap();
    let named = map.data().lock().unwrap().clone();
    let x = var(&[2, 4, 6, 3], 13);
    check(&[&x, &named["weight"], &named["bias"]], || conv.forward(&x));
    // The same through candle's own convolution.
    let picture = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    let padded = picture.pad_with_zeros(2, 1, 1).unwrap().pad_with_zeros(3, 2, 2).unwrap();
    let weight = named["weight"].t().unwrap().reshape((3, 1, 3, 5)).unwrap();
    let want = padded.conv2d(&weight, 0, 1, 1, 3).unwrap().permute((0, 2, 3, 1)).unwrap();
    let want = want.broadcast_add(&named["bias"]).unwrap();
    let difference = (conv.forward(&x).unwrap() - want).unwrap().abs().unwrap().flatten_all().unwrap();
    assert!(difference.max(0).unwrap().to_scalar::<f32>().unwrap() < 1e-5);
}

#[test]
fn masked_attention_ignores_hidden_keys() {
    let (q, k, v) = (var(&[1, 2, 4], 20), var(&[1, 3, 4], 21), var(&[1, 3, 4], 22));
    let mask = Tensor::new(&[0.0_f32, 0.0, -1e9], &Device::Cpu).unwrap().reshape((1, 1, 1, 3)).unwrap();
    let masked = attention(&q, &k, &v, 2, Some(&mask)).unwrap();
    let short = attention(&q, &k.narrow(1, 0, 2).unwrap(), &v.narrow(1, 0, 2).unwrap(), 2, None).unwrap();
    let difference = (masked - short).unwrap().abs().unwrap().flatten_all().unwrap();
    assert!(difference.max(0).unwrap().to_scalar::<f32>().unwrap() < 1e-6);
}
