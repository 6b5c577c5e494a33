//! The neural network layers, each with a forward that is fast on CPU and a backward that a
//! gradient check covers.
//!
//! candle's fused softmax and LayerNorm drop gradients without an error, so nothing here uses
//! them. Shapes are `[batch, tokens, width]` for sequences, `[batch, channels, height, width]`
//! for pictures and `[batch, channels, time]` for waveforms. On the CPU the layers are custom
//! operations over slices; on other devices they are composed of candle's own operations.

mod activation;
mod attention;
#[cfg(test)]
mod composed_tests;
mod convnext;
mod convolution;
mod depthwise;
mod embedding;
#[cfg(test)]
mod gradient_check;
pub mod kernel;
mod linear;
mod norm;
mod op;
mod reflect;
mod softmax;

pub use activation::{gelu_erf, gelu_tanh, leaky_relu, quick_gelu, silu};
pub use attention::{attention, attention_with};
pub use convnext::ConvNext;
pub use convolution::{Activation, Conv1d, Conv2d, ConvGeometry, ConvTranspose1d};
pub use depthwise::Depthwise;
pub use embedding::Embedding;
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm, RmsNorm, adaptive_layer_norm, layer_norm};
#[cfg(test)]
pub(crate) use op::composed;
pub(crate) use op::{is_fused, slice, with_slice};
pub use reflect::reflect;
pub use softmax::{log_softmax, softmax};
