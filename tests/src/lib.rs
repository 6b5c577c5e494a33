//! What the tests in real hosts share: a CLAP host ([`clap_host`]), sounds whose pitch is known
//! ([`sounds`]), plugin states that hold them ([`plugin_state`]) and a look at this process
//! ([`process`]).
//!
//! The CLAP side is hosted with clack-host, which nobody here wrote; the VST3 side is hosted from
//! Python, in `hosts/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "only tests use this crate")]

pub mod clap_host;
pub mod plugin_state;
pub mod process;
pub mod sounds;
