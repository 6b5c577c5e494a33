//! What the clip module's tests share.
#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{Clip, Placement, Provenance, TokenGrid, grid};
use crate::service::request::{SamplerKind, Settings};

/// A new folder of the system's temporary one, removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("soundlocd-test-{}-{number}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Noise of a decaying level, the same each time, in any length.
pub(crate) fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u64;
    (0..len)
        .map(|n| {
            // Knuth's MMIX generator.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let x = (state >> 40) as f32 / 8_388_608.0 - 1.0;
            grid::snap(0.9 * x * (-3.0 * n as f32 / len as f32).exp())
        })
        .collect()
}

/// A clip whose provenance holds what is hard to store.
pub(crate) fn clip(audio: Vec<f32>) -> Clip {
    let provenance = Provenance {
        prompt: "Glocken & \u{1F514} \"läuten\" <leise> صوت".into(),
        negative_prompt: Some("hiss".into()),
        seed: u64::MAX,
        variation: 3,
        pack_name: "default".into(),
        pack_hash: "ab".repeat(32),
        settings: Settings {
            seconds: 0.7,
            steps: 25,
            guidance: 1.1,
            truncation: 0.33,
            sampler: SamplerKind::Ancestral,
        },
        adapters: vec![super::AdapterUse { name: "bells".into(), hash: "cd".repeat(32), strength: 0.7 }],
        edit: Some(super::EditNote::Vary { amount: 0.3 }),
        engine_version: "0.1.0".into(),
        created_unix: 1_700_000_000,
    };
    Clip::new(audio, provenance)
}

/// `clip` with the tokens that it could come from, in five rows.
pub(crate) fn with_grid(clip: Clip, is_loop: bool) -> Clip {
    let samples = clip.audio.len();
    let columns = samples.div_ceil(4_096);
    let tokens = (0..5 * columns as u32).map(|n| n * 37 % 1_024).collect();
    let placement = Placement { first: 0, samples, asked: samples, gain: 0.7 };
    let grid = TokenGrid::new(tokens, 5, 16, "ef".repeat(32), placement).unwrap();
    let grid = if is_loop { grid.looped().unwrap() } else { grid };
    Clip { grid: Some(Arc::new(grid)), loop_range: is_loop.then_some((0, samples)), ..clip }
}
