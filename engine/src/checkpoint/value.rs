//! What a pickle describes, as far as a checkpoint needs it.

use super::tensor::{ElementKind, TensorView};

/// A value's place among the values of its [`Pickle`].
///
/// Values refer to each other by place, so that shared, deeply nested and even circular ones cost neither copies nor
/// recursion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) u32);

/// A parsed pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) values: Vec<Value>,
    pub(super) root: Id,
}

/// One value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Text(Box<str>),
    /// A tuple or a list.
    Sequence(Vec<Id>),
    /// A dictionary of any kind, in the order of the file.
    Dict(Vec<(Id, Id)>),
    /// A module of a TorchScript archive, with its attributes.
    Module(Vec<(Id, Id)>),
    /// A function or class, named but not called.
    Name(Name),
    /// Bytes of the archive that tensors look into.
    Storage(Storage),
    Tensor(TensorView),
    /// What no reader of weights asks for: None, floats, bytes, dates, optimizer settings.
    Opaque,
}

/// `module.name` of a function or class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) module: Box<str>,
    pub(super) name: Box<str>,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // As in the file, hence hostile: no control characters on the user's terminal.
        write!(f, "{}.{}", self.module.escape_debug(), self.name.escape_debug())
    }
}

/// A storage as the pickle describes it; whether the archive really has it is another matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) key: Box<str>,
    pub(super) kind: ElementKind,
    pub(super) elements: u64,
}

impl Pickle {
    /// The value at `id`.
    pub(super) fn get(&self, id: Id) -> &Value {
        // Every id is made together with its value.
        self.values.get(id.0 as usize).unwrap_or(&Value::Opaque)
    }

    /// The fields of the dictionary or module at `id`; none of other values.
    pub(super) fn fields(&self, id: Id) -> &[(Id, Id)] {
        match self.get(id) {
            Value::Dict(fields) | Value::Module(fields) => fields,
            _ => &[],
        }
    }

    /// Those fields whose key is a text.
    pub(super) fn named_fields(&self, id: Id) -> impl Iterator<Item = (&str, Id)> {
        self.fields(id).iter().filter_map(|(key, value)| match self.get(*key) {
            Value::Text(key) => Some((&**key, *value)),
            _ => None,
        })
    }

    /// The field `key` of the dictionary or module at `id`; the last of several, as Python has it.
    pub(super) fn field(&self, id: Id, key: &str) -> Option<Id> {
        self.named_fields(id).filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }
}
