//! Published checkpoints, read without running anything in them.
//!
//! A checkpoint is a tree of dictionaries with tensors as leaves: what `torch.save` writes (since version 1.6 a zip
//! archive, before that a series of pickles), a TorchScript archive (whose modules count as dictionaries) or a
//! safetensors file. [`Checkpoint::open`] reads the tree; the tensors stay in the file until
//! [`StateDict::values`] asks for one, so that a model of any size is converted in the memory of its largest tensor.
//!
//! Files come from strangers. A pickle is a program; the machine here knows a handful of constructors, refuses every
//! other by its name, and has limits on all that a file could blow up. A tensor is given out only if its storage is
//! really in the file and holds all of it.

mod constructor;
mod container;
mod error;
mod pickle;
mod tensor;
mod value;

pub use error::CheckpointError;

use candle_core::{Device, Tensor};
use container::{ContainerError, Contents, Extent};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tensor::{CheckedTensor, ElementKind};
use value::{Id, Value};

/// Most tensors of a state dict, and most modules that a TorchScript archive is searched for them.
const MAX_TENSORS: usize = 1 << 17;
/// Modules within modules.
const MAX_DEPTH: usize = 64;
/// Longest name of a tensor, in bytes.
const MAX_NAME: usize = 1000;

/// A checkpoint file, its tensors unread.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: Mutex<File>,
    contents: Contents,
}

impl Checkpoint {
    /// Opens the file `path` and reads all but its tensors.
    ///
    /// # Errors
    /// When it is no checkpoint, is damaged or truncated, names anything but the constructors of weights, or exceeds
    /// a limit.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { file: path.into(), source };
        let mut file = File::open(path).map_err(io)?;
        let contents = container::open(&mut file).map_err(|error| match error {
            ContainerError::Io(source) => io(source),
            ContainerError::Format(reason) => CheckpointError::Format { file: path.into(), reason },
            ContainerError::Forbidden(name) => {
                CheckpointError::Forbidden { file: path.into(), name: name.to_string() }
            }
        })?;
        Ok(Self { path: path.into(), file: Mutex::new(file), contents })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of what lies at the top, shortened to a line; for messages.
    #[must_use]
    pub fn summary(&self) -> String {
        const SHOWN: usize = 8;
        let pickle = &self.contents.pickle;
        let names: Vec<&str> = pickle.named_fields(pickle.root).map(|(name, _)| name).collect();
        let mut text: Vec<String> =
            names.iter().take(SHOWN).map(|name| name.escape_debug().take(60).collect()).collect();
        match names.len() {
            0 => return "nothing with a name".into(),
            count if count > SHOWN => text.push(format!("and {} more", count - SHOWN)),
            _ => {}
        }
        text.join(", ")
    }

    /// The tensors below the dictionary at `keys` (none: at the top), by their names; dictionaries and modules within
    /// it join their names by dots. `None` where there is no such dictionary.
    ///
    /// # Errors
    /// When a tensor does not lie within its storage, or there are too many.
    pub fn state_dict(&self, keys: &[&str]) -> Result<Option<StateDict<'_>>, CheckpointError> {
        let pickle = &self.contents.pickle;
        let mut place = pickle.root;
        for key in keys {
            match pickle.field(place, key) {
                Some(id) => place = id,
                None => return Ok(None),
            }
        }
        if !matches!(pickle.get(place), Value::Dict(_) | Value::Module(_)) {
            return Ok(None);
        }
        let mut tensors = BTreeMap::new();
        let mut visited = 0;
        self.collect(place, &mut String::new(), 0, &mut visited, &mut tensors)?;
        Ok(Some(StateDict { checkpoint: self, prefix: String::new(), tensors }))
    }

    fn collect(
        &self,
        place: Id,
        name: &mut String,
        depth: usize,
        visited: &mut usize,
        tensors: &mut BTreeMap<String, CheckedTensor>,
    ) -> Result<(), CheckpointError> {
        let pickle = &self.contents.pickle;
        for (key, id) in pickle.named_fields(place) {
            *visited += 1;
            let length = name.len();
            if *visited > MAX_TENSORS || depth > MAX_DEPTH || length + key.len() > MAX_NAME {
                return Err(self.format(format!(
                    "it has more than {MAX_TENSORS} entries, more than {MAX_DEPTH} levels, or a name of more than \
                     {MAX_NAME} characters"
                )));
            }
            if length > 0 {
                name.push('.');
            }
            name.push_str(key);
            match pickle.get(id) {
                Value::Tensor(view) => {
                    let available = self.extent(&view.storage.key).map(|extent| extent.bytes);
                    let tensor = view.check(available).map_err(|reason| self.tensor_error(name, reason))?;
                    tensors.insert(name.clone(), tensor);
                }
                Value::Dict(_) | Value::Module(_) => self.collect(id, name, depth + 1, visited, tensors)?,
                _ => {}
            }
            name.truncate(length);
        }
        Ok(())
    }

    fn extent(&self, key: &str) -> Option<Extent> {
        self.contents.storages.get(key).copied()
    }

    fn format(&self, reason: String) -> CheckpointError {
        CheckpointError::Format { file: self.path.clone(), reason }
    }

    fn tensor_error(&self, tensor: &str, reason: String) -> CheckpointError {
        let tensor = tensor.escape_debug().take(200).collect();
        CheckpointError::Tensor { file: self.path.clone(), tensor, reason }
    }

    /// The values of `tensor` in row-major order.
    fn read(&self, name: &str, tensor: &CheckedTensor) -> Result<Vec<f32>, CheckpointError> {
        let kind = tensor.storage.kind;
        let fail = |reason: &str| self.tensor_error(name, reason.into());
        let missing = || fail("is not all there");
        let extent = self.extent(&tensor.storage.key).ok_or_else(missing)?;
        let start = extent.start + tensor.offset * kind.bytes();
        let length = tensor.span * kind.bytes();
        let mut bytes = Vec::new();
        let io = |source| CheckpointError::Io { file: self.path.clone(), source };
        {
            let mut file = self.file.lock();
            file.seek(SeekFrom::Start(start)).map_err(io)?;
            (&mut *file).take(length).read_to_end(&mut bytes).map_err(io)?;
        }
        if bytes.len() as u64 != length {
            return Err(missing());
        }
        let span = kind.decode(&bytes).ok_or_else(|| fail("is of whole numbers, expected floats"))?;
        Ok(tensor.gather(span))
    }
}

/// Tensors of a checkpoint by name.
#[derive(Debug, Clone)]
pub struct StateDict<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
    tensors: BTreeMap<String, CheckedTensor>,
}

impl<'a> StateDict<'a> {
    /// Those tensors whose names start with `prefix`, named without it.
    #[must_use]
    pub fn below(&self, prefix: &str) -> StateDict<'a> {
        let tensors = self
            .tensors
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())))
            .collect();
        StateDict { checkpoint: self.checkpoint, prefix: format!("{}{prefix}", self.prefix), tensors }
    }

    /// The file that the tensors are in.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// Names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// `name` as the file has it.
    #[must_use]
    pub fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether there are no tensors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Whether there is a tensor of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether a tensor is of floats, as all weights are.
    #[must_use]
    pub fn is_float(&self, name: &str) -> bool {
        self.tensors.get(name).is_some_and(|tensor| !matches!(tensor.storage.kind, ElementKind::Other(_)))
    }

    /// The shape of a tensor.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// Reads a tensor's values, in row-major order.
    ///
    /// # Errors
    /// When there is no such tensor, it is not of floats, one of them is not finite, or the file cannot be read.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let values = self.raw_values(name)?;
        if !values.iter().fold(true, |finite, value| finite & value.is_finite()) {
            let reason = "holds a value that is not a finite number".into();
            return Err(self.checkpoint.tensor_error(&self.full_name(name), reason));
        }
        Ok(values)
    }

    /// The same for tensors that may hold infinite values, such as logarithms of probabilities.
    ///
    /// # Errors
    /// When there is no such tensor, it is not of floats, or the file cannot be read.
    pub fn raw_values(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let full = self.full_name(name);
        match self.tensors.get(name) {
            Some(tensor) => self.checkpoint.read(&full, tensor),
            None => Err(self.checkpoint.tensor_error(&full, "is missing".into())),
        }
    }

    /// Reads a tensor, as f32 on the CPU.
    ///
    /// # Errors
    /// As [`Self::values`].
    pub fn tensor(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let values = self.values(name)?;
        let shape = self.shape(name).unwrap_or_default();
        Tensor::from_vec(values, shape, &Device::Cpu)
            .map_err(|error| self.checkpoint.tensor_error(&self.full_name(name), error.to_string()))
    }
}

#[cfg(test)]
mod tests;
