//! The tokens that a clip was made of: what edits start from.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::MAX_SAMPLES;
use crate::codec::mel;
use crate::{HOP, MEL_BANDS, SAMPLE_RATE};

/// Most rows of a grid, frames of a column and ids of a codebook that anything here accepts.
const MAX_ROWS: usize = MEL_BANDS;
const MAX_FRAMES: usize = 1 << 10;
const MAX_IDS: u32 = 1 << 16;

/// How a clip was cut out of the raw sound of its tokens (the vocoder's output for the whole grid).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// The raw sample that became the clip's first.
    pub first: usize,
    /// Samples of the clip. Those of a loop go on at the grid's beginning after its end.
    pub samples: usize,
    /// Samples of the raw sound that were asked for: what follows in the last column is surplus.
    pub asked: usize,
    /// The factor by which it was levelled.
    pub gain: f32,
}

/// A rectangle drawn on the spectrogram of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Its beginning, in seconds of the clip.
    pub start: f32,
    /// Its end, in seconds of the clip.
    pub end: f32,
    /// Its lower edge, in Hz.
    pub low: f32,
    /// Its upper edge, in Hz.
    pub high: f32,
}

/// The token grid of a clip: `rows` bands of frequency (low ones first) by columns of time.
///
/// ```
/// use soundlocd_engine::clip::{Placement, Region, TokenGrid};
/// // Two seconds in 11 columns of 16 frames; the clip begins 0.1 s into the raw sound.
/// let placement = Placement { first: 2_205, samples: 41_895, asked: 44_100, gain: 1.0 };
/// let grid = TokenGrid::new(vec![7; 55], 5, 16, "0".repeat(64), placement).unwrap();
/// // What a rectangle covers comes in whole cells of 0.186 s.
/// let drawn = Region { start: 0.5, end: 1.0, low: 125.0, high: 500.0 };
/// assert_eq!(grid.cells(&drawn).iter().filter(|inside| **inside).count(), 3);
/// let cells = grid.snap(&drawn);
/// assert!((cells.start - 0.457).abs() < 1e-3 && (cells.end - 1.015).abs() < 1e-3);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct TokenGrid {
    tokens: Vec<u32>,
    rows: usize,
    frames_per_column: usize,
    pack_hash: String,
    placement: Placement,
    is_loop: bool,
}

/// A [`TokenGrid`] from outside, unchecked.
#[derive(Deserialize)]
struct Fields {
    tokens: Vec<u32>,
    rows: usize,
    frames_per_column: usize,
    pack_hash: String,
    placement: Placement,
    #[serde(default)]
    is_loop: bool,
}

impl TryFrom<Fields> for TokenGrid {
    type Error = GridError;

    fn try_from(fields: Fields) -> Result<Self, GridError> {
        let Fields { tokens, rows, frames_per_column, pack_hash, placement, is_loop } = fields;
        let grid = Self { tokens, rows, frames_per_column, pack_hash, placement, is_loop };
        grid.check()?;
        Ok(grid)
    }
}

/// Why something is not the token grid of a clip.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the tokens of the sound cannot be used: {reason}")]
pub struct GridError {
    reason: String,
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), GridError> {
    if holds { Ok(()) } else { Err(GridError { reason: reason() }) }
}

impl TokenGrid {
    /// A grid of time-major `tokens` (column after column) in `rows` rows, a column being
    /// `frames_per_column` spectrogram frames; `pack_hash` is that of the model pack whose codebook
    /// they index, 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// When the sizes do not fit together, the sound would be longer than
    /// [`MAX_SAMPLES`], or the clip does not lie within it.
    pub fn new(
        tokens: Vec<u32>,
        rows: usize,
        frames_per_column: usize,
        pack_hash: String,
        placement: Placement,
    ) -> Result<Self, GridError> {
        Fields { tokens, rows, frames_per_column, pack_hash, placement, is_loop: false }.try_into()
    }

    /// [`Self::new`], or [`Self::looped`] too.
    pub(crate) fn from_parts(
        tokens: Vec<u32>,
        (rows, frames_per_column): (usize, usize),
        pack_hash: String,
        placement: Placement,
        is_loop: bool,
    ) -> Result<Self, GridError> {
        Fields { tokens, rows, frames_per_column, pack_hash, placement, is_loop }.try_into()
    }

    /// The same as the grid of a loop: after the last column comes the first.
    ///
    /// # Errors
    /// When the clip is not one round of it.
    pub fn looped(mut self) -> Result<Self, GridError> {
        self.is_loop = true;
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), GridError> {
        let Self { tokens, rows, frames_per_column, placement, .. } = self;
        let is_size = |size: usize, most: usize| (1..=most).contains(&size);
        ensure(is_size(*rows, MAX_ROWS) && is_size(*frames_per_column, MAX_FRAMES), || {
            format!("{rows} rows in columns of {frames_per_column} frames are not possible")
        })?;
        ensure(!tokens.is_empty() && tokens.len().is_multiple_of(*rows), || {
            format!("{} tokens do not fill {rows} rows", tokens.len())
        })?;
        // Neither product overflows: the first factor is bounded by the second check.
        ensure(tokens.len() <= MAX_SAMPLES && self.raw_samples() <= MAX_SAMPLES, || {
            "they make a sound that is too long".to_owned()
        })?;
        ensure(tokens.iter().all(|id| *id < MAX_IDS), || "there is no such token".to_owned())?;
        let is_hash = self.pack_hash.len() == 64
            && self.pack_hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        ensure(is_hash, || "they do not say which model they belong to".to_owned())?;
        let (raw, Placement { first, samples, asked, gain }) = (self.raw_samples(), *placement);
        let lies_within = if self.is_loop {
            first < raw && samples == raw
        } else {
            samples > 0 && first.checked_add(samples).is_some_and(|end| end <= raw)
        };
        ensure(lies_within && asked <= raw, || "the sound does not lie within them".to_owned())?;
        ensure(gain.is_finite() && gain > 0.0, || format!("its level ({gain}) is not possible"))
    }

    /// The tokens, time-major: the token of a cell is number `column * rows + row`.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Rows (bands of frequency, low ones first).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of time.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.tokens.len() / self.rows
    }

    /// Spectrogram frames of a column.
    #[must_use]
    pub fn frames_per_column(&self) -> usize {
        self.frames_per_column
    }

    /// Samples of a column.
    #[must_use]
    pub fn column_samples(&self) -> usize {
        self.frames_per_column * HOP
    }

    /// Samples of the raw sound of all columns.
    #[must_use]
    pub fn raw_samples(&self) -> usize {
        self.columns() * self.column_samples()
    }

    /// SHA-256 of the manifest of the pack whose codebook the tokens index.
    #[must_use]
    pub fn pack_hash(&self) -> &str {
        &self.pack_hash
    }

    /// How the clip lies in the raw sound.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Whether the last column goes on in the first.
    #[must_use]
    pub fn is_loop(&self) -> bool {
        self.is_loop
    }

    /// Length of the clip in seconds.
    #[must_use]
    pub fn seconds(&self) -> f32 {
        self.placement.samples as f32 / SAMPLE_RATE as f32
    }

    /// Which cells, time-major, a repaint of `region` makes anew: those that it covers by half along
    /// both axes, at least one along each.
    #[must_use]
    pub fn cells(&self, region: &Region) -> Vec<bool> {
        let (rows, columns) = (self.rows_of(region), self.columns_of(region));
        let mut cells = vec![false; self.tokens.len()];
        // A loop's clip may begin anywhere in it.
        for column in columns.map(|column| column % self.columns()) {
            for row in rows.clone() {
                if let Some(cell) = cells.get_mut(column * self.rows + row) {
                    *cell = true;
                }
            }
        }
        cells
    }

    /// The rectangle that the [`Self::cells`] of `region` fill, within the clip: what a display shows
    /// as selected.
    #[must_use]
    pub fn snap(&self, region: &Region) -> Region {
        let (rows, columns) = (self.rows_of(region), self.columns_of(region));
        let seconds = |column: usize| {
            let sample = (column * self.column_samples()).saturating_sub(self.placement.first);
            sample.min(self.placement.samples) as f32 / SAMPLE_RATE as f32
        };
        let hertz = |row: usize| mel::hz_at_band(row as f64 * MEL_BANDS as f64 / self.rows as f64) as f32;
        Region {
            start: seconds(columns.start),
            end: seconds(columns.end),
            low: hertz(rows.start),
            high: hertz(rows.end),
        }
    }

    fn rows_of(&self, region: &Region) -> Range<usize> {
        let row = |hz: f32| mel::band_at_hz(f64::from(hz)) * self.rows as f64 / MEL_BANDS as f64;
        whole(row(region.low), row(region.high), self.rows)
    }

    /// In columns from the grid's beginning; those of a loop may go beyond its end.
    fn columns_of(&self, region: &Region) -> Range<usize> {
        let column = |seconds: f32| {
            let sample = f64::from(seconds) * f64::from(SAMPLE_RATE);
            let sample = sample.clamp(0.0, self.placement.samples as f64) + self.placement.first as f64;
            sample / self.column_samples() as f64
        };
        let most = if self.is_loop {
            2 * self.columns()
        } else {
            (self.placement.first + self.placement.samples).div_ceil(self.column_samples())
        };
        let range = whole(column(region.start), column(region.end), most);
        range.start..range.end.min(range.start + self.columns())
    }
}

/// The whole units in `0..most` that `from..to` covers by half, at least one; NaN counts as 0.
fn whole(from: f64, to: f64, most: usize) -> Range<usize> {
    // A float-to-integer cast saturates.
    let (start, end) = (from.round() as usize, to.round() as usize);
    if start < end.min(most) {
        return start..end.min(most);
    }
    let nearest = (0.5 * (from + to)).floor() as usize;
    let nearest = nearest.min(most.saturating_sub(1));
    nearest..nearest + 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Ten columns of which the clip lacks the first half column and the last.
    fn grid() -> TokenGrid {
        let placement = Placement { first: 2_048, samples: 34_816, asked: 40_960, gain: 0.5 };
        TokenGrid::new((0..50).collect(), 5, 16, "ab".repeat(32), placement).unwrap()
    }

    fn seconds(columns: f32) -> f32 {
        columns * 4_096.0 / SAMPLE_RATE as f32
    }

    fn selected(grid: &TokenGrid, region: Region) -> Vec<usize> {
        grid.cells(&region).iter().enumerate().filter(|(_, on)| **on).map(|(cell, _)| cell).collect()
    }

    #[test]
    fn regions_become_the_cells_that_they_cover_by_half() {
        let grid = grid();
        // The clip begins half a column into the grid: from 0.5 to 2.5 columns of it are columns 1 and 2.
        let all = Region { start: seconds(0.5), end: seconds(2.5), low: 0.0, high: 20_000.0 };
        assert_eq!(selected(&grid, all), (5..15).collect::<Vec<_>>());
        for (inner, outer) in [(0.1, -0.1), (-0.4, 0.4)] {
            let drawn = Region { start: seconds(0.5 + inner), end: seconds(2.5 - outer), ..all };
            assert_eq!(selected(&grid, drawn), (5..15).collect::<Vec<_>>(), "{inner} {outer}");
        }
        // Bands 16..32 of 80 are row 1.
        let row = Region { low: mel::hz_at_band(17.0) as f32, high: mel::hz_at_band(30.0) as f32, ..all };
        assert_eq!(selected(&grid, row), [6, 11]);
        // However small or far out, one cell.
        let dot = Region { start: 0.0, end: 1e-4, low: 100.0, high: 101.0 };
        assert_eq!(selected(&grid, dot), [0]);
        let beyond = Region { start: 90.0, end: 91.0, low: 9e9, high: 1e10 };
        assert_eq!(selected(&grid, beyond), [44]);
        let nothing = Region { start: f32::NAN, end: f32::NAN, low: f32::NAN, high: f32::NAN };
        assert_eq!(selected(&grid, nothing).len(), 1);
    }

    #[test]
    fn a_snapped_region_selects_the_same_cells() {
        let grid = grid();
        for (start, end, low, high) in
            [(0.0, 0.2, 200.0, 300.0), (0.33, 1.1, 130.0, 4_000.0), (0.0, 9.0, 0.0, 1e5)]
        {
            let drawn = Region { start, end, low, high };
            let snapped = grid.snap(&drawn);
            assert!(snapped.start < snapped.end && snapped.end <= grid.seconds(), "{snapped:?}");
            assert_eq!(grid.cells(&snapped), grid.cells(&drawn), "{drawn:?}");
        }
    }

    #[test]
    fn regions_of_a_loop_go_around_its_end() {
        let placement = Placement { first: 3 * 4_096, samples: 40_960, asked: 40_960, gain: 1.0 };
        let grid = TokenGrid::new(vec![0; 10], 1, 16, "ab".repeat(32), placement);
        // Only as a loop does the clip fit.
        assert!(grid.is_err());
        let fields = Fields {
            tokens: vec![0; 10],
            rows: 1,
            frames_per_column: 16,
            pack_hash: "ab".repeat(32),
            placement,
            is_loop: true,
        };
        let grid = TokenGrid::try_from(fields).unwrap();
        let region = Region { start: seconds(5.0), end: seconds(9.0), low: 0.0, high: 1e5 };
        assert_eq!(selected(&grid, region), [0, 1, 8, 9]);
        let everything = Region { start: 0.0, end: 100.0, low: 0.0, high: 1e5 };
        assert_eq!(selected(&grid, everything).len(), 10);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let good = grid();
        let with = |change: &dyn Fn(&mut TokenGrid)| {
            let mut grid = good.clone();
            change(&mut grid);
            grid.check()
        };
        assert!(with(&|_| {}).is_ok());
        let changes: [&dyn Fn(&mut TokenGrid); 14] = [
            &|g| g.tokens.clear(),
            &|g| g.tokens.truncate(49),
            &|g| g.tokens[7] = 65_536,
            &|g| g.rows = 0,
            &|g| g.rows = 81,
            &|g| g.frames_per_column = 0,
            &|g| g.frames_per_column = usize::MAX,
            &|g| g.pack_hash = "AB".repeat(32),
            &|g| g.placement.first = usize::MAX,
            &|g| g.placement.samples = 0,
            &|g| g.placement.samples = 40_000,
            &|g| g.placement.asked = 40_961,
            &|g| g.placement.gain = f32::NAN,
            &|g| g.is_loop = true,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert!(with(change).is_err(), "change {number}");
        }
        let long = TokenGrid { tokens: vec![0; 5 * 647], ..good.clone() };
        assert!(long.check().is_err(), "more than two minutes");
    }

    #[test]
    fn json_keeps_it_and_is_checked() {
        let grid = grid();
        let json = serde_json::to_string(&grid).unwrap();
        assert_eq!(serde_json::from_str::<TokenGrid>(&json).unwrap(), grid);
        let error = serde_json::from_str::<TokenGrid>(&json.replace("\"rows\":5", "\"rows\":7")).unwrap_err();
        assert!(error.to_string().contains("do not fill 7 rows"), "{error}");
    }
}
