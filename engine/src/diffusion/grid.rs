//! The token grid: `rows` mel-band blocks (low frequencies first) by `columns` of time.
//!
//! The diffusion model reads it column by column (time-major): position `l = column * rows + row`.
//! Pictures and the quantizer are row-major: `row * columns + column`.

/// Row-major grid cells (`rows * columns` of them) in time-major order.
#[must_use]
pub fn to_time_major<T: Copy>(cells: &[T], rows: usize) -> Vec<T> {
    transpose(cells, cells.len() / rows.max(1))
}

/// Time-major grid cells in row-major order.
#[must_use]
pub fn to_row_major<T: Copy>(cells: &[T], rows: usize) -> Vec<T> {
    transpose(cells, rows)
}

/// Row-major `[cells / width, width]` transposed.
fn transpose<T: Copy>(cells: &[T], width: usize) -> Vec<T> {
    (0..width).flat_map(|column| cells.iter().skip(column).step_by(width.max(1)).copied()).collect()
}

/// A time-major grid rotated to start at `column` (modulo its columns), as a loop's seam is moved.
#[must_use]
pub fn rotate<T: Copy>(cells: &[T], rows: usize, column: usize) -> Vec<T> {
    let mut out = cells.to_vec();
    if !out.is_empty() {
        let shift = column * rows % out.len();
        out.rotate_left(shift);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_follow_their_definition() {
        for (rows, columns) in [(5, 53), (5, 1), (2, 4), (1, 7)] {
            let row_major: Vec<usize> = (0..rows * columns).collect();
            let time_major = to_time_major(&row_major, rows);
            for (l, cell) in time_major.iter().enumerate() {
                // SPEC 2: seq[l] = g[l % 5][l / 5].
                assert_eq!(*cell, (l % rows) * columns + l / rows);
            }
            assert_eq!(to_row_major(&time_major, rows), row_major);
            let rotated = rotate(&time_major, rows, 1);
            assert_eq!(rotated.last(), time_major.get(rows - 1));
            assert_eq!(rotate(&rotated, rows, columns - 1), time_major);
        }
        assert!(to_row_major::<u32>(&[], 5).is_empty());
        assert!(rotate::<u32>(&[], 5, 3).is_empty());
    }
}
