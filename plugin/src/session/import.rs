//! Files that are dropped on the window: sounds become takes, adapters change the model.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use soundlocd_engine::{
    SAMPLE_RATE,
    clip::{Clip, DecodeError, Provenance, SUPPORTED, decode, snap, wav},
    service::{MAX_EDIT_SECONDS, request::MAX_PROMPT_CHARS},
};

use super::{
    Session, Shared,
    files::{self, Command},
};
use crate::{adapters::picked, take::Take};

/// Longest recording, in seconds: what edits can start from.
const LONGEST_SECONDS: usize = MAX_EDIT_SECONDS as usize;
/// Most sounds taken from one drop.
const MAX_SOUNDS: usize = 32;
/// Peak below which there is nothing to hear: -90 dBFS.
const SILENT_PEAK: f32 = 3.2e-5;
/// Samples of the fade at the end of a recording that goes on in its file.
const FADE: usize = SAMPLE_RATE as usize / 100;

/// What a file is, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A recording.
    Sound,
    /// Weights that change the model.
    Adapter,
    /// To be looked into: a folder, or something else.
    Unknown,
}

impl FileKind {
    /// The kind of the file called `path`, which is not looked at.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        const SOUNDS: &[&str] = &["wav", "wave", "aif", "aiff", "aifc", "flac", "ogg", "oga", "opus", "mp3"];
        const ADAPTERS: &[&str] = &["safetensors", "bin", "ckpt", "pt", "pth"];
        let is_of = |endings: &[&str]| {
            path.extension().is_some_and(|found| endings.iter().any(|one| found.eq_ignore_ascii_case(one)))
        };
        match () {
            () if is_of(SOUNDS) => Self::Sound,
            () if is_of(ADAPTERS) => Self::Adapter,
            () => Self::Unknown,
        }
    }
}

impl Session {
    /// Takes files that were dropped, in the background: adapters are switched on; sounds become takes, the first of them on
    /// `pad` (`None`: the selected one), the others on the free pads after it.
    pub fn take_files(&self, paths: Vec<PathBuf>, pad: Option<usize>) {
        self.send_to_files(Command::Import { paths, pad });
    }
}

/// Does what [`Session::take_files`] says. May take some seconds.
pub(super) fn import(shared: &Weak<Shared>, paths: Vec<PathBuf>, pad: Option<usize>) {
    let is_adapter = |path: &PathBuf| match FileKind::of(path) {
        FileKind::Sound => path.is_dir(),
        FileKind::Adapter => true,
        FileKind::Unknown => path.is_dir() || picked(path).is_ok(),
    };
    let (adapters, sounds): (Vec<_>, Vec<_>) = paths.into_iter().partition(is_adapter);
    if !adapters.is_empty() {
        files::add(shared, &adapters);
    }
    if sounds.is_empty() {
        return;
    }
    let mut report = Report { left: sounds.len().saturating_sub(MAX_SOUNDS), ..Report::default() };
    let mut takes = Vec::new();
    for path in sounds.iter().take(MAX_SOUNDS) {
        // The project may be closed meanwhile.
        let Some(shared) = shared.upgrade() else { return };
        match read(path) {
            Ok((clip, is_cut)) => {
                takes.push(Arc::new(Take::new(shared.next_take(), Arc::new(clip))));
                report.cut.extend(is_cut.then(|| name(path)));
            }
            Err(error) => report.refused.push((name(path), error)),
        }
    }
    let Some(shared) = shared.upgrade() else { return };
    if !takes.is_empty() {
        let pad = {
            let mut model = shared.model.lock();
            model.selected = pad.unwrap_or(model.selected);
            model.selected
        };
        let name = if takes.len() == 1 { "dropped sound" } else { "dropped sounds" };
        shared.rearrange(name, |arrangement| {
            takes.iter().for_each(|take| arrangement.add(take));
            arrangement.spread(&takes, pad);
        });
    }
    if let Some(text) = report.text() {
        shared.tell(&text, !report.refused.is_empty());
    }
    // Now rather than when the host saves or the window draws.
    for take in takes {
        let _ = take.encoded();
        take.illustrate();
        shared.repaint.request();
    }
}

/// What is to be said of files.
#[derive(Debug, Default)]
struct Report {
    /// Names of those that could not be used, and why.
    refused: Vec<(String, String)>,
    /// Names of those that were longer than is taken.
    cut: Vec<String>,
    /// How many there were beyond [`MAX_SOUNDS`].
    left: usize,
}

impl Report {
    /// In sentences; `None` if everything went well.
    fn text(&self) -> Option<String> {
        let mut sentences = Vec::new();
        if let Some((name, reason)) = self.refused.first() {
            sentences.push(format!("“{name}” cannot be used: {reason}."));
            match self.refused.len() - 1 {
                0 => {}
                1 => sentences.push("Nor can one other file.".to_owned()),
                others => sentences.push(format!("Nor can {others} other files.")),
            }
        }
        match self.cut.as_slice() {
            [] => {}
            [name] => sentences
                .push(format!("“{name}” is longer than {LONGEST_SECONDS} s: the first {LONGEST_SECONDS} s of it are used.")),
            names => sentences.push(format!(
                "{} sounds are longer than {LONGEST_SECONDS} s: the first {LONGEST_SECONDS} s of each are used.",
                names.len()
            )),
        }
        if self.left > 0 {
            sentences.push(format!(
                "At most {MAX_SOUNDS} sounds are taken at once: drop the other {} again.",
                self.left
            ));
        }
        (!sentences.is_empty()).then(|| sentences.join(" "))
    }
}

/// The recording at `path` as a clip, and whether it goes on after that; else why not, in words that follow its name.
fn read(path: &Path) -> Result<(Clip, bool), String> {
    let decoded = decode(path, LONGEST_SECONDS).map_err(|error| match error {
        DecodeError::Unknown if FileKind::of(path) != FileKind::Sound => {
            format!("it is neither an adapter nor a sound of a kind that can be read ({SUPPORTED})")
        }
        error => error.to_string().trim_end_matches('.').to_owned(),
    })?;
    let mut audio = decoded.audio;
    let peak = audio.iter().fold(0f32, |peak, sample| peak.max(sample.abs()));
    if audio.is_empty() {
        return Err("there is no sound in it".to_owned());
    }
    if peak < SILENT_PEAK {
        return Err("it is silent".to_owned());
    }
    // Decoders and converters may exceed full scale a little: softer, rather than clipped.
    let gain = 1.0 / peak.max(1.0);
    audio.iter_mut().for_each(|sample| *sample *= gain);
    if decoded.is_cut {
        let fade = audio.iter_mut().rev().take(FADE).enumerate();
        fade.for_each(|(n, sample)| *sample *= n as f32 / FADE as f32);
    }
    audio.iter_mut().for_each(|sample| *sample = snap(*sample));
    // A sound of ours says what it was made of.
    let provenance = wav::read_provenance(path).unwrap_or_else(|| of_recording(path));
    let mut clip = Clip::new(audio, provenance);
    let looped = wav::read_loop(path, clip.audio.len());
    clip.loop_range = looped.map(|range| (range.start, range.end));
    Ok((clip, decoded.is_cut))
}

/// Where a recording comes from: as a prompt the words of its file's name.
fn of_recording(path: &Path) -> Provenance {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let words = stem.split(|c: char| c.is_whitespace() || c.is_control() || c == '_');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let prompt = words.join(" ").chars().take(MAX_PROMPT_CHARS).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Provenance { prompt, created_unix: now, ..Provenance::default() }
}

/// The file's name for a message.
fn name(path: &Path) -> String {
    const MOST: usize = 60;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let mut chars = name.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = chars.by_ref().take(MOST).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
