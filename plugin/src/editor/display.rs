//! The picture of the sound: spectrogram and waveform with the play heads, or the sound that is
//! being made, or, at first, what to do.

use std::sync::Arc;

use egui::{
    Align2, Color32, ColorImage, CornerRadius, Painter, Rect, Sense, Stroke, TextureHandle, TextureOptions,
    Ui, pos2, vec2,
};
use soundlocd_engine::service::Preview;

use super::{
    app::View,
    edit_bar::{self, EditBar},
    palette::screen,
    prompts,
    selection::Selection,
    theme,
};
use crate::{
    picture,
    session::{Audition, Job, Phase},
    take::{Overview, Take},
};

/// Share of the height that the spectrogram takes.
const SPECTROGRAM_SHARE: f32 = 0.68;
/// Height of the line of text below, in a high display.
const CAPTION_HEIGHT: f32 = 18.0;
/// Lowest display with that line.
const LOWEST_WITH_CAPTION: f32 = 170.0;

/// See the [module](self).
#[derive(Default)]
pub struct Display {
    texture: Option<(Shown, TextureHandle)>,
    /// The pad held down by a click on the picture.
    pressed: Option<u8>,
    selection: Selection,
    edit_bar: EditBar,
}

/// Which picture the texture holds. The picture is kept alive so that its address stays its own.
struct Shown(Arc<Preview>);

impl Display {
    /// Draws into `area`.
    pub fn show(&mut self, ui: &mut Ui, area: Rect, view: &View) {
        let caption = if area.height() < LOWEST_WITH_CAPTION { 0.0 } else { CAPTION_HEIGHT };
        let bar = area.with_min_y(area.bottom() - edit_bar::HEIGHT);
        let line = bar.translate(vec2(0.0, -caption)).with_max_y(bar.top());
        let well = area.with_max_y(line.top() - 4.0);
        match &view.model.playing {
            Some(take) => self.selection.keep_for(take.id),
            None => self.selection = Selection::default(),
        }
        self.edit_bar.show(ui, bar, view, &mut self.selection.region);
        ui.painter().rect_filled(well, theme::CORNER, screen::BACK);
        match (&view.model.job, &view.model.playing) {
            (Some(job), playing) if !job.has_sound || playing.is_none() => self.show_job(ui, well, job),
            (job, Some(take)) => {
                self.show_take(ui, well, line, take, view);
                if let Some(job) = job {
                    progress(ui.painter(), well, job);
                }
            }
            (_, None) => welcome(ui, well, view),
        }
    }

    /// A sound that is being made.
    fn show_job(&mut self, ui: &mut Ui, well: Rect, job: &Job) {
        if let Some(preview) = &job.preview {
            self.paint(ui, well.shrink(1.0), preview);
        } else if job.phase == Phase::Loading {
            ui.place(
                Rect::from_center_size(well.center() - vec2(0.0, 30.0), vec2(28.0, 28.0)),
                egui::Spinner::new(),
            );
        }
        progress(ui.painter(), well, job);
    }

    /// A finished sound. A click plays it.
    fn show_take(&mut self, ui: &mut Ui, well: Rect, line: Rect, take: &Take, view: &View) {
        let split = well.top() + well.height() * SPECTROGRAM_SHARE;
        let upper = well.with_max_y(split).shrink(1.0);
        let lower = well.with_min_y(split).shrink(1.0);
        if let Some(picture) = take.picture.get() {
            self.paint(ui, upper, picture);
        }
        ui.painter().hline(lower.x_range(), lower.center().y, Stroke::new(1.0, screen::LINE));
        draw_waveform(ui.painter(), lower, &take.overview, screen::WAVE);
        time_axis(ui.painter(), lower, take.seconds());
        for head in view.session.shared().playheads.sounding().filter(|head| head.clip == take.id) {
            let x = well.left() + well.width() * (head.seconds / take.seconds()).clamp(0.0, 1.0);
            ui.painter().vline(x, well.y_range(), Stroke::new(1.5, screen::SOUND));
        }

        self.selection.paint(ui.painter(), upper, take.seconds());

        let provenance = &take.clip.provenance;
        let caption = format!(
            "{}  ·  {:.2} s  ·  seed {}  ·  {}",
            take.name(),
            take.seconds(),
            provenance.seed,
            provenance.pack_name
        );
        ui.painter().with_clip_rect(line).text(
            line.left_bottom() - vec2(-2.0, 1.0),
            Align2::LEFT_BOTTOM,
            caption,
            theme::font(11.5),
            theme::dim(),
        );

        let response = ui.interact(well, ui.scope_id().with("display"), Sense::CLICK | Sense::DRAG);
        let is_down = response.is_pointer_button_down_on() && ui.input(|input| input.pointer.primary_down());
        let places = ui.input(|input| input.pointer.press_origin().zip(input.pointer.interact_pos()));
        let is_drawing = match places.filter(|(origin, _)| is_down && upper.contains(*origin)) {
            Some((origin, at)) => self.selection.drag(upper, take, origin, at),
            None => {
                if !is_down && !self.selection.release() && response.clicked() {
                    self.selection.region = None;
                }
                false
            }
        };
        let auditions = &view.session.shared().auditions;
        match (is_down && !is_drawing, self.pressed) {
            (true, None) => {
                let pad = u8::try_from(view.model.selected).unwrap_or(0);
                let _ = auditions.push(Audition::PressPad(pad, 0.9));
                self.pressed = Some(pad);
            }
            (false, Some(pad)) => {
                let _ = auditions.push(Audition::ReleasePad(pad));
                self.pressed = None;
            }
            _ => {}
        }
        response.on_hover_text("Press to hear it. Draw a rectangle to repaint a part of it.");
    }

    /// Paints a spectrogram, uploading it if it is another one than before.
    fn paint(&mut self, ui: &Ui, rect: Rect, picture: &Arc<Preview>) {
        let is_new = self.texture.as_ref().is_none_or(|(Shown(shown), _)| !Arc::ptr_eq(shown, picture));
        if is_new {
            let Some((width, height, pixels)) = picture::paint(picture) else { return };
            let image = ColorImage::from_rgb([width, height], &pixels);
            let texture = ui.ctx().load_texture("spectrogram", image, TextureOptions::LINEAR);
            self.texture = Some((Shown(Arc::clone(picture)), texture));
        }
        if let Some((_, texture)) = &self.texture {
            let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
            ui.painter().image(texture.id(), rect, whole, Color32::WHITE);
        }
    }
}

/// Draws a waveform in columns of a pixel.
pub fn draw_waveform(painter: &Painter, rect: Rect, overview: &Overview, colour: Color32) {
    let pixel = 1.0 / painter.pixels_per_point();
    let columns = (rect.width() / pixel) as usize;
    let (middle, half) = (rect.center().y, rect.height() * 0.48);
    for column in 0..columns {
        let at = |column: usize| column as f32 / columns as f32;
        let (low, high) = overview.between(at(column), at(column + 1));
        // Whole pixels, and one at least: lines shorter than a pixel are not drawn.
        let top = ((middle - high.min(1.0) * half) / pixel).round() * pixel;
        let bottom = ((middle - low.max(-1.0) * half) / pixel).round() * pixel;
        let x = ((rect.left() / pixel).round() + column as f32) * pixel;
        let bar = Rect::from_min_max(pos2(x, top), pos2(x + pixel, bottom.max(top + pixel)));
        painter.rect_filled(bar, 0.0, colour);
    }
}

/// Marks of time along the bottom.
fn time_axis(painter: &Painter, rect: Rect, seconds: f32) {
    if seconds <= 0.0 {
        return;
    }
    // The first of these steps that leaves some 60 pixels between marks.
    let steps = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
    let step = steps.into_iter().find(|step| rect.width() * step / seconds > 60.0).unwrap_or(10.0);
    for mark in 1..(seconds / step).ceil() as usize {
        let time = mark as f32 * step;
        let x = rect.left() + rect.width() * time / seconds;
        painter.vline(x, rect.bottom() - 5.0..=rect.bottom(), Stroke::new(1.0, screen::DIM));
        let text = if step < 0.1 { format!("{time:.2} s") } else { format!("{time:.1} s") };
        painter.text(
            pos2(x - 3.0, rect.bottom() - 1.0),
            Align2::RIGHT_BOTTOM,
            text,
            theme::font(9.5),
            screen::DIM,
        );
    }
}

/// How far the request is, over the picture.
fn progress(painter: &Painter, well: Rect, job: &Job) {
    let bar = Rect::from_min_max(pos2(well.left(), well.bottom() - 4.0), well.right_bottom());
    painter.rect_filled(bar, CornerRadius::same(2), screen::LINE);
    let done = bar.with_max_x(bar.left() + bar.width() * job.fraction());
    painter.rect_filled(done, CornerRadius::same(2), screen::WAVE);

    let text = painter.layout_no_wrap(job.describe(), theme::font(13.0), screen::TEXT);
    let at = if job.preview.is_some() || job.has_sound {
        pos2(well.left() + 12.0, well.bottom() - 14.0 - text.size().y)
    } else {
        well.center() - text.size() / 2.0
    };
    let back = Rect::from_min_size(at, text.size()).expand2(vec2(8.0, 4.0));
    painter.rect_filled(back, theme::CORNER, Color32::from_black_alpha(180));
    painter.galley(at, text, screen::TEXT);
}

/// What to do, for those who see the window for the first time.
fn welcome(ui: &mut Ui, well: Rect, view: &View) {
    // Lines as far apart as the height allows, within what can be read and clicked; the example
    // buttons that it has no room for are left out.
    let lines = 1 + prompts::FIRST.len();
    let line = (well.height() / lines as f32).clamp(28.0, 34.0);
    let lines = ((well.height() / line) as usize).clamp(1, lines);
    let mut y = well.center().y - (lines - 1) as f32 / 2.0 * line;
    let text = "Describe a sound, press Enter, play it on the keys. Or try one of these:";
    ui.painter().text(pos2(well.center().x, y), Align2::CENTER_CENTER, text, theme::font(13.0), screen::DIM);
    for example in prompts::FIRST.into_iter().take(lines - 1) {
        y += line;
        let galley = ui.painter().layout_no_wrap(example.to_owned(), theme::font(13.5), screen::TEXT);
        let rect = Rect::from_center_size(pos2(well.center().x, y), galley.size() + vec2(28.0, 10.0));
        let response = ui.interact(rect, ui.scope_id().with(example), Sense::click());
        let fill = if response.hovered() { screen::HOVERED } else { screen::RAISED };
        ui.painter().rect_filled(rect, CornerRadius::same(13), fill);
        super::widgets::focus_ring(ui, rect, &response);
        ui.painter().galley(rect.center() - galley.size() / 2.0, galley, screen::TEXT);
        if response.clicked() {
            view.session.with(|model| model.project.prompt = example.to_owned());
            view.generate();
        }
    }
    let at = pos2(well.center().x, well.bottom() - 18.0);
    if at.y - y > 1.2 * line {
        let text = "All of it is made on this computer, by its processor or an NVIDIA GPU. Nothing is sent anywhere.";
        ui.painter().text(at, Align2::CENTER_CENTER, text, theme::font(11.5), screen::DIM);
    }
}
