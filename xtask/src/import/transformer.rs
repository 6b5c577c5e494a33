//! Diffsound's denoising transformer: sizes and schedule out of the tensors, and what they are called (SPEC 10).

use super::conversion::{Conversion, Origin};
use anyhow::{Context, Result, anyhow, bail, ensure};
use soundlocd_engine::checkpoint::{Checkpoint, StateDict};
use soundlocd_engine::diffusion::transformer::{Config, PositionKind, Transformer};
use soundlocd_engine::diffusion::{ReplacedBy, Schedule, ScheduleConfig};
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::weights::Layout;
use std::collections::BTreeMap;

/// The token embedding, by which a denoiser is recognised.
const EMBEDDING: &str = "transformer.content_emb.emb.weight";

/// The tensors of the denoiser with its text encoder and schedule, named as in `ema`; and in words which ones.
///
/// The moving averages where there are any: the reference samples from these.
///
/// # Errors
/// When the checkpoint has no denoiser.
pub fn find(checkpoint: &Checkpoint) -> Result<(StateDict<'_>, &'static str)> {
    const PLACES: [(&[&str], &str, &str); 4] = [
        (&["ema"], "", "moving averages (EMA)"),
        (&["model"], "transformer.", "weights of the last step (the file has no moving averages)"),
        (&[], "transformer.", "the only weights of the file"),
        (&[], "", "the only weights of the file"),
    ];
    for (keys, prefix, what) in PLACES {
        if let Some(dict) = checkpoint.state_dict(keys)? {
            let dict = dict.below(prefix);
            if dict.contains(EMBEDDING) {
                return Ok((dict, what));
            }
        }
    }
    bail!(
        "{} is not a Diffsound checkpoint: it has no denoiser, that is, no tensor {EMBEDDING} under \"ema\", under \
         \"model\" (as transformer.{EMBEDDING}) or at the top; what it has at the top is: {}",
        checkpoint.path().display(),
        checkpoint.summary()
    );
}

/// The transformer's sizes, as its tensors tell them. The number of heads is not among these: by default a head is 64
/// wide, as in the published model.
///
/// # Errors
/// When a tensor that tells a size is missing, or a size is out of range.
pub fn config(dict: &StateDict<'_>, heads: Option<usize>) -> Result<Config> {
    let table = |name: &str| match dict.shape(name) {
        Some([rows, width]) => Ok((*rows, *width)),
        Some(other) => bail!("{} should be a table and has the shape {other:?}", dict.full_name(name)),
        None => bail!("{} is missing", dict.full_name(name)),
    };
    let (classes, width) = table(EMBEDDING)?;
    let (rows, _) = table("transformer.content_emb.height_emb.weight")?;
    let (max_columns, _) = table("transformer.content_emb.width_emb.weight")?;
    let layers = count(dict, "transformer.blocks.");
    // What most blocks say: one misshapen tensor should be named itself, not all the others.
    let common = |tensor: &str, axis: usize| {
        let mut votes = BTreeMap::<usize, usize>::new();
        for layer in 0..layers {
            let shape = dict.shape(&format!("transformer.blocks.{layer}.{tensor}"));
            if let Some(size) = shape.and_then(|shape| shape.get(axis)) {
                *votes.entry(*size).or_default() += 1;
            }
        }
        let size = votes.into_iter().max_by_key(|(_, count)| *count).map(|(size, _)| size);
        size.with_context(|| {
            format!("{} is missing", dict.full_name(&format!("transformer.blocks.0.{tensor}")))
        })
    };
    let config = Config {
        layers,
        width,
        heads: heads.unwrap_or_else(|| (width / 64).max(1)),
        cond_width: common("attn2.key.weight", 1)?,
        mlp_ratio: common("mlp.0.weight", 0)? / width.max(1),
        codebook: classes.saturating_sub(1),
        rows,
        max_columns,
        timesteps: common("ln1.emb.weight", 0)?,
        // The two quirks of the reference (SPEC 4).
        position: PositionKind::RowMajor,
        mask_padding: false,
    };
    config.validate().map_err(anyhow::Error::msg)?;
    Ok(config)
}

/// How many numbers follow `prefix` in the names: 0 to the largest.
pub fn count(dict: &StateDict<'_>, prefix: &str) -> usize {
    let number = |name: &str| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
    // Far beyond any model; what is larger is refused with the architecture.
    dict.names().filter_map(number).max().map_or(0, |largest| largest.saturating_add(1).min(10_000))
}

/// Where the transformer's tensors are in the checkpoint.
///
/// # Errors
/// Lists all tensors that are missing, misshapen or unexpected.
pub fn conversion<'a>(dict: &StateDict<'a>, config: &Config) -> Result<Conversion<'a>> {
    let layout = Layout::of(|vs| Transformer::new(config, Precision::F32, vs))?;
    let unused = |name: &str| {
        // The text encoder, which is another part; and what is only for training.
        name.starts_with("condition_emb.")
            || name.ends_with(".attn2.mask")
            || ["Lt_history", "Lt_count"].contains(&name)
            || name.starts_with("log_")
    };
    Conversion::new(dict.clone(), &layout, origin, unused)
}

/// What our tensor `name` is called in the checkpoint.
fn origin(name: &str, shape: &[usize]) -> Origin {
    let (place, tensor) = name.rsplit_once('.').unwrap_or(("", name));
    let (block, layer) = place.rsplit_once('.').unwrap_or(("", place));
    let place = match (block.rsplit('.').next().unwrap_or_default(), layer) {
        ("self_attn" | "cross_attn", "q") => format!("{block}.query"),
        ("self_attn" | "cross_attn", "k") => format!("{block}.key"),
        ("self_attn" | "cross_attn", "v") => format!("{block}.value"),
        ("mlp", "fc1") => format!("{block}.0"),
        ("mlp", "fc2") => format!("{block}.2"),
        ("head", "norm") => "to_logits.0".into(),
        ("head", "proj") => "to_logits.1".into(),
        _ => place.to_owned(),
    };
    let place = place.replace(".self_attn.", ".attn1.").replace(".cross_attn.", ".attn2.");
    let published = format!("transformer.{place}.{tensor}");
    // Tables are [rows, width] in both.
    let linear = shape.len() == 2 && !place.ends_with("emb");
    if linear { Origin::Transposed(published) } else { Origin::Plain(published) }
}

/// The noise schedule, as the stored buffers tell it. They are what the weights were trained with; a schedule that they
/// do not agree with at every step would be another model.
///
/// # Errors
/// When a buffer is missing, or they are of another family of schedules than ours.
pub fn schedule(dict: &StateDict<'_>, config: &Config) -> Result<ScheduleConfig> {
    let steps = config.timesteps;
    let buffer = |name: &str, cumulative: bool| -> Result<Vec<f32>> {
        let values = dict.raw_values(name)?;
        let expected = steps + usize::from(cumulative);
        ensure!(
            values.len() == expected,
            "{} should have {expected} values for {steps} timesteps and has {}",
            dict.full_name(name),
            values.len()
        );
        Ok(values)
    };
    let ends = |name: &str| -> Result<(f64, f64)> {
        let values = buffer(name, true)?;
        let at = |index: usize| values.get(index).map_or(f64::NAN, |log| probability(*log));
        Ok((at(0), at(steps.saturating_sub(1))))
    };
    let (keep, mask) = (ends("log_cumprod_at")?, ends("log_cumprod_ct")?);
    let stored = |name: &str| buffer(name, name.contains("cumprod"));
    let mut refusal = None;
    for replaced_by in [ReplacedBy::AllClasses, ReplacedBy::Codebook] {
        let schedule = ScheduleConfig { steps, keep, mask, replaced_by };
        let computed = Schedule::new(config.codebook, &schedule)
            .context("the noise schedule stored in the checkpoint is none that can be used")?;
        match difference(&computed, stored)? {
            None => return Ok(schedule),
            // Of both families, Diffsound's is the likelier: its difference tells more.
            Some((name, text)) => {
                refusal.get_or_insert_with(|| {
                    anyhow!(
                        "{}{text}: the stored noise schedule, which keeps {keep:?} and masks {mask:?}, is not of the \
                         kind that the engine can reproduce",
                        dict.full_name(name)
                    )
                });
            }
        }
    }
    Err(refusal.unwrap_or_else(|| anyhow!("the checkpoint has no noise schedule")))
}

/// The first buffer in which a schedule differs from what is stored, and how.
fn difference(
    schedule: &Schedule,
    stored: impl Fn(&str) -> Result<Vec<f32>>,
) -> Result<Option<(&'static str, String)>> {
    for (name, expected) in schedule.log_buffers() {
        for (t, (found, expected)) in stored(name)?.into_iter().zip(expected).enumerate() {
            let found = f64::from(found);
            // Logarithms in f32; past the last step some are of zero.
            let close = expected == found || (expected - found).abs() <= 1e-5 * expected.abs().max(1.0);
            if !close {
                return Ok(Some((name, format!("[{t}] is {found} instead of {expected}"))));
            }
        }
    }
    Ok(None)
}

/// The probability whose logarithm was rounded to f32: to the six digits that survive, so that 0.9 is 0.9.
fn probability(log: f32) -> f64 {
    let exact = f64::from(log).exp();
    format!("{exact:.5e}").parse().unwrap_or(exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_published_checkpoint() {
        let plain = |name: &str| Origin::Plain(name.into());
        let transposed = |name: &str| Origin::Transposed(name.into());
        for (ours, shape, theirs) in [
            ("content_emb.emb.weight", &[257, 1024][..], plain("transformer.content_emb.emb.weight")),
            ("content_emb.height_emb.weight", &[5, 1024], plain("transformer.content_emb.height_emb.weight")),
            ("blocks.3.ln1.emb.weight", &[100, 1024], plain("transformer.blocks.3.ln1.emb.weight")),
            (
                "blocks.3.ln1_1.linear.weight",
                &[1024, 2048],
                transposed("transformer.blocks.3.ln1_1.linear.weight"),
            ),
            (
                "blocks.18.self_attn.q.weight",
                &[64, 64],
                transposed("transformer.blocks.18.attn1.query.weight"),
            ),
            ("blocks.0.self_attn.proj.bias", &[64], plain("transformer.blocks.0.attn1.proj.bias")),
            ("blocks.0.cross_attn.k.weight", &[512, 64], transposed("transformer.blocks.0.attn2.key.weight")),
            ("blocks.0.cross_attn.v.bias", &[64], plain("transformer.blocks.0.attn2.value.bias")),
            ("blocks.0.ln2.weight", &[64], plain("transformer.blocks.0.ln2.weight")),
            ("blocks.0.mlp.fc1.weight", &[64, 256], transposed("transformer.blocks.0.mlp.0.weight")),
            ("blocks.0.mlp.fc2.bias", &[64], plain("transformer.blocks.0.mlp.2.bias")),
            ("head.norm.weight", &[64], plain("transformer.to_logits.0.weight")),
            ("head.proj.weight", &[64, 256], transposed("transformer.to_logits.1.weight")),
        ] {
            assert_eq!(origin(ours, shape), theirs, "{ours}");
        }
    }

    #[test]
    fn probabilities_survive_their_logarithms() {
        for p in [0.99999_f64, 0.000_009, 0.9, 0.1] {
            assert_eq!(probability(p.ln() as f32), p);
        }
    }
}
