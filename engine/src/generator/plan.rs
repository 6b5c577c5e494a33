//! What an edit asks of the sampler, and how its sound becomes a clip.

use super::draft::Draft;
use super::passes::{self, Direction, Pass};
use crate::SAMPLE_RATE;
use crate::clip::{Clip, ClipError, Ends, Placement, Provenance, Region, TokenGrid};
use std::ops::Range;

/// Columns on each side of a loop's end that are made to lead over it: an eighth of the loop, at most this many.
const SEAM: usize = 4;

/// The work of one request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// What is to be drawn.
    pub(super) draft: Draft,
    /// What becomes of its sound.
    pub(super) ending: Ending,
}

/// How raw sound becomes a clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ending {
    /// Its first `asked` samples, trimmed and levelled.
    Fresh {
        /// Samples.
        asked: usize,
    },
    /// The same part at the same level as another clip, so that what was not drawn anew sounds as it did.
    Placed(Placement),
    /// All of it, as a loop.
    Round {
        /// The raw sample that is the clip's first.
        first: usize,
        /// The gain; levelled if there is none.
        gain: Option<f32>,
    },
}

impl Ending {
    /// Whether end and beginning of the raw sound belong together.
    pub(super) fn is_loop(self) -> bool {
        matches!(self, Self::Round { .. })
    }

    /// The clip that `raw` becomes, and how it lies in it.
    pub(super) fn finish(
        self,
        mut raw: Vec<f32>,
        origin: Provenance,
    ) -> Result<(Clip, Placement), ClipError> {
        match self {
            Self::Fresh { asked } => Clip::finish_placed(&raw, asked, origin),
            Self::Placed(Placement { first, samples, asked, gain }) => {
                let (clip, placement) = Clip::cut(&raw, (first, samples), Some(gain), Ends::Faded, origin)?;
                Ok((clip, Placement { asked, ..placement }))
            }
            Self::Round { first, gain } => {
                let first = first % raw.len().max(1);
                raw.rotate_left(first);
                let (clip, placement) = Clip::cut(&raw, (0, raw.len()), gain, Ends::Joined, origin)?;
                let samples = placement.samples;
                Ok((Clip { loop_range: Some((0, samples)), ..clip }, Placement { first, ..placement }))
            }
        }
    }
}

impl Plan {
    /// A sound of `asked` samples in `columns` columns, out of nothing.
    pub(super) fn blank(columns: usize, rows: usize, widest: usize, asked: usize) -> Self {
        Self { draft: Draft::blank(columns, rows, widest), ending: Ending::Fresh { asked } }
    }

    /// See [`Edit::Vary`](crate::service::Edit::Vary).
    pub(super) fn vary(source: &TokenGrid, amount: f32, widest: usize) -> Self {
        let open = vec![amount > 0.0; source.tokens().len()];
        let Placement { first, asked, .. } = source.placement();
        let ending =
            if source.is_loop() { Ending::Round { first, gain: None } } else { Ending::Fresh { asked } };
        Self { draft: redrawn(source, open, amount, widest), ending }
    }

    /// See [`Edit::Repaint`](crate::service::Edit::Repaint).
    pub(super) fn repaint(source: &TokenGrid, region: &Region, widest: usize) -> Self {
        let placement = source.placement();
        let ending = if source.is_loop() {
            Ending::Round { first: placement.first, gain: Some(placement.gain) }
        } else {
            Ending::Placed(placement)
        };
        Self { draft: redrawn(source, source.cells(region), 1.0, widest), ending }
    }

    /// See [`Edit::Extend`](crate::service::Edit::Extend); lengths in seconds.
    pub(super) fn extend(source: &TokenGrid, before: f32, after: f32, widest: usize) -> Self {
        let (rows, column) = (source.rows(), source.column_samples());
        let (tokens, first, samples) = unrolled(source);
        let kept = kept_columns(first..first + samples, column, before > 0.0, after > 0.0);
        let [before, after] =
            [before, after].map(|seconds| (f64::from(seconds) * f64::from(SAMPLE_RATE)).round());
        let [before, after] = [before, after].map(|samples| samples as usize);
        // What the clip has of columns that are not kept is made anew.
        let columns_before = (before + (kept.start * column).saturating_sub(first)).div_ceil(column);
        let columns_after = (after + (first + samples).saturating_sub(kept.end * column)).div_ceil(column);
        let middle = columns_before..columns_before + kept.len();
        let columns = middle.end + columns_after;

        let mut cells = vec![0; columns * rows];
        let given = tokens.get(kept.start * rows..kept.end * rows).unwrap_or_default();
        for (cell, token) in cells.iter_mut().skip(middle.start * rows).zip(given) {
            *cell = *token;
        }
        let open = (0..cells.len()).map(|cell| !middle.contains(&(cell / rows))).collect();
        let first = (columns_before * column + first).saturating_sub(kept.start * column + before);
        let samples = before + samples + after;
        let placement = Placement { first, samples, asked: first + samples, gain: source.placement().gain };
        let passes = outwards(middle, columns, widest);
        let draft = Draft { tokens: cells, open, rows, strength: 1.0, passes };
        Self { draft, ending: Ending::Placed(placement) }
    }

    /// See [`Edit::Loop`](crate::service::Edit::Loop).
    pub(super) fn looped(source: &TokenGrid, widest: usize) -> Self {
        let (rows, column) = (source.rows(), source.column_samples());
        let Placement { first, samples, .. } = source.placement();
        // The whole columns that come closest to the clip.
        let start = if source.is_loop() { 0 } else { first / column };
        let most = source.columns() - start;
        let columns = ((samples + column / 2) / column).clamp(1, most.max(1));
        let tokens = source.tokens().iter().skip(start * rows).take(columns * rows).copied().collect();
        // Without a column that stays there is nothing to lead from and to.
        let seam = if columns < 3 { 0 } else { (columns / 8).clamp(1, SEAM) };
        let is_open = |column: usize| column < seam || column >= columns - seam;
        let open = (0..columns * rows).map(|cell| is_open(cell / rows)).collect();
        let passes = passes::around(columns, &is_open, widest);
        let draft = Draft { tokens, open, rows, strength: 1.0, passes };
        Self { draft, ending: Ending::Round { first: first - start * column, gain: None } }
    }
}

/// The draft of `source` with the cells that are `open` to be drawn anew.
fn redrawn(source: &TokenGrid, open: Vec<bool>, strength: f32, widest: usize) -> Draft {
    let (rows, columns) = (source.rows(), source.columns());
    let is_open = |column: usize| open.iter().skip(column * rows).take(rows).any(|open| *open);
    let passes = if source.is_loop() {
        passes::around(columns, &is_open, widest)
    } else {
        let order: Vec<usize> = (0..columns).collect();
        passes::along(&order, 0..columns, &is_open, widest, Direction::Forwards)
    };
    Draft { tokens: source.tokens().to_vec(), open, rows, strength, passes }
}

/// Tokens of a straight sound, and where in it the clip lies: its first sample and its samples.
fn unrolled(source: &TokenGrid) -> (Vec<u32>, usize, usize) {
    let Placement { first, samples, .. } = source.placement();
    if !source.is_loop() {
        return (source.tokens().to_vec(), first, samples);
    }
    // From the column in which it begins around to the same.
    let (rows, column) = (source.rows(), source.column_samples());
    let start = first / column * rows;
    let tokens = source.tokens().iter().cycle().skip(start).take(source.tokens().len() + rows);
    (tokens.copied().collect(), first % column, samples)
}

/// The columns of a clip that stay where it is extended: those that lie in it wholly. A column that is cut off, or was
/// silent and trimmed, would be a gap in the longer sound.
fn kept_columns(clip: Range<usize>, column: usize, before: bool, after: bool) -> Range<usize> {
    let touched = clip.start / column..clip.end.div_ceil(column);
    let start = if before { clip.start.div_ceil(column) } else { touched.start };
    let end = if after { clip.end / column } else { touched.end };
    if start < end { start..end } else { touched }
}

/// The passes that make all columns around those in the `middle`, growing out of it.
fn outwards(middle: Range<usize>, columns: usize, widest: usize) -> Vec<Pass> {
    let is_open = |column: usize| !middle.contains(&column);
    let all: Vec<usize> = (0..columns).collect();
    if columns <= widest {
        return passes::along(&all, 0..columns, &is_open, widest, Direction::Forwards);
    }
    let onwards = all.get(middle.start..).unwrap_or_default();
    let mut passes = passes::along(onwards, 0..onwards.len(), &is_open, widest, Direction::Forwards);
    let is_before = |column: usize| column < middle.start;
    passes.extend(passes::along(&all, 0..columns, &is_before, widest, Direction::Backwards));
    passes
}
