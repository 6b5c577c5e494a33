//! What a base has not heard: the domains that it is adapted to.
//!
//! - **keyboard**: the KEYBOARD category of the default pack's data, which was kept out of the base's training. Some
//!   hundred short recordings of typing and single keys. About a quarter is held out for measuring.
//! - **radio**: a broad shift with more clips. 600 recordings of all other categories as an old radio would play them:
//!   300 to 3400 Hz, with hiss, under captions that say so. Made from the spectrograms, which is all that adapters and
//!   judge see. 120 more, of the valid split, are held out.
//! - any other prepared data set (ESC-50, say): its own splits; its categories are told from the base's by a prefix.

use crate::data::{Cache, ClipEntry, Split};
use anyhow::{Context, Result, ensure};
use half::f16;
use soundlocd_engine::MEL_BANDS;
use soundlocd_engine::codec::mel::{band_centres, compress, expand};
use soundlocd_engine::diffusion::Noise;
use soundlocd_engine::pack::sha256_hex;
use std::path::Path;

/// One domain of the experiment; clips by their index in the rearranged cache.
pub struct Domain {
    /// What it is called.
    pub name: String,
    /// Clips to train on.
    pub train: Vec<usize>,
    /// Clips that stop training early: a tenth of the training split.
    pub dev: Vec<usize>,
    /// Clips to measure on.
    pub test: Vec<usize>,
    /// Whether the cache has the clips' sound, not only their spectrograms.
    pub has_sound: bool,
}

/// The category that was kept from the default pack (`train base --hold-out`).
const HELD_OUT: &str = "KEYBOARD";
/// Category of the radio's clips.
const RADIO: &str = "RADIO";
/// Pass band of the radio, in Hz.
const PASS: (f64, f64) = (300.0, 3400.0);
/// Slope outside of it, in dB an octave.
const SLOPE: f64 = 36.0;
/// Hiss below the loudest bin, in y (0.01 is 1 dB).
const HISS: f32 = 0.35;
/// Clips of the radio for training, and for measuring.
const RADIO_CLIPS: (usize, usize) = (600, 120);
/// One clip in so many is held out of KEYBOARD.
const KEYBOARD_TEST: u32 = 4;
/// One training clip in so many is for stopping early.
const DEV: usize = 10;

/// The data with all domains in it, and the domains. The classifier that judges may learn from every clip of the train
/// split, but from none to be measured on.
pub fn arrange(cache: Cache, others: &[(String, Cache)]) -> Result<(Cache, Vec<Domain>)> {
    let base = cache.clips.len();
    let keyboard: Vec<usize> = (0..base).filter(|&i| cache.clips[i].category == HELD_OUT).collect();
    ensure!(!keyboard.is_empty(), "the data has no category {HELD_OUT}: is it the default pack's?");
    let moved: Vec<(usize, Split)> =
        keyboard.iter().map(|&i| (i, keyboard_split(&cache.clips[i].id))).collect();
    let mut further = radio(&cache);
    let mut names = vec![RADIO.to_lowercase()];
    let mut ends = vec![base + further.len()];
    for (name, other) in others {
        for (i, clip) in other.clips.iter().enumerate() {
            let category = format!("{}: {}", name.to_uppercase(), clip.category);
            further.push((ClipEntry { category, ..clip.clone() }, other.mel(i).to_vec()));
        }
        names.push(name.clone());
        ends.push(base + further.len());
    }
    let cache = cache.rearranged(&format!("ablation 1 {}", names.join(" ")), &moved, further);
    let mut domains = vec![Domain { has_sound: true, ..domain(&cache, "keyboard", &keyboard)? }];
    let mut start = base;
    for (name, end) in names.into_iter().zip(ends) {
        domains.push(domain(&cache, &name, &(start..end).collect::<Vec<_>>())?);
        start = end;
    }
    Ok((cache, domains))
}

fn domain(cache: &Cache, name: &str, clips: &[usize]) -> Result<Domain> {
    let of = |split| clips.iter().copied().filter(move |&i| cache.clips[i].split == split);
    let (mut dev, mut train) = (Vec::new(), Vec::new());
    for (n, clip) in of(Split::Train).enumerate() {
        if n % DEV == DEV - 1 { dev.push(clip) } else { train.push(clip) }
    }
    let test: Vec<usize> = of(Split::Valid).collect();
    ensure!(train.len() >= 10 && test.len() >= 10, "the domain {name} has too few clips");
    Ok(Domain { name: name.to_owned(), train, dev, test, has_sound: false })
}

/// By a hash of the id: the same wherever the clip stands in the list.
fn keyboard_split(id: &str) -> Split {
    let hash = sha256_hex(id.as_bytes());
    let number = hash.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0);
    if number.is_multiple_of(KEYBOARD_TEST) { Split::Valid } else { Split::Train }
}

/// The clips of the radio, evenly chosen from those that the base has heard (train) or not (valid).
fn radio(cache: &Cache) -> Vec<(ClipEntry, Vec<f16>)> {
    let mut out = Vec::new();
    for (split, most) in [(Split::Train, RADIO_CLIPS.0), (Split::Valid, RADIO_CLIPS.1)] {
        let mut clips = cache.indices(split);
        clips.retain(|&clip| cache.clips[clip].category != HELD_OUT);
        let count = most.min(clips.len());
        for n in 0..count {
            let clip = clips[n * clips.len() / count];
            let entry = &cache.clips[clip];
            let captions = entry.captions.iter().map(|caption| on_the_radio(caption)).collect();
            let id = format!("{}-radio", entry.id);
            let entry = ClipEntry { id, category: RADIO.into(), captions, ..entry.clone() };
            out.push((entry, through_a_radio(cache.mel(clip), clip as u64)));
        }
    }
    out
}

fn on_the_radio(caption: &str) -> String {
    format!("{}, heard through an old radio", caption.trim_end_matches(['.', ' ']))
}

/// A spectrogram (frame-major `[frames, 80]`) band-limited, with hiss.
fn through_a_radio(mel: &[f16], seed: u64) -> Vec<f16> {
    let losses: Vec<f32> = band_centres()
        .into_iter()
        .map(|hz| {
            let octaves = (PASS.0 / hz).log2().max((hz / PASS.1).log2()).max(0.0);
            (octaves * SLOPE / 100.0) as f32
        })
        .collect();
    let loudest = mel.iter().map(|y| y.to_f32()).fold(0.0, f32::max);
    let mut noise = Noise::new(seed, 77);
    let mut out = Vec::with_capacity(mel.len());
    for frame in mel.chunks_exact(MEL_BANDS) {
        for (y, loss) in frame.iter().zip(&losses) {
            let signal = y.to_f32() - loss;
            let signal = if signal > 0.0 { expand(signal) } else { 0.0 };
            // The magnitude of noise in a bin follows Rayleigh's distribution.
            let level = loudest - HISS - loss;
            let rayleigh = (-(1.0 - noise.uniform()).max(1e-6).ln()).sqrt();
            let hiss = if level > 0.0 { expand(level) * rayleigh } else { 0.0 };
            out.push(f16::from_f32(compress(signal.hypot(hiss))));
        }
    }
    out
}

/// Opens a further data set; its name is its folder's.
pub fn open(folder: &Path) -> Result<(String, Cache)> {
    let name = folder.file_name().context("a data set needs a name")?.to_string_lossy().to_lowercase();
    Ok((name, Cache::open(folder)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_radio_keeps_the_middle_and_loses_the_ends() {
        let mel = vec![f16::from_f32(0.8); 200 * MEL_BANDS];
        let out = through_a_radio(&mel, 1);
        let centres = band_centres();
        let mean = |low: f64, high: f64| {
            let bands: Vec<usize> =
                (0..MEL_BANDS).filter(|&b| centres[b] >= low && centres[b] < high).collect();
            let values =
                out.chunks_exact(MEL_BANDS).flat_map(|frame| bands.iter().map(|&b| frame[b].to_f32()));
            values.clone().sum::<f32>() / values.count() as f32
        };
        assert!((mean(400.0, 3000.0) - 0.8).abs() < 0.01);
        // An octave above and below the pass band: 36 dB less.
        assert!((mean(6500.0, 7100.0) - 0.44).abs() < 0.03, "{}", mean(6500.0, 7100.0));
        // The lowest band lies at 162 Hz, 0.89 octaves below 300 Hz: 32 dB less.
        assert!((mean(125.0, 170.0) - 0.48).abs() < 0.02, "{}", mean(125.0, 170.0));
        assert_eq!(out, through_a_radio(&mel, 1));
    }

    #[test]
    fn a_clip_is_held_out_wherever_it_stands() {
        let held = (0..1000).filter(|i| keyboard_split(&format!("{i:012x}")) == Split::Valid).count();
        // A quarter, within four standard deviations of a fair draw.
        assert!((held as f64 - 250.0).abs() < 4.0 * (1000.0_f64 * 0.25 * 0.75).sqrt(), "{held}");
    }
}
