//! What is trained: the matrices of an adapter beside a frozen base, or, to compare with, the whole base.

use super::Settings;
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use soundlocd_engine::diffusion::transformer::{Config, Transformer};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::lora::{Adapter, Dropout, Target};
use soundlocd_engine::pack::{Pack, Part};
use soundlocd_engine::train::initialise;
use std::collections::BTreeMap;

/// How a base is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By an adapter.
    Lora,
    /// All of its weights.
    Full,
}

/// The trainable variables and the network that they are a part of.
pub struct Learner {
    method: Method,
    /// What stays: the base, or, where all is trained, the network of the variables.
    network: Transformer,
    targets: Vec<Target>,
    rank: usize,
    alpha: f64,
    dropout: f64,
    seed: u64,
    variables: VarMap,
    device: Device,
}

impl Learner {
    /// From a pack's transformer. `A` starts as N(0, 1/in), `B` as zero (SPEC 7.1), so that training starts from the
    /// base itself.
    pub fn new(pack: &Pack, method: Method, settings: &Settings, device: &Device) -> Result<Self> {
        let variables = VarMap::new();
        let (network, targets) = match method {
            Method::Lora => {
                let base = pack.transformer(device)?;
                let targets = Target::all(base.config(), &settings.projections()?);
                make_matrices(&variables, base.config(), &targets, settings, device)?;
                (base, targets)
            }
            Method::Full => {
                let vs = VarBuilder::from_varmap(&variables, DType::F32, device);
                let network = Transformer::new(&pack.manifest().transformer, Precision::fastest(), vs)?;
                let weights = pack.weights(Part::Transformer)?;
                for (name, var) in &entries(&variables)? {
                    var.set(&weights.tensor(name)?.to_device(device)?)?;
                }
                (network, Vec::new())
            }
        };
        Ok(Self {
            method,
            network,
            targets,
            rank: settings.rank,
            alpha: settings.alpha,
            dropout: settings.dropout,
            seed: settings.seed,
            variables,
            device: device.clone(),
        })
    }

    /// What is trained.
    pub fn variables(&self) -> &VarMap {
        &self.variables
    }

    /// Sizes of the network.
    pub fn config(&self) -> &Config {
        self.network.config()
    }

    /// The network at its present state, for one step of training: gradients reach the variables.
    pub fn in_training(&self, step: u64) -> Result<Transformer> {
        match self.method {
            Method::Full => Ok(self.network.clone()),
            Method::Lora => {
                let variables = entries(&self.variables)?;
                let adapter = self.adapter(|name| variables.get(name).map(|var| var.as_tensor().clone()))?;
                let seed = self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(step);
                let changes = adapter.in_training(Dropout { rate: self.dropout, seed })?;
                Ok(self.network.clone().changed(changes)?)
            }
        }
    }

    /// The network with these values of the variables, to be used.
    pub fn finished(&self, values: &BTreeMap<String, Tensor>) -> Result<Transformer> {
        match self.method {
            Method::Full => {
                let vs =
                    VarBuilder::from_tensors(values.clone().into_iter().collect(), DType::F32, &self.device);
                Ok(Transformer::new(self.config(), Precision::fastest_on(&self.device), vs)?.tabulated()?)
            }
            Method::Lora => {
                let adapter = self.adapter(|name| values.get(name).cloned())?;
                Ok(self.network.clone().adapted(&[(&adapter, 1.0)])?)
            }
        }
    }

    /// The adapter of values of the variables, by their names.
    pub fn adapter(&self, find: impl Fn(&str) -> Option<Tensor>) -> Result<Adapter> {
        let get = |name: String| find(&name).with_context(|| format!("{name} is not trained"));
        let pairs = self
            .targets
            .iter()
            .map(|target| Ok((*target, (get(format!("{target}.A"))?, get(format!("{target}.B"))?))));
        Ok(Adapter::new(self.config(), self.rank, self.alpha, pairs.collect::<Result<_>>()?)?)
    }
}

fn entries(variables: &VarMap) -> Result<BTreeMap<String, Var>> {
    let data = variables.data().lock().map_err(|_| anyhow::anyhow!("the variables are poisoned"))?;
    Ok(data.iter().map(|(name, var)| (name.clone(), var.clone())).collect())
}

/// The matrices of an adapter that changes nothing yet.
fn make_matrices(
    variables: &VarMap,
    config: &Config,
    targets: &[Target],
    settings: &Settings,
    device: &Device,
) -> Result<()> {
    {
        let mut data = variables.data().lock().map_err(|_| anyhow::anyhow!("the variables are poisoned"))?;
        for target in targets {
            let (input, output) = target.shape(config);
            data.insert(format!("{target}.A"), Var::zeros((settings.rank, input), DType::F32, device)?);
            data.insert(format!("{target}.B"), Var::zeros((output, settings.rank), DType::F32, device)?);
        }
    }
    let deviation = |name: &str, shape: &[usize]| match shape {
        [_, input] if name.ends_with(".A") => Some((1.0 / *input as f32).sqrt()),
        _ => None,
    };
    Ok(initialise(variables, settings.seed, deviation)?)
}
