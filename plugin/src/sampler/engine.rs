//! The polyphonic sampler: turns events into sounding [`Voice`]s.

use std::sync::Arc;

use super::{
    Controller, Expression, MAX_VOICES, NoteTag, PADS, PadOutput, PadSettings, PlayMode, Playhead, Playheads,
    Source,
    channel::{CHANNELS, Channel},
    interpolation::KernelBank,
    pad::Pad,
    ramp::Ramp,
    steal,
    voice::{Context, GAIN_TIME, Voice},
};

/// What all pads share. Plain values of the parameters; units as there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Master {
    /// Linear gain of the outputs.
    pub gain: f32,
    /// Pitch bend range in semitones.
    pub bend_range: f32,
    /// Voices that may sound at once, 1..=[`MAX_VOICES`].
    pub polyphony: usize,
    /// Depth of the vibrato with the modulation wheel at its top, in cents.
    pub vibrato: f32,
    /// How far the modulation wheel moves the cutoff, in octaves; may be negative.
    pub wheel_cutoff: f32,
    /// How far pressure moves the cutoff, in octaves; may be negative.
    pub pressure_cutoff: f32,
}

impl Default for Master {
    fn default() -> Self {
        Self {
            gain: 1.0,
            bend_range: 2.0,
            polyphony: MAX_VOICES,
            vibrato: 50.0,
            wheel_cutoff: 0.0,
            pressure_cutoff: 2.0,
        }
    }
}

impl Master {
    /// With everything in range; what is not a number takes its default.
    fn repaired(self) -> Self {
        let default = Self::default();
        let limit = |value: f32, most: f32, default: f32| {
            if value.is_nan() { default } else { value.clamp(-most, most) }
        };
        Self {
            gain: limit(self.gain, 16.0, default.gain).max(0.0),
            bend_range: limit(self.bend_range, 96.0, default.bend_range),
            polyphony: self.polyphony.clamp(1, MAX_VOICES),
            vibrato: limit(self.vibrato, 1_200.0, default.vibrato),
            wheel_cutoff: limit(self.wheel_cutoff, 12.0, default.wheel_cutoff),
            pressure_cutoff: limit(self.pressure_cutoff, 12.0, default.pressure_cutoff),
        }
    }
}

/// Two buffers of the same length to write to.
#[derive(Debug, Default)]
pub struct StereoOutput<'a> {
    /// Left.
    pub left: &'a mut [f32],
    /// Right.
    pub right: &'a mut [f32],
}

/// The sampler. Lives on the audio thread; see the [module](super) for its promises.
#[derive(Debug)]
pub struct Sampler {
    kernels: &'static KernelBank,
    sample_rate: f32,
    master: Master,
    pads: [Pad; PADS],
    channels: [Channel; CHANNELS],
    voices: [Voice; MAX_VOICES],
    /// Stolen and choked voices in their last milliseconds.
    fading: [Voice; MAX_VOICES],
    /// Voices started so far.
    started: u64,
    /// Output gain; `None` until the first sample, which takes the setting as it is.
    gain: Option<Ramp>,
}

impl Sampler {
    /// A silent sampler for an output of `sample_rate` Hz. Not for the audio thread.
    #[must_use]
    pub fn new(sample_rate: f32) -> Self {
        Self {
            kernels: KernelBank::shared(),
            sample_rate,
            master: Master::default(),
            pads: std::array::from_fn(|_| Pad::new(sample_rate)),
            channels: [Channel::REST; CHANNELS],
            voices: std::array::from_fn(|_| Voice::default()),
            fading: std::array::from_fn(|_| Voice::default()),
            started: 0,
            gain: None,
        }
    }

    /// Changes the output rate. Silences everything; clips and settings stay.
    pub fn set_sample_rate(&mut self, sample_rate: f32) {
        self.sample_rate = sample_rate;
        self.pads.iter_mut().for_each(|pad| pad.set_sample_rate(sample_rate));
        self.reset();
    }

    /// Silences everything at once and forgets controllers and the order of notes, so that the
    /// same events give the same output again.
    pub fn reset(&mut self) {
        self.voices.iter_mut().chain(&mut self.fading).for_each(Voice::silence);
        self.channels = [Channel::REST; CHANNELS];
        self.started = 0;
        self.gain = None;
    }

    /// What notes on a pad (from 0) play from now on. Notes that sound go on with their clip.
    pub fn set_source(&mut self, pad: usize, source: Option<Arc<Source>>) {
        if let Some(pad) = self.pads.get_mut(pad) {
            pad.set_source(source);
        }
    }

    /// Takes over a pad's parameters; cheap when nothing changed.
    pub fn set_pad(&mut self, pad: usize, settings: PadSettings) {
        let Some(state) = self.pads.get_mut(pad) else { return };
        if state.set_settings(settings) {
            if settings.mode == PlayMode::Loop && self.voices.iter().any(|v| v.is_active() && v.pad == pad) {
                state.prepare();
            }
            self.follow(|voice| voice.pad == pad);
        }
    }

    /// Takes over the parameters that all pads share; cheap when nothing changed.
    pub fn set_master(&mut self, master: Master) {
        if master != self.master {
            self.master = master.repaired();
            self.follow(|_| true);
        }
    }

    /// A key goes down, with a velocity in 0..=1: every pad with a clip and that key sounds.
    pub fn note_on(&mut self, tag: NoteTag, velocity: f32) {
        let Some(key) = tag.key else { return };
        let has_key = |pad: &Pad| pad.has_key(key);
        // First, so that the layers of one note do not choke each other.
        let groups = self.pads.iter().filter(|pad| has_key(pad)).fold(0, |set, pad| set | group_bit(pad));
        self.choke_groups(groups);
        for index in 0..PADS {
            if self.pads.get(index).is_some_and(has_key) {
                self.start(index, tag, velocity, false);
            }
        }
    }

    /// Keys go up.
    pub fn note_off(&mut self, tag: NoteTag) {
        let channels = &self.channels;
        for voice in self.voices.iter_mut().filter(|v| !v.is_trigger && v.is_active() && tag.matches(&v.tag))
        {
            if voice.mode == PlayMode::OneShot {
                continue;
            }
            if channel_of(channels, voice).pedal {
                voice.held_by_pedal = true;
            } else {
                voice.release();
            }
        }
    }

    /// Plays a pad at its root key, whatever its keys, as a click on it in the window does.
    pub fn trigger(&mut self, pad: usize, velocity: f32) {
        let Some((groups, root)) = self.pads.get(pad).map(|pad| (group_bit(pad), pad.settings().root_key))
        else {
            return;
        };
        self.choke_groups(groups);
        let key = u8::try_from(root).ok();
        self.start(pad, NoteTag { key, ..NoteTag::default() }, velocity, true);
    }

    /// Lets go of a pad that was triggered.
    pub fn release(&mut self, pad: usize) {
        let is_it = |v: &&mut Voice| v.is_trigger && v.pad == pad && v.mode != PlayMode::OneShot;
        self.voices.iter_mut().filter(is_it).for_each(Voice::release);
    }

    /// Notes are cut short, within 5 ms.
    pub fn choke(&mut self, tag: NoteTag) {
        self.fade_out(|voice| tag.matches(&voice.tag));
    }

    /// The sustain pedal of a channel moves.
    pub fn set_pedal(&mut self, channel: u8, down: bool) {
        let Some(state) = self.channels.get_mut(usize::from(channel)) else { return };
        state.pedal = down;
        if !down {
            self.voices
                .iter_mut()
                .filter(|v| v.held_by_pedal && v.tag.channel.is_none_or(|c| c == channel))
                .for_each(Voice::release);
        }
    }

    /// Another controller of a channel moves; see [`super::channel`] for what it does.
    pub fn set_controller(&mut self, channel: u8, controller: Controller, value: f32) {
        if let Some(state) = self.channels.get_mut(usize::from(channel)) {
            state.set(controller, value);
            self.follow(|voice| voice.tag.channel.is_none_or(|c| c == channel));
        }
    }

    /// All controllers of a channel go back to rest.
    pub fn reset_controllers(&mut self, channel: u8) {
        self.set_pedal(channel, false);
        if let Some(state) = self.channels.get_mut(usize::from(channel)) {
            *state = Channel::REST;
            self.follow(|voice| voice.tag.channel.is_none_or(|c| c == channel));
        }
    }

    /// Changes something about single notes.
    pub fn set_expression(&mut self, tag: NoteTag, expression: Expression) {
        let is_it = |voice: &Voice| voice.is_active() && tag.matches(&voice.tag);
        self.voices.iter_mut().filter(|v| is_it(v)).for_each(|v| v.expressions.set(expression));
        self.follow(is_it);
    }

    /// Whether anything sounds.
    #[must_use]
    pub fn is_sounding(&self) -> bool {
        self.voices.iter().chain(&self.fading).any(Voice::is_active)
    }

    /// Writes the next samples of all voices and moves time on by that many. `left` and `right` (of the same
    /// length) are the main output, `pads` the pads' own ones, of the same length too; a pad whose
    /// own output is not there or empty goes to the main one. Calls `on_end` for every note of a
    /// host whose last voice ends.
    pub fn render(
        &mut self,
        left: &mut [f32],
        right: &mut [f32],
        pads: &mut [StereoOutput<'_>],
        mut on_end: impl FnMut(NoteTag),
    ) {
        left.fill(0.0);
        right.fill(0.0);
        for output in &mut *pads {
            output.left.fill(0.0);
            output.right.fill(0.0);
        }
        let mut ended = [None; 2 * MAX_VOICES];
        for (voice, ended) in self.voices.iter_mut().chain(&mut self.fading).zip(&mut ended) {
            let Some(pad) = self.pads.get(voice.pad) else { continue };
            let own = pads.get_mut(voice.pad).filter(|own| {
                voice.output == PadOutput::Own
                    && own.left.len() == left.len()
                    && own.right.len() == left.len()
            });
            let (left, right) = match own {
                Some(own) => (&mut *own.left, &mut *own.right),
                None => (&mut *left, &mut *right),
            };
            let is_over = voice.render(self.kernels, pad.rates(), self.sample_rate, left, right);
            *ended = (is_over && !voice.is_trigger).then_some(voice.tag);
        }
        self.apply_gain(left, right, pads);
        for (index, tag) in ended.iter().enumerate() {
            let Some(tag) = tag else { continue };
            let goes_on = |v: &Voice| v.is_active() && !v.is_trigger && v.tag == *tag;
            let is_repeated = ended.iter().take(index).any(|earlier| *earlier == Some(*tag));
            if !is_repeated && !self.voices.iter().chain(&self.fading).any(goes_on) {
                on_end(*tag);
            }
        }
    }

    /// Writes where the voices are.
    pub fn publish(&self, playheads: &Playheads) {
        for (index, voice) in self.voices.iter().enumerate() {
            let head = voice.playhead().map(|(clip, seconds)| Playhead { pad: voice.pad, clip, seconds });
            playheads.publish(index, head);
        }
    }

    /// Scales every output.
    fn apply_gain(&mut self, left: &mut [f32], right: &mut [f32], pads: &mut [StereoOutput<'_>]) {
        let mut gain = self.gain.unwrap_or(Ramp::at(self.master.gain));
        gain.aim(self.master.gain, (GAIN_TIME * self.sample_rate) as u32);
        let scale = |left: &mut [f32], right: &mut [f32]| {
            let mut gain = gain;
            for (left, right) in left.iter_mut().zip(right) {
                let gain = gain.advance();
                *left *= gain;
                *right *= gain;
            }
            gain
        };
        pads.iter_mut().for_each(|output| {
            scale(output.left, output.right);
        });
        self.gain = Some(scale(left, right));
    }

    /// Starts a voice on a pad, if that has something to play.
    fn start(&mut self, pad: usize, tag: NoteTag, velocity: f32, is_trigger: bool) {
        let Some(state) = self.pads.get_mut(pad) else { return };
        state.prepare();
        if state.way().is_none() {
            return;
        }
        while self.voices.iter().filter(|voice| voice.is_active()).count() >= self.master.polyphony {
            let Some(victim) = steal::victim(&self.voices, pad, tag.key) else { break };
            self.move_out(victim);
        }
        let Some(context) = context(pad, &tag, &self.pads, &self.channels, &self.master, self.sample_rate)
        else {
            return;
        };
        if let Some(voice) = self.voices.iter_mut().find(|voice| !voice.is_active())
            && let Some(started) = Voice::start(pad, tag, velocity, self.started + 1, &context)
        {
            *voice = started;
            voice.is_trigger = is_trigger;
            self.started += 1;
        }
    }

    /// Ends the voices of choke groups, given as a set of bits.
    fn choke_groups(&mut self, groups: u32) {
        if groups != 0 {
            self.fade_out(|voice| groups & (1 << voice.choke_group) != 0);
        }
    }

    /// Fades out voices on the side, where they do not count.
    fn fade_out(&mut self, is_it: impl Fn(&Voice) -> bool) {
        for index in 0..MAX_VOICES {
            if self.voices.get(index).is_some_and(|voice| voice.is_active() && is_it(voice)) {
                self.move_out(index);
            }
        }
    }

    /// Frees a voice, which fades out on the side.
    fn move_out(&mut self, index: usize) {
        let Some(voice) = self.voices.get_mut(index) else { return };
        // With no slot free, the one that has faded furthest is given up.
        let level = |v: &Voice| if v.is_active() { v.level() } else { -1.0 };
        if let Some(slot) = self.fading.iter_mut().min_by(|a, b| level(a).total_cmp(&level(b))) {
            std::mem::swap(slot, voice);
            slot.kill();
        }
        voice.silence();
    }

    /// Makes voices follow settings, controllers and expressions.
    fn follow(&mut self, is_it: impl Fn(&Voice) -> bool) {
        for voice in self.voices.iter_mut().chain(&mut self.fading).filter(|v| v.is_active() && is_it(v)) {
            let (pads, channels) = (&self.pads, &self.channels);
            if let Some(context) =
                context(voice.pad, &voice.tag, pads, channels, &self.master, self.sample_rate)
            {
                voice.follow(&context);
            }
        }
    }
}

/// The choke group of a pad as a set of bits; empty for none.
fn group_bit(pad: &Pad) -> u32 {
    (1 << pad.settings().choke_group) & !1
}

/// The channel of a voice; those without one are on the first.
fn channel_of<'a>(channels: &'a [Channel; CHANNELS], voice: &Voice) -> &'a Channel {
    channels.get(usize::from(voice.tag.channel.unwrap_or(0))).unwrap_or(&Channel::REST)
}

/// What a note on a pad depends on.
fn context<'a>(
    pad: usize,
    tag: &NoteTag,
    pads: &'a [Pad; PADS],
    channels: &'a [Channel; CHANNELS],
    master: &'a Master,
    sample_rate: f32,
) -> Option<Context<'a>> {
    let channel = channels.get(usize::from(tag.channel.unwrap_or(0))).unwrap_or(&Channel::REST);
    Some(Context { pad: pads.get(pad)?, channel, master, sample_rate })
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
