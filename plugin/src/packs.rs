//! Which model a project makes its sounds with, and whether that is on this computer.

use std::path::PathBuf;

use serde_json::{Value, json};
use soundlocd_engine::{
    lora::BaseId,
    pack::{
        PackRef,
        library::{Library, Listed, Summary},
    },
    service::{Settings, request::MAX_SECONDS},
};

/// Longest name or folder kept of what a project says.
const MAX_CHARS: usize = 1_000;

/// The model pack that a project names. One that names none uses the default pack, whichever that
/// is in the version that opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenPack {
    /// SHA-256 of its manifest: what it is known by.
    pub hash: String,
    /// What it is called.
    pub name: String,
    /// Where it was when it was chosen. Only shown: a project from elsewhere must not make us open
    /// folders of its choice.
    pub folder: Option<String>,
}

impl ChosenPack {
    /// What a project writes to choose `listed`; `None` for the default pack.
    #[must_use]
    pub fn of(listed: &Listed, pack: &Summary) -> Option<Self> {
        match &pack.reference {
            PackRef::Embedded => None,
            PackRef::Folder { folder, .. } => Some(Self {
                hash: pack.hash.clone(),
                name: listed.name.clone(),
                folder: Some(folder.display().to_string()),
            }),
        }
    }

    /// The value in the `project` field.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({"hash": self.hash, "name": self.name, "folder": self.folder})
    }

    /// Reads what [`Self::to_value`] wrote; `None` if it is not that.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        let text = |name: &str| {
            let text = value.get(name)?.as_str()?;
            Some(text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect::<String>())
        };
        let hash =
            text("hash").filter(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()))?;
        Some(Self { hash: hash.to_ascii_lowercase(), name: text("name")?, folder: text("folder") })
    }
}

/// What making a sound needs to know of a model that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// How the engine finds it.
    pub reference: PackRef,
    /// The settings that suit it.
    pub recommended: Settings,
    /// Longest sound that it makes, in seconds.
    pub max_seconds: f32,
}

impl Default for Ready {
    /// The default pack, as long as nobody has looked what it recommends.
    fn default() -> Self {
        Self { reference: PackRef::Embedded, recommended: Settings::default(), max_seconds: MAX_SECONDS }
    }
}

impl From<&Summary> for Ready {
    fn from(pack: &Summary) -> Self {
        Self {
            reference: pack.reference.clone(),
            recommended: pack.recommended.clone(),
            max_seconds: pack.max_seconds,
        }
    }
}

/// How it stands with the model of a project.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It can make sounds.
    Ready(Ready),
    /// Nobody has looked yet what is on this computer.
    Unknown,
    /// It cannot be used: why, and what to do.
    Unavailable(String),
}

impl Standing {
    /// Of what a project chose, among the packs found (`None` before the first look).
    #[must_use]
    pub fn of(chosen: Option<&ChosenPack>, library: Option<&Library>) -> Self {
        match (chosen, library) {
            (None, None) => Self::Ready(Ready::default()),
            (None, Some(library)) => {
                let default = library.packs().iter().filter_map(|listed| listed.pack.as_ref().ok());
                let default = default.into_iter().find(|pack| pack.reference == PackRef::Embedded);
                Self::Ready(default.map_or_else(Ready::default, Ready::from))
            }
            (Some(_), None) => Self::Unknown,
            (Some(chosen), Some(library)) => match library.with_hash(&chosen.hash) {
                Some(pack) => Self::Ready(pack.into()),
                None => Self::Unavailable(unavailable(chosen, library)),
            },
        }
    }
}

/// Which base a project's model is to adapters, once somebody has looked.
#[must_use]
pub fn base<'a>(chosen: Option<&ChosenPack>, library: Option<&'a Library>) -> Option<&'a BaseId> {
    let mut packs = library?.packs().iter().filter_map(|listed| listed.pack.as_ref().ok());
    let pack = match chosen {
        Some(chosen) => packs.find(|pack| pack.hash == chosen.hash),
        None => packs.find(|pack| pack.reference == PackRef::Embedded),
    };
    pack.map(|pack| &pack.base)
}

/// Why the chosen pack cannot be used, for the musician.
fn unavailable(chosen: &ChosenPack, library: &Library) -> String {
    const NEXT: &str = "Its sounds play all the same. Choose another model to make new ones.";
    let folder = chosen.folder.as_ref().map(PathBuf::from);
    let broken = library.packs().iter().find_map(|listed| {
        let is_it = listed.name == chosen.name || (folder.is_some() && listed.folder == folder);
        listed.pack.as_ref().err().filter(|_| is_it)
    });
    match broken {
        Some(reason) => {
            format!("This project's model “{}” cannot be used: {reason}. {NEXT}", chosen.name)
        }
        None => format!(
            "This project's model “{}” is not on this computer; its sounds play all the same. Choose another model \
             to make new ones.",
            chosen.name
        ),
    }
}

/// What a setting becomes when another model is chosen: the new one's recommendation if it stands
/// at the old one's, otherwise it was somebody's wish and stays (`None`).
#[must_use]
pub fn follow(current: f32, old: f32, new: f32) -> Option<f32> {
    // Closer than the controls can set it: what is left is rounding.
    let is_untouched = (current - old).abs() < 1e-3;
    (is_untouched && current != new).then_some(new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chosen() -> ChosenPack {
        ChosenPack { hash: "ab".repeat(32), name: "Big “One”".into(), folder: Some("/packs/big".into()) }
    }

    #[test]
    fn a_choice_reads_back() {
        for choice in [chosen(), ChosenPack { folder: None, ..chosen() }] {
            let text = choice.to_value().to_string();
            assert_eq!(ChosenPack::from_value(&serde_json::from_str(&text).unwrap()), Some(choice));
        }
    }

    #[test]
    fn what_is_no_choice_is_refused() {
        let with = |name: &str, value: Value| {
            let mut choice = chosen().to_value();
            choice[name] = value;
            ChosenPack::from_value(&choice)
        };
        for value in [json!("short"), json!("../".repeat(22)), json!(7), Value::Null] {
            assert_eq!(with("hash", value), None);
        }
        assert_eq!(with("name", json!(["x"])), None);
        assert_eq!(with("folder", json!({})).unwrap().folder, None);
        let long = with("name", json!(format!("a\0\n{}", "b".repeat(9_999)))).unwrap();
        assert_eq!((long.name.chars().count(), &long.name[..2]), (MAX_CHARS, "ab"));
        for value in [json!([]), json!("x"), Value::Null] {
            assert_eq!(ChosenPack::from_value(&value), None);
        }
    }

    #[test]
    fn the_default_needs_no_looking_and_others_do() {
        assert_eq!(Standing::of(None, None), Standing::Ready(Ready::default()));
        assert_eq!(Standing::of(Some(&chosen()), None), Standing::Unknown);
        let library = Library::scan_places(None, None);
        let Standing::Ready(ready) = Standing::of(None, Some(&library)) else { unreachable!() };
        assert_eq!(&ready, &Ready::from(library.packs()[0].pack.as_ref().unwrap()));
        // A project that names the very pack that is built in finds it there.
        let named = ChosenPack { hash: library.packs()[0].pack.as_ref().unwrap().hash.clone(), ..chosen() };
        assert_eq!(Standing::of(Some(&named), Some(&library)), Standing::Ready(ready));
        let missing = Standing::of(Some(&chosen()), Some(&library));
        assert_eq!(
            missing,
            Standing::Unavailable(
                "This project's model “Big “One”” is not on this computer; its sounds play all the same. Choose \
                 another model to make new ones."
                    .into()
            )
        );
    }

    #[test]
    fn the_default_pack_recommends_what_is_assumed_before_looking() {
        let library = Library::scan_places(None, None);
        assert_eq!(Standing::of(None, Some(&library)), Standing::of(None, None));
    }

    #[test]
    fn only_untouched_settings_follow_the_model() {
        assert_eq!(follow(3.0, 3.0, 5.0), Some(5.0));
        assert_eq!(follow(3.000_2, 3.0, 5.0), Some(5.0));
        assert_eq!(follow(3.1, 3.0, 5.0), None);
        assert_eq!(follow(3.0, 3.0, 3.0), None);
        assert_eq!(follow(3.0, f32::NAN, 5.0), None);
    }
}
