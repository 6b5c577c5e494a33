//! Text encoders as others publish them: their `config.json`, their tensors' names and shapes.

use super::{Kind, TextError};
use candle_core::{Result, Tensor};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// A Hugging Face `config.json`, or what is known without one: nothing.
#[derive(Debug, Clone, Default)]
pub struct Description(Map<String, Value>);

impl Description {
    /// Parses a `config.json`. Of a model with several towers (CLIP, CLAP) the text tower's section counts first.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub fn parse(json: &[u8]) -> std::result::Result<Self, TextError> {
        let mut fields: Map<String, Value> = serde_json::from_slice(json)
            .map_err(|error| TextError::Config(format!("config.json cannot be read: {error}")))?;
        if let Some(Value::Object(tower)) = fields.remove("text_config") {
            fields.extend(tower);
        }
        Ok(Self(fields))
    }

    /// The encoder that it describes, if it is one of ours.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self.0.get("model_type")?.as_str()? {
            "bert" => Some(Kind::Minilm),
            "clip" | "clip_text_model" => Some(Kind::Clip),
            "t5" => Some(Kind::T5),
            "clap" | "clap_text_model" => Some(Kind::Clap),
            _ => None,
        }
    }

    /// A whole number, `default` where there is none.
    pub(super) fn size(&self, name: &str, default: usize) -> std::result::Result<usize, TextError> {
        let Some(value) = self.known(name) else { return Ok(default) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| TextError::Config(format!("{name} is {value}, expected a whole number")))
    }

    /// A number, `default` where there is none.
    pub(super) fn number(&self, name: &str, default: f64) -> std::result::Result<f64, TextError> {
        let Some(value) = self.known(name) else { return Ok(default) };
        value.as_f64().ok_or_else(|| TextError::Config(format!("{name} is {value}, expected a number")))
    }

    /// Refuses a description whose `name` is given and not `expected`.
    pub(super) fn expect(&self, name: &str, expected: &str) -> std::result::Result<(), TextError> {
        match self.known(name) {
            Some(value) if value != expected => {
                Err(TextError::Config(format!("{name} is {value}; only \"{expected}\" is supported")))
            }
            _ => Ok(()),
        }
    }

    fn known(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }
}

/// Renames a checkpoint's tensors (`None` drops one) and transposes the weights of linear maps to `[in, out]`: all
/// matrices but those whose new name `is_table` calls a lookup table.
pub(super) fn convert(
    checkpoint: &HashMap<String, Tensor>,
    rename: impl Fn(&str) -> Option<String>,
    is_table: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Tensor>> {
    checkpoint
        .iter()
        .filter_map(|(name, tensor)| Some((rename(name)?, tensor)))
        .map(|(name, tensor)| {
            let linear = tensor.rank() == 2 && !is_table(&name);
            Ok((name, if linear { tensor.t()?.contiguous()? } else { tensor.clone() }))
        })
        .collect()
}

/// Both dimensions of a matrix.
pub(super) fn dims2(
    tensors: &BTreeMap<String, Tensor>,
    name: &str,
) -> std::result::Result<(usize, usize), TextError> {
    match tensors.get(name).map(Tensor::dims) {
        Some([rows, columns]) => Ok((*rows, *columns)),
        Some(found) => {
            Err(TextError::Config(format!("{name} should be a matrix and has the shape {found:?}")))
        }
        None => Err(TextError::Config(format!("{name} is missing"))),
    }
}

/// How many `PREFIX.0.`, `PREFIX.1.`, ... there are.
pub(super) fn count(tensors: &BTreeMap<String, Tensor>, prefix: &str) -> usize {
    let exists = |index: usize| {
        let start = format!("{prefix}.{index}.");
        tensors.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
    };
    (0..).take_while(|index| exists(*index)).count()
}
