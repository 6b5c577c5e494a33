//! Spectrogram pictures: the engine's log-mel front end, as the preview shows it too.

use std::sync::OnceLock;

use soundlocd_engine::{
    codec::mel::{MelFrontEnd, frame_count},
    service::Preview,
};

/// The log-mel spectrogram of mono `audio` at 22.05 kHz.
#[must_use]
pub fn spectrogram(audio: &[f32]) -> Preview {
    static FRONT_END: OnceLock<MelFrontEnd> = OnceLock::new();
    let mel = FRONT_END.get_or_init(MelFrontEnd::new).log_mel_bands(audio);
    Preview { mel, frames: frame_count(audio.len()) }
}

/// Dark blue through violet and orange to pale yellow: the usual map of spectrograms, monotonic in
/// brightness. Red, green and blue in 0..=255 at equal steps.
const COLOURS: [[f32; 3]; 9] = [
    [10.0, 12.0, 20.0],
    [24.0, 20.0, 54.0],
    [55.0, 24.0, 95.0],
    [98.0, 30.0, 110.0],
    [146.0, 40.0, 104.0],
    [196.0, 58.0, 84.0],
    [234.0, 96.0, 52.0],
    [250.0, 160.0, 40.0],
    [252.0, 240.0, 176.0],
];

/// The colour of a spectrogram value in [0, 1]; anything else is clamped.
#[must_use]
pub fn colour(value: f32) -> [u8; 3] {
    let last = COLOURS.len() - 1;
    let place = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) * last as f32 };
    let index = (place as usize).min(last - 1);
    let blend = place - index as f32;
    match COLOURS.get(index..index + 2) {
        Some([low, high]) => std::array::from_fn(|c| (low[c] + (high[c] - low[c]) * blend).round() as u8),
        _ => [0; 3],
    }
}

/// The picture as `(width, height, RGB bytes)`, low bands at the bottom. `None` if it is empty or
/// its size does not fit its data.
#[must_use]
pub fn paint(picture: &Preview) -> Option<(usize, usize, Vec<u8>)> {
    let width = picture.frames;
    if width == 0 || !picture.mel.len().is_multiple_of(width) {
        return None;
    }
    let height = picture.mel.len() / width;
    let pixels = picture.mel.chunks_exact(width).rev().flatten().flat_map(|value| colour(*value));
    Some((width, height, pixels.collect()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use soundlocd_engine::{MEL_BANDS, SAMPLE_RATE};

    #[test]
    fn a_low_tone_is_bright_near_the_bottom() {
        let step = std::f32::consts::TAU * 220.0 / SAMPLE_RATE as f32;
        let audio: Vec<f32> = (0..SAMPLE_RATE).map(|i| 0.5 * (step * i as f32).sin()).collect();
        let (width, height, pixels) = paint(&spectrogram(&audio)).unwrap();
        assert_eq!(height, MEL_BANDS);
        let brightness = |row: usize| -> u32 {
            pixels[row * width * 3..(row + 1) * width * 3].iter().map(|x| u32::from(*x)).sum()
        };
        let brightest = (0..height).max_by_key(|row| brightness(*row)).unwrap();
        assert!(brightest > height * 3 / 4, "row {brightest}");
    }

    #[test]
    fn odd_sizes_and_values_are_refused_or_clamped() {
        assert!(paint(&Preview { mel: vec![0.0; 7], frames: 2 }).is_none());
        assert!(paint(&Preview::default()).is_none());
        assert_eq!(colour(f32::NAN), colour(0.0));
        assert_eq!(colour(9.0), colour(1.0));
    }
}
