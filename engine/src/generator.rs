//! From a request to a clip with the parts of a model pack: the whole signal path.
//!
//! ```text
//! prompt -> text features -> token grid, denoised step by step -> log-mel -> waveform -> clip
//! ```

mod adapters;
mod preview;

use crate::clip::{AdapterUse, Clip, ClipError, Provenance};
use crate::diffusion::transformer::{Condition, Transformer};
use crate::diffusion::{Canvas, DiffusionError, Sampler, SamplerConfig, Schedule};
use crate::lora::BaseId;
use crate::pack::{Model, Pack, PackError, Sampling};
use crate::service::{GenerateError, Generator, PackInfo, Progress, Request, Timings};
use adapters::Adapters;
use candle_core::{Device, Tensor};
use preview::Previewer;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The [`Generator`] that a model pack makes.
#[derive(Debug)]
pub struct PackGenerator {
    info: PackInfo,
    sampling: Sampling,
    schedule: Schedule,
    model: Model,
    adapters: Adapters,
    device: Device,
    previews: bool,
    notice: Option<String>,
    timings: Timings,
}

impl PackGenerator {
    /// Loads all parts of `pack` onto `device`.
    ///
    /// # Errors
    /// When a file of the pack is missing, damaged or does not fit its manifest.
    pub fn load(pack: &Pack, device: &Device) -> Result<Self, PackError> {
        let model = pack.load(device)?;
        let manifest = pack.manifest();
        let info = PackInfo {
            name: manifest.name.clone(),
            hash: pack.hash().to_owned(),
            licence: manifest.licence.clone(),
            parameters: model.parameters,
        };
        Ok(Self {
            info,
            sampling: manifest.sampling,
            schedule: manifest.schedule()?,
            model,
            adapters: Adapters::new(BaseId::of(pack), device),
            device: device.clone(),
            previews: true,
            notice: None,
            timings: Timings::default(),
        })
    }

    /// The same without previews, for callers that show none: decoding them takes time.
    #[must_use]
    pub fn without_previews(mut self) -> Self {
        self.previews = false;
        self
    }

    /// The same with something that the musician should know: see [`Generator::notice`].
    #[must_use]
    pub fn with_notice(mut self, notice: Option<String>) -> Self {
        self.notice = notice;
        self
    }

    /// The prompt as the transformer sees it; with guidance, the negative (or empty) one as a second of the batch.
    fn condition(
        &self,
        transformer: &Transformer,
        request: &Request,
        guided: bool,
    ) -> Result<Condition, GenerateError> {
        const STAGE: &str = "reading the prompt";
        let mut prompts = vec![request.prompt.as_str()];
        if guided {
            prompts.push(request.negative_prompt.as_deref().unwrap_or_default());
        }
        let text =
            self.model.text.encode_batch(&prompts).map_err(|error| GenerateError::stage(STAGE, error))?;
        transformer
            .condition(&text.features, Some(&text.mask))
            .map_err(|error| GenerateError::stage(STAGE, error))
    }

    /// Denoises a grid of `columns` columns; returns its tokens, time-major, and the number of steps.
    fn denoise(
        &self,
        (transformer, condition): (&Transformer, &Condition),
        config: SamplerConfig,
        columns: usize,
        (seed, variation): (u64, u32),
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(Vec<u32>, u32), GenerateError> {
        let failed = |error: DiffusionError| GenerateError::stage("shaping the sound", error);
        let network = transformer.bind(condition);
        let canvas = Canvas::blank(1, columns * transformer.config().rows);
        let mut sampler =
            Sampler::new(&self.schedule, config, canvas, seed, &[u64::from(variation)]).map_err(failed)?;
        let mut previewer =
            self.previews.then(|| Previewer::new(self.schedule.mask_id(), self.model.codec.rows()));
        let steps = sampler.steps() as u32;
        report(on_progress, Progress { step: 0, steps, preview: None })?;
        while !sampler.is_done() {
            let step = sampler.step(&network).map_err(failed)?.step as u32;
            // The finished grid is decoded anyway.
            let preview = match &mut previewer {
                Some(previewer) if !sampler.is_done() => previewer
                    .of_tokens(sampler.predicted(), sampler.tokens(), |ids| self.mel(ids))
                    .map_err(|error| GenerateError::stage("drawing the preview", error))?,
                _ => None,
            };
            report(on_progress, Progress { step, steps, preview })?;
        }
        Ok((sampler.tokens().to_vec(), steps))
    }

    /// The log-mel spectrogram `[1, 80, 16W]` of time-major `tokens`.
    fn mel(&self, tokens: &[u32]) -> candle_core::Result<Tensor> {
        self.model.codec.decode(&Tensor::from_slice(tokens, (1, tokens.len()), &self.device)?)
    }

    fn provenance(&self, request: &Request, variation: u32, adapters: &[AdapterUse]) -> Provenance {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Provenance {
            prompt: request.prompt.clone(),
            negative_prompt: request.negative_prompt.clone(),
            seed: request.seed,
            variation,
            pack_name: self.info.name.clone(),
            pack_hash: self.info.hash.clone(),
            settings: request.settings.clone(),
            adapters: adapters.to_vec(),
            engine_version: env!("CARGO_PKG_VERSION").to_owned(),
            created_unix: now.as_secs(),
        }
    }
}

/// How often a grid that sounds as silence is drawn anew before the user hears of it.
const SILENT_RETRIES: u64 = 3;

/// The seed of an attempt; the first attempt's is the user's own.
fn attempt_seed(seed: u64, attempt: u64) -> u64 {
    seed ^ attempt.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl PackGenerator {
    /// From a bound prompt to a finished clip, once.
    #[allow(clippy::too_many_arguments)] // one call, of the parts of one request
    fn attempt(
        &self,
        (transformer, condition, adapters): (&Transformer, &Condition, &[AdapterUse]),
        config: SamplerConfig,
        columns: usize,
        seed: u64,
        (request, variation): (&Request, u32),
        timings: &mut Timings,
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Clip, GenerateError> {
        let (tokens, steps) = timed(&mut timings.diffusion, || {
            self.denoise((transformer, condition), config, columns, (seed, variation), on_progress)
        })?;
        let mel = timed(&mut timings.codec, || self.mel(&tokens))
            .map_err(|error| GenerateError::stage("drawing the spectrogram", error))?;
        if self.previews {
            let preview =
                preview::of_mel(&mel).map_err(|error| GenerateError::stage("drawing the preview", error))?;
            report(on_progress, Progress { step: steps, steps, preview: Some(preview) })?;
        }
        let raw =
            timed(&mut timings.vocoder, || self.model.vocoder.forward(&mel)?.squeeze(0)?.to_vec1::<f32>())
                .map_err(|error| GenerateError::stage("sounding the spectrogram", error))?;
        let provenance = self.provenance(request, variation, adapters);
        Ok(timed(&mut timings.finish, || Clip::finish(&raw, request.settings.seconds, provenance))?)
    }
}

impl Generator for PackGenerator {
    fn generate(
        &mut self,
        request: &Request,
        variation: u32,
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Clip, GenerateError> {
        let mut timings = Timings::default();
        let settings = &request.settings;
        let frames = self.model.codec.frames_per_column();
        let columns = settings.columns(frames, self.model.transformer.config().max_columns);
        let config = self.sampling.config(settings, self.schedule.steps());

        let (transformer, adapters) = self
            .adapters
            .apply(&self.model.transformer, &request.adapters)
            .map_err(|error| GenerateError::Adapter(error.to_string()))?;
        let condition =
            timed(&mut timings.text, || self.condition(&transformer, request, config.is_guided()))?;
        let mut attempt = 0;
        let clip = loop {
            let seed = attempt_seed(request.seed, attempt);
            match self.attempt(
                (&transformer, &condition, &adapters),
                config,
                columns,
                seed,
                (request, variation),
                &mut timings,
                on_progress,
            ) {
                Err(GenerateError::Clip(ClipError::Silent { .. })) if attempt < SILENT_RETRIES => {
                    attempt += 1
                }
                result => break result?,
            }
        };
        timings.total = timings.text + timings.diffusion + timings.codec + timings.vocoder + timings.finish;
        self.timings = timings;
        Ok(clip)
    }

    fn timings(&self) -> Timings {
        self.timings
    }

    fn describe(&self) -> PackInfo {
        self.info.clone()
    }

    fn notice(&self) -> Option<String> {
        self.notice.clone()
    }
}

/// Runs `stage` and adds how long it took.
fn timed<T>(time: &mut Duration, stage: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = stage();
    *time += start.elapsed();
    result
}

/// Reports progress; stops if the client wants that.
fn report(
    on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    progress: Progress,
) -> Result<(), GenerateError> {
    match on_progress(progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(GenerateError::Cancelled),
    }
}

#[cfg(test)]
mod tests;
