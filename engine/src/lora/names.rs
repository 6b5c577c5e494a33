//! What the tensors of adapter files are called, by those who write them.
//!
//! PEFT: `base_model.model.<path>.lora_A.weight`, where `<path>` is the module's path in the network. Ours is
//! `blocks.3.cross_attn.k`; Diffsound's own code says `transformer.blocks.3.attn2.key`, which means the same matrix.
//! kohya-ss: `lora_<prefix>_<path with underscores>.lora_down.weight`, `.lora_up.weight` and `.alpha`.

use super::{Attention, Projection, Target};

/// What a tensor is for its matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// `A`, `[rank, in]`.
    A,
    /// `B`, `[out, rank]`.
    B,
    /// kohya's alpha, a scalar.
    Alpha,
}

/// PEFT's prefix.
const PEFT: &str = "base_model.model.";

/// What each role's tensor name ends with. PEFT's may carry the adapter's name, by default `default`.
const SUFFIXES: [(&str, Role); 7] = [
    (".lora_A.weight", Role::A),
    (".lora_B.weight", Role::B),
    (".lora_A.default.weight", Role::A),
    (".lora_B.default.weight", Role::B),
    (".lora_down.weight", Role::A),
    (".lora_up.weight", Role::B),
    (".alpha", Role::Alpha),
];

/// Parts of tensor names that other kinds of adapters have, and what they are.
const OTHER_KINDS: [(&str, &str); 13] = [
    ("lora_magnitude_vector", "a DoRA adapter"),
    (".dora_scale", "a DoRA adapter"),
    (".lokr_", "a LoKr adapter"),
    (".hada_", "a LoHa adapter"),
    (".oft_", "an OFT adapter"),
    (".boft_", "a BOFT adapter"),
    (".ia3_", "an (IA)3 adapter"),
    (".vera_", "a VeRA adapter"),
    (".hra_", "an HRA adapter"),
    (".lora_mid", "a LoCon adapter with a Tucker core"),
    (".lora_embedding_", "a LoRA of embeddings"),
    (".diff", "a difference of whole weights"),
    ("prompt_embeddings", "a prompt tuning"),
];

/// The kind of adapter that has a tensor of this name, if it is another than LoRA.
pub(super) fn other_kind(tensor: &str) -> Option<&'static str> {
    OTHER_KINDS.into_iter().find(|(part, _)| tensor.contains(part)).map(|(_, kind)| kind)
}

/// The name of a tensor as we write it, PEFT's way.
pub(super) fn peft(target: Target, role: Role) -> String {
    let letter = if role == Role::B { "B" } else { "A" };
    format!("{PEFT}{target}.lora_{letter}.weight")
}

/// Which matrix a tensor belongs to, and as what.
pub(super) fn parse(tensor: &str) -> Option<(Target, Role)> {
    let (module, role) =
        SUFFIXES.into_iter().find_map(|(suffix, role)| Some((tensor.strip_suffix(suffix)?, role)))?;
    let target = match module.strip_prefix("lora_") {
        Some(module) => kohya_target(module)?,
        None => dotted_target(module.strip_prefix(PEFT).unwrap_or(module))?,
    };
    Some((target, role))
}

/// `blocks.3.self_attn.q`, after any of the prefixes that the network has as a part of a larger one.
fn dotted_target(path: &str) -> Option<Target> {
    let path = ["dit.", "transformer.", "transformer."]
        .into_iter()
        .fold(path, |path, prefix| path.strip_prefix(prefix).unwrap_or(path));
    let mut parts = path.split('.');
    let ("blocks", block, attention, projection, None) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    target(block, attention, projection)
}

/// `unet_blocks_3_self_attn_q`: kohya-ss replaces the dots of the path, so that it is found by its ends.
fn kohya_target(path: &str) -> Option<Target> {
    let path = ["unet_", "transformer_", "dit_", "transformer_"]
        .into_iter()
        .fold(path, |path, prefix| path.strip_prefix(prefix).unwrap_or(path));
    let (block, rest) = path.strip_prefix("blocks_")?.split_once('_')?;
    let (attention, projection) = rest.rsplit_once('_')?;
    target(block, attention, projection)
}

fn target(block: &str, attention: &str, projection: &str) -> Option<Target> {
    // Not "007" or "+7": one matrix has one name.
    let number: usize = block.parse().ok()?;
    if number.to_string() != block {
        return None;
    }
    let attention = match attention {
        "attn1" => Attention::SelfAttention,
        "attn2" => Attention::CrossAttention,
        ours => Attention::ALL.into_iter().find(|a| a.name() == ours)?,
    };
    let projection = match projection {
        "query" => Projection::Q,
        "key" => Projection::K,
        "value" => Projection::V,
        ours => Projection::ALL.into_iter().find(|p| p.name() == ours)?,
    };
    Some(Target { block: number, attention, projection })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_program_are_understood() {
        let is = |name: &str, target: &str, role| {
            assert_eq!(parse(name), Some((target.parse().unwrap(), role)), "{name}");
        };
        is("base_model.model.blocks.3.cross_attn.k.lora_A.weight", "blocks.3.cross_attn.k", Role::A);
        is("base_model.model.blocks.0.self_attn.proj.lora_B.weight", "blocks.0.self_attn.proj", Role::B);
        is(
            "base_model.model.transformer.blocks.12.attn2.key.lora_B.default.weight",
            "blocks.12.cross_attn.k",
            Role::B,
        );
        is("transformer.transformer.blocks.1.attn1.proj.lora_A.weight", "blocks.1.self_attn.proj", Role::A);
        is("lora_unet_blocks_3_self_attn_q.lora_down.weight", "blocks.3.self_attn.q", Role::A);
        is("lora_transformer_blocks_11_attn2_value.lora_up.weight", "blocks.11.cross_attn.v", Role::B);
        is("lora_blocks_0_cross_attn_proj.alpha", "blocks.0.cross_attn.proj", Role::Alpha);
    }

    #[test]
    fn what_we_write_is_read() {
        for role in [Role::A, Role::B] {
            let target: Target = "blocks.7.cross_attn.v".parse().unwrap();
            assert_eq!(parse(&peft(target, role)), Some((target, role)));
        }
    }

    #[test]
    fn other_names_are_not() {
        for name in [
            "",
            "blocks.0.self_attn.q.weight",
            "base_model.model.blocks.0.mlp.fc1.lora_A.weight",
            "base_model.model.blocks.00.self_attn.q.lora_A.weight",
            "base_model.model.blocks.+1.self_attn.q.lora_A.weight",
            "base_model.model.blocks.0.self_attn.q.extra.lora_A.weight",
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
            "lora_unet_blocks_0.lora_down.weight",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
        assert_eq!(other_kind("x.blocks.0.attn1.hada_w1_a"), Some("a LoHa adapter"));
        assert_eq!(other_kind("base_model.model.blocks.0.self_attn.q.lora_A.weight"), None);
    }
}
