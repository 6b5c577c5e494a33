//! Weight normalisation (Salimans and Kingma, 2016), folded into plain weights at loading.

use crate::layers::{Conv1d, ConvGeometry};
use candle_core::{Result, Tensor};
use candle_nn::{VarBuilder, init};

/// `g * v / |v|`, the norm taken over all axes but the first; `v` `[n, ...]`, `g` `[n, 1, ...]`.
///
/// # Errors
/// When the shapes disagree.
pub(super) fn fold(g: &Tensor, v: &Tensor) -> Result<Tensor> {
    let norm = v.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?.reshape(g.shape())?;
    v.broadcast_mul(&(g / norm)?)
}

/// A weight of `shape` and a bias: from `weight_g` and `weight_v` where they are stored, else from `weight`, which a
/// `VarMap` creates.
///
/// # Errors
/// When a tensor is missing or of another shape.
pub(super) fn load(
    shape: (usize, usize, usize),
    outputs: usize,
    vs: &VarBuilder,
) -> Result<(Tensor, Tensor)> {
    // Builders that make tensors up claim to hold every name, so the folded weight comes first.
    let weight = if vs.contains_tensor("weight_g") && !vs.contains_tensor("weight") {
        fold(&vs.get((shape.0, 1, 1), "weight_g")?, &vs.get(shape, "weight_v")?)?
    } else {
        vs.get_with_hints(shape, "weight", init::DEFAULT_KAIMING_NORMAL)?
    };
    Ok((weight, vs.get_with_hints(outputs, "bias", init::ZERO)?))
}

/// A convolution with such a weight.
///
/// # Errors
/// When a tensor is missing or of another shape, or `groups` is zero.
pub(super) fn conv1d(input: usize, output: usize, geometry: ConvGeometry, vs: &VarBuilder) -> Result<Conv1d> {
    if geometry.groups == 0 {
        candle_core::bail!("convolution: no channel groups");
    }
    let (weight, bias) = load((output, input / geometry.groups, geometry.kernel), output, vs)?;
    Ok(Conv1d::from_tensors(weight, Some(bias), geometry))
}
