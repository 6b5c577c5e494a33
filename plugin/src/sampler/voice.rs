//! One voice: a note on its way through a clip, at a pitch, through air, filter and width, under an envelope.

use std::sync::Arc;

use super::{
    FilterTarget, Master, NoteTag, Source,
    air::Air,
    channel::{Channel, Expressions, Modulation},
    envelope::{Envelope, EnvelopeRates},
    filter::Filter,
    interpolation::KernelBank,
    pad::{Pad, PadOutput, PlayMode},
    path::{Path, Reader},
    ramp::Ramp,
    width::Width,
};

/// Slowest and fastest playback, in clip samples per output sample.
const RATIOS: std::ops::RangeInclusive<f64> = (1.0 / 256.0)..=64.0;
/// How long changes of level and balance take, in seconds.
pub const GAIN_TIME: f32 = 0.005;
/// Frequency of the vibrato in Hz.
pub const VIBRATO_HZ: f64 = 5.5;
/// Samples between two steps of the vibrato, counted from the beginning of the note.
pub const VIBRATO_STEP: u64 = 16;
/// Most samples worked on at once. The result does not depend on it.
const CHUNK: usize = 64;

/// One note being played. Silent voices hold no clip.
#[derive(Debug)]
pub struct Voice {
    /// What it plays; kept even when the pad moves on to another clip.
    source: Option<Arc<Source>>,
    path: Path,
    /// Number of the pad.
    pub pad: usize,
    /// Which note it is.
    pub tag: NoteTag,
    /// Whether a click on the pad started it, rather than a key.
    pub is_trigger: bool,
    /// Order of note-ons, for stealing the oldest.
    pub started: u64,
    /// What the pad said when the note began.
    pub mode: PlayMode,
    /// See [`Self::mode`].
    pub choke_group: u8,
    /// See [`Self::mode`].
    pub output: PadOutput,
    /// The key was let go, but the sustain pedal holds the note.
    pub held_by_pedal: bool,
    /// Gain from velocity, 0..=1.
    velocity_gain: f32,
    /// What the host changed about this note.
    pub expressions: Expressions,
    /// Samples since the note began.
    age: u64,
    /// Clip samples per output sample, without and with the vibrato.
    steady_ratio: f64,
    ratio: f64,
    /// Depth of the vibrato in semitones.
    vibrato: f64,
    /// [`Source::level_for`] and [`KernelBank::index_for`] of the ratio.
    level: usize,
    kernel: usize,
    envelope: Envelope,
    air: Air,
    filter: Filter,
    width: Width,
    /// The clip is over; what is behind it rings on.
    is_ringing: bool,
    /// Gain of each output.
    gains: [Ramp; 2],
}

impl Default for Voice {
    fn default() -> Self {
        Self {
            source: None,
            path: Path::EMPTY,
            pad: 0,
            tag: NoteTag::default(),
            is_trigger: false,
            started: 0,
            mode: PlayMode::Gate,
            choke_group: 0,
            output: PadOutput::Main,
            held_by_pedal: false,
            velocity_gain: 0.0,
            expressions: Expressions::REST,
            age: 0,
            steady_ratio: 0.0,
            ratio: 0.0,
            vibrato: 0.0,
            level: 0,
            kernel: 0,
            envelope: Envelope::OVER,
            air: Air::off(),
            filter: Filter::off(),
            width: Width::off(),
            is_ringing: false,
            gains: [Ramp::at(0.0); 2],
        }
    }
}

/// What a voice needs to know of the rest of the sampler.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The voice's pad.
    pub pad: &'a Pad,
    /// The voice's channel.
    pub channel: &'a Channel,
    /// What all pads share.
    pub master: &'a Master,
    /// Rate of the output in Hz.
    pub sample_rate: f32,
}

impl Voice {
    /// A note of `tag` on pad number `pad`, at its beginning; nothing if there is nothing to play.
    #[must_use]
    pub fn start(
        pad: usize,
        tag: NoteTag,
        velocity: f32,
        started: u64,
        context: &Context<'_>,
    ) -> Option<Self> {
        let (source, path) = context.pad.way()?;
        let settings = context.pad.settings();
        let mut voice = Self {
            source: Some(Arc::clone(source)),
            path,
            pad,
            tag,
            started,
            mode: settings.mode,
            choke_group: settings.choke_group,
            output: settings.output,
            velocity_gain: settings.velocity_gain(velocity),
            envelope: Envelope::start(context.pad.rates()),
            ..Self::default()
        };
        let modulation = voice.modulation(context);
        voice.tune(context, &modulation);
        voice.air = Air::new(settings.air, voice.steady_ratio, context.sample_rate);
        voice.filter = Filter::new(filter_target(context, &modulation));
        voice.width = Width::new(settings.width, context.sample_rate);
        voice.gains = voice.target_gains(context, &modulation).map(Ramp::at);
        Some(voice)
    }

    /// Follows settings, controllers and expressions.
    pub fn follow(&mut self, context: &Context<'_>) {
        let modulation = self.modulation(context);
        self.tune(context, &modulation);
        let settings = context.pad.settings();
        self.air.aim(settings.air, self.steady_ratio, context.sample_rate);
        self.filter.aim(filter_target(context, &modulation), context.sample_rate);
        self.width.aim(settings.width, context.sample_rate);
        let samples = (GAIN_TIME * context.sample_rate) as u32;
        let targets = self.target_gains(context, &modulation);
        for (gain, target) in self.gains.iter_mut().zip(targets) {
            gain.aim(target, samples);
        }
        if let (Some(own), Some((source, path))) = (&self.source, context.pad.way())
            && Arc::ptr_eq(own, source)
        {
            self.path.follow_loop(&path, self.ratio);
        }
    }

    fn modulation(&self, context: &Context<'_>) -> Modulation {
        Modulation::new(context.channel, &self.expressions, context.master)
    }

    /// Sets the pitch: equal temperament around the root key, plus all transpositions.
    fn tune(&mut self, context: &Context<'_>, modulation: &Modulation) {
        let settings = context.pad.settings();
        let key = self.tag.key.map_or(settings.root_key, i32::from);
        let semitones = f64::from(key - settings.root_key) * f64::from(settings.key_tracking)
            + f64::from(settings.tune)
            + modulation.semitones;
        let source_rate = self.source.as_ref().map_or(1.0, |source| source.sample_rate());
        self.steady_ratio =
            in_range(2f64.powf(semitones / 12.0) * source_rate / f64::from(context.sample_rate));
        // The next step of the vibrato takes a new depth into account.
        self.vibrato = modulation.vibrato;
        let bent = self.ratio_with_vibrato(context.sample_rate, self.age / VIBRATO_STEP * VIBRATO_STEP);
        self.set_ratio(bent);
    }

    /// The speed at an age of the note.
    fn ratio_with_vibrato(&self, sample_rate: f32, age: u64) -> f64 {
        if self.vibrato == 0.0 {
            return self.steady_ratio;
        }
        let phase = std::f64::consts::TAU * VIBRATO_HZ * age as f64 / f64::from(sample_rate);
        self.steady_ratio * 2f64.powf(self.vibrato / 12.0 * phase.sin())
    }

    /// Sets the playback speed in clip samples per output sample.
    fn set_ratio(&mut self, ratio: f64) {
        let ratio = in_range(ratio);
        if ratio != self.ratio {
            self.ratio = ratio;
            self.level = self.source.as_ref().map_or(0, |source| source.level_for(ratio));
            self.kernel = KernelBank::index_for(ratio / (1u64 << self.level) as f64);
        }
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
        Some((source.id(), (self.path.clip_position() / source.sample_rate()) as f32))
    }

    /// Adds its sound to `left` and `right` (of the same length). Answers whether it ended in this call.
    pub fn render(
        &mut self,
        kernels: &KernelBank,
        rates: &EnvelopeRates,
        sample_rate: f32,
        left: &mut [f32],
        right: &mut [f32],
    ) -> bool {
        // Never the last reference: see [`super::Handover`].
        let Some(source) = self.source.clone() else { return false };
        let mut done = 0;
        while done < left.len() {
            let mut chunk = CHUNK;
            if self.vibrato != 0.0 {
                if self.age.is_multiple_of(VIBRATO_STEP) {
                    self.set_ratio(self.ratio_with_vibrato(sample_rate, self.age));
                }
                chunk = (VIBRATO_STEP - self.age % VIBRATO_STEP) as usize;
            }
            let until = (done + chunk).min(left.len());
            let (Some(left), Some(right)) = (left.get_mut(done..until), right.get_mut(done..until)) else {
                break;
            };
            let reader = Reader {
                kernels,
                samples: source.level(self.level),
                scale: 1.0 / (1u64 << self.level) as f64,
                kernel: self.kernel,
            };
            if self.render_chunk(&reader, rates, left, right) < until - done {
                self.silence();
                return true;
            }
            done = until;
        }
        false
    }

    /// Adds up to [`CHUNK`] samples at one speed. Answers how many there were before the voice was over.
    fn render_chunk(
        &mut self,
        reader: &Reader<'_>,
        rates: &EnvelopeRates,
        left: &mut [f32],
        right: &mut [f32],
    ) -> usize {
        let (mut samples, mut levels) = ([0f32; CHUNK], [0f32; CHUNK]);
        let len = left.len();
        let (Some(samples), Some(levels)) = (samples.get_mut(..len), levels.get_mut(..len)) else { return 0 };

        let read = if self.is_ringing { 0 } else { self.path.read(reader, self.ratio, samples) };
        let (sound, rest) = samples.split_at_mut(read);
        let (sound_levels, rest_levels) = levels.split_at_mut(read);
        self.air.process(sound);
        self.filter.process(sound);
        let mut live = self.envelope.fill(rates, sound_levels);
        let is_dry = self.air.is_off() && self.filter.is_off() && self.width.is_off();
        if live == read && read < len && !is_dry {
            // The clip is over, but what it left in the stages behind is not.
            if !self.is_ringing {
                self.is_ringing = true;
                self.envelope.kill();
            }
            rest.fill(0.0);
            self.air.process(rest);
            self.filter.process(rest);
            live += self.envelope.fill(rates, rest_levels);
        }

        let fade_in = self.path.fade_in();
        if (self.age as f64) < fade_in {
            for (age, level) in (self.age..).zip(&mut *levels) {
                *level *= (age as f64 / fade_in).min(1.0) as f32;
            }
        }
        if !self.width.is_off() {
            self.mix_wide(samples.get(..live).unwrap_or_default(), levels, left, right);
            self.age += live as u64;
            return live;
        }
        let sound = samples.iter().zip(levels.iter()).map(|(sample, level)| sample * level);
        let outputs = left.iter_mut().zip(right).zip(sound).take(live);
        if self.gains.iter().all(Ramp::is_still) {
            let [a, b] = self.gains.map(|gain| gain.value());
            for ((left, right), sound) in outputs {
                *left += sound * a;
                *right += sound * b;
            }
        } else {
            let [a, b] = &mut self.gains;
            for ((left, right), sound) in outputs {
                *left += sound * a.advance();
                *right += sound * b.advance();
            }
        }
        self.age += live as u64;
        live
    }

    /// Adds up to [`CHUNK`] samples in stereo.
    fn mix_wide(&mut self, samples: &[f32], levels: &[f32], left: &mut [f32], right: &mut [f32]) {
        let mut side = [0f32; CHUNK];
        self.width.process(samples, &mut side);
        let [a, b] = &mut self.gains;
        let sound = samples.iter().zip(&side).zip(levels);
        for ((left, right), ((mid, side), level)) in left.iter_mut().zip(right).zip(sound) {
            *left += (mid + side) * level * a.advance();
            *right += (mid - side) * level * b.advance();
        }
    }

    /// Gain of each output: velocity, pad, expressions, and both balances with the centre at unity.
    fn target_gains(&self, context: &Context<'_>, modulation: &Modulation) -> [f32; 2] {
        let gain = self.velocity_gain * context.pad.gain() * modulation.gain;
        let (pad, note) = (context.pad.settings().pan, self.expressions.pan());
        let side = |sign: f32| (1.0 + sign * pad).min(1.0) * (1.0 + sign * note).min(1.0);
        [gain * side(-1.0), gain * side(1.0)]
    }
}

/// A speed that can be played.
fn in_range(ratio: f64) -> f64 {
    if ratio.is_finite() { ratio.clamp(*RATIOS.start(), *RATIOS.end()) } else { 1.0 }
}

/// Where the pad's settings and the controllers put the filter.
fn filter_target(context: &Context<'_>, modulation: &Modulation) -> FilterTarget {
    let settings = context.pad.settings();
    let cutoff = settings.cutoff * modulation.octaves.exp2();
    FilterTarget::new(settings.filter, cutoff, settings.resonance, context.sample_rate)
}
