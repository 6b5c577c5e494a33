//! The glue between the plugin formats and the parts of this crate.

use std::sync::{Arc, OnceLock};

use nice_plug::{context::gui::GuiContext, midi, prelude::*};
use parking_lot::Mutex;
use soundlocd_engine::service::Service;

use crate::{
    editor::{self, SoundLocdEditor},
    library::Library,
    params::{MAX_REVISION, SoundLocdParams},
    sampler::{Controller, Expression, NoteTag, PADS, Sampler, StereoOutput, interpolation::KernelBank},
    session::{Audition, Connect, Session},
    state,
};

/// The engine that instances of this process use, if it is not the default one.
static ENGINE: OnceLock<Arc<Service>> = OnceLock::new();

/// Makes every instance created from now on use `service` instead of the process-wide engine with
/// the default pack. Works once; for programs that embed the plugin with a model of their own.
///
/// # Errors
/// Gives `service` back if another one is in use already.
pub fn use_engine(service: Arc<Service>) -> Result<(), Arc<Service>> {
    ENGINE.set(service)
}

/// One stereo output: what hosts get that do not ask for more.
const STEREO: AudioIOLayout = AudioIOLayout {
    main_input_channels: None,
    main_output_channels: NonZeroU32::new(2),
    names: PortNames { layout: Some("Stereo"), ..PortNames::const_default() },
    ..AudioIOLayout::const_default()
};
/// A stereo output for each pad besides.
const WITH_PAD_OUTPUTS: AudioIOLayout = AudioIOLayout {
    aux_output_ports: &[new_nonzero_u32(2); PADS],
    names: PortNames {
        layout: Some("Stereo and pads"),
        aux_outputs: &[
            "Pad 1", "Pad 2", "Pad 3", "Pad 4", "Pad 5", "Pad 6", "Pad 7", "Pad 8", "Pad 9", "Pad 10",
            "Pad 11", "Pad 12", "Pad 13", "Pad 14", "Pad 15", "Pad 16",
        ],
        ..PortNames::const_default()
    },
    ..STEREO
};

/// Work for the host's main thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Bump the hidden parameter that makes hosts see an unsaved project.
    MarkChanged,
}

/// What the window's thread and the main thread share of the host's connection to the window.
pub type SharedGuiContext = Arc<Mutex<Option<GuiContext>>>;

/// The instrument.
pub struct SoundLocd {
    session: Arc<Session>,
    params: Arc<SoundLocdParams>,
    /// Given by the host when the window first opens; holds the plugin weakly.
    gui_context: SharedGuiContext,
    /// Built when the host activates the plugin, so that scanning stays cheap.
    sampler: Option<Sampler>,
    /// Whether something sounded in the last block, to draw one last time when it stops.
    was_sounding: bool,
}

impl Default for SoundLocd {
    fn default() -> Self {
        // Nothing is loaded here: the engine is reached at the first request.
        Self::new(Box::new(|| ENGINE.get().cloned().unwrap_or_else(Service::shared).client()))
    }
}

impl SoundLocd {
    /// An instance that reaches the engine through `connect`.
    #[must_use]
    pub fn new(connect: Connect) -> Self {
        let session = Arc::new(Session::new(connect));
        session.use_library(Library::default_folder());
        Self {
            params: Arc::new(SoundLocdParams::new(Arc::clone(&session))),
            session,
            gui_context: SharedGuiContext::default(),
            sampler: None,
            was_sounding: false,
        }
    }

    /// What happens off the audio thread.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Plugin for SoundLocd {
    const NAME: &'static str = "SoundLoCD";
    const VENDOR: &'static str = "SoundLoCD";
    const URL: &'static str = "";
    const EMAIL: &'static str = "";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[STEREO, WITH_PAD_OUTPUTS];
    const MIDI_INPUT: MidiConfig = MidiConfig::MidiCCs;
    const SAMPLE_ACCURATE_AUTOMATION: bool = true;
    // Ardour sends the value of every parameter in the first block: some 450 and, in VST3, those of 2,080 controllers.
    const INPUT_EVENT_CAPACITY: usize = 4096;

    type Editor = SoundLocdEditor;
    type SysExMessage = ();
    type BackgroundTask = Task;

    fn params(&self) -> Arc<dyn Params> {
        Arc::clone(&self.params) as Arc<dyn Params>
    }

    fn task_executor(&mut self) -> TaskExecutor<Self> {
        let (gui_context, params) = (Arc::clone(&self.gui_context), Arc::clone(&self.params));
        Box::new(move |task| match task {
            Task::MarkChanged => mark_changed(&gui_context, &params),
        })
    }

    fn editor(&mut self, executor: AsyncExecutor<Self>) -> Option<SoundLocdEditor> {
        self.session.set_on_change(Box::new(move || executor.execute_gui(Task::MarkChanged)));
        Some(editor::create(&self.session, &self.params, &self.gui_context))
    }

    fn filter_state(state: &mut PluginState) {
        state::repair(state);
    }

    fn activate(
        &mut self,
        _layout: &AudioIOLayout,
        config: &BufferConfig,
        _context: &mut impl ActivateContext<Self>,
    ) -> bool {
        // Tabulated here so that the audio thread never has to.
        KernelBank::shared();
        self.session.set_host_rate(config.sample_rate);
        match &mut self.sampler {
            Some(sampler) => sampler.set_sample_rate(config.sample_rate),
            None => self.sampler = Some(Sampler::new(config.sample_rate)),
        }
        true
    }

    fn reset(&mut self) {
        if let Some(sampler) = &mut self.sampler {
            sampler.reset();
            sampler.publish(&self.session.shared().playheads);
        }
    }

    fn process(
        &mut self,
        buffer: &mut Buffer,
        aux: &mut AuxiliaryBuffers,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let Some(sampler) = &mut self.sampler else { return ProcessStatus::Error("not activated") };
        let shared = self.session.shared();
        for (pad, settings) in self.params.pad_settings().enumerate() {
            if let Some(source) = shared.handover.take(pad) {
                sampler.set_source(pad, source);
            }
            sampler.set_pad(pad, settings);
        }
        sampler.set_master(self.params.master());
        while let Some(audition) = shared.auditions.pop() {
            match audition {
                Audition::Press(key, velocity) => sampler.note_on(NoteTag::key(0, key), velocity),
                Audition::Release(key) => sampler.note_off(NoteTag::key(0, key)),
                Audition::PressPad(pad, velocity) => sampler.trigger(usize::from(pad), velocity),
                Audition::ReleasePad(pad) => sampler.release(usize::from(pad)),
            }
        }

        let samples = buffer.samples();
        let [left, right] = buffer.as_slice() else { return ProcessStatus::Error("needs two outputs") };
        let mut done = 0;
        loop {
            let event = context.next_event();
            let until = event.as_ref().map_or(samples, |e| (e.timing() as usize).clamp(done, samples));
            if let (Some(left), Some(right)) = (left.get_mut(done..until), right.get_mut(done..until)) {
                sampler.render(left, right, &mut pad_outputs(aux, done..until), |tag| {
                    // Only CLAP hosts listen; one that has no room for it has no use for it.
                    let _ = context.try_send_event(NoteEvent::VoiceTerminated {
                        timing: done as u32,
                        voice_id: tag.id.map_or(midi::VoiceID::Wildcard, midi::VoiceID::ID),
                        channel: tag.channel.map_or(midi::Channel::Wildcard, midi::Channel::Number),
                        key: tag.key.map_or(midi::Key::Wildcard, midi::Key::Number),
                    });
                });
            }
            done = until;
            match event {
                Some(event) => handle(sampler, event),
                None => break,
            }
        }

        sampler.publish(&shared.playheads);
        let sounding = sampler.is_sounding();
        if sounding || self.was_sounding {
            shared.repaint.request();
        }
        self.was_sounding = sounding;
        if sounding { ProcessStatus::KeepAlive } else { ProcessStatus::Normal }
    }
}

/// Part of the pads' own outputs; empty ones if the host has none.
fn pad_outputs<'a>(aux: &'a mut AuxiliaryBuffers, part: std::ops::Range<usize>) -> [StereoOutput<'a>; PADS] {
    let mut outputs = std::array::from_fn(|_| StereoOutput::default());
    for (output, buffer) in outputs.iter_mut().zip(aux.outputs.iter_mut()) {
        if let [left, right] = buffer.as_slice()
            && let (Some(left), Some(right)) = (left.get_mut(part.clone()), right.get_mut(part.clone()))
        {
            *output = StereoOutput { left, right };
        }
    }
    outputs
}

/// Passes an event on to the sampler.
fn handle(sampler: &mut Sampler, event: NoteEvent<()>) {
    let tag = |voice_id: midi::VoiceID, channel: midi::Channel, key: midi::Key| NoteTag {
        id: voice_id.id(),
        channel: channel.number(),
        key: key.number(),
    };
    match event {
        NoteEvent::NoteOn { voice_id, channel, key, velocity, .. } => {
            sampler.note_on(tag(voice_id, channel, key), velocity);
        }
        NoteEvent::NoteOff { voice_id, channel, key, .. } => sampler.note_off(tag(voice_id, channel, key)),
        NoteEvent::Choke { voice_id, channel, key, .. } => sampler.choke(tag(voice_id, channel, key)),
        NoteEvent::PolyTuning { voice_id, channel, key, tuning, .. } => {
            sampler.set_expression(tag(voice_id, channel, key), Expression::Tuning(tuning));
        }
        NoteEvent::PolyVolume { voice_id, channel, key, gain, .. } => {
            sampler.set_expression(tag(voice_id, channel, key), Expression::Volume(gain));
        }
        NoteEvent::PolyPan { voice_id, channel, key, pan, .. } => {
            sampler.set_expression(tag(voice_id, channel, key), Expression::Pan(pan));
        }
        NoteEvent::PolyVibrato { voice_id, channel, key, vibrato, .. } => {
            sampler.set_expression(tag(voice_id, channel, key), Expression::Vibrato(vibrato));
        }
        NoteEvent::PolyExpression { voice_id, channel, key, expression, .. } => {
            sampler.set_expression(tag(voice_id, channel, key), Expression::Level(expression));
        }
        NoteEvent::PolyBrightness { voice_id, channel, key, brightness, .. } => {
            sampler.set_expression(tag(voice_id, channel, key), Expression::Brightness(brightness));
        }
        NoteEvent::PolyPressure { voice_id, channel, key, pressure, .. } => {
            sampler.set_expression(tag(voice_id, channel, key), Expression::Pressure(pressure));
        }
        // 0..=1 with the wheel's rest in the middle.
        NoteEvent::MidiPitchBend { channel, value, .. } => {
            sampler.set_controller(channel, Controller::Bend, value * 2.0 - 1.0);
        }
        NoteEvent::MidiChannelPressure { channel, pressure, .. } => {
            sampler.set_controller(channel, Controller::Pressure, pressure);
        }
        NoteEvent::MidiCC { channel, cc, value, .. } => handle_controller(sampler, channel, cc, value),
        _ => {}
    }
}

/// Passes a MIDI controller on to the sampler.
fn handle_controller(sampler: &mut Sampler, channel: u8, cc: u8, value: f32) {
    match cc {
        control_change::DAMPER_PEDAL => sampler.set_pedal(channel, value >= 0.5),
        control_change::MODULATION_MSB => sampler.set_controller(channel, Controller::Wheel, value),
        control_change::EXPRESSION_CONTROLLER_MSB => {
            sampler.set_controller(channel, Controller::Expression, value);
        }
        control_change::SOUND_CONTROLLER_5 => {
            // 64, the rest, lies a little above the middle of 0..=127.
            sampler.set_controller(channel, Controller::Brightness, value * 127.0 / 128.0);
        }
        control_change::ALL_NOTES_OFF => {
            sampler.set_pedal(channel, false);
            sampler.note_off(NoteTag::channel(channel));
        }
        control_change::ALL_SOUND_OFF => sampler.choke(NoteTag::channel(channel)),
        control_change::RESET_ALL_CONTROLLERS => sampler.reset_controllers(channel),
        _ => {}
    }
}

/// Bumps the hidden parameter. Runs on the host's main thread, so the plugin is alive; before the
/// window has been opened there is no way to reach the host.
fn mark_changed(gui_context: &SharedGuiContext, params: &SoundLocdParams) {
    let Some(context) = gui_context.lock().clone() else { return };
    let setter = context.param_setter();
    setter.begin_set_parameter(&params.revision);
    setter.set_parameter(&params.revision, (params.revision.value() + 1) % (MAX_REVISION + 1));
    setter.end_set_parameter(&params.revision);
}

impl ClapPlugin for SoundLocd {
    const CLAP_ID: &'static str = "org.soundlocd.soundlocd";
    const CLAP_DESCRIPTION: Option<&'static str> = Some("Type a sound, play it");
    const CLAP_MANUAL_URL: Option<&'static str> = None;
    const CLAP_SUPPORT_URL: Option<&'static str> = None;
    const CLAP_FEATURES: &'static [ClapFeature] =
        &[ClapFeature::Instrument, ClapFeature::Sampler, ClapFeature::Synthesizer, ClapFeature::Stereo];
}

impl Vst3Plugin for SoundLocd {
    const VST3_CLASS_ID: [u8; 16] = *b"SoundLoCDInstr01";
    const VST3_SUBCATEGORIES: &'static [Vst3SubCategory] =
        &[Vst3SubCategory::Instrument, Vst3SubCategory::Sampler, Vst3SubCategory::Stereo];
}
