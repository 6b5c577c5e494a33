//! Vector quantizer: replaces each latent vector by its nearest codebook entry (van den Oord et al., 2017).

use crate::layers::Embedding;
use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Which term of the codebook loss `beta` weighs.
///
/// With `z` the encoder's output, `e` its nearest entry and `sg` stopping the gradient, the loss has a
/// commitment term `mean((sg(e) - z)^2)`, which pulls the encoder to the codebook, and a codebook term
/// `mean((e - sg(z))^2)`, which pulls the codebook to the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaTerm {
    /// `beta * commitment + codebook`, as van den Oord et al. (2017) define it.
    #[default]
    Commitment,
    /// `commitment + beta * codebook`: what the published VQGAN code computes, and Diffsound with it.
    Codebook,
}

/// Size and loss of a [`Quantizer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuantizerConfig {
    /// Codebook entries `K`.
    pub entries: usize,
    /// Width of an entry.
    pub dim: usize,
    /// Weight of the term named by `beta_term`.
    #[serde(default = "default_beta")]
    pub beta: f64,
    /// The term that `beta` weighs.
    #[serde(default)]
    pub beta_term: BetaTerm,
}

fn default_beta() -> f64 {
    0.25
}

/// What quantizing a batch gives for training.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// Entry of each row, u32 `[n]`.
    pub ids: Tensor,
    /// The entries themselves `[n, dim]`; the gradient passes straight through to the input.
    pub vectors: Tensor,
    /// Codebook loss, a scalar; its gradient reaches both the encoder and the codebook.
    pub loss: Tensor,
}

/// Codebook of `[entries, dim]` vectors with nearest-neighbour search.
#[derive(Debug, Clone)]
pub struct Quantizer {
    codebook: Embedding,
    config: QuantizerConfig,
}

impl Quantizer {
    /// Loads (or creates, under a `VarMap`, uniform in ±1/entries) `embedding.weight` `[entries, dim]`.
    ///
    /// # Errors
    /// When a size is zero, or the tensor is missing or of another shape.
    pub fn new(config: &QuantizerConfig, vs: VarBuilder) -> Result<Self> {
        if config.entries == 0 || config.dim == 0 {
            candle_core::bail!("quantizer: {} entries of width {} hold nothing", config.entries, config.dim);
        }
        let bound = 1.0 / config.entries as f64;
        let init = candle_nn::Init::Uniform { lo: -bound, up: bound };
        let weight = vs.pp("embedding").get_with_hints((config.entries, config.dim), "weight", init)?;
        Ok(Self { codebook: Embedding::from_tensor(weight), config: config.clone() })
    }

    /// The nearest entry of each row of `z` `[n, dim]`, u32 `[n]`.
    ///
    /// Nearest by the squared Euclidean distance, expanded as `|z|^2 + |e|^2 - 2 z.e` so that a matrix product does
    /// the work. Of entries equally near the first wins.
    ///
    /// # Errors
    /// When `z` is not `[n, dim]`.
    pub fn encode(&self, z: &Tensor) -> Result<Tensor> {
        // No gradient passes an argmin: detached, the search leaves no graph behind.
        let (z, codebook) = (z.detach().contiguous()?, self.codebook.weight().detach());
        let products = z.matmul(&codebook.t()?)?;
        // |z|^2 is the same for all entries, but it stays, as the reference rounds with it.
        let norms = z.sqr()?.sum_keepdim(1)?.broadcast_add(&codebook.sqr()?.sum(1)?)?;
        (norms - (products * 2.0)?)?.argmin(1)
    }

    /// The entries of u32 `ids` of any shape, with `dim` appended to it.
    ///
    /// # Errors
    /// When an id is out of range.
    pub fn lookup(&self, ids: &Tensor) -> Result<Tensor> {
        self.codebook.forward(&ids.to_dtype(DType::U32)?)
    }

    /// Quantizes `z` `[n, dim]` for training.
    ///
    /// # Errors
    /// When `z` is not `[n, dim]`.
    pub fn forward(&self, z: &Tensor) -> Result<Quantized> {
        let ids = self.encode(z)?;
        let entries = self.lookup(&ids)?;
        let commitment = (entries.detach() - z)?.sqr()?.mean_all()?;
        let codebook = (&entries - z.detach())?.sqr()?.mean_all()?;
        let loss = match self.config.beta_term {
            BetaTerm::Commitment => ((commitment * self.config.beta)? + codebook)?,
            BetaTerm::Codebook => (commitment + (codebook * self.config.beta)?)?,
        };
        let vectors = (z + (entries - z)?.detach())?;
        Ok(Quantized { ids, vectors, loss })
    }

    /// The codebook `[entries, dim]`.
    #[must_use]
    pub fn codebook(&self) -> &Tensor {
        self.codebook.weight()
    }

    /// Number of entries `K`.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.config.entries
    }

    /// Width of an entry.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.config.dim
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use std::collections::HashMap;

    const CPU: Device = Device::Cpu;

    fn quantizer(rows: &[[f32; 2]], beta_term: BetaTerm) -> (Quantizer, Var) {
        let flat: Vec<f32> = rows.iter().flatten().copied().collect();
        let weight = Var::from_tensor(&Tensor::from_vec(flat, (rows.len(), 2), &CPU).unwrap()).unwrap();
        let tensors = HashMap::from([("embedding.weight".to_string(), weight.as_tensor().clone())]);
        let vs = VarBuilder::from_tensors(tensors, DType::F32, &CPU);
        let config = QuantizerConfig { entries: rows.len(), dim: 2, beta: 0.25, beta_term };
        (Quantizer::new(&config, vs).unwrap(), weight)
    }

    #[test]
    fn nearest_entry_and_the_first_of_equals() {
        let (quantizer, _) = quantizer(&[[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]], BetaTerm::Commitment);
        let z = Tensor::new(&[[0.9f32, 0.1], [-3.0, 0.0], [0.0, 5.0]], &CPU).unwrap();
        // The last row is as far from every entry.
        assert_eq!(quantizer.encode(&z).unwrap().to_vec1::<u32>().unwrap(), [0, 1, 0]);
    }

    #[test]
    fn gradients_pass_straight_through_and_beta_weighs_its_term() {
        // One row z = (0, 0), nearest e = (1, 0): each term is 1/2, with derivatives dz = (-1, 0), de = (1, 0).
        for (beta_term, dz, de) in
            [(BetaTerm::Commitment, -0.25f32, 1.0f32), (BetaTerm::Codebook, -1.0, 0.25)]
        {
            let (quantizer, weight) = quantizer(&[[1.0, 0.0], [3.0, 0.0]], beta_term);
            let z = Var::from_tensor(&Tensor::zeros((1, 2), DType::F32, &CPU).unwrap()).unwrap();
            let out = quantizer.forward(&z).unwrap();
            assert_eq!(out.vectors.to_vec2::<f32>().unwrap(), [[1.0, 0.0]]);
            assert_eq!(out.loss.to_scalar::<f32>().unwrap(), 0.625);

            let grads = out.loss.backward().unwrap();
            assert_eq!(grads.get(&z).unwrap().to_vec2::<f32>().unwrap(), [[dz, 0.0]]);
            assert_eq!(grads.get(&weight).unwrap().to_vec2::<f32>().unwrap(), [[de, 0.0], [0.0, 0.0]]);

            let grads = (out.vectors * 3.0).unwrap().sum_all().unwrap().backward().unwrap();
            assert_eq!(grads.get(&z).unwrap().to_vec2::<f32>().unwrap(), [[3.0, 3.0]]);
            assert!(grads.get(&weight).is_none());
        }
    }

    #[test]
    fn empty_codebooks_are_refused() {
        let vs = VarBuilder::zeros(DType::F32, &CPU);
        let config = QuantizerConfig { entries: 0, dim: 2, beta: 0.25, beta_term: BetaTerm::Commitment };
        assert!(Quantizer::new(&config, vs).is_err());
    }
}
