//! The sounds to be judged: what a generator makes of the valid captions.
//!
//! Every finished clip is kept as a WAV file in a folder named after the pack and the settings, so
//! that an interrupted evaluation goes on where it was, and everything that was measured can be
//! listened to.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use soundlocd_engine::SAMPLE_RATE;
use soundlocd_engine::clip::{ClipError, wav};
use soundlocd_engine::codec::mel::MelFrontEnd;
use soundlocd_engine::service::request::{MAX_SECONDS, MIN_SECONDS};
use soundlocd_engine::service::{GenerateError, Generator, Request, Settings};

use crate::data::Cache;

/// A sound made of one valid clip's caption.
pub struct Generated {
    /// The clip whose caption and length it has.
    pub clip: usize,
    /// Its samples at 22.05 kHz; none if it came out silent.
    pub audio: Vec<f32>,
    /// Its log-mel spectrogram, frame-major.
    pub mel: Vec<f32>,
}

/// A name for the folder of everything that this pack makes with these settings.
pub fn folder_name(pack_hash: &str, settings: &Settings) -> String {
    let sampler = format!("{:?}", settings.sampler).to_lowercase();
    let Settings { steps, guidance, truncation, .. } = settings;
    format!("{}-{sampler}-{steps}-guidance-{guidance}-truncation-{truncation}", &pack_hash[..12])
}

/// Makes `per_caption` sounds of the caption of each of `clips`, as long as the clip, or reads those
/// that an earlier run has made. Their seeds follow from the position of the clip in the cache.
pub fn generate(
    generator: &mut dyn Generator,
    cache: &Cache,
    clips: &[usize],
    per_caption: usize,
    settings: &Settings,
    folder: &Path,
) -> Result<Vec<Generated>> {
    std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let progress = ProgressBar::new((clips.len() * per_caption) as u64)
        .with_style(ProgressStyle::with_template("generating {bar:40} {pos}/{len}, {eta} left")?);
    let front_end = MelFrontEnd::new();
    let mut all = Vec::new();
    for &clip in clips {
        for take in 0..per_caption {
            let entry = &cache.clips[clip];
            let path = folder.join(format!("{}-{}.wav", entry.id, take + 1));
            if !path.is_file() {
                let seconds = entry.samples as f32 / SAMPLE_RATE as f32;
                let seconds = seconds.clamp(MIN_SECONDS, MAX_SECONDS);
                let seed = (clip * per_caption + take) as u64;
                let request = Request {
                    settings: Settings { seconds, ..settings.clone() },
                    ..Request::new(entry.captions[0].clone(), seed)
                };
                make(generator, request, &path)?;
            }
            let audio = if path.is_file() { wav::read(&path)?.audio } else { Vec::new() };
            let mel = front_end.log_mel(&audio);
            all.push(Generated { clip, audio, mel });
            progress.inc(1);
        }
    }
    progress.finish();
    Ok(all)
}

/// Makes one sound and writes it to `path`; a silent one is not written.
fn make(generator: &mut dyn Generator, request: Request, path: &Path) -> Result<()> {
    let request = request.validate()?;
    match generator.generate(&request, 0, &mut |_| ControlFlow::Continue(())) {
        Ok(clip) => wav::write(path, &clip, SAMPLE_RATE)
            .with_context(|| format!("could not write {}", path.display())),
        Err(GenerateError::Clip(ClipError::Silent { .. })) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("could not make '{}'", request.prompt)),
    }
}

/// Whether a sound touches full scale three times in a row.
pub fn is_clipped(audio: &[f32]) -> bool {
    audio.windows(3).any(|samples| samples.iter().all(|sample| sample.abs() >= 0.9999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_is_full_scale_held() {
        assert!(is_clipped(&[0.0, 1.0, 1.0, 1.0, 0.5]));
        assert!(!is_clipped(&[0.0, 1.0, 0.9, 1.0, 1.0]));
        assert!(!is_clipped(&[]));
    }
}
