//! Which adapters a project makes its sounds with, and how each stands on this computer.
//!
//! A project names adapters by hash and by the place where they were. Either is enough: a file that moved is found
//! by its hash, in the library and in the folder where it was. A sound is never made with fewer adapters than are
//! switched on: one that cannot be used refuses the request, in words, until it is found or switched off. A sound
//! other than the one asked for would be a surprise that nobody notices in time.

use std::{
    collections::HashSet,
    path::{Component, Path, PathBuf, Prefix},
};

use serde_json::{Value, json};
use soundlocd_engine::{
    lora::{
        BaseId, Library, WEIGHTS_FILE,
        library::{Listed, Summary},
    },
    service::{
        AdapterRef,
        request::{MAX_ADAPTERS, MAX_STRENGTH},
    },
};

/// Most adapters that a project keeps, switched on or not.
pub const MAX_CHOSEN: usize = 64;
/// Longest title or caption kept of what a project says, in characters.
const MAX_LINE: usize = 200;
/// Longest path kept.
const MAX_PATH: usize = 4_096;
/// Most captions kept of one adapter.
const MAX_TRIGGERS: usize = 64;
/// Titles in a notice; more are counted.
const MAX_NAMED: usize = 3;

/// The strength that an adapter was trained for.
pub const DEFAULT_STRENGTH: f32 = 1.0;

/// One adapter of a project.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenAdapter {
    /// SHA-256 of its weights: what it is known by.
    pub hash: String,
    /// Where it was last.
    pub path: PathBuf,
    /// What it is called.
    pub title: String,
    /// Prompts that bring out what it has learnt.
    pub triggers: Vec<String>,
    /// Whether the next sound uses it.
    pub is_on: bool,
    /// How strongly, 0..=[`MAX_STRENGTH`].
    pub strength: f32,
    /// Whether to use it with another base than it was made for.
    pub force_base: bool,
}

impl ChosenAdapter {
    /// What a project that uses `listed` writes, switched off.
    #[must_use]
    pub fn of(listed: &Listed, adapter: &Summary) -> Self {
        Self {
            hash: adapter.hash.clone(),
            path: listed.path.clone(),
            title: line(&listed.title, MAX_LINE),
            triggers: adapter
                .card
                .triggers
                .iter()
                .take(MAX_TRIGGERS)
                .map(|text| line(text, MAX_LINE))
                .collect(),
            is_on: false,
            strength: DEFAULT_STRENGTH,
            force_base: false,
        }
    }

    /// Whether it changes the next sound.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.is_on && self.strength > 0.0
    }

    /// The value in the `project` field.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({
            "hash": self.hash,
            "path": self.path.to_string_lossy(),
            "title": self.title,
            "triggers": self.triggers,
            "on": self.is_on,
            "strength": self.strength,
            "force_base": self.force_base,
        })
    }

    /// Reads what [`Self::to_value`] wrote; `None` if it is not that.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        let text = |name: &str, most| Some(line(value.get(name)?.as_str()?, most));
        let flag = |name: &str| value.get(name)?.as_bool();
        let hash = text("hash", 64)
            .filter(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let triggers = value.get("triggers")?.as_array()?.iter().take(MAX_TRIGGERS);
        let strength = value.get("strength")?.as_f64()?;
        Some(Self {
            hash: hash.to_ascii_lowercase(),
            path: text("path", MAX_PATH)?.into(),
            title: text("title", MAX_LINE)?,
            triggers: triggers.map(|text| Some(line(text.as_str()?, MAX_LINE))).collect::<Option<_>>()?,
            is_on: flag("on")?,
            strength: (strength as f32).clamp(0.0, MAX_STRENGTH),
            force_base: flag("force_base")?,
        })
    }
}

/// The adapters in the value of a project; what is none is left out. The second value says whether anything was.
#[must_use]
pub fn from_value(value: &Value) -> (Vec<ChosenAdapter>, bool) {
    let Value::Array(values) = value else { return (Vec::new(), !value.is_null()) };
    let mut chosen: Vec<ChosenAdapter> = Vec::new();
    for adapter in values.iter().take(MAX_CHOSEN).filter_map(ChosenAdapter::from_value) {
        if chosen.iter().all(|other| other.hash != adapter.hash) {
            chosen.push(adapter);
        }
    }
    for adapter in chosen.iter_mut().filter(|adapter| adapter.is_on).skip(MAX_ADAPTERS) {
        adapter.is_on = false;
    }
    let is_damaged = chosen.len() != values.len();
    (chosen, is_damaged)
}

/// At most `most` characters, none of them a control character.
fn line(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// The adapters on this computer, as far as they concern a project.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Those in the folders for adapters.
    library: Library,
    /// What else is at the places that the project names.
    others: Vec<Listed>,
}

impl Found {
    /// Looks in all places for adapters and for those that a project names. Reads files: not for a thread that draws.
    #[must_use]
    pub fn look(chosen: &[ChosenAdapter]) -> Self {
        Self::look_beside(Library::scan(), chosen)
    }

    /// As [`Self::look`], beside a library.
    fn look_beside(library: Library, chosen: &[ChosenAdapter]) -> Self {
        let mut found = Self { library, others: Vec::new() };
        let mut folders = HashSet::new();
        for adapter in chosen {
            if found.with_hash(&adapter.hash).is_some() || !may_read(&adapter.path) {
                continue;
            }
            if is_adapter_name(&adapter.path) && adapter.path.exists() {
                found.add(Listed::read(&adapter.path));
            }
            let Some(folder) = adapter.path.parent() else { continue };
            // Renamed, perhaps.
            if found.with_hash(&adapter.hash).is_none()
                && folder.is_dir()
                && folders.insert(folder.to_owned())
            {
                let beside = Library::scan_places(Some(folder), None);
                for listed in beside.adapters().iter().filter(|listed| {
                    let hash = listed.adapter.as_ref().ok().map(|summary| &summary.hash);
                    chosen.iter().any(|adapter| Some(&adapter.hash) == hash)
                }) {
                    found.add(listed.clone());
                }
            }
        }
        found
    }

    /// Adds what was read at a place outside of the library.
    pub fn add(&mut self, listed: Listed) {
        self.others.retain(|other| other.path != listed.path);
        self.others.push(listed);
    }

    /// The usable adapter of this hash.
    #[must_use]
    pub fn with_hash(&self, hash: &str) -> Option<(&Listed, &Summary)> {
        let others = self.others.iter().filter_map(|listed| Some((listed, listed.adapter.as_ref().ok()?)));
        self.library.with_hash(hash).or_else(|| others.into_iter().find(|(_, summary)| summary.hash == hash))
    }

    /// What is at `path`, as far as that has been looked at.
    fn at(&self, path: &Path) -> Option<&Listed> {
        self.library.adapters().iter().chain(&self.others).find(|listed| listed.path == path)
    }

    /// What could not be looked at, in sentences.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        self.library.notes()
    }

    /// What the list shows: all of the library and of the project, by title, files that cannot be used last. Switching
    /// one on or off moves nothing.
    #[must_use]
    pub fn rows<'a>(&'a self, chosen: &'a [ChosenAdapter], base: Option<&BaseId>) -> Vec<Row<'a>> {
        let mut rows: Vec<Row> = chosen
            .iter()
            .map(|adapter| {
                let found = self.with_hash(&adapter.hash);
                Row {
                    title: found.map_or(&adapter.title, |(listed, _)| &listed.title),
                    path: found.map_or(&adapter.path, |(listed, _)| &listed.path),
                    standing: Standing::of(adapter, Some(self), base),
                    summary: found.map(|(_, summary)| summary),
                    in_library: self.library.with_hash(&adapter.hash).is_some(),
                    forced: found.and_then(|(_, summary)| other_base(summary, base)),
                    chosen: Some(adapter),
                }
            })
            .collect();
        for listed in self.library.adapters() {
            let summary = listed.adapter.as_ref();
            let is_known = |adapter: &ChosenAdapter| match summary {
                Ok(summary) => adapter.hash == summary.hash,
                // The project's row says the same of it.
                Err(_) => adapter.path == listed.path && self.with_hash(&adapter.hash).is_none(),
            };
            if chosen.iter().any(is_known) {
                continue;
            }
            let standing = match summary {
                Ok(summary) => Standing::with(listed, summary, false, base),
                Err(reason) => Standing::Broken(sentence(reason)),
            };
            let (title, path) = (&listed.title, &listed.path);
            let summary = summary.ok();
            rows.push(Row { title, path, standing, summary, in_library: true, forced: None, chosen: None });
        }
        rows.sort_by_key(|row| (row.hash().is_none(), row.title.to_lowercase()));
        rows
    }
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// Its title; of a broken one that the project does not name, its file's name.
    pub title: &'a str,
    /// The file or folder.
    pub path: &'a Path,
    /// How it stands with it.
    pub standing: Standing,
    /// What it says of itself, if it is here.
    pub summary: Option<&'a Summary>,
    /// Whether it is in a folder for adapters, so that it is listed anyway.
    pub in_library: bool,
    /// For which other base it was made, in a sentence, if the user may have insisted on it.
    pub forced: Option<String>,
    /// What the project says of it, if it names it.
    pub chosen: Option<&'a ChosenAdapter>,
}

impl Row<'_> {
    /// What it is known by; broken ones that no project names have nothing.
    #[must_use]
    pub fn hash(&self) -> Option<&str> {
        self.chosen.map(|adapter| adapter.hash.as_str()).or(self.summary.map(|summary| summary.hash.as_str()))
    }

    /// Prompts that bring out what it has learnt.
    #[must_use]
    pub fn triggers(&self) -> &[String] {
        let of_file = self.summary.map(|summary| summary.card.triggers.as_slice());
        of_file.or(self.chosen.map(|adapter| adapter.triggers.as_slice())).unwrap_or_default()
    }
}

/// How it stands with an adapter.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It can be used; here it is.
    Ready(PathBuf),
    /// Nobody has looked yet what is on this computer.
    Unknown,
    /// It is not on this computer.
    Missing,
    /// It is here, but cannot be used: why, in a sentence.
    Broken(String),
    /// It was made for another base: which, in a sentence. The user may insist.
    OtherBase(String),
}

impl Standing {
    /// Of an adapter that a project names, among those found (`None` before the first look), for the base that the
    /// project uses (`None` before that is known: the engine looks again).
    #[must_use]
    pub fn of(adapter: &ChosenAdapter, found: Option<&Found>, base: Option<&BaseId>) -> Self {
        let Some(found) = found else { return Self::Unknown };
        if let Some((listed, summary)) = found.with_hash(&adapter.hash) {
            return Self::with(listed, summary, adapter.force_base, base);
        }
        match found.at(&adapter.path).map(|listed| &listed.adapter) {
            Some(Err(reason)) => Self::Broken(sentence(reason)),
            Some(Ok(_)) => Self::Broken(
                "The file has changed since it was chosen. Add it again to use it as it is now.".to_owned(),
            ),
            None => Self::Missing,
        }
    }

    /// Of an adapter that is here.
    fn with(listed: &Listed, adapter: &Summary, force_base: bool, base: Option<&BaseId>) -> Self {
        match other_base(adapter, base).filter(|_| !force_base) {
            None => Self::Ready(listed.path.clone()),
            Some(reason) => Self::OtherBase(reason),
        }
    }

    /// Why an adapter of this title, last seen at `path`, cannot be used; `None` if it can or nobody knows yet.
    fn reason(&self, title: &str, path: &Path) -> Option<String> {
        match self {
            Self::Ready(_) | Self::Unknown => None,
            Self::Missing => {
                let place = path.display().to_string();
                let was = if place.is_empty() { String::new() } else { format!(": it was at {place}") };
                Some(format!("The adapter “{title}” is not on this computer{was}."))
            }
            Self::Broken(reason) => Some(format!("The adapter “{title}” cannot be used. {reason}")),
            Self::OtherBase(reason) => {
                Some(format!("The adapter “{title}” does not suit this model. {reason}"))
            }
        }
    }
}

/// For which base an adapter was made, in a sentence, if that is another than `base`.
fn other_base(adapter: &Summary, base: Option<&BaseId>) -> Option<String> {
    let base = base.filter(|base| !adapter.is_for(base))?;
    let present = &base.name;
    Some(match adapter.card.base.name.trim() {
        "" => format!("It was made for another model than “{present}”."),
        wanted if wanted == present => format!("It was made for another version of “{present}”."),
        wanted => format!("It was made for “{wanted}”, not for “{present}”."),
    })
}

/// An error's words with a stop at the end, and with a capital at the beginning unless that is a file's name.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if !text.split(' ').next().is_some_and(|word| word.contains(['.', '/', '\\'])) => {
            format!("{}{}.", first.to_uppercase(), chars.as_str())
        }
        _ => format!("{text}."),
    }
}

/// Why a request cannot be made with a project's adapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody has looked yet what is on this computer.
    Unknown,
    /// One cannot be used: why, and what to do.
    Unavailable(String),
}

/// What a request says of a project's adapters: all that are switched on, in the project's order.
///
/// # Errors
/// When one of them cannot be used.
pub fn references(
    chosen: &[ChosenAdapter],
    found: Option<&Found>,
    base: Option<&BaseId>,
) -> Result<Vec<AdapterRef>, Refusal> {
    let refer = |adapter: &ChosenAdapter| {
        let standing = Standing::of(adapter, found, base);
        let next = match &standing {
            Standing::Ready(path) => {
                return Ok(AdapterRef {
                    path: path.clone(),
                    hash: adapter.hash.clone(),
                    strength: adapter.strength,
                    force_base: adapter.force_base,
                });
            }
            Standing::Unknown => return Err(Refusal::Unknown),
            Standing::OtherBase(_) => {
                "Switch it off, choose the model that it was made for, or insist in the list of \
                                       adapters."
            }
            Standing::Missing | Standing::Broken(_) => {
                "Switch it off to make sounds without it, or find the file and drop it on this window."
            }
        };
        let reason = standing.reason(&adapter.title, &adapter.path).unwrap_or_default();
        Err(Refusal::Unavailable(format!("{reason} {next}")))
    };
    chosen.iter().filter(|adapter| adapter.is_active()).map(refer).collect()
}

/// What a project that was just opened has to say of adapters that it uses and that are not here.
#[must_use]
pub fn notice(chosen: &[ChosenAdapter], found: Option<&Found>) -> Option<String> {
    let gone: Vec<(&ChosenAdapter, String)> = chosen
        .iter()
        .filter(|adapter| adapter.is_active())
        // Another base is no news: the list says so, and it may be meant.
        .filter_map(|adapter| {
            let reason = Standing::of(adapter, found, None).reason(&adapter.title, &adapter.path)?;
            Some((adapter, reason))
        })
        .collect();
    let what = match gone.as_slice() {
        [] => return None,
        [(_, reason)] => reason.clone(),
        _ => {
            let named: Vec<String> =
                gone.iter().take(MAX_NAMED).map(|(adapter, _)| format!("“{}”", adapter.title)).collect();
            let more = gone.len().saturating_sub(MAX_NAMED);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!(
                "{} adapters of this project cannot be used here: {}{rest}.",
                gone.len(),
                named.join(", ")
            )
        }
    };
    Some(format!("{what} The sounds in this project play all the same."))
}

/// Why no further adapter can be switched on, if that is so.
#[must_use]
pub fn too_many(chosen: &[ChosenAdapter]) -> Option<String> {
    let on = chosen.iter().filter(|adapter| adapter.is_on).count();
    (on >= MAX_ADAPTERS)
        .then(|| format!("At most {MAX_ADAPTERS} adapters can be blended. Switch another one off first."))
}

/// `prompt` with a caption in it, if it is not in it yet.
#[must_use]
pub fn with_caption(prompt: &str, caption: &str) -> String {
    let (prompt, caption) = (prompt.trim(), caption.trim());
    if prompt.is_empty() {
        caption.to_owned()
    } else if prompt.to_lowercase().contains(&caption.to_lowercase()) {
        prompt.to_owned()
    } else {
        format!("{}, {caption}", prompt.trim_end_matches([',', ' ']))
    }
}

/// What to read for a path that a person picked: PEFT's weights file stands for its folder, which has the better name.
///
/// # Errors
/// When it is called as no adapter is.
pub fn picked(path: &Path) -> Result<PathBuf, String> {
    if path.file_name().is_some_and(|name| name == WEIGHTS_FILE)
        && let Some(folder) = path.parent()
    {
        return Ok(folder.to_owned());
    }
    // The reader says of pickles what to do about them.
    let is_pickle = ["bin", "ckpt", "pt", "pth"].iter().any(|ending| has_ending(path, ending));
    if is_adapter_name(path) || is_pickle {
        return Ok(path.to_owned());
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Err(format!(
        "“{}” is no adapter. Adapters are .safetensors files, or folders that PEFT saved.",
        line(&name, MAX_LINE)
    ))
}

/// Whether `path` is a folder or called as adapters are.
fn is_adapter_name(path: &Path) -> bool {
    path.is_dir() || has_ending(path, "safetensors")
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// Whether to look at a path because a project says so. Not on other computers: merely looking there can tell them who
/// we are.
fn may_read(path: &Path) -> bool {
    let is_remote = match path.components().next() {
        Some(Component::Prefix(prefix)) => {
            !matches!(prefix.kind(), Prefix::Disk(_) | Prefix::VerbatimDisk(_))
        }
        _ => false,
    };
    path.is_absolute() && !is_remote
}

#[cfg(test)]
#[path = "adapters_tests.rs"]
mod tests;
