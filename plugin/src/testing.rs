//! A generator without a model, for tests and for looking at the window: plucked tones whose pitch
//! follows the seed. And adapter files that change nothing.

use std::{ops::ControlFlow, path::Path, sync::Arc, time::Duration};

use soundlocd_engine::{
    MEL_BANDS, SAMPLE_RATE,
    clip::{AdapterUse, Clip, Provenance},
    lora::{BaseId, Card},
    service::{Edit, GenerateError, Generator, PackInfo, Preview, Progress, Request},
};

/// Makes tones instead of the prompt's sound. The prompt "fail" fails, "panic" panics.
pub struct ToneGenerator {
    /// How long each step takes.
    pub step_time: Duration,
}

impl Generator for ToneGenerator {
    fn generate(
        &mut self,
        request: &Request,
        variation: u32,
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Clip, GenerateError> {
        let steps = request.settings.steps;
        for step in 1..=steps {
            std::thread::sleep(self.step_time);
            if request.prompt == "fail" && step == 3 {
                return Err(GenerateError::stage("testing", "The model said no."));
            }
            assert!(request.prompt != "panic" || step != 3, "the model fell over");
            let preview = Some(Arc::new(preview(request, step as f32 / steps as f32)));
            if on_progress(Progress { step, steps, preview }).is_break() {
                return Err(GenerateError::Cancelled);
            }
        }
        Ok(tone(request, variation))
    }

    fn describe(&self) -> PackInfo {
        PackInfo { name: "tones".to_owned(), ..PackInfo::default() }
    }
}

/// Frequency of the tone of a request, in Hz.
pub fn frequency(seed: u64, variation: u32) -> f32 {
    220.0 * 2f32.powf(((seed % 12) as f32 + variation as f32) / 12.0)
}

/// The sound of a request.
pub fn tone(request: &Request, variation: u32) -> Clip {
    let frequency = frequency(request.seed, variation);
    let seconds = request.settings.seconds;
    let len = (seconds * SAMPLE_RATE as f32) as usize;
    let sample = |i: usize| {
        let t = i as f32 / SAMPLE_RATE as f32;
        let partials = [1.0f32, 2.0, 3.0, 5.0, 8.0];
        let sum: f32 = partials
            .iter()
            .map(|p| (std::f32::consts::TAU * frequency * p * t).sin() / p * (-t * p * 3.0 / seconds).exp())
            .sum();
        let fade = (i as f32 / 100.0).min((len - i) as f32 / 2000.0).min(1.0);
        // On the 24-bit grid, as every clip.
        (sum * fade * 0.35 * 8_388_608.0).round() / 8_388_608.0
    };
    Clip::new(
        (0..len).map(sample).collect::<Vec<f32>>(),
        Provenance {
            prompt: request.prompt.clone(),
            seed: request.seed,
            variation,
            settings: request.settings.clone(),
            pack_name: "tones".to_owned(),
            edit: request.edit.as_ref().map(Edit::note),
            adapters: request
                .adapters
                .iter()
                .map(|one| AdapterUse {
                    name: one.path.display().to_string(),
                    hash: one.hash.clone(),
                    strength: one.strength,
                })
                .collect(),
            ..Provenance::default()
        },
    )
}

/// Noise from which bands emerge.
fn preview(request: &Request, done: f32) -> Preview {
    let frames = (request.settings.seconds * SAMPLE_RATE as f32 / 256.0) as usize;
    let mut state = request.seed ^ 0x9E37_79B9_7F4A_7C15 ^ u64::from(done.to_bits());
    let mut mel = Vec::with_capacity(MEL_BANDS * frames);
    for band in 0..MEL_BANDS {
        for frame in 0..frames {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (state >> 40) as f32 / (1u64 << 24) as f32;
            let ridge = (-((band % 11) as f32 - 3.0).powi(2) / 3.0).exp();
            let signal = ridge * (-(frame as f32) / frames as f32 * 2.0).exp();
            mel.push(signal * done + noise * (1.0 - done) * 0.8);
        }
    }
    Preview { mel, frames }
}

/// Writes an adapter of rank 1 whose matrices are zero, as another program would: a safetensors file with PEFT's names
/// and our card.
#[allow(clippy::unwrap_used, reason = "for tests")]
pub fn write_adapter(path: &Path, title: &str, base: &BaseId, triggers: &[&str]) {
    const WIDTH: usize = 8;
    let card = Card {
        format: soundlocd_engine::lora::FORMAT,
        title: title.to_owned(),
        author: "A. Tester".to_owned(),
        licence: "CC0-1.0".to_owned(),
        triggers: triggers.iter().map(|text| (*text).to_owned()).collect(),
        rank: 1,
        alpha: 1.0,
        base: base.clone(),
        ..Card::default()
    };
    let name = |letter: char| format!("base_model.model.blocks.0.self_attn.q.lora_{letter}.weight");
    let mut header = serde_json::json!({ "__metadata__": { "soundlocd.adapter": card.to_json().unwrap() } });
    header[name('A')] =
        serde_json::json!({"dtype": "F32", "shape": [1, WIDTH], "data_offsets": [0, 4 * WIDTH]});
    header[name('B')] =
        serde_json::json!({"dtype": "F32", "shape": [WIDTH, 1], "data_offsets": [4 * WIDTH, 8 * WIDTH]});
    let mut header = header.to_string();
    // The data begin at a multiple of eight.
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8 * WIDTH]].concat();
    std::fs::write(path, bytes).unwrap();
}
