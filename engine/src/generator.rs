//! From a request to a clip with the parts of a model pack: the whole signal path.
//!
//! ```text
//! prompt -> text features -> token grid, denoised step by step -> log-mel -> waveform -> clip
//! ```

mod adapters;
mod draft;
mod passes;
mod plan;
mod preview;
mod sound;
mod watch;

use crate::clip::{self, AdapterUse, Clip, ClipError, Provenance, TokenGrid};
use crate::diffusion::Schedule;
use crate::diffusion::transformer::{Condition, Transformer};
use crate::lora::BaseId;
use crate::pack::{Model, Pack, PackError, Sampling};
use crate::service::{
    Edit, EditError, GenerateError, Generator, PackInfo, Progress, Request, Source, Timings,
};
use adapters::Adapters;
use candle_core::Device;
use draft::{Painter, Prompts};
use plan::Plan;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use watch::Watch;

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

    /// The tokens of mono `audio` at [`SAMPLE_RATE`](crate::SAMPLE_RATE): what edits of a sound start from that
    /// the pack has not made. Decoded again it sounds as near as the codec can come.
    ///
    /// # Errors
    /// When `audio` is empty, or the codec fails.
    pub fn encode(&self, audio: &[f32]) -> Result<TokenGrid, GenerateError> {
        sound::to_tokens(&self.model.codec, audio, &self.info.hash, &self.device)
    }

    /// The tokens that an edit starts from.
    fn tokens_of(&self, source: &Source) -> Result<Arc<TokenGrid>, GenerateError> {
        let grid = match source {
            Source::Grid(grid) => Arc::clone(grid),
            Source::Audio(audio) => Arc::new(self.encode(audio)?),
        };
        let fits = grid.rows() == self.model.codec.rows()
            && grid.frames_per_column() == self.model.codec.frames_per_column()
            && grid.tokens().iter().all(|&token| token < self.schedule.mask_id());
        match (grid.pack_hash() == self.info.hash, fits) {
            (true, true) => Ok(grid),
            (true, false) => Err(EditError::Misfit.into()),
            (false, _) => Err(EditError::OtherPack.into()),
        }
    }

    /// A prompt as the transformer sees it; with guidance, the negative (or empty) one as a second of the batch.
    fn condition(
        &self,
        transformer: &Transformer,
        (prompt, negative): (&str, Option<&str>),
        guided: bool,
    ) -> Result<Condition, GenerateError> {
        const STAGE: &str = "reading the prompt";
        let mut prompts = vec![prompt];
        if guided {
            prompts.push(negative.unwrap_or_default());
        }
        let text =
            self.model.text.encode_batch(&prompts).map_err(|error| GenerateError::stage(STAGE, error))?;
        transformer
            .condition(&text.features, Some(&text.mask))
            .map_err(|error| GenerateError::stage(STAGE, error))
    }

    /// The prompts of a request.
    fn prompts(
        &self,
        transformer: &Transformer,
        request: &Request,
        guided: bool,
    ) -> Result<Prompts, GenerateError> {
        let negative = request.negative_prompt.as_deref();
        let condition = |prompt: &str| self.condition(transformer, (prompt, negative), guided);
        let second = match &request.edit {
            Some(Edit::Morph { prompt, at }) => Some((condition(prompt)?, *at)),
            _ => None,
        };
        Ok(Prompts { first: condition(&request.prompt)?, second })
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
            edit: request.edit.as_ref().map(Edit::note),
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
    /// From a request to a finished clip, once; `source` is what its edit starts from.
    fn attempt(
        &self,
        painter: &mut Painter,
        (request, source): (&Request, Option<&TokenGrid>),
        origin: &Provenance,
        watch: &mut Watch,
        timings: &mut Timings,
    ) -> Result<Clip, GenerateError> {
        let config = painter.transformer.config();
        let widest = config.max_columns;
        let plan = match (&request.edit, source) {
            (Some(Edit::Vary { amount, .. }), Some(source)) => Plan::vary(source, *amount, widest),
            (Some(Edit::Repaint { region, .. }), Some(source)) => Plan::repaint(source, region, widest),
            (Some(Edit::Extend { before, after, .. }), Some(source)) => {
                Plan::extend(source, *before, *after, widest)
            }
            (Some(Edit::Loop { .. }), Some(source)) => Plan::looped(source, widest),
            _ => {
                let columns = request.settings.columns(self.model.codec.frames_per_column(), widest);
                Plan::blank(columns, config.rows, widest, clip::samples(request.settings.seconds))
            }
        };
        // A loop of a sound that is still to be made takes two rounds.
        let is_first = matches!((&request.edit, source), (Some(Edit::Loop { .. }), None));
        watch.expect(u32::from(is_first));
        let clip = self.make(painter, plan, origin, watch, timings)?;
        match &clip.grid {
            Some(grid) if is_first => {
                watch.expect(0);
                self.make(painter, Plan::looped(grid, widest), origin, watch, timings)
            }
            _ => Ok(clip),
        }
    }

    /// From a plan to a clip.
    fn make(
        &self,
        painter: &mut Painter,
        plan: Plan,
        origin: &Provenance,
        watch: &mut Watch,
        timings: &mut Timings,
    ) -> Result<Clip, GenerateError> {
        let Plan { mut draft, ending } = plan;
        timed(&mut timings.diffusion, || painter.paint(&mut draft, watch))?;
        let (mel, raw) =
            sound::of_tokens(&self.model, &draft.tokens, ending.is_loop(), &self.device, timings)?;
        watch.finished(&mel)?;
        let (clip, placement) = timed(&mut timings.finish, || ending.finish(raw, origin.clone()))?;
        let frames = self.model.codec.frames_per_column();
        let grid = TokenGrid::from_parts(
            draft.tokens,
            (draft.rows, frames),
            self.info.hash.clone(),
            placement,
            ending.is_loop(),
        );
        Ok(Clip { grid: grid.ok().map(Arc::new), ..clip })
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
        let config = self.sampling.config(&request.settings, self.schedule.steps());
        let source = match request.edit.as_ref().and_then(Edit::source) {
            Some(source) => Some(timed(&mut timings.codec, || self.tokens_of(source))?),
            None => None,
        };
        let (transformer, adapters) = self
            .adapters
            .apply(&self.model.transformer, &request.adapters)
            .map_err(|error| GenerateError::Adapter(error.to_string()))?;
        let prompts = timed(&mut timings.text, || self.prompts(&transformer, request, config.is_guided()))?;
        let origin = self.provenance(request, variation, &adapters);
        let mut attempt = 0;
        let clip = loop {
            let mut painter = Painter {
                transformer: &transformer,
                prompts: &prompts,
                schedule: &self.schedule,
                config,
                seed: attempt_seed(request.seed, attempt),
                variation,
                runs: 0,
            };
            let pictures = self.previews.then_some((&self.model.codec, &self.device));
            let mut watch = Watch::new(on_progress, pictures, self.schedule.mask_id());
            let work = (request, source.as_deref());
            match self.attempt(&mut painter, work, &origin, &mut watch, &mut timings) {
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

#[cfg(test)]
mod edit_tests;
#[cfg(test)]
mod tests;
