//! Diffsound's spectrogram codec, out of its own training checkpoint or the one of the whole model.

use super::conversion::{Conversion, Origin};
use super::transformer::count;
use anyhow::{Context, Result, bail, ensure};
use soundlocd_engine::checkpoint::{Checkpoint, StateDict};
use soundlocd_engine::codec::vqgan::{Config, Vqgan};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::weights::Layout;

/// The codebook, by which a codec is recognised.
const CODEBOOK: &str = "quantize.embedding.weight";

/// The codec's tensors in a checkpoint of the codec or of the whole model.
///
/// # Errors
/// When it has none.
pub fn find(checkpoint: &Checkpoint) -> Result<StateDict<'_>> {
    for (keys, prefix) in [
        (&["state_dict"][..], ""),
        (&["model"], "content_codec."),
        (&["model"], ""),
        (&[], "content_codec."),
        (&[], ""),
    ] {
        if let Some(dict) = checkpoint.state_dict(keys)? {
            let dict = dict.below(prefix);
            if dict.contains(CODEBOOK) {
                return Ok(dict);
            }
        }
    }
    bail!(
        "{} has no spectrogram codec, that is, no tensor {CODEBOOK} under \"state_dict\" or \"model\" or at the top; \
         what it has at the top is: {}. Name the VQ-VAE's checkpoint by --vqvae",
        checkpoint.path().display(),
        checkpoint.summary()
    );
}

/// The codec's sizes, as its tensors tell them, for grids of up to `columns` columns.
///
/// # Errors
/// When a tensor that tells a size is missing, or a size is out of range.
pub fn config(dict: &StateDict<'_>, columns: usize) -> Result<Config> {
    let size = |name: &str, axis: usize| {
        let size = dict.shape(name).and_then(|shape| shape.get(axis)).copied();
        size.with_context(|| format!("{} is missing", dict.full_name(name)))
    };
    let ch = size("encoder.conv_in.weight", 0)?;
    let levels = count(dict, "encoder.down.");
    ensure!((1..=8).contains(&levels), "the codec has {levels} levels, expected 1 to 8");
    let resolution = columns << (levels - 1);
    let (mut ch_mult, mut attention) = (Vec::new(), Vec::new());
    for level in 0..levels {
        let name = format!("encoder.down.{level}.block.0.conv2.weight");
        let channels = size(&name, 0)?;
        ensure!(
            ch > 0 && channels.is_multiple_of(ch),
            "{} has {channels} channels, expected a multiple of {ch}, as the codec begins with",
            dict.full_name(&name)
        );
        ch_mult.push(channels / ch);
        if dict.contains(&format!("encoder.down.{level}.attn.0.norm.weight")) {
            attention.push(resolution >> level);
        }
    }
    let config = Config {
        ch,
        ch_mult,
        num_res_blocks: count(dict, "encoder.down.0.block."),
        resolution,
        attention,
        z_channels: size("encoder.conv_out.weight", 0)?,
        embed_dim: size(CODEBOOK, 1)?,
        n_embed: size(CODEBOOK, 0)?,
    };
    config.validate().map_err(anyhow::Error::msg)?;
    Ok(config)
}

/// Where the codec's tensors are in the checkpoint; their names are the published ones.
///
/// # Errors
/// Lists all tensors that are missing, misshapen or unexpected.
pub fn conversion<'a>(dict: &StateDict<'a>, config: &Config) -> Result<Conversion<'a>> {
    let layout = Layout::of(|vs| Vqgan::new(config, Precision::F32, vs))?;
    // The networks that the codec was trained against.
    let unused = |name: &str| name.starts_with("loss.");
    Conversion::new(dict.clone(), &layout, |name, _| Origin::Plain(name.into()), unused)
}
