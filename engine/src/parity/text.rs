//! The text encoders (SPEC 3) and their tokenizers.

use super::{Fixture, Fixtures, ParityError, Report, Tolerance};
use crate::pack::Pack;
use crate::text::{Tokenizer, minilm};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use std::collections::HashMap;

/// `text_minilm`: BERT's encoder with random weights.
pub(super) fn minilm(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("text_minilm")?;
    let mut report = Report::default();
    let (ids, mask) = inputs(&fixture)?;
    let config = minilm::Config {
        vocab_size: fixture.number("vocab_size")?,
        hidden_size: fixture.number("hidden_size")?,
        num_hidden_layers: fixture.number("num_hidden_layers")?,
        num_attention_heads: fixture.number("num_attention_heads")?,
        intermediate_size: fixture.number("intermediate_size")?,
        max_position_embeddings: fixture.number("max_position_embeddings")?,
        type_vocab_size: fixture.number("type_vocab_size")?,
        layer_norm_eps: fixture.number("layer_norm_eps")?,
        max_tokens: ids.dim(1)?,
    };
    let network = minilm::MiniLm::new(&config, converted(&fixture.part("w."))?)?;
    let hidden = network.forward(&ids, &mask)?;
    masked(&fixture, "out.last_hidden", &hidden, &mask, &mut report)?;
    Ok(report)
}

/// `text_minilm_real`: the published all-MiniLM-L6-v2. Its tokenizer is the default pack's; its weights (91 MB) are
/// not in the repository, so that the features are compared only where [`Fixtures::with_minilm`] names a folder.
pub(super) fn minilm_real(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("text_minilm_real")?;
    let mut report = Report::default();
    let unreadable = |key: &str, expected| ParityError::Metadata {
        file: fixture.file().to_owned(),
        key: key.to_owned(),
        expected,
        found: fixture.text(key).unwrap_or("nothing").to_owned(),
    };
    let prompts: Vec<String> = fixture
        .text("prompts")
        .and_then(|json| serde_json::from_str(json).ok())
        .ok_or_else(|| unreadable("prompts", "a JSON list of texts"))?;
    let max_tokens = fixture.number("max_length")?;
    let config = minilm::Config { max_tokens, ..minilm::Config::all_minilm_l6_v2() };

    let json = match fixtures.minilm() {
        Some(folder) => read(&folder.join("tokenizer.json"))?,
        None => Pack::embedded().and_then(|pack| pack.tokenizer()).map_err(|error| ParityError::File {
            file: "the default pack's tokenizer".into(),
            reason: error.to_string(),
        })?,
    };
    let tokenizer = Tokenizer::new(&json, config.max_tokens, config.vocab_size)?;
    let (ids, mask) = tokenizer.encode_batch(&prompts, &Device::Cpu)?;
    report.pair("in.ids", &ids, &fixture.get("in.ids")?.to_dtype(DType::U32)?, Tolerance::Exact)?;
    report.pair("in.mask", &mask, &fixture.get("in.mask")?.to_dtype(DType::F32)?, Tolerance::Exact)?;

    let Some(folder) = fixtures.minilm() else {
        report.note = Some("token ids only: the published weights were not given (--minilm)".into());
        return Ok(report);
    };
    let checkpoint =
        candle_core::safetensors::load_buffer(&read(&folder.join("model.safetensors"))?, &Device::Cpu)?;
    let network = minilm::MiniLm::new(&config, converted(&checkpoint)?)?;
    let (ids, mask) = inputs(&fixture)?;
    let hidden = network.forward(&ids, &mask)?;
    masked(&fixture, "out.last_hidden", &hidden, &mask, &mut report)?;
    Ok(report)
}

/// `in.ids` and `in.mask` as our encoders take them.
fn inputs(fixture: &Fixture) -> Result<(Tensor, Tensor), ParityError> {
    Ok((fixture.get("in.ids")?.to_dtype(DType::U32)?, fixture.get("in.mask")?.to_dtype(DType::F32)?))
}

/// Compares features `[batch, tokens, width]` where the mask is 1: at padding they are without meaning.
fn masked(
    fixture: &Fixture,
    name: &str,
    got: &Tensor,
    mask: &Tensor,
    report: &mut Report,
) -> Result<(), ParityError> {
    let mask = mask.unsqueeze(D::Minus1)?;
    let want = fixture.get(name)?.broadcast_mul(&mask)?;
    report.pair(name, &got.broadcast_mul(&mask)?, &want, Tolerance::ACTIVATION)
}

/// A checkpoint of Hugging Face's BERT in our layout.
fn converted(checkpoint: &HashMap<String, Tensor>) -> Result<VarBuilder<'static>, ParityError> {
    let tensors = minilm::from_hugging_face(checkpoint)?.into_iter().collect();
    Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, ParityError> {
    std::fs::read(path)
        .map_err(|error| ParityError::File { file: path.display().to_string(), reason: error.to_string() })
}
