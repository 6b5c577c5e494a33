//! A token grid as bytes, within a clip's [`state`](super::state).
//!
//! | bytes | content |
//! |---|---|
//! | 1 | bytes of a token: 1 or 2 |
//! | 1 | 1 for a loop's grid, else 0 |
//! | 2 | rows |
//! | 2 | spectrogram frames of a column |
//! | 4 | first sample of the clip in the raw sound |
//! | 4 | samples of the clip |
//! | 4 | samples of the raw sound that were asked for |
//! | 4 | gain, 32-bit float |
//! | 32 | SHA-256 of the manifest of the model pack |
//! | | the tokens, time-major |

use super::{Placement, TokenGrid};

/// Everything before the tokens.
const HEAD_BYTES: usize = 54;

/// The grid as bytes, as little of them as tell its tokens apart.
pub(super) fn encode(grid: &TokenGrid) -> Vec<u8> {
    let Placement { first, samples, asked, gain } = grid.placement();
    let is_wide = grid.tokens().iter().any(|&token| token > 0xFF);
    let mut bytes = vec![if is_wide { 2 } else { 1 }, u8::from(grid.is_loop())];
    // A grid's own limits keep all of these far below those of their types.
    bytes.extend((grid.rows() as u16).to_le_bytes());
    bytes.extend((grid.frames_per_column() as u16).to_le_bytes());
    for count in [first, samples, asked] {
        bytes.extend((count as u32).to_le_bytes());
    }
    bytes.extend(gain.to_le_bytes());
    let digits = grid.pack_hash().as_bytes().chunks(2);
    bytes.extend(digits.map(|pair| pair.iter().fold(0, |byte, &digit| byte << 4 | value(digit))));
    for &token in grid.tokens() {
        bytes.extend(token.to_le_bytes().iter().take(if is_wide { 2 } else { 1 }));
    }
    bytes
}

/// What a lower-case hexadecimal digit stands for.
fn value(digit: u8) -> u8 {
    match digit {
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'0'),
    }
}

/// The grid that [`encode`] stored; `None` for no bytes, and for any that are not those of a grid.
pub(super) fn decode(bytes: &[u8]) -> Option<TokenGrid> {
    let (head, tokens) = bytes.split_at_checked(HEAD_BYTES)?;
    let (&[wide, is_loop, rows, rows_high, frames, frames_high], head) = head.split_first_chunk()?;
    let (&[first, samples, asked, gain], hash) = head.as_chunks::<4>().0.split_first_chunk()?;
    let number = |bytes: [u8; 4]| usize::try_from(u32::from_le_bytes(bytes)).ok();
    let placement = Placement {
        first: number(first)?,
        samples: number(samples)?,
        asked: number(asked)?,
        gain: f32::from_le_bytes(gain),
    };
    let tokens = match wide {
        1 => tokens.iter().map(|&token| u32::from(token)).collect(),
        2 => {
            let (pairs, []) = tokens.as_chunks() else { return None };
            pairs.iter().map(|&pair| u32::from(u16::from_le_bytes(pair))).collect()
        }
        _ => return None,
    };
    let hash: String = hash.as_flattened().iter().map(|byte| format!("{byte:02x}")).collect();
    let (rows, frames) = (u16::from_le_bytes([rows, rows_high]), u16::from_le_bytes([frames, frames_high]));
    TokenGrid::from_parts(
        tokens,
        (rows.into(), frames.into()),
        hash,
        placement,
        match is_loop {
            0 => false,
            1 => true,
            _ => return None,
        },
    )
    .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn grid(tokens: Vec<u32>) -> TokenGrid {
        let placement = Placement { first: 100, samples: 3_000, asked: 3_500, gain: 0.25 };
        TokenGrid::new(tokens, 5, 16, "0123456789abcdef".repeat(4), placement).unwrap()
    }

    #[test]
    fn grids_of_any_codebook_come_back() {
        for (tokens, bytes) in [(vec![0, 255, 3, 4, 5], 1), (vec![0, 256, 65_535, 4, 5], 2)] {
            let grid = grid(tokens);
            let stored = encode(&grid);
            assert_eq!(stored.len(), HEAD_BYTES + 5 * bytes);
            assert_eq!(decode(&stored).unwrap(), grid);
        }
    }

    #[test]
    fn what_is_no_grid_is_none() {
        let stored = encode(&grid(vec![1, 2, 3, 4, 5]));
        for end in 0..stored.len() {
            assert_eq!(decode(&stored[..end]), None, "cut at {end}");
        }
        for (at, value) in
            [(0, 0), (0, 3), (1, 2), (1, 1), (2, 0), (2, 255), (3, 1), (4, 0), (5, 255), (9, 1)]
        {
            let mut damaged = stored.clone();
            damaged[at] = value;
            assert_eq!(decode(&damaged), None, "byte {at} is {value}");
        }
    }
}
