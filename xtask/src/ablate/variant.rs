//! What is compared: the rows of the paper's tables.

use crate::train::adapter::{Method, Settings};
use std::path::{Path, PathBuf};

/// The paper's factor of the contrastive term.
pub const LAMBDA: f64 = 5e-5;

/// One way of adapting a base.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Its key in the results.
    pub key: String,
    /// What is trained; `None`: nothing, the base as it is.
    pub method: Option<Method>,
    /// Rank of an adapter.
    pub rank: usize,
    /// Matrices of an adapter.
    pub targets: &'static str,
    /// Factor of the contrastive term.
    pub lambda: f64,
    /// An adapter that is there already and is only measured.
    pub file: Option<PathBuf>,
}

/// How keys of finished adapters begin.
pub const FINISHED: &str = "adapter ";

/// The matrices of table 3.
pub const TARGETS: [&str; 3] = ["q,v", "q,k,v", "q,k,v,proj"];
/// Its ranks.
pub const RANKS: [usize; 3] = [4, 8, 16];
/// The factors of table 4.
pub const LAMBDAS: [f64; 4] = [0.0, LAMBDA, 5e-4, 5e-3];

impl Variant {
    pub fn base() -> Self {
        Self { key: "base".into(), method: None, rank: 0, targets: "", lambda: 0.0, file: None }
    }

    /// The base with an adapter from a file.
    pub fn finished(file: &Path) -> Self {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        Self { key: format!("{FINISHED}{name}"), file: Some(file.to_owned()), ..Self::base() }
    }

    pub fn full(lambda: f64) -> Self {
        let key = format!("full lambda {lambda:e}");
        Self { key, method: Some(Method::Full), lambda, ..Self::base() }
    }

    pub fn lora(targets: &'static str, rank: usize, lambda: f64) -> Self {
        let key = format!("lora {targets} r{rank} lambda {lambda:e}");
        Self { key, method: Some(Method::Lora), rank, targets, lambda, file: None }
    }

    /// SoundLoCD as the paper has it.
    pub fn soundlocd() -> Self {
        Self::lora("q,k,v,proj", 8, LAMBDA)
    }

    /// All of them, those first that most of the tables need. Table 3 is for one domain only.
    pub fn all(table3: bool) -> Vec<Self> {
        let mut all =
            vec![Self::base(), Self::soundlocd(), Self::lora("q,k,v,proj", 8, 0.0), Self::full(0.0)];
        all.push(Self::full(LAMBDA));
        all.extend(LAMBDAS[2..].iter().map(|&lambda| Self::lora("q,k,v,proj", 8, lambda)));
        if table3 {
            for targets in TARGETS {
                all.extend(RANKS.map(|rank| Self::lora(targets, rank, LAMBDA)));
            }
        }
        let mut seen = Vec::new();
        all.retain(|variant| {
            let is_new = !seen.contains(&variant.key);
            seen.push(variant.key.clone());
            is_new
        });
        all
    }

    /// How it is trained. All the same for all variants, but for the learning rate: whole weights need a smaller one.
    pub fn settings(&self, steps: u64, seed: u64) -> Settings {
        let (adapter_rate, full_rate) = (1e-3, 1e-4);
        Settings {
            rank: self.rank.max(1),
            alpha: self.rank.max(1) as f64,
            targets: if self.targets.is_empty() { "q".into() } else { self.targets.into() },
            contrastive: self.lambda,
            steps,
            validate_every: (steps / 10).max(1),
            patience: 3,
            rate: if self.method == Some(Method::Full) { full_rate } else { adapter_rate },
            seed,
            ..Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_tables_is_there_once() {
        let all = Variant::all(true);
        assert_eq!(all.len(), 15);
        for targets in TARGETS {
            for rank in RANKS {
                assert!(all.contains(&Variant::lora(targets, rank, LAMBDA)));
            }
        }
        assert!(LAMBDAS.iter().all(|&lambda| all.contains(&Variant::lora("q,k,v,proj", 8, lambda))));
        assert!(all.contains(&Variant::full(0.0)) && all.contains(&Variant::full(LAMBDA)));
        assert!(all.iter().all(|variant| variant.settings(100, 1).validate().is_ok()));
    }
}
