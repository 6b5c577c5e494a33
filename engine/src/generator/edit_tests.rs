//! Edits with the default pack.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::clip::{Analysis, Placement, Region, from_db, state, to_db};
use crate::codec::mel::MelFrontEnd;
use crate::service::{SamplerKind, Settings};
use crate::{HOP, MEL_BANDS, SAMPLE_RATE};

const COLUMN: usize = 16 * HOP;

fn generator() -> PackGenerator {
    PackGenerator::load(&Pack::embedded().unwrap(), &Device::Cpu).unwrap().without_previews()
}

fn request(prompt: &str, seconds: f32, seed: u64) -> Request {
    let settings = Settings { seconds, steps: 4, ..Settings::default() };
    Request { settings, ..Request::new(prompt, seed) }
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn make(generator: &mut PackGenerator, request: Request) -> Clip {
    generator.generate(&request.validate().unwrap(), 0, &mut go_on).unwrap()
}

fn edited(generator: &mut PackGenerator, request: &Request, edit: Edit) -> Clip {
    make(generator, Request { edit: Some(edit), ..request.clone() })
}

fn grid(clip: &Clip) -> &TokenGrid {
    clip.grid.as_deref().unwrap()
}

/// Which share of the tokens of two grids of one size differs.
fn changed(a: &TokenGrid, b: &TokenGrid) -> f32 {
    assert_eq!(a.tokens().len(), b.tokens().len());
    let different = a.tokens().iter().zip(b.tokens()).filter(|(a, b)| a != b).count();
    different as f32 / a.tokens().len() as f32
}

const SAMPLERS: [SamplerKind; 2] = [SamplerKind::Purity, SamplerKind::Ancestral];

fn with_sampler(mut request: Request, sampler: SamplerKind) -> Request {
    request.settings.sampler = sampler;
    request
}

#[test]
fn clips_carry_the_tokens_that_make_them() {
    let mut generator = generator();
    let request = request("a metal bell", 1.0, 3);
    let clip = make(&mut generator, request.clone());
    let grid = grid(&clip);
    assert_eq!((grid.rows(), grid.columns(), grid.pack_hash()), (5, 6, generator.info.hash.as_str()));
    assert_eq!(grid.placement().samples, clip.audio.len());
    assert!(grid.placement().asked == 22_050 && !grid.is_loop() && clip.loop_range.is_none());
    // Nothing varied: the same clip, from the tokens alone, whatever the seed, and from a project too.
    let opened = state::decode(&state::encode(&clip)).unwrap();
    let again = Request { seed: 99, ..request };
    let same = edited(&mut generator, &again, Edit::Vary { source: Source::of(&opened), amount: 0.0 });
    assert!(same.audio == clip.audio && same.grid == clip.grid);
    assert_eq!(same.provenance.edit, Some(clip::EditNote::Vary { amount: 0.0 }));
}

#[test]
fn a_little_variation_keeps_most_tokens_and_a_full_one_few() {
    let mut generator = generator();
    for sampler in SAMPLERS {
        let request = with_sampler(request("rain on a roof", 1.0, 5), sampler);
        let clip = make(&mut generator, request.clone());
        let again = Request { seed: 6, ..request };
        let mut vary = |amount| {
            let edit = Edit::Vary { source: Source::of(&clip), amount };
            changed(grid(&clip), grid(&edited(&mut generator, &again, edit)))
        };
        let (little, full) = (vary(0.1), vary(1.0));
        assert!(little <= 0.2 && full >= 0.6, "{sampler:?}: {little}, {full}");
    }
}

#[test]
fn a_repaint_keeps_all_tokens_outside_and_all_sound_far_away() {
    let mut generator = generator();
    for sampler in SAMPLERS {
        let request = with_sampler(request("rain on a roof", 7.0, 5), sampler);
        let clip = make(&mut generator, request.clone());
        let source = grid(&clip);
        let region = Region { start: 0.0, end: 0.6, low: 0.0, high: 1_000.0 };
        let edit = Edit::Repaint { source: Source::of(&clip), region, of: "a bell".into() };
        let other = Request { prompt: "a dog barks".into(), seed: 77, ..request };
        let repainted = edited(&mut generator, &other, edit.clone());
        assert_eq!(repainted.provenance.edit, Some(clip::EditNote::Repaint { region, of: "a bell".into() }));
        assert_eq!(repainted.provenance.prompt, "a dog barks");

        let cells = source.cells(&region);
        let painted = cells.iter().filter(|inside| **inside).count();
        assert!((3..=10).contains(&painted), "{painted} cells");
        let tokens = grid(&repainted).tokens().iter().zip(source.tokens()).zip(&cells);
        let outside = tokens.clone().filter(|(_, inside)| !**inside);
        assert!(outside.clone().all(|((after, before), _)| after == before), "{sampler:?}");
        assert!(tokens.clone().any(|((after, before), _)| after != before), "{sampler:?}: nothing happened");

        // The clip lies where it lay, at the level it had.
        assert_eq!(grid(&repainted).placement(), source.placement());
        assert_eq!(repainted.audio.len(), clip.audio.len());
        assert!(repainted.audio[..10_000] != clip.audio[..10_000]);
        // The codec looks 15 columns and 4 patches of 4 frames around, the vocoder 18 frames and its window.
        let last = cells.iter().rposition(|inside| *inside).unwrap() / source.rows();
        let far = (last + 1 + 15) * COLUMN + (16 + 18 + 2) * HOP - source.placement().first;
        assert!(far < clip.audio.len() - 22_050);
        assert!(repainted.audio[far..] == clip.audio[far..], "{sampler:?}");
        // The same again.
        assert!(edited(&mut generator, &other, edit).audio == repainted.audio);
    }
}

#[test]
fn an_extension_keeps_what_was_there_and_has_its_length() {
    let mut generator = generator();
    for sampler in SAMPLERS {
        let request = with_sampler(request("wind in trees", 1.5, 5), sampler);
        let clip = make(&mut generator, request.clone());
        for (before, after) in [(0.0, 1.0), (0.7, 0.0), (0.25, 0.3), (9.0, 9.5)] {
            let edit = Edit::Extend { source: Source::of(&clip), before, after };
            let longer = edited(&mut generator, &request, edit);
            let [added_before, added_after] =
                [before, after].map(|s| (s * SAMPLE_RATE as f32).round() as usize);
            assert_eq!(longer.audio.len(), added_before + clip.audio.len() + added_after);
            // All whole columns of the clip but the outermost stay, where they were in the clip.
            let (old, new) = (grid(&clip), grid(&longer));
            let at = |grid: &TokenGrid, clip_sample: usize| (grid.placement().first + clip_sample) / COLUMN;
            let (from, to) = (at(old, 2 * COLUMN), at(old, clip.audio.len() - COLUMN));
            assert!(to > from + 2);
            let moved = at(new, added_before + 2 * COLUMN) - from;
            for column in from..to {
                let cells =
                    |grid: &TokenGrid, column: usize| grid.tokens()[5 * column..5 * column + 5].to_vec();
                assert_eq!(cells(old, column), cells(new, column + moved), "{before} {after} {column}");
            }
            assert_eq!(new.placement().gain, old.placement().gain);
        }
    }
}

#[test]
fn a_long_clip_can_be_edited_too() {
    let mut generator = generator();
    let mut request = request("a river", 3.0, 5);
    request.settings.steps = 2;
    let clip = make(&mut generator, request.clone());
    let after = 29.5 - clip.seconds();
    let long =
        edited(&mut generator, &request, Edit::Extend { source: Source::of(&clip), before: 0.0, after });
    assert!((long.seconds() - 29.5).abs() < 0.001 && grid(&long).columns() > 3 * 50);
    assert!(state::decode(&state::encode(&long)).unwrap() == long);
    // No part of it is silent.
    for second in long.audio.chunks_exact(SAMPLE_RATE as usize) {
        assert!(to_db(Analysis::of(second).peak) > -60.0);
    }
    let region = Region { start: 14.0, end: 15.0, low: 0.0, high: 8_000.0 };
    let repainted = edited(
        &mut generator,
        &request,
        Edit::Repaint { source: Source::of(&long), region, of: String::new() },
    );
    assert!(repainted.audio[..200_000] == long.audio[..200_000]);
    assert!(repainted.audio[310_000..330_000] != long.audio[310_000..330_000]);
    let varied = edited(&mut generator, &request, Edit::Vary { source: Source::of(&long), amount: 0.2 });
    let share = changed(grid(&long), grid(&varied));
    assert!((0.02..0.25).contains(&share), "{share}");
    let looped = edited(&mut generator, &request, Edit::Loop { source: Some(Source::of(&long)) });
    assert!((looped.seconds() - 29.5).abs() < 0.2);
}

/// What a repetition of `audio` is like at its seam, and at worst anywhere else.
#[derive(Debug)]
struct Seam {
    /// Largest difference of neighbouring samples.
    step: (f32, f32),
    /// Largest change of level between neighbouring frames, in dB.
    level: (f32, f32),
    /// Largest mean change of the mel bands between neighbouring frames, in dB.
    flux: (f32, f32),
}

impl Seam {
    fn of(audio: &[f32]) -> Self {
        let frames = audio.len() / HOP;
        // The middle one of three rounds, to its end and beyond.
        let mel = MelFrontEnd::new().log_mel(&audio.repeat(3));
        let frame = |n: usize| &mel[n * MEL_BANDS..(n + 1) * MEL_BANDS];
        let level = |n: usize| to_db(frame(n).iter().map(|y| from_db(100.0 * y).powi(2)).sum::<f32>().sqrt());
        let flux = |n: usize| {
            let changes = frame(n).iter().zip(frame(n - 1)).map(|(a, b)| 100.0 * (a - b).abs());
            changes.sum::<f32>() / MEL_BANDS as f32
        };
        // A window of four frames reaches over the seam from two frames before it to two behind.
        let seam = 2 * frames - 2..2 * frames + 3;
        let inside = frames + 3..2 * frames - 2;
        let most =
            |range: std::ops::Range<usize>, of: &dyn Fn(usize) -> f32| range.map(of).fold(0.0, f32::max);
        let level_step = |n: usize| (level(n) - level(n - 1)).abs();
        let inner = audio.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        Self {
            step: ((audio[0] - audio[audio.len() - 1]).abs(), inner),
            level: (most(seam.clone(), &level_step), most(inside.clone(), &level_step)),
            flux: (most(seam, &flux), most(inside, &flux)),
        }
    }
}

#[test]
fn a_loop_has_no_seam() {
    let mut generator = generator();
    for (sampler, prompt, seed) in [
        (SamplerKind::Purity, "rain on a roof", 5),
        (SamplerKind::Ancestral, "rain on a roof", 6),
        (SamplerKind::Purity, "an engine idling", 7),
    ] {
        let request = with_sampler(request(prompt, 2.0, seed), sampler);
        let clip = make(&mut generator, request.clone());
        for source in [Some(Source::of(&clip)), None] {
            let looped = edited(&mut generator, &request, Edit::Loop { source: source.clone() });
            assert_eq!(looped.loop_range, Some((0, looped.audio.len())));
            assert!(looped.audio.len().is_multiple_of(COLUMN) && grid(&looped).is_loop());
            assert!((looped.seconds() - clip.seconds()).abs() < 0.1);
            let seam = Seam::of(&looped.audio);
            println!(
                "{prompt}: clip {:?}, loop {seam:?}",
                Seam::of(&clip.audio[..clip.audio.len() / HOP * HOP])
            );
            assert!(seam.step.0 <= seam.step.1, "{prompt}: {seam:?}");
            assert!(seam.level.0 <= seam.level.1, "{prompt}: {seam:?}");
            assert!(seam.flux.0 <= seam.flux.1, "{prompt}: {seam:?}");
            assert!(state::decode(&state::encode(&looped)).unwrap() == looped);

            // It stays one when it is edited.
            let region = Region { start: 0.0, end: 0.5, low: 0.0, high: 8_000.0 };
            let repaint = Edit::Repaint { source: Source::of(&looped), region, of: String::new() };
            let again = edited(&mut generator, &Request { seed: 9, ..request.clone() }, repaint);
            assert_eq!(again.loop_range, looped.loop_range);
            let seam = Seam::of(&again.audio);
            assert!(seam.step.0 <= seam.step.1 && seam.flux.0 <= seam.flux.1, "{prompt}: {seam:?}");
            // But one that is extended ends.
            let extend = Edit::Extend { source: Source::of(&looped), before: 0.0, after: 0.5 };
            let longer = edited(&mut generator, &request, extend);
            assert_eq!((longer.loop_range, longer.audio.len()), (None, looped.audio.len() + 11_025));
        }
    }
}

#[test]
fn every_length_can_be_looped() {
    let mut generator = generator();
    for seconds in [0.2, 0.35, 0.6, 0.8] {
        let request = request("noise of a fan", seconds, 2);
        let clip = make(&mut generator, request.clone());
        let looped = edited(&mut generator, &request, Edit::Loop { source: Some(Source::of(&clip)) });
        let seam = Seam::of(&looped.audio);
        assert!(seam.step.0 <= seam.step.1, "{seconds}: {seam:?}");
    }
}

#[test]
fn a_morph_lies_between_its_prompts() {
    let mut generator = generator();
    for sampler in SAMPLERS {
        let first = with_sampler(request("a metal bell", 1.0, 4), sampler);
        let second = Request { prompt: "a dog barks".into(), ..first.clone() };
        let morph = |at| Edit::Morph { prompt: second.prompt.clone(), at };
        let (a, b) = (make(&mut generator, first.clone()), make(&mut generator, second.clone()));
        let mut at = |at| edited(&mut generator, &first, morph(at));
        assert_eq!(at(1.0).grid, a.grid);
        assert_eq!(at(0.0).grid, b.grid);
        let middle = at(0.5);
        assert!(middle.grid != a.grid && middle.grid != b.grid, "{sampler:?}");
        let note = clip::EditNote::Morph { prompt: "a dog barks".into(), at: 0.5 };
        assert_eq!(middle.provenance.edit, Some(note));
    }
}

/// Mean difference of the mel spectrograms of two sounds of one length, in dB.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let [a, b] = [a, b].map(|audio| MelFrontEnd::new().log_mel(audio));
    assert_eq!(a.len(), b.len());
    100.0 * a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

#[test]
fn audio_from_elsewhere_is_encoded_first() {
    let mut generator = generator();
    let request = request("rain on a roof", 1.4, 4);
    let clip = make(&mut generator, request.clone());
    let other = make(&mut generator, Request { prompt: "a metal bell".into(), ..request.clone() });
    // As a file has it: without tokens.
    let source = Source::of(&Clip::new(Arc::clone(&clip.audio), Provenance::default()));
    assert_eq!(source, Source::Audio(Arc::clone(&clip.audio)));
    let region = Region { start: 1.1, end: 1.3, low: 4_000.0, high: 8_000.0 };
    let edit = Edit::Repaint { source: source.clone(), region, of: String::new() };
    let repainted = edited(&mut generator, &request, edit);
    assert_eq!(repainted.audio.len(), clip.audio.len());
    // It is the sound that it was, at its level, rather than another.
    let half = clip.audio.len().min(other.audio.len()) / 2;
    let (same, different) = (
        distance(&repainted.audio[..half], &clip.audio[..half]),
        distance(&other.audio[..half], &clip.audio[..half]),
    );
    assert!(same < 0.5 * different, "{same} dB, {different} dB");
    let [before, after] =
        [&clip.audio, &repainted.audio].map(|audio| to_db(Analysis::of(&audio[..half]).rms));
    assert!((before - after).abs() < 3.0, "{before} dB, {after} dB");
    // The same as by hand.
    let tokens = generator.encode(&clip.audio).unwrap();
    assert_eq!((tokens.columns(), tokens.seconds()), (clip.audio.len().div_ceil(COLUMN), source.seconds()));
    let edit = Edit::Repaint { source: Source::Grid(tokens.into()), region, of: String::new() };
    assert!(edited(&mut generator, &request, edit).audio == repainted.audio);
    assert!(generator.encode(&[]).is_err());
}

#[test]
fn tokens_that_do_not_fit_the_pack_are_refused_in_words() {
    let mut generator = generator();
    let hash = generator.info.hash.clone();
    let placement = Placement { first: 0, samples: 4_000, asked: 4_096, gain: 1.0 };
    let mut refusal = |tokens: Vec<u32>, rows: usize, frames: usize, hash: &str| {
        let grid = TokenGrid::new(tokens, rows, frames, hash.to_owned(), placement).unwrap();
        let edit = Edit::Vary { source: Source::Grid(grid.into()), amount: 0.5 };
        let request = Request { edit: Some(edit), ..request("rain", 1.0, 1) }.validate().unwrap();
        generator.generate(&request, 0, &mut go_on).unwrap_err().to_string()
    };
    let other = refusal(vec![0; 5], 5, 16, &"0".repeat(64));
    assert!(other.contains("another model") && other.contains("audio"), "{other}");
    for (tokens, rows, frames) in [(vec![1_024; 5], 5, 16), (vec![0; 4], 4, 16), (vec![0; 5], 5, 20)] {
        let misfit = refusal(tokens, rows, frames, &hash);
        assert!(misfit.contains("do not fit its model"), "{misfit}");
    }
}

#[test]
fn progress_of_several_runs_counts_on_and_can_be_stopped() {
    let mut generator = PackGenerator::load(&Pack::embedded().unwrap(), &Device::Cpu).unwrap();
    let request = request("rain", 1.0, 1);
    let clip = make(&mut generator, request.clone());
    for edit in [
        Edit::Vary { source: Source::of(&clip), amount: 0.0 },
        Edit::Extend { source: Source::of(&clip), before: 7.0, after: 7.0 },
        Edit::Loop { source: None },
    ] {
        let request = Request { edit: Some(edit), ..request.clone() }.validate().unwrap();
        let (mut last, mut reports) = (0, 0);
        let watch = &mut |progress: Progress| {
            assert!(progress.step >= last && progress.step <= progress.steps && progress.steps > 0);
            (last, reports) = (progress.step, reports + 1);
            ControlFlow::Continue(())
        };
        generator.generate(&request, 0, watch).unwrap();
        let mut left = reports - 1;
        let stop = &mut |_: Progress| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if reports > 2 {
            assert!(matches!(generator.generate(&request, 0, stop), Err(GenerateError::Cancelled)));
        }
    }
}
