//! The transformer's activations and logits against the reference's.

use super::*;
use crate::parity::{Fixture, Fixtures, Network, ParityError, Report, Tolerance, network_logits};

/// `dit`: the first block's parts, every block recorded, the logits.
pub(crate) fn activations(fixtures: &Fixtures) -> std::result::Result<Report, ParityError> {
    compare(&fixtures.open("dit")?)
}

/// `dit_grid5x53`: the same at the published token geometry.
pub(crate) fn published_grid(fixtures: &Fixtures) -> std::result::Result<Report, ParityError> {
    compare(&fixtures.open("dit_grid5x53")?)
}

/// Computes every activation that a fixture may have, and compares those that it has.
fn compare(fixture: &Fixture) -> std::result::Result<Report, ParityError> {
    let mut report = Report::default();
    let network = Network::load(fixture)?;
    let model = &network.transformer;
    let (ids, t, cond) = (fixture.ids("ids")?, fixture.counts("t")?, fixture.get("cond")?);
    let mut check = |name: &str, got: &Tensor| -> std::result::Result<(), ParityError> {
        let name = format!("out.{name}");
        if fixture.has(&name) {
            report.tensor(fixture, &name, got, Tolerance::ACTIVATION)?;
        }
        Ok(())
    };
    let logits = network.logits(&ids, &t, &cond)?;
    check("logits", &logits.transpose(1, 2)?)?;
    // As generation has it: scales and shifts looked up in tables.
    let tabulated = network_logits(&model.clone().tabulated()?, &ids, &t, &cond)?;
    check("logits", &tabulated.transpose(1, 2)?)?;

    // The same, in the steps of the blocks.
    let condition = model.condition(&cond, None)?;
    let length = ids.len() / t.len().max(1);
    let timesteps = Tensor::from_vec(t.iter().map(|t| *t as u32).collect::<Vec<_>>(), t.len(), &Device::Cpu)?;
    let ids = Tensor::from_vec(ids, (t.len(), length), &Device::Cpu)?;
    let mut x = model.token.forward(&ids)?.broadcast_add(&model.positions(length, &Device::Cpu)?)?;
    check("content_emb", &x)?;
    for (i, (block, keys_values)) in model.blocks.iter().zip(&condition.keys_values).enumerate() {
        let mut check = |part: &str, got: &Tensor| check(&format!("block{i}.{part}"), got);
        let out = block.forward(&x, &timesteps, keys_values, None)?;
        let h = block.ln1.forward(&x, &timesteps)?;
        check("ln1", &h)?;
        let h = block.self_attn.proj.forward(&block.mix_tokens(&h)?)?;
        check("attn1", &h)?;
        x = (x + h)?;
        let h = block.ln1_1.forward(&x, &timesteps)?;
        check("ln1_1", &h)?;
        let h = block.cross_attn.proj.forward(&block.mix_prompt(&h, keys_values, None)?)?;
        check("attn2", &h)?;
        x = (x + h)?;
        let h = block.ln2.forward(&x)?;
        check("ln2", &h)?;
        check("mlp", &block.fc2.forward(&block.fc1.forward_quick_gelu(&h)?)?)?;
        check("out", &out)?;
        x = out;
    }
    let missed: Vec<_> = fixture.under("out.").into_iter().filter(|name| !known(name, model)).collect();
    if !missed.is_empty() {
        report.fail(format!("recorded, but unknown here: {}", missed.join(", ")));
    }
    Ok(report)
}

/// Whether `compare` computes the activation `name`.
fn known(name: &str, model: &Transformer) -> bool {
    let part = |rest: &str| ["ln1", "attn1", "ln1_1", "attn2", "ln2", "mlp", "out"].contains(&rest);
    let block = |i: &str| i.parse::<usize>().is_ok_and(|i| i < model.blocks.len());
    matches!(name, "logits" | "content_emb")
        || name
            .strip_prefix("block")
            .and_then(|rest| rest.split_once('.'))
            .is_some_and(|(i, rest)| block(i) && part(rest))
}
