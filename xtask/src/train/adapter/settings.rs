//! How an adapter is trained.

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use soundlocd_engine::diffusion::PosteriorKind;
use soundlocd_engine::lora::{MAX_RANK, Projection};

/// How long to train, for those who do not want to think about steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// A first impression.
    Quick,
    /// A good adapter of some tens of recordings.
    Standard,
    /// For many recordings.
    Thorough,
}

impl Preset {
    /// Optimizer steps.
    pub fn steps(self) -> u64 {
        match self {
            Self::Quick => 300,
            Self::Standard => 1000,
            Self::Thorough => 3000,
        }
    }
}

/// Everything that determines the result of a training run, besides base and data. Written into the adapter's card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The rank `r`.
    pub rank: usize,
    /// The numerator of the scale `alpha / r`.
    pub alpha: f64,
    /// Matrices of both attentions.
    pub targets: String,
    /// Share of the inputs that LoRA's dropout zeroes.
    pub dropout: f64,
    /// Factor of the contrastive term (lambda); 0 turns it off.
    pub contrastive: f64,
    /// Contrastive negatives (N).
    pub negatives: usize,
    /// Factor of the auxiliary term.
    pub auxiliary: f64,
    /// `diffsound` or `cdcd`.
    pub posterior: String,
    /// Share of the captions that are replaced by the empty one.
    pub drop_caption: f32,
    /// Tokens of a batch.
    pub tokens: usize,
    /// Batches of a step.
    pub accumulate: usize,
    /// Steps.
    pub steps: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Validations without a gain after which training ends; 0: never.
    pub patience: u32,
    /// Shifted and scaled copies of each recording.
    pub copies: usize,
    /// Peak learning rate.
    pub rate: f64,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let steps = Preset::Standard.steps();
        Self {
            rank: 8,
            alpha: 8.0,
            targets: "q,k,v,proj".into(),
            dropout: 0.0,
            contrastive: 5e-5,
            negatives: 10,
            auxiliary: 0.01,
            posterior: "diffsound".into(),
            drop_caption: 0.1,
            tokens: 800,
            accumulate: 1,
            steps,
            validate_every: 100,
            patience: 4,
            copies: 4,
            rate: 2e-3,
            seed: 1,
        }
    }
}

impl Settings {
    /// Refuses what cannot be.
    pub fn validate(&self) -> Result<()> {
        ensure!((1..=MAX_RANK).contains(&self.rank), "the rank is {}; expected 1 to {MAX_RANK}", self.rank);
        ensure!(self.alpha.is_finite() && self.alpha > 0.0, "alpha is {}; expected more than 0", self.alpha);
        ensure!((0.0..1.0).contains(&self.dropout), "dropout is {}; expected 0 to below 1", self.dropout);
        ensure!(
            (0.0..=1.0).contains(&self.drop_caption),
            "drop-caption is {}; expected 0 to 1",
            self.drop_caption
        );
        for (what, value) in
            [("contrastive", self.contrastive), ("auxiliary", self.auxiliary), ("lr", self.rate)]
        {
            ensure!(value.is_finite() && value >= 0.0, "{what} is {value}; expected 0 or more");
        }
        ensure!(self.negatives <= 100, "{} negatives; at most 100 are possible", self.negatives);
        ensure!(
            self.tokens > 0 && self.accumulate > 0 && self.steps > 0,
            "tokens, accumulate and steps start at 1"
        );
        self.projections()?;
        self.posterior_kind()?;
        Ok(())
    }

    /// The matrices to adapt, in the order of the network.
    pub fn projections(&self) -> Result<Vec<Projection>> {
        let wanted: Vec<&str> =
            self.targets.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        for name in &wanted {
            ensure!(
                Projection::ALL.iter().any(|p| p.name() == *name),
                "targets: expected some of q, k, v, proj, found {name}"
            );
        }
        let projections: Vec<Projection> =
            Projection::ALL.into_iter().filter(|p| wanted.contains(&p.name())).collect();
        ensure!(!projections.is_empty(), "targets: expected some of q, k, v, proj");
        Ok(projections)
    }

    /// Which code's posterior.
    pub fn posterior_kind(&self) -> Result<PosteriorKind> {
        match self.posterior.as_str() {
            "diffsound" => Ok(PosteriorKind::Diffsound),
            "cdcd" => Ok(PosteriorKind::Cdcd),
            other => bail!("posterior: expected diffsound or cdcd, found {other}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_s_settings_are_the_defaults_and_nonsense_is_refused() {
        let settings = Settings::default();
        settings.validate().unwrap();
        assert_eq!((settings.rank, settings.contrastive, settings.negatives), (8, 5e-5, 10));
        assert_eq!(settings.projections().unwrap(), Projection::ALL);
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.validate().unwrap_err().to_string()
        };
        assert!(with(|s| s.rank = 0).contains("rank is 0"));
        assert!(with(|s| s.targets = "q,mlp".into()).contains("found mlp"));
        assert!(with(|s| s.targets = ",".into()).contains("targets"));
        assert!(with(|s| s.posterior = "x".into()).contains("found x"));
        assert!(with(|s| s.dropout = 1.0).contains("dropout"));
        assert!(with(|s| s.contrastive = f64::NAN).contains("contrastive"));
    }
}
