//! A small CLAP host around clack-host: load, set up, play notes, save and load state.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use clack_extensions::audio_ports::{AudioPortInfoBuffer, PluginAudioPorts};
use clack_extensions::audio_ports_config::{AudioPortsConfigBuffer, PluginAudioPortsConfig};
use clack_extensions::params::{
    HostParams, HostParamsImplMainThread, HostParamsImplShared, ParamClearFlags, ParamInfoBuffer,
    ParamInfoFlags, ParamRescanFlags, PluginParams,
};
use clack_extensions::render::{PluginRender, RenderMode};
use clack_extensions::state::{HostState, HostStateImpl, PluginState};
use clack_host::events::event_types::{NoteOffEvent, NoteOnEvent, ParamValueEvent};
use clack_host::prelude::*;

/// The plugin's CLAP identifier: projects refer to it, so it never changes.
pub const PLUGIN_ID: &CStr = c"org.soundlocd.soundlocd";

/// The plugin as this test program was linked with it: debug assertions on, and an allocation on
/// the audio thread aborts.
pub fn entry_in_process() -> PluginEntry {
    // SAFETY: the entry is nice-plug's, made for CLAP hosts, and lives as long as the program.
    #[allow(unsafe_code, reason = "loading a plugin runs foreign code")]
    unsafe {
        PluginEntry::load_from_raw(&soundlocd::exports::clap_entry, c"/nowhere/SoundLoCD.clap").unwrap()
    }
}

/// The plugin from a `.clap` file.
pub fn entry_from_file(path: &Path) -> PluginEntry {
    // SAFETY: the file is the bundle that this workspace built.
    #[allow(unsafe_code, reason = "loading a plugin runs foreign code")]
    unsafe {
        PluginEntry::load(path).unwrap_or_else(|error| panic!("could not load {}: {error}", path.display()))
    }
}

/// What the plugin asked of the host, from any thread.
#[derive(Default)]
struct Requests {
    callback: AtomicBool,
    dirty: AtomicBool,
    rescans: AtomicU32,
}

/// The host's side that any thread may call.
struct Shared(Arc<Requests>);

impl SharedHandler<'_> for Shared {
    fn request_restart(&self) {}
    fn request_process(&self) {}
    fn request_callback(&self) {
        self.0.callback.store(true, Ordering::Release);
    }
}

impl HostParamsImplShared for Shared {
    fn request_flush(&self) {}
}

/// The host's side that the main thread may call.
struct MainThread(Arc<Requests>);

impl MainThreadHandler<'_> for MainThread {}

impl HostParamsImplMainThread for MainThread {
    fn rescan(&self, _flags: ParamRescanFlags) {
        self.0.rescans.fetch_add(1, Ordering::Relaxed);
    }
    fn clear(&self, _param_id: ClapId, _flags: ParamClearFlags) {}
}

impl HostStateImpl for MainThread {
    fn mark_dirty(&self) {
        self.0.dirty.store(true, Ordering::Relaxed);
    }
}

/// The handlers of this host.
struct Handlers;

impl HostHandlers for Handlers {
    type Shared<'a> = Shared;
    type MainThread<'a> = MainThread;
    type AudioProcessor<'a> = ();

    fn declare_extensions(builder: &mut HostExtensions<Self>, _shared: &Shared) {
        builder.register::<HostParams>().register::<HostState>();
    }
}

/// One parameter as the host sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Stays the same for ever: automation refers to it.
    pub id: u32,
    /// What the host shows.
    pub name: String,
    /// Plain values.
    pub least: f64,
    /// Plain values.
    pub most: f64,
    /// Plain values.
    pub default: f64,
    /// Whether the host is asked not to show it.
    pub hidden: bool,
    /// Whether a host may record it.
    pub automatable: bool,
}

/// A note or parameter event at a frame of the whole rendering.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A key goes down.
    NoteOn {
        /// 0..=127.
        key: u16,
        /// 0..=1.
        velocity: f64,
    },
    /// A key goes up.
    NoteOff {
        /// 0..=127.
        key: u16,
    },
    /// A parameter is automated.
    Parameter {
        /// As in [`Parameter::id`].
        id: u32,
        /// Plain value.
        value: f64,
    },
}

/// An instance of the plugin in a track of our host.
pub struct Instance {
    instance: PluginInstance<Handlers>,
    /// Stereo outputs that it has now.
    outputs: usize,
    requests: Arc<Requests>,
}

impl Instance {
    /// Creates the plugin as a host does when it is put on a track.
    pub fn new(entry: &PluginEntry) -> Self {
        let host = HostInfo::new("SoundLoCD tests", "SoundLoCD", "", "0").unwrap();
        let requests = Arc::new(Requests::default());
        let (shared, main_thread) = (requests.clone(), requests.clone());
        let instance =
            PluginInstance::new(|_| Shared(shared), |_| MainThread(main_thread), entry, PLUGIN_ID, &host)
                .unwrap();
        Self { instance, outputs: 1, requests }
    }

    /// The layouts of outputs that the plugin offers, the first being what it starts with.
    pub fn layouts(&mut self) -> Vec<String> {
        let handle = self.instance.plugin_handle();
        let layouts: PluginAudioPortsConfig = handle.get_extension().unwrap();
        (0..layouts.count(&handle))
            .map(|index| {
                let mut buffer = AudioPortsConfigBuffer::new();
                let layout = layouts.get(&handle, index, &mut buffer).unwrap();
                String::from_utf8(layout.name.to_vec()).unwrap()
            })
            .collect()
    }

    /// Chooses a layout, by its place in [`Self::layouts`], and answers the names of its outputs.
    pub fn choose_layout(&mut self, index: u32) -> Vec<String> {
        let handle = self.instance.plugin_handle();
        let layouts: PluginAudioPortsConfig = handle.get_extension().unwrap();
        let id = layouts.get(&handle, index, &mut AudioPortsConfigBuffer::new()).unwrap().id;
        layouts.select(&handle, id).unwrap();
        let ports: PluginAudioPorts = handle.get_extension().unwrap();
        let names: Vec<_> = (0..ports.count(&handle, false))
            .map(|port| {
                let mut buffer = AudioPortInfoBuffer::new();
                let port = ports.get(&handle, port, false, &mut buffer).unwrap();
                assert_eq!(port.channel_count, 2);
                String::from_utf8(port.name.to_vec()).unwrap()
            })
            .collect();
        self.outputs = names.len();
        names
    }

    /// All parameters, in the plugin's order.
    pub fn parameters(&mut self) -> Vec<Parameter> {
        let handle = self.instance.plugin_handle();
        let params: PluginParams = handle.get_extension().unwrap();
        (0..params.count(&handle))
            .map(|index| {
                let mut buffer = ParamInfoBuffer::new();
                let info = params.get_info(&handle, index, &mut buffer).unwrap();
                Parameter {
                    id: info.id.get(),
                    name: String::from_utf8(info.name.to_vec()).unwrap(),
                    least: info.min_value,
                    most: info.max_value,
                    default: info.default_value,
                    hidden: info.flags.contains(ParamInfoFlags::IS_HIDDEN),
                    automatable: info.flags.contains(ParamInfoFlags::IS_AUTOMATABLE),
                }
            })
            .collect()
    }

    /// A parameter's plain value.
    pub fn value(&mut self, id: u32) -> Option<f64> {
        let handle = self.instance.plugin_handle();
        let params: PluginParams = handle.get_extension().unwrap();
        params.get_value(&handle, ClapId::new(id))
    }

    /// A value as the plugin writes it, and read back from that text.
    pub fn text_round_trip(&mut self, id: u32, value: f64) -> (String, Option<f64>) {
        let handle = self.instance.plugin_handle();
        let params: PluginParams = handle.get_extension().unwrap();
        let mut buffer = [0u8; 256];
        let text = params.value_to_text(&handle, ClapId::new(id), value, &mut buffer).unwrap().to_vec();
        let c_text = CString::new(text.clone()).unwrap();
        let back = params.text_to_value(&handle, ClapId::new(id), &c_text);
        (String::from_utf8(text).unwrap(), back)
    }

    /// The state as a host puts it into a project.
    pub fn save(&mut self) -> Vec<u8> {
        let handle = self.instance.plugin_handle();
        let state: PluginState = handle.get_extension().unwrap();
        let mut bytes = Vec::new();
        state.save(&handle, &mut bytes).unwrap();
        bytes
    }

    /// Loads a state as a host does when a project is opened; whether the plugin took it.
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        let handle = self.instance.plugin_handle();
        let state: PluginState = handle.get_extension().unwrap();
        let mut reader = bytes;
        let taken = state.load(&handle, &mut reader).is_ok();
        self.idle();
        taken
    }

    /// Says whether what is played next is a bounce, which need not be in time.
    pub fn set_offline(&mut self, is_offline: bool) {
        let handle = self.instance.plugin_handle();
        let render: PluginRender = handle.get_extension().unwrap();
        let mode = if is_offline { RenderMode::Offline } else { RenderMode::Realtime };
        render.set(&handle, mode).unwrap();
    }

    /// What a host's idle timer does: runs what the plugin wants run on the main thread.
    pub fn idle(&mut self) {
        if self.requests.callback.swap(false, Ordering::AcqRel) {
            self.instance.call_on_main_thread_callback();
        }
    }

    /// Starts the audio engine at `rate` Hz with blocks of up to `largest_block` frames.
    pub fn start(&mut self, rate: f64, largest_block: u32) -> Playing<'_> {
        let configuration = PluginAudioConfiguration {
            sample_rate: rate,
            min_frames_count: 1,
            max_frames_count: largest_block,
        };
        let processor = self.instance.activate(|_, _| (), configuration).unwrap().start_processing().unwrap();
        Playing { host: self, processor: Some(processor), position: 0 }
    }

    /// Plays `events` (frame, event; in order) for `frames` frames at `rate` Hz in blocks of
    /// `block` frames, from a fresh start; left and right.
    pub fn render(
        &mut self,
        rate: f64,
        block: u32,
        frames: usize,
        events: &[(usize, Event)],
    ) -> [Vec<f32>; 2] {
        self.start(rate, block).play(frames, std::iter::repeat(block as usize), events)
    }
}

/// An [`Instance`] whose audio engine runs; it stops when this is dropped.
pub struct Playing<'a> {
    host: &'a mut Instance,
    /// `None` only while being dropped.
    processor: Option<StartedPluginAudioProcessor<Handlers>>,
    /// Frames processed so far.
    position: usize,
}

impl Playing<'_> {
    /// Processes `frames` frames in blocks of the sizes that `blocks` gives (the last is cut).
    /// `events` are placed at frames counted from this call. Answers the main output.
    pub fn play(
        &mut self,
        frames: usize,
        blocks: impl IntoIterator<Item = usize>,
        events: &[(usize, Event)],
    ) -> [Vec<f32>; 2] {
        self.play_all(frames, blocks, events).swap_remove(0)
    }

    /// Like [`Self::play`], but answers every output.
    pub fn play_all(
        &mut self,
        frames: usize,
        blocks: impl IntoIterator<Item = usize>,
        events: &[(usize, Event)],
    ) -> Vec<[Vec<f32>; 2]> {
        let mut outputs = vec![[Vec::with_capacity(frames), Vec::with_capacity(frames)]; self.host.outputs];
        let mut blocks = blocks.into_iter();
        let mut done = 0;
        while done < frames {
            let size = blocks.next().expect("enough blocks").min(frames - done);
            let due: Vec<_> = events
                .iter()
                .filter(|(frame, _)| (done..done + size).contains(frame))
                .map(|(frame, event)| ((frame - done) as u32, *event))
                .collect();
            for (output, [left, right]) in outputs.iter_mut().zip(self.block(size, &due)) {
                output[0].extend(left);
                output[1].extend(right);
            }
            done += size;
        }
        outputs
    }

    /// Processes one block; events are at frames of the block.
    fn block(&mut self, size: usize, events: &[(u32, Event)]) -> Vec<[Vec<f32>; 2]> {
        let mut input_events = EventBuffer::new();
        for &(frame, event) in events {
            push(&mut input_events, frame, event);
        }
        // Filled with what must not come out: a plugin that leaves its output alone is caught.
        let mut outputs = vec![[vec![f32::NAN; size], vec![f32::NAN; size]]; self.host.outputs];
        let mut ports = AudioPorts::with_capacity(2 * outputs.len(), outputs.len());
        let mut buffers = ports.with_output_buffers(outputs.iter_mut().map(|channels| AudioPortBuffer {
            latency: 0,
            channels: AudioPortBufferType::f32_output_only(channels.iter_mut().map(Vec::as_mut_slice)),
        }));
        self.processor
            .as_mut()
            .unwrap()
            .process(
                &InputAudioBuffers::empty(),
                &mut buffers,
                &InputEvents::from_buffer(&input_events),
                &mut OutputEvents::void(),
                Some(self.position as u64),
                None,
            )
            .unwrap();
        self.position += size;
        self.host.idle();
        outputs
    }

    /// The plugin's main-thread side while it plays: a host may save at any time.
    pub fn instance(&mut self) -> &mut Instance {
        self.host
    }
}

impl Drop for Playing<'_> {
    fn drop(&mut self) {
        if let Some(processor) = self.processor.take() {
            self.host.instance.deactivate(processor.stop_processing());
        }
    }
}

/// Adds one event at a frame of the block.
fn push(buffer: &mut EventBuffer, frame: u32, event: Event) {
    let note = |key: u16| Pckn::new(0u16, 0u16, key, u32::from(key));
    match event {
        Event::NoteOn { key, velocity } => buffer.push(&NoteOnEvent::new(frame, note(key), velocity)),
        Event::NoteOff { key } => buffer.push(&NoteOffEvent::new(frame, note(key), 0.0)),
        Event::Parameter { id, value } => {
            buffer.push(&ParamValueEvent::new(frame, ClapId::new(id), Pckn::match_all(), value));
        }
    }
}
