//! The rectangle that is drawn on the spectrogram.

use egui::{Painter, Pos2, Rect, Stroke, StrokeKind, pos2};
use soundlocd_engine::{
    MEL_BANDS,
    clip::Region,
    codec::mel::{band_at_hz, hz_at_band},
};

use super::palette::screen;
use crate::take::Take;

/// Shortest drag that draws a rectangle rather than plays, in pixels.
const SHORTEST_DRAG: f32 = 5.0;

/// See the [module](self).
#[derive(Default)]
pub struct Selection {
    /// The region, and the take that it was drawn on.
    pub region: Option<Region>,
    take: Option<u64>,
    /// Where the drag began.
    from: Option<Pos2>,
}

impl Selection {
    /// Forgets what was drawn on another take.
    pub fn keep_for(&mut self, take: u64) {
        if self.take != Some(take) {
            *self = Self { take: Some(take), ..Self::default() };
        }
    }

    /// The primary button is down at `at`, pressed at `origin`, both over the picture `rect` of `take`. Answers whether
    /// a rectangle is being drawn.
    pub fn drag(&mut self, rect: Rect, take: &Take, origin: Pos2, at: Pos2) -> bool {
        if self.from.is_none() && origin.distance(at) < SHORTEST_DRAG {
            return false;
        }
        let from = *self.from.get_or_insert(origin);
        let drawn = Rect::from_two_pos(from, at).intersect(rect);
        let share = |x: f32| (x - rect.left()) / rect.width().max(1.0);
        let hz = |y: f32| {
            let height = (rect.bottom() - y) / rect.height().max(1.0);
            hz_at_band(f64::from(height.clamp(0.0, 1.0)) * MEL_BANDS as f64) as f32
        };
        let region = Region {
            start: share(drawn.left()) * take.seconds(),
            end: share(drawn.right()) * take.seconds(),
            low: hz(drawn.bottom()),
            high: hz(drawn.top()),
        };
        // The engine draws whole cells anew: they are what is shown.
        self.region = (drawn.is_positive()).then(|| match &take.clip.grid {
            Some(grid) => grid.snap(&region),
            None => region,
        });
        true
    }

    /// The button is up. Answers whether a rectangle had been drawn.
    pub fn release(&mut self) -> bool {
        self.from.take().is_some()
    }

    /// Draws it onto the picture `rect` of a sound of so many seconds.
    pub fn paint(&self, painter: &Painter, rect: Rect, seconds: f32) {
        let Some(region) = self.region else { return };
        let x = |time: f32| rect.left() + rect.width() * (time / seconds.max(1e-3)).clamp(0.0, 1.0);
        let y = |hz: f32| {
            let height = band_at_hz(f64::from(hz)) as f32 / MEL_BANDS as f32;
            rect.bottom() - rect.height() * height.clamp(0.0, 1.0)
        };
        let drawn =
            Rect::from_min_max(pos2(x(region.start), y(region.high)), pos2(x(region.end), y(region.low)));
        painter.rect_filled(drawn, 0.0, screen::TEXT.gamma_multiply(0.12));
        painter.rect_stroke(drawn, 0.0, Stroke::new(1.5, screen::SOUND), StrokeKind::Inside);
    }
}
