//! PEFT's `adapter_config.json`: what of it concerns us, and what would change the meaning of the tensors.

use super::json::{IsSet, Scalar, brief, line, plain, whole};
use super::{Adapter, LoraError, Projection, Target};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Name of the file beside the weights.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// Name of the weights in a PEFT folder.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// A larger file is refused unread.
pub(super) const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The settings of a PEFT adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftConfig {
    /// The rank.
    pub rank: usize,
    /// Alpha such that the scale is `alpha / rank`.
    pub alpha: f64,
}

/// Of which kind it is. Read before the settings of LoRA: another kind may lack them.
#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    peft_type: Option<Scalar>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(deserialize_with = "plain")]
    r: usize,
    #[serde(deserialize_with = "plain")]
    lora_alpha: f64,
    #[serde(default, deserialize_with = "plain")]
    use_dora: bool,
    #[serde(default, deserialize_with = "plain")]
    use_rslora: bool,
    #[serde(default, deserialize_with = "plain")]
    fan_in_fan_out: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    rank_pattern: IsSet,
    #[serde(default)]
    alpha_pattern: IsSet,
    #[serde(default)]
    modules_to_save: IsSet,
}

impl PeftConfig {
    /// Parses `adapter_config.json`; `file` is its name for messages.
    ///
    /// # Errors
    /// When it is no such file, or asks for something other than plain LoRA.
    pub fn parse(file: &str, json: &[u8]) -> Result<Self, LoraError> {
        let card = |what, expected: &str, found: String| LoraError::Card {
            file: file.to_owned(),
            what,
            expected: expected.to_owned(),
            found,
        };
        let kind = |kind: &str, found: &str| LoraError::Kind {
            file: file.to_owned(),
            kind: kind.to_owned(),
            found: found.to_owned(),
        };
        let found: Kind = whole(json).map_err(|error| card("its settings", "PEFT's JSON", brief(&error)))?;
        match found.peft_type.and_then(|kind| kind.0) {
            Some(Value::String(name)) if name == "LORA" => {}
            Some(Value::String(name)) => {
                return Err(kind(&format!("an adapter of the kind {}", line(&name, 40)), "peft_type"));
            }
            _ => return Err(card("its peft_type", "LORA", "none".to_owned())),
        }
        let raw: Raw =
            whole(json).map_err(|error| card("its settings", "those of a LoRA adapter", brief(&error)))?;
        if raw.use_dora {
            return Err(kind("a DoRA adapter", "use_dora"));
        }
        for (is_set, field, what) in [
            (raw.rank_pattern.0, "rank_pattern", "a LoRA with several ranks"),
            (raw.alpha_pattern.0, "alpha_pattern", "a LoRA with several alphas"),
            (raw.modules_to_save.0, "modules_to_save", "a LoRA with whole layers of its own"),
            (raw.fan_in_fan_out, "fan_in_fan_out", "a LoRA for transposed weights"),
            (raw.bias.as_deref().is_some_and(|bias| bias != "none"), "bias", "a LoRA with biases of its own"),
        ] {
            if is_set {
                return Err(kind(what, field));
            }
        }
        // "rsLoRA" divides by the root of the rank.
        let alpha = if raw.use_rslora { raw.lora_alpha * (raw.r as f64).sqrt() } else { raw.lora_alpha };
        Ok(Self { rank: raw.r, alpha })
    }

    /// The `adapter_config.json` that makes PEFT read `adapter` from the file beside it; `dropout` is what it was
    /// trained with.
    #[must_use]
    pub fn json(adapter: &Adapter, dropout: f64) -> String {
        let targets: BTreeSet<Target> = adapter.targets().collect();
        let projections: BTreeSet<&str> = targets.iter().map(|target| target.projection.name()).collect();
        let blocks = targets.iter().map(|target| target.block + 1).max().unwrap_or(0);
        // PEFT selects modules by the ends of their names, which serves only where every block has all of them.
        let everywhere = targets.len() == blocks * 2 * projections.len();
        let modules: Vec<String> = if everywhere {
            Projection::ALL
                .into_iter()
                .filter(|projection| projections.contains(projection.name()))
                .flat_map(|projection| {
                    ["self_attn", "cross_attn"].map(|a| format!("{a}.{}", projection.name()))
                })
                .collect()
        } else {
            targets.iter().map(ToString::to_string).collect()
        };
        let config = json!({
            "peft_type": "LORA",
            "task_type": null,
            "base_model_name_or_path": null,
            "r": adapter.rank(),
            "lora_alpha": adapter.alpha(),
            "lora_dropout": dropout,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "modules_to_save": null,
            "target_modules": modules,
        });
        format!("{config:#}\n")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(change: &[(&str, Value)]) -> Result<PeftConfig, LoraError> {
        let mut config = json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none"});
        for (name, value) in change {
            config[*name] = value.clone();
        }
        PeftConfig::parse(CONFIG_FILE, config.to_string().as_bytes())
    }

    #[test]
    fn plain_lora_is_read() {
        assert_eq!(parse(&[]).unwrap(), PeftConfig { rank: 8, alpha: 16.0 });
        let empty = [("rank_pattern", json!({})), ("modules_to_save", Value::Null)];
        assert_eq!(parse(&empty).unwrap(), PeftConfig { rank: 8, alpha: 16.0 });
        // The scale 16 / sqrt(4) is alpha / rank with alpha 32.
        let rs = [("r", json!(4)), ("use_rslora", json!(true))];
        assert_eq!(parse(&rs).unwrap(), PeftConfig { rank: 4, alpha: 32.0 });
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (field, value, part) in [
            ("use_dora", json!(true), "DoRA"),
            ("peft_type", json!("LOKR"), "LOKR"),
            ("peft_type", json!("LOHA"), "LOHA"),
            ("rank_pattern", json!({"q": 4}), "rank_pattern"),
            ("alpha_pattern", json!({"q": 4}), "alpha_pattern"),
            ("modules_to_save", json!(["head"]), "modules_to_save"),
            ("bias", json!("all"), "bias"),
            ("fan_in_fan_out", json!(true), "fan_in_fan_out"),
            ("r", json!(-1), "settings"),
            ("lora_alpha", json!("x"), "settings"),
        ] {
            let message = parse(&[(field, value)]).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains(CONFIG_FILE), "{message}");
        }
        assert!(PeftConfig::parse("x", b"{").is_err());
    }
}
