//! The request that is being worked on, as the window shows it.

use std::{sync::Arc, time::Instant};

use soundlocd_engine::service::{Preview, Request};

/// How far the engine is with a request.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is about.
    pub prompt: String,
    /// The pad that the first of its sounds goes to.
    pub pad: usize,
    /// Name of the model, unless it is the default one.
    pub model: Option<String>,
    /// Sounds asked for.
    pub variations: u32,
    /// Sounds finished, or given up as unusable.
    pub finished: u32,
    /// Whether one of them could be used.
    pub has_sound: bool,
    /// When it was begun.
    pub started: Instant,
    /// What is happening now.
    pub phase: Phase,
    /// The latest picture of the unfinished sound.
    pub preview: Option<Arc<Preview>>,
}

/// What the engine is doing for a [`Job`].
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Other requests come first: so many.
    Waiting {
        /// Requests ahead of this one.
        ahead: usize,
    },
    /// The model is being loaded.
    Loading,
    /// A sound is being made.
    Making {
        /// Which, from 0.
        variation: u32,
        /// Denoising steps done.
        step: u32,
        /// Denoising steps in all.
        steps: u32,
        /// Seconds until this sound is done, once known.
        eta: Option<f32>,
    },
    /// Cancel was pressed.
    Stopping,
}

impl Job {
    /// A request just made to the model of this name (`None` for the default one), for a pad.
    #[must_use]
    pub fn new(request: &Request, model: Option<String>, pad: usize) -> Self {
        Self {
            prompt: request.prompt.clone(),
            pad,
            model,
            variations: request.variations,
            finished: 0,
            has_sound: false,
            started: Instant::now(),
            phase: Phase::Waiting { ahead: 0 },
            preview: None,
        }
    }

    /// It is worked on from now on.
    #[must_use]
    pub fn begun(self) -> Self {
        Self { started: Instant::now(), ..self }
    }

    /// Share of the whole request that is done, 0..=1.
    #[must_use]
    pub fn fraction(&self) -> f32 {
        let variations = self.variations.max(1) as f32;
        let within = match self.phase {
            Phase::Making { variation, step, steps, .. } if variation >= self.finished => {
                step as f32 / steps.max(1) as f32
            }
            _ => 0.0,
        };
        ((self.finished as f32 + within) / variations).clamp(0.0, 1.0)
    }

    /// What is happening, in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.phase {
            Phase::Waiting { ahead: 0 } => "Starting".to_owned(),
            Phase::Waiting { ahead: 1 } => "Waiting for one other sound".to_owned(),
            Phase::Waiting { ahead } => format!("Waiting for {ahead} other sounds"),
            Phase::Loading => match &self.model {
                Some(name) => format!("Loading the model “{name}”"),
                None => "Loading the model".to_owned(),
            },
            Phase::Stopping => "Stopping".to_owned(),
            Phase::Making { variation, step, steps, eta } => {
                let mut text = format!("Step {step} of {steps}");
                if self.variations > 1 {
                    text = format!("Sound {} of {}  ·  {text}", variation + 1, self.variations);
                }
                if let Some(eta) = eta.filter(|eta| eta.is_finite() && *eta >= 0.0) {
                    text += &format!("  ·  {eta:.1} s left");
                }
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fraction_and_words_follow_the_phases() {
        let mut job = Job::new(&Request { variations: 2, ..Request::new("x", 1) }, None, 0);
        assert_eq!((job.fraction(), job.describe().as_str()), (0.0, "Starting"));
        job.phase = Phase::Making { variation: 0, step: 8, steps: 16, eta: Some(1.26) };
        assert_eq!(job.fraction(), 0.25);
        assert_eq!(job.describe(), "Sound 1 of 2  ·  Step 8 of 16  ·  1.3 s left");
        job.finished = 1;
        assert_eq!(job.fraction(), 0.5, "the step of a finished sound no longer counts");
        job.phase = Phase::Making { variation: 1, step: 0, steps: 0, eta: Some(f32::NAN) };
        assert_eq!((job.fraction(), job.describe().as_str()), (0.5, "Sound 2 of 2  ·  Step 0 of 0"));
    }
}
