//! The contents of the window: which areas there are and where.

use std::{sync::Arc, time::Instant};

use egui::{Align, Layout, Rect, Sense, Ui, UiBuilder, pos2, vec2};
use nice_plug::{context::gui::GuiContext, prelude::ParamSetter};
use nice_plug_egui::{Frame, NiceEguiApp, baseview::HandlerError};
use soundlocd_engine::service::Settings;

use super::{
    adapter_panel,
    controls::Controls,
    display::Display,
    drag_out::DragOut,
    drop_in,
    forwarded_keys::{ForwardedKeys, Wanted, keep_arrows},
    keyboard::Keyboard,
    menu::Menu,
    message, pack_menu,
    pad_strip::{self, PadStrip},
    prompt_bar::PromptBar,
    settings_bar::SettingsBar,
    sound_list::SoundList,
    theme,
    typing_focus::{Pointer, TypingFocus},
    waker::Waker,
};
use crate::{
    packs::Standing,
    params::{SoundLocdParams, pads::PadParams},
    preferences,
    session::{Session, Snapshot},
};

/// Height of the row of knobs.
const CONTROLS_HEIGHT: f32 = 90.0;
/// Height of the keyboard. A low window has none: there the pads are enough to hear a sound.
const KEYBOARD_HEIGHT: f32 = 54.0;
/// Height of the pads.
const PADS_HEIGHT: f32 = 32.0;
/// Width of the list of takes, in a wide and in a narrow window.
const TAKES_WIDTHS: [f32; 2] = [220.0, 180.0];
/// Width of the model's selector.
const MODEL_WIDTH: f32 = 240.0;
/// Width of the button for adapters.
const ADAPTERS_WIDTH: f32 = 122.0;
/// Windows smaller than this are drawn tightly.
const ROOMY: egui::Vec2 = vec2(800.0, 540.0);

/// What the areas of the window draw from, for one frame.
pub struct View<'a> {
    /// Where commands go.
    pub session: &'a Session,
    /// The parameters.
    pub params: &'a SoundLocdParams,
    /// Changes them, through the host.
    pub setter: ParamSetter<'a>,
    /// The way to the host.
    pub context: &'a GuiContext,
    /// Everything else.
    pub model: Snapshot,
}

impl View<'_> {
    /// Starts making sounds as everything is set now.
    pub fn generate(&self) {
        let prompt = self.session.project().prompt;
        self.session.prefer(move |preferences| preferences.remember(&prompt));
        self.session.generate(self.settings(), self.variations());
    }

    /// How the next sound is made.
    pub fn settings(&self) -> Settings {
        match &self.model.standing {
            Standing::Ready(model) => self.params.generation_settings(model),
            // The session says why there is nothing to be made.
            _ => Settings::default(),
        }
    }

    /// How many sounds are made at once.
    pub fn variations(&self) -> u32 {
        u32::try_from(self.params.variations.value()).unwrap_or(1)
    }

    /// The parameters of the selected pad.
    pub fn pad(&self) -> &PadParams {
        self.params.pads.pad(self.model.selected)
    }
}

/// What the window needs while it is open.
pub struct App {
    session: Arc<Session>,
    params: Arc<SoundLocdParams>,
    keys: Arc<ForwardedKeys>,
    waker: Arc<Waker>,
    typing_focus: TypingFocus,
    gui_context: Option<GuiContext>,
    prompt_bar: PromptBar,
    settings_bar: SettingsBar,
    display: Display,
    sounds: SoundList,
    controls: Controls,
    pads: PadStrip,
    drag_out: DragOut,
    keyboard: Keyboard,
    menu: Menu,
    /// The look that the window has.
    is_light: bool,
}

impl App {
    /// The contents for an instance.
    pub fn new(
        session: Arc<Session>,
        params: Arc<SoundLocdParams>,
        keys: Arc<ForwardedKeys>,
        waker: Arc<Waker>,
    ) -> Self {
        Self {
            session,
            params,
            keys,
            waker,
            typing_focus: TypingFocus::default(),
            gui_context: None,
            prompt_bar: PromptBar::default(),
            settings_bar: SettingsBar::default(),
            display: Display::default(),
            sounds: SoundList::default(),
            controls: Controls::default(),
            pads: PadStrip::default(),
            drag_out: DragOut::default(),
            keyboard: Keyboard::default(),
            menu: Menu::default(),
            is_light: false,
        }
    }

    /// Gives the window the look that the user wants.
    pub(super) fn follow_preferences(&mut self, context: &egui::Context) {
        let is_light = preferences::current().is_light;
        if is_light != self.is_light {
            self.is_light = is_light;
            theme::set_light(is_light);
            theme::restyle(context);
        }
    }

    /// Draws everything.
    pub(super) fn draw(&mut self, ui: &mut Ui, context: &GuiContext) {
        keep_arrows(ui.ctx());
        self.menu.presets.follow(&self.session, &self.params, context);
        let view = View {
            session: &self.session,
            params: &self.params,
            setter: context.param_setter(),
            context,
            model: self.session.snapshot(),
        };
        let window = ui.max_rect();
        ui.painter().rect_filled(window, 0.0, theme::background());
        // A click beside everything ends typing and gives the keyboard back to the host.
        if ui.interact(window, ui.scope_id().with("background"), Sense::CLICK).clicked() {
            ui.memory_mut(|memory| memory.stop_text_input());
        }
        let area = window.shrink(theme::GAP);
        let is_low = window.height() < ROOMY.y;
        let [wide, narrow] = TAKES_WIDTHS;
        let takes_width = if window.width() < ROOMY.x { narrow } else { wide };

        let mut top = ui.new_child(UiBuilder::new().max_rect(area).layout(Layout::top_down(Align::Min)));
        if !is_low {
            header(&mut top, &view, &mut self.menu);
        }
        self.prompt_bar.show(&mut top, &view);
        self.settings_bar.show(&mut top, &view, is_low.then_some(&mut self.menu));
        message::show(&mut top, &view);

        // From the bottom up.
        let mut bottom = area.bottom();
        let mut row = |height: f32| {
            let rect = area.with_max_y(bottom).with_min_y(bottom - height);
            bottom = rect.top() - theme::GAP;
            rect
        };
        let keys = (!is_low).then(|| row(KEYBOARD_HEIGHT));
        let knobs = row(CONTROLS_HEIGHT);
        let pads = row(PADS_HEIGHT);
        let middle = Rect::from_min_max(
            pos2(area.left(), top.min_rect().bottom() + theme::GAP),
            pos2(area.right(), bottom),
        );
        let takes = middle.with_min_x(middle.right() - takes_width);
        let display = middle.with_max_x(takes.left() - theme::GAP);
        self.display.show(ui, display, &view);
        self.sounds.show(ui, takes, &view);
        self.pads.show(ui, pads, &view);
        self.controls.show(ui, knobs, &view);
        if let Some(keys) = keys {
            self.keyboard.show(ui, keys, &view);
        }
        pad_strip::follow(ui, &view);
        drop_in::invite(ui, window, &view, &self.pads);
        self.drag_out.follow(ui, &view);
    }
}

impl NiceEguiApp for App {
    fn build(
        &mut self,
        context: egui::Context,
        gui_context: GuiContext,
        _frame: &mut Frame,
    ) -> Result<(), HandlerError> {
        theme::apply(&context);
        self.is_light = theme::is_light();
        // Textures belong to the window that was closed.
        self.display = Display::default();
        self.gui_context = Some(gui_context);
        self.session.scan_packs();
        self.session.scan_adapters();
        self.session.load_preferences();
        Ok(())
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut Frame) {
        self.waker.frame(ui.ctx(), &self.session, || frame.baseview_window().waker());
        self.keys.deliver(ui.ctx());
        self.follow_preferences(ui.ctx());
        adapter_panel::show_added(ui.ctx(), &self.session);
        drop_in::take(ui.ctx(), &self.session, &self.pads);
        if let Some(context) = self.gui_context.clone() {
            self.draw(ui, &context);
        }
        self.drag_out.hand_over(frame, &self.session);
        let text = ui.ctx().text_edit_focused();
        let control = !text && ui.memory(|memory| memory.focused().is_some());
        let wanted = Wanted { text, choice: !text && self.sounds.has_choice(), control };
        self.keys.set_wanted(wanted);
        frame.set_key_capture(wanted.capture());
        let (window, pointer) = (frame.baseview_window(), Pointer::now(ui.ctx()));
        if self.typing_focus.look(pointer, text, window.has_focus(), Instant::now()) {
            // A window that is hidden meanwhile has no use for keys.
            let _ = window.focus();
        }
    }
}

/// Name and purpose, the adapters and the model.
fn header(ui: &mut Ui, view: &View, open_menu: &mut Menu) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 28.0), Sense::hover());
    let name = ui.painter().text(
        rect.left_center(),
        egui::Align2::LEFT_CENTER,
        "SoundLoCD",
        theme::bold(17.0),
        theme::text(),
    );
    let version = ui.painter().text(
        pos2(name.right() + 8.0, name.bottom() - 3.0),
        egui::Align2::LEFT_BOTTOM,
        env!("CARGO_PKG_VERSION"),
        theme::font(11.0),
        theme::dim(),
    );
    let menu = rect.with_min_x(rect.right() - theme::CONTROL_HEIGHT).shrink2(vec2(0.0, 1.0));
    let right = menu.left() - theme::GAP;
    let model = menu.with_max_x(right).with_min_x(right - MODEL_WIDTH);
    let right = model.left() - theme::GAP;
    let adapters = model.with_max_x(right).with_min_x(right - ADAPTERS_WIDTH);
    let purpose = "Type a sound, play it. Made on your computer.".to_owned();
    let purpose = ui.painter().layout_no_wrap(purpose, theme::font(12.0), theme::dim());
    let place = pos2(version.right() + 12.0, name.bottom() - 3.0 - purpose.size().y);
    if place.x + purpose.size().x + theme::GAP < adapters.left() {
        ui.painter().galley(place, purpose, theme::dim());
    }
    adapter_panel::show(ui, adapters, view);
    pack_menu::show(ui, model, view);
    open_menu.show(ui, menu, view);
}
