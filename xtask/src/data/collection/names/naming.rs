//! From the name of a recording and its folders to captions.
//!
//! What the file is called is what was recorded; the folder adds the kind of thing. Which of the two comes first in
//! English depends on the words ("hard" in "Kicks" is a hard kick, "bark" in "Dogs" a dog bark), so where the folder
//! adds something both orders are given: to a text encoder they are paraphrases, and a model learns that they are.

use std::path::Path;

use super::ucs;
use super::words::{is_article, says_nothing, singular, words};

/// What a recording's name tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Description {
    /// Kind of sound; empty where there is no folder to tell it.
    pub category: String,
    /// One or two, in lower case.
    pub captions: Vec<String>,
}

/// Describes the recording at `file` (relative to the collection's folder, which is called `collection`), or `None`
/// where no name has a word in it.
pub fn describe(file: &Path, collection: &str) -> Option<Description> {
    let stem = file.file_stem()?.to_string_lossy();
    let folders = file.ancestors().skip(1).filter_map(Path::file_name);
    let folder = folders.map(|name| folder_words(&name.to_string_lossy())).find(|words| !words.is_empty());
    let folder = folder.unwrap_or_default();

    let ucs = ucs::parse(&stem);
    let mut name = words(ucs.as_ref().map_or_else(|| title(&stem), |ucs| ucs.title));
    if says_nothing(&name) {
        name.clear();
    }
    // With a catalogue id, its category is the context; else the folder is, and the collection's own name at last.
    let mut context = match &ucs {
        Some(ucs) => words(ucs.category),
        None => folder.clone(),
    };
    if name.is_empty() && context.is_empty() {
        context = folder_words(collection);
    }
    let category = match &ucs {
        Some(ucs) => ucs.category.to_owned(),
        None => folder.join(" "),
    };

    let said: Vec<&str> = name.iter().map(|word| singular(word)).collect();
    let added: Vec<&str> =
        context.iter().map(|word| singular(word)).filter(|word| !said.contains(word)).collect();
    let name = name.join(" ");
    let captions = match (name.is_empty(), added.join(" ")) {
        (true, context) if context.is_empty() => return None,
        (true, context) => vec![context],
        (false, context) if context.is_empty() => vec![name],
        // A sentence stays one: "rain: a gutter drips".
        (false, context) if is_article(name.split(' ').next()) => vec![format!("{context}: {name}")],
        (false, context) => vec![format!("{context} {name}"), format!("{name} {context}")],
    };
    Some(Description { category, captions })
}

/// The words of a folder's name; none where it only says that there are sounds in it.
fn folder_words(name: &str) -> Vec<String> {
    const GENERIC: &[&str] = &[
        "audio",
        "clips",
        "collection",
        "data",
        "dataset",
        "downloads",
        "files",
        "folder",
        "kit",
        "library",
        "my",
        "new",
        "other",
        "others",
        "pack",
        "packs",
        "recorded",
        "recording",
        "recordings",
        "samples",
        "sample",
        "sound",
        "sounds",
        "test",
        "train",
        "unsorted",
        "valid",
        "various",
        "misc",
        "shots",
        "shot",
        "one",
        "oneshot",
        "oneshots",
        "the",
        "and",
        "of",
        "a",
    ];
    let words = words(name);
    if words.iter().all(|word| GENERIC.contains(&word.as_str())) { Vec::new() } else { words }
}

/// The part of `stem` that was written to describe: of Freesound's `12345__user__title` the title.
fn title(stem: &str) -> &str {
    match stem.splitn(3, "__").collect::<Vec<_>>().as_slice() {
        [number, _, title] if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => title,
        _ => stem,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// Category and first caption of a file in a collection called "2024".
    fn described(file: &str) -> (String, Vec<String>) {
        let described = describe(Path::new(file), "2024").unwrap();
        (described.category, described.captions)
    }

    #[test]
    fn names_as_sample_libraries_have_them() {
        let cases: &[(&str, &str, &[&str])] = &[
            // file, category, captions
            ("Doors/heavy_wooden-door creak 03.wav", "doors", &["heavy wooden door creak"]),
            ("Kicks/Hard 03.wav", "kicks", &["kick hard", "hard kick"]),
            ("Animals/Dogs/bark_02.wav", "dogs", &["dog bark", "bark dog"]),
            ("Snares/0012.wav", "snares", &["snare"]),
            ("Drums/Snares/SnareTightRim_v2.aif", "snares", &["snare tight rim"]),
            ("metalHitBright01.flac", "", &["metal hit bright"]),
            ("KickDrum808.wav", "", &["kick drum 808"]),
            ("Bass/Reese Growl_120bpm_F#m.wav", "bass", &["bass reese growl", "reese growl bass"]),
            ("Pads/WarmStrings_C3_24bit_48k.wav", "pads", &["pad warm strings", "warm strings pad"]),
            ("Vinyl Crackle (stereo) [take 4].mp3", "", &["vinyl crackle"]),
            ("One Shots/glass-bottle-clink-2.ogg", "", &["glass bottle clink"]),
            ("Drums/24bit WAV/Clap Dry_rr3.wav", "drums", &["drum clap dry", "clap dry drum"]),
            ("12345__jane_doe__rain-on-a-tin-roof.wav", "", &["rain on a tin roof"]),
            ("Rain/a gutter drips.wav", "rain", &["rain: a gutter drips"]),
            ("A dog barks.wav", "", &["a dog barks"]),
            ("Door A 01.wav", "", &["door"]),
            ("TR-909/OHH 1.wav", "tr 909", &["tr 909 open hi-hat", "open hi-hat tr 909"]),
            ("Ambience/ZOOM0012.WAV", "ambience", &["ambience"]),
            ("Gläser/Weinglas klingt.wav", "gläser", &["gläser weinglas klingt", "weinglas klingt gläser"]),
            ("Tu\u{308}ren/Tu\u{308}r knarrt.wav", "türen", &["türen tür knarrt", "tür knarrt türen"]),
            ("e528ed29cf7d wooden knock.opus", "", &["wooden knock"]),
            ("don't stop.wav", "", &["don't stop"]),
            ("Boxes/Box_Slide__MONO.wav", "boxes", &["box slide"]),
        ];
        for (file, category, captions) in cases {
            assert_eq!(
                described(file),
                ((*category).to_owned(), captions.iter().map(|&c| c.into()).collect()),
                "{file}"
            );
        }
    }

    #[test]
    fn names_with_catalogue_ids() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("DOORWood_Heavy Door Creak_TSS_LIB.wav", "doors", &["heavy door creak"]),
            ("Lib/DOORWood_heavy_creak_03.wav", "doors", &["door heavy creak", "heavy creak door"]),
            ("DOORWood_01.wav", "doors", &["door"]),
            (
                "WATRSurf-OCEAN_Waves On Rocks 02_ABC_SEA_MKH30.wav",
                "water",
                &["water waves on rocks", "waves on rocks water"],
            ),
            (
                "DSGNBoom_BOOM-Distant_Ocular_Foundation.wav",
                "designed",
                &["designed boom distant", "boom distant designed"],
            ),
            ("CMPTKey_Typing_02.wav", "computers", &["computer typing", "typing computer"]),
            ("CHAINMvmt_Rattle.wav", "chains", &["chain rattle", "rattle chain"]),
            // No category of the catalogue: an ordinary name.
            ("ABCDef_kick.wav", "", &["abc def kick"]),
        ];
        for (file, category, captions) in cases {
            assert_eq!(
                described(file),
                ((*category).to_owned(), captions.iter().map(|&c| c.into()).collect()),
                "{file}"
            );
        }
    }

    #[test]
    fn without_words_the_collection_itself_is_asked_last() {
        let caption = |file: &str, collection| describe(Path::new(file), collection).map(|d| d.captions);
        assert_eq!(caption("0001.wav", "Kicks"), Some(vec!["kick".into()]));
        for (file, collection) in [
            ("0001.wav", "2024"),
            ("REC_0001.wav", "My Recordings"),
            ("samples/C#3.wav", "new folder"),
            ("x.wav", ""),
        ] {
            assert_eq!(caption(file, collection), None, "{file} in {collection}");
        }
    }
}
