//! Low-rank adaptation (SPEC 7.1).

use super::{Fixture, Fixtures, Network, ParityError, Report, Tolerance, network};
use crate::diffusion::transformer::Config;
use crate::lora::{Adapter, Target};
use candle_core::Tensor;
use std::collections::BTreeMap;

/// `lora`: one matrix, all logits with the adapter beside and inside the weights, merged weights, the count.
pub(super) fn stage(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("lora")?;
    let mut report = Report::default();
    let base = Network::main(fixtures)?.transformer;
    let matrices = fixture.part("lora.");
    let adapter = adapter(&fixture, base.config(), |name| Ok(matrices.get(name).cloned()))?;
    let (count, recorded) = (adapter.parameters() as f64, fixture.number("lora_params")?);
    report.numbers("lora_params", &[count], &[recorded], Tolerance::Exact);

    let (ids, t, cond) = (fixture.ids("ids")?, fixture.counts("t")?, fixture.get("cond")?);
    let (beside, inside) =
        (base.clone().adapted(&[(&adapter, 1.0)])?, base.clone().merged(&[(&adapter, 1.0)])?);
    let without = base.clone().adapted(&[(&adapter, 0.0)])?;
    for (name, transformer) in [
        ("out.logits_base", &base),
        ("out.logits_base", &without),
        ("out.logits_lora", &beside),
        ("out.logits_lora", &inside),
    ] {
        let logits = network::logits(transformer, &ids, &t, &cond)?;
        report.pair(name, &logits, &fixture.class_last(name)?, Tolerance::ACTIVATION)?;
    }

    // Recorded of the first block's query alone.
    let matrix = |transformer: &crate::diffusion::transformer::Transformer, name: &str| {
        let target = name.parse::<Target>()?;
        let missing = || fixture.unusable(name, "names no matrix of the transformer");
        transformer.matrix(target).cloned().ok_or_else(missing)
    };
    let y = matrix(&beside, "blocks.0.self_attn.q")?.forward(&fixture.get("x_lin")?)?;
    report.tensor(&fixture, "y_lin", &y, Tolerance::ACTIVATION)?;
    for name in fixture.under("merged.") {
        let ours = network::our_name(&name);
        let weight = matrix(&inside, ours.trim_end_matches(".weight"))?.weight()?.t()?.contiguous()?;
        report.tensor(&fixture, &format!("merged.{name}"), &weight, Tolerance::ACTIVATION)?;
    }
    Ok(report)
}

/// The adapter whose matrices `find` has under names such as `blocks.0.self_attn.q.A`, for the targets that `fixture`
/// lists, with its rank and alpha.
pub(super) fn adapter(
    fixture: &Fixture,
    config: &Config,
    find: impl Fn(&str) -> Result<Option<Tensor>, ParityError>,
) -> Result<Adapter, ParityError> {
    let mut pairs = BTreeMap::new();
    for target in Target::all(config, &crate::lora::Projection::ALL) {
        let names = (format!("{target}.A"), format!("{target}.B"));
        if let (Some(a), Some(b)) = (find(&names.0)?, find(&names.1)?) {
            pairs.insert(target, (a, b));
        }
    }
    Ok(Adapter::new(config, fixture.number("r")?, fixture.number("alpha")?, pairs)?)
}
