//! A recording of any supported kind to mono sound at the model's rate.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use hound::{SampleFormat, WavReader};
use soundlocd_engine::SAMPLE_RATE;
use soundlocd_engine::clip::resample;

use super::opus;

/// Longest sound that is kept, in seconds; the rest of a longer recording is dropped.
pub const LONGEST_SECONDS: usize = 10;

/// Decodes `path` (Ogg Opus or WAV, told apart by the extension) to mono at 22.05 kHz, at most
/// [`LONGEST_SECONDS`] long.
///
/// # Errors
/// Where the file cannot be read, is malformed or of another kind. The message names the file.
pub fn decode(path: &Path) -> Result<Vec<f32>> {
    decode_file(path).with_context(|| format!("could not decode {}", path.display()))
}

fn decode_file(path: &Path) -> Result<Vec<f32>> {
    let file = BufReader::new(File::open(path)?);
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let (audio, rate) = match extension.as_str() {
        "opus" | "ogg" => {
            let limit = LONGEST_SECONDS * opus::SAMPLE_RATE as usize;
            (opus::decode(file, limit)?, opus::SAMPLE_RATE)
        }
        "wav" => wav(file)?,
        other => bail!("'{other}' files are not supported; use .opus or .wav"),
    };
    Ok(resample(&audio, rate, SAMPLE_RATE)?)
}

/// Reads a WAV file, averaging its channels. Returns samples and their rate.
fn wav(file: BufReader<File>) -> Result<(Vec<f32>, u32)> {
    let mut reader = WavReader::new(file)?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels);
    ensure!(channels > 0 && spec.sample_rate > 0, "the WAV header names no channels or no sample rate");
    let limit = LONGEST_SECONDS * spec.sample_rate as usize * channels;
    let samples: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().take(limit).collect::<Result<_, _>>()?,
        SampleFormat::Int => {
            let full_scale = (1u64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
            let samples = reader.samples::<i32>().take(limit);
            samples.map(|sample| sample.map(|s| s as f32 / full_scale)).collect::<Result<_, _>>()?
        }
    };
    let frames = samples.chunks_exact(channels);
    Ok((frames.map(|frame| frame.iter().sum::<f32>() / channels as f32).collect(), spec.sample_rate))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_stereo_wav_and_names_bad_files() {
        let folder = std::env::temp_dir().join(format!("soundlocd-decode-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("tone.wav");
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: SAMPLE_RATE,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        for sample in [16_384i16, 0, -16_384, -16_384] {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        assert_eq!(decode(&path).unwrap(), [0.25, -0.5]);

        for (name, bytes) in [("cut.wav", &b"RIFF"[..]), ("cut.opus", b"OggS\0"), ("song.mp3", b"ID3")] {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            let message = format!("{:#}", decode(&path).unwrap_err());
            assert!(message.contains(name), "{message}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
