//! MelGAN, Diffsound's vocoder: its weight normalisation is folded, for nothing trains here.

use super::conversion::{Conversion, Origin};
use super::transformer::count;
use anyhow::{Result, bail};
use soundlocd_engine::checkpoint::{Checkpoint, StateDict};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::vocoder::melgan::{Config, MelGan};
use soundlocd_engine::weights::Layout;

/// The bias of the first convolution, by which a generator is recognised.
const FIRST: &str = "model.1.bias";

/// The generator's tensors: at the top, or under the names that training frameworks put around them.
///
/// # Errors
/// When there are none.
pub fn find(checkpoint: &Checkpoint) -> Result<StateDict<'_>> {
    for keys in [&[][..], &["state_dict"], &["netG"]] {
        if let Some(dict) = checkpoint.state_dict(keys)?.filter(|dict| dict.contains(FIRST)) {
            return Ok(dict);
        }
    }
    bail!(
        "{} is not a MelGAN generator: it has no tensor {FIRST}; what it has at the top is: {}",
        checkpoint.path().display(),
        checkpoint.summary()
    );
}

/// The generator's sizes, as its tensors tell them.
///
/// # Errors
/// When a size is out of range.
pub fn config(dict: &StateDict<'_>) -> Result<Config> {
    // Four stages halve the channels; each is an upsampling and its residual blocks between two activations.
    let channels = dict.shape(FIRST).and_then(|shape| shape.first()).copied().unwrap_or(0);
    let residual =
        (4..count(dict, "model.")).take_while(|index| dict.contains(&format!("model.{index}.shortcut.bias")));
    // The first convolution is [channels, bands, 7], folded or not.
    let first = ["model.1.weight", "model.1.weight_v"].into_iter().find_map(|name| dict.shape(name));
    let bands = first.and_then(|shape| shape.get(1)).copied().unwrap_or(0);
    let config = Config { bands, ngf: channels / 16, residual_layers: residual.count() };
    config.validate().map_err(anyhow::Error::msg)?;
    Ok(config)
}

/// Where the generator's tensors are in the checkpoint; their names are the published ones.
///
/// # Errors
/// Lists all tensors that are missing, misshapen or unexpected.
pub fn conversion<'a>(dict: &StateDict<'a>, config: &Config) -> Result<Conversion<'a>> {
    let layout = Layout::of(|vs| MelGan::new(config, Precision::F32, vs))?;
    let origin = |name: &str, _: &[usize]| {
        let normalised = name.ends_with("weight") && !dict.contains(name);
        if normalised { Origin::Normalised(name.into()) } else { Origin::Plain(name.into()) }
    };
    Conversion::new(dict.clone(), &layout, origin, |_| false)
}
