//! `cargo xtask eval`: measures a pack against the valid split of a prepared data set.
//!
//! A [`classifier`] trained on the real training clips judges real and generated sounds; [`metrics`]
//! compares its features and logits; [`spectra`] measures codec and vocoder on real spectrograms;
//! [`sheet`] lays out 24 prompts to be looked at and listened to. [`subject`] keeps what was
//! generated, so that a second run continues or repeats the first one.

pub mod classifier;
pub mod metrics;
pub mod picture;
mod report;
mod sheet;
mod spectra;
mod subject;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use soundlocd_engine::diffusion::Noise;
use soundlocd_engine::generator::PackGenerator;
use soundlocd_engine::pack::Pack;
use soundlocd_engine::service::{Generator, Settings, disable_candle_pool};

use crate::data::{Cache, Split};
use crate::workspace;
use classifier::{Classifier, Judgement};
use report::Report;
use subject::Generated;

/// Seed of everything drawn here.
const SEED: u64 = 2020;
/// Draws of the kernel distance, and sounds in each at most.
const KERNEL_DRAWS: (usize, usize) = (100, 1000);
/// Parts of the inception score.
pub const INCEPTION_PARTS: usize = 10;

/// Arguments of `cargo xtask eval`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Prepared data set (`cargo xtask data prepare`).
    #[arg(long)]
    cache: PathBuf,
    /// Folder of the model pack; without it, the default pack inside the program.
    #[arg(long, value_name = "FOLDER")]
    pack: Option<PathBuf>,
    /// Folder for the results; everything slow is kept there and used again.
    #[arg(long, default_value_os_t = default_work())]
    work: PathBuf,
    /// How many valid clips to use, evenly chosen; all if not given.
    #[arg(long)]
    limit: Option<usize>,
    /// Sounds generated from each caption.
    #[arg(long, default_value_t = 2)]
    per_caption: usize,
    /// Denoising steps; as the pack recommends if not given.
    #[arg(long)]
    steps: Option<u32>,
    /// How strictly to follow the prompt; as the pack recommends if not given.
    #[arg(long)]
    guidance: Option<f32>,
    /// Share of the probability that tokens are drawn from; as the pack recommends if not given.
    #[arg(long)]
    truncation: Option<f32>,
    /// Prompts on the sheet.
    #[arg(long, default_value_t = 24)]
    prompts: usize,
    /// Categories that the pack was not trained on; their captions are not used.
    #[arg(long, default_value = "KEYBOARD", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Only train the classifier and say how many real valid clips it recognises.
    #[arg(long)]
    classifier_only: bool,
}

fn default_work() -> PathBuf {
    workspace::target_dir().unwrap_or_else(|_| PathBuf::from("target")).join("eval")
}

/// Runs `cargo xtask eval`.
pub fn run(args: Args) -> Result<()> {
    disable_candle_pool();
    let cache = Cache::open(&args.cache)?;
    let classifier = Classifier::load_or_fit(&cache, &args.work)?;
    let evaluation = Evaluation::new(&cache, &classifier, &args)?;
    println!(
        "the classifier recognises {:.1} % of {} real valid clips",
        100.0 * evaluation.ceiling(),
        evaluation.clips.len()
    );
    if args.classifier_only {
        let train = evaluation.train_sample()?;
        let hits = train.iter().map(|(clip, judgement)| evaluation.is_right(judgement, *clip));
        println!("and {:.1} % of as many training clips", 100.0 * share(hits));
        return Ok(());
    }
    let pack = match &args.pack {
        Some(folder) => Pack::open(folder)?,
        None => Pack::embedded()?,
    };
    evaluation.of_pack(&pack, &args)
}

/// The real valid clips, judged.
struct Evaluation<'a> {
    cache: &'a Cache,
    classifier: &'a Classifier,
    /// The valid clips used.
    clips: Vec<usize>,
    /// Their spectrograms, frame-major.
    mels: Vec<Vec<f32>>,
    judged: Vec<Judgement>,
}

impl<'a> Evaluation<'a> {
    fn new(cache: &'a Cache, classifier: &'a Classifier, args: &Args) -> Result<Self> {
        let mut clips = cache.indices(Split::Valid);
        clips.retain(|&clip| !args.exclude.contains(&cache.clips[clip].category));
        ensure!(!clips.is_empty(), "the data set has no valid clips to evaluate");
        let count = args.limit.unwrap_or(usize::MAX).clamp(1, clips.len());
        let clips: Vec<usize> = (0..count).map(|i| clips[i * clips.len() / count]).collect();
        let mels: Vec<Vec<f32>> = clips.iter().map(|&clip| mel_of(cache, clip)).collect();
        let judged = classifier.judge(mels.iter().map(Vec::as_slice))?;
        Ok(Self { cache, classifier, clips, mels, judged })
    }

    /// Whether `judgement` names the category of the clip.
    fn is_right(&self, judgement: &Judgement, clip: usize) -> bool {
        self.classifier.categories.get(judgement.category()) == Some(&self.cache.clips[clip].category)
    }

    /// Share of the real clips that the classifier recognises.
    fn ceiling(&self) -> f64 {
        share(self.judged.iter().zip(&self.clips).map(|(judgement, &clip)| self.is_right(judgement, clip)))
    }

    /// Generates, measures, reports.
    fn of_pack(&self, pack: &Pack, args: &Args) -> Result<()> {
        let mut settings = pack.manifest().recommended.clone();
        settings.steps = args.steps.unwrap_or(settings.steps);
        settings.guidance = args.guidance.unwrap_or(settings.guidance);
        settings.truncation = args.truncation.unwrap_or(settings.truncation);
        settings.validate()?;
        let folder = args.work.join(subject::folder_name(pack.hash(), &settings));

        let device = Device::Cpu;
        let model = pack.load(&device)?;
        let fidelity = spectra::measure(&model, &device, &self.mels)?;
        drop(model);
        let mut generator = PackGenerator::load(pack, &device)?.without_previews();
        let sounds_folder = folder.join("sounds");
        let generated = subject::generate(
            &mut generator,
            self.cache,
            &self.clips,
            args.per_caption.max(1),
            &settings,
            &sounds_folder,
        )?;
        let judged = self.classifier.judge(generated.iter().map(|sound| sound.mel.as_slice()))?;
        let report = self.report(&generator, &settings, &generated, &judged, fidelity)?;

        let table = report.markdown();
        std::fs::write(folder.join("report.md"), &table).context("could not write the report")?;
        std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(&report)?)?;
        let items = self.sheet_items(&generated, &judged, args.prompts)?;
        sheet::write(&folder, &items, &table)?;
        println!("{table}\nReport, sheet and sounds: {}", folder.display());
        Ok(())
    }

    /// All numbers.
    fn report(
        &self,
        generator: &PackGenerator,
        settings: &Settings,
        generated: &[Generated],
        judged: &[Judgement],
        fidelity: spectra::Fidelity,
    ) -> Result<Report> {
        let features =
            |all: &[Judgement]| -> Vec<Vec<f32>> { all.iter().map(|j| j.features.clone()).collect() };
        let logits = |all: &[Judgement]| -> Vec<Vec<f32>> { all.iter().map(|j| j.logits.clone()).collect() };
        let unbiased = |all: &[Judgement]| -> Vec<Vec<f32>> {
            all.iter().map(|judgement| self.classifier.unbiased(judgement)).collect()
        };
        let mut noise = Noise::new(SEED, 0);
        let mut inception = |all: &[Judgement]| {
            let order = noise.permutation(all.len());
            metrics::inception_score(&unbiased(all), &order, INCEPTION_PARTS)
        };
        let (isc, real_isc) = (inception(judged), inception(&self.judged));
        let draws = kernel_draws(judged.len(), self.judged.len());
        let real_of: Vec<usize> = generated
            .iter()
            .map(|sound| self.clips.iter().position(|&clip| clip == sound.clip).unwrap_or_default())
            .collect();
        let others = noise_permutation(generated.len());
        let train: Vec<Judgement> =
            self.train_sample()?.into_iter().map(|(_, judgement)| judgement).collect();
        let pairs = || judged.iter().zip(generated);
        let info = generator.describe();
        Ok(Report {
            pack: info.name,
            pack_hash: info.hash,
            settings: format!(
                "{:?} sampling, {} steps, guidance {}, truncation {}",
                settings.sampler, settings.steps, settings.guidance, settings.truncation
            ),
            clips: self.clips.len(),
            generated: generated.len(),
            ceiling: self.ceiling(),
            accuracy: share(pairs().map(|(judgement, sound)| self.is_right(judgement, sound.clip))),
            floor: share(
                judged.iter().zip(&others).map(|(j, &other)| self.is_right(j, generated[other].clip)),
            ),
            fid: metrics::frechet_distance(&features(judged), &features(&self.judged)),
            isc: isc.into(),
            kl: metrics::paired_divergence(&logits(&self.judged), &logits(judged), &real_of),
            kid: metrics::kernel_distance(&features(judged), &features(&self.judged), &draws).into(),
            real_fid: metrics::frechet_distance(&features(&train), &features(&self.judged)),
            real_isc: real_isc.into(),
            silent: share(generated.iter().map(|sound| sound.audio.is_empty())),
            clipped: share(generated.iter().map(|sound| subject::is_clipped(&sound.audio))),
            codec_db: fidelity.codec_db,
            vocoder_db: fidelity.vocoder_db,
            codec_and_vocoder_db: fidelity.both_db,
        })
    }

    /// As many train clips as there are valid clips here, with about the same mix of categories: for
    /// each valid clip a random train clip of its category.
    fn train_sample(&self) -> Result<Vec<(usize, Judgement)>> {
        let train = self.cache.indices(Split::Train);
        let mut noise = Noise::new(SEED, 1);
        let mut sample = Vec::new();
        for &clip in &self.clips {
            let category = &self.cache.clips[clip].category;
            let alike: Vec<usize> =
                train.iter().copied().filter(|&i| self.cache.clips[i].category == *category).collect();
            if !alike.is_empty() {
                sample.push(alike[noise.below(alike.len())]);
            }
        }
        let mels: Vec<Vec<f32>> = sample.iter().map(|&clip| mel_of(self.cache, clip)).collect();
        let judged = self.classifier.judge(mels.iter().map(Vec::as_slice))?;
        Ok(sample.into_iter().zip(judged).collect())
    }

    /// The first sound of `count` prompts, of as many categories as possible.
    fn sheet_items(
        &self,
        generated: &[Generated],
        judged: &[Judgement],
        count: usize,
    ) -> Result<Vec<sheet::Item>> {
        let sound = self.cache.load_sound()?;
        // Sounds by how many of their category come before them: one of each category, then another.
        let mut order: Vec<(usize, usize)> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        let mut last = None;
        for (index, generated) in generated.iter().enumerate() {
            // Only the first sound of each caption.
            if last.replace(generated.clip) != Some(generated.clip) {
                let before = seen.entry(&self.cache.clips[generated.clip].category).or_insert(0);
                order.push((*before, index));
                *before += 1;
            }
        }
        order.sort_unstable();
        let item = |&(_, index): &(usize, usize)| {
            let entry = &self.cache.clips[generated[index].clip];
            sheet::Item {
                prompt: entry.captions[0].clone(),
                category: entry.category.clone(),
                heard: self.classifier.categories[judged[index].category()].clone(),
                generated: generated[index].mel.clone(),
                real: mel_of(self.cache, generated[index].clip),
                generated_audio: generated[index].audio.clone(),
                real_audio: sound.clip_f32(entry),
            }
        };
        Ok(order.iter().take(count).map(item).collect())
    }
}

/// The spectrogram of a clip as f32, frame-major.
pub fn mel_of(cache: &Cache, clip: usize) -> Vec<f32> {
    cache.mel(clip).iter().map(|y| y.to_f32()).collect()
}

/// Share of `true`; NaN of nothing.
pub fn share(values: impl Iterator<Item = bool>) -> f64 {
    let (hits, count) = values.fold((0, 0), |(hits, count), hit| (hits + usize::from(hit), count + 1));
    f64::from(hits as u32) / f64::from(count)
}

/// Which rows each part of the kernel distance compares.
pub fn kernel_draws(first: usize, second: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
    let (draws, most) = KERNEL_DRAWS;
    let size = first.min(second).min(most);
    let mut noise = Noise::new(SEED, 2);
    let mut draw = |count: usize| -> Vec<usize> { noise.permutation(count).into_iter().take(size).collect() };
    (0..draws).map(|_| (draw(first), draw(second))).collect()
}

/// A random order of the sounds: whose caption each is compared with to find the floor.
fn noise_permutation(count: usize) -> Vec<usize> {
    Noise::new(SEED, 3).permutation(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_count_hits() {
        assert!((share([true, false, true, true].into_iter()) - 0.75).abs() < 1e-12);
        assert!(share(std::iter::empty()).is_nan());
    }

    #[test]
    fn kernel_draws_are_distinct_rows_of_each_set() {
        for (a, b) in kernel_draws(30, 7) {
            for (rows, count) in [(a, 30), (b, 7)] {
                assert_eq!(rows.len(), 7);
                assert!(rows.iter().all(|&row| row < count));
                assert_eq!(rows.iter().collect::<std::collections::HashSet<_>>().len(), 7);
            }
        }
    }
}
