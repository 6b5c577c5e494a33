//! Discrete diffusion over the token grid: mask-and-replace noising, its posterior, the training
//! loss and the samplers (Gu et al., "Vector Quantized Diffusion Model"; Yang et al., "Diffsound").
//!
//! A clip is a sequence of `length` tokens in `0..codebook`; the extra id `codebook` is `[MASK]`.
//! Timesteps count noise: `t = 0` is one step away from clean, `t = steps - 1` is (nearly) all
//! masked. Classes are the last axis of every tensor: `[batch, length, classes]`.

mod bound;
pub mod contrast;
mod error;
mod forward;
pub mod grid;
mod loss;
mod noise;
mod posterior;
pub(crate) mod sampler;
mod schedule;
#[cfg(test)]
mod testing;
mod time_sampler;
pub mod transformer;
mod truncate;
mod vector;

pub use contrast::{negatives, shuffle_chunks};
pub use error::DiffusionError;
pub use forward::{log_transition, noised_by_gumbel, q_sample};
pub use loss::{DiffusionLoss, LossBatch, loss};
pub use noise::Noise;
pub use posterior::{PosteriorKind, predict_start, q_posterior};
pub use sampler::{Canvas, Method, Sampler, SamplerConfig, StepInfo};
pub use schedule::{Rates, ReplacedBy, Schedule, ScheduleConfig};
pub use time_sampler::TimeSampler;
pub use truncate::{Truncation, truncate};

/// The network: predicts the clean tokens from noisy ones, the prompt already bound.
pub trait Denoiser {
    /// Logits `[batch, length, codebook]` (no `[MASK]` class) of the clean tokens, for noisy `ids`
    /// (u32 `[batch, length]`, `[MASK]` = codebook) at one timestep per sample.
    ///
    /// # Errors
    /// Whatever the network reports.
    fn logits(&self, ids: &candle_core::Tensor, t: &[usize]) -> candle_core::Result<candle_core::Tensor>;
}
