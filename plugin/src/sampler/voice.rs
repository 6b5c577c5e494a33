//! One voice: a place in a clip, moving at a pitch, under an envelope.

use std::sync::Arc;

use super::{
    Source,
    engine::NoteTag,
    envelope::{Envelope, EnvelopeRates},
    interpolation::KernelBank,
};

/// Slowest and fastest playback, in clip samples per output sample.
const RATIOS: std::ops::RangeInclusive<f64> = (1.0 / 256.0)..=64.0;
/// Time constant of gain and pan changes during a note, in seconds.
const GAIN_SMOOTHING: f32 = 0.003;

/// One note being played. Silent voices hold no clip.
#[derive(Debug)]
pub struct Voice {
    /// What it plays; kept even when the sampler moves on to another clip.
    source: Option<Arc<Source>>,
    /// Which note it is.
    pub tag: NoteTag,
    /// Order of note-ons, for stealing the oldest.
    pub started: u64,
    /// Clip samples from the start of the clip.
    position: f64,
    /// Clip samples per output sample.
    ratio: f64,
    /// [`Source::level_for`] and [`KernelBank::index_for`] of the ratio.
    level: usize,
    kernel: usize,
    envelope: Envelope,
    /// The key was let go, but the sustain pedal holds the note.
    pub held_by_pedal: bool,
    /// Gain from velocity, 0..=1.
    velocity_gain: f32,
    /// Per-note expressions: semitones, linear gain, pan -1..=1.
    pub tuning: f32,
    volume: f32,
    pan: f32,
    /// Smoothed gain of each output.
    gains: [f32; 2],
}

impl Default for Voice {
    fn default() -> Self {
        Self {
            source: None,
            tag: NoteTag::default(),
            started: 0,
            position: 0.0,
            ratio: 1.0,
            level: 0,
            kernel: 0,
            envelope: Envelope::OVER,
            held_by_pedal: false,
            velocity_gain: 0.0,
            tuning: 0.0,
            volume: 1.0,
            pan: 0.0,
            gains: [0.0; 2],
        }
    }
}

impl Voice {
    /// Begins a note: `source` from its start. Call [`Self::set_ratio`] next.
    pub fn start(
        &mut self,
        source: Arc<Source>,
        tag: NoteTag,
        velocity_gain: f32,
        started: u64,
        rates: &EnvelopeRates,
    ) {
        *self = Self {
            source: Some(source),
            tag,
            started,
            envelope: Envelope::start(rates),
            velocity_gain,
            ..Self::default()
        };
        self.gains = self.target_gains();
    }

    /// Sets the playback speed in clip samples per output sample.
    pub fn set_ratio(&mut self, ratio: f64) {
        self.ratio = if ratio.is_finite() { ratio.clamp(*RATIOS.start(), *RATIOS.end()) } else { 1.0 };
        self.level = self.source.as_ref().map_or(0, |source| source.level_for(self.ratio));
        self.kernel = KernelBank::index_for(self.ratio / (1u64 << self.level) as f64);
    }

    /// Rate of the clip in Hz, if it plays one.
    #[must_use]
    pub fn source_rate(&self) -> Option<f64> {
        self.source.as_ref().map(|source| source.sample_rate())
    }

    /// Sets the note's own gain (linear).
    pub fn set_volume(&mut self, volume: f32) {
        self.volume = if volume.is_finite() { volume.clamp(0.0, 4.0) } else { 1.0 };
    }

    /// Sets the note's own balance, -1 (left) ..= 1 (right).
    pub fn set_pan(&mut self, pan: f32) {
        self.pan = if pan.is_finite() { pan.clamp(-1.0, 1.0) } else { 0.0 };
    }

    /// The key (or the pedal) let go.
    pub fn release(&mut self) {
        self.held_by_pedal = false;
        self.envelope.release();
    }

    /// Fade out within 5 ms.
    pub fn kill(&mut self) {
        self.envelope.kill();
    }

    /// Silence at once. Clicks: only for when the output is discontinuous anyway.
    pub fn silence(&mut self) {
        self.envelope = Envelope::OVER;
        self.source = None;
    }

    /// Whether it makes sound.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.source.is_some()
    }

    /// Whether it is on its way out.
    #[must_use]
    pub fn is_releasing(&self) -> bool {
        self.envelope.is_releasing()
    }

    /// Level of the envelope, for choosing whom to steal.
    #[must_use]
    pub fn level(&self) -> f32 {
        self.envelope.level() * self.velocity_gain
    }

    /// Number of the clip and position in it, in seconds.
    #[must_use]
    pub fn playhead(&self) -> Option<(u64, f32)> {
        let source = self.source.as_ref()?;
        Some((source.id(), (self.position / source.sample_rate()) as f32))
    }

    /// Adds its sound to `left` and `right`. Answers whether it ended in this call.
    pub fn render(
        &mut self,
        kernels: &KernelBank,
        rates: &EnvelopeRates,
        sample_rate: f32,
        left: &mut [f32],
        right: &mut [f32],
    ) -> bool {
        let Some(source) = &self.source else { return false };
        let samples = source.level(self.level);
        let scale = 1.0 / (1u64 << self.level) as f64;
        let end = source.len() as f64;
        let targets = self.target_gains();
        let smoothing = 1.0 - (-1.0 / (GAIN_SMOOTHING * sample_rate)).exp();
        let mut over = false;
        for (left, right) in left.iter_mut().zip(right.iter_mut()) {
            if self.position >= end || self.envelope.is_over() {
                over = true;
                break;
            }
            let sample =
                kernels.interpolate(self.kernel, samples, self.position * scale) * self.envelope.next(rates);
            *left += sample * self.gains[0];
            *right += sample * self.gains[1];
            for (gain, target) in self.gains.iter_mut().zip(targets) {
                *gain += (target - *gain) * smoothing;
            }
            self.position += self.ratio;
        }
        if over {
            self.silence();
        }
        over
    }

    /// Gain of each output: velocity, note volume, and balance with the centre at unity.
    fn target_gains(&self) -> [f32; 2] {
        let gain = self.velocity_gain * self.volume;
        [gain * (1.0 - self.pan).min(1.0), gain * (1.0 + self.pan).min(1.0)]
    }
}
