//! The window without a window: what it looks like, by [snapshots](egui_kittest), and that it can be used with the
//! keyboard and read by screen readers.
//!
//! After a change that is meant: `UPDATE_SNAPSHOTS=1 cargo test --workspace --lib snapshots`, and look at the pictures in
//! `plugin/tests/snapshots`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod dragging;
mod library;
mod panels;
mod raster;
mod stage;
mod tab;

pub use raster::Rasteriser;
pub use stage::Stage;
