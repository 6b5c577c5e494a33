//! The numbers of an evaluation, as JSON and as a Markdown table.

use std::fmt::Write;

use serde::Serialize;

use super::metrics::Spread;

/// Everything measured, and on what.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the pack.
    pub pack: String,
    /// SHA-256 of the pack's manifest.
    pub pack_hash: String,
    /// Sampler, steps, guidance and truncation.
    pub settings: String,
    /// Valid clips whose captions were used.
    pub clips: usize,
    /// Sounds generated.
    pub generated: usize,
    /// Share of real clips whose category the classifier recognises.
    pub ceiling: f64,
    /// Share of generated sounds recognised as their caption's category.
    pub accuracy: f64,
    /// The same against other clips' captions: what guessing would reach.
    pub floor: f64,
    /// Fréchet distance.
    pub fid: f64,
    /// Inception score of the generated sounds: mean and deviation.
    pub isc: [f64; 2],
    /// Divergence from the paired real clip.
    pub kl: f64,
    /// Kernel distance: mean and deviation.
    pub kid: [f64; 2],
    /// The same four for a comparison of real clips, where it makes sense: train against valid.
    pub real_fid: f64,
    /// Inception score of the real clips.
    pub real_isc: [f64; 2],
    /// Share of sounds that came out silent.
    pub silent: f64,
    /// Share of sounds that are clipped.
    pub clipped: f64,
    /// Codec round trip, mean absolute log-mel error in dB.
    pub codec_db: f64,
    /// Vocoder on true spectrograms, likewise.
    pub vocoder_db: f64,
    /// Codec and vocoder one after the other, likewise.
    pub codec_and_vocoder_db: f64,
}

impl From<Spread> for [f64; 2] {
    fn from(spread: Spread) -> Self {
        [spread.mean, spread.deviation]
    }
}

impl Report {
    /// Accuracy on generated sounds as a share of what real ones reach.
    pub fn ratio(&self) -> f64 {
        self.accuracy / self.ceiling
    }

    /// The report as a Markdown table.
    pub fn markdown(&self) -> String {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let decibels = |error: f64| format!("{error:.2} dB");
        let spread = |[mean, deviation]: [f64; 2]| format!("{mean:.3} ± {deviation:.3}");
        let rows = [
            ("category recognised, generated sounds", percent(self.accuracy)),
            ("category recognised, real valid clips (ceiling)", percent(self.ceiling)),
            ("generated / ceiling", format!("{:.2}", self.ratio())),
            ("category recognised, shuffled captions (floor)", percent(self.floor)),
            ("FID, generated to real valid clips", format!("{:.3}", self.fid)),
            ("FID, real train to real valid clips", format!("{:.3}", self.real_fid)),
            ("ISc, generated sounds", spread(self.isc)),
            ("ISc, real valid clips", spread(self.real_isc)),
            ("KL, generated to paired real clip", format!("{:.3}", self.kl)),
            ("KID, generated to real valid clips", spread(self.kid)),
            ("silent sounds", percent(self.silent)),
            ("clipped sounds", percent(self.clipped)),
            ("codec round trip, log-mel error", decibels(self.codec_db)),
            ("vocoder on true mels, log-mel error", decibels(self.vocoder_db)),
            ("codec and vocoder, log-mel error", decibels(self.codec_and_vocoder_db)),
        ];
        let mut text = format!(
            "{} ({}), {}; {} sounds of {} valid captions.\n\n| measure | value |\n|---|---|\n",
            self.pack,
            &self.pack_hash[..self.pack_hash.len().min(12)],
            self.settings,
            self.generated,
            self.clips
        );
        for (name, value) in rows {
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {name} | {value} |");
        }
        text
    }
}
