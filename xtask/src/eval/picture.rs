//! Spectrograms as pictures.

use std::path::Path;

use anyhow::{Result, anyhow};
use font8x8::{BASIC_FONTS, UnicodeFonts};
use plotters::backend::BitMapBackend;
use plotters::prelude::{BitMapElement, IntoDrawingArea};
use soundlocd_engine::MEL_BANDS;

/// A picture in memory.
pub struct Picture {
    width: usize,
    height: usize,
    /// Rows from the top, three bytes (red, green, blue) a pixel.
    pixels: Vec<u8>,
}

impl Picture {
    /// An empty picture of one colour.
    pub fn new(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, pixels: colour.repeat(width * height) }
    }

    /// A frame-major spectrogram `[frames, 80]`, `zoom` pixels a bin, low bands below; at least one
    /// frame wide and cut after `most` frames.
    pub fn of_mel(mel: &[f32], zoom: usize, most: usize) -> Self {
        let frames = (mel.len() / MEL_BANDS).clamp(1, most);
        let mut picture = Self::new(frames * zoom, MEL_BANDS * zoom, magma(0.0));
        for y in 0..picture.height {
            for x in 0..picture.width {
                let band = MEL_BANDS - 1 - y / zoom;
                let value = mel.get(x / zoom * MEL_BANDS + band).copied().unwrap_or_default();
                picture.set(x, y, magma(value));
            }
        }
        picture
    }

    /// Sets a pixel; one outside is ignored.
    fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width
            && let Some(pixel) = self.pixels.get_mut(3 * (y * self.width + x)..).and_then(|p| p.get_mut(..3))
        {
            pixel.copy_from_slice(&colour);
        }
    }

    /// Puts another picture's upper left corner at `(left, top)`; what reaches outside is cut.
    pub fn paste(&mut self, other: &Self, left: usize, top: usize) {
        for y in 0..other.height {
            for x in 0..other.width {
                let at = 3 * (y * other.width + x);
                self.set(left + x, top + y, [other.pixels[at], other.pixels[at + 1], other.pixels[at + 2]]);
            }
        }
    }

    /// Writes ASCII text, 8 x 8 pixels a character; others become question marks.
    pub fn write(&mut self, text: &str, left: usize, top: usize, colour: [u8; 3]) {
        for (i, character) in text.chars().enumerate() {
            let glyph = BASIC_FONTS.get(character).or_else(|| BASIC_FONTS.get('?')).unwrap_or_default();
            for (y, row) in glyph.iter().enumerate() {
                for x in (0..8).filter(|x| row >> x & 1 == 1) {
                    self.set(left + 8 * i + x, top + y, colour);
                }
            }
        }
    }

    /// Writes the picture as a PNG file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let size = (self.width as u32, self.height as u32);
        let failed = |error: &dyn std::fmt::Display| anyhow!("could not write {}: {error}", path.display());
        let element = BitMapElement::with_owned_buffer((0, 0), size, self.pixels.clone())
            .ok_or_else(|| failed(&"the picture has no pixels"))?;
        let area = BitMapBackend::new(path, size).into_drawing_area();
        area.draw(&element).map_err(|error| failed(&error))?;
        area.present().map_err(|error| failed(&error))
    }
}

/// A colour scale like matplotlib's "magma": black, purple, red, pale yellow; lightness rises
/// evenly. `value` is cut to `[0, 1]`.
pub fn magma(value: f32) -> [u8; 3] {
    const STOPS: [[f32; 3]; 6] = [
        [0.0, 0.0, 4.0],
        [59.0, 15.0, 112.0],
        [140.0, 41.0, 129.0],
        [222.0, 73.0, 104.0],
        [254.0, 159.0, 109.0],
        [252.0, 253.0, 191.0],
    ];
    let value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
    let position = value * (STOPS.len() - 1) as f32;
    let lower = (position as usize).min(STOPS.len() - 2);
    let share = position - lower as f32;
    std::array::from_fn(|i| (STOPS[lower][i] + share * (STOPS[lower + 1][i] - STOPS[lower][i])).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spectrograms_have_low_bands_below() {
        let mut mel = vec![0.0; 2 * MEL_BANDS];
        mel[0] = 1.0;
        let picture = Picture::of_mel(&mel, 1, 100);
        assert_eq!((picture.width, picture.height), (2, MEL_BANDS));
        let below_left = 3 * (MEL_BANDS - 1) * 2;
        assert_eq!(picture.pixels[below_left..below_left + 3], magma(1.0));
        assert_eq!(picture.pixels[..3], magma(0.0));
        assert_eq!(Picture::of_mel(&[], 2, 100).width, 2);
        assert_eq!(Picture::of_mel(&mel, 2, 1).width, 2);
    }

    #[test]
    fn pasting_and_writing_outside_is_cut() {
        let mut picture = Picture::new(10, 10, [0; 3]);
        picture.write("A\u{1F600}", 4, 4, [255; 3]);
        picture.paste(&Picture::new(5, 5, [9; 3]), 8, 8);
        assert_eq!(picture.pixels.len(), 300);
        assert_eq!(picture.pixels[297..], [9, 9, 9]);
        assert!(picture.pixels.contains(&255));
    }

    #[test]
    fn the_colour_scale_gets_lighter_and_takes_any_value() {
        let lightness = |value| {
            let [r, g, b] = magma(value).map(f32::from);
            0.3 * r + 0.6 * g + 0.1 * b
        };
        assert!((0..50).all(|i| lightness(i as f32 / 50.0) < lightness((i + 1) as f32 / 50.0)));
        assert_eq!(magma(f32::NAN), magma(0.0));
    }
}
