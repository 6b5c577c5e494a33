//! The files that hold checkpoints: PyTorch's zip archives and the format before them, and safetensors.

use super::pickle::{self, MAX_PICKLE_BYTES, PickleError};
use super::tensor::{ElementKind, TensorView};
use super::value::{Id, Name, Pickle, Storage, Value};
use safetensors::tensor::Metadata;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use zip::{CompressionMethod, ZipArchive};

/// A larger header of a safetensors file is refused: the largest models have some hundred kilobytes.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Most files in a zip archive; the published model has some 2500.
const MAX_ENTRIES: usize = 100_000;

/// What a zip archive starts with.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// What torch.save wrote first before version 1.6: a pickle of its magic number.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";

/// Why a container cannot be opened.
#[derive(Debug)]
pub(super) enum ContainerError {
    Io(std::io::Error),
    Format(String),
    Forbidden(Name),
}

impl From<std::io::Error> for ContainerError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<PickleError> for ContainerError {
    fn from(error: PickleError) -> Self {
        match error {
            PickleError::Malformed(reason) => Self::Format(reason),
            PickleError::Forbidden(name) => Self::Forbidden(name),
        }
    }
}

type Result<T> = std::result::Result<T, ContainerError>;

fn format<T>(reason: impl Into<String>) -> Result<T> {
    Err(ContainerError::Format(reason.into()))
}

/// Bytes of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// What a file says, and where its storages lie.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) pickle: Pickle,
    pub(super) storages: HashMap<String, Extent>,
}

/// Reads everything of `file` but the weights.
pub(super) fn open(file: &mut File) -> Result<Contents> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return format("it is not a regular file");
    }
    let mut start = Vec::new();
    file.take(64).read_to_end(&mut start)?;
    file.rewind()?;
    if start.starts_with(ZIP_MAGIC) {
        return zip(file, metadata.len());
    }
    if start.starts_with(LEGACY_MAGIC) {
        return legacy(file, metadata.len());
    }
    if start.get(8) == Some(&b'{') {
        return safetensors(file, metadata.len());
    }
    if start.first() == Some(&0x80) {
        return format("it is a bare pickle, not what torch.save writes: save it again with torch.save");
    }
    format("it is neither a PyTorch checkpoint (zip archive or the older format) nor a safetensors file")
}

/// A zip archive of `NAME/data.pkl` and `NAME/data/KEY`: torch.save since 1.6, and TorchScript.
fn zip(file: &mut File, length: u64) -> Result<Contents> {
    let broken = |error: zip::result::ZipError| {
        ContainerError::Format(format!("its zip archive is damaged or truncated: {error}"))
    };
    let mut archive = ZipArchive::new(BufReader::new(&mut *file)).map_err(broken)?;
    if archive.len() > MAX_ENTRIES {
        return format(format!(
            "its zip archive has {} files, more than the {MAX_ENTRIES} possible",
            archive.len()
        ));
    }
    let mut entries = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let used = name.ends_with("data.pkl") || name.ends_with("/byteorder") || name.contains("/data/");
        if !used {
            continue;
        }
        if entry.compression() != CompressionMethod::Stored
            || entry.size() != entry.compressed_size()
            || entry.encrypted()
        {
            return format(format!(
                "{} in its zip archive is compressed or encrypted, which torch.save never does: unpack the archive \
                 and pack it again without compression (zip -0 -r)",
                name.escape_debug()
            ));
        }
        let extent = Extent { start: entry.data_start().unwrap_or(u64::MAX), bytes: entry.size() };
        if extent.start.checked_add(extent.bytes).is_none_or(|end| end > length) {
            return format(format!("it is truncated: {} is not all there", name.escape_debug()));
        }
        if entries.insert(name.clone(), extent).is_some() {
            return format(format!("its zip archive has {} twice", name.escape_debug()));
        }
    }
    drop(archive);
    check_overlaps(entries.values())?;

    let names: Vec<&String> = entries.keys().filter(|name| is_root_pickle(name)).collect();
    let [pickle] = names.as_slice() else {
        return format(format!(
            "its zip archive has {} files data.pkl, expected one: it is not a PyTorch checkpoint",
            names.len()
        ));
    };
    let folder = pickle.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    if let Some(order) = entries.get(&format!("{folder}byteorder")) {
        let order = read(file, Extent { bytes: order.bytes.min(16), ..*order })?;
        if !order.starts_with(b"little") {
            return format("it was written on a big-endian machine: load it and save it again on another");
        }
    }
    let bytes = read_pickle(file, entries.get(*pickle).copied())?;
    let (pickle, _) = pickle::parse(&bytes)?;
    let data = format!("{folder}data/");
    let storages = entries
        .iter()
        .filter_map(|(name, extent)| Some((name.strip_prefix(&data)?.to_owned(), *extent)))
        .collect();
    Ok(Contents { pickle, storages })
}

/// `data.pkl` at the top or in the one folder at the top.
fn is_root_pickle(name: &str) -> bool {
    name == "data.pkl" || name.strip_suffix("/data.pkl").is_some_and(|folder| !folder.contains('/'))
}

/// Refuses files in an archive that share bytes: small archives become large ones that way.
fn check_overlaps<'a>(extents: impl Iterator<Item = &'a Extent>) -> Result<()> {
    let mut extents: Vec<Extent> = extents.filter(|extent| extent.bytes > 0).copied().collect();
    extents.sort_by_key(|extent| extent.start);
    let overlap = extents.windows(2).any(|pair| match pair {
        [one, next] => one.start + one.bytes > next.start,
        _ => false,
    });
    if overlap { format("files in its zip archive overlap") } else { Ok(()) }
}

fn read(file: &mut File, extent: Extent) -> Result<Vec<u8>> {
    file.seek(SeekFrom::Start(extent.start))?;
    let mut bytes = Vec::new();
    file.take(extent.bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_pickle(file: &mut File, extent: Option<Extent>) -> Result<Vec<u8>> {
    let Some(extent) = extent else { return format("its data.pkl is missing") };
    if extent.bytes > MAX_PICKLE_BYTES {
        return format(format!(
            "its data.pkl has {} bytes, more than the {MAX_PICKLE_BYTES} possible",
            extent.bytes
        ));
    }
    read(file, extent)
}

/// Pickles of a magic number, a version, the writing machine, the data and the storages' keys; then each storage, as
/// its number of elements and these.
fn legacy(file: &mut File, length: u64) -> Result<Contents> {
    let bytes = read(file, Extent { start: 0, bytes: length.min(MAX_PICKLE_BYTES) })?;
    let mut rest = bytes.as_slice();
    let mut next = || -> Result<Pickle> {
        let (pickle, used) = pickle::parse(rest)?;
        rest = rest.get(used..).unwrap_or_default();
        Ok(pickle)
    };
    let (_magic, version, machine, pickle, keys) = (next()?, next()?, next()?, next()?, next()?);
    if !matches!(version.get(version.root), Value::Int(1001)) {
        return format(
            "its version of PyTorch's older format is unknown: load it and save it again with torch.save",
        );
    }
    let little = machine.field(machine.root, "little_endian").map(|id| machine.get(id));
    if !matches!(little, Some(Value::Bool(true))) {
        return format("it was written on a big-endian machine: load it and save it again on another");
    }
    let kinds: HashMap<&str, ElementKind> = pickle
        .values
        .iter()
        .filter_map(|value| match value {
            Value::Storage(storage) => Some((&*storage.key, storage.kind)),
            _ => None,
        })
        .collect();
    let Value::Sequence(order) = keys.get(keys.root) else {
        return format("its list of storages is damaged");
    };
    let mut at = (bytes.len() - rest.len()) as u64;
    let mut storages = HashMap::new();
    for key in order {
        let truncated = || ContainerError::Format("it is truncated: its storages are not all there".into());
        let Value::Text(key) = keys.get(*key) else { return format("its list of storages is damaged") };
        let Some(kind) = kinds.get(&**key) else { return format("its list of storages is damaged") };
        let count = read(file, Extent { start: at, bytes: 8 })?;
        let count = count.as_slice().try_into().map(u64::from_le_bytes).map_err(|_| truncated())?;
        let extent = Extent { start: at + 8, bytes: count.checked_mul(kind.bytes()).ok_or_else(truncated)? };
        at = extent.start.checked_add(extent.bytes).filter(|end| *end <= length).ok_or_else(truncated)?;
        storages.insert(key.to_string(), extent);
    }
    Ok(Contents { pickle, storages })
}

/// A safetensors file, as if a pickle had described it: one dictionary of tensors, each with a storage of its own.
fn safetensors(file: &mut File, length: u64) -> Result<Contents> {
    let size = read(file, Extent { start: 0, bytes: 8 })?;
    let size = size.as_slice().try_into().map_or(u64::MAX, u64::from_le_bytes);
    if size > MAX_HEADER_BYTES {
        return format(format!(
            "it looks like a safetensors file, but its header has {size} bytes, more than the {MAX_HEADER_BYTES} possible"
        ));
    }
    let header = read(file, Extent { start: 8, bytes: size })?;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| ContainerError::Format(format!("its safetensors header is damaged: {error}")))?;
    let (mut values, mut fields) = (Vec::new(), Vec::new());
    let mut storages = HashMap::new();
    let mut add = |value: Value| {
        values.push(value);
        Id(values.len() as u32 - 1)
    };
    for (name, info) in header.tensors() {
        let (start, end) = info.data_offsets;
        let extent = Extent { start: (8 + size).saturating_add(start as u64), bytes: (end - start) as u64 };
        if extent.start.checked_add(extent.bytes).is_none_or(|end| end > length) {
            return format(format!("it is truncated: {} is not all there", name.escape_debug()));
        }
        let kind = ElementKind::of_dtype(info.dtype);
        let storage =
            Storage { key: name.as_str().into(), kind, elements: extent.bytes / kind.bytes().max(1) };
        storages.insert(name.clone(), extent);
        let shape: Vec<i64> = info.shape.iter().map(|size| *size as i64).collect();
        let mut strides = vec![1i64; shape.len()];
        for at in (1..shape.len()).rev() {
            if let (Some(size), Some(step)) = (shape.get(at), strides.get(at)) {
                let step = step.saturating_mul(*size);
                if let Some(before) = strides.get_mut(at - 1) {
                    *before = step;
                }
            }
        }
        let key = add(Value::Text(name.as_str().into()));
        let tensor = add(Value::Tensor(TensorView { storage, offset: 0, shape, strides }));
        fields.push((key, tensor));
    }
    let root = add(Value::Dict(fields));
    Ok(Contents { pickle: Pickle { values, root }, storages })
}
