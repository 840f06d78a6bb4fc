//! A pickle machine that can build dictionaries of tensors, and nothing else.
//!
//! A pickle is a program. The real machine imports whatever it names and calls it; this one knows
//! the opcodes that `torch.save` writes for a state dict, and a handful of names that stand for
//! themselves. Any other opcode or name ends the reading. The opcodes are documented in CPython's
//! `pickletools.py`, the tensors' arguments in torch's `_utils.py` and `serialization.py`.

use std::collections::HashMap;
use std::rc::Rc;

use mmfree::format::FloatType;

use super::opcodes;
use crate::text::clip;

/// The longest pickle. That of a model of 500 tensors has 60 KB.
const MAX_LEN: usize = 8 << 20;

/// The most opcodes: they bound the memory. A tensor takes some 40.
const MAX_OPCODES: usize = 1 << 20;

/// How deep tuples may stand in tuples. Those of a tensor stand three deep.
const MAX_DEPTH: usize = 16;

/// The most dimensions of a tensor: each takes memory anew wherever a shape is used.
const MAX_DIMENSIONS: usize = 8;

/// Names in a message at most.
const KEYS: usize = 8;

/// What would be right in place of everything else that torch.save writes.
const ALONE: &str = "torch.save(model.state_dict(), NAME) writes one";

/// A tensor of a state dict: some elements of a storage.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The storage.
    pub storage: Rc<Storage>,
    /// Its first element in the storage.
    pub offset: u64,
    /// Its shape.
    pub shape: Vec<u64>,
    /// For each dimension the elements from one index to the next.
    pub strides: Vec<u64>,
}

/// Elements of one type in an entry of the archive.
#[derive(Debug, PartialEq)]
pub struct Storage {
    /// Their type, or the name of one that no model has.
    pub element: Result<FloatType, &'static str>,
    /// Bytes of an element.
    pub size: u64,
    /// Name of the entry.
    pub key: Rc<str>,
    /// How many there are.
    pub len: u64,
}

/// The names that a pickle may use.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Global {
    RebuildTensor,
    RebuildParameter,
    OrderedDict,
    Storage(Result<FloatType, &'static str>, u64),
}

impl Global {
    fn find(module: &str, name: &str) -> Result<Global, String> {
        use FloatType::{BF16, F16, F32};
        Ok(match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch", "FloatStorage") => Global::Storage(Ok(F32), 4),
            ("torch", "HalfStorage") => Global::Storage(Ok(F16), 2),
            ("torch", "BFloat16Storage") => Global::Storage(Ok(BF16), 2),
            // What a state dict may hold besides a model's tensors.
            ("torch", "DoubleStorage") => Global::Storage(Err("F64"), 8),
            ("torch", "LongStorage") => Global::Storage(Err("I64"), 8),
            ("torch", "IntStorage") => Global::Storage(Err("I32"), 4),
            ("torch", "ShortStorage") => Global::Storage(Err("I16"), 2),
            ("torch", "CharStorage") => Global::Storage(Err("I8"), 1),
            ("torch", "ByteStorage") => Global::Storage(Err("U8"), 1),
            ("torch", "BoolStorage") => Global::Storage(Err("BOOL"), 1),
            _ => {
                return Err(format!(
                    "names {}.{}, which is no part of a state dict: not called; {ALONE}",
                    clip(module),
                    clip(name)
                ));
            }
        })
    }
}

/// What the machine's stack holds. A clone is cheap.
#[derive(Clone, Debug)]
enum Value {
    None,
    Bool,
    Int(i64),
    Text(Rc<str>),
    /// With its depth: 1 holds no other tuples.
    Tuple(Rc<[Value]>, usize),
    /// Number of a dictionary of the machine, so that one that holds itself does no harm.
    Dict(usize),
    Global(Global),
    Storage(Rc<Storage>),
    Tensor(Rc<Tensor>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool => "a switch",
            Value::Int(_) => "a number",
            Value::Text(_) => "a text",
            Value::Tuple(..) => "a tuple",
            Value::Dict(_) => "a dictionary",
            Value::Global(_) => "a function",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}

/// Names and tensors, in the order of the pickle.
pub type StateDict = Vec<(Rc<str>, Rc<Tensor>)>;

/// Runs a pickle, which must make a dictionary of tensors; gives them in its order.
///
/// # Errors
/// An opcode or a name that is no part of a state dict, named; a damaged pickle; one that makes
/// something else.
pub fn unpickle(bytes: &[u8]) -> Result<StateDict, String> {
    if bytes.len() > MAX_LEN {
        return Err(format!("has {} bytes, must be at most {MAX_LEN}", bytes.len()));
    }
    let mut machine = Machine { bytes, at: 0, ..Machine::default() };
    for _ in 0..MAX_OPCODES {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(value)) => return machine.tensors(&value),
            Err(error) => {
                let around = machine.around();
                return Err(around.unwrap_or_else(|| format!("{error} (byte {at})")));
            }
        }
    }
    Err(format!("has more than {MAX_OPCODES} opcodes"))
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// For each mark that is set the height of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    dicts: Vec<Vec<(Value, Value)>>,
}

impl<'a> Machine<'a> {
    /// Runs one opcode; gives the result if it is the last.
    fn step(&mut self) -> Result<Option<Value>, String> {
        let opcode = self.take(1)?[0];
        match opcode {
            // PROTO, FRAME
            0x80 => match self.take(1)?[0] {
                2..=5 => {}
                version => return Err(format!("pickle protocol {version}, must be 2 to 5")),
            },
            0x95 => drop(self.take(8)?),
            // NONE, NEWTRUE, NEWFALSE, BININT, BININT1, BININT2, LONG1
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool),
            b'J' => {
                let value = self.number(4)? as u32 as i32;
                self.push(Value::Int(value.into()));
            }
            b'K' => {
                let value = self.number(1)? as i64;
                self.push(Value::Int(value));
            }
            b'M' => {
                let value = self.number(2)? as i64;
                self.push(Value::Int(value));
            }
            0x8A => self.long()?,
            // BINUNICODE, SHORT_BINUNICODE
            b'X' => {
                let len = self.number(4)?;
                self.text(len)?;
            }
            0x8C => {
                let len = self.number(1)?;
                self.text(len)?;
            }
            // MARK, TUPLE, EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3
            b'(' => self.marks.push(self.stack.len()),
            b't' => {
                let items = self.pop_mark()?;
                self.tuple(items)?;
            }
            b')' => self.tuple(Vec::new())?,
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let items = self.pop_many(count)?;
                self.tuple(items)?;
            }
            // EMPTY_DICT, SETITEM, SETITEMS, BUILD
            b'}' => self.dict(),
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(items)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(items)?;
            }
            b'b' => self.build()?,
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let index = self.number(1)?;
                self.put(index)?;
            }
            b'r' => {
                let index = self.number(4)?;
                self.put(index)?;
            }
            0x94 => self.put(self.memo.len() as u64)?,
            b'h' => {
                let index = self.number(1)?;
                self.get(index)?;
            }
            b'j' => {
                let index = self.number(4)?;
                self.get(index)?;
            }
            // GLOBAL, STACK_GLOBAL, REDUCE, BINPERSID
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(Global::find(module, name)?));
            }
            0x93 => {
                let items = self.pop_many(2)?;
                let [Value::Text(module), Value::Text(name)] = &items[..] else {
                    return Err("a name is not a text".into());
                };
                self.push(Value::Global(Global::find(module, name)?));
            }
            b'R' => self.reduce()?,
            b'Q' => self.persistent()?,
            b'.' => return self.pop().map(Some),
            _ => {
                let name = opcodes::name(opcode);
                return Err(format!("opcode {name} is no part of a state dict; {ALONE}"));
            }
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count);
        let bytes = end.and_then(|end| self.bytes.get(self.at..end)).ok_or("is cut short")?;
        self.at += count;
        Ok(bytes)
    }

    /// A little-endian number of up to 8 bytes.
    fn number(&mut self, size: usize) -> Result<u64, String> {
        let bytes = self.take(size)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// A line of a text argument, without its end.
    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().take(256).position(|&b| b == b'\n').ok_or("a name has no end")?;
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).map_err(|_| "a name is not UTF-8".into())
    }

    fn text(&mut self, len: u64) -> Result<(), String> {
        let bytes = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8".to_owned())?;
        self.push(Value::Text(text.into()));
        Ok(())
    }

    /// LONG1: a number in two's complement, of any size; 8 bytes must do.
    fn long(&mut self) -> Result<(), String> {
        let len = self.take(1)?[0];
        if len > 8 {
            return Err(format!("a number of {len} bytes, must have at most 8"));
        }
        let value = self.number(len.into())?;
        let unused = 64 - 8 * u32::from(len);
        let value = (value.checked_shl(unused).unwrap_or(0) as i64).checked_shr(unused);
        self.push(Value::Int(value.unwrap_or(0)));
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    /// The lowest place of the stack that may be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value, String> {
        if self.stack.len() <= self.floor() {
            return Err("takes a value from an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "takes a value from an empty stack".into())
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let first = self.stack.len().checked_sub(count).filter(|&first| first >= self.floor());
        let first = first.ok_or("takes values from an empty stack")?;
        Ok(self.stack.split_off(first))
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, items: Vec<Value>) -> Result<(), String> {
        let depth = |item: &Value| if let Value::Tuple(_, depth) = item { *depth } else { 0 };
        let depth = 1 + items.iter().map(depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(format!("tuples stand more than {MAX_DEPTH} deep in each other"));
        }
        self.push(Value::Tuple(items.into(), depth));
        Ok(())
    }

    fn dict(&mut self) {
        self.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Vec::new());
    }

    fn set_items(&mut self, items: Vec<Value>) -> Result<(), String> {
        let (pairs, rest) = items.as_chunks::<2>();
        let dict = match self.stack.get(self.floor()..).and_then(<[Value]>::last) {
            Some(Value::Dict(number)) if rest.is_empty() => *number,
            _ => return Err("items are set, but not pairs of a dictionary".into()),
        };
        let pairs = pairs.iter().map(|[key, value]| (key.clone(), value.clone()));
        self.dicts[dict].extend(pairs);
        Ok(())
    }

    /// A state dict carries the versions of its modules as an attribute; nothing is made of it.
    fn build(&mut self) -> Result<(), String> {
        let items = self.pop_many(2)?;
        match &items[..] {
            [target @ Value::Dict(_), Value::Dict(_)] => self.push(target.clone()),
            _ => return Err("attributes are set, but not those of a dictionary".into()),
        }
        Ok(())
    }

    fn put(&mut self, index: u64) -> Result<(), String> {
        let value = self.stack.get(self.floor()..).and_then(<[Value]>::last);
        let value = value.ok_or("keeps a value of an empty stack")?.clone();
        self.memo.insert(index as u32, value);
        Ok(())
    }

    fn get(&mut self, index: u64) -> Result<(), String> {
        let value = self.memo.get(&(index as u32));
        let value = value.ok_or_else(|| format!("value {index} was not kept"))?.clone();
        self.push(value);
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), String> {
        let items = self.pop_many(2)?;
        let [Value::Global(function), Value::Tuple(args, _)] = &items[..] else {
            return Err("calls what is no function".into());
        };
        match (function, &args[..]) {
            (Global::OrderedDict, []) => self.dict(),
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => {
                self.push(tensor.clone());
            }
            (
                Global::RebuildTensor,
                [
                    Value::Storage(storage),
                    Value::Int(offset),
                    Value::Tuple(shape, _),
                    Value::Tuple(strides, _),
                    ..,
                ],
            ) => {
                let tensor = Tensor {
                    storage: storage.clone(),
                    offset: whole(*offset)?,
                    shape: sizes(shape)?,
                    strides: sizes(strides)?,
                };
                self.push(Value::Tensor(tensor.into()));
            }
            _ => return Err(format!("calls {function:?} with other arguments than torch does")),
        }
        Ok(())
    }

    fn persistent(&mut self) -> Result<(), String> {
        let Value::Tuple(parts, _) = self.pop()? else {
            return Err("refers to what is no storage".into());
        };
        match &parts[..] {
            [
                Value::Text(tag),
                Value::Global(Global::Storage(element, size)),
                Value::Text(key),
                _,
                Value::Int(len),
            ] if &**tag == "storage" => {
                let (element, size) = (*element, *size);
                let storage = Storage { element, size, key: key.clone(), len: whole(*len)? };
                self.push(Value::Storage(storage.into()));
                Ok(())
            }
            _ => Err("refers to what is no storage".into()),
        }
    }

    /// What is wrong with the dictionary as far as it was read, where it is larger than a state dict,
    /// as `{"model": .., "optimizer": ..}` of a training run: that goes on with what no state dict
    /// has.
    fn around(&self) -> Option<String> {
        let Some(Value::Dict(outer)) = self.stack.first() else { return None };
        // Items that were not set yet stand above the first mark, and below the next.
        let end = self.marks.get(1).copied().unwrap_or(self.stack.len());
        let (unset, _) = self.stack.get(1..end).unwrap_or_default().as_chunks::<2>();
        // A function or its arguments are a value in the making.
        let made = |value: &Value| {
            !matches!(value, Value::Global(_) | Value::Storage(_) | Value::Tuple(..))
        };
        let mut entries = self.dicts[*outer].clone();
        let unset = unset.iter().filter(|[_, value]| made(value)).cloned();
        entries.extend(unset.map(|[key, value]| (key, value)));
        let no_tensor = entries.iter().all(|(_, value)| !matches!(value, Value::Tensor(_)));
        let has_state = entries.iter().any(|(_, value)| self.is_state_dict(value));
        if no_tensor || has_state { self.no_state_dict(&entries) } else { None }
    }

    fn is_state_dict(&self, value: &Value) -> bool {
        let Value::Dict(number) = value else { return false };
        self.dicts[*number].iter().any(|(_, value)| matches!(value, Value::Tensor(_)))
    }

    /// Says that not all of a dictionary's entries are tensors, and how to save those that are.
    fn no_state_dict(&self, entries: &[(Value, Value)]) -> Option<String> {
        let name = |key: &Value| if let Value::Text(key) = key { Some(clip(key)) } else { None };
        let other = entries.iter().find(|(_, value)| !matches!(value, Value::Tensor(_)))?;
        let (key, kind) = (name(&other.0)?, other.1.kind());
        let mut keys: Vec<String> =
            entries.iter().take(KEYS).filter_map(|(key, _)| name(key)).collect();
        if entries.len() > KEYS {
            keys.push("...".to_owned());
        }
        let state = entries.iter().find(|(_, value)| self.is_state_dict(value));
        let right = match state.and_then(|(key, _)| name(key)) {
            Some(key) => {
                format!("torch.save(torch.load(NAME, map_location=\"cpu\")[\"{key}\"], NAME)")
            }
            None => "torch.save(model.state_dict(), NAME)".to_owned(),
        };
        Some(format!(
            "{key} is {kind}, must be a tensor: of {{{}}} the state dict alone is needed, which {right} \
             writes",
            keys.join(", ")
        ))
    }

    /// The entries of the dictionary that came out; of a key that was set twice, the last.
    fn tensors(mut self, result: &Value) -> Result<StateDict, String> {
        let Value::Dict(number) = result else {
            let kind = result.kind();
            return Err(format!("holds {kind}, must be a dictionary of tensors; {ALONE}"));
        };
        if let Some(other) = self.no_state_dict(&self.dicts[*number]) {
            return Err(other);
        }
        let mut tensors: Vec<(Rc<str>, Rc<Tensor>)> = Vec::new();
        let mut places = HashMap::new();
        for (key, value) in std::mem::take(&mut self.dicts[*number]) {
            let Value::Text(key) = key else {
                return Err(format!("has {} for a key, must be a text", key.kind()));
            };
            let Value::Tensor(tensor) = value else {
                return Err(format!("{} is {}, must be a tensor", clip(&key), value.kind()));
            };
            let place = *places.entry(key.clone()).or_insert(tensors.len());
            match tensors.get_mut(place) {
                Some(entry) => entry.1 = tensor,
                None => tensors.push((key, tensor)),
            }
        }
        Ok(tensors)
    }
}

fn whole(value: i64) -> Result<u64, String> {
    value.try_into().map_err(|_| format!("{value} elements, must be 0 or more"))
}

fn sizes(values: &[Value]) -> Result<Vec<u64>, String> {
    if values.len() > MAX_DIMENSIONS {
        return Err(format!(
            "a shape has {} dimensions, must have at most {MAX_DIMENSIONS}",
            values.len()
        ));
    }
    let size = |value: &Value| match value {
        Value::Int(value) => whole(*value),
        other => Err(format!("a size is {}, must be a number", other.kind())),
    };
    values.iter().map(size).collect()
}
