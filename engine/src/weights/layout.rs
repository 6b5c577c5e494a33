//! Which tensors an architecture wants, and how a checkpoint differs from that.

use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Names and shapes of the tensors that a module loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(BTreeMap<String, Vec<usize>>);

impl Layout {
    /// The tensors that `new` asks for.
    ///
    /// It gets zeros that occupy no memory, so that sizes from an unknown file cost nothing.
    ///
    /// # Errors
    /// Whatever `new` reports.
    pub fn of<T>(new: impl FnOnce(VarBuilder<'static>) -> Result<T>) -> Result<Self> {
        let recorder = Recorder::default();
        let asked = recorder.asked.clone();
        new(VarBuilder::from_backend(Box::new(recorder), DType::F32, Device::Cpu))?;
        let asked = std::mem::take(&mut *asked.lock());
        Ok(Self(asked))
    }

    /// Names and shapes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.0.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))
    }

    /// Compares with the tensors of a checkpoint, names and shapes alike.
    ///
    /// # Errors
    /// Every difference, missing tensors first.
    pub fn check(&self, tensors: &BTreeMap<String, Tensor>) -> std::result::Result<(), LayoutError> {
        let mut missing = Vec::new();
        let mut others = Vec::new();
        for (name, expected) in &self.0 {
            let (tensor, expected) = (name.clone(), expected.clone());
            match tensors.get(name).map(Tensor::dims) {
                None => missing.push(Misfit::Missing { tensor, expected }),
                Some(found) if found != expected => {
                    others.push(Misfit::Shape { tensor, expected, found: found.to_vec() });
                }
                Some(_) => {}
            }
        }
        for (name, tensor) in tensors.iter().filter(|(name, _)| !self.0.contains_key(*name)) {
            others.push(Misfit::Unexpected { tensor: name.clone(), found: tensor.dims().to_vec() });
        }
        missing.append(&mut others);
        if missing.is_empty() { Ok(()) } else { Err(LayoutError { misfits: missing }) }
    }
}

/// One difference between a checkpoint and the architecture it should be of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misfit {
    /// The checkpoint lacks a tensor.
    Missing {
        /// Its name.
        tensor: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor has another shape.
    Shape {
        /// Its name.
        tensor: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// The checkpoint has a tensor that the architecture does not know.
    Unexpected {
        /// Its name.
        tensor: String,
        /// The shape it has.
        found: Vec<usize>,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { tensor, expected } => write!(f, "{tensor} {expected:?} is missing"),
            Self::Shape { tensor, expected, found } => {
                write!(f, "{tensor} should have the shape {expected:?} and has {found:?}")
            }
            Self::Unexpected { tensor, found } => write!(f, "{tensor} {found:?} is not expected"),
        }
    }
}

/// All differences between a checkpoint and an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutError {
    /// At least one.
    pub misfits: Vec<Misfit>,
}

impl std::error::Error for LayoutError {}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More would hide the first.
        const SHOWN: usize = 5;
        write!(f, "its tensors do not fit: ")?;
        for (index, misfit) in self.misfits.iter().take(SHOWN).enumerate() {
            write!(f, "{}{misfit}", if index > 0 { "; " } else { "" })?;
        }
        match self.misfits.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Notes what is asked of it.
#[derive(Debug, Default)]
struct Recorder {
    asked: Arc<Mutex<BTreeMap<String, Vec<usize>>>>,
}

impl SimpleBackend for Recorder {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.asked.lock().insert(name.to_owned(), shape.dims().to_vec());
        // One zero, seen everywhere.
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        Err(Error::Msg(format!("{name} is loaded without a shape")).bt())
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}
