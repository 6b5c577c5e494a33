//! The evaluation's metrics (SPEC 9) with the reference's own features and draws.

use candle_core::{DType, Tensor};
use soundlocd_engine::parity::{Fixture, Fixtures, ParityError, Report, Tolerance};

use crate::eval::metrics;

/// The stage's name.
pub const NAME: &str = "metrics";
/// Parts of the inception score (SPEC 9).
const PARTS: usize = 10;

/// FID, inception score, KID and KL of the recorded features and logits.
pub fn compare(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open(NAME)?;
    let mut report = Report::default();
    let mut close = |name: &str, got: &[f64]| -> Result<(), ParityError> {
        report.numbers(name, got, &fixture.f64(name)?, Tolerance::ACTIVATION);
        Ok(())
    };
    let rows = |name: &str| rows(&fixture, name);
    let (generated, real) = (rows("feat_gen")?, rows("feat_real")?);
    close("fid", &[metrics::frechet_distance(&generated, &real)])?;
    let order = fixture.counts("isc_permutation")?;
    let logits = rows("logits_unbiased_gen")?;
    in_range(&fixture, "isc_permutation", &order, logits.len())?;
    let score = metrics::inception_score(&logits, &order, PARTS);
    close("isc", &[score.mean, score.deviation])?;
    let draws: Vec<_> = draws(&fixture, "kid_idx_gen", generated.len())?
        .into_iter()
        .zip(draws(&fixture, "kid_idx_real", real.len())?)
        .collect();
    let distance = metrics::kernel_distance(&generated, &real, &draws);
    close("kid", &[distance.mean, distance.deviation])?;
    let (real, generated) = (rows("logits_real")?, rows("logits_gen")?);
    let pairs = fixture.counts("gen_to_real")?;
    in_range(&fixture, "gen_to_real", &pairs, real.len())?;
    close("kl", &[metrics::paired_divergence(&real, &generated, &pairs)])?;
    Ok(report)
}

fn rows(fixture: &Fixture, name: &str) -> Result<Vec<Vec<f32>>, ParityError> {
    let tensor: Tensor = fixture.get(name)?.to_dtype(DType::F32)?;
    Ok(tensor.to_vec2()?)
}

/// Rows of indices, all below `limit`.
fn draws(fixture: &Fixture, name: &str, limit: usize) -> Result<Vec<Vec<usize>>, ParityError> {
    let width = fixture.get(name)?.dim(1)?;
    let all = fixture.counts(name)?;
    in_range(fixture, name, &all, limit)?;
    Ok(all.chunks(width.max(1)).map(<[usize]>::to_vec).collect())
}

fn in_range(fixture: &Fixture, name: &str, indices: &[usize], limit: usize) -> Result<(), ParityError> {
    match indices.iter().find(|&&index| index >= limit) {
        None => Ok(()),
        Some(index) => {
            Err(fixture.unusable(name, &format!("has the index {index}, but there are {limit} rows")))
        }
    }
}
