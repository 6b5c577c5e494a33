//! The two layouts that CLIP text towers are published in, as ours.

use super::super::published;
use candle_core::{Result, Tensor, bail};
use std::collections::{BTreeMap, HashMap};

/// A checkpoint as Hugging Face publishes it: the text tower alone or the whole model, of which the rest is left out.
///
/// # Errors
/// Whatever the backend reports.
pub fn from_hugging_face(checkpoint: &HashMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    const OTHERS: &[&str] = &["vision_model.", "visual_projection.", "text_projection.", "logit_scale"];
    published::convert(
        checkpoint,
        |name| {
            let name = name.strip_prefix("text_model.").unwrap_or(name);
            // The constant 0, 1, 2, ... is stored by some versions.
            let unused =
                OTHERS.iter().any(|other| name.starts_with(other)) || name.ends_with(".position_ids");
            (!unused).then(|| name.to_owned())
        },
        |name| name.starts_with("embeddings."),
    )
}

/// A checkpoint under OpenAI's names, which Diffsound's checkpoints share (after `condition_emb.`): query, key and
/// value packed in one matrix. What the features do not need (`text_projection`, the picture tower) is left out.
///
/// # Errors
/// When a packed tensor does not divide into three, naming it.
pub fn from_openai(checkpoint: &HashMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let mut unpacked = HashMap::with_capacity(checkpoint.len());
    for (name, tensor) in checkpoint {
        let (stem, kind) = match (name.strip_suffix("in_proj_weight"), name.strip_suffix("in_proj_bias")) {
            (Some(stem), _) => (stem, "weight"),
            (_, Some(stem)) => (stem, "bias"),
            _ => {
                unpacked.insert(name.clone(), tensor.clone());
                continue;
            }
        };
        let rows = tensor.dims().first().copied().unwrap_or(0);
        if rows == 0 || !rows.is_multiple_of(3) {
            bail!("{name}: expected rows of query, key and value, found the shape {:?}", tensor.dims());
        }
        for (index, part) in ["q_proj", "k_proj", "v_proj"].into_iter().enumerate() {
            let third = tensor.narrow(0, index * (rows / 3), rows / 3)?;
            unpacked.insert(format!("{stem}{part}.{kind}"), third);
        }
    }
    published::convert(&unpacked, our_name, |name| name.starts_with("embeddings."))
}

/// Our name of a tensor of OpenAI's; unknown ones keep theirs, so that a check of the layout names them.
fn our_name(name: &str) -> Option<String> {
    /// The picture tower, the projection to the shared space, and numbers that describe the model.
    const OTHERS: &[&str] =
        &["visual.", "text_projection", "logit_scale", "input_resolution", "context_length", "vocab_size"];
    /// Beginnings, then parts within a block.
    const WHOLE: &[(&str, &str)] = &[
        ("token_embedding.", "embeddings.token_embedding."),
        ("positional_embedding", "embeddings.position_embedding.weight"),
        ("ln_final.", "final_layer_norm."),
    ];
    const IN_BLOCK: &[(&str, &str)] = &[
        ("attn.", "self_attn."),
        ("ln_1.", "layer_norm1."),
        ("ln_2.", "layer_norm2."),
        ("mlp.c_fc.", "mlp.fc1."),
        ("mlp.c_proj.", "mlp.fc2."),
    ];
    if OTHERS.iter().any(|other| name.starts_with(other)) {
        return None;
    }
    let replace = |name: &str, table: &[(&str, &str)]| {
        table.iter().find_map(|(theirs, ours)| Some(format!("{ours}{}", name.strip_prefix(theirs)?)))
    };
    let ours = match name.strip_prefix("transformer.resblocks.").and_then(|rest| rest.split_once('.')) {
        Some((index, part)) => replace(part, IN_BLOCK).map(|part| format!("encoder.layers.{index}.{part}")),
        None => replace(name, WHOLE),
    };
    Some(ours.unwrap_or_else(|| name.to_owned()))
}
