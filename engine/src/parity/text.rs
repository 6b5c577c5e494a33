//! The text encoders (SPEC 3) and their tokenizers.

use super::{Fixture, Fixtures, ParityError, Report, Tolerance};
use crate::pack::Pack;
use crate::text::{Config, Description, Kind, Network, Tokenizer, clip, minilm};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use std::collections::BTreeMap;

/// `clip_text`: CLIP's tower under OpenAI's names, at every block, and with the weights' rounding to f16.
pub(super) fn clip(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("clip_text")?;
    let mut report = Report::default();
    let tensors = clip::from_openai(&fixture.part("w."))?;
    // As a published checkpoint: without any config.json.
    let Config::Clip(config) = Config::infer(Kind::Clip, &tensors, &Description::default())? else {
        return Err(fixture.unusable("w.", "is no CLIP tower"));
    };
    let heads: Option<f64> = fixture.number_if_any("heads");
    let heads = heads.unwrap_or(f64::NAN);
    report.numbers("heads", &[config.num_attention_heads as f64], &[heads], Tolerance::Exact);
    let network = clip::Clip::new(&config, builder(tensors))?;
    let ids = fixture.get("tokens")?.to_dtype(DType::U32)?;
    let ours = network.activations(&ids)?;
    for (index, block) in ours.blocks.iter().enumerate() {
        let name = format!("act.resblock{index}");
        report.tensor(&fixture, &name, block, Tolerance::ACTIVATION)?;
    }
    report.tensor(&fixture, "out_f32_lnfinal", &ours.last_hidden, Tolerance::ACTIVATION)?;
    report.tensor(&fixture, "out_f32_normalised", &network.forward(&ids)?, Tolerance::ACTIVATION)?;
    report.tensor(&fixture, "out_f16_normalised", &ours.features, Tolerance::HALF)?;
    Ok(report)
}

/// `tokenizer`: CLIP's ids of every recorded string.
pub(super) fn tokenizer(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("tokenizer")?;
    let mut report = Report::default();
    let config = clip::Config::vit_b_32();
    let json = clip::tokenizer_json(config.vocab_size)?;
    let tokenizer = Tokenizer::of(&Config::Clip(config), &json)?;
    let bytes = fixture.get("bytes")?.to_dtype(DType::U8)?.to_vec1::<u8>()?;
    let offsets = fixture.counts("offsets")?;
    let tokens = fixture.ids("tokens")?;
    let length = fixture.get("tokens")?.dim(1)?;
    for (i, (at, want)) in offsets.windows(2).zip(tokens.chunks(length.max(1))).enumerate() {
        let text = match at {
            [start, end] => bytes.get(*start..*end).and_then(|bytes| std::str::from_utf8(bytes).ok()),
            _ => None,
        };
        let text = text.ok_or_else(|| fixture.unusable("bytes", "are no UTF-8 text"))?;
        let (ids, _) = tokenizer.encode_batch(&[text], &Device::Cpu)?;
        report.ids(&format!("tokens[{i}] {text:?}"), &ids.flatten_all()?.to_vec1::<u32>()?, want);
    }
    Ok(report)
}

/// `text_t5`: T5's encoder.
pub(super) fn t5(fixtures: &Fixtures) -> Result<Report, ParityError> {
    hugging_face(fixtures, "text_t5", Kind::T5, |network, fixture, report| {
        let (ids, mask) = inputs(fixture)?;
        masked(fixture, "out.last_hidden", &network.forward(&ids, &mask)?, &mask, report)
    })
}

/// `text_clap`: CLAP's RoBERTa and its projection.
pub(super) fn clap(fixtures: &Fixtures) -> Result<Report, ParityError> {
    hugging_face(fixtures, "text_clap", Kind::Clap, |network, fixture, report| {
        let Network::Clap(network) = network else {
            return Err(fixture.unusable("w.", "is no CLAP tower"));
        };
        let (ids, mask) = inputs(fixture)?;
        masked(fixture, "out.last_hidden", &network.hidden(&ids, &mask)?, &mask, report)?;
        report.tensor(fixture, "out.text_embeds", &network.embed(&ids, &mask)?, Tolerance::ACTIVATION)
    })
}

/// `text_clip_hf`: CLIP's tower under Hugging Face's names, before our normalisation.
pub(super) fn clip_hf(fixtures: &Fixtures) -> Result<Report, ParityError> {
    hugging_face(fixtures, "text_clip_hf", Kind::Clip, |network, fixture, report| {
        let Network::Clip(network) = network else {
            return Err(fixture.unusable("w.", "is no CLIP tower"));
        };
        let ids = fixture.get("in.ids")?.to_dtype(DType::U32)?;
        let hidden = network.activations(&ids)?.last_hidden;
        report.tensor(fixture, "out.last_hidden", &hidden, Tolerance::ACTIVATION)
    })
}

/// `text_minilm`: BERT's encoder with random weights.
pub(super) fn minilm(fixtures: &Fixtures) -> Result<Report, ParityError> {
    hugging_face(fixtures, "text_minilm", Kind::Minilm, |network, fixture, report| {
        let (ids, mask) = inputs(fixture)?;
        masked(fixture, "out.last_hidden", &network.forward(&ids, &mask)?, &mask, report)
    })
}

/// Compares the encoder whose weights, under Hugging Face's names, and sizes a fixture holds.
fn hugging_face(
    fixtures: &Fixtures,
    name: &str,
    kind: Kind,
    compare: impl FnOnce(&Network, &Fixture, &mut Report) -> Result<(), ParityError>,
) -> Result<Report, ParityError> {
    let fixture = fixtures.open(name)?;
    let mut report = Report::default();
    let tensors = kind.from_hugging_face(&fixture.part("w."))?;
    // The metadata is what stood in config.json.
    let description = Description::parse(fixture.metadata_as_json().as_bytes())?;
    let config = Config::infer(kind, &tensors, &description)?;
    compare(&Network::new(&config, builder(tensors))?, &fixture, &mut report)?;
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
        Some(folder) => read(&folder.join("tokenizer.json"))?.into(),
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
    let network = minilm::MiniLm::new(&config, builder(minilm::from_hugging_face(&checkpoint)?))?;
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

fn builder(tensors: BTreeMap<String, Tensor>) -> VarBuilder<'static> {
    VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, &Device::Cpu)
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, ParityError> {
    std::fs::read(path)
        .map_err(|error| ParityError::File { file: path.display().to_string(), reason: error.to_string() })
}
