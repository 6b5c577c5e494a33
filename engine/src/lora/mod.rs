//! LoRA (Hu et al., 2021): a frozen matrix `W` is adapted by the product of two small ones,
//! `y = W x + b + s (alpha / r) B (A x)` (SPEC 7.1), in the attention of every block.
//!
//! An [`Adapter`] holds `A` `[rank, in]` and `B` `[out, rank]` for some [`Target`]s, in PEFT's layout; `s` is the
//! strength that a user turns. [`Transformer::adapted`](crate::diffusion::transformer::Transformer::adapted) applies
//! adapters beside the weights, [`Transformer::merged`](crate::diffusion::transformer::Transformer::merged) adds them
//! into a copy of the weights.

mod adapter;
mod low_rank;
mod target;

pub use adapter::{Adapter, LoraError};
pub use low_rank::LowRank;
pub use target::{Attention, Projection, Target, trainable_parameters};
