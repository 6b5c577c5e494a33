//! What a domain trains on as files, to try the commands that take a folder of recordings.

use super::Domain;
use crate::data::Cache;
use anyhow::{Context, Result};
use soundlocd_engine::SAMPLE_RATE;
use soundlocd_engine::clip::{Clip, Provenance, wav};
use std::path::Path;

/// Writes the recordings that domains train on, those that stop them early included, into `folder`.
///
/// # Errors
/// Where the sound cannot be read or a file not be written.
pub fn write(cache: &Cache, domains: &[Domain], folder: &Path) -> Result<()> {
    let sound = cache.load_sound()?;
    for domain in domains.iter().filter(|domain| domain.has_sound) {
        let folder = folder.join(&domain.name);
        for &clip in domain.train.iter().chain(&domain.dev) {
            let entry = &cache.clips[clip];
            let caption = entry.captions.first().context("a recording without a caption")?;
            let clip = Clip::new(sound.clip_f32(entry), Provenance::default());
            let stem = wav::legal_stem(caption).unwrap_or_else(|| entry.id.clone());
            wav::write_under_free_name(&folder, &stem, &wav::encode(&clip, &wav::Export::at(SAMPLE_RATE))?)?;
        }
        println!("{}: {} recordings", folder.display(), domain.train.len() + domain.dev.len());
    }
    Ok(())
}
