//! Agreement with the reference implementation: every part of the engine, stage by stage, against numbers that the
//! reference's own code recorded.
//!
//! A folder of safetensors files holds them; all sizes are read from the files, so that any folder of the same names
//! serves. A [`Stage`] computes what its file holds and [reports](Report) the differences.

mod cdcd;
mod codec_loss;
mod diffusion_ops;
mod fixture;
mod lora;
mod loss;
mod mel;
mod melgan_disc;
mod network;
mod report;
mod schedule;
mod text;

pub use fixture::{Fixture, Fixtures, ParityError};
pub(crate) use network::{Network, logits as network_logits};
pub use report::{Report, Tolerance, values};

use crate::{codec, diffusion, vocoder};

/// One stage: the name of its file, and the comparison.
#[derive(Clone, Copy)]
pub struct Stage {
    /// Its name, which is also its file's.
    pub name: &'static str,
    run: fn(&Fixtures) -> Result<Report, ParityError>,
}

impl Stage {
    const fn new(name: &'static str, run: fn(&Fixtures) -> Result<Report, ParityError>) -> Self {
        Self { name, run }
    }

    /// Computes and compares.
    ///
    /// # Errors
    /// When a file or tensor is missing or unusable, or a network cannot be built of it: nothing was compared.
    pub fn compare(&self, fixtures: &Fixtures) -> Result<Report, ParityError> {
        (self.run)(fixtures)
    }
}

/// All stages of the engine, in the order of the signal path.
pub const STAGES: &[Stage] = &[
    Stage::new("mel", mel::stage),
    Stage::new("codec", codec::vqgan::parity::stage),
    Stage::new("codec_loss", codec_loss::stage),
    Stage::new("clip_text", text::clip),
    Stage::new("tokenizer", text::tokenizer),
    Stage::new("text_t5", text::t5),
    Stage::new("text_clap", text::clap),
    Stage::new("text_clip_hf", text::clip_hf),
    Stage::new("text_minilm", text::minilm),
    Stage::new("text_minilm_real", text::minilm_real),
    Stage::new("schedule", schedule::stage),
    Stage::new("dit", diffusion::transformer::parity::activations),
    Stage::new("dit_grid5x53", diffusion::transformer::parity::published_grid),
    Stage::new("diffusion_ops", diffusion_ops::stage),
    Stage::new("loss", loss::stage),
    Stage::new("lora", lora::stage),
    Stage::new("cdcd", cdcd::stage),
    Stage::new("sample_full", diffusion::sampler::parity::full),
    Stage::new("sample_fast", diffusion::sampler::parity::fast),
    Stage::new("sample_var", diffusion::sampler::parity::variation),
    Stage::new("melgan", vocoder::melgan::parity::stage),
    Stage::new("melgan_disc", melgan_disc::stage),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_agrees_with_the_reference() {
        let fixtures = Fixtures::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures"));
        for stage in STAGES {
            let report = stage.compare(&fixtures).unwrap();
            assert!(report.passed(), "{}: {:#?}", stage.name, report.failures);
        }
    }

    #[test]
    fn generation_agrees_as_it_is_composed_for_a_gpu() {
        /// Stages about training, which take gradients through the layers' own operations.
        const TRAINING: [&str; 5] = ["codec_loss", "loss", "lora", "cdcd", "melgan_disc"];
        let fixtures = Fixtures::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures"));
        for stage in STAGES.iter().filter(|stage| !TRAINING.contains(&stage.name)) {
            let report = crate::layers::composed(|| stage.compare(&fixtures)).unwrap();
            assert!(report.passed(), "{}: {:#?}", stage.name, report.failures);
        }
    }

    #[test]
    fn a_fixture_that_is_missing_or_broken_is_an_error_that_names_it() {
        let folder = std::env::temp_dir().join(format!("soundlocd-parity-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let fixtures = Fixtures::new(&folder);
        let message = || STAGES[0].compare(&fixtures).unwrap_err().to_string();
        assert!(message().contains("mel.safetensors"), "{}", message());
        std::fs::write(folder.join("mel.safetensors"), b"not tensors").unwrap();
        assert!(message().contains("mel.safetensors"), "{}", message());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
