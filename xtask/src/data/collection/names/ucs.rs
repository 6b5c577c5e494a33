//! The Universal Category System's file names: `CatID_Title_Creator_Source`, as in `DOORWood_Heavy Creak_TSS_LIB`.
//!
//! <https://universalcategorysystem.com>: a CatID is the category's short form and the sub-category's.

/// What a catalogue name says.
#[derive(Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The category's name in full.
    pub category: &'static str,
    /// What the recordist wrote; may be without words.
    pub title: &'a str,
}

/// `DESTRClpse` and a few more have as many letters.
const LONGEST_ID: usize = 10;

/// Categories by their short forms; those without sub-categories are words anyway (`WIND_`, `RAIN_`).
const CATEGORIES: &[(&str, &str)] = &[
    ("AERO", "aircraft"),
    ("AIR", "air"),
    ("ALRM", "alarms"),
    ("AMB", "ambience"),
    ("ANML", "animals"),
    ("BEEP", "beeps"),
    ("BELL", "bells"),
    ("BIRD", "birds"),
    ("BOAT", "boats"),
    ("BLLT", "bullets"),
    ("CERM", "ceramics"),
    ("CHAIN", "chains"),
    ("CHEM", "chemicals"),
    ("CLOCK", "clocks"),
    ("CLOTH", "cloth"),
    ("COM", "communications"),
    ("CMPT", "computers"),
    ("CREA", "creatures"),
    ("CRWD", "crowds"),
    ("DESTR", "destruction"),
    ("DIRT", "dirt and sand"),
    ("DOOR", "doors"),
    ("DRWR", "drawers"),
    ("DSGN", "designed"),
    ("ELEC", "electricity"),
    ("EQUIP", "equipment"),
    ("EXPL", "explosions"),
    ("FART", "farts"),
    ("FEET", "footsteps"),
    ("FGHT", "fight"),
    ("FIRE", "fire"),
    ("FOLY", "foley"),
    ("FOOD", "food and drink"),
    ("FRWK", "fireworks"),
    ("GAME", "games"),
    ("GEO", "geothermal"),
    ("GLAS", "glass"),
    ("GORE", "gore"),
    ("GUN", "guns"),
    ("HMN", "human"),
    ("HORN", "horns"),
    ("ICE", "ice"),
    ("LASR", "lasers"),
    ("LETHR", "leather"),
    ("LIQ", "liquid and mud"),
    ("MACH", "machines"),
    ("MAG", "magic"),
    ("MECH", "mechanical"),
    ("METL", "metal"),
    ("MOTR", "motors"),
    ("MOVE", "movement"),
    ("MUSC", "musical"),
    ("NATD", "natural disaster"),
    ("OBJ", "objects"),
    ("PAPR", "paper"),
    ("PLAS", "plastic"),
    ("RAIN", "rain"),
    ("ROBT", "robots"),
    ("ROCK", "rocks"),
    ("ROPE", "rope"),
    ("RUBR", "rubber"),
    ("SCI", "science fiction"),
    ("SNOW", "snow"),
    ("SPRT", "sports"),
    ("TOOL", "tools"),
    ("TOON", "cartoon"),
    ("TOY", "toys"),
    ("TRN", "trains"),
    ("UI", "user interface"),
    ("VEGE", "vegetation"),
    ("VEH", "vehicles"),
    ("VOX", "voices"),
    ("WATR", "water"),
    ("WEAP", "weapons"),
    ("WHST", "whistles"),
    ("WIND", "wind"),
    ("WING", "wings"),
    ("WNDW", "windows"),
    ("WOOD", "wood"),
];

/// Parses `stem`; `None` where it begins with no CatID.
pub fn parse(stem: &str) -> Option<Name<'_>> {
    let (id, rest) = stem.split_once('_')?;
    // A user's own sub-category may follow: `WATRSurf-OCEAN`.
    let id = id.split('-').next().unwrap_or(id);
    let lower = id.find(|c: char| !c.is_ascii_uppercase())?;
    let (short, sub) = id.split_at_checked(lower.checked_sub(1)?)?;
    if id.len() > LONGEST_ID || sub.len() < 2 || !sub.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let (_, category) = CATEGORIES.iter().find(|(name, _)| *name == short)?;
    // By the standard, creator and source follow the title. Where there are fewer parts or the last is a take's number,
    // it was not kept to: then the title goes on up to somebody's initials.
    let parts: Vec<&str> = rest.split('_').collect();
    let first = parts.first().copied().unwrap_or_default();
    let numbered = parts.last().is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let end = if first.contains(' ') || parts.len() >= 3 && !numbered {
        first.len()
    } else {
        let later = parts.iter().skip(1).take_while(|part| part.chars().any(char::is_lowercase));
        first.len() + later.map(|part| 1 + part.len()).sum::<usize>()
    };
    Some(Name { category, title: rest.get(..end)? })
}
