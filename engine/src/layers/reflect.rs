//! Reflection padding of signals.

use candle_core::{Result, Tensor, bail};

/// Mirrors `padding` samples at both ends of `[batch, channels, time]`, the end samples themselves not repeated.
///
/// # Errors
/// When the signal is not longer than the padding.
pub fn reflect(x: &Tensor, padding: usize) -> Result<Tensor> {
    let time = x.dim(2)?;
    if time <= padding {
        bail!("reflection padding: {padding} samples do not fit a signal of {time}");
    }
    let mirrored = |indices: Vec<u32>| {
        let count = indices.len();
        x.index_select(&Tensor::from_vec(indices, count, x.device())?, 2)
    };
    let (padding, time) = (padding as u32, time as u32);
    let left = mirrored((1..=padding).rev().collect())?;
    let right = mirrored((time - 1 - padding..time - 1).rev().collect())?;
    Tensor::cat(&[&left, x, &right], 2)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_end_samples_are_not_repeated() {
        let x = Tensor::new(&[[[1f32, 2.0, 3.0, 4.0]]], &Device::Cpu).unwrap();
        let y = reflect(&x, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(y, [3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0]);
        assert!(reflect(&x, 4).is_err());
    }
}
