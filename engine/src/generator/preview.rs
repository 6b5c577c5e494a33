//! Pictures of a sound that is still taking shape.

use crate::MEL_BANDS;
use crate::service::Preview;
use candle_core::{Result, Tensor};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// At most one preview in this time: a window shows no more, and each costs a pass of the decoder.
const INTERVAL: Duration = Duration::from_millis(150);

/// Previews may take one part in this many of the time.
const SHARE: u32 = 8;

/// Draws a preview when it is due.
pub(super) struct Previewer {
    mask_id: u32,
    /// Rows of the token grid.
    rows: usize,
    due: Instant,
}

impl Previewer {
    /// The first preview is due at once.
    pub(super) fn new(mask_id: u32, rows: usize) -> Self {
        Self { mask_id, rows, due: Instant::now() }
    }

    /// Whether a preview is wanted now.
    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    /// The picture of `predicted` tokens (none of them masked), with nothing where `tokens` are still masked; both
    /// time-major. `None` when none is due.
    pub(super) fn of_tokens(
        &mut self,
        predicted: &[u32],
        tokens: &[u32],
        decode: impl FnOnce(&[u32]) -> Result<Tensor>,
    ) -> Result<Option<Arc<Preview>>> {
        let start = Instant::now();
        if start < self.due {
            return Ok(None);
        }
        let mut preview = picture(&decode(predicted)?)?;
        let cells = tokens.iter().enumerate().filter(|(_, token)| **token == self.mask_id);
        for (cell, _) in cells {
            hide(&mut preview, cell, (self.rows, tokens.len() / self.rows.max(1)));
        }
        self.due = start + INTERVAL.max(start.elapsed() * SHARE);
        Ok(Some(Arc::new(preview)))
    }
}

/// The picture of a finished spectrogram `[1, 80, frames]`.
pub(super) fn of_mel(mel: &Tensor) -> Result<Arc<Preview>> {
    Ok(Arc::new(picture(mel)?))
}

fn picture(mel: &Tensor) -> Result<Preview> {
    let frames = mel.dim(2)?;
    Ok(Preview { mel: mel.clamp(0f32, 1f32)?.flatten_all()?.to_vec1()?, frames })
}

/// Blanks the rectangle of the token at time-major position `cell` of a grid of `rows` by `columns`.
fn hide(preview: &mut Preview, cell: usize, (rows, columns): (usize, usize)) {
    let (row, column) = (cell % rows.max(1), cell / rows.max(1));
    let bounds = |index: usize, parts: usize, whole: usize| {
        index * whole / parts.max(1)..(index + 1) * whole / parts.max(1)
    };
    let (bands, frames) = (bounds(row, rows, MEL_BANDS), bounds(column, columns, preview.frames));
    for band in preview.mel.chunks_mut(preview.frames.max(1)).skip(bands.start).take(bands.len()) {
        if let Some(frames) = band.get_mut(frames.clone()) {
            frames.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn masked_cells_are_blank_and_the_rest_is_drawn() {
        const MASK: u32 = 9;
        // Two columns; masked are the lowest row of the first and the highest of the second.
        let tokens = [MASK, 1, 1, 1, 1, 1, 1, 1, 1, MASK];
        let decode = |_: &[u32]| Tensor::full(2f32, (1, 80, 32), &Device::Cpu);
        let mut previewer = Previewer::new(MASK, 5);
        let preview = previewer.of_tokens(&[1; 10], &tokens, decode).unwrap().unwrap();
        assert_eq!((preview.mel.len(), preview.frames), (80 * 32, 32));
        for (at, value) in preview.mel.iter().enumerate() {
            let (band, frame) = (at / 32, at % 32);
            let masked = (band < 16 && frame < 16) || (band >= 64 && frame >= 16);
            assert_eq!(*value, if masked { 0.0 } else { 1.0 }, "band {band}, frame {frame}");
        }
        let unneeded = |_: &[u32]| Tensor::zeros((1, 80, 32), DType::F32, &Device::Cpu);
        assert!(previewer.of_tokens(&[1; 10], &tokens, unneeded).unwrap().is_none(), "too soon for another");
    }
}
