//! The polyphonic sampler: turns note events into sounding [`Voice`]s.

use std::sync::Arc;

use super::{
    EnvelopeTimes, MAX_VOICES, Playheads, Source, envelope::EnvelopeRates, interpolation::KernelBank,
    voice::Voice,
};

/// MIDI channels.
const CHANNELS: usize = 16;
/// Time constant of changes of the output gain, in seconds.
const GAIN_SMOOTHING: f32 = 0.005;

/// Names a note, or a group of them: an absent part stands for any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoteTag {
    /// The host's own number for the note.
    pub id: Option<i32>,
    /// MIDI channel, 0..=15.
    pub channel: Option<u8>,
    /// MIDI key, 0..=127; 60 is middle C.
    pub key: Option<u8>,
}

impl NoteTag {
    /// A key on a channel.
    #[must_use]
    pub const fn key(channel: u8, key: u8) -> Self {
        Self { id: None, channel: Some(channel), key: Some(key) }
    }

    /// Whether this pattern names `note`.
    #[must_use]
    pub fn matches(&self, note: &Self) -> bool {
        fn same<T: PartialEq>(pattern: Option<T>, value: Option<T>) -> bool {
            pattern.is_none() || value.is_none() || pattern == value
        }
        same(self.id, note.id) && same(self.channel, note.channel) && same(self.key, note.key)
    }
}

/// How notes are played. Plain values of the parameters; units as there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerSettings {
    /// The key that plays the clip at its own pitch.
    pub root_key: i32,
    /// How much the key changes the pitch: 0 not at all, 1 one semitone a key.
    pub key_tracking: f32,
    /// Transposition in semitones.
    pub tune: f32,
    /// Pitch bend range in semitones.
    pub bend_range: f32,
    /// How much the velocity changes the level: 0 not at all, 1 from silence to full.
    pub velocity_amount: f32,
    /// Notes play to the end of the clip, whenever the key is let go.
    pub one_shot: bool,
    /// Voices that may sound at once, 1..=[`MAX_VOICES`].
    pub polyphony: usize,
    /// Linear gain of the output.
    pub gain: f32,
    /// The envelope.
    pub envelope: EnvelopeTimes,
}

impl Default for SamplerSettings {
    fn default() -> Self {
        Self {
            root_key: 60,
            key_tracking: 1.0,
            tune: 0.0,
            bend_range: 2.0,
            velocity_amount: 1.0,
            one_shot: false,
            polyphony: MAX_VOICES,
            gain: 1.0,
            envelope: EnvelopeTimes::default(),
        }
    }
}

/// The sampler. Lives on the audio thread; see the [module](super) for its promises.
#[derive(Debug)]
pub struct Sampler {
    kernels: &'static KernelBank,
    sample_rate: f32,
    settings: SamplerSettings,
    rates: EnvelopeRates,
    /// What the next note plays.
    source: Option<Arc<Source>>,
    voices: [Voice; MAX_VOICES],
    /// Stolen voices in their last milliseconds.
    fading: [Voice; MAX_VOICES],
    /// Per channel: sustain pedal down; pitch bend -1..=1.
    pedals: [bool; CHANNELS],
    bends: [f32; CHANNELS],
    /// Notes started so far.
    started: u64,
    /// Smoothed output gain; `None` until the first sample, which takes the setting as it is.
    gain: Option<f32>,
}

impl Sampler {
    /// A silent sampler for an output of `sample_rate` Hz. Not for the audio thread.
    #[must_use]
    pub fn new(sample_rate: f32) -> Self {
        let settings = SamplerSettings::default();
        Self {
            kernels: KernelBank::shared(),
            sample_rate,
            settings,
            rates: EnvelopeRates::new(settings.envelope, sample_rate),
            source: None,
            voices: std::array::from_fn(|_| Voice::default()),
            fading: std::array::from_fn(|_| Voice::default()),
            pedals: [false; CHANNELS],
            bends: [0.0; CHANNELS],
            started: 0,
            gain: None,
        }
    }

    /// Changes the output rate. Silences everything; the clip stays.
    pub fn set_sample_rate(&mut self, sample_rate: f32) {
        self.sample_rate = sample_rate;
        self.rates = EnvelopeRates::new(self.settings.envelope, sample_rate);
        self.reset();
    }

    /// Silences everything at once and forgets pedals, bends and the order of notes, so that the
    /// same events give the same output again.
    pub fn reset(&mut self) {
        self.voices.iter_mut().chain(&mut self.fading).for_each(Voice::silence);
        self.pedals = [false; CHANNELS];
        self.bends = [0.0; CHANNELS];
        self.started = 0;
        self.gain = None;
    }

    /// What notes play from now on. Notes that sound go on with their clip.
    pub fn set_source(&mut self, source: Option<Arc<Source>>) {
        self.source = source;
    }

    /// Takes over the parameters; cheap when nothing changed.
    pub fn set_settings(&mut self, settings: SamplerSettings) {
        if settings == self.settings {
            return;
        }
        if settings.envelope != self.settings.envelope {
            self.rates = EnvelopeRates::new(settings.envelope, self.sample_rate);
        }
        self.settings = settings;
        self.update_pitches(None);
    }

    /// A key goes down, with a velocity in 0..=1.
    pub fn note_on(&mut self, tag: NoteTag, velocity: f32) {
        let Some(source) = self.source.clone() else { return };
        let polyphony = self.settings.polyphony.clamp(1, MAX_VOICES);
        while self.voices.iter().filter(|voice| voice.is_active()).count() >= polyphony {
            self.steal();
        }
        let velocity = if velocity.is_finite() { velocity.clamp(0.0, 1.0) } else { 1.0 };
        let gain = 1.0 - self.settings.velocity_amount * (1.0 - velocity * velocity);
        self.started += 1;
        let (settings, bends, sample_rate) = (self.settings, self.bends, self.sample_rate);
        if let Some(voice) = self.voices.iter_mut().find(|voice| !voice.is_active()) {
            voice.start(source, tag, gain, self.started, &self.rates);
            tune(voice, &settings, &bends, sample_rate);
        }
    }

    /// Keys go up.
    pub fn note_off(&mut self, tag: NoteTag) {
        if self.settings.one_shot {
            return;
        }
        for voice in self.voices.iter_mut().filter(|v| v.is_active() && tag.matches(&v.tag)) {
            if pedal_of(&self.pedals, voice) {
                voice.held_by_pedal = true;
            } else {
                voice.release();
            }
        }
    }

    /// Notes are cut short, within 5 ms.
    pub fn choke(&mut self, tag: NoteTag) {
        self.voices.iter_mut().filter(|v| tag.matches(&v.tag)).for_each(Voice::kill);
    }

    /// The sustain pedal of a channel moves.
    pub fn set_pedal(&mut self, channel: u8, down: bool) {
        let Some(pedal) = self.pedals.get_mut(usize::from(channel)) else { return };
        *pedal = down;
        if !down {
            self.voices
                .iter_mut()
                .filter(|v| v.held_by_pedal && v.tag.channel.is_none_or(|c| c == channel))
                .for_each(Voice::release);
        }
    }

    /// The pitch wheel of a channel moves: -1..=1 of the bend range.
    pub fn set_bend(&mut self, channel: u8, bend: f32) {
        if let Some(value) = self.bends.get_mut(usize::from(channel))
            && bend.is_finite()
        {
            *value = bend.clamp(-1.0, 1.0);
            self.update_pitches(Some(channel));
        }
    }

    /// Retunes single notes, in semitones.
    pub fn set_note_tuning(&mut self, tag: NoteTag, semitones: f32) {
        let (settings, bends, sample_rate) = (self.settings, self.bends, self.sample_rate);
        for voice in self.voices.iter_mut().filter(|v| v.is_active() && tag.matches(&v.tag)) {
            voice.tuning = semitones;
            tune(voice, &settings, &bends, sample_rate);
        }
    }

    /// Changes the gain (linear) of single notes.
    pub fn set_note_volume(&mut self, tag: NoteTag, volume: f32) {
        self.voices.iter_mut().filter(|v| tag.matches(&v.tag)).for_each(|v| v.set_volume(volume));
    }

    /// Changes the balance (-1..=1) of single notes.
    pub fn set_note_pan(&mut self, tag: NoteTag, pan: f32) {
        self.voices.iter_mut().filter(|v| tag.matches(&v.tag)).for_each(|v| v.set_pan(pan));
    }

    /// Whether anything sounds.
    #[must_use]
    pub fn is_sounding(&self) -> bool {
        self.voices.iter().chain(&self.fading).any(Voice::is_active)
    }

    /// Writes the next samples of all voices to `left` and `right` (of the same length) and moves
    /// time on by that many. Calls `on_end` for every note that ends.
    pub fn render(&mut self, left: &mut [f32], right: &mut [f32], mut on_end: impl FnMut(NoteTag)) {
        left.fill(0.0);
        right.fill(0.0);
        for voice in self.voices.iter_mut().chain(&mut self.fading) {
            if voice.render(self.kernels, &self.rates, self.sample_rate, left, right) {
                on_end(voice.tag);
            }
        }
        let target = self.settings.gain;
        let smoothing = 1.0 - (-1.0 / (GAIN_SMOOTHING * self.sample_rate)).exp();
        let mut gain = self.gain.unwrap_or(target);
        for (left, right) in left.iter_mut().zip(right.iter_mut()) {
            *left *= gain;
            *right *= gain;
            gain += (target - gain) * smoothing;
        }
        self.gain = Some(gain);
    }

    /// Writes where the voices are.
    pub fn publish(&self, playheads: &Playheads) {
        for (index, voice) in self.voices.iter().enumerate() {
            playheads.publish(index, voice.playhead());
        }
    }

    /// Frees one voice: the quietest of those let go, or else the oldest. It fades out on the
    /// side.
    fn steal(&mut self) {
        let quietest = |voices: &[Voice; MAX_VOICES]| {
            let candidates = voices.iter().enumerate().filter(|(_, v)| v.is_active() && v.is_releasing());
            candidates.min_by(|(_, a), (_, b)| a.level().total_cmp(&b.level())).map(|(i, _)| i)
        };
        let oldest = |voices: &[Voice; MAX_VOICES]| {
            let candidates = voices.iter().enumerate().filter(|(_, v)| v.is_active());
            candidates.min_by_key(|(_, v)| v.started).map(|(i, _)| i)
        };
        let Some(victim) = quietest(&self.voices)
            .or_else(|| oldest(&self.voices))
            .and_then(|index| self.voices.get_mut(index))
        else {
            return;
        };
        // With no slot free, the one that has faded furthest is given up.
        let slot = self.fading.iter_mut().min_by(|a, b| {
            let level = |v: &Voice| if v.is_active() { v.level() } else { -1.0 };
            level(a).total_cmp(&level(b))
        });
        if let Some(slot) = slot {
            std::mem::swap(slot, victim);
            slot.kill();
        }
        victim.silence();
    }

    /// Recomputes the playback speeds, of one channel or all.
    fn update_pitches(&mut self, channel: Option<u8>) {
        let (settings, bends, sample_rate) = (self.settings, self.bends, self.sample_rate);
        for voice in self.voices.iter_mut().chain(&mut self.fading).filter(|v| v.is_active()) {
            if channel.is_none() || voice.tag.channel.is_none() || voice.tag.channel == channel {
                tune(voice, &settings, &bends, sample_rate);
            }
        }
    }
}

/// Whether the sustain pedal holds this voice.
fn pedal_of(pedals: &[bool; CHANNELS], voice: &Voice) -> bool {
    pedals.get(usize::from(voice.tag.channel.unwrap_or(0))).is_some_and(|down| *down)
}

/// Sets a voice's speed: equal temperament around the root key, plus all transpositions.
fn tune(voice: &mut Voice, settings: &SamplerSettings, bends: &[f32; CHANNELS], sample_rate: f32) {
    let key = voice.tag.key.map_or(settings.root_key, i32::from);
    let bend = bends.get(usize::from(voice.tag.channel.unwrap_or(0))).copied().unwrap_or(0.0);
    let semitones = (key - settings.root_key) as f32 * settings.key_tracking
        + settings.tune
        + bend * settings.bend_range
        + voice.tuning;
    if let Some(source_rate) = voice.source_rate() {
        voice.set_ratio(2f64.powf(f64::from(semitones) / 12.0) * source_rate / f64::from(sample_rate));
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
