//! The way of a note through its clip: range, direction, loop, and the fades at their ends.
//!
//! A note travels from 0 at the beginning of its range; travel counts clip samples, whichever way the
//! note plays. Where the range ends inside the clip the sound is cut by a fade, of at least
//! [`SHORTEST_FADE`]; the clip's own ends are left as they are. At the end of a loop the sound goes over
//! into what comes before the loop's beginning (silence, before the clip's beginning), so that
//! jumping there continues what is heard already; see [`super::crossfade`] for the weights.
//!
//! The loop of a sounding note may be moved: at once where the note has not come to the new loop's
//! end yet, else by going over from the old loop's end to the new one's beginning.

use super::{
    PadSettings, Source,
    crossfade::{correlation, weights},
    interpolation::{KernelBank, RUN},
    pad::PlayMode,
};

/// Shortest fade at an end inside the clip, and shortest crossfade of a loop, in seconds of playing.
pub const SHORTEST_FADE: f64 = 0.002;
/// Shortest loop in clip samples.
const SHORTEST_LOOP: f64 = 16.0;

/// What repeats, in travel.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Loop {
    end: f64,
    length: f64,
    /// Length of the crossfade before the end.
    crossfade: f64,
    /// See [`correlation`].
    correlation: f32,
}

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Clip sample at which the travel begins, and its direction there, 1 or -1.
    origin: f64,
    direction: f64,
    /// Travel at which the range ends.
    length: f64,
    repeat: Option<Loop>,
    /// The loop that is to take its place.
    next: Option<Loop>,
    /// The crossfade that is going on leads to the next loop's beginning.
    goes_over: bool,
    /// Fades in samples of the output; 0 is none.
    fade_in: f64,
    fade_out: f64,
    /// Shortest fade in samples of the output.
    shortest: f64,
    /// How far the note has come.
    travel: f64,
    /// Length in travel of the fade that is going on at the end of range or loop; 0 before it begins. Kept
    /// when the speed changes, so that the level does not jump.
    fade: f64,
}

/// Reads a clip between its samples, at a speed.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// See [`KernelBank`].
    pub kernels: &'a KernelBank,
    /// [`Source::level`] for the speed.
    pub samples: &'a [f32],
    /// Samples of that level per sample of the clip.
    pub scale: f64,
    /// [`KernelBank::index_for`] of the speed on that level.
    pub kernel: usize,
}

impl Reader<'_> {
    fn read(&self, positions: &[f64], output: &mut [f32]) {
        self.kernels.read(self.kernel, self.samples, self.scale, positions, output);
    }
}

/// Positions in the clip, and shares of a fade, for samples in a row.
struct Run {
    positions: [f64; RUN],
    shares: [f32; RUN],
}

impl Path {
    /// A way that is over.
    pub const EMPTY: Self = Self {
        origin: 0.0,
        direction: 1.0,
        length: 0.0,
        repeat: None,
        next: None,
        goes_over: false,
        fade_in: 0.0,
        fade_out: 0.0,
        shortest: 0.0,
        travel: 0.0,
        fade: 0.0,
    };

    /// The way that `settings` (in range and order) choose through `source`, for an output of
    /// `sample_rate` Hz. Nothing if the range is shorter than a sample.
    #[must_use]
    pub fn new(settings: &PadSettings, source: &Source, sample_rate: f32) -> Option<Self> {
        let samples = source.len() as f64;
        let [begin, end] = settings.range.map(|share| f64::from(share) * samples);
        let length = end - begin;
        if length < 1.0 {
            return None;
        }
        let (origin, direction) = if settings.reverse { (end, -1.0) } else { (begin, 1.0) };
        let rate = f64::from(sample_rate);
        // The clip's own ends are left as they are.
        let is_own = |position: f64| position <= 0.0 || position >= samples;
        let fade = |seconds: f32, at: f64| {
            let shortest = if is_own(at) { 0.0 } else { SHORTEST_FADE };
            f64::from(seconds).max(shortest) * rate
        };
        let mut path = Self {
            origin,
            direction,
            length,
            repeat: None,
            next: None,
            goes_over: false,
            fade_in: fade(settings.fade_in, origin),
            fade_out: fade(settings.fade_out, origin + direction * length),
            shortest: SHORTEST_FADE * rate,
            travel: 0.0,
            fade: 0.0,
        };
        if settings.mode == PlayMode::Loop {
            let [first, last] = settings.loop_range.map(|share| f64::from(share) * samples);
            // Within the range and not too short, as far as there is room.
            let last = last.clamp(begin, end).max(first + SHORTEST_LOOP).min(end);
            let first = first.clamp(begin, end).min(last - SHORTEST_LOOP).max(begin);
            if last - first >= SHORTEST_LOOP {
                path.repeat = Some(path.loop_between(first, last, settings.crossfade, source));
            }
        }
        Some(path)
    }

    /// The loop between two positions in the clip.
    fn loop_between(&self, first: f64, last: f64, crossfade: f32, source: &Source) -> Loop {
        let length = last - first;
        let crossfade = (f64::from(crossfade) * source.sample_rate()).min(length);
        let end = if self.direction > 0.0 { last - self.origin } else { self.origin - first };
        // Alike over the crossfade that is heard at the clip's own speed.
        let heard = crossfade.max(SHORTEST_FADE * source.sample_rate()).min(length);
        let correlation = correlation(
            source,
            self.position(end - heard),
            self.position(end - heard - length),
            heard,
            self.direction as i64,
        );
        Loop { end, length, crossfade, correlation }
    }

    /// Clip sample at a travel.
    #[inline]
    fn position(&self, travel: f64) -> f64 {
        self.origin + self.direction * travel
    }

    /// Clip sample where the note is.
    #[must_use]
    pub fn clip_position(&self) -> f64 {
        self.position(self.travel)
    }

    /// Takes over the loop of `other`, a way through the same clip, when that is possible without a jump.
    /// A way without a loop gets none.
    pub fn follow_loop(&mut self, other: &Self, ratio: f64) {
        if let (Some(repeat), Some(next)) = (self.repeat, other.repeat)
            && self.direction == other.direction
        {
            let next = Loop { end: next.end + self.direction * (other.origin - self.origin), ..next };
            let next = (next != repeat).then_some(next);
            if next != self.next {
                self.next = next;
                self.goes_over = false;
                self.adopt_next(ratio);
            }
        }
    }

    /// Changes over to the next loop if the note just came to its beginning, or if neither its end
    /// nor the present one's is near.
    fn adopt_next(&mut self, ratio: f64) {
        if let Some(next) = self.next
            && self.fade == 0.0
            && (self.goes_over || self.travel < next.end - next.heard_crossfade(self.shortest * ratio))
        {
            self.repeat = Some(next);
            self.next = None;
            self.goes_over = false;
        }
    }

    /// Length of the fade at the beginning, in samples of the output.
    #[must_use]
    pub fn fade_in(&self) -> f64 {
        self.fade_in
    }

    /// Writes the next samples to `output`, moving by `ratio` clip samples for each. Answers how many there were
    /// before the end of the range.
    pub fn read(&mut self, reader: &Reader<'_>, ratio: f64, output: &mut [f32]) -> usize {
        // A copy, so that the compiler keeps its parts in registers.
        let mut path = *self;
        let mut done = 0;
        while let Some(output) = output.get_mut(done..).filter(|output| !output.is_empty()) {
            let wanted = output.len().min(RUN);
            let read = match path.repeat {
                Some(repeat) => path.read_loop(reader, repeat, ratio, output),
                None => path.read_once(reader, ratio, output),
            };
            done += read;
            if path.repeat.is_none() && read < wanted {
                break;
            }
        }
        *self = path;
        done
    }

    /// Reads up to [`RUN`] samples on a way without a loop. Answers how many; fewer if the range ends.
    fn read_once(&mut self, reader: &Reader<'_>, ratio: f64, output: &mut [f32]) -> usize {
        let mut run = Run { positions: [0.0; RUN], shares: [1.0; RUN] };
        let fade_out = self.fade_out * ratio;
        let mut len = 0;
        for ((position, share), _) in run.positions.iter_mut().zip(&mut run.shares).zip(&*output) {
            let rest = self.length - self.travel;
            if rest <= 0.0 {
                break;
            }
            if self.fade == 0.0 && rest <= fade_out {
                self.fade = fade_out;
            }
            if self.fade > 0.0 {
                *share = (rest / self.fade) as f32;
            }
            *position = self.position(self.travel);
            self.travel += ratio;
            len += 1;
        }
        let (positions, output) = (run.positions.split_at(len).0, output.split_at_mut(len).0);
        reader.read(positions, output);
        if self.fade > 0.0 {
            output.iter_mut().zip(&run.shares).for_each(|(sample, share)| *sample *= share);
        }
        len
    }

    /// Reads up to [`RUN`] samples on a way with a loop, up to where that begins again. Answers how many.
    fn read_loop(&mut self, reader: &Reader<'_>, mut repeat: Loop, ratio: f64, output: &mut [f32]) -> usize {
        let mut run = Run { positions: [0.0; RUN], shares: [0.0; RUN] };
        let mut incoming = [0f64; RUN];
        let crossfade = repeat.heard_crossfade(self.shortest * ratio);
        let (mut len, mut before_fade) = (0, 0);
        let places = run.positions.iter_mut().zip(&mut run.shares).zip(&mut incoming).zip(&*output);
        for (((position, share), incoming), _) in places {
            let rest = repeat.end - self.travel;
            if self.fade == 0.0 && rest <= crossfade {
                self.fade = crossfade;
                if let Some(next) = self.next
                    && next.begin() < repeat.end
                {
                    // This time, what comes in is what lies before the next loop.
                    repeat.length = repeat.end - next.begin();
                    self.repeat = Some(repeat);
                    self.goes_over = true;
                }
            }
            *position = self.position(self.travel);
            if self.fade > 0.0 {
                *incoming = self.position(self.travel - repeat.length);
                *share = ((1.0 - rest / self.fade) as f32).clamp(0.0, 1.0);
            } else {
                before_fade += 1;
            }
            self.travel += ratio;
            len += 1;
            if self.travel >= repeat.end {
                break;
            }
        }
        let output = output.split_at_mut(len).0;
        reader.read(run.positions.split_at(len).0, output);
        let fading = output.split_at_mut(before_fade).1;
        if !fading.is_empty() {
            let mut sound = [0f32; RUN];
            let sound = sound.split_at_mut(fading.len()).0;
            reader.read(incoming.split_at(len).0.split_at(before_fade).1, sound);
            for ((sample, incoming), share) in
                fading.iter_mut().zip(sound).zip(run.shares.split_at(before_fade).1)
            {
                let [a, b] = weights(*share, repeat.correlation);
                *sample = a * *sample + b * *incoming;
            }
        }
        if self.travel >= repeat.end {
            self.travel = repeat.begin() + (self.travel - repeat.begin()).rem_euclid(repeat.length);
            self.fade = 0.0;
            self.adopt_next(ratio);
        }
        len
    }
}

impl Loop {
    fn begin(&self) -> f64 {
        self.end - self.length
    }

    /// Length of the crossfade in travel, if none may be shorter than `shortest` unless the loop is.
    fn heard_crossfade(&self, shortest: f64) -> f64 {
        self.crossfade.max(shortest).min(self.length)
    }
}
