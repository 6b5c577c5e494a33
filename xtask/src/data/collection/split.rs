//! Which recordings are held out where their source does not say.
//!
//! By a hash of each one's id, so that adding recordings does not move the others to the other side.

use sha2::{Digest, Sha256};

use crate::data::Split;

/// One of so many is held out.
const HELD_OUT: u64 = 10;
/// From this many recordings on, at least one is held out.
const ENOUGH: usize = 5;

/// The side that the recording `id` is on.
pub fn of(id: &str) -> Split {
    if hash(id).is_multiple_of(HELD_OUT) { Split::Valid } else { Split::Train }
}

/// Of fewer than [`ENOUGH`] recordings all are trained on, of more at least one is held out.
/// `recordings`: each one's id and side.
pub fn balance<'a>(recordings: impl Iterator<Item = (&'a str, &'a mut Split)>) {
    let recordings: Vec<_> = recordings.collect();
    if recordings.len() < ENOUGH {
        recordings.into_iter().for_each(|(_, split)| *split = Split::Train);
    } else {
        hold_one_out(recordings.into_iter());
    }
}

/// Holds one of [`ENOUGH`] recordings or more out if none is.
pub fn hold_one_out<'a>(recordings: impl Iterator<Item = (&'a str, &'a mut Split)>) {
    let mut recordings: Vec<_> = recordings.collect();
    if recordings.len() >= ENOUGH
        && recordings.iter().all(|(_, split)| **split == Split::Train)
        && let Some((_, split)) = recordings.iter_mut().min_by_key(|(id, _)| hash(id))
    {
        **split = Split::Valid;
    }
}

fn hash(id: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(id));
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(count: usize) -> Vec<(String, Split)> {
        let mut sides: Vec<_> =
            (0..count).map(|i| format!("take {i}.wav")).map(|id| (id.clone(), of(&id))).collect();
        balance(sides.iter_mut().map(|(id, split)| (id.as_str(), split)));
        sides
    }

    #[test]
    fn a_tenth_is_held_out_whatever_is_added() {
        let (some, more) = (sides(1000), sides(2000));
        assert_eq!(some, more[..1000]);
        let valid = more.iter().filter(|(_, split)| *split == Split::Valid).count();
        assert!((150..250).contains(&valid), "{valid}");
    }

    #[test]
    fn five_have_one_held_out_and_four_none() {
        for count in 0..40 {
            let valid = sides(count).iter().filter(|(_, split)| *split == Split::Valid).count();
            assert!(
                if count < 5 { valid == 0 } else { (1..count / 2 + 1).contains(&valid) },
                "{valid} of {count}"
            );
        }
    }
}
