//! The header of a safetensors file.
//!
//! The format's own reader keeps everything that a header holds, in a form that takes up to twenty times the memory of
//! the text. This one keeps what is asked for and refuses what no tensor needs while it reads, so that a header
//! costs about what it is long; that the tensors follow one another and fit their shapes, the format's reader checks.

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read};

/// Dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;
/// Bytes of a tensor's name.
const MAX_NAME: usize = 512;
/// Bytes read at a time.
const BUFFER: u64 = 4096;

/// What of a header is read, and what is too much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of the header.
    pub header_bytes: u64,
    /// Tensors.
    pub tensors: usize,
    /// Keys of the metadata that are kept.
    pub keys: &'static [&'static str],
}

/// Reads a header of `length` bytes.
///
/// # Errors
/// [`ErrorKind::UnexpectedEof`] where the source ends early, [`ErrorKind::InvalidData`] with the reason where the header
/// is none, or whatever the source reports.
pub(super) fn read(source: impl Read, length: u64, limits: Limits) -> io::Result<Metadata> {
    let mut source = BufReader::with_capacity(length.min(BUFFER) as usize, source.take(length));
    let mut json = serde_json::Deserializer::from_reader(&mut source);
    let found = Whole(limits).deserialize(&mut json).and_then(|found| json.end().map(|()| found));
    let is_short = source.get_ref().limit() > 0;
    let found = match found {
        Ok(_) if is_short => return Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.is_io() || (error.is_eof() && is_short) => return Err(error.into()),
        Err(error) => return Err(invalid(&error)),
        Ok(found) => found,
    };
    Metadata::new(Some(found.metadata), found.tensors).map_err(|error| invalid(&error))
}

fn invalid(error: &impl ToString) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.to_string())
}

/// A whole header within limits.
struct Whole(Limits);

/// What was found.
struct Found {
    metadata: HashMap<String, String>,
    /// By offset.
    tensors: Vec<(String, TensorInfo)>,
}

/// For visitors of JSON from strangers: text where none belongs is not repeated in the message, for it may be as long as
/// the file, and longer when it is escaped. Seen only by visitors of `deserialize_any`: where the format is asked for another type it makes the message itself.
macro_rules! refuse_text {
    () => {
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(E::invalid_type(serde::de::Unexpected::Other("text"), &self))
        }
    };
}
pub(crate) use refuse_text;

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Found, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of tensors")
    }

    refuse_text!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let (mut metadata, mut tensors) = (None, Vec::new());
        while let Some(Name(name)) = map.next_key()? {
            if name == "__metadata__" {
                if metadata.replace(map.next_value_seed(Kept(self.0.keys))?).is_some() {
                    return Err(A::Error::duplicate_field("__metadata__"));
                }
                continue;
            }
            if tensors.len() == self.0.tensors {
                return Err(A::Error::custom(format_args!("it has more than {} tensors", self.0.tensors)));
            }
            let Info(info) = map.next_value()?;
            tensors.push((name, info));
        }
        tensors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(twice) = tensors.windows(2).find(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
            let name = twice.first().map_or("", |(name, _)| name);
            return Err(A::Error::custom(format_args!("the tensor {name} is there twice")));
        }
        // Empty tensors share an offset.
        tensors.sort_unstable_by(|(a, x), (b, y)| (x.data_offsets, a).cmp(&(y.data_offsets, b)));
        Ok(Found { metadata: metadata.unwrap_or_default(), tensors })
    }
}

/// A tensor's name.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
                if name.len() > MAX_NAME {
                    return Err(E::custom(format_args!("a tensor's name has {} bytes", name.len())));
                }
                if name.contains(char::is_control) {
                    return Err(E::custom("a tensor's name has control characters"));
                }
                Ok(Name(name.to_owned()))
            }
        }
        json.deserialize_str(Text)
    }
}

/// The metadata under these keys.
struct Kept(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Kept {
    type Value = HashMap<String, String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Kept {
    type Value = HashMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of texts")
    }

    refuse_text!();

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(HashMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kept = HashMap::new();
        while let Some(key) = map.next_key_seed(OneOf(self.0))? {
            let Some(key) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if kept.insert(key.to_owned(), map.next_value()?).is_some() {
                return Err(A::Error::duplicate_field(key));
            }
        }
        Ok(kept)
    }
}

/// Which of these words is there, if any.
struct OneOf(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for OneOf {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().copied().find(|word| *word == text))
    }
}

/// What the header says of one tensor.
struct Info(TensorInfo);

impl<'de> Deserialize<'de> for Info {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Info;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a tensor's dtype, shape and data_offsets")
            }

            refuse_text!();

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Info, A::Error> {
                let (mut dtype, mut shape, mut extent) = (None, None, None);
                while let Some(field) = map.next_key_seed(OneOf(&["dtype", "shape", "data_offsets"]))? {
                    let twice = match field {
                        Some("dtype") => dtype.replace(map.next_value::<Type>()?).is_some(),
                        Some("shape") => shape.replace(map.next_value::<Numbers>()?).is_some(),
                        Some(_) => extent.replace(map.next_value::<Numbers>()?).is_some(),
                        None => {
                            map.next_value::<IgnoredAny>()?;
                            false
                        }
                    };
                    if let (Some(field), true) = (field, twice) {
                        return Err(A::Error::duplicate_field(field));
                    }
                }
                let Type(dtype) = dtype.ok_or_else(|| A::Error::missing_field("dtype"))?;
                let Numbers(shape) = shape.ok_or_else(|| A::Error::missing_field("shape"))?;
                let Numbers(extent) = extent.ok_or_else(|| A::Error::missing_field("data_offsets"))?;
                let [start, end] = extent[..] else {
                    return Err(A::Error::invalid_length(extent.len(), &"data_offsets of two numbers"));
                };
                // Also where one of them is 0: strides are products of some of them.
                if shape.iter().try_fold(1usize, |n, size| n.checked_mul((*size).max(1))).is_none() {
                    return Err(A::Error::custom("a shape is too large"));
                }
                Ok(Info(TensorInfo { dtype, shape, data_offsets: (start, end) }))
            }
        }
        json.deserialize_any(Fields)
    }
}

/// The type of a tensor's values.
struct Type(Dtype);

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dtype")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Type, E> {
                let known = Dtype::deserialize(StrDeserializer::<serde::de::value::Error>::new(text));
                known.map(Type).map_err(|_| {
                    let start: String = text.chars().filter(|c| !c.is_control()).take(20).collect();
                    E::custom(format_args!("unknown dtype {start}"))
                })
            }
        }
        json.deserialize_str(Text)
    }
}

/// A few numbers: a shape, or where a tensor begins and ends.
struct Numbers(Vec<usize>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Numbers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_DIMENSIONS} numbers")
            }

            refuse_text!();

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers, A::Error> {
                let mut numbers = [0; MAX_DIMENSIONS];
                let mut count = 0;
                while let Some(Number(number)) = list.next_element()? {
                    match numbers.get_mut(count) {
                        Some(place) => *place = number,
                        None => return Err(A::Error::invalid_length(count + 1, &self)),
                    }
                    count += 1;
                }
                Ok(Numbers(numbers.into_iter().take(count).collect()))
            }
        }
        json.deserialize_any(List)
    }
}

/// A size or an offset.
struct Number(usize);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size")
            }

            refuse_text!();

            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                let size = usize::try_from(number);
                size.map(Number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
        }
        json.deserialize_any(Size)
    }
}
