//! Prompts for those who want ideas: of kinds of sounds that the default pack has learned.

/// Three to click in an empty window: an effect, a melody, an ambience.
pub const FIRST: [&str; 3] = [
    "A heavy wooden door slams shut in a hall",
    "A kalimba plays a slow melancholy melody",
    "Water drips into a deep cave pool",
];

/// What the die rolls.
const MORE: [&str; 36] = [
    "A heavy wooden door creaks open",
    "A small metal bell rings",
    "A clap of thunder, far away",
    "A cymbal spinning on the floor, getting louder",
    "A koto plays a high note",
    "A dog barks twice",
    "Footsteps on gravel",
    "A sawtooth synth lead plays a slow four-chord progression",
    "Bubbles gurgle, low and rumbling",
    "A glass bottle breaks on stone",
    "A small alien creature squeaks",
    "A deep kick drum, short and dry",
    "Countryside ambience with birds singing",
    "A sci-fi laser gun firing",
    "A woman singing an ethereal wordless melody",
    "A car door is slammed",
    "A wind chime tinkles softly",
    "A large old machine hums and clanks",
    "A snare drum hit, bright and short",
    "Rain on a tin roof",
    "A magic spell, sparkling and rising",
    "A harmonica plays a long low note",
    "A wooden floor creaks under a step",
    "A fire crackles",
    "An owl hoots at night",
    "A whoosh passes from left to right",
    "A horse trots on cobblestones",
    "A tuba plays a slow rising phrase in a minor key",
    "A crowd cheers in a stadium",
    "A coin spins on a table",
    "A retro game picks up a coin",
    "A cello plays a long dark note",
    "A stone slab is dragged over the floor",
    "A frog croaks in a pond",
    "A soft notification chime",
    "A distant explosion with a long tail",
];

/// One of them, other than `current`; `random` decides which.
pub fn roll(current: &str, random: u64) -> &'static str {
    let others = FIRST.into_iter().chain(MORE).filter(|prompt| *prompt != current);
    let count = others.clone().count().max(1) as u64;
    others.clone().nth((random % count) as usize).unwrap_or(FIRST[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_die_rolls_every_prompt_but_the_current_one() {
        let mut rolled: Vec<&str> = (0..200).map(|random| roll(MORE[3], random)).collect();
        rolled.sort_unstable();
        rolled.dedup();
        assert_eq!(rolled.len(), FIRST.len() + MORE.len() - 1);
        assert!(!rolled.contains(&MORE[3]));
        assert!(rolled.contains(&roll("", u64::MAX)));
    }
}
