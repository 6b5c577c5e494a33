//! How to sample.

use crate::diffusion::{DiffusionError, PosteriorKind, Truncation};

/// Which sampler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Decides the tokens that the network is surest of first and keeps them (MaskGIT; "purity" in
    /// VQ-Diffusion v2). Good from few steps on.
    Purity {
        /// Denoising steps; fewer if there are fewer cells.
        steps: usize,
        /// Randomness of the order, as the scale of Gumbel noise on the tokens' log-probabilities at the
        /// first step; it falls to 0 at the last.
        order_temperature: f32,
    },
    /// The reverse diffusion process in evenly spaced steps, each a draw of the exact posterior from
    /// its timestep to the next. As many steps as timesteps are the paper's sampler.
    Ancestral {
        /// Denoising steps; at most the schedule's timesteps.
        steps: usize,
    },
    /// Diffsound's own: after each timestep `skip` are passed over (0: none), the posterior being that of
    /// *one* timestep, `skip` earlier.
    Diffsound {
        /// Timesteps passed over; the reference's "fast n" is `n - 1`.
        skip: usize,
    },
}

/// How to sample, whatever the canvas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerConfig {
    /// Which sampler.
    pub method: Method,
    /// Which tokens stay eligible.
    pub truncation: Truncation,
    /// Classifier-free guidance `g`: logits `empty + g (prompt - empty)`. 1 is none, and costs half.
    pub guidance: f32,
    /// Divides the logits: below 1 the likely tokens are more likely.
    pub temperature: f32,
    /// Which code's posterior (ancestral sampling only).
    pub posterior: PosteriorKind,
}

impl Default for SamplerConfig {
    /// 16 confidence-ordered steps without guidance.
    fn default() -> Self {
        Self {
            method: Method::Purity { steps: 16, order_temperature: 4.5 },
            truncation: Truncation::Rate(0.85),
            guidance: 1.0,
            temperature: 1.0,
            posterior: PosteriorKind::default(),
        }
    }
}

impl SamplerConfig {
    /// Whether the network must run on the empty prompt too.
    #[must_use]
    pub fn is_guided(&self) -> bool {
        self.guidance != 1.0
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`DiffusionError::Range`] with the first that is out of its range.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        let check = |what: &'static str, value: f32, low: f32, high: f32| {
            if value >= low && value <= high {
                return Ok(());
            }
            Err(DiffusionError::Range { what, value: f64::from(value), range: format!("{low}..={high}") })
        };
        check("guidance", self.guidance, -100.0, 100.0)?;
        check("temperature", self.temperature, 0.01, 100.0)?;
        match self.truncation {
            Truncation::Rate(rate) => check("truncation rate", rate, f32::MIN_POSITIVE, 1.0)?,
            Truncation::Count(count) => check("tokens kept by truncation", count as f32, 1.0, f32::MAX)?,
            Truncation::None => {}
        }
        match self.method {
            Method::Purity { steps, order_temperature } => {
                check("order temperature", order_temperature, 0.0, 1000.0)?;
                check("steps", steps as f32, 1.0, 10_000.0)
            }
            Method::Ancestral { steps } => check("steps", steps as f32, 1.0, 10_000.0),
            Method::Diffsound { .. } => Ok(()),
        }
    }
}
