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

/// Categories by their short forms.
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
    ("CHAN", "chains"),
    ("CHEM", "chemicals"),
    ("CLOCK", "clocks"),
    ("CLOTH", "cloth"),
    ("COMM", "communications"),
    ("COMP", "computers"),
    ("CREA", "creatures"),
    ("CRWD", "crowds"),
    ("DEST", "destruction"),
    ("DIRT", "dirt and sand"),
    ("DOOR", "doors"),
    ("DRWR", "drawers"),
    ("DSGN", "designed"),
    ("ELEC", "electricity"),
    ("EQUIP", "equipment"),
    ("EXPL", "explosions"),
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
    ("HORN", "horns"),
    ("ICE", "ice"),
    ("LASR", "lasers"),
    ("LETH", "leather"),
    ("LIQD", "liquid and mud"),
    ("MACH", "machines"),
    ("MAGC", "magic"),
    ("MECH", "mechanical"),
    ("METL", "metal"),
    ("MOTR", "motors"),
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
    ("SWSH", "swooshes"),
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
    ("WHSH", "swooshes"),
    ("WIND", "wind"),
    ("WING", "wings"),
    ("WNDW", "windows"),
    ("WOOD", "wood"),
    ("WTHR", "weather"),
];

/// Parses `stem`; `None` where it begins with no CatID.
pub fn parse(stem: &str) -> Option<Name<'_>> {
    let (id, rest) = stem.split_once('_')?;
    // A user's own sub-category may follow: `WATRSurf-OCEAN`.
    let id = id.split('-').next().unwrap_or(id);
    let lower = id.find(|c: char| !c.is_ascii_uppercase())?;
    let (short, sub) = id.split_at_checked(lower.checked_sub(1)?)?;
    if id.len() > 8 || sub.len() < 2 || !sub.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let (_, category) = CATEGORIES.iter().find(|(name, _)| *name == short)?;
    // The title has spaces where people keep to the system; else it goes on until the creator's initials.
    let first = rest.split('_').next().unwrap_or(rest);
    let end = if first.contains(' ') {
        first.len()
    } else {
        let later = rest.split('_').skip(1).take_while(|part| part.chars().any(char::is_lowercase));
        first.len() + later.map(|part| 1 + part.len()).sum::<usize>()
    };
    Some(Name { category, title: rest.get(..end)? })
}
