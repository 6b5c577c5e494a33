//! Weights that a run starts from or builds on: of an earlier run, or of a pack.

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use soundlocd_engine::codec::Codec;
use soundlocd_engine::codec::patch::{self, PatchCodec};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::pack::{Pack, Part, sha256_hex};
use std::collections::HashMap;
use std::path::Path;

/// The codec of a run's `weights.safetensors`, of a pack folder, or (without `path`) of the built-in pack; and the hash
/// of its weights.
pub fn codec(path: Option<&Path>, device: &Device) -> Result<(Codec, String)> {
    let pack = match path {
        None => Some(Pack::embedded()?),
        Some(path) if path.is_dir() => Some(Pack::open(path)?),
        Some(_) => None,
    };
    let path = match (pack, path) {
        (Some(pack), _) => {
            let hash = pack.manifest().files.weights(Part::Codec).sha256.clone();
            return Ok((pack.codec(device)?, hash));
        }
        (None, Some(path)) => path,
        (None, None) => bail!("there is no codec"),
    };
    let bytes = read(path)?;
    let hash = sha256_hex(&bytes);
    let (config, tensors) = run_weights(path, &bytes, device)?;
    let config: patch::Config =
        serde_json::from_str(&config).with_context(|| format!("{} is not a codec's", path.display()))?;
    let vs = VarBuilder::from_tensors(tensors, DType::F32, device);
    Ok((Codec::Patch(PatchCodec::new(&config, Precision::fastest(), vs)?), hash))
}

/// Overwrites all variables of `map` with those of a run's `weights.safetensors` or of a pack folder's `part`.
pub fn start_from(path: &Path, part: Part, map: &VarMap, device: &Device) -> Result<()> {
    let tensors = if path.is_dir() {
        Pack::open(path)?.weights(part)?.tensors()?
    } else {
        run_weights(path, &read(path)?, device)?.1
    };
    let data = map.data().lock().map_err(|_| anyhow::anyhow!("the variables are poisoned"))?;
    for (name, var) in data.iter() {
        let tensor = tensors.get(name).with_context(|| format!("{}: {name} is missing", path.display()))?;
        ensure!(
            tensor.shape() == var.shape(),
            "{}: {name}: expected {:?}, found {:?}",
            path.display(),
            var.shape(),
            tensor.shape()
        );
        var.set(&tensor.to_dtype(DType::F32)?.to_device(device)?)?;
    }
    Ok(())
}

/// The architecture in the header of a run's weights, and the tensors.
fn run_weights(path: &Path, bytes: &[u8], device: &Device) -> Result<(String, HashMap<String, Tensor>)> {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes)
        .with_context(|| format!("{} is not a safetensors file", path.display()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let config =
        metadata.get("config").with_context(|| format!("{} names no architecture", path.display()))?;
    Ok((config.clone(), candle_core::safetensors::load_buffer(bytes, device)?))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("could not read {}", path.display()))
}
