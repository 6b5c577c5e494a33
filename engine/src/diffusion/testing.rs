//! Reading the reference's numbers in tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::transformer::{Config, PositionKind, Transformer};
use crate::layers::kernel::Precision;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use std::collections::HashMap;

/// One fixture file of `tests/fixtures`.
pub(super) struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    pub(super) fn load(name: &str) -> Self {
        let path = format!("{}/../tests/fixtures/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    pub(super) fn get(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor {name}")).clone()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A `[batch, classes, length]` tensor as ours, `[batch, length, classes]`.
    pub(super) fn class_last(&self, name: &str) -> Tensor {
        self.get(name).transpose(1, 2).unwrap().contiguous().unwrap()
    }

    pub(super) fn f64(&self, name: &str) -> Vec<f64> {
        self.get(name).flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    pub(super) fn f32(&self, name: &str) -> Vec<f32> {
        self.get(name).flatten_all().unwrap().to_vec1().unwrap()
    }

    pub(super) fn ids(&self, name: &str) -> Vec<u32> {
        self.get(name).flatten_all().unwrap().to_dtype(DType::U32).unwrap().to_vec1().unwrap()
    }

    pub(super) fn timesteps(&self, name: &str) -> Vec<usize> {
        self.ids(name).into_iter().map(|t| t as usize).collect()
    }
}

/// All elements as f64.
pub(super) fn flat(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Asserts `|got - want| <= tolerance * max(1, |want|)` element by element.
#[track_caller]
pub(super) fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "{what}[{i}]: got {g}, want {w}");
    }
}

/// Asserts that the difference's norm is at most `tolerance` times the expectation's.
#[track_caller]
pub(super) fn close_in_norm(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(want).map(|(g, w)| g - w));
    let size = norm(&mut want.iter().copied());
    assert!(difference <= tolerance * size, "{what}: difference {difference:e}, size {size:e}");
}

/// The reference's small denoising transformer, with variables for weights.
pub(super) struct Network {
    pub transformer: Transformer,
    /// Our name of each weight, the variable and whether it is transposed against PyTorch's.
    pub weights: HashMap<String, Weight>,
}

/// One weight of [`Network`].
pub(super) struct Weight {
    pub var: Var,
    /// Ours is `[in, out]`, PyTorch's `[out, in]`.
    pub transposed: bool,
}

/// Our name (SPEC 10, without `dit.`) of the reference's tensor.
pub(super) fn our_name(reference: &str) -> String {
    let mut name = reference.to_owned();
    for (from, to) in [
        ("attn1.", "self_attn."),
        ("attn2.", "cross_attn."),
        (".query.", ".q."),
        (".key.", ".k."),
        (".value.", ".v."),
        ("mlp.0.", "mlp.fc1."),
        ("mlp.2.", "mlp.fc2."),
        ("to_logits.0.", "head.norm."),
        ("to_logits.1.", "head.proj."),
    ] {
        name = name.replace(from, to);
    }
    name
}

impl Network {
    /// From the weights `w.*` of a fixture.
    pub(super) fn load(fixture: &str) -> Self {
        Self::with_deltas(fixture, &HashMap::new())
    }

    /// The same, with matrices `[in, out]` added to the weights of our names.
    pub(super) fn with_deltas(fixture: &str, deltas: &HashMap<String, Tensor>) -> Self {
        let fixture = Fixture::load(fixture);
        let mut weights = HashMap::new();
        for (name, tensor) in fixture.0.iter().filter_map(|(k, v)| Some((k.strip_prefix("w.")?, v))) {
            let name = our_name(name);
            let transposed = tensor.rank() == 2 && !name.contains("emb.weight");
            let mut tensor =
                if transposed { tensor.t().unwrap().contiguous().unwrap() } else { tensor.clone() };
            if let Some(delta) = deltas.get(&name) {
                tensor = (tensor + delta).unwrap();
            }
            weights.insert(name, Weight { var: Var::from_tensor(&tensor).unwrap(), transposed });
        }
        let shape = |name: &str| weights[name].var.dims().to_vec();
        let (classes, width) = (shape("content_emb.emb.weight")[0], shape("content_emb.emb.weight")[1]);
        let config = Config {
            layers: (0..).take_while(|i| weights.contains_key(&format!("blocks.{i}.ln2.weight"))).count(),
            width,
            heads: 4,
            cond_width: shape("blocks.0.cross_attn.k.weight")[0],
            mlp_ratio: shape("blocks.0.mlp.fc1.weight")[1] / width,
            codebook: classes - 1,
            rows: shape("content_emb.height_emb.weight")[0],
            max_columns: shape("content_emb.width_emb.weight")[0],
            timesteps: shape("blocks.0.ln1.emb.weight")[0],
            position: PositionKind::RowMajor,
            mask_padding: false,
        };
        let tensors = weights.iter().map(|(name, w)| (name.clone(), w.var.as_tensor().clone())).collect();
        let vs = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let transformer = Transformer::new(&config, Precision::F32, vs).unwrap();
        Self { transformer, weights }
    }

    /// The same network for inference, computed with `precision`.
    pub(super) fn frozen(&self, precision: Precision) -> Transformer {
        let tensors =
            self.weights.iter().map(|(name, w)| (name.clone(), w.var.as_detached_tensor())).collect();
        let vs = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        Transformer::new(self.transformer.config(), precision, vs).unwrap()
    }

    /// Logits `[batch, length, codebook]` under prompt features `cond`.
    pub(super) fn logits(&self, ids: &[u32], t: &[usize], cond: &Tensor) -> Tensor {
        let ids = Tensor::from_vec(ids.to_vec(), (t.len(), ids.len() / t.len()), &Device::Cpu).unwrap();
        let condition = self.transformer.condition(cond, None).unwrap();
        self.transformer.forward(&ids, t, &condition).unwrap()
    }
}
