//! The window.
//!
//! [`SoundLocdEditor`] wraps the framework's egui editor to do what it does not: open at the right
//! size on HiDPI displays, accept keys that the host forwards, draw when there is news without
//! stalling (see `waker`), and build nothing until the window is first asked for (scanners create
//! every plugin's editor).

mod about;
mod adapter_panel;
mod app;
mod controls;
mod display;
mod drag_out;
mod drop_in;
mod edit_bar;
mod forwarded_keys;
mod keyboard;
mod knob;
mod menu;
mod message;
mod pack_menu;
mod pad_strip;
mod palette;
mod preset_list;
mod prompt_bar;
mod prompts;
mod queue_list;
mod scale;
mod selection;
mod settings_bar;
mod shelf;
#[cfg(test)]
mod snapshots;
mod sound_list;
mod sound_menu;
mod takes;
mod theme;
mod tray_choice;
mod typing_focus;
mod waker;
mod widgets;

use std::{cell::OnceCell, error::Error, sync::Arc, time::Duration};

use nice_plug::{
    context::gui::GuiContext,
    editor::{
        Editor, EditorHandle, HostMethods, Modifiers, ParentWindowHandle, ResizeHint, SpawnedEditor,
        VirtualKeyCode,
        dpi::{LogicalSize, NativeSize},
    },
    plugin::TrackInfo,
};
use nice_plug_egui::{
    EguiEditor, EguiEditorHandle, EguiEditorState, EguiNiceSettings, RepaintNotifier, baseview,
    create_egui_editor,
};

use crate::{params::SoundLocdParams, plugin::SharedGuiContext, session::Session, standalone};
use app::App;
use forwarded_keys::{ForwardedKeys, Wanted};
use waker::Waker;

/// Size of the window when it first opens, in logical pixels.
const DEFAULT_SIZE: LogicalSize<f32> = LogicalSize { width: 960.0, height: 640.0 };
/// Smallest size, in logical pixels.
const SMALLEST_SIZE: LogicalSize<f32> = LogicalSize { width: 640.0, height: 420.0 };

/// How often the framework looks at its own repaint notifier: on X11 never (see `waker`);
/// elsewhere it draws the first frame.
const NOTIFIER_INTERVAL: Duration = if cfg!(all(unix, not(target_os = "macos"))) {
    Duration::from_secs(24 * 3600)
} else {
    Duration::from_millis(15)
};

/// The editor of one plugin instance, whether its window is open or not.
pub struct SoundLocdEditor {
    session: Arc<Session>,
    params: Arc<SoundLocdParams>,
    gui_context: SharedGuiContext,
    keys: Arc<ForwardedKeys>,
    waker: Arc<Waker>,
    /// The framework's editor, from the first time that anything is asked of it.
    inner: OnceCell<Option<EguiEditor<App>>>,
}

/// The editor of an instance; nothing of the window exists yet.
pub fn create(
    session: &Arc<Session>,
    params: &Arc<SoundLocdParams>,
    gui_context: &SharedGuiContext,
) -> SoundLocdEditor {
    SoundLocdEditor {
        session: Arc::clone(session),
        params: Arc::clone(params),
        gui_context: Arc::clone(gui_context),
        keys: Arc::default(),
        waker: Arc::default(),
        inner: OnceCell::new(),
    }
}

impl SoundLocdEditor {
    /// How hosts may resize the window.
    fn resizing() -> ResizeHint {
        ResizeHint::resizable().with_min_logical_size(SMALLEST_SIZE)
    }

    fn inner(&self) -> Option<&EguiEditor<App>> {
        let create = || {
            let state = EguiEditorState::from_size(scale::initial_size(DEFAULT_SIZE), 1.0);
            let app = App::new(
                Arc::clone(&self.session),
                Arc::clone(&self.params),
                Arc::clone(&self.keys),
                Arc::clone(&self.waker),
            );
            let settings = EguiNiceSettings::new()
                .with_tile("SoundLoCD")
                .with_resize_hint(Self::resizing())
                .with_repaint_poll_interval(NOTIFIER_INTERVAL);
            create_egui_editor(state, RepaintNotifier::new(), settings, app)
        };
        self.inner.get_or_init(create).as_ref()
    }
}

impl Editor for SoundLocdEditor {
    type Handle = SoundLocdEditorHandle;

    fn spawn(
        &self,
        parent: Option<ParentWindowHandle>,
        wait_for_parent: bool,
        fallback_scale_factor: Option<f64>,
        gui_context: GuiContext,
        host: Option<HostMethods>,
    ) -> Result<SpawnedEditor<Self::Handle>, Box<dyn Error>> {
        *self.gui_context.lock() = Some(gui_context.clone());
        if let Some(state) = standalone::opened(&gui_context, &self.session) {
            preset_list::apply(&self.session, &self.params, &gui_context, &state);
        }
        let inner = self.inner().ok_or("the window could not be created")?;
        self.waker.open();
        let SpawnedEditor { handle, window } =
            inner.spawn(parent, wait_for_parent, fallback_scale_factor, gui_context, host)?;
        let handle = SoundLocdEditorHandle {
            inner: handle,
            session: Arc::clone(&self.session),
            keys: Arc::clone(&self.keys),
            waker: Arc::clone(&self.waker),
        };
        Ok(SpawnedEditor { handle, window })
    }

    fn size(&self) -> NativeSize<u32> {
        self.inner()
            .map_or(NativeSize::new(DEFAULT_SIZE.width as u32, DEFAULT_SIZE.height as u32), Editor::size)
    }

    fn resize_hint(&self) -> ResizeHint {
        Self::resizing()
    }

    fn track_info_updated(&self, info: TrackInfo) {
        if let Some(Some(inner)) = self.inner.get() {
            inner.track_info_updated(info);
        }
    }

    // The caller's promise is passed on as it is.
    #[allow(unsafe_code)]
    unsafe fn assume_standalone_in_process(&self) {
        if let Some(inner) = self.inner() {
            // SAFETY: the requirements are those of this very method.
            unsafe { inner.assume_standalone_in_process() };
        }
    }
}

/// The open window.
pub struct SoundLocdEditorHandle {
    inner: EguiEditorHandle,
    session: Arc<Session>,
    keys: Arc<ForwardedKeys>,
    waker: Arc<Waker>,
}

impl EditorHandle for SoundLocdEditorHandle {
    type Window = baseview::Window;
    type Error = baseview::Error;

    fn run_until_closed(window: Self::Window) -> Result<(), Self::Error> {
        let result = EguiEditorHandle::run_until_closed(window);
        standalone::closed();
        result
    }

    fn set_parent(&self, parent: ParentWindowHandle, window: &Self::Window) -> Result<(), Self::Error> {
        self.inner.set_parent(parent, window)
    }

    fn show(&self, window: &Self::Window) -> Result<(), Self::Error> {
        self.session.shared().repaint.request();
        self.inner.show(window)
    }

    fn hide(&self, window: &Self::Window) -> Result<(), Self::Error> {
        self.inner.hide(window)
    }

    fn set_size(&self, new_size: NativeSize<u32>, window: &Self::Window) -> Result<(), Self::Error> {
        self.inner.set_size(new_size, window)
    }

    fn host_main_thread_callback(&self, window: &Self::Window) {
        self.inner.host_main_thread_callback(window);
    }

    fn adjust_size(&self, new_size: NativeSize<u32>, window: &Self::Window) -> Option<NativeSize<u32>> {
        self.inner.adjust_size(new_size, window)
    }

    fn set_fallback_scale_factor(&self, scale_factor: f64, window: &Self::Window) -> Result<(), Self::Error> {
        self.inner.set_fallback_scale_factor(scale_factor, window)
    }

    fn on_virtual_key_from_host(&self, key: VirtualKeyCode, is_down: bool, modifiers: Modifiers) -> bool {
        let taken = self.keys.offer(key, is_down, modifiers);
        if taken {
            self.session.shared().repaint.request();
        }
        taken
    }

    fn state_changed(&self) {
        self.session.shared().repaint.request();
    }

    fn param_value_changed(&self, _id: &str, _normalized_value: f32) {
        self.session.shared().repaint.request();
    }

    fn param_modulation_changed(&self, _id: &str, _modulation_offset: f32) {
        self.session.shared().repaint.request();
    }
}

impl Drop for SoundLocdEditorHandle {
    fn drop(&mut self) {
        self.keys.set_wanted(Wanted::default());
        self.waker.close();
    }
}
