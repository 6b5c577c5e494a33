//! What every training run shares: the optimizer, averaged weights and checkpoints.
//!
//! A run draws all its random numbers from `(seed, step)`, so a checkpoint needs no generator
//! state: weights, moments, averages and the step are the whole of it.

mod checkpoint;
mod initialise;
mod objective;
mod optimizer;

pub use checkpoint::{Checkpoint, TrainError};
pub use initialise::initialise;
pub use objective::scalar_with_gradient;
pub use optimizer::{AdamW, AdamWConfig, StepStats};
