//! A clip with everything that is derived from it, computed once, off the audio thread.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use parking_lot::Mutex;
use soundlocd_engine::{
    SAMPLE_RATE,
    clip::{self, Clip, EditNote, wav::Export},
    service::Preview,
};

use crate::sampler::Source;

/// Longest text of a clip in a saved project: far more than ten seconds of noise need.
const MAX_ENCODED: usize = 16 << 20;
/// Columns of an [`Overview`].
const OVERVIEW_COLUMNS: usize = 2048;

/// One result of the engine, or a clip from a saved project, ready to be shown and played.
#[derive(Debug)]
pub struct Take {
    /// Number within the plugin instance, from 1; the same as its [`Source::id`].
    pub id: u64,
    /// The sound and where it comes from.
    pub clip: Arc<Clip>,
    /// The sound as the sampler wants it.
    pub source: Arc<Source>,
    /// The waveform in few columns.
    pub overview: Overview,
    /// The spectrogram; filled in by the session's thread some time after the clip is playable.
    pub picture: OnceLock<Arc<Preview>>,
    /// The MIDI key that it sounds like, with the fraction of a semitone; filled in with the picture.
    pub pitch: OnceLock<Option<f32>>,
    /// The WAV file that it was kept in, once it has been.
    pub file: KeptFile,
    /// The files that were written to be dragged out of the window, and what they say.
    pub exported: Mutex<Vec<(Export, PathBuf)>>,
    /// The clip as text for the project file.
    encoded: OnceLock<String>,
}

impl Take {
    /// Prepares `clip` for playing and showing.
    #[must_use]
    pub fn new(id: u64, clip: Arc<Clip>) -> Self {
        let source = Arc::new(Source::new(&clip.audio, f64::from(SAMPLE_RATE), id));
        let overview = Overview::new(&clip.audio);
        Self {
            id,
            clip,
            source,
            overview,
            picture: OnceLock::new(),
            pitch: OnceLock::new(),
            file: KeptFile::default(),
            exported: Mutex::default(),
            encoded: OnceLock::new(),
        }
    }

    /// What it is called in the window: its prompt, or that of the sound of which a region was made anew.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.clip.provenance.title() {
            "" => "a sound",
            title => title,
        }
    }

    /// The name, and how it was made where that is another matter.
    #[must_use]
    pub fn tip(&self) -> String {
        let provenance = &self.clip.provenance;
        match &provenance.edit {
            Some(EditNote::Repaint { .. }) => format!("{}\nrepainted: {}", self.name(), provenance.prompt),
            _ => self.name().to_owned(),
        }
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f32 {
        self.clip.audio.len() as f32 / SAMPLE_RATE as f32
    }

    /// The clip as text for the project file: lossless, compressed. Computed at the first call.
    #[must_use]
    pub fn encoded(&self) -> &str {
        self.encoded.get_or_init(|| BASE64.encode(clip::state::encode(&self.clip)))
    }

    /// Reads what [`Self::encoded`] wrote, in this or an earlier version.
    ///
    /// # Errors
    /// A message for the user, if the text is not a whole clip.
    pub fn decode(id: u64, text: &str) -> Result<Self, String> {
        if text.len() > MAX_ENCODED {
            return Err(format!("it is too large ({} MB)", text.len() >> 20));
        }
        let bytes = BASE64.decode(text).map_err(|error| format!("it is damaged ({error})"))?;
        let clip = clip::state::decode(&bytes).map_err(|error| error.to_string())?;
        let take = Self::new(id, Arc::new(clip));
        // Saving again must give the same bytes, whatever the encoder does by then.
        let _ = take.encoded.set(text.to_owned());
        Ok(take)
    }

    /// Computes the spectrogram and finds the pitch, if that has not been done.
    pub fn illustrate(&self) {
        self.pitch.get_or_init(|| crate::pitch::detect(&self.clip.audio));
        self.picture.get_or_init(|| Arc::new(crate::picture::spectrogram(&self.clip.audio)));
    }
}

/// Where a sound is kept as a file. It may be renamed.
#[derive(Debug, Default)]
pub struct KeptFile(Mutex<Option<PathBuf>>);

impl KeptFile {
    /// The file, if there is one. Locked for moments only.
    #[must_use]
    pub fn get(&self) -> Option<PathBuf> {
        self.0.lock().clone()
    }

    /// Says where it is now.
    pub fn set(&self, path: PathBuf) {
        *self.0.lock() = Some(path);
    }
}

/// A waveform in columns of the lowest and highest sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    columns: Vec<(f32, f32)>,
}

impl Overview {
    /// Summarises `audio` in at most 2048 columns.
    #[must_use]
    pub fn new(audio: &[f32]) -> Self {
        let samples = audio.len().div_ceil(OVERVIEW_COLUMNS).max(1);
        Self { columns: audio.chunks(samples).map(extent).collect() }
    }

    /// Lowest and highest sample between the fractions `from` and `to` of the whole.
    #[must_use]
    pub fn between(&self, from: f32, to: f32) -> (f32, f32) {
        let columns = self.columns.len() as f32;
        let first = (from.clamp(0.0, 1.0) * columns) as usize;
        let last = ((to.clamp(0.0, 1.0) * columns).ceil() as usize).max(first + 1).min(self.columns.len());
        self.columns.get(first..last).map_or((0.0, 0.0), |columns| range(columns.iter().copied()))
    }
}

/// Lowest and highest of some samples, several at a time.
fn extent(samples: &[f32]) -> (f32, f32) {
    let (groups, rest) = samples.as_chunks::<8>();
    let (mut low, mut high) = ([f32::INFINITY; 8], [f32::NEG_INFINITY; 8]);
    for group in groups {
        for ((low, high), x) in low.iter_mut().zip(&mut high).zip(group) {
            *low = if *x < *low { *x } else { *low };
            *high = if *x > *high { *x } else { *high };
        }
    }
    let lanes = low.into_iter().zip(high).filter(|(low, high)| low <= high);
    range(lanes.chain(rest.iter().map(|x| (*x, *x))))
}

/// The range that covers all of `ranges`; nothing gives silence.
fn range(ranges: impl Iterator<Item = (f32, f32)>) -> (f32, f32) {
    ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((0.0, 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overview_covers_every_sample() {
        let audio: Vec<f32> = (0..10_000).map(|i| (i as f32 / 9_999.0) - 0.5).collect();
        let overview = Overview::new(&audio);
        assert_eq!(overview.between(0.0, 1.0), (-0.5, 0.5));
        let (low, high) = overview.between(0.25, 0.5);
        assert!((low + 0.25).abs() < 0.001 && high.abs() < 0.001);
        assert_eq!(overview.between(1.0, 1.0), (0.0, 0.0));
        assert_eq!(overview.between(f32::NAN, f32::NAN), overview.between(0.0, 0.0));
        assert_eq!(Overview::new(&[]).between(0.0, 1.0), (0.0, 0.0));
    }
}
