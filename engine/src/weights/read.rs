//! Bytes to tensors.

use super::header::{self, Limits};
use super::{CONFIG_KEY, PART_KEY, SCALE_SUFFIX, WeightsError};
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use parking_lot::Mutex;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind, Read};

/// Values decoded at a time: a buffer of this many halves stays in the first-level cache.
const CHUNK: usize = 2048;
/// Values that a parallel task decodes.
const TASK: usize = 64 * CHUNK;
/// What the weights of a pack may have: the largest that are published have a thousand tensors.
const PACK: Limits = Limits { header_bytes: 16 << 20, tensors: 65_536, keys: &[PART_KEY, CONFIG_KEY] };

/// The tensors of one file, as they are stored; they become f32 one by one, when they are asked for.
#[derive(Debug)]
pub struct Weights<'a> {
    file: String,
    metadata: HashMap<String, String>,
    parameters: u64,
    tensors: HashMap<String, Stored<'a>>,
}

/// A tensor's bytes and what they mean.
#[derive(Debug)]
struct Stored<'a> {
    info: TensorInfo,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Weights<'a> {
    /// Of the bytes of a safetensors file, which stay where they are. `file` is its name for messages.
    ///
    /// # Errors
    /// When the bytes are not a safetensors file, or a tensor has another dtype than f32, f16, bf16 or scaled int8.
    pub fn decode(file: &str, bytes: &'a [u8]) -> Result<Self, WeightsError> {
        Self::from_pieces(file, bytes.len() as u64, bytes, PACK)
    }

    /// From a safetensors file of `size` bytes, read once from beginning to end, every tensor into memory of its own.
    ///
    /// # Errors
    /// As [`Weights::decode`], and when reading fails.
    pub fn read(file: &str, size: u64, source: impl Read) -> Result<Self, WeightsError> {
        Self::read_limited(file, size, source, PACK)
    }

    /// As [`Self::read`], with other limits.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_limited(
        file: &str,
        size: u64,
        source: impl Read,
        limits: Limits,
    ) -> Result<Self, WeightsError> {
        Self::from_pieces(file, size, Copying(source), limits)
    }

    /// Asks `source` for `size` bytes altogether at most.
    fn from_pieces(
        file: &str,
        size: u64,
        mut source: impl Pieces<'a>,
        limits: Limits,
    ) -> Result<Self, WeightsError> {
        let malformed = |reason: &str| WeightsError::Malformed { file: file.into(), reason: reason.into() };
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::UnexpectedEof => malformed("it ends early"),
            ErrorKind::InvalidData => malformed(&source.to_string()),
            _ => WeightsError::Read { file: file.into(), source },
        };
        let length = source.piece(8).map_err(failed)?;
        let length = length.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
        if length > limits.header_bytes || length + 8 > size {
            return Err(malformed(&format!("its header is said to have {length} bytes")));
        }
        let header = header::read(&mut source, length, limits).map_err(failed)?;
        if 8 + length + header.data_len() as u64 != size {
            return Err(malformed("its tensors have another size than the file"));
        }
        let metadata = header.metadata().clone().unwrap_or_default();
        let mut tensors = HashMap::new();
        for name in header.offset_keys() {
            let Some(info) = header.info(&name).cloned() else { continue };
            let bytes = source.piece(info.data_offsets.1 - info.data_offsets.0).map_err(failed)?;
            tensors.insert(name, Stored { info, bytes });
        }
        let mut weights = Self { file: file.into(), metadata, parameters: 0, tensors };
        weights.parameters = weights.check_types()?;
        Ok(weights)
    }

    /// Checks what the header says of each tensor; returns how many numbers they hold together.
    fn check_types(&self) -> Result<u64, WeightsError> {
        let mut parameters = 0;
        for (name, stored) in self.tensors.iter().filter(|(name, _)| !self.is_scale(name)) {
            match stored.info.dtype {
                Dtype::F32 | Dtype::F16 | Dtype::BF16 => {}
                Dtype::I8 => {
                    let scale = self.scale(name).ok_or("is int8 but has no scales".into());
                    scale
                        .and_then(|scale| stored.check_scale(scale))
                        .map_err(|reason| self.unusable(name, reason))?;
                }
                other => {
                    let reason = format!("is of the type {other:?}; expected F32, F16, BF16 or I8");
                    return Err(self.unusable(name, reason));
                }
            }
            parameters += stored.info.shape.iter().product::<usize>() as u64;
        }
        Ok(parameters)
    }

    /// Whether `name` is the companion of an int8 tensor.
    fn is_scale(&self, name: &str) -> bool {
        name.strip_suffix(SCALE_SUFFIX)
            .and_then(|base| self.tensors.get(base))
            .is_some_and(|stored| stored.info.dtype == Dtype::I8)
    }

    fn scale(&self, name: &str) -> Option<&Stored<'a>> {
        self.tensors.get(&format!("{name}{SCALE_SUFFIX}"))
    }

    fn unusable(&self, tensor: &str, reason: String) -> WeightsError {
        WeightsError::Tensor { file: self.file.clone(), tensor: tensor.into(), reason }
    }

    /// The [part](PART_KEY) of a pack that the file says it holds; `None` where it does not say.
    #[must_use]
    pub fn part(&self) -> Option<&str> {
        self.metadata(PART_KEY)
    }

    /// What the file's metadata say under `key`, one of those that are kept.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// How a tensor is stored, if it is there.
    #[must_use]
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|stored| stored.info.dtype)
    }

    /// The shape of every tensor.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.names().map(|name| (name.clone(), self.tensors[name].info.shape.clone())).collect()
    }

    /// How many numbers the tensors hold together.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// A tensor, f32 on the CPU.
    ///
    /// # Errors
    /// When there is none of that name, or a value in it is not finite.
    pub fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        match self.tensors.get(name) {
            Some(stored) => stored.decode(&self.file, name, self.scale(name)),
            None => Err(self.unusable(name, "is missing".into())),
        }
    }

    /// All tensors, f32 on the CPU.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn tensors(&self) -> Result<HashMap<String, Tensor>, WeightsError> {
        self.names().map(|name| Ok((name.clone(), self.tensor(name)?))).collect()
    }

    /// Takes a tensor out, f32 on the CPU, and frees what it was stored in.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn take(&mut self, name: &str) -> Result<Tensor, WeightsError> {
        let tensor = self.tensor(name)?;
        self.tensors.remove(&format!("{name}{SCALE_SUFFIX}"));
        self.tensors.remove(name);
        Ok(tensor)
    }

    /// Decodes every tensor, to see whether that works.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn check(&self) -> Result<(), WeightsError> {
        self.names().try_for_each(|name| self.tensor(name).map(drop))
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.tensors.keys().filter(|name| !self.is_scale(name))
    }

    /// The tensors as a module's constructor wants them, on `device`.
    ///
    /// Each can be taken once and its bytes are freed then, so that a module which keeps its weights in another form
    /// never makes memory hold all of them twice.
    #[must_use]
    pub fn into_var_builder(self, device: &Device) -> VarBuilder<'a> {
        VarBuilder::from_backend(Box::new(Taking(Mutex::new(self))), DType::F32, device.clone())
    }
}

/// A file from beginning to end.
trait Pieces<'a>: Read {
    /// The next bytes, where they are or in memory of their own.
    fn piece(&mut self, length: usize) -> io::Result<Cow<'a, [u8]>>;
}

impl<'a> Pieces<'a> for &'a [u8] {
    fn piece(&mut self, length: usize) -> io::Result<Cow<'a, [u8]>> {
        let (piece, rest) = self.split_at_checked(length).ok_or(ErrorKind::UnexpectedEof)?;
        *self = rest;
        Ok(Cow::Borrowed(piece))
    }
}

/// A source of which each piece becomes memory of its own.
struct Copying<R>(R);

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<'a, R: Read> Pieces<'a> for Copying<R> {
    fn piece(&mut self, length: usize) -> io::Result<Cow<'a, [u8]>> {
        let mut bytes = Vec::new();
        // A huge but honest file is still a refusal, not an abort, where memory is short.
        bytes.try_reserve_exact(length).map_err(|_| ErrorKind::OutOfMemory)?;
        self.0.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() == length { Ok(Cow::Owned(bytes)) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

/// Weights of which each tensor can be taken once.
struct Taking<'a>(Mutex<Weights<'a>>);

impl Taking<'_> {
    fn take(&self, name: &str, shape: Option<&Shape>, device: &Device) -> candle_core::Result<Tensor> {
        let mut weights = self.0.lock();
        let Some(stored) = weights.tensors.remove(name) else {
            return Err(candle_core::Error::CannotFindTensor { path: name.into() });
        };
        let found = Shape::from(stored.info.shape.as_slice());
        if let Some(expected) = shape.filter(|shape| **shape != found) {
            return Err(candle_core::Error::UnexpectedShape {
                msg: format!("shape mismatch for {name}"),
                expected: expected.clone(),
                got: found,
            });
        }
        let scale = weights.tensors.remove(&format!("{name}{SCALE_SUFFIX}"));
        let file = weights.file.clone();
        drop(weights);
        stored.decode(&file, name, scale.as_ref()).map_err(candle_core::Error::wrap)?.to_device(device)
    }
}

impl SimpleBackend for Taking<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.take(name, Some(&shape), device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        self.take(name, None, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.lock().tensors.contains_key(name)
    }
}

impl Stored<'_> {
    /// The tensor in f32, all of it finite. `file` and `name` are for messages.
    fn decode(&self, file: &str, name: &str, scale: Option<&Stored>) -> Result<Tensor, WeightsError> {
        let values = self.values(scale);
        let finite = |values: &[f32]| values.iter().fold(true, |finite, value| finite & value.is_finite());
        if !values.par_chunks(TASK).all(finite) {
            let reason = "holds a value that is not a number".into();
            return Err(WeightsError::Tensor { file: file.into(), tensor: name.into(), reason });
        }
        Tensor::from_vec(values, self.info.shape.as_slice(), &Device::Cpu)
            .map_err(|source| WeightsError::Backend { file: file.into(), source })
    }

    /// The values as f32; the types have been checked.
    fn values(&self, scale: Option<&Stored>) -> Vec<f32> {
        match self.info.dtype {
            Dtype::F16 => halves(&self.bytes, |bits, out| {
                bits.reinterpret_cast::<f16>().convert_to_f32_slice(out);
            }),
            Dtype::BF16 => halves(&self.bytes, |bits, out| {
                bits.reinterpret_cast::<bf16>().convert_to_f32_slice(out);
            }),
            Dtype::I8 => scale.map(|scale| self.dequantise(scale)).unwrap_or_default(),
            _ => floats(&self.bytes),
        }
    }

    /// Whether `scale` has one value for each channel along one dimension of this int8 tensor.
    fn check_scale(&self, scale: &Stored) -> Result<(), String> {
        let (shape, scale_shape) = (&self.info.shape, &scale.info.shape);
        let fits = scale.info.dtype == Dtype::F32
            && shape.len() == scale_shape.len()
            && shape.iter().zip(scale_shape).all(|(&size, &scales)| scales == 1 || scales == size)
            && scale_shape.iter().filter(|&&scales| scales != 1).count() <= 1;
        if fits {
            return Ok(());
        }
        let dtype = scale.info.dtype;
        Err(format!("has the shape {shape:?}, which its scales {scale_shape:?} ({dtype:?}) do not fit"))
    }

    /// `q * s`, the scale's one dimension that is not 1 being the channel's.
    fn dequantise(&self, scale: &Stored) -> Vec<f32> {
        let scales = floats(&scale.bytes);
        // Elements between one channel's value and the next channel's.
        let axis = scale.info.shape.iter().position(|&scales| scales != 1).unwrap_or(0);
        let inner: usize = self.info.shape.iter().skip(axis + 1).product();
        let integers = &self.bytes;
        let mut values = Vec::with_capacity(integers.len());
        if scales.len() == 1 {
            let by = scales.first().copied().unwrap_or(0.0);
            values.extend(integers.iter().map(|&q| f32::from(q.cast_signed()) * by));
        } else if inner <= 1 {
            for row in integers.chunks(scales.len().max(1)) {
                values.extend(row.iter().zip(&scales).map(|(&q, by)| f32::from(q.cast_signed()) * by));
            }
        } else {
            for (channel, by) in integers.chunks(inner).zip(scales.iter().cycle()) {
                values.extend(channel.iter().map(|&q| f32::from(q.cast_signed()) * by));
            }
        }
        values
    }
}

/// Little-endian f32 bytes, of any alignment.
fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// Little-endian 16-bit words, of any alignment, through `convert` a chunk at a time.
fn halves(bytes: &[u8], convert: impl Fn(&[u16], &mut [f32]) + Sync) -> Vec<f32> {
    let words = bytes.as_chunks::<2>().0;
    let mut values = vec![0f32; words.len()];
    words.par_chunks(TASK).zip(values.par_chunks_mut(TASK)).for_each(|(words, values)| {
        let mut bits = Vec::with_capacity(CHUNK);
        for (words, values) in words.chunks(CHUNK).zip(values.chunks_mut(CHUNK)) {
            bits.clear();
            bits.extend(words.iter().map(|word| u16::from_le_bytes(*word)));
            convert(&bits, values);
        }
    });
    values
}
