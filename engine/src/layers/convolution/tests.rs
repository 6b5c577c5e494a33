//! The convolutions against candle's own, and their gradients against differences.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::layers::gradient_check::{check, var};
use candle_core::DType;
use candle_core::{Device, Var};
use candle_nn::VarMap;

fn geometry(kernel: usize, stride: usize, padding: usize, dilation: usize, groups: usize) -> ConvGeometry {
    ConvGeometry { kernel, stride, padding, dilation, groups }
}

/// Kernel, stride, padding, dilation, groups.
fn geometries() -> Vec<ConvGeometry> {
    [
        (1, 1, 0, 1, 1),
        (3, 1, 1, 1, 1),
        (4, 2, 1, 1, 1),
        (3, 2, 0, 1, 1),
        (2, 3, 2, 1, 1),
        (1, 2, 0, 1, 2),
        (3, 1, 4, 2, 2),
        (5, 2, 3, 2, 2),
        (3, 1, 1, 1, 4),
        (4, 3, 2, 2, 4),
    ]
    .map(|(k, s, p, d, g)| geometry(k, s, p, d, g))
    .to_vec()
}

fn assert_close(got: &Tensor, want: &Tensor, tolerance: f32, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let difference = (got - want).unwrap().abs().unwrap().flatten_all().unwrap();
    let difference = difference.max(0).unwrap().to_scalar::<f32>().unwrap();
    assert!(difference <= tolerance, "{what}: differs by {difference}");
}

/// Compares values and, through a random weighting of the outputs, all gradients.
fn assert_same(
    vars: &[&Var],
    tolerance: f32,
    what: &str,
    got: impl Fn() -> Result<Tensor>,
    want: impl Fn() -> Result<Tensor>,
) {
    let (got, want) = (got().unwrap(), want().unwrap());
    assert_close(&got, &want, tolerance, what);
    let weights = var(want.dims(), 77);
    let gradients =
        |y: Tensor| (y * weights.as_tensor().detach()).unwrap().sum_all().unwrap().backward().unwrap();
    let (got, want) = (gradients(got), gradients(want));
    for (index, var) in vars.iter().enumerate() {
        let (got, want) = (got.get(var).unwrap(), want.get(var).unwrap());
        assert_close(got, want, 10.0 * tolerance, &format!("{what}, gradient {index}"));
    }
}

#[test]
fn pictures_agree_with_candle() {
    for g in geometries() {
        // Square, as candle's gradient takes both axes' leftovers from the height.
        let (x, b) = (var(&[2, 4, 9, 9], 1), var(&[8], 3));
        let w = var(&[8, 4 / g.groups, g.kernel, g.kernel], 2);
        let conv = Conv2d::from_tensors(w.as_tensor().clone(), Some(b.as_tensor().clone()), g);
        assert_same(
            &[&x, &w, &b],
            1e-5,
            &format!("{g:?}"),
            || conv.forward(&x),
            || {
                let y = x.conv2d(&w, g.padding, g.stride, g.dilation, g.groups)?;
                y.broadcast_add(&b.reshape((1, 8, 1, 1))?)
            },
        );
        let conv = Conv2d::from_tensors(w.as_tensor().clone(), None, g);
        assert_same(
            &[&x, &w],
            1e-5,
            &format!("{g:?}"),
            || conv.forward(&x),
            || x.conv2d(&w, g.padding, g.stride, g.dilation, g.groups),
        );
    }
}

#[test]
fn signals_agree_with_candle() {
    for g in geometries() {
        let (x, w) = (var(&[3, 4, 23], 1), var(&[4, 4 / g.groups, g.kernel], 2));
        let conv = Conv1d::from_tensors(w.as_tensor().clone(), None, g);
        let want = x.conv1d(&w, g.padding, g.stride, g.dilation, g.groups).unwrap();
        assert_close(&conv.forward(&x).unwrap(), &want, 1e-5, &format!("{g:?}"));
        check(&[&x, &w], || conv.forward(&x));
    }
}

#[test]
fn large_sizes_cross_tile_borders() {
    let g = geometry(4, 2, 1, 1, 1);
    let (x, w, b) = (var(&[3, 40, 32, 50], 1), var(&[70, 40, 4, 4], 2), var(&[70], 3));
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, 0.15)] {
        let conv = Conv2d::from_tensors(w.as_tensor().clone(), Some(b.as_tensor().clone()), g);
        let conv = conv.with_precision(precision);
        assert_same(
            &[&x, &w, &b],
            tolerance,
            &format!("{precision:?}"),
            || conv.forward(&x),
            || x.conv2d(&w, 1, 2, 1, 1)?.broadcast_add(&b.reshape((1, 70, 1, 1))?),
        );
    }
    let g = geometry(3, 1, 9, 9, 1);
    let (x, w) = (var(&[1, 64, 3000], 4), var(&[64, 64, 3], 5));
    let conv = Conv1d::from_tensors(w.as_tensor().clone(), None, g);
    assert_close(&conv.forward(&x).unwrap(), &x.conv1d(&w, 9, 1, 9, 1).unwrap(), 1e-4, "long signal");
}

/// The definition: each input sample adds its weighted kernel to the output.
fn transposed_by_definition(x: &Tensor, w: &Tensor, g: ConvGeometry, output_padding: usize) -> Tensor {
    let (x, w) = (x.to_vec3::<f32>().unwrap(), w.to_vec3::<f32>().unwrap());
    let (time, width) = (x[0][0].len(), w[0].len());
    let full = (time - 1) * g.stride + (g.kernel - 1) * g.dilation + 1 + output_padding;
    let mut out = vec![vec![vec![0f32; full]; width * g.groups]; x.len()];
    for (x, out) in x.iter().zip(&mut out) {
        for (i, (channel, kernels)) in x.iter().zip(&w).enumerate() {
            let group = i / (x.len() / g.groups);
            for (t, value) in channel.iter().enumerate() {
                for (o, kernel) in kernels.iter().enumerate() {
                    for (k, weight) in kernel.iter().enumerate() {
                        out[group * width + o][t * g.stride + k * g.dilation] += value * weight;
                    }
                }
            }
        }
    }
    Tensor::new(out, &Device::Cpu).unwrap().narrow(2, g.padding, full - 2 * g.padding).unwrap()
}

#[test]
fn transposed_follows_its_definition() {
    for (g, output_padding) in [
        (geometry(4, 2, 1, 1, 1), 0),
        (geometry(16, 8, 4, 1, 1), 0),
        (geometry(6, 3, 2, 1, 1), 1),
        (geometry(2, 3, 0, 1, 1), 0),
        (geometry(3, 1, 1, 1, 1), 0),
        (geometry(3, 2, 1, 2, 1), 1),
        (geometry(4, 2, 1, 1, 2), 0),
    ] {
        let (x, w, b) = (var(&[2, 4, 11], 1), var(&[4, 6 / g.groups, g.kernel], 2), var(&[6], 3));
        let (weight, bias) = (w.as_tensor().clone(), b.as_tensor().clone());
        let conv = ConvTranspose1d::from_tensors(weight, Some(bias), g, output_padding);
        let want = transposed_by_definition(&x, &w, g, output_padding);
        let want = want.broadcast_add(&b.reshape((1, 6, 1)).unwrap()).unwrap();
        assert_close(&conv.forward(&x).unwrap(), &want, 1e-5, &format!("{g:?}"));
        check(&[&x, &w, &b], || conv.forward(&x));
    }
}

#[test]
fn gradients_follow_differences() {
    for g in geometries() {
        let (x, w, b) = (var(&[2, 4, 6, 5], 1), var(&[4, 4 / g.groups, g.kernel, g.kernel], 2), var(&[4], 3));
        let (weight, bias) = (w.as_tensor().clone(), b.as_tensor().clone());
        let conv = Conv2d::from_tensors(weight, Some(bias), ConvGeometry { padding: g.padding + 2, ..g });
        check(&[&x, &w, &b], || conv.forward(&x));
    }
}

/// How far bfloat16 products of values below 1 in size may be off after some hundred terms.
const ROUNDING: f32 = 0.15;

#[test]
fn frozen_weights_convolve_and_pass_gradients_alike() {
    for g in geometries() {
        let (x, w, b) = (var(&[2, 4, 9, 9], 1), var(&[8, 4 / g.groups, g.kernel, g.kernel], 2), var(&[8], 3));
        let trained = Conv2d::from_tensors(w.as_tensor().clone(), Some(b.as_tensor().clone()), g);
        let frozen = Conv2d::from_tensors(w.as_tensor().detach(), Some(b.as_tensor().detach()), g);
        for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, ROUNDING)] {
            let frozen = frozen.clone().with_precision(precision);
            assert!(frozen.weight().is_none(), "{g:?}");
            assert_same(&[&x], tolerance, &format!("{g:?}"), || frozen.forward(&x), || trained.forward(&x));
        }
    }
    for (g, output_padding) in [(geometry(16, 8, 4, 1, 1), 0), (geometry(6, 3, 2, 1, 2), 1)] {
        let (x, w) = (var(&[2, 4, 11], 1), var(&[4, 6 / g.groups, g.kernel], 2));
        let trained = ConvTranspose1d::from_tensors(w.as_tensor().clone(), None, g, output_padding);
        let frozen = ConvTranspose1d::from_tensors(w.as_tensor().detach(), None, g, output_padding);
        for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, ROUNDING)] {
            let frozen = frozen.clone().with_precision(precision);
            assert_same(&[&x], tolerance, &format!("{g:?}"), || frozen.forward(&x), || trained.forward(&x));
        }
    }
}

#[test]
fn fused_is_one_after_the_other() {
    let map = VarMap::new();
    let norm = GroupNorm::new(2, 32, 1e-6, VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu)).unwrap();
    for (name, seed) in [("weight", 8), ("bias", 9)] {
        map.data().lock().unwrap()[name].set(var(&[32], seed).as_tensor()).unwrap();
    }
    let (x, w, b) = (var(&[2, 32, 12, 23], 1).as_detached_tensor(), var(&[40, 32, 3, 3], 2), var(&[40], 3));
    let residual = var(&[2, 40, 12, 23], 4).as_detached_tensor();
    let g = ConvGeometry::same(3);
    let composed = Conv2d::from_tensors(w.as_tensor().clone(), Some(b.as_tensor().clone()), g);
    let frozen = Conv2d::from_tensors(w.as_tensor().detach(), Some(b.as_tensor().detach()), g);
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, ROUNDING)] {
        let frozen = frozen.clone().with_precision(precision);
        for activation in [Activation::None, Activation::LeakyRelu(0.2), Activation::NormSilu(&norm)] {
            for residual in [None, Some(&residual)] {
                let got = frozen.forward_fused(&x, activation, residual).unwrap();
                let want = composed.forward_fused(&x, activation, residual).unwrap();
                assert_close(&got, &want, tolerance, &format!("{activation:?}"));
            }
        }
        let wrong = x.clone();
        assert!(frozen.forward_fused(&x, Activation::None, Some(&wrong)).is_err());
    }
    // A long signal, mirrored at its ends.
    let (x, w) = (var(&[2, 32, 700], 5).as_detached_tensor(), var(&[40, 32, 3], 6));
    let composed = Conv1d::from_tensors(w.as_tensor().clone(), None, geometry(3, 1, 9, 9, 1)).mirrored();
    let frozen = Conv1d::from_tensors(w.as_tensor().detach(), None, geometry(3, 1, 9, 9, 1)).mirrored();
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, ROUNDING)] {
        let frozen = frozen.clone().with_precision(precision);
        let got = frozen.forward_fused(&x, Activation::LeakyRelu(0.2), None).unwrap();
        let want = composed.forward_fused(&x, Activation::LeakyRelu(0.2), None).unwrap();
        assert_close(&got, &want, tolerance, "mirrored");
        assert!(frozen.forward(&x.narrow(2, 0, 9).unwrap()).is_err());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let conv = |channels: usize, g: ConvGeometry| {
        let weight = var(&[4, channels, g.kernel, g.kernel], 1).as_tensor().clone();
        Conv2d::from_tensors(weight, None, g)
    };
    let x = var(&[1, 4, 5, 5], 2);
    assert!(conv(3, geometry(3, 1, 1, 1, 1)).forward(&x).is_err());
    assert!(conv(4, geometry(7, 1, 0, 1, 1)).forward(&x).is_err());
    assert!(conv(4, geometry(3, 0, 1, 1, 1)).forward(&x).is_err());
    assert!(conv(4, geometry(3, 1, 1, 1, 0)).forward(&x).is_err());
    assert!(
        conv(4, geometry(3, 1, 1, 1, 1)).forward(&x.narrow(0, 0, 1).unwrap().squeeze(0).unwrap()).is_err()
    );
    let weight = var(&[3, 2, 4], 3).as_tensor().clone();
    let transposed = ConvTranspose1d::from_tensors(weight, None, geometry(4, 2, 1, 1, 1), 0);
    assert!(transposed.forward(&var(&[1, 4, 5], 4)).is_err());
}
