//! The default pack gives nearly the same on whatever multiplies its matrices, and exactly the same on any number of
//! threads. Which unit a process uses is decided once, so other units get processes of their own.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use soundlocd_engine::generator::PackGenerator;
use soundlocd_engine::layers::kernel::bfloat;
use soundlocd_engine::pack::Pack;
use soundlocd_engine::service::{Generator, Request, Settings};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

/// Where a child process writes its results.
const CHILD: &str = "SOUNDLOCD_TEST_UNIT_RESULTS";
/// Columns of the token grid (0.9 s).
const COLUMNS: usize = 5;

/// The default pack's logits for a half-masked grid, the spectrogram of a whole one, and its sound.
fn results() -> Vec<Vec<f32>> {
    let (pack, device) = (Pack::embedded().unwrap(), Device::Cpu);
    let model = pack.load(&device).unwrap();
    let config = *model.transformer.config();
    let length = COLUMNS * config.rows;
    let tokens: Vec<u32> = (0..length as u32).map(|i| i * 97 % config.codebook as u32).collect();
    let masked: Vec<u32> = tokens
        .iter()
        .enumerate()
        .map(|(i, t)| if i % 2 == 0 { *t } else { config.codebook as u32 })
        .collect();
    let grid = |ids: Vec<u32>| Tensor::from_vec(ids, (1, length), &device).unwrap();
    let text = model.text.encode("rain on a tin roof").unwrap();
    let condition = model.transformer.condition(&text.features, Some(&text.mask)).unwrap();
    let logits = model.transformer.forward(&grid(masked), &[50], &condition).unwrap();
    let mel = model.codec.decode(&grid(tokens)).unwrap();
    let wave = model.vocoder.forward(&mel).unwrap();
    [logits, mel, wave].map(|x| x.flatten_all().unwrap().to_vec1().unwrap()).to_vec()
}

fn write(path: &Path, results: &[Vec<f32>]) {
    let bytes: Vec<u8> = results.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn every_unit_gives_nearly_the_same() {
    if let Some(path) = std::env::var_os(CHILD) {
        let choice = std::env::var(bfloat::CHOICE).unwrap();
        assert!(choice != "f32" || bfloat::unit().is_none());
        assert!(choice != "avx512" || bfloat::unit() != Some(bfloat::Unit::Tiles));
        write(Path::new(&path), &results());
        return;
    }
    let own = results();
    for choice in ["f32", "avx512"] {
        let path = std::env::temp_dir().join(format!("soundlocd-unit-{}-{choice}", std::process::id()));
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "every_unit_gives_nearly_the_same"])
            .env(bfloat::CHOICE, choice)
            .env(CHILD, &path)
            .output()
            .unwrap();
        assert!(child.status.success(), "{choice}: {}", String::from_utf8_lossy(&child.stdout));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut values = bytes.as_chunks::<4>().0.iter().map(|x| f64::from(f32::from_le_bytes(*x)));
        // What bfloat16 rounds away; the sound's phases are the most sensitive to it.
        let bounds = [("logits", 0.03), ("spectrogram", 0.03), ("sound", 0.1)];
        for ((what, bound), own) in bounds.iter().zip(&own) {
            let other: Vec<f64> = values.by_ref().take(own.len()).collect();
            assert_eq!(other.len(), own.len());
            let error: f64 = own.iter().zip(&other).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
            let size: f64 = other.iter().map(|x| x * x).sum();
            let relative = (error / size).sqrt();
            assert!(relative < *bound, "{choice}: the {what} differs by {relative}");
        }
        assert_eq!(values.count(), 0);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let mut generator =
        PackGenerator::load(&Pack::embedded().unwrap(), &Device::Cpu).unwrap().without_previews();
    let settings = Settings { seconds: 1.0, steps: 4, ..Settings::default() };
    let request = Request { settings, ..Request::new("a metal bell".to_owned(), 1) }.validate().unwrap();
    let mut samples = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let clip = pool.install(|| generator.generate(&request, 0, &mut |_| ControlFlow::Continue(())));
        clip.unwrap().audio.to_vec()
    };
    let one = samples(1);
    assert!(!one.is_empty());
    for threads in [2, 3, 8] {
        assert_eq!(samples(threads), one, "{threads} threads");
    }
}
