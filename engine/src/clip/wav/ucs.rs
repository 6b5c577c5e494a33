//! The Universal Category System: which of its categories a prompt belongs to.
//!
//! <https://universalcategorysystem.com>. Of its 750 categories these are the ones that words tell apart safely and
//! that the model has learned; a prompt outside of them has none.

/// One category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Category {
    /// Its CatID, which file names begin with.
    pub id: &'static str,
    /// The category.
    pub category: &'static str,
    /// The sub-category.
    pub sub_category: &'static str,
}

/// The CatID of file names whose sound has no category: designed sounds, miscellaneous.
pub const UNKNOWN_ID: &str = "DSGNMisc";

/// A category and the words that it needs: one of each group.
type Rule = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// Words of a group are separated by spaces. Each stands for its plural and the verb's forms too.
const RULES: &[Rule] = &[
    ("AEROHeli", "AIRCRAFT", "HELICOPTER", &["helicopter"]),
    ("AEROJet", "AIRCRAFT", "JET", &["jet"]),
    ("AEROMisc", "AIRCRAFT", "MISC", &["airplane aeroplane aircraft"]),
    ("ALRMClok", "ALARMS", "CLOCK", &["alarm", "clock"]),
    ("ALRMMisc", "ALARMS", "MISC", &["alarm"]),
    ("ALRMSirn", "ALARMS", "SIREN", &["siren"]),
    ("AMBForst", "AMBIENCE", "FOREST", &["forest", "ambience atmosphere"]),
    ("AMBRoom", "AMBIENCE", "ROOM TONE", &["room", "tone ambience"]),
    ("AMBTraf", "AMBIENCE", "TRAFFIC", &["traffic"]),
    ("AMBUrbn", "AMBIENCE", "URBAN", &["city street urban", "ambience atmosphere"]),
    ("ANMLAmph", "ANIMALS", "AMPHIBIAN", &["frog toad"]),
    ("ANMLCat", "ANIMALS", "CAT DOMESTIC", &["cat kitten meow"]),
    ("ANMLDog", "ANIMALS", "DOG", &["dog puppy"]),
    ("ANMLFarm", "ANIMALS", "FARM", &["cow pig sheep goat"]),
    ("ANMLHors", "ANIMALS", "HORSE", &["horse"]),
    ("ANMLInsc", "ANIMALS", "INSECT", &["insect bee cricket cicada mosquito"]),
    ("ANMLPrim", "ANIMALS", "PRIMATE", &["monkey ape gorilla"]),
    ("ANMLWcat", "ANIMALS", "CAT WILD", &["lion tiger leopard"]),
    ("BEEP", "BEEPS", "GENERAL", &["beep"]),
    ("BELLDoor", "BELLS", "DOORBELL", &["doorbell"]),
    ("BELLGong", "BELLS", "GONG", &["gong"]),
    ("BELLLrg", "BELLS", "LARGE", &["church large huge", "bell"]),
    ("BELLHand", "BELLS", "HANDBELL", &["small hand", "bell"]),
    ("BELLMisc", "BELLS", "MISC", &["bell"]),
    ("BIRDCrow", "BIRDS", "CROW", &["crow raven"]),
    ("BIRDFowl", "BIRDS", "FOWL", &["chicken hen rooster duck goose"]),
    ("BIRDMisc", "BIRDS", "MISC", &["bird"]),
    ("BIRDPrey", "BIRDS", "BIRD OF PREY", &["owl hawk eagle"]),
    ("BIRDSea", "BIRDS", "SEA", &["seagull gull"]),
    ("BIRDSong", "BIRDS", "SONGBIRD", &["songbird sparrow robin"]),
    ("CERMMisc", "CERAMICS", "MISC", &["ceramic porcelain"]),
    ("CHAINMvmt", "CHAINS", "MOVEMENT", &["chain"]),
    ("CLOCKTick", "CLOCKS", "TICK", &["clock watch", "tick"]),
    ("CLOCKMisc", "CLOCKS", "MISC", &["clock"]),
    ("CLOTHMvmt", "CLOTH", "MOVEMENT", &["cloth fabric"]),
    ("CMPTKey", "COMPUTERS", "KEYBOARD & MOUSE", &["computer", "keyboard mouse"]),
    ("COMCam", "COMMUNICATIONS", "CAMERA", &["camera"]),
    ("COMRadio", "COMMUNICATIONS", "RADIO", &["radio"]),
    ("COMTelph", "COMMUNICATIONS", "TELEPHONE", &["telephone phone"]),
    ("COMType", "COMMUNICATIONS", "TYPEWRITER", &["typewriter"]),
    ("CREADrgn", "CREATURES", "DRAGON", &["dragon"]),
    ("CREAMnstr", "CREATURES", "MONSTER", &["monster"]),
    ("CRWDApls", "CROWDS", "APPLAUSE", &["applause applaud"]),
    ("CRWDMisc", "CROWDS", "MISC", &["crowd"]),
    ("DOORCab", "DOORS", "CABINET", &["cabinet cupboard"]),
    ("DOORGate", "DOORS", "GATE", &["gate"]),
    ("DOORGlas", "DOORS", "GLASS", &["door", "glass"]),
    ("DOORKnck", "DOORS", "KNOCK", &["door", "knock"]),
    ("DOORMetl", "DOORS", "METAL", &["door", "metal iron steel"]),
    ("DOORMisc", "DOORS", "MISC", &["door"]),
    ("DOORSlid", "DOORS", "SLIDING", &["door", "slide sliding"]),
    ("DOORWood", "DOORS", "WOOD", &["door", "wood wooden"]),
    ("DRWRMisc", "DRAWERS", "MISC", &["drawer"]),
    ("DSGNBoom", "DESIGNED", "BOOM", &["boom"]),
    ("DSGNDron", "DESIGNED", "DRONE", &["drone"]),
    ("DSGNRise", "DESIGNED", "RISER", &["riser"]),
    ("DSGNSynth", "DESIGNED", "SYNTHETIC", &["synth synthesizer synthetic"]),
    ("ELECBuzz", "ELECTRICITY", "BUZZ & HUM", &["electric electrical electricity", "buzz hum"]),
    ("ELECSprk", "ELECTRICITY", "SPARKS", &["spark"]),
    ("ELECZap", "ELECTRICITY", "ZAP", &["zap"]),
    ("EXPLMisc", "EXPLOSIONS", "MISC", &["explosion explode"]),
    ("FEETHmn", "FOOTSTEPS", "HUMAN", &["footstep"]),
    ("FIRECrkl", "FIRE", "CRACKLE", &["fire", "crackle crackling"]),
    ("FIREMisc", "FIRE", "MISC", &["fire flame"]),
    ("FRWKMisc", "FIREWORKS", "MISC", &["firework firecracker"]),
    ("GLASBrk", "GLASS", "BREAK", &["glass", "break shatter smash"]),
    ("GLASImpt", "GLASS", "IMPACT", &["glass", "hit clink impact"]),
    ("GLASMisc", "GLASS", "MISC", &["glass"]),
    ("GUNMisc", "GUNS", "MISC", &["gun gunshot"]),
    ("GUNPis", "GUNS", "PISTOL", &["pistol revolver"]),
    ("GUNRif", "GUNS", "RIFLE", &["rifle"]),
    ("HMNCough", "HUMAN", "COUGH", &["cough"]),
    ("HMNHart", "HUMAN", "HEARTBEAT", &["heartbeat"]),
    ("HMNSneez", "HUMAN", "SNEEZE", &["sneeze sneezing"]),
    ("HMNSnor", "HUMAN", "SNORE", &["snore snoring"]),
    ("ICEMisc", "ICE", "MISC", &["ice"]),
    ("LASRGun", "LASERS", "GUN", &["laser"]),
    ("MACHAppl", "MACHINES", "APPLIANCE", &["vacuum washing fridge refrigerator blender"]),
    ("MACHFan", "MACHINES", "FAN", &["fan"]),
    ("MACHMisc", "MACHINES", "MISC", &["machine"]),
    ("MAGSpel", "MAGIC", "SPELL", &["magic magical spell"]),
    ("MECHClik", "MECHANICAL", "CLICK", &["mechanical", "click"]),
    ("MECHGear", "MECHANICAL", "GEARS", &["gear"]),
    ("MECHLock", "MECHANICAL", "LOCK", &["lock"]),
    ("MECHSwtch", "MECHANICAL", "SWITCH", &["switch"]),
    ("METLFric", "METAL", "FRICTION", &["metal iron steel metallic", "scrape scraping squeak squeal"]),
    ("METLImpt", "METAL", "IMPACT", &["metal iron steel metallic", "hit clang impact strike bang"]),
    ("METLMisc", "METAL", "MISC", &["metal iron steel metallic"]),
    ("MOTRMisc", "MOTORS", "MISC", &["motor engine"]),
    ("MUSCBrass", "MUSICAL", "BRASS", &["trumpet trombone tuba horn"]),
    ("MUSCChim", "MUSICAL", "CHIME", &["chime"]),
    ("MUSCInst", "MUSICAL", "INSTRUMENT", &["piano organ accordion"]),
    (
        "MUSCPerc",
        "MUSICAL",
        "PERCUSSION",
        &["drum snare kick cymbal hihat tom conga bongo tambourine marimba xylophone"],
    ),
    ("MUSCStr", "MUSICAL", "STRINGED", &["guitar violin cello harp banjo ukulele"]),
    ("MUSCWind", "MUSICAL", "WOODWIND", &["flute clarinet oboe saxophone bassoon"]),
    ("OBJCoin", "OBJECTS", "COIN", &["coin"]),
    ("OBJKey", "OBJECTS", "KEYS", &["keys"]),
    ("OBJZipr", "OBJECTS", "ZIPPER", &["zipper"]),
    ("PAPRMisc", "PAPER", "MISC", &["paper"]),
    ("PAPRRip", "PAPER", "RIP", &["paper", "rip tear"]),
    ("PLASMisc", "PLASTIC", "MISC", &["plastic"]),
    ("RAIN", "RAIN", "GENERAL", &["rain"]),
    ("RAINMetl", "RAIN", "METAL", &["rain", "metal tin"]),
    ("ROBTMvmt", "ROBOTS", "MOVEMENT", &["robot"]),
    ("ROCKImpt", "ROCKS", "IMPACT", &["rock stone", "hit fall drop impact"]),
    ("ROCKMisc", "ROCKS", "MISC", &["stone gravel"]),
    ("SCIMisc", "SCIFI", "MISC", &["scifi spaceship"]),
    ("SNOWMisc", "SNOW", "MISC", &["snow"]),
    ("THUN", "WEATHER", "THUNDER", &["thunder"]),
    ("TOOLHand", "TOOLS", "HAND", &["hammer handsaw saw screwdriver"]),
    ("TOOLPowr", "TOOLS", "POWER", &["drill chainsaw"]),
    ("TRNMisc", "TRAINS", "MISC", &["train"]),
    ("TRNSteam", "TRAINS", "STEAM", &["train locomotive", "steam"]),
    ("UIClick", "USER INTERFACE", "CLICK", &["click", "interface button menu"]),
    ("VEGELeaf", "VEGETATION", "LEAVES", &["leaf leaves"]),
    ("VEHBike", "VEHICLES", "BICYCLE", &["bicycle bike"]),
    ("VEHCar", "VEHICLES", "CAR", &["car"]),
    ("VEHHorn", "VEHICLES", "HORN", &["car truck", "horn"]),
    ("VEHMoto", "VEHICLES", "MOTORCYCLE", &["motorcycle motorbike"]),
    ("VEHTruck", "VEHICLES", "TRUCK VAN & SUV", &["truck"]),
    ("VOXLaff", "VOICES", "LAUGH", &["laugh laughter"]),
    ("VOXScrm", "VOICES", "SCREAM", &["scream"]),
    ("WATRBubl", "WATER", "BUBBLES", &["bubble bubbling"]),
    ("WATRDrip", "WATER", "DRIP", &["drip dripping"]),
    ("WATRFlow", "WATER", "FLOW", &["stream river brook creek"]),
    ("WATRMisc", "WATER", "MISC", &["water"]),
    ("WATRPour", "WATER", "POUR", &["water", "pour"]),
    ("WATRSplsh", "WATER", "SPLASH", &["splash"]),
    ("WATRSurf", "WATER", "SURF", &["surf"]),
    ("WATRWave", "WATER", "WAVE", &["sea ocean", "wave"]),
    ("WEAPSwrd", "WEAPONS", "SWORD", &["sword"]),
    ("WHSH", "SWOOSHES", "WHOOSH", &["whoosh swoosh"]),
    ("WHSTMisc", "WHISTLES", "MISC", &["whistle"]),
    ("WIND", "WIND", "GENERAL", &["wind"]),
    ("WINDGust", "WIND", "GUST", &["wind", "gust"]),
    ("WNDWMisc", "WINDOWS", "MISC", &["window"]),
    ("WOODImpt", "WOOD", "IMPACT", &["wood wooden", "hit knock impact"]),
    ("WOODMisc", "WOOD", "MISC", &["wood wooden"]),
];

/// The category of a sound that `prompt` describes, if its words tell: of all whose words are there, the one that
/// needs the most, and among these the one whose words come first.
#[must_use]
pub fn categorize(prompt: &str) -> Option<Category> {
    let prompt = prompt.to_lowercase();
    let words: Vec<&str> =
        prompt.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let found = RULES.iter().filter_map(|rule| {
        let places = rule.3.iter().map(|group| place(&words, group)).collect::<Option<Vec<usize>>>()?;
        let first = places.iter().min().copied().unwrap_or_default();
        Some(((usize::MAX - places.len(), first), rule))
    });
    let (_, &(id, category, sub_category, _)) = found.min_by_key(|(rank, _)| *rank)?;
    Some(Category { id, category, sub_category })
}

/// Where the first word is that one of `group` stands for.
fn place(words: &[&str], group: &str) -> Option<usize> {
    words.iter().position(|word| group.split(' ').any(|keyword| is_form(word, keyword)))
}

/// Whether `word` is `keyword`, its plural, or a form of the verb.
fn is_form(word: &str, keyword: &str) -> bool {
    word.strip_prefix(keyword).is_some_and(|ending| matches!(ending, "" | "s" | "es" | "ed" | "d" | "ing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_find_their_category() {
        for (prompt, id) in [
            ("A heavy wooden door creaks open", "DOORWood"),
            ("someone knocks on a door", "DOORKnck"),
            ("a dog barks in the rain", "ANMLDog"),
            ("Rain falls on a dog", "RAIN"),
            ("a small metal bell rings", "BELLHand"),
            ("two glasses shattering", "GLASBrk"),
            ("Snare drum, dry", "MUSCPerc"),
        ] {
            assert_eq!(categorize(prompt).map(|category| category.id), Some(id), "{prompt}");
        }
        for prompt in ["", "a strange texture", "scattered", "صوت", "a carpet"] {
            assert_eq!(categorize(prompt), None, "{prompt}");
        }
    }

    /// CatIDs as the standard forms them: a short form in capitals, then the sub-category's.
    #[test]
    fn the_table_keeps_to_the_standard() {
        for (id, category, sub_category, groups) in RULES {
            let lower = id.find(|c: char| c.is_ascii_lowercase()).unwrap_or(id.len() + 1);
            assert!((2..=10).contains(&id.len()) && lower >= 3, "{id}");
            assert!(id.bytes().all(|b| b.is_ascii_alphabetic()), "{id}");
            assert_eq!((*category).to_uppercase(), *category);
            assert_eq!((*sub_category).to_uppercase(), *sub_category);
            assert!(!groups.is_empty());
            assert_eq!(RULES.iter().filter(|rule| rule.0 == *id).count(), 1, "{id} twice");
        }
    }
}
