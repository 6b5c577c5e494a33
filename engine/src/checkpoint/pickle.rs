//! A pickle machine that cannot run anything: it only knows the constructors that state dicts are made of.
//!
//! `candle_core::pickle` is for files that one trusts: it allocates whatever length an opcode declares, copies a
//! value each time the memo recalls it (so that a few bytes become gigabytes), and unpacks the archive without limit.

use super::constructor::Constructor;
use super::tensor::{ElementKind, TensorView};
use super::value::{Id, Name, Pickle, Storage, Value};
use std::collections::HashMap;

/// A larger pickle is refused: the published model's, with its optimizer, has less than one megabyte.
pub(super) const MAX_PICKLE_BYTES: u64 = 16 << 20;
/// Most values; every one costs a byte of the pickle at least.
const MAX_VALUES: usize = 2 << 20;
/// Most values that wait on the stack, marks included.
const MAX_STACK: usize = 1 << 16;
/// Most values that the memo recalls.
const MAX_MEMO: usize = 1 << 20;

/// Most values that are copied from one container into others, all together.
const MAX_COPIES: usize = 2 << 20;
/// Longest name of a function, class or storage, in bytes.
const MAX_NAME: usize = 200;
/// Most arguments of a call.
const MAX_ARGUMENTS: usize = 16;

/// Why a pickle was refused.
#[derive(Debug)]
pub(super) enum PickleError {
    Malformed(String),
    Forbidden(Name),
}

type Result<T> = std::result::Result<T, PickleError>;

fn malformed<T>(reason: impl Into<String>) -> Result<T> {
    Err(PickleError::Malformed(reason.into()))
}

/// Parses the pickle at the start of `bytes`; returns how many bytes it has, too.
pub(super) fn parse(bytes: &[u8]) -> Result<(Pickle, usize)> {
    let mut machine = Machine {
        input: bytes,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copies: 0,
    };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok((Pickle { values: machine.values, root }, bytes.len() - machine.input.len()))
}

struct Machine<'a> {
    /// What is still to be read.
    input: &'a [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Values copied so far, of [`MAX_COPIES`].
    copies: usize,
}

impl<'a> Machine<'a> {
    /// Carries out one opcode; false after the last.
    fn step(&mut self) -> Result<bool> {
        let [opcode] = self.array()?;
        match opcode {
            b'.' => return Ok(false),
            // PROTO: the version. Torch writes 2; what later ones add is known too.
            0x80 => match self.array()? {
                [2..=5] => {}
                [version] => {
                    return malformed(format!("its pickle has the version {version}, expected 2 to 5"));
                }
            },
            // FRAME
            0x95 => drop(self.array::<8>()?),
            b'(' => {
                if self.marks.len() >= MAX_STACK {
                    return malformed("its pickle is nested too deeply");
                }
                self.marks.push(self.stack.len());
            }
            // POP, POP_MARK, DUP
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push_id(top)?;
            }
            // NONE, BINFLOAT, NEWTRUE, NEWFALSE
            b'N' => self.push(Value::Opaque)?,
            b'G' => {
                self.array::<8>()?;
                self.push(Value::Opaque)?;
            }
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            // BININT, BININT1, BININT2, LONG1
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            b'K' => {
                let [value] = self.array()?;
                self.push(Value::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            0x8a => self.long()?,
            // Texts: BINUNICODE, SHORT_BINUNICODE, BINUNICODE8; and of Python 2: BINSTRING, SHORT_BINSTRING
            b'X' | b'T' => self.text::<4>()?,
            0x8c | b'U' => self.text::<1>()?,
            0x8d => self.text::<8>()?,
            // Bytes: BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' => self.skip_bytes::<4>()?,
            b'C' => self.skip_bytes::<1>()?,
            0x8e | 0x96 => self.skip_bytes::<8>()?,
            // Tuples
            b')' => self.push(Value::Sequence(Vec::new()))?,
            b't' | b'l' => {
                let items = self.pop_mark()?;
                self.push(Value::Sequence(items))?;
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let Some(at) = self.stack.len().checked_sub(count).filter(|at| *at >= self.floor()) else {
                    return malformed("its pickle takes values that are not there");
                };
                let items = self.stack.split_off(at);
                self.push(Value::Sequence(items))?;
            }
            // Lists and sets: EMPTY_LIST, EMPTY_SET, APPEND, APPENDS, ADDITEMS, FROZENSET
            b']' | 0x8f => self.push(Value::Sequence(Vec::new()))?,
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            0x91 => {
                let items = self.pop_mark()?;
                self.push(Value::Sequence(items))?;
            }
            // Dictionaries: EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Value::Dict(pairs(&items)?))?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            // Memo: BINGET, LONG_BINGET, BINPUT, LONG_BINPUT, MEMOIZE
            b'h' => {
                let [index] = self.array()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.recall(index)?;
            }
            b'q' => {
                let [index] = self.array()?;
                self.remember(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                self.remember(index)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.name(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (self.get(module)?, self.get(name)?) else {
                    return malformed("its pickle names something by what is no text");
                };
                if module.len().max(name.len()) > MAX_NAME {
                    return malformed("its pickle has a name without an end");
                }
                let (module, name) = (module.clone(), name.clone());
                self.name(&module, &name)?;
            }
            // REDUCE, NEWOBJ, BUILD
            b'R' => self.call()?,
            0x81 => self.new_object()?,
            b'b' => self.build()?,
            b'Q' => self.storage()?,
            other => {
                return malformed(format!(
                    "its pickle has the opcode 0x{other:02x} ({}), which torch.save does not write",
                    char::from(other).escape_debug()
                ));
            }
        }
        Ok(true)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.input.split_at_checked(count) else {
            return malformed("its pickle is truncated");
        };
        self.input = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// A length of `N` bytes and as many bytes as it says, which must be there.
    fn counted<const N: usize>(&mut self) -> Result<&'a [u8]> {
        let mut length = [0; 8];
        for (to, from) in length.iter_mut().zip(self.array::<N>()?) {
            *to = from;
        }
        self.take(usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'a str> {
        let Some(length) = self.input.iter().take(MAX_NAME + 1).position(|byte| *byte == b'\n') else {
            return malformed("its pickle has a name without an end");
        };
        let line = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(line).or_else(|_| malformed("its pickle has a name that is not UTF-8"))
    }

    fn text<const N: usize>(&mut self) -> Result<()> {
        let bytes = self.counted::<N>()?;
        // Lone surrogates (which Python can write) and Python 2's bytes are no names of tensors.
        let value = std::str::from_utf8(bytes).map_or(Value::Opaque, |text| Value::Text(text.into()));
        self.push(value)
    }

    fn skip_bytes<const N: usize>(&mut self) -> Result<()> {
        self.counted::<N>()?;
        self.push(Value::Opaque)
    }

    /// LONG1: little-endian two's complement.
    fn long(&mut self) -> Result<()> {
        let bytes = self.counted::<1>()?;
        let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        let fits = bytes.len() <= 8;
        for (to, from) in wide.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.push(if fits { Value::Int(i64::from_le_bytes(wide)) } else { Value::Opaque })
    }

    fn get(&self, id: Id) -> Result<&Value> {
        self.values.get(id.0 as usize).map_or_else(|| malformed("its pickle refers to nothing"), Ok)
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.values.len() >= MAX_VALUES {
            return malformed(format!("its pickle has more than {MAX_VALUES} values"));
        }
        let id = Id(self.values.len() as u32);
        self.values.push(value);
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Result<()> {
        if self.stack.len() >= MAX_STACK {
            return malformed("its pickle is nested too deeply");
        }
        self.stack.push(id);
        Ok(())
    }

    /// The stack's height at the last mark, below which nothing is taken.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id> {
        if self.stack.len() <= self.floor() {
            return malformed("its pickle takes values that are not there");
        }
        self.stack.pop().map_or_else(|| malformed("its pickle takes values that are not there"), Ok)
    }

    fn top(&self) -> Result<Id> {
        match self.stack.get(self.floor()..).and_then(<[Id]>::last) {
            Some(top) => Ok(*top),
            None => malformed("its pickle takes values that are not there"),
        }
    }

    /// All values above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(height) if height <= self.stack.len() => Ok(self.stack.split_off(height)),
            _ => malformed("its pickle takes values that are not there"),
        }
    }

    fn recall(&mut self, index: u32) -> Result<()> {
        match self.memo.get(&index) {
            Some(id) => self.push_id(*id),
            None => malformed("its pickle recalls what it never remembered"),
        }
    }

    fn remember(&mut self, index: u32) -> Result<()> {
        let top = self.top()?;
        if self.memo.len() >= MAX_MEMO {
            return malformed(format!("its pickle remembers more than {MAX_MEMO} values"));
        }
        self.memo.insert(index, top);
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let top = self.top()?;
        match self.values.get_mut(top.0 as usize) {
            Some(Value::Sequence(list)) => list.extend(items),
            Some(Value::Opaque) => {}
            _ => return malformed("its pickle appends to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        let new = pairs(items)?;
        match self.values.get_mut(top.0 as usize) {
            Some(Value::Dict(fields)) => fields.extend(new),
            Some(Value::Opaque) => {}
            _ => return malformed("its pickle sets items of what is no dictionary"),
        }
        Ok(())
    }

    /// A function or class. Only those that a checkpoint has reason to name may be named at all.
    fn name(&mut self, module: &str, name: &str) -> Result<()> {
        let name = Name { module: module.into(), name: name.into() };
        match Constructor::of(&name) {
            Some(_) => self.push(Value::Name(name)),
            None => Err(PickleError::Forbidden(name)),
        }
    }

    /// REDUCE: the value that a call of a known constructor stands for.
    fn call(&mut self) -> Result<()> {
        let arguments = self.pop()?;
        let (constructor, _) = self.pop_constructor()?;
        let arguments = match self.get(arguments)? {
            Value::Sequence(arguments) if arguments.len() <= MAX_ARGUMENTS => arguments.clone(),
            _ => return malformed("its pickle calls something with what are no arguments"),
        };
        match constructor {
            Constructor::Tensor => {
                let tensor = self.tensor(&arguments)?;
                self.push(Value::Tensor(tensor))
            }
            Constructor::Dict => {
                let fields = self.initial_fields(arguments.first())?;
                self.push(Value::Dict(fields))
            }
            Constructor::First => match arguments.first() {
                Some(id) => self.push_id(*id),
                None => self.push(Value::Sequence(Vec::new())),
            },
            Constructor::Bystander => self.push(Value::Opaque),
            Constructor::StorageClass | Constructor::Module => {
                malformed("its pickle calls a class that is only to be named")
            }
        }
    }

    /// Fields of `OrderedDict([[key, value], ...])`, as Python 2 wrote it; none of other arguments.
    fn initial_fields(&mut self, items: Option<&Id>) -> Result<Vec<(Id, Id)>> {
        let items = match items.map(|id| self.get(*id)).transpose()? {
            Some(Value::Sequence(items)) => items.clone(),
            _ => return Ok(Vec::new()),
        };
        self.count_copies(items.len())?;
        let mut fields = Vec::with_capacity(items.len());
        for item in items {
            match self.get(item)? {
                Value::Sequence(pair) if pair.len() == 2 => fields.extend(pairs(pair)?),
                _ => return malformed("its pickle makes a dictionary of what are no pairs"),
            }
        }
        Ok(fields)
    }

    /// Counts values that are about to be copied: what a few bytes of pickle can repeat needs a limit.
    fn count_copies(&mut self, values: usize) -> Result<()> {
        self.copies = self.copies.saturating_add(values);
        if self.copies > MAX_COPIES {
            return malformed(format!("its pickle copies more than {MAX_COPIES} values"));
        }
        Ok(())
    }

    fn pop_constructor(&mut self) -> Result<(Constructor, Name)> {
        let callee = self.pop()?;
        match self.get(callee)? {
            Value::Name(name) => match Constructor::of(name) {
                Some(constructor) => Ok((constructor, name.clone())),
                None => Err(PickleError::Forbidden(name.clone())),
            },
            _ => malformed("its pickle calls what is no function"),
        }
    }

    /// NEWOBJ: an object without its attributes.
    fn new_object(&mut self) -> Result<()> {
        let _arguments = self.pop()?;
        let (constructor, name) = self.pop_constructor()?;
        match constructor {
            Constructor::Module => self.push(Value::Module(Vec::new())),
            Constructor::Bystander => self.push(Value::Opaque),
            Constructor::Dict => self.push(Value::Dict(Vec::new())),
            _ => Err(PickleError::Forbidden(name)),
        }
    }

    /// BUILD: attributes of an object. Dictionaries have some too (`_metadata`), which nobody asks for.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let top = self.top()?;
        match self.get(top)? {
            Value::Module(_) => {}
            Value::Dict(_) | Value::Opaque | Value::Tensor(_) => return Ok(()),
            _ => return malformed("its pickle gives attributes to what has none"),
        }
        let fields = match self.get(state)? {
            Value::Dict(fields) => fields.clone(),
            _ => return malformed("its pickle gives a module attributes without names"),
        };
        self.count_copies(fields.len())?;
        if let Some(Value::Module(attributes)) = self.values.get_mut(top.0 as usize) {
            attributes.extend(fields);
        }
        Ok(())
    }

    /// BINPERSID: `("storage", class, key, location, elements)`, with one more in the format of 2017.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let fail = || malformed("its pickle refers to something that is no storage");
        let Value::Sequence(parts) = self.get(id)? else { return fail() };
        let [tag, class, key, _location, elements, ..] = parts.as_slice() else { return fail() };
        let (Value::Text(tag), Value::Name(class), Value::Text(key), Value::Int(elements)) =
            (self.get(*tag)?, self.get(*class)?, self.get(*key)?, self.get(*elements)?)
        else {
            return fail();
        };
        let (Some(kind), Ok(elements)) =
            (ElementKind::of_storage_class(&class.name), u64::try_from(*elements))
        else {
            return fail();
        };
        if &**tag != "storage" || key.len() > MAX_NAME {
            return fail();
        }
        let storage = Storage { key: key.clone(), kind, elements };
        self.push(Value::Storage(storage))
    }

    /// `_rebuild_tensor_v2(storage, offset, shape, strides, ...)`.
    fn tensor(&self, arguments: &[Id]) -> Result<TensorView> {
        let fail = || malformed("its pickle describes a tensor in an unknown way");
        let [storage, offset, shape, strides, ..] = arguments else { return fail() };
        let (Value::Storage(storage), Value::Int(offset)) = (self.get(*storage)?, self.get(*offset)?) else {
            return fail();
        };
        Ok(TensorView {
            storage: storage.clone(),
            offset: *offset,
            shape: self.integers(*shape)?,
            strides: self.integers(*strides)?,
        })
    }

    fn integers(&self, id: Id) -> Result<Vec<i64>> {
        const REASON: &str = "its pickle gives a tensor a shape that is not of whole numbers";
        let Value::Sequence(items) = self.get(id)? else { return malformed(REASON) };
        // More dimensions than any tensor has: no need to copy them a thousand times.
        if items.len() > 64 {
            return malformed(format!("its pickle gives a tensor {} dimensions", items.len()));
        }
        items
            .iter()
            .map(|item| match self.get(*item)? {
                Value::Int(value) => Ok(*value),
                _ => malformed(REASON),
            })
            .collect()
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return malformed("its pickle has a key without a value");
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}
