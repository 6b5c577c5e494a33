//! From a checkpoint's tensors to a part's file: which tensor becomes which, checked before anything is written.

use anyhow::{Context, Result};
use clap::ValueEnum;
use soundlocd_engine::checkpoint::StateDict;
use soundlocd_engine::pack::{FileEntry, Part};
use soundlocd_engine::weights::{
    CONFIG_KEY, Layout, LayoutError, Misfit, PART_KEY, Pending, Storage, write_file,
};
use std::collections::BTreeSet;
use std::path::Path;

/// How matrices are stored. Vectors (biases, norms) always stay f32: they are small and matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stored {
    /// Two bytes a value: exact for what was trained in f16, else 11 bits of mantissa.
    F16,
    /// Four bytes a value, exact.
    F32,
    /// Two bytes a value, 8 bits of mantissa, for values beyond f16's 65504.
    Bf16,
}

impl Stored {
    /// The storage of a tensor of `rank` dimensions.
    pub fn storage(self, rank: usize) -> Storage {
        match self {
            _ if rank < 2 => Storage::F32,
            Self::F32 => Storage::F32,
            Self::F16 => Storage::F16,
            Self::Bf16 => Storage::Bf16,
        }
    }
}

/// What one of our tensors is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The tensor of this name, as it is.
    Plain(String),
    /// The matrix of this name, transposed: PyTorch's linear weights are `[out, in]`, ours `[in, out]`.
    Transposed(String),
    /// `g * v / |v|` of `NAME_g` and `NAME_v` (weight normalisation).
    Normalised(String),
}

impl Origin {
    /// The tensors it needs for one of ours of `shape`, with the shapes that they should have.
    fn parts(&self, shape: &[usize]) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Plain(name) => vec![(name.clone(), shape.to_vec())],
            Self::Transposed(name) => vec![(name.clone(), shape.iter().rev().copied().collect())],
            Self::Normalised(name) => {
                let mut gains = vec![1; shape.len()];
                if let (Some(gain), Some(size)) = (gains.first_mut(), shape.first()) {
                    *gain = *size;
                }
                vec![(format!("{name}_g"), gains), (format!("{name}_v"), shape.to_vec())]
            }
        }
    }

    /// The values of ours of `shape`, row-major.
    fn values(&self, dict: &StateDict<'_>, shape: &[usize]) -> Result<Vec<f32>> {
        Ok(match self {
            Self::Plain(name) => dict.values(name)?,
            Self::Transposed(name) => dict.tensor(name)?.t()?.flatten_all()?.to_vec1()?,
            Self::Normalised(name) => {
                let (g, mut v) = (dict.values(&format!("{name}_g"))?, dict.values(&format!("{name}_v"))?);
                let row = shape.iter().skip(1).product::<usize>().max(1);
                for (row, g) in v.chunks_mut(row).zip(g) {
                    let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                    // A row of zeros has no direction; PyTorch makes NaN of it.
                    let scale = if norm > 0.0 { f64::from(g) / norm } else { 0.0 };
                    row.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
                }
                v
            }
        })
    }
}

/// The tensors of a part, found in a checkpoint, with the right shapes.
#[derive(Debug)]
pub struct Conversion<'a> {
    dict: StateDict<'a>,
    tensors: Vec<(String, Vec<usize>, Origin)>,
}

impl<'a> Conversion<'a> {
    /// Finds every tensor of `layout` in `dict`, where `origin` says what it is called there; `ignored` says which
    /// others may be there.
    ///
    /// # Errors
    /// Lists all tensors that are missing, of another shape, or neither wanted nor ignored.
    pub fn new(
        dict: StateDict<'a>,
        layout: &Layout,
        origin: impl Fn(&str, &[usize]) -> Origin,
        ignored: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let (mut missing, mut others) = (Vec::new(), Vec::new());
        let mut used = BTreeSet::new();
        let mut tensors = Vec::new();
        for (name, shape) in layout.iter() {
            let origin = origin(name, shape);
            for (source, expected) in origin.parts(shape) {
                let tensor = dict.full_name(&source);
                match dict.shape(&source) {
                    None => missing.push(Misfit::Missing { tensor, expected }),
                    Some(found) if found != expected => {
                        others.push(Misfit::Shape { tensor, expected, found: found.to_vec() });
                    }
                    Some(_) => {}
                }
                used.insert(source);
            }
            tensors.push((name.to_owned(), shape.to_vec(), origin));
        }
        for name in dict.names().filter(|name| !used.contains(*name) && !ignored(name)) {
            let found = dict.shape(name).unwrap_or_default().to_vec();
            others.push(Misfit::Unexpected { tensor: dict.full_name(name), found });
        }
        missing.append(&mut others);
        if missing.is_empty() {
            return Ok(Self { dict, tensors });
        }
        let path = dict.path().display().to_string();
        Err(LayoutError { misfits: missing }).with_context(|| path)
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(|(_, shape, _)| shape.iter().product::<usize>() as u64).sum()
    }

    /// Writes the tensors as the file of `part` in `folder`, reading one after the other. A file that is not to lie in a
    /// pack carries its architecture, `config`.
    ///
    /// # Errors
    /// When one cannot be read, is not finite or does not fit its storage, or the file cannot be written.
    pub fn write(
        &self,
        folder: &Path,
        part: Part,
        stored: Stored,
        config: Option<&str>,
    ) -> Result<FileEntry> {
        let pending = self
            .tensors
            .iter()
            .map(|(name, shape, origin)| Pending {
                name: name.clone(),
                shape: shape.clone(),
                storage: stored.storage(shape.len()),
                values: Box::new(move || {
                    origin.values(&self.dict, shape).map_err(|error| format!("cannot be made: {error:#}"))
                }),
            })
            .collect();
        let name = format!("{part}.safetensors");
        let path = folder.join(&name);
        write_file(&path, label(part, config), pending)?;
        FileEntry::of(folder, &name).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// What a file says about itself: its architecture where it is on its own, else which part of its pack it is.
pub fn label(part: Part, config: Option<&str>) -> (&str, &str) {
    config.map_or((PART_KEY, part.name()), |config| (CONFIG_KEY, config))
}
