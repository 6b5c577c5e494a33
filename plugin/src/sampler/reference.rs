//! The sampler once more, from its definitions: whole signals, double precision, no thought of speed. What the
//! real one plays must be the same, over random pads, settings and scores.
//!
//! Nothing is shared with the real one but the settings' types, so that a mistake would have to be made twice.

use std::f64::consts::{PI, TAU};

use super::{FilterMode, PadSettings, PlayMode};

#[path = "reference_stages.rs"]
mod stages;

/// Something that happens at a sample.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    On {
        channel: u8,
        key: u8,
        velocity: f32,
    },
    Off {
        channel: u8,
        key: u8,
    },
    Pedal {
        channel: u8,
        down: bool,
    },
    Bend {
        channel: u8,
        to: f32,
    },
    Wheel {
        channel: u8,
        to: f32,
    },
    Choke {
        key: u8,
    },
    Trigger {
        pad: usize,
        velocity: f32,
    },
    /// New settings, of which only what sounding notes follow differs from the old ones.
    Settings {
        pad: usize,
        settings: PadSettings,
    },
}

/// A whole performance.
pub struct Scene {
    pub rate: f64,
    pub clip_rate: f64,
    pub samples: usize,
    /// Clip and first settings of every pad.
    pub pads: Vec<(Vec<f64>, PadSettings)>,
    /// In order of time.
    pub score: Vec<(usize, Event)>,
    /// Semitones and cents; see [`super::Master`].
    pub bend_range: f64,
    pub vibrato: f64,
}

/// A note on one pad.
struct Note {
    pad: usize,
    channel: u8,
    key: i32,
    velocity: f64,
    begin: usize,
    settings: PadSettings,
    is_trigger: bool,
    release: Option<usize>,
    kill: Option<usize>,
    is_held: bool,
}

impl Scene {
    /// Left and right.
    pub fn play(&self) -> [Vec<f64>; 2] {
        let mut output = [vec![0.0; self.samples], vec![0.0; self.samples]];
        for note in self.notes() {
            for (n, values) in self.play_note(&note) {
                for (output, value) in output.iter_mut().zip(values) {
                    output[n] += value;
                }
            }
        }
        output
    }

    /// When notes begin, are let go and cut off.
    fn notes(&self) -> Vec<Note> {
        let mut notes: Vec<Note> = Vec::new();
        let mut settings: Vec<PadSettings> = self.pads.iter().map(|pad| pad.1).collect();
        let mut pedals = [false; 16];
        let begin = |notes: &mut Vec<Note>,
                     pads: Vec<usize>,
                     at,
                     channel,
                     key: Option<u8>,
                     velocity: f32,
                     settings: &[PadSettings]| {
            let groups: Vec<u8> =
                pads.iter().map(|pad| settings[*pad].choke_group).filter(|g| *g > 0).collect();
            for note in notes.iter_mut().filter(|note| groups.contains(&note.settings.choke_group)) {
                note.kill.get_or_insert(at);
            }
            for pad in pads {
                let settings = settings[pad];
                notes.push(Note {
                    pad,
                    channel,
                    key: key.map_or(settings.root_key, i32::from),
                    velocity: f64::from(velocity),
                    begin: at,
                    settings,
                    is_trigger: key.is_none(),
                    release: None,
                    kill: None,
                    is_held: false,
                });
            }
        };
        for (at, event) in self.score.iter().copied() {
            match event {
                Event::On { channel, key, velocity } => {
                    let has = |s: &PadSettings| s.keys[0] <= i32::from(key) && i32::from(key) <= s.keys[1];
                    let pads = (0..settings.len()).filter(|pad| has(&settings[*pad])).collect();
                    begin(&mut notes, pads, at, channel, Some(key), velocity, &settings);
                }
                Event::Trigger { pad, velocity } => {
                    begin(&mut notes, vec![pad], at, 0, None, velocity, &settings);
                }
                Event::Off { channel, key } => {
                    for note in &mut notes {
                        let is_it = !note.is_trigger && note.channel == channel && note.key == i32::from(key);
                        if is_it && note.settings.mode != PlayMode::OneShot {
                            if pedals[usize::from(channel)] {
                                note.is_held = true;
                            } else {
                                note.release.get_or_insert(at);
                            }
                        }
                    }
                }
                Event::Pedal { channel, down } => {
                    pedals[usize::from(channel)] = down;
                    for note in
                        notes.iter_mut().filter(|note| note.is_held && note.channel == channel && !down)
                    {
                        note.release.get_or_insert(at);
                    }
                }
                Event::Choke { key } => {
                    for note in notes.iter_mut().filter(|note| note.key == i32::from(key)) {
                        note.kill.get_or_insert(at);
                    }
                }
                Event::Settings { pad, settings: new } => settings[pad] = new,
                Event::Bend { .. } | Event::Wheel { .. } => {}
            }
        }
        notes
    }

    /// Bend, wheel and settings that a note follows at a sample.
    fn state(&self, note: &Note, n: usize) -> (f64, f64, PadSettings) {
        let (mut bend, mut wheel, mut settings) = (0.0, 0.0, self.pads[note.pad].1);
        for (_, event) in self.score.iter().take_while(|(at, _)| *at <= n) {
            match event {
                Event::Bend { channel, to } if *channel == note.channel => bend = f64::from(*to),
                Event::Wheel { channel, to } if *channel == note.channel => wheel = f64::from(*to),
                Event::Settings { pad, settings: new } if *pad == note.pad => settings = *new,
                _ => {}
            }
        }
        (bend, wheel, settings)
    }

    /// What one note adds to left and right, as (sample, values).
    fn play_note(&self, note: &Note) -> Vec<(usize, [f64; 2])> {
        let clip = Octaves::new(&self.pads[note.pad].0);
        let fixed = &note.settings;
        let len = self.pads[note.pad].0.len() as f64;
        let [begin, end] = fixed.range.map(|share| f64::from(share) * len);
        let (origin, direction) = if fixed.reverse { (end, -1.0) } else { (begin, 1.0) };
        let inside = |position: f64| position > 0.0 && position < len;
        let fade =
            |seconds: f32, at| f64::from(seconds).max(if inside(at) { 0.002 } else { 0.0 }) * self.rate;
        let fade_in = fade(fixed.fade_in, origin);
        let fade_out = fade(fixed.fade_out, if fixed.reverse { begin } else { end });
        let repeat = (fixed.mode == PlayMode::Loop).then(|| {
            let [first, last] = fixed.loop_range.map(|share| (f64::from(share) * len).clamp(begin, end));
            let loop_end = if fixed.reverse { end - first } else { last - begin };
            (loop_end, last - first)
        });
        let correlation = repeat.map_or(1.0, |(loop_end, length)| {
            let heard = (f64::from(fixed.crossfade) * self.clip_rate).max(0.002 * self.clip_rate).min(length);
            let stride = (heard as usize).div_ceil(1_024);
            let at = |travel: f64, i: usize| {
                let index = (origin + direction * travel).round() + direction * i as f64;
                if index >= 0.0 && index < len { self.pads[note.pad].0[index as usize] } else { 0.0 }
            };
            let pairs: Vec<(f64, f64)> = (0..heard as usize)
                .step_by(stride)
                .map(|i| (at(loop_end - heard, i), at(loop_end - heard - length, i)))
                .collect();
            let sum = |f: fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>();
            let power = (sum(|p| p.0 * p.0) * sum(|p| p.1 * p.1)).sqrt();
            if power > 0.0 { (sum(|p| p.0 * p.1) / power).clamp(0.0, 1.0) } else { 1.0 }
        });

        let (mut travel, mut fading) = (0.0, None);
        let mut kill = note.kill;
        let mut ringing = false;
        let (mut s1, mut s2) = (0.0, 0.0);
        let (mut air, mut air_is_on) = (stages::Air::default(), false);
        let mut width = stages::Width::default();
        let mut ramps = [Line::default(); 4];
        let mut result = Vec::new();
        for n in note.begin..self.samples {
            let age = n - note.begin;
            let (bend, wheel, now) = self.state(note, n);

            // Pitch.
            let phase = TAU * 5.5 * (age / 16 * 16) as f64 / self.rate;
            let steady = f64::from(note.key - now.root_key) * f64::from(now.key_tracking)
                + f64::from(now.tune)
                + bend * self.bend_range;
            let speed = |semitones: f64| {
                ((semitones / 12.0).exp2() * self.clip_rate / self.rate).clamp(1.0 / 256.0, 64.0)
            };
            let ratio = speed(steady + wheel * self.vibrato / 100.0 * phase.sin());

            // Place in the clip.
            let mut x = 0.0;
            if let Some((loop_end, length)) = repeat {
                let fade = (f64::from(fixed.crossfade) * self.clip_rate)
                    .min(length)
                    .max(0.002 * self.rate * ratio)
                    .min(length);
                if fading.is_none() && loop_end - travel <= fade {
                    fading = Some(fade);
                }
                let here = clip.read(origin + direction * travel, ratio);
                x = match fading {
                    Some(fade) => {
                        let w = 1.0 - (loop_end - travel) / fade;
                        let there = clip.read(origin + direction * (travel - length), ratio);
                        let power = (1.0 - w).powi(2) + w * w + 2.0 * correlation * w * (1.0 - w);
                        ((1.0 - w) * here + w * there) / power.sqrt()
                    }
                    None => here,
                };
                travel += ratio;
                while travel >= loop_end {
                    travel -= length;
                    fading = None;
                }
            } else if end - begin - travel > 0.0 {
                let rest = end - begin - travel;
                if fading.is_none() && rest <= fade_out * ratio {
                    fading = Some(fade_out * ratio);
                }
                x = clip.read(origin + direction * travel, ratio) * fading.map_or(1.0, |fade| rest / fade);
                travel += ratio;
            } else if !ringing {
                if fixed.filter == FilterMode::Off && fixed.width == 0.0 && !air_is_on {
                    return result;
                }
                ringing = true;
                kill = Some(kill.unwrap_or(n).min(n));
            }

            let air_now;
            (air_now, air_is_on) = air.take(n, x, f64::from(now.air), speed(steady), self.rate);
            x += air_now;

            // Filter: trapezoidal integrators, the loop solved.
            let g = (PI * f64::from(now.cutoff).min(0.49 * self.rate) / self.rate).tan();
            let k = 1.0 / (0.5f64.sqrt() * (20.0 * 2f64.sqrt()).powf(f64::from(now.resonance)));
            let g = ramps[0].at(n, g.ln(), 0.01 * self.rate).exp();
            let k = ramps[1].at(n, k, 0.01 * self.rate);
            let band = (s1 + g * (x - s2)) / (1.0 + g * (g + k));
            let low = s2 + g * band;
            s1 = 2.0 * band - s1;
            s2 = 2.0 * low - s2;
            let filtered = match fixed.filter {
                FilterMode::Off => x,
                FilterMode::LowPass => low,
                FilterMode::HighPass => x - k * band - low,
            };

            let side = width.take(n, filtered, f64::from(now.width), self.rate);

            // Level.
            let Some(envelope) = self.envelope(note, kill, n) else { return result };
            let onset = if fade_in > 0.0 { (age as f64 / fade_in).min(1.0) } else { 1.0 };
            let power = 2f64.powf(1.0 + 2.0 * f64::from(fixed.velocity_curve));
            let velocity = 1.0 - f64::from(fixed.velocity_amount) * (1.0 - note.velocity.powf(power));
            let gain = velocity * 10f64.powf(f64::from(now.level) / 20.0);
            let sides = [(2, -1.0), (3, 1.0)].map(|(ramp, sign)| {
                let gain = gain * (1.0 + sign * f64::from(now.pan)).min(1.0);
                (filtered - sign * side) * envelope * onset * ramps[ramp].at(n, gain, 0.005 * self.rate)
            });
            result.push((n, sides));
        }
        result
    }

    /// Level of the envelope in closed form; nothing once it is over.
    fn envelope(&self, note: &Note, kill: Option<usize>, n: usize) -> Option<f64> {
        let times = note.settings.envelope;
        let sustain = f64::from(times.sustain);
        let factor = |seconds: f32, samples: usize| {
            (-(1_000f64.ln()) * samples as f64 / (f64::from(seconds).max(0.02) * self.rate)).exp()
        };
        let held = |n: usize| {
            let (age, attack) = ((n - note.begin) as f64, f64::from(times.attack) * self.rate);
            if attack > 1.0 && age < attack {
                age / attack
            } else {
                let peak = if attack > 1.0 { attack.ceil() as usize } else { 0 };
                sustain + (1.0 - sustain) * factor(times.decay, n - note.begin - peak)
            }
        };
        let free = |n: usize| match note.release {
            Some(release) if n >= release => held(release) * factor(times.release, n - release),
            _ => held(n),
        };
        let level = match kill {
            Some(kill) if n >= kill => free(kill) * (1.0 - (n - kill) as f64 / (0.005 * self.rate)),
            _ => free(n),
        };
        (level > 1e-6).then_some(level).or((n == note.begin).then_some(0.0))
    }
}

/// Moves in straight lines, each from where the last one has come to.
#[derive(Clone, Copy, Default)]
struct Line {
    began: Option<usize>,
    from: f64,
    to: f64,
}

impl Line {
    fn at(&mut self, n: usize, target: f64, samples: f64) -> f64 {
        let samples = samples.floor();
        let value = |line: &Self| match line.began {
            Some(began) => line.from + (line.to - line.from) * ((n - began) as f64 / samples).min(1.0),
            None => target,
        };
        if self.began.is_none() || target != self.to {
            *self = Self { from: value(self), to: target, began: Some(n) };
        }
        value(self)
    }
}

/// A clip and its octave copies.
struct Octaves(Vec<Vec<f64>>);

impl Octaves {
    fn new(clip: &[f64]) -> Self {
        let mut levels = vec![clip.to_vec()];
        while levels.len() < 7 && levels[levels.len() - 1].len() >= 32 {
            let finer = &levels[levels.len() - 1];
            let taps: Vec<f64> =
                (-32..=32).map(|i| sinc(0.46 * f64::from(i)) * kaiser(f64::from(i) / 33.0)).collect();
            let sum: f64 = taps.iter().sum();
            let coarser = (0..finer.len().div_ceil(2))
                .map(|j| {
                    let at = |i: usize| {
                        (2 * j + i).checked_sub(32).and_then(|i| finer.get(i)).copied().unwrap_or(0.0)
                    };
                    taps.iter().enumerate().map(|(i, tap)| tap / sum * at(i)).sum()
                })
                .collect();
            levels.push(coarser);
        }
        Self(levels)
    }

    /// The clip at a position, played at a ratio: a windowed sinc, cut off where the ratio demands.
    fn read(&self, position: f64, ratio: f64) -> f64 {
        let level = if ratio < 2.0 { 0 } else { (ratio.log2().floor() as usize).min(self.0.len() - 1) };
        let scale = (1u64 << level) as f64;
        let (position, ratio) = (position / scale, ratio / scale);
        let steps = if ratio <= 1.0 { 0.0 } else { (6.0 * ratio.log2() - 1e-9).ceil().min(6.0) };
        let cutoff = 0.94 / (steps / 6.0).exp2();
        let whole = position.floor();
        let (mut value, mut sum) = (0.0, 0.0);
        for i in -23..=24 {
            let distance = f64::from(i) - (position - whole);
            let weight = sinc(cutoff * distance) * kaiser(distance / 24.0);
            let index = whole + f64::from(i);
            if index >= 0.0 && index < self.0[level].len() as f64 {
                value += weight * self.0[level][index as usize];
            }
            sum += weight;
        }
        value / sum
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// The Kaiser window with β = 8.
fn kaiser(x: f64) -> f64 {
    let bessel = |y: f64| {
        let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
        while term > 1e-14 * sum {
            term *= (y / 2.0 / k).powi(2);
            sum += term;
            k += 1.0;
        }
        sum
    };
    if x.abs() > 1.0 { 0.0 } else { bessel(8.0 * (1.0 - x * x).sqrt()) / bessel(8.0) }
}

#[path = "reference_tests.rs"]
mod tests;
