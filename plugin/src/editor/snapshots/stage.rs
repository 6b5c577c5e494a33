//! A window on a stage: with sounds, in a look and a size, without host, engine or display.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use egui::{UiBuilder, Vec2, vec2};
use egui_kittest::{Harness, SnapshotResults, kittest::Queryable};
use nice_plug::{
    context::{
        PluginApi,
        gui::{GuiContext, GuiContextInner},
    },
    prelude::{ParamPtr, PluginState},
};
use soundlocd_engine::service::{Request, Settings};

use super::Rasteriser;
use crate::{
    editor::{app::App, palette, theme},
    params::SoundLocdParams,
    preferences,
    presets::{self, Listed},
    session::Session,
    take::Take,
    testing::tone,
};

/// The look and the preferences are the program's: one stage at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A host that sets parameters and keeps nothing else.
struct NoHost;

#[allow(unsafe_code)]
impl GuiContextInner for NoHost {
    fn plugin_api(&self) -> PluginApi {
        PluginApi::Standalone
    }
    unsafe fn raw_begin_set_parameter(&self, _: ParamPtr) {}
    unsafe fn raw_set_parameter_normalized(&self, parameter: ParamPtr, value: f32) {
        // SAFETY: the parameters live as long as the stage.
        unsafe { parameter._internal_set_normalized_value(value) };
    }
    unsafe fn raw_end_set_parameter(&self, _: ParamPtr) {}
    fn get_state(&self) -> PluginState {
        PluginState { version: String::new(), params: Default::default(), fields: Default::default() }
    }
    fn set_state(&self, _: PluginState) {}
    fn request_restart(&self) {}
}

/// A window that is looked at.
pub struct Stage {
    /// What is drawn and clicked.
    pub harness: Harness<'static, App>,
    /// What is behind it.
    pub session: Arc<Session>,
    /// The knobs.
    pub params: Arc<SoundLocdParams>,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    /// An empty window of this size in points, at this scale.
    pub fn new(size: Vec2, scale: f32, is_light: bool) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        preferences::change(|preferences| {
            *preferences = preferences::Preferences { is_light, ..Default::default() };
        });
        palette::set_light(is_light);
        let session = Arc::new(Session::for_tests());
        // Else they come from a thread, and the menu grows under the pointer.
        let own = Listed { name: "Rain on tin".to_owned(), path: Some("Rain on tin.soundlocd".into()) };
        let listed = presets::list(None).into_iter().chain([own]).collect();
        session.with(|model| model.presets.listed = Some(Arc::new(listed)));
        let params = Arc::new(SoundLocdParams::new(Arc::clone(&session)));
        let app = App::new(Arc::clone(&session), Arc::clone(&params), Arc::default(), Arc::default());
        let context = GuiContext::new(Arc::new(NoHost));
        let harness = Harness::builder()
            .with_size(size)
            .with_pixels_per_point(scale)
            .with_render_cursor(false)
            .with_context_setup(theme::apply)
            .renderer(Rasteriser::default())
            .with_theme(if is_light { egui::Theme::Light } else { egui::Theme::Dark })
            .build_ui_state(
                move |ui, app: &mut App| {
                    app.follow_preferences(ui.ctx());
                    // The harness leaves a margin, which the real window has not.
                    let whole = ui.ctx().content_rect();
                    let mut ui = ui.new_child(UiBuilder::new().max_rect(whole));
                    ui.set_clip_rect(whole);
                    app.draw(&mut ui, &context);
                },
                app,
            );
        Self { harness, session, params, _alone: alone }
    }

    /// The size in which the window opens.
    pub fn usual(is_light: bool) -> Self {
        Self::new(vec2(960.0, 640.0), 1.0, is_light)
    }

    /// With three sounds in the list and two of them on pads.
    pub fn with_sounds(self) -> Self {
        let takes: Vec<Arc<Take>> =
            [("a small metal bell rings", 1.6), ("rain on a tin roof", 4.0), ("a dog barks", 0.8)]
                .into_iter()
                .zip(1..)
                .map(|((prompt, seconds), seed)| {
                    let settings = Settings { seconds, ..Settings::default() };
                    let clip = tone(&Request { settings, ..Request::new(prompt, seed) }, 0);
                    let take = Take::new(self.session.shared().next_take(), Arc::new(clip));
                    take.illustrate();
                    Arc::new(take)
                })
                .collect();
        self.session.with(|model| {
            takes.iter().for_each(|take| model.arrangement.add(take));
            model.arrangement.place(0, takes.first().cloned());
            model.arrangement.place(4, takes.last().cloned());
            model.project.prompt = "a small metal bell rings".to_owned();
        });
        self
    }

    /// Clicks what has this name for screen readers.
    pub fn click(&mut self, name: &str) {
        self.harness.get_by_label(name).click();
        self.harness.run_steps(3);
    }

    /// Draws until nothing moves any more and compares with the picture of this name.
    pub fn snapshot(mut self, name: &str, results: &mut SnapshotResults) {
        self.harness.run_steps(4);
        self.harness.snapshot(name);
        results.extend(self.harness.take_snapshot_results());
    }
}
