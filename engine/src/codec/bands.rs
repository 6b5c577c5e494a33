//! The one place where spectrograms change their number of mel bands.
//!
//! Vocoders and the front end have [`MEL_BANDS`](crate::MEL_BANDS) bands, and so has every codec that is meant to be
//! heard: for these nothing happens here. A codec of a toy size (checkpoints made for tests) draws fewer; its pictures
//! are stretched to the full number, and what it encodes is squeezed, by linear interpolation along the bands.

use candle_core::{Result, Tensor};

/// `y` `[batch, bands, frames]` with `to` bands instead; `y` itself where it has as many.
///
/// Both ranges are divided evenly: band `b` lies at `(b + 0.5) / bands` of the range, and beyond the centres of the
/// outermost bands their values continue.
///
/// # Errors
/// When `y` is not of three dimensions, or has no bands.
pub(super) fn resample(y: &Tensor, to: usize) -> Result<Tensor> {
    let (_, from, _) = y.dims3()?;
    if from == to {
        return Ok(y.clone());
    }
    if from == 0 {
        candle_core::bail!("codec: a spectrogram without bands");
    }
    let last = (from - 1) as f32;
    let places: Vec<f32> =
        (0..to).map(|b| ((b as f32 + 0.5) * from as f32 / to as f32 - 0.5).clamp(0.0, last)).collect();
    let rows = |round: fn(f32) -> f32| {
        let indices: Vec<u32> = places.iter().map(|place| round(*place) as u32).collect();
        y.contiguous()?.index_select(&Tensor::from_vec(indices, to, y.device())?, 1)
    };
    let (below, above) = (rows(f32::floor)?, rows(f32::ceil)?);
    let shares = places.iter().map(|place| place.fract()).collect();
    let shares = Tensor::from_vec(shares, (1, to, 1), y.device())?;
    &below + (above - &below)?.broadcast_mul(&shares)?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn resampled(bands: &[f32], to: usize) -> Vec<f32> {
        let y = Tensor::from_slice(bands, (1, bands.len(), 1), &Device::Cpu).unwrap();
        resample(&y, to).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn bands_are_interpolated_between_their_centres() {
        assert_eq!(resampled(&[0.0, 1.0], 4), [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(resampled(&[0.0, 1.0, 2.0, 3.0], 2), [0.5, 2.5]);
        assert_eq!(resampled(&[7.0], 3), [7.0; 3]);
        // Of the same number, to the last bit.
        assert_eq!(resampled(&[0.1, 0.7, 0.3], 3), [0.1, 0.7, 0.3]);
    }
}
