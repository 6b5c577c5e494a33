//! What the client sees of a sound while it is made.

use super::preview::{self, Previewer};
use crate::codec::Codec;
use crate::service::{GenerateError, Preview, Progress};
use candle_core::{Device, Tensor};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The whole grid at a moment.
#[derive(Debug)]
pub(super) struct Picture {
    /// What the network would make of every cell.
    pub(super) predicted: Vec<u32>,
    /// What is decided; `[MASK]` where nothing is.
    pub(super) tokens: Vec<u32>,
}

/// Passes progress on to the client, counting the steps of all runs as one row.
pub(super) struct Watch<'a> {
    on_progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
    /// Draws the pictures, if there are any.
    previewer: Option<(Previewer, &'a Codec, &'a Device)>,
    /// Steps of the runs that are done.
    done: u32,
    /// Steps of the run in progress.
    steps: u32,
    /// Steps that are expected after it.
    later: u32,
    /// Runs that are expected in addition to those that [`Self::begin`] is told of, `steps` each.
    to_come: u32,
}

impl<'a> Watch<'a> {
    /// A watch that shows pictures of tokens decoded by `codec` on `device`, if it has them.
    pub(super) fn new(
        on_progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
        pictures: Option<(&'a Codec, &'a Device)>,
        mask_id: u32,
    ) -> Self {
        let previewer =
            pictures.map(|(codec, device)| (Previewer::new(mask_id, codec.rows()), codec, device));
        Self { on_progress, previewer, done: 0, steps: 0, later: 0, to_come: 0 }
    }

    /// So many more runs will follow those that are known.
    pub(super) fn expect(&mut self, runs: u32) {
        self.to_come = runs;
    }

    /// A run of so many steps begins, `later` others of the same kind follow.
    pub(super) fn begin(&mut self, steps: u32, later: u32) -> Result<(), GenerateError> {
        self.steps = steps;
        self.later = steps.saturating_mul(later.saturating_add(self.to_come));
        self.report(0, None)
    }

    /// A step of the run is done.
    pub(super) fn step(
        &mut self,
        step: u32,
        picture: Option<&dyn Fn() -> Picture>,
    ) -> Result<(), GenerateError> {
        let preview = match (&mut self.previewer, picture) {
            (Some((previewer, codec, device)), Some(picture)) if previewer.is_due() => {
                let Picture { predicted, tokens } = picture();
                let decode = |ids: &[u32]| codec.decode(&Tensor::from_slice(ids, (1, ids.len()), device)?);
                previewer.of_tokens(&predicted, &tokens, decode).map_err(drawing)?
            }
            _ => None,
        };
        self.report(step, preview)
    }

    /// The run has ended.
    pub(super) fn end(&mut self) {
        self.done = self.done.saturating_add(self.steps);
        self.steps = 0;
    }

    /// All runs have ended with the spectrogram `mel` `[1, 80, frames]`.
    pub(super) fn finished(&mut self, mel: &Tensor) -> Result<(), GenerateError> {
        if self.previewer.is_none() {
            return Ok(());
        }
        self.later = 0;
        // Where nothing had to be drawn, that counts as a step.
        self.done = self.done.max(1);
        self.report(0, Some(preview::of_mel(mel).map_err(drawing)?))
    }

    /// Reports progress; stops if the client wants that.
    fn report(&mut self, step: u32, preview: Option<Arc<Preview>>) -> Result<(), GenerateError> {
        let steps = self.done.saturating_add(self.steps).saturating_add(self.later);
        match (self.on_progress)(Progress { step: self.done.saturating_add(step), steps, preview }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(GenerateError::Cancelled),
        }
    }
}

fn drawing(error: candle_core::Error) -> GenerateError {
    GenerateError::stage("drawing the preview", error)
}
