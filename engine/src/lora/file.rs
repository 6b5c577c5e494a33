//! Adapter files: read strictly, or refused by the name of what is wrong.
//!
//! Ours are safetensors with PEFT's tensor names and a [`Card`] in the metadata. PEFT's own folders and files and
//! kohya-ss' files are read where every tensor of theirs means one of our matrices. Everything comes from outside:
//! sizes are checked before anything is allocated, and every tensor has to have a place, a partner and finite values.
//!
//! How that is checked: the test `hostile_adapters` changes valid files of each program in a few places, 6,000 times, and
//! the fuzz targets in `fuzz/` go on from there, on such files and on any bytes. A counting allocator is under both.
//! Nothing may panic, hang, be said in words that cannot be shown, or take more memory than three times the file, 16 KiB
//! and 512 bytes a tensor.

use super::json::{MAX_LINE, line};
use super::names::{self, Role};
use super::peft::{CONFIG_FILE, MAX_CONFIG_BYTES, PeftConfig, WEIGHTS_FILE};
use super::{Adapter, BaseId, CARD_KEY, Card, LoraError, MAX_RANK, Target};
use crate::diffusion::transformer::Config;
use crate::pack::hexadecimal;
use crate::weights::{Limits, Pending, Storage, Weights, WeightsError, write_file};
use candle_core::Tensor;
use safetensors::Dtype;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// No adapter is larger: rank 256 on all matrices of the paper's model has 300 MB in f32.
pub const MAX_BYTES: u64 = 512 << 20;
/// No header is longer, nor of more tensors (two matrices and an alpha for each of the largest model that there can be):
/// that of the paper's model with all matrices has 60 kB and 304 tensors.
const LIMITS: Limits = Limits { header_bytes: 1 << 20, tensors: 3 * 8 * 128, keys: &[CARD_KEY] };

/// An adapter file that has been read and found consistent in itself; [`AdapterFile::fit`] says whether it suits a base.
#[derive(Debug, Clone)]
pub struct AdapterFile {
    path: PathBuf,
    hash: String,
    card: Option<Card>,
    rank: usize,
    alpha: f64,
    /// `A` `[rank, in]` and `B` `[out, rank]`, f32 on the CPU.
    matrices: BTreeMap<Target, (Tensor, Tensor)>,
}

impl AdapterFile {
    /// Reads a `.safetensors` file, or a folder that PEFT saved an adapter into.
    ///
    /// # Errors
    /// When it cannot be read, is larger than [`MAX_BYTES`], or is no adapter of ours, PEFT's or kohya-ss' kind.
    pub fn open(path: &Path) -> Result<Self, LoraError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| LoraError::Io { path, source }
        };
        let is_folder = path.metadata().map_err(io(path))?.is_dir();
        let file = if is_folder { weights_in(path)? } else { path.to_owned() };
        let metadata = file.metadata().map_err(io(&file))?;
        if !metadata.is_file() {
            // Opening a pipe would wait for ever for somebody to write to it.
            return Err(io(&file)(ErrorKind::InvalidInput.into()));
        }
        if metadata.len() > MAX_BYTES {
            return Err(LoraError::Size { path: file, found: metadata.len(), most: MAX_BYTES });
        }
        let config_path = file.with_file_name(CONFIG_FILE);
        let config = match read_small(&config_path) {
            Ok(json) => Some(PeftConfig::parse(&config_path.display().to_string(), &json)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(Err(io(&config_path)(error))),
        };
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        let reader = File::open(&file).map_err(io(&file))?;
        let mut read = Self::decode(&name, metadata.len(), reader, config)?;
        read.path = path.to_owned();
        Ok(read)
    }

    /// From the `size` bytes of a file called `name`; `config` is the `adapter_config.json` beside it, which is only
    /// asked where the file says nothing itself.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn decode(
        name: &str,
        size: u64,
        source: impl Read,
        config: Option<Result<PeftConfig, LoraError>>,
    ) -> Result<Self, LoraError> {
        let mut source = Hashing { source, hash: Sha256::new() };
        let mut start = Vec::new();
        source
            .by_ref()
            .take(8)
            .read_to_end(&mut start)
            .map_err(|source| WeightsError::Read { file: name.to_owned(), source })?;
        if is_pickle(name, &start) {
            return Err(LoraError::Pickle { file: name.to_owned() });
        }
        let mut weights = Weights::read_limited(name, size, start.as_slice().chain(source.by_ref()), LIMITS)?;
        let card = weights.metadata(CARD_KEY).map(|json| Card::parse(name, json)).transpose()?;
        let placed = place(name, &weights)?;
        let alphas = alphas(name, &placed, &mut weights)?;
        let (mut matrices, mut rank) = (BTreeMap::new(), None);
        for (target, place) in &placed {
            let (Some(a), Some(b)) = (&place.a, &place.b) else { return Err(unpaired(name, *target, place)) };
            check_rank(a, 0, &mut rank)?;
            check_rank(b, 1, &mut rank)?;
            matrices.insert(*target, (weights.take(&a.name)?, weights.take(&b.name)?));
        }
        let Some(rank) = rank else {
            let found = "no tensor at all".to_owned();
            let expected = "LoRA matrices".to_owned();
            return Err(LoraError::Card { file: name.to_owned(), what: "its content", expected, found });
        };
        let alpha = settle(name, rank, card.as_ref(), alphas, config)?;
        let hash = hexadecimal(source.hash);
        Ok(Self { path: PathBuf::from(name), hash, card, rank, alpha, matrices })
    }

    /// Where it was read from: the file, or PEFT's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the weights file, lower-case hexadecimal.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What it says of itself; `None` for a file of another program.
    #[must_use]
    pub fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// Its title, or its file's name where it has none.
    #[must_use]
    pub fn title(&self) -> String {
        let named = self.card.as_ref().map(|card| card.title.trim()).filter(|title| !title.is_empty());
        named.map_or_else(
            || self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            str::to_owned,
        )
    }

    /// The rank of its matrices.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The numerator of the scale `alpha / rank`.
    #[must_use]
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The matrices that it changes.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.matrices.keys().copied()
    }

    /// Numbers in all its matrices.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.matrices.values().map(|(a, b)| a.elem_count() + b.elem_count()).sum()
    }

    /// Refuses a base other than the one that the adapter names. One that names none is let through.
    ///
    /// # Errors
    /// [`LoraError::Base`].
    pub fn check_base(&self, base: &BaseId) -> Result<(), LoraError> {
        match &self.card {
            Some(card) if !card.base.serves(base) => Err(LoraError::Base {
                file: self.title(),
                expected: format!("{} ({})", quoted(&card.base.name), short(&card.base.pack)),
                found: format!("{} ({})", quoted(&base.name), short(&base.pack)),
            }),
            _ => Ok(()),
        }
    }

    /// The adapter for a transformer of `config`, whatever base it was made for: see [`Self::check_base`].
    ///
    /// # Errors
    /// The first tensor that the transformer has no place for, or whose shape does not fit.
    pub fn fit(&self, config: &Config) -> Result<Adapter, LoraError> {
        Adapter::new(config, self.rank, self.alpha, self.matrices.clone())
    }

    /// Writes `adapter` with `card` to `path`, through a temporary file; the card's rank, alpha and targets follow the
    /// adapter. The same arguments give the same bytes.
    ///
    /// # Errors
    /// When a value is not finite or the file cannot be written.
    pub fn write(path: &Path, card: &Card, adapter: &Adapter) -> Result<(), LoraError> {
        let mut card = Card { rank: adapter.rank(), alpha: adapter.alpha(), ..card.clone() };
        card.targets = super::Projection::ALL
            .into_iter()
            .filter(|projection| adapter.targets().any(|target| target.projection == *projection))
            .map(|projection| projection.name().to_owned())
            .collect();
        let json = card.to_json().map_err(|error| LoraError::Card {
            file: path.display().to_string(),
            what: "its card",
            expected: "numbers that JSON can hold".to_owned(),
            found: error.to_string(),
        })?;
        let mut tensors = Vec::new();
        for (target, (a, b)) in adapter.matrices() {
            for (role, tensor) in [(Role::A, a), (Role::B, b)] {
                let values = move || {
                    let values = tensor.flatten_all().and_then(|tensor| tensor.to_vec1::<f32>());
                    values.map_err(|error| error.to_string())
                };
                tensors.push(Pending {
                    name: names::peft(target, role),
                    shape: tensor.dims().to_vec(),
                    storage: Storage::F32,
                    values: Box::new(values),
                });
            }
        }
        Ok(write_file(path, (CARD_KEY, &json), tensors)?)
    }
}

/// The weights file in a folder that PEFT saved into.
fn weights_in(folder: &Path) -> Result<PathBuf, LoraError> {
    let file = folder.join(WEIGHTS_FILE);
    if file.exists() {
        return Ok(file);
    }
    let pickle = folder.join("adapter_model.bin");
    if pickle.exists() {
        return Err(LoraError::Pickle { file: pickle.display().to_string() });
    }
    Err(LoraError::Empty { path: folder.to_owned(), expected: WEIGHTS_FILE })
}

fn read_small(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = path.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_CONFIG_BYTES {
        return Err(ErrorKind::InvalidInput.into());
    }
    let mut json = Vec::new();
    File::open(path)?.take(MAX_CONFIG_BYTES).read_to_end(&mut json)?;
    Ok(json)
}

/// By the first bytes: a zip archive, as `torch.save` writes, or a bare pickle. By the name where there is nothing else.
fn is_pickle(name: &str, start: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let by_name = [".bin", ".pt", ".pth", ".ckpt", ".pkl"].iter().any(|ending| name.ends_with(ending));
    // A safetensors file starts with the length of its header, which would be beyond the limit.
    let bare = matches!(start, [0x80, 2..=5, _, rest @ ..] if rest.iter().any(|byte| *byte != 0));
    by_name || bare || start.starts_with(b"PK\x03\x04")
}

/// A tensor of a file.
struct Named {
    name: String,
    shape: Vec<usize>,
}

/// The tensors for one matrix.
#[derive(Default)]
struct Place {
    a: Option<Named>,
    b: Option<Named>,
    alpha: Option<Named>,
}

/// Finds the place of every tensor.
fn place(file: &str, weights: &Weights) -> Result<BTreeMap<Target, Place>, LoraError> {
    let mut placed: BTreeMap<Target, Place> = BTreeMap::new();
    for (name, shape) in weights.shapes() {
        // Four bytes of memory for one of the file, and nobody stores adapters so.
        if weights.dtype(&name) == Some(Dtype::I8) {
            let reason = "is of the type I8; expected F32, F16 or BF16".to_owned();
            let (file, tensor) = (file.to_owned(), shown(&name));
            return Err(WeightsError::Tensor { file, tensor, reason }.into());
        }
        let Some((target, role)) = names::parse(&name) else {
            let file = file.to_owned();
            return Err(match names::other_kind(&name) {
                Some(kind) => LoraError::Kind { file, kind: kind.to_owned(), found: shown(&name) },
                None => LoraError::Unused { file, tensor: shown(&name) },
            });
        };
        let place = placed.entry(target).or_default();
        let place = match role {
            Role::A => &mut place.a,
            Role::B => &mut place.b,
            Role::Alpha => &mut place.alpha,
        };
        if let Some(first) = place {
            return Err(LoraError::Twice {
                file: file.to_owned(),
                first: shown(&first.name),
                second: shown(&name),
            });
        }
        *place = Some(Named { name, shape });
    }
    Ok(placed)
}

/// The alpha that kohya-ss' files have for every matrix, if they all have the same.
fn alphas(
    file: &str,
    placed: &BTreeMap<Target, Place>,
    weights: &mut Weights,
) -> Result<Option<f64>, LoraError> {
    let mut common: Option<f64> = None;
    let mut without = false;
    for place in placed.values() {
        let Some(Named { name, shape }) = &place.alpha else {
            without = true;
            continue;
        };
        if !matches!(shape[..], [] | [1]) {
            return Err(LoraError::Shape { tensor: shown(name), expected: Vec::new(), found: shape.clone() });
        }
        let alpha = f64::from(
            weights.take(name)?.flatten_all()?.to_vec1::<f32>()?.first().copied().unwrap_or(f32::NAN),
        );
        if common.is_some_and(|common| common != alpha) {
            let (kind, found) = ("a LoRA with several alphas".to_owned(), shown(name));
            return Err(LoraError::Kind { file: file.to_owned(), kind, found });
        }
        common = Some(alpha);
    }
    if common.is_some() && without {
        let (kind, found) = ("a LoRA with alphas for some matrices only".to_owned(), "alphas".to_owned());
        return Err(LoraError::Kind { file: file.to_owned(), kind, found });
    }
    Ok(common)
}

/// A target of which a matrix is missing.
fn unpaired(file: &str, target: Target, place: &Place) -> LoraError {
    let found = place.a.as_ref().or(place.b.as_ref()).or(place.alpha.as_ref());
    let found = found.map_or_else(String::new, |tensor| shown(&tensor.name));
    let missing = if place.a.is_some() { Role::B } else { Role::A };
    LoraError::Missing { file: file.to_owned(), found, missing: names::peft(target, missing) }
}

/// Checks that `tensor` is a matrix whose dimension `axis` is the rank that all others have.
fn check_rank(tensor: &Named, axis: usize, rank: &mut Option<usize>) -> Result<(), LoraError> {
    let Named { name, shape } = tensor;
    let found = match shape[..] {
        [_, _] => shape.get(axis).copied().unwrap_or(0),
        _ => {
            return Err(LoraError::Shape {
                tensor: shown(name),
                expected: vec![rank.unwrap_or(0), 0],
                found: shape.clone(),
            });
        }
    };
    if found == 0 || found > MAX_RANK {
        return Err(LoraError::Rank { tensor: shown(name), found });
    }
    match *rank {
        Some(rank) if rank != found => {
            let mut expected = shape.clone();
            if let Some(size) = expected.get_mut(axis) {
                *size = rank;
            }
            Err(LoraError::Shape { tensor: shown(name), expected, found: shape.clone() })
        }
        _ => {
            *rank = Some(found);
            Ok(())
        }
    }
}

/// Alpha, from whoever says it first: the card, the tensors, or PEFT's settings.
fn settle(
    file: &str,
    rank: usize,
    card: Option<&Card>,
    alphas: Option<f64>,
    config: Option<Result<PeftConfig, LoraError>>,
) -> Result<f64, LoraError> {
    let card_error = |what, expected: String, found: String| LoraError::Card {
        file: file.to_owned(),
        what,
        expected,
        found,
    };
    let (said, alpha) = match (card, alphas, config) {
        (Some(card), None, _) => (card.rank, card.alpha),
        (None, Some(alpha), _) => (rank, alpha),
        (None, None, Some(config)) => {
            let config = config?;
            (config.rank, config.alpha)
        }
        (Some(_), Some(_), _) => {
            return Err(card_error(
                "its alpha",
                "one".to_owned(),
                "one in the card and others in tensors".to_owned(),
            ));
        }
        (None, None, None) => {
            let expected = format!("a card, alphas, or PEFT's {CONFIG_FILE} beside it");
            return Err(card_error("its alpha", expected, "none of them".to_owned()));
        }
    };
    if said != rank {
        return Err(card_error("the rank of its tensors", said.to_string(), rank.to_string()));
    }
    if !(alpha.is_finite() && alpha > 0.0 && alpha <= 65_536.0) {
        return Err(card_error(
            "its alpha",
            "a number above 0 and at most 65536".to_owned(),
            alpha.to_string(),
        ));
    }
    Ok(alpha)
}

/// A name from a file, fit for a message.
fn shown(name: &str) -> String {
    line(name, MAX_LINE)
}

fn quoted(name: &str) -> String {
    if name.is_empty() { "an unnamed base".to_owned() } else { format!("the base \u{201c}{name}\u{201d}") }
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// A reader that hashes what passes.
struct Hashing<R> {
    source: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.hash.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
