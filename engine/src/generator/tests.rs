#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::SAMPLE_RATE;
use crate::lora::{Adapter, AdapterFile, Card, Projection, Target};
use crate::pack::testing::tiny;
use crate::service::{AdapterRef, SamplerKind, Settings};
use candle_core::Tensor;

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

/// An adapter for the tiny pack, with every matrix of both attentions, as a file.
fn adapter_file(folder: &std::path::Path, name: &str, base: &BaseId, size: f32) -> AdapterRef {
    let config = Pack::open(&tiny().0).unwrap().manifest().transformer;
    let mut noise = crate::diffusion::Noise::new(name.len() as u64, 1);
    let mut matrix = |rows: usize, cols: usize| {
        let values: Vec<f32> = (0..rows * cols).map(|_| size * (noise.uniform() - 0.5)).collect();
        Tensor::from_vec(values, (rows, cols), &Device::Cpu).unwrap()
    };
    let matrices = Target::all(&config, &Projection::ALL).into_iter().map(|target| {
        let (input, output) = target.shape(&config);
        (target, (matrix(2, input), matrix(output, 2)))
    });
    let adapter = Adapter::new(&config, 2, 4.0, matrices.collect()).unwrap();
    let path = folder.join(name);
    let card = Card { format: 1, title: format!("adapter {name}"), base: base.clone(), ..Card::default() };
    AdapterFile::write(&path, &card, &adapter).unwrap();
    let hash = AdapterFile::open(&path).unwrap().hash().to_owned();
    AdapterRef { path, hash, strength: 1.0, force_base: false }
}

#[test]
fn adapters_change_the_sound_and_at_strength_0_nothing() {
    let pack = tiny();
    let base = BaseId::of(&Pack::open(&pack.0).unwrap());
    let mut generator = PackGenerator::load(&Pack::open(&pack.0).unwrap(), &Device::Cpu).unwrap();
    let a = adapter_file(&pack.0, "a.safetensors", &base, 4.0);
    let b = adapter_file(&pack.0, "bb.safetensors", &base, 4.0);
    let mut make_of = |seed: u64, adapters: &[(&AdapterRef, f32)]| {
        let adapters = adapters
            .iter()
            .map(|(one, strength)| AdapterRef { strength: *strength, ..(*one).clone() })
            .collect();
        generator.generate(&Request { adapters, ..request(seed) }, 0, &mut go_on).unwrap()
    };
    let mut make = |adapters: &[(&AdapterRef, f32)]| make_of(3, adapters);
    let plain = make(&[]);
    assert!(plain.provenance.adapters.is_empty());
    let with_a = make(&[(&a, 1.0)]);
    assert_ne!(with_a.audio, plain.audio);
    let origin = &with_a.provenance.adapters[0];
    assert_eq!(
        (origin.name.as_str(), &origin.hash, origin.strength),
        ("adapter a.safetensors", &a.hash, 1.0)
    );
    // Tokens are discrete, and the weights of this pack other ones in each run: a little may change none of them.
    let mut strengths = (3..9).flat_map(|seed| [0.3, 0.6, 2.0].map(|strength| (seed, strength)));
    assert!(strengths.any(|(seed, strength)| {
        make_of(seed, &[(&a, strength)]).audio != make_of(seed, &[(&a, 1.0)]).audio
    }));
    let mut make = |adapters: &[(&AdapterRef, f32)]| make_of(3, adapters);
    let both = make(&[(&a, 1.0), (&b, 1.0)]);
    assert!(both.audio != with_a.audio && both.provenance.adapters.len() == 2);
    // Bit for bit, and after others were in use.
    assert_eq!(make(&[(&a, 0.0), (&b, 0.0)]).audio, plain.audio);
    assert_eq!(make(&[(&a, 1.0), (&b, 0.0)]).audio, with_a.audio);
    // A file that is gone matters neither at strength 0 nor once it was read.
    std::fs::remove_file(&a.path).unwrap();
    assert_eq!(make(&[(&a, 1.0)]).audio, with_a.audio);
    let missing = AdapterRef { path: pack.0.join("none"), hash: "0".repeat(64), ..a.clone() };
    assert_eq!(make(&[(&missing, 0.0)]).audio, plain.audio);
}

#[test]
fn adapters_that_cannot_be_used_are_refused_in_words() {
    let pack = tiny();
    let base = BaseId::of(&Pack::open(&pack.0).unwrap());
    let mut generator = PackGenerator::load(&Pack::open(&pack.0).unwrap(), &Device::Cpu).unwrap();
    let mut refusal = |adapter: &AdapterRef| {
        let request = Request { adapters: vec![adapter.clone()], ..request(3) };
        generator.generate(&request, 0, &mut go_on).unwrap_err().to_string()
    };
    let own = adapter_file(&pack.0, "own.safetensors", &base, 1.0);
    let changed = AdapterRef { hash: "0".repeat(64), ..own.clone() };
    assert!(refusal(&changed).contains("has changed"));
    let missing = AdapterRef { path: pack.0.join("missing.safetensors"), ..own };
    assert!(refusal(&missing).contains("missing.safetensors"));
    let other = BaseId { name: "Another".into(), pack: "12".repeat(32), ..BaseId::default() };
    let foreign = adapter_file(&pack.0, "foreign.safetensors", &other, 1.0);
    let message = refusal(&foreign);
    assert!(message.contains("Another") && message.contains("tiny"), "{message}");
    // The shapes fit, so it can be insisted on; that does not open the door for the next request.
    let forced = Request { adapters: vec![AdapterRef { force_base: true, ..foreign.clone() }], ..request(3) };
    generator.generate(&forced, 0, &mut go_on).unwrap();
    let request = Request { adapters: vec![foreign], ..request(3) };
    assert!(generator.generate(&request, 0, &mut go_on).is_err());
}
