//! The sounds of the session as projects keep them: those of the pads and of the tray.
//!
//! ```text
//! { "clips": [text, …], "pads": [index or null, … 16], "tray": [index, …], "selected": pad }
//! ```
//!
//! Every clip is there once (see [`Take::encoded`]). A clip that cannot be read is kept as it is and
//! written back; the others are used.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Message, Session, arrangement::Arrangement, worker::Command};
use crate::{sampler::PADS, take::Take};

/// Newest sounds of the tray, not counting those on pads, that projects keep. All others are in the library.
const MOST_SAVED: usize = 16;
/// Most clips read from a project.
const MOST_READ: usize = 64;
/// Most clips that cannot be read and are kept all the same.
const MOST_UNREAD: usize = 16;

/// What a kit says, before its clips are decoded.
#[derive(Debug, Default, PartialEq)]
struct Layout<'a> {
    clips: &'a [Value],
    pads: [Option<usize>; PADS],
    tray: Vec<usize>,
    selected: usize,
}

impl<'a> Layout<'a> {
    /// Reads what is there; nothing if it is no kit at all.
    fn of(kit: &'a Value) -> Option<Self> {
        let fields = kit.as_object()?;
        fields.get("clips").filter(|clips| clips.is_array())?;
        let list = |name: &str| fields.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let index = |value: &Value| value.as_u64().and_then(|index| usize::try_from(index).ok());
        let clips = list("clips");
        let clips = clips.get(..MOST_READ).unwrap_or(clips);
        let mut pads = [None; PADS];
        pads.iter_mut().zip(list("pads")).for_each(|(pad, value)| *pad = index(value));
        let selected = fields.get("selected").and_then(index).filter(|pad| *pad < PADS).unwrap_or(0);
        Some(Self { clips, pads, tray: list("tray").iter().filter_map(index).collect(), selected })
    }
}

/// The kit of a project from when there was one clip.
#[must_use]
pub fn of_one_clip(clip: Value) -> Value {
    if clip.is_null() {
        return Value::Null;
    }
    json!({ "clips": [clip], "pads": [0], "tray": [0], "selected": 0 })
}

impl Session {
    /// The sounds for the project file: always the newest ones, even if they arrived a moment ago.
    #[must_use]
    pub fn kit_value(&self) -> Value {
        let (arrangement, selected, unread) =
            self.with(|model| (model.arrangement.clone(), model.selected, model.unread.clone()));
        let loose = arrangement.takes.iter().filter(|take| !arrangement.is_on_pad(take.id)).count();
        let mut skipped = loose.saturating_sub(MOST_SAVED);
        let tray: Vec<&Arc<Take>> = arrangement
            .takes
            .iter()
            .filter(|take| {
                let is_skipped = skipped > 0 && !arrangement.is_on_pad(take.id);
                skipped -= usize::from(is_skipped);
                !is_skipped
            })
            .collect();
        let mut saved = tray.clone();
        for take in arrangement.pads.iter().flatten() {
            if saved.iter().all(|other| other.id != take.id) {
                saved.push(take);
            }
        }
        if saved.is_empty() && unread.is_empty() && selected == 0 {
            return Value::Null;
        }
        let index = |id: u64| saved.iter().position(|take| take.id == id);
        let pads = arrangement.pads.each_ref().map(|pad| pad.as_ref().and_then(|take| index(take.id)));
        // Outside of the lock: this may encode.
        let clips = saved.iter().map(|take| Value::String(take.encoded().to_owned())).chain(unread);
        json!({
            "clips": clips.collect::<Vec<_>>(),
            "pads": pads,
            "tray": (0..tray.len()).collect::<Vec<_>>(),
            "selected": selected,
        })
    }

    /// Takes over the sounds of a project: decoded here and now (some milliseconds, on the host's
    /// thread for loading projects), so that the first block played after loading has them.
    pub fn restore_kit(&self, value: &Value) {
        self.cancel();
        let layout = Layout::of(value);
        let is_damaged = layout.is_none() && !value.is_null();
        let layout = layout.unwrap_or_default();
        let read = self.decode(layout.clips);
        let (mut arrangement, mut unread, mut problem) = (Arrangement::default(), Vec::new(), None);
        if is_damaged {
            unread.push(value.clone());
            problem = Some("they are not a list of sounds".to_owned());
        }
        let mut takes = Vec::with_capacity(read.len());
        for (result, value) in read.into_iter().zip(layout.clips) {
            takes.push(match result {
                Ok(take) => Some(take),
                Err(reason) => {
                    problem.get_or_insert(reason);
                    unread.push(value.clone());
                    None
                }
            });
        }
        unread.truncate(MOST_UNREAD);
        let take = |index: usize| takes.get(index).cloned().flatten();
        layout.tray.into_iter().filter_map(take).for_each(|take| arrangement.add(&take));
        for (pad, index) in layout.pads.into_iter().enumerate() {
            arrangement.place(pad, index.and_then(take));
        }
        let lost = unread.len();
        self.with(|model| {
            // Whatever is still being made belongs to what was open before.
            model.job = None;
            model.queue.clear();
            model.history.clear();
            model.arrangement = arrangement.clone();
            model.selected = layout.selected;
            model.unread = unread;
            model.message =
                problem.map(|problem| Message { text: unreadable(lost, &problem), is_error: true });
        });
        self.shared.offer_pads(&arrangement);
        for take in takes.into_iter().flatten() {
            self.send(Command::Illustrate(take));
        }
        self.shared.repaint.request();
    }

    /// Reads clips, on all cores: sixteen long ones take a while.
    fn decode(&self, clips: &[Value]) -> Vec<Result<Arc<Take>, String>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = clips.len().div_ceil(threads).max(1);
        let decode = |value: &Value| match value {
            Value::String(text) => Take::decode(self.shared.next_take(), text).map(Arc::new),
            _ => Err("it is not a clip".to_owned()),
        };
        std::thread::scope(|scope| {
            let parts: Vec<_> = clips
                .chunks(share)
                .map(|part| (part, scope.spawn(move || part.iter().map(decode).collect::<Vec<_>>())))
                .collect();
            let join = |(part, thread): (&[Value], std::thread::ScopedJoinHandle<Vec<_>>)| {
                thread
                    .join()
                    .unwrap_or_else(|_| part.iter().map(|_| Err("it is damaged".to_owned())).collect())
            };
            parts.into_iter().flat_map(join).collect()
        })
    }
}

/// What to say of sounds that could not be read.
fn unreadable(count: usize, problem: &str) -> String {
    let what = if count == 1 { "A sound".to_owned() } else { format!("{count} sounds") };
    format!(
        "{what} saved in this project could not be read: {problem}. Nothing is thrown away: it stays in the project."
    )
}
