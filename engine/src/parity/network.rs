//! The reference's small denoising transformer, with variables for weights.

use super::{Fixture, Fixtures, ParityError};
use crate::diffusion::transformer::{Config, PositionKind, Transformer};
use crate::layers::kernel::Precision;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use std::collections::BTreeMap;

/// The transformer of a fixture.
pub(crate) struct Network {
    /// The transformer.
    pub transformer: Transformer,
    /// Its weights by our names.
    pub weights: BTreeMap<String, Weight>,
}

/// One weight of a [`Network`].
pub(crate) struct Weight {
    /// As ours.
    pub var: Var,
    /// Whether ours is `[in, out]` and PyTorch's `[out, in]`.
    pub transposed: bool,
}

/// Our name (SPEC 10, without `dit.`) of one of the reference's tensors.
pub(crate) fn our_name(reference: &str) -> String {
    [
        ("attn1.", "self_attn."),
        ("attn2.", "cross_attn."),
        (".query.", ".q."),
        (".key.", ".k."),
        (".value.", ".v."),
        ("mlp.0.", "mlp.fc1."),
        ("mlp.2.", "mlp.fc2."),
        ("to_logits.0.", "head.norm."),
        ("to_logits.1.", "head.proj."),
    ]
    .into_iter()
    .fold(reference.to_owned(), |name, (from, to)| name.replace(from, to))
}

impl Network {
    /// The transformer of `dit.safetensors`, which most other fixtures were recorded with.
    pub(crate) fn main(fixtures: &Fixtures) -> Result<Self, ParityError> {
        Self::load(&fixtures.open("dit")?)
    }

    /// The transformer whose weights are `fixture`'s `w.*`. Sizes come from their shapes; the heads, which show in
    /// none, from the metadata.
    pub(crate) fn load(fixture: &Fixture) -> Result<Self, ParityError> {
        let mut weights = BTreeMap::new();
        for (name, tensor) in fixture.part("w.") {
            let name = our_name(&name);
            let transposed = tensor.rank() == 2 && !name.contains("emb.weight");
            let tensor = if transposed { tensor.t()?.contiguous()? } else { tensor };
            weights.insert(name, Weight { var: Var::from_tensor(&tensor)?, transposed });
        }
        let size = |name: &str, axis: usize| -> Result<usize, ParityError> {
            let weight = weights.get(name).ok_or_else(|| fixture.unusable(name, "is missing"))?;
            Ok(weight.var.dim(axis)?)
        };
        let width = size("content_emb.emb.weight", 1)?;
        let config = Config {
            layers: (0..).take_while(|i| weights.contains_key(&format!("blocks.{i}.ln2.weight"))).count(),
            width,
            heads: fixture.number("n_head")?,
            cond_width: size("blocks.0.cross_attn.k.weight", 0)?,
            mlp_ratio: size("blocks.0.mlp.fc1.weight", 1)? / width.max(1),
            codebook: size("content_emb.emb.weight", 0)?.saturating_sub(1),
            rows: size("content_emb.height_emb.weight", 0)?,
            max_columns: size("content_emb.width_emb.weight", 0)?,
            timesteps: size("blocks.0.ln1.emb.weight", 0)?,
            position: PositionKind::RowMajor,
            mask_padding: false,
        };
        let tensors = weights.iter().map(|(name, w)| (name.clone(), w.var.as_tensor().clone())).collect();
        let vs = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        Ok(Self { transformer: Transformer::new(&config, Precision::F32, vs)?, weights })
    }

    /// The same transformer for inference, computed with `precision`.
    #[cfg(test)]
    pub(crate) fn frozen(&self, precision: Precision) -> candle_core::Result<Transformer> {
        let tensors = self.weights.iter().map(|(n, w)| (n.clone(), w.var.as_detached_tensor())).collect();
        let vs = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        Transformer::new(self.transformer.config(), precision, vs)
    }

    /// Logits `[batch, length, codebook]` under prompt features `cond`.
    pub(crate) fn logits(&self, ids: &[u32], t: &[usize], cond: &Tensor) -> Result<Tensor, ParityError> {
        logits(&self.transformer, ids, t, cond)
    }
}

/// Logits `[batch, length, codebook]` of a transformer under prompt features `cond`.
pub(crate) fn logits(
    transformer: &Transformer,
    ids: &[u32],
    t: &[usize],
    cond: &Tensor,
) -> Result<Tensor, ParityError> {
    let ids = Tensor::from_slice(ids, (t.len(), ids.len() / t.len().max(1)), &Device::Cpu)?;
    let condition = transformer.condition(cond, None)?;
    Ok(transformer.forward(&ids, t, &condition)?)
}
