//! In which parts a token grid is drawn: the transformer sees [`max_columns`] at most, and a loop has no ends.
//!
//! [`max_columns`]: crate::diffusion::transformer::Config::max_columns

use std::ops::Range;

/// Columns on each side of what is drawn that the network should see, where there are any.
const CONTEXT: usize = 16;
/// Columns at the end of a window that are drawn again with the next: beside them lies nothing yet, and the network
/// would take the window's end for the sound's.
const LOOKAHEAD: usize = 6;

/// One run of the sampler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    /// The columns of the grid that the network sees, in this order.
    pub(super) columns: Vec<usize>,
    /// Which of these (as positions in the list) are drawn.
    pub(super) drawn: Range<usize>,
    /// Which of these keep what was drawn.
    pub(super) decided: Range<usize>,
}

/// From which end a long grid is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forwards,
    Backwards,
}

/// The passes over columns in the given `order`, of which those within `drawn` that are `open` are to be made, by a
/// network that sees `widest` columns.
pub(super) fn along(
    order: &[usize],
    drawn: Range<usize>,
    open: &dyn Fn(usize) -> bool,
    widest: usize,
    direction: Direction,
) -> Vec<Pass> {
    let is_open = |position: &usize| order.get(*position).is_some_and(|&column| open(column));
    let (Some(first), Some(last)) = (drawn.clone().find(is_open), drawn.clone().rfind(is_open)) else {
        return Vec::new();
    };
    let len = order.len();
    let mirrored = |range: Range<usize>| match direction {
        Direction::Forwards => range,
        Direction::Backwards => len - range.end..len - range.start,
    };
    windows(len, mirrored(first..last + 1), widest.max(1))
        .into_iter()
        .map(|(window, decided)| (mirrored(window), mirrored(decided)))
        .map(|(window, decided)| {
            let within = |range: &Range<usize>| {
                let (start, end) = (range.start.max(window.start), range.end.min(window.end));
                start - window.start..end.max(start) - window.start
            };
            let decided = decided.start.max(drawn.start)..decided.end.min(drawn.end);
            Pass {
                columns: order.get(window.clone()).unwrap_or_default().to_vec(),
                drawn: within(&drawn),
                decided: within(&decided),
            }
        })
        .collect()
}

/// Windows of at most `widest` of `len` columns that cover `span` from left to right with what surrounds it, and which
/// part of each is then done.
fn windows(len: usize, span: Range<usize>, widest: usize) -> Vec<(Range<usize>, Range<usize>)> {
    if len <= widest {
        return vec![(0..len, 0..len)];
    }
    let (context, lookahead) = (CONTEXT.min(widest / 3), LOOKAHEAD.min(widest / 8));
    let seen = span.start.saturating_sub(context)..(span.end + context).min(len);
    if seen.len() <= widest {
        // As much on either side as there is.
        let start = (span.start + span.end).saturating_sub(widest) / 2;
        let start = start.min(len - widest);
        return vec![(start..start + widest, start..start + widest)];
    }
    let mut windows = Vec::new();
    let mut start = seen.start;
    while start + widest < seen.end {
        let end = start + widest;
        windows.push((start..end, start..end - lookahead));
        // At most a third and an eighth of the window: it moves on.
        start = end - lookahead - context;
    }
    let start = seen.end - widest;
    windows.push((start..seen.end, start..seen.end));
    windows
}

/// The passes over a loop of `columns` columns, of which those that are `open` are to be made.
pub(super) fn around(columns: usize, open: &dyn Fn(usize) -> bool, widest: usize) -> Vec<Pass> {
    let from = |start: usize| (0..columns).map(|n| (start + n) % columns).collect::<Vec<_>>();
    match longest_gap(columns, open) {
        // What stays is cut in the middle, so that all that is made has neighbours on both sides.
        Some(gap) => along(&from(gap.start + gap.len() / 2), 0..columns, open, widest, Direction::Forwards),
        // All of it, a half at a time, each between the other's.
        None => {
            let half = columns / 2;
            let edge = (columns / 4).max(1);
            let (middle, rest) = if columns < 3 {
                (0..0, 0..columns)
            } else {
                let end = columns - edge;
                (edge..end, end - half..columns + edge - half)
            };
            let mut passes = Vec::new();
            if !middle.is_empty() {
                passes = along(&from(0), middle, open, widest, Direction::Forwards);
            }
            passes.extend(along(&from(half), rest, open, widest, Direction::Forwards));
            passes
        }
    }
}

/// The longest run of columns around the loop that are not `open`; it may go beyond the end.
fn longest_gap(columns: usize, open: &dyn Fn(usize) -> bool) -> Option<Range<usize>> {
    let from = |start: usize| {
        let len = (start..start + columns).take_while(|&column| !open(column % columns)).count();
        start..start + len
    };
    (0..columns).map(from).max_by_key(|gap| (gap.len(), usize::MAX - gap.start)).filter(|gap| !gap.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// Which pass decides each column; checks that no pass is too wide, decides what it does not draw, or draws what
    /// an earlier one has not left open.
    fn deciders(columns: usize, passes: &[Pass], widest: usize) -> Vec<Option<usize>> {
        let mut by = vec![None; columns];
        for (number, pass) in passes.iter().enumerate() {
            assert!((1..=widest).contains(&pass.columns.len()), "{pass:?}");
            assert!(pass.drawn.end <= pass.columns.len(), "{pass:?}");
            assert!(pass.decided.start >= pass.drawn.start && pass.decided.end <= pass.drawn.end, "{pass:?}");
            for position in pass.decided.clone() {
                by[pass.columns[position]].get_or_insert(number);
            }
        }
        by
    }

    #[test]
    fn every_open_column_is_decided_at_every_width() {
        for columns in 1..=170 {
            for widest in [1, 2, 4, 9, 53] {
                for (start, end) in
                    [(0, columns), (columns / 2, columns), (0, columns / 3), (columns / 3, columns / 2)]
                {
                    let open = |column: usize| (start..end).contains(&column);
                    let order: Vec<usize> = (0..columns).collect();
                    for direction in [Direction::Forwards, Direction::Backwards] {
                        let passes = along(&order, 0..columns, &open, widest, direction);
                        let by = deciders(columns, &passes, widest);
                        assert!(
                            (start..end).all(|column| by[column].is_some()),
                            "{columns} {widest} {start}..{end}"
                        );
                        assert_eq!(passes.is_empty(), start == end);
                    }
                    let passes = around(columns, &open, widest);
                    let by = deciders(columns, &passes, widest);
                    assert!(
                        (start..end).all(|column| by[column].is_some()),
                        "loop of {columns}, {widest}, {start}..{end}"
                    );
                }
            }
        }
    }

    #[test]
    fn long_grids_grow_from_what_is_there() {
        // Ten columns, then a hundred new ones.
        let order: Vec<usize> = (0..110).collect();
        let after = along(&order, 0..110, &|column| column >= 10, 53, Direction::Forwards);
        let by = deciders(110, &after, 53);
        assert!(by[10..].is_sorted() && after.len() > 2, "{by:?}");
        for (number, pass) in after.iter().enumerate().skip(1) {
            let known = pass.columns.iter().filter(|&&column| by[column] < Some(number));
            assert!(known.count() >= 16, "{pass:?}");
        }
        let before = along(&order, 0..110, &|column| column < 100, 53, Direction::Backwards);
        let by = deciders(110, &before, 53);
        assert!(by[..100].iter().rev().is_sorted() && before.len() > 2, "{by:?}");
    }

    #[test]
    fn a_small_region_of_a_long_grid_lies_in_the_middle_of_one_pass() {
        let order: Vec<usize> = (0..160).collect();
        let passes = along(&order, 0..160, &|column| (100..104).contains(&column), 53, Direction::Forwards);
        assert_eq!(passes.len(), 1);
        assert_eq!((passes[0].columns[0], passes[0].columns.len()), (75, 53));
    }

    #[test]
    fn what_is_made_of_a_loop_has_neighbours_on_both_sides() {
        for columns in 4..60 {
            let seam = |column: usize| column == 0 || column == columns - 1;
            let passes = around(columns, &seam, 53.max(columns));
            assert_eq!(passes.len(), 1);
            let at = passes[0].columns.iter().position(|column| *column == columns - 1).unwrap();
            assert_eq!(passes[0].columns[at + 1], 0, "the seam is inside");
            assert!((1..columns - 2).contains(&at), "{columns}: {at}");
            // All of it: each column in one half, inside.
            let passes = around(columns, &|_| true, 53.max(columns));
            assert_eq!(passes.len(), 2);
            assert!(passes.iter().all(|pass| pass.drawn.start > 0 && pass.drawn.end < columns), "{passes:?}");
        }
    }
}
