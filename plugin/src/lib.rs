//! SoundLoCD as a CLAP and VST3 instrument: type a sound, play it.
//!
//! - [`plugin`]: the glue to the plugin formats,
//! - [`params`]: what hosts automate and save,
//! - [`state`]: what projects keep besides,
//! - [`sampler`]: plays clips, on the audio thread,
//! - [`packs`]: the model that a project names,
//! - [`adapters`]: the adapters that it names,
//! - [`library`]: keeps sounds for good,
//! - [`drag`]: drags their files out of the window,
//! - [`preferences`]: what holds for all projects,
//! - [`presets`]: settings and sounds in files,
//! - [`session`]: makes clips, off it,
//! - [`standalone`]: what the program without a host keeps,
//! - [`editor`]: the window.

pub mod adapters;
pub mod drag;
pub mod editor;
pub mod library;
pub mod packs;
pub mod params;
pub mod picture;
pub mod pitch;
pub mod plugin;
pub mod preferences;
pub mod presets;
pub mod repaint;
pub mod sampler;
pub mod session;
pub mod standalone;
pub mod state;
pub mod take;
#[cfg(test)]
mod testing;

pub use plugin::SoundLocd;

// The macros expand to items without documentation and to the formats' unsafe entry points.
#[allow(missing_docs)]
pub mod exports {
    use crate::SoundLocd;

    nice_plug::nice_export_clap!(SoundLocd);
    nice_plug::nice_export_vst3!(SoundLocd);
}
