//! LoRA (Hu et al., 2021): a frozen matrix `W` is adapted by the product of two small ones,
//! `y = W x + b + s (alpha / r) B (A x)` (SPEC 7.1), in the attention of every block.
//!
//! An [`AdapterFile`] is what was read from disk, with its [`Card`]; an [`Adapter`] is that fitted to a transformer:
//! `A` `[rank, in]` and `B` `[out, rank]` for some [`Target`]s, in PEFT's layout. `s` is the strength that a user
//! turns; several adapters blend by adding up.
//! [`Transformer::adapted`](crate::diffusion::transformer::Transformer::adapted) applies them beside the weights,
//! [`Transformer::merged`](crate::diffusion::transformer::Transformer::merged) adds them into a copy of the weights.

mod adapter;
mod card;
mod error;
mod file;
mod json;
pub mod library;
mod low_rank;
mod names;
mod peft;
mod target;

pub use adapter::Adapter;
pub use card::{BaseId, CARD_KEY, Card, DataSummary, FORMAT};
pub use error::LoraError;
pub use file::{AdapterFile, MAX_BYTES};
pub use library::Library;
pub use low_rank::{Dropout, LowRank};
pub use peft::{CONFIG_FILE, PeftConfig, WEIGHTS_FILE};
pub use target::{Attention, Projection, Target, trainable_parameters};

/// Largest rank that is accepted.
pub const MAX_RANK: usize = 256;
