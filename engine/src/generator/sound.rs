//! Tokens to sound, straight or around, and sound to tokens.

use crate::clip::{MAX_SAMPLES, Placement, TokenGrid};
use crate::codec::{Codec, mel};
use crate::pack::Model;
use crate::service::{GenerateError, Timings};
use crate::{HOP, MEL_BANDS};
use candle_core::{Device, Result, Tensor};

/// Columns before and after a loop that are decoded with it: more than the default pack's codec (16) and vocoder (2)
/// look around together.
const AROUND: usize = 20;
/// Samples over which the end of a loop is blended into what leads up to its beginning: nothing where both are the
/// same, as they are unless codec or vocoder look further than [`AROUND`].
const BLEND: usize = 512;

/// The log-mel spectrogram `[1, 80, frames]` of time-major `tokens`, and its sound. With `is_loop` both go round.
pub(super) fn of_tokens(
    model: &Model,
    tokens: &[u32],
    is_loop: bool,
    device: &Device,
    timings: &mut Timings,
) -> std::result::Result<(Tensor, Vec<f32>), GenerateError> {
    let (rows, frames) = (model.codec.rows(), model.codec.frames_per_column());
    let columns = tokens.len() / rows.max(1);
    let around = if is_loop { AROUND } else { 0 };
    let decoded = super::timed(&mut timings.codec, || {
        // Starting so far before the loop, at whatever column that is.
        let start = (columns - around % columns.max(1)) * rows;
        let cells = tokens.iter().cycle().skip(start).take((columns + 2 * around) * rows);
        let ids: Vec<u32> = if is_loop { cells.copied().collect() } else { tokens.to_vec() };
        decode(&model.codec, &ids, device)
    })
    .map_err(|error| GenerateError::stage("drawing the spectrogram", error))?;
    let raw =
        super::timed(&mut timings.vocoder, || model.vocoder.forward(&decoded)?.squeeze(0)?.to_vec1::<f32>())
            .map_err(|error| GenerateError::stage("sounding the spectrogram", error))?;
    if !is_loop {
        return Ok((decoded, raw));
    }
    let mel = decoded
        .narrow(2, around * frames, columns * frames)
        .map_err(|error| GenerateError::stage("drawing the spectrogram", error))?;
    let column = frames * HOP;
    Ok((mel, one_round(&raw, around * column, columns * column)))
}

fn decode(codec: &Codec, tokens: &[u32], device: &Device) -> Result<Tensor> {
    codec.decode(&Tensor::from_slice(tokens, (1, tokens.len()), device)?)
}

/// `samples` of `raw` from `first` on, the end blended into what comes before `first`.
fn one_round(raw: &[f32], first: usize, samples: usize) -> Vec<f32> {
    let mut round = raw.get(first..first + samples).unwrap_or_default().to_vec();
    let blend = BLEND.min(samples).min(first);
    let before = raw.get(first - blend..first).unwrap_or_default();
    let start = round.len().saturating_sub(blend);
    for (n, (sample, before)) in round.iter_mut().skip(start).zip(before).enumerate() {
        let share = (n + 1) as f32 / (blend + 1) as f32;
        *sample += share * (before - *sample);
    }
    round
}

/// The tokens of mono `audio` of at least a sample, which is the clip that they belong to.
pub(super) fn to_tokens(
    codec: &Codec,
    audio: &[f32],
    pack_hash: &str,
    device: &Device,
) -> std::result::Result<TokenGrid, GenerateError> {
    const STAGE: &str = "reading the sound";
    let frames = codec.frames_per_column();
    let audio = audio.get(..MAX_SAMPLES).unwrap_or(audio);
    let columns = audio.len().div_ceil(frames * HOP).max(1);
    let mut whole = audio.to_vec();
    whole.resize(columns * frames * HOP, 0.0);
    let mut spectrogram = mel::MelFrontEnd::new().log_mel(&whole);
    // The last frame is centred on the end.
    spectrogram.truncate(columns * frames * MEL_BANDS);
    let tokens = || {
        let bands = mel::to_band_major(&spectrogram);
        let y = Tensor::from_vec(bands, (1, MEL_BANDS, columns * frames), device)?;
        codec.encode(&y)?.squeeze(0)?.to_vec1::<u32>()
    };
    let tokens = tokens().map_err(|error| GenerateError::stage(STAGE, error))?;
    let placement = Placement { first: 0, samples: audio.len(), asked: audio.len(), gain: 1.0 };
    TokenGrid::new(tokens, codec.rows(), frames, pack_hash.to_owned(), placement)
        .map_err(|error| GenerateError::stage(STAGE, error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_round_ends_where_it_begins() {
        // Periodic sound stays bit for bit.
        let raw: Vec<f32> = (0..6_000).map(|n| ((n % 2_000) as f32 * 0.1).sin()).collect();
        assert_eq!(one_round(&raw, 2_000, 2_000), raw[2_000..4_000]);
        // Another one's end leads into what comes before its beginning.
        let raw: Vec<f32> = (0..6_000).map(|n| n as f32).collect();
        let round = one_round(&raw, 2_000, 2_000);
        assert_eq!(round[..1_488], raw[2_000..3_488]);
        assert!((round[1_999] - 1_999.0).abs() < 5.0, "{}", round[1_999]);
        assert_eq!(one_round(&raw, 0, 2_000), raw[..2_000]);
    }
}
