//! ESC-50 (Piczak, 2015): 2,000 recordings of 50 classes in five folds, `meta/esc50.csv` and `audio/`.
//!
//! Most of the recordings are under CC BY-NC: what is trained on them is not for sale.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::Folds;
use super::folder::Folder;
use super::listing::{Described, Listing};
use super::table::Csv;
use crate::data::Split;

const LIST: &str = "meta/esc50.csv";

/// What one hears in a recording of each class.
const SENTENCES: &[(&str, &str)] = &[
    ("airplane", "an airplane flies past"),
    ("breathing", "a person breathes in and out"),
    ("brushing_teeth", "somebody brushes their teeth"),
    ("can_opening", "a drink can is opened with a hiss"),
    ("car_horn", "a car horn honks"),
    ("cat", "a cat meows"),
    ("chainsaw", "a chainsaw runs and revs"),
    ("chirping_birds", "birds chirp"),
    ("church_bells", "church bells ring"),
    ("clapping", "people clap their hands"),
    ("clock_alarm", "an alarm clock goes off"),
    ("clock_tick", "a clock ticks"),
    ("coughing", "a person coughs"),
    ("cow", "a cow moos"),
    ("crackling_fire", "a fire crackles"),
    ("crickets", "crickets chirp at night"),
    ("crow", "a crow caws"),
    ("crying_baby", "a baby cries"),
    ("dog", "a dog barks"),
    ("door_wood_creaks", "a wooden door creaks"),
    ("door_wood_knock", "somebody knocks on a wooden door"),
    ("drinking_sipping", "somebody sips a drink"),
    ("engine", "an engine runs"),
    ("fireworks", "fireworks burst and crackle"),
    ("footsteps", "footsteps of a walking person"),
    ("frog", "a frog croaks"),
    ("glass_breaking", "glass breaks"),
    ("hand_saw", "a hand saw cuts through wood"),
    ("helicopter", "a helicopter flies with beating rotors"),
    ("hen", "a hen clucks"),
    ("insects", "flying insects buzz"),
    ("keyboard_typing", "somebody types on a computer keyboard"),
    ("laughing", "people laugh"),
    ("mouse_click", "a computer mouse clicks"),
    ("pig", "a pig grunts"),
    ("pouring_water", "water is poured"),
    ("rain", "rain falls steadily"),
    ("rooster", "a rooster crows"),
    ("sea_waves", "sea waves roll onto the shore"),
    ("sheep", "a sheep bleats"),
    ("siren", "an emergency siren wails"),
    ("sneezing", "a person sneezes"),
    ("snoring", "a sleeping person snores"),
    ("thunderstorm", "thunder rumbles in a storm"),
    ("toilet_flush", "a toilet is flushed"),
    ("train", "a train rolls by"),
    ("vacuum_cleaner", "a vacuum cleaner runs"),
    ("washing_machine", "a washing machine runs"),
    ("water_drops", "water drips"),
    ("wind", "wind blows and howls"),
];

/// The list in `folder`, if it is ESC-50.
pub fn find(folder: &Folder) -> Vec<PathBuf> {
    if folder.has(LIST) { vec![LIST.into()] } else { Vec::new() }
}

/// Reads it; the recordings of `folds` are for training.
///
/// # Errors
/// Where it lacks a column.
pub fn read(lists: &[PathBuf], folds: &Folds, listing: &mut Listing) -> Result<()> {
    for list in lists {
        let text = listing.folder().text(list)?;
        let table = Csv::new(&text)?;
        for column in ["filename", "fold", "category"] {
            ensure!(table.has(&[column]), "no column '{column}' in the first line of {LIST}");
        }
        for row in table.rows() {
            let row = row?;
            let field = |name| row.get(&[name]).unwrap_or_default();
            let class = field("category");
            let Ok(fold) = field("fold").parse() else {
                listing.skip(format!("{LIST}, line {}", row.line), "its fold is no number");
                continue;
            };
            // A class that somebody has added is still called by its name.
            let sentence =
                SENTENCES.iter().find(|(name, _)| *name == class).map(|&(_, sentence)| sentence.to_owned());
            listing.add(Described {
                id: Path::new(field("filename")).with_extension("").to_string_lossy().into_owned(),
                file: Path::new("audio").join(field("filename")),
                category: class.replace('_', " "),
                captions: vec![sentence.unwrap_or_else(|| class.replace('_', " "))],
                split: Some(if folds.contains(fold) { Split::Train } else { Split::Valid }),
            });
        }
    }
    Ok(())
}
