#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::SAMPLE_RATE;
use crate::pack::testing::tiny;

fn generator() -> PackGenerator {
    let folder = tiny();
    PackGenerator::load(&Pack::open(&folder.0).unwrap(), &Device::Cpu).unwrap()
}

fn request(seed: u64) -> Request {
    let settings = Settings { seconds: 0.5, steps: 4, ..Settings::default() };
    Request { settings, ..Request::new("a dog barks", seed) }.validate().unwrap()
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn a_request_becomes_a_clip_with_its_origin() {
    let mut generator = generator();
    let request = Request { negative_prompt: Some("a cat".into()), ..request(5) };
    let clip = generator.generate(&request, 2, &mut go_on).unwrap();
    assert!(clip.audio.len() <= SAMPLE_RATE as usize / 2);
    assert!(clip.audio.iter().any(|sample| sample.abs() > 0.01));
    let origin = &clip.provenance;
    assert_eq!((origin.prompt.as_str(), origin.seed, origin.variation), ("a dog barks", 5, 2));
    assert_eq!(origin.negative_prompt.as_deref(), Some("a cat"));
    assert_eq!((&origin.pack_name, &origin.pack_hash), (&generator.info.name, &generator.info.hash));
    assert_eq!(origin.settings, request.settings);
    assert!(generator.timings().total > Duration::ZERO);
    assert_eq!(generator.describe().name, "tiny");
}

#[test]
fn the_seed_and_variation_alone_decide_the_sound() {
    let mut generator = generator();
    let mut sound =
        |seed, variation| generator.generate(&request(seed), variation, &mut go_on).unwrap().audio;
    let first = sound(1, 0);
    let (other_variation, other_seed) = (sound(1, 1), sound(2, 0));
    assert_eq!(first, sound(1, 0));
    assert_ne!(first, other_variation);
    assert_ne!(first, other_seed);
    // Previews only watch.
    let mut blind = generator.without_previews();
    assert_eq!(first, blind.generate(&request(1), 0, &mut go_on).unwrap().audio);
}

#[test]
fn both_samplers_and_all_guidances_work_at_any_length() {
    let mut generator = generator();
    for (sampler, guidance, seconds) in [
        (SamplerKind::Purity, 0.0, 0.2),
        (SamplerKind::Purity, 1.0, 9.845),
        (SamplerKind::Ancestral, 3.0, 1.0),
        (SamplerKind::Ancestral, 1.0, 0.2),
    ] {
        let settings = Settings { seconds, steps: 3, guidance, sampler, ..Settings::default() };
        let clip = generator.generate(&Request { settings, ..request(1) }, 0, &mut go_on).unwrap();
        assert!(clip.audio.len() <= (seconds * SAMPLE_RATE as f32).round() as usize);
    }
}

#[test]
fn progress_counts_to_the_end_with_pictures_in_range() {
    let mut steps = Vec::new();
    let mut last = None;
    generator()
        .generate(&request(1), 0, &mut |progress: Progress| {
            steps.push(progress.step);
            assert_eq!(progress.steps, 4);
            if let Some(preview) = progress.preview {
                // Half a second is three columns of 16 frames.
                assert_eq!((preview.frames, preview.mel.len()), (48, 80 * 48));
                assert!(preview.mel.iter().all(|value| (0.0..=1.0).contains(value)));
                last = Some(progress.step);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(steps, [0, 1, 2, 3, 4, 4]);
    assert_eq!(last, Some(4), "the finished picture comes before the sound");
}

#[test]
fn cancelling_works_at_every_report() {
    let mut generator = generator();
    for stop_at in 0..6 {
        let mut reports = 0;
        let result = generator.generate(&request(1), 0, &mut |_| {
            reports += 1;
            if reports > stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(result, Err(GenerateError::Cancelled)));
        assert_eq!(reports, stop_at + 1);
    }
}

#[test]
fn the_first_attempt_is_the_users_seed_and_the_others_differ() {
    let seeds: Vec<u64> = (0..=SILENT_RETRIES).map(|attempt| attempt_seed(41, attempt)).collect();
    assert_eq!(seeds[0], 41);
    let distinct: std::collections::BTreeSet<_> = seeds.iter().collect();
    assert_eq!(distinct.len(), seeds.len());
}
