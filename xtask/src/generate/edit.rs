//! Edits on the command line.

use anyhow::{Context, Result, bail, ensure};
use soundlocd_engine::SAMPLE_RATE;
use soundlocd_engine::clip::{Region, resample, wav};
use soundlocd_engine::service::{Edit, Source};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What to make of another sound, or between two prompts.
#[derive(Debug, Default, clap::Args)]
pub struct EditArgs {
    /// The sound to edit, a WAV file of up to 30 s.
    #[arg(long, value_name = "FILE", help_heading = "Edits")]
    from: Option<PathBuf>,
    /// Draws this share of the sound anew, 0 to 1.
    #[arg(long, value_name = "AMOUNT", help_heading = "Edits")]
    vary: Option<f32>,
    /// Draws a region anew by the prompt: from and to which second and frequency, as in 0.5-1.2s:200-4000Hz.
    #[arg(long, value_name = "SECONDS:HERTZ", help_heading = "Edits")]
    repaint: Option<Rectangle>,
    /// Adds so many seconds before the beginning.
    #[arg(long, value_name = "SECONDS", help_heading = "Edits")]
    extend_before: Option<f32>,
    /// Adds so many seconds after the end.
    #[arg(long, value_name = "SECONDS", help_heading = "Edits")]
    extend_after: Option<f32>,
    /// Makes a seamless loop, of the sound given or of a new one.
    #[arg(long = "loop", help_heading = "Edits")]
    looped: bool,
    /// Makes a sound between the prompt and this one.
    #[arg(long, value_name = "PROMPT", help_heading = "Edits")]
    morph: Option<String>,
    /// Share of the steps that follow the first prompt, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, requires = "morph", help_heading = "Edits")]
    morph_at: f32,
}

/// A [`Region`] as it is typed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rectangle(Region);

impl FromStr for Rectangle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = |text: &str, unit: &str| {
            let (from, to) = text.trim().trim_end_matches(unit).split_once('-')?;
            Some((from.trim().parse::<f32>().ok()?, to.trim().parse::<f32>().ok()?))
        };
        let parsed = || {
            let (seconds, hertz) = text.split_once(':')?;
            let ((start, end), (low, high)) = (pair(seconds, "s")?, pair(hertz, "Hz")?);
            Some(Self(Region { start, end, low, high }))
        };
        parsed().ok_or_else(|| "give seconds and frequencies as in 0.5-1.2s:200-4000Hz".to_owned())
    }
}

impl EditArgs {
    /// The edit that is asked for.
    pub fn edit(&self) -> Result<Option<Edit>> {
        let extends = self.extend_before.is_some() || self.extend_after.is_some();
        let kinds = [self.vary.is_some(), self.repaint.is_some(), extends, self.looped, self.morph.is_some()];
        let asked = kinds.into_iter().filter(|asked| *asked).count();
        ensure!(asked <= 1, "One edit at a time: vary, repaint, extend, loop or morph.");
        let (source, of) = self.from.as_deref().map(read).transpose()?.unzip();
        if let Some(prompt) = &self.morph {
            ensure!(source.is_none(), "A morph needs no --from: it is made of two prompts.");
            return Ok(Some(Edit::Morph { prompt: prompt.clone(), at: self.morph_at }));
        }
        if self.looped {
            return Ok(Some(Edit::Loop { source }));
        }
        let Some(source) = source else {
            ensure!(asked == 0, "Say which sound to edit: --from FILE.wav.");
            return Ok(None);
        };
        Ok(Some(if let Some(amount) = self.vary {
            Edit::Vary { source, amount }
        } else if let Some(Rectangle(region)) = self.repaint {
            Edit::Repaint { source, region, of: of.unwrap_or_default() }
        } else if extends {
            let (before, after) = (self.extend_before.unwrap_or(0.0), self.extend_after.unwrap_or(0.0));
            Edit::Extend { source, before, after }
        } else {
            bail!(
                "Say what to do with the sound: --vary, --repaint, --extend-before, --extend-after or --loop."
            )
        }))
    }
}

/// The sound in a WAV file, and what it is called if the file says so.
fn read(path: &Path) -> Result<(Source, String)> {
    let sound = wav::read(path)?;
    let audio = resample(&sound.audio, sound.sample_rate, SAMPLE_RATE)
        .with_context(|| format!("{} cannot be used", path.display()))?;
    let title = sound.provenance.map_or_else(String::new, |provenance| provenance.title().to_owned());
    Ok((Source::Audio(audio.into()), title))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rectangles_are_typed_with_or_without_units() {
        let want = Rectangle(Region { start: 0.5, end: 1.2, low: 200.0, high: 4_000.0 });
        for text in ["0.5-1.2s:200-4000Hz", "0.5-1.2:200-4000", " 0.5 - 1.2 s : 200 - 4000 Hz"] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        for text in ["", "1-2", "1-2s:", "a-2:3-4", "1:2-3", "0.5-1.2s:200-4000kHz"] {
            assert!(text.parse::<Rectangle>().is_err(), "{text}");
        }
    }

    #[test]
    fn edits_that_lack_or_contradict_something_are_refused() {
        let refused = |args: EditArgs, part: &str| {
            let error = args.edit().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(EditArgs { vary: Some(0.5), ..EditArgs::default() }, "--from");
        refused(EditArgs { extend_after: Some(0.5), looped: true, ..EditArgs::default() }, "One edit");
        let missing = Some(PathBuf::from("no such file.wav"));
        refused(EditArgs { from: missing, ..EditArgs::default() }, "no such file.wav");
        assert_eq!(EditArgs::default().edit().unwrap(), None);
        let looped = EditArgs { looped: true, ..EditArgs::default() };
        assert_eq!(looped.edit().unwrap(), Some(Edit::Loop { source: None }));
    }
}
