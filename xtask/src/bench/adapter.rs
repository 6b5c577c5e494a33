//! What an adapter of the default rank on all matrices costs a step, beside the weights and merged into them.

use super::{median, timed};
use anyhow::Result;
use candle_core::{Device, Tensor};
use soundlocd_engine::diffusion::Noise;
use soundlocd_engine::diffusion::transformer::{Config, Transformer};
use soundlocd_engine::lora::{Adapter, Projection, Target};
use soundlocd_engine::pack::Pack;
use std::hint::black_box;
use std::time::Duration;

/// The default rank.
const RANK: usize = 8;

/// The time of a step with an adapter as a multiple of one without, on the CPU.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Cost {
    /// The adapter applied beside the weights, as in training and on a GPU.
    pub beside: f64,
    /// The adapter merged into a copy of the weights, as the engine does on the CPU.
    pub merged: f64,
}

/// Measures steps on a grid of `columns`, in turns: on a machine with other work all suffer alike.
pub fn cost(pack: &Pack, columns: usize, batch: usize, runs: u32) -> Result<Cost> {
    let device = Device::Cpu;
    let base = pack.transformer(&device)?;
    let config = *base.config();
    let text = pack.text_encoder(&device)?.encode_batch(&vec!["a heavy wooden door creaks open"; batch])?;
    let adapter = random(&config)?;
    let adapters = [(&adapter, 1.0)];
    let networks = [base.clone(), base.clone().adapted(&adapters)?, base.merged(&adapters)?];
    let length = columns.clamp(1, config.max_columns) * config.rows;
    let ids = Tensor::full(config.codebook as u32, (batch, length), &device)?;
    let t = vec![config.timesteps / 2; batch];
    let conditions = networks
        .iter()
        .map(|network| network.condition(&text.features, Some(&text.mask)))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let step = |network: &Transformer, condition| -> Result<Duration> {
        let (logits, time) = timed(|| network.forward(&ids, &t, condition));
        black_box(logits?);
        Ok(time)
    };
    let mut times = [const { Vec::new() }; 3];
    for run in 0..4 * runs + 1 {
        for ((network, condition), times) in networks.iter().zip(&conditions).zip(&mut times) {
            let time = step(network, condition)?;
            // The first round warms up.
            if run > 0 {
                times.push(time);
            }
        }
    }
    let [plain, beside, merged] = times.map(median);
    Ok(Cost { beside: beside / plain, merged: merged / plain })
}

/// An adapter of the default rank on all matrices.
fn random(config: &Config) -> Result<Adapter> {
    let mut noise = Noise::new(1, 0);
    let mut matrix = |rows: usize, cols: usize| {
        let values: Vec<f32> = (0..rows * cols).map(|_| 0.02 * noise.normal()).collect();
        Tensor::from_vec(values, (rows, cols), &Device::Cpu)
    };
    let mut matrices = std::collections::BTreeMap::new();
    for target in Target::all(config, &Projection::ALL) {
        let (input, output) = target.shape(config);
        matrices.insert(target, (matrix(RANK, input)?, matrix(output, RANK)?));
    }
    Ok(Adapter::new(config, RANK, RANK as f64, matrices)?)
}
