//! The log-mel front end (SPEC 1).

use super::{Fixtures, ParityError, Report, Tolerance};
use crate::MEL_BANDS;
use crate::codec::mel::{self, MelFrontEnd};

/// Samples of the reference's clips: 10 s.
const CLIP_SAMPLES: usize = 220_500;
/// Frames that its features keep.
const FEATURE_FRAMES: usize = 860;
/// Of these, the middle ones that its codec sees.
const CODEC_FRAMES: usize = 848;

/// `mel`: filters, magnitudes, spectrogram, the silence after it and the codec's view of it.
pub(super) fn stage(fixtures: &Fixtures) -> Result<Report, ParityError> {
    let fixture = fixtures.open("mel")?;
    let mut report = Report::default();
    let doubles = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();

    let bins = fixture.get("mel_basis")?.dim(1)?;
    let mut basis = vec![0.0; MEL_BANDS * bins];
    for (row, band) in basis.chunks_exact_mut(bins.max(1)).zip(mel::filters()) {
        for (slot, weight) in row.iter_mut().skip(band.first_bin).zip(&band.weights) {
            *slot = *weight;
        }
    }
    report.numbers("mel_basis", &doubles(&basis), &fixture.f64("mel_basis")?, Tolerance::ACTIVATION);

    let mut audio = fixture.f32("wav")?;
    audio.resize(CLIP_SAMPLES, 0.0);
    let front_end = MelFrontEnd::new();
    let first = fixture.get("stft_mag_first8")?.dim(1)?;
    let magnitudes: Vec<Vec<f32>> = (0..first).map(|frame| front_end.magnitudes(&audio, frame)).collect();
    let by_bin: Vec<f64> = (0..bins)
        .flat_map(|bin| {
            magnitudes.iter().map(move |frame| frame.get(bin).map_or(f64::NAN, |&m| f64::from(m)))
        })
        .collect();
    report.numbers("stft_mag_first8", &by_bin, &fixture.f64("stft_mag_first8")?, Tolerance::ACTIVATION);

    let spectrogram = front_end.log_mel_bands(&audio);
    let frames = mel::frame_count(audio.len());
    let columns = |from: usize, to: usize, map: fn(f32) -> f32| -> Vec<f64> {
        let bands = spectrogram.chunks_exact(frames).filter_map(|band| band.get(from..to));
        bands.flatten().map(|&y| f64::from(map(y))).collect()
    };
    let recorded = fixture.get("mel01")?.dim(1)?;
    report.numbers("mel01", &columns(0, recorded, |y| y), &fixture.f64("mel01")?, Tolerance::ACTIVATION);
    let tail = fixture.f64("mel01_tail_const")?;
    for frame in [recorded, FEATURE_FRAMES - 1] {
        let got = columns(frame, frame + 1, |y| y);
        report.numbers("mel01_tail_const", &got, &tail, Tolerance::ACTIVATION);
    }
    let crop = (FEATURE_FRAMES - CODEC_FRAMES) / 2;
    let width = fixture.get("codec_in")?.dim(1)?;
    let got = columns(crop, crop + width, |y| 2.0 * y - 1.0);
    report.numbers("codec_in", &got, &fixture.f64("codec_in")?, Tolerance::ACTIVATION);
    Ok(report)
}
