//! Reads the pickle of a torch checkpoint as data: a table of tensors by name. Nothing in it is executed;
//! an operation or name outside those that `torch.save` writes for a state dict ends the reading.
//! Operations: CPython `Lib/pickletools.py`; tensors: torch `_utils.py`, `_rebuild_tensor_v2`.

use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;

use crate::weights::opcode;
use crate::weights::source::elements;

/// Objects, memo entries and stack entries a pickle may have; published files stay below 100,000.
const MAX_OBJECTS: usize = 1 << 20;
/// Longest tensor name accepted, in bytes.
const MAX_NAME_BYTES: usize = 1024;
/// Longest key of a storage; `torch.save` numbers them. Every tensor has a copy.
const MAX_KEY_BYTES: usize = 64;
const MAX_RANK: usize = 8;

/// A tensor as the pickle describes it: a view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PickledTensor {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Name of the storage's entry.
    pub(super) storage: String,
    /// Elements the storage is said to hold.
    pub(super) storage_elements: u64,
    /// First element in it.
    pub(super) offset: u64,
    /// Whether the elements lie row by row without gaps.
    pub(super) contiguous: bool,
}

/// The sentence that follows "the pickle".
type Parse<T> = Result<T, String>;

/// All tensors of a state dict, be it the whole file or its entry `state_dict`.
pub(super) fn read_state_dict(bytes: &[u8]) -> Parse<BTreeMap<String, PickledTensor>> {
    let mut machine = Machine { input: bytes, ..Machine::default() };
    let root = machine.run()?;
    let root = machine.dict(root).ok_or("does not hold a dictionary")?;
    let nested = root.iter().find(|(key, _)| machine.text(*key) == Some("state_dict"));
    let entries = nested.and_then(|(_, value)| machine.dict(*value)).unwrap_or(root);
    let mut out = BTreeMap::new();
    for &(key, value) in entries {
        let (Some(name), Object::Tensor(tensor)) = (machine.text(key), machine.object(value)) else {
            continue;
        };
        if name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            return Err(format!("holds a tensor whose name of {} bytes is no name", name.len()));
        }
        if out.insert(name.to_owned(), tensor.as_ref().clone()).is_some() {
            return Err(format!("holds tensor {name} twice"));
        }
    }
    Ok(out)
}

/// Index of an object: a flat table has no depth that could exhaust the stack when it is dropped.
type Id = u32;

#[derive(Debug)]
enum Object {
    /// None, bool, float, list and other things that no tensor depends on.
    Inert,
    Int(i64),
    Text(Box<str>),
    Tuple(Box<[Id]>),
    List,
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage {
        dtype: Dtype,
        name: Box<str>,
        elements: u64,
    },
    Tensor(Box<PickledTensor>),
}

#[derive(Clone, Copy, Debug)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
    /// A class of the trainer, named but never called.
    Inert,
}

impl Global {
    fn known(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "FloatStorage") => Self::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Self::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Dtype::BF16),
            ("torch", "DoubleStorage") => Self::Storage(Dtype::F64),
            ("torch", "LongStorage") => Self::Storage(Dtype::I64),
            ("torch", "IntStorage") => Self::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Self::Storage(Dtype::I16),
            ("torch", "CharStorage") => Self::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Self::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Self::Storage(Dtype::BOOL),
            // Lightning before 1.5 writes its callbacks' classes as keys of a dictionary.
            (m, _) if m.starts_with("pytorch_lightning.callbacks.") => Self::Inert,
            _ => return None,
        })
    }
}

#[derive(Debug, Default)]
struct Machine<'a> {
    input: &'a [u8],
    objects: Vec<Object>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Parse<Id> {
        let total = self.input.len();
        loop {
            let at = total - self.input.len();
            let op = self.byte()?;
            if op == opcode::STOP {
                break;
            }
            self.step(op).map_err(|e| format!("{e} (at byte {at})"))?;
            if self.stack.len().max(self.marks.len()).max(self.memo.len()) > MAX_OBJECTS {
                return Err(format!("holds more than {MAX_OBJECTS} objects"));
            }
        }
        self.pop()
    }

    fn step(&mut self, op: u8) -> Parse<()> {
        match op {
            opcode::PROTO => match self.byte()? {
                2 => Ok(()),
                v => Err(format!("has protocol {v}, wanted 2")),
            },
            opcode::MARK => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            opcode::NONE | opcode::NEWTRUE | opcode::NEWFALSE => self.push(Object::Inert),
            opcode::BINFLOAT => {
                self.take(8)?;
                self.push(Object::Inert)
            }
            opcode::BININT => {
                let v = self.number(4)? as u32 as i32;
                self.push(Object::Int(v.into()))
            }
            opcode::BININT1 => {
                let v = self.byte()?;
                self.push(Object::Int(v.into()))
            }
            opcode::BININT2 => {
                let v = self.number(2)?;
                self.push(Object::Int(v as i64))
            }
            opcode::LONG1 => {
                let n = self.byte()?;
                if n > 8 {
                    return Err(format!("holds a number of {n} bytes, at most 8 are read"));
                }
                let v = self.number(n.into())?;
                let unused = 64 - 8 * u32::from(n);
                // Sign extension; a number of no bytes is 0.
                let v = if n == 0 { 0 } else { (v << unused) as i64 >> unused };
                self.push(Object::Int(v))
            }
            opcode::BINUNICODE => {
                let n = self.number(4)?;
                let bytes = self.take(n as usize)?;
                let text = std::str::from_utf8(bytes).map_err(|_| "holds text that is not UTF-8")?;
                self.push(Object::Text(text.into()))
            }
            opcode::EMPTY_TUPLE => self.push(Object::Tuple(Box::default())),
            opcode::EMPTY_LIST => self.push(Object::List),
            opcode::EMPTY_DICT => self.push(Object::Dict(Vec::new())),
            opcode::TUPLE => {
                let items = self.pop_mark()?;
                self.push(Object::Tuple(items.into()))
            }
            opcode::TUPLE1 | opcode::TUPLE2 | opcode::TUPLE3 => {
                let n = usize::from(op - opcode::TUPLE1) + 1;
                let from = self.floor(n)?;
                let items = self.stack.split_off(from);
                self.push(Object::Tuple(items.into()))
            }
            opcode::BINPUT | opcode::LONG_BINPUT => {
                let key = self.number(if op == opcode::BINPUT { 1 } else { 4 })? as u32;
                let top = *self.stack.last().ok_or("keeps an object that is not there")?;
                self.memo.insert(key, top);
                Ok(())
            }
            opcode::BINGET | opcode::LONG_BINGET => {
                let key = self.number(if op == opcode::BINGET { 1 } else { 4 })? as u32;
                let id = *self.memo.get(&key).ok_or_else(|| format!("asks for object {key}, never kept"))?;
                self.stack.push(id);
                Ok(())
            }
            opcode::APPEND => {
                self.pop()?;
                self.expect_list()
            }
            opcode::APPENDS => {
                self.pop_mark()?;
                self.expect_list()
            }
            opcode::SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])
            }
            opcode::SETITEMS => {
                let items = self.pop_mark()?;
                self.set_items(&items)
            }
            opcode::BUILD => {
                // The state of a state dict is its `_metadata`, which says nothing about tensors.
                self.pop()?;
                match self.top()? {
                    Object::Dict(_) => Ok(()),
                    _ => Err("sets the state of an object that is no dictionary".to_owned()),
                }
            }
            opcode::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                let known = Global::known(module, name);
                let global =
                    known.ok_or_else(|| format!("names {module:?} {name:?}, which no state dict needs"))?;
                self.push(Object::Global(global))
            }
            opcode::BINPERSID => self.storage(),
            opcode::REDUCE => self.reduce(),
            other => Err(format!("uses {}, which no state dict needs", opcode::name(other))),
        }
    }

    /// `('storage', type, key, device, elements)`.
    fn storage(&mut self) -> Parse<()> {
        let id = self.pop()?;
        let Object::Tuple(parts) = self.object(id) else {
            return Err("refers to something unknown".to_owned());
        };
        let &[kind, storage_type, key, _device, count] = &parts[..] else {
            return Err("refers to something that is no storage".to_owned());
        };
        match (self.text(kind), self.object(storage_type), self.text(key), self.object(count)) {
            (Some("storage"), Object::Global(Global::Storage(dtype)), Some(key), Object::Int(count)) => {
                if key.len() > MAX_KEY_BYTES {
                    return Err(format!("has a storage whose key of {} bytes is no key", key.len()));
                }
                let elements =
                    u64::try_from(*count).map_err(|_| format!("has a storage of {count} elements"))?;
                let object = Object::Storage { dtype: *dtype, name: key.into(), elements };
                self.push(object)
            }
            _ => Err("refers to something that is no storage".to_owned()),
        }
    }

    fn reduce(&mut self) -> Parse<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Object::Tuple(arguments) = self.object(arguments) else {
            return Err("calls something without arguments".to_owned());
        };
        let Object::Global(global) = self.object(callee) else {
            return Err("calls something that has no name".to_owned());
        };
        match (global, &arguments[..]) {
            (Global::OrderedDict, []) => self.push(Object::Dict(Vec::new())),
            (Global::RebuildParameter, &[tensor, ..]) if matches!(self.object(tensor), Object::Tensor(_)) => {
                self.stack.push(tensor);
                Ok(())
            }
            (Global::RebuildTensor, &[storage, offset, shape, stride, ..]) => {
                let tensor = self.tensor(storage, offset, shape, stride)?;
                self.push(Object::Tensor(Box::new(tensor)))
            }
            (global, arguments) => {
                Err(format!("calls {global:?} with {} arguments, which no state dict needs", arguments.len()))
            }
        }
    }

    fn tensor(&self, storage: Id, offset: Id, shape: Id, stride: Id) -> Parse<PickledTensor> {
        let (Object::Storage { dtype, name, elements: count }, &Object::Int(offset)) =
            (self.object(storage), self.object(offset))
        else {
            return Err("holds a tensor without a storage".to_owned());
        };
        let shape = self.sizes(shape).ok_or("holds a tensor with a wrong shape")?;
        let stride = self.sizes(stride).ok_or("holds a tensor with wrong strides")?;
        let offset = u64::try_from(offset).map_err(|_| "holds a tensor that begins before its storage")?;
        if shape.len() > MAX_RANK || stride.len() != shape.len() {
            return Err(format!("holds a tensor of shape {shape:?} with strides {stride:?}"));
        }
        let end = elements(&shape).and_then(|n| offset.checked_add(n as u64));
        if end.is_none_or(|end| end > *count) {
            return Err(format!(
                "holds a tensor of shape {shape:?} at {offset} of a storage with {count} elements, which ends before it"
            ));
        }
        let mut dense = 1;
        let contiguous = shape.iter().zip(&stride).rev().all(|(&n, &s)| {
            let fits = n <= 1 || s == dense;
            dense *= n.max(1);
            fits
        });
        Ok(PickledTensor {
            dtype: *dtype,
            shape,
            storage: name.as_ref().to_owned(),
            storage_elements: *count,
            offset,
            contiguous,
        })
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let Object::Tuple(items) = self.object(id) else { return None };
        if items.len() > MAX_RANK {
            return None;
        }
        let size = |&id: &Id| match self.object(id) {
            &Object::Int(v) => usize::try_from(v).ok(),
            _ => None,
        };
        items.iter().map(size).collect()
    }

    fn set_items(&mut self, items: &[Id]) -> Parse<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        let dict = *self.stack.last().ok_or("sets an entry of nothing")?;
        match self.objects.get_mut(dict as usize) {
            Some(Object::Dict(entries)) if rest.is_empty() => {
                entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            _ => Err("sets an entry of something that is no dictionary".to_owned()),
        }
    }

    fn expect_list(&self) -> Parse<()> {
        match self.top()? {
            Object::List => Ok(()),
            _ => Err("appends to something that is no list".to_owned()),
        }
    }

    fn push(&mut self, object: Object) -> Parse<()> {
        if self.objects.len() >= MAX_OBJECTS {
            return Err(format!("holds more than {MAX_OBJECTS} objects"));
        }
        self.stack.push(self.objects.len() as Id);
        self.objects.push(object);
        Ok(())
    }

    /// Stack height once `n` objects are gone; a mark is a floor below which nothing may be taken.
    fn floor(&self, n: usize) -> Parse<usize> {
        let lowest = self.marks.last().copied().unwrap_or(0);
        let height = self.stack.len().checked_sub(n).filter(|&h| h >= lowest);
        height.ok_or_else(|| "takes an object that is not there".to_owned())
    }

    fn pop(&mut self) -> Parse<Id> {
        self.floor(1)?;
        self.stack.pop().ok_or_else(|| "takes an object that is not there".to_owned())
    }

    fn pop_mark(&mut self) -> Parse<Vec<Id>> {
        let mark = self.marks.pop().filter(|&m| m <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("ends a group that never began")?))
    }

    fn top(&self) -> Parse<&Object> {
        self.stack
            .last()
            .map(|&id| self.object(id))
            .ok_or_else(|| "uses an object that is not there".to_owned())
    }

    fn object(&self, id: Id) -> &Object {
        // Ids are only made by `push` and never removed.
        self.objects.get(id as usize).unwrap_or(&Object::Inert)
    }

    fn text(&self, id: Id) -> Option<&str> {
        match self.object(id) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.object(id) {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    fn take(&mut self, n: usize) -> Parse<&'a [u8]> {
        let (head, tail) = self.input.split_at_checked(n).ok_or("ends in the middle")?;
        self.input = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Parse<u8> {
        self.number(1).map(|v| v as u8)
    }

    fn number(&mut self, n: usize) -> Parse<u64> {
        Ok(self.take(n)?.iter().rev().fold(0, |all, &b| all << 8 | u64::from(b)))
    }

    fn line(&mut self) -> Parse<&'a str> {
        let n =
            self.input.iter().take(1024).position(|&b| b == b'\n').ok_or("holds a name without an end")?;
        let line = self.take(n)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "holds a name that is not UTF-8".to_owned())
    }
}
