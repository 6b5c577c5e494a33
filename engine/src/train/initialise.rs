//! Seeded starting weights (candle's CPU generator cannot be seeded).

use crate::diffusion::Noise;
use candle_core::{Result, Tensor};
use candle_nn::VarMap;

/// Overwrites every variable for which `deviation(name, shape)` gives a standard deviation with
/// normal draws of it; the others (biases, norms) keep their constants. Same seed, same weights.
///
/// # Errors
/// When a variable cannot be set.
pub fn initialise(map: &VarMap, seed: u64, deviation: impl Fn(&str, &[usize]) -> Option<f32>) -> Result<()> {
    let data = map.data().lock().map_err(|_| candle_core::Error::Msg("a variable map is poisoned".into()))?;
    let mut names: Vec<&String> = data.keys().collect();
    names.sort();
    for (stream, name) in names.into_iter().enumerate() {
        let Some(var) = data.get(name) else { continue };
        if let Some(deviation) = deviation(name, var.dims()) {
            let mut noise = Noise::new(seed, stream as u64);
            let values: Vec<f32> = (0..var.elem_count()).map(|_| noise.normal() * deviation).collect();
            var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?;
        }
    }
    Ok(())
}
