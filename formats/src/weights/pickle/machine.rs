//! The stack machine of pickles, building a [`Tree`].

use std::{borrow::Cow, collections::HashMap};

use super::{
    text::{number, raw_unicode, unquote},
    tree::{Call, Id, Node, Tree},
};
use crate::{Error, Result};

/// What reading one pickle may cost. Memory grows by about 100 bytes a value, and never faster than the bytes read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Values, also those that the pickle drops again.
    pub values: usize,
    /// Open brackets at one time.
    pub marks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // a snapshot of the largest known producer has about 60,000 values and a handful of marks
        Self { values: 1 << 22, marks: 1 << 10 }
    }
}

/// Reads a pickle that fills `bytes`.
///
/// # Errors
/// As [`read_prefix`]; `TRAILING` when bytes follow.
pub fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Tree<'a>> {
    let (tree, used) = read_prefix(bytes, limits)?;
    if used != bytes.len() {
        return Err(bad("TRAILING", used, format!("{} bytes follow the pickle", bytes.len() - used)));
    }
    Ok(tree)
}

/// Reads the pickle at the start of `bytes`; also returns how long it is.
///
/// # Errors
/// `TRUNCATED`, `OPCODE`, `STACK`, `VALUE`, and limits.
pub fn read_prefix<'a>(bytes: &'a [u8], limits: &Limits) -> Result<(Tree<'a>, usize)> {
    let mut machine = Machine {
        bytes,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        limits: *limits,
    };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok((Tree { nodes: machine.nodes, root }, machine.at))
}

fn bad(code: &'static str, offset: usize, message: impl Into<String>) -> Error {
    Error::format("pickle", code, offset as u64, message)
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    limits: Limits,
}

impl<'a> Machine<'a> {
    /// Carries out one opcode; false after the last one.
    fn step(&mut self) -> Result<bool> {
        match self.take(1)?[0] {
            b'.' => return Ok(false),
            0x80 => {
                let version = self.take(1)?[0];
                if version > 5 {
                    return Err(self.wrong(format!("protocol {version}, 0 to 5 are known")));
                }
            }
            // frames only say how much to prefetch
            0x95 => {
                self.take(8)?;
            }
            b'(' => {
                if self.marks.len() >= self.limits.marks {
                    let requested = self.marks.len() as u64 + 1;
                    return Err(Error::Limit { what: "pickle marks", requested, limit: self.limits.marks as u64 });
                }
                self.marks.push(self.stack.len());
            }
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            op @ (b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j') => self.memo(op)?,
            op @ (b'a' | b'e' | b's' | b'u' | 0x90 | b'b') => self.fill(op)?,
            op @ (b'R' | 0x81 | 0x92 | b'i' | b'o' | b'c' | 0x93 | b'Q' | b'P') => self.object(op)?,
            op @ (b')' | 0x85 | 0x86 | 0x87 | b't' | b']' | b'l' | b'}' | b'd' | 0x8f | 0x91) => self.container(op)?,
            op => {
                let node = self.scalar(op)?;
                self.push(node)?;
            }
        }
        Ok(true)
    }

    fn scalar(&mut self, op: u8) -> Result<Node<'a>> {
        Ok(match op {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'J' => Node::Int(i128::from(self.u32()? as i32)),
            b'K' => Node::Int(i128::from(self.take(1)?[0])),
            b'M' => {
                let b = self.take(2)?;
                Node::Int(i128::from(u16::from_le_bytes([b[0], b[1]])))
            }
            b'I' => match self.line()? {
                b"00" => Node::Bool(false),
                b"01" => Node::Bool(true),
                line => Node::Int(number(line).ok_or_else(|| self.wrong("not an integer"))?),
            },
            b'L' => {
                let line = self.line()?;
                let digits = line.strip_suffix(b"L").unwrap_or(line);
                Node::Int(number(digits).ok_or_else(|| self.wrong("not an integer of at most 128 bits"))?)
            }
            0x8a => {
                let size = usize::from(self.take(1)?[0]);
                wide(self.take(size)?)
            }
            0x8b => {
                let size = self.u32()? as usize;
                wide(self.take(size)?)
            }
            b'F' => {
                let line = self.line()?;
                Node::Float(number(line).ok_or_else(|| self.wrong("not a number"))?)
            }
            b'G' => {
                let b = self.take(8)?;
                Node::Float(f64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            }
            b'S' => {
                let line = self.line()?;
                Node::Bytes(Cow::Owned(unquote(line).ok_or_else(|| self.wrong("not a quoted string"))?))
            }
            b'V' => {
                let line = self.line()?;
                Node::Text(Cow::Owned(raw_unicode(line).ok_or_else(|| self.wrong("not an escaped text"))?))
            }
            b'U' | b'C' => Node::Bytes(Cow::Borrowed(self.counted(1)?)),
            b'T' | b'B' => Node::Bytes(Cow::Borrowed(self.counted(4)?)),
            0x8e | 0x96 => Node::Bytes(Cow::Borrowed(self.counted(8)?)),
            0x8c => Node::Text(String::from_utf8_lossy(self.counted(1)?)),
            b'X' => Node::Text(String::from_utf8_lossy(self.counted(4)?)),
            0x8d => Node::Text(String::from_utf8_lossy(self.counted(8)?)),
            0x82..=0x84 | 0x97 | 0x98 => {
                return Err(bad("OPCODE", self.at - 1, format!("opcode {op:#04x} refers to data outside the file")));
            }
            _ => return Err(bad("OPCODE", self.at - 1, format!("unknown opcode {op:#04x}"))),
        })
    }

    fn memo(&mut self, op: u8) -> Result<()> {
        let key = match op {
            b'p' | b'g' => {
                let line = self.line()?;
                number(line).ok_or_else(|| self.wrong("not a memo index"))?
            }
            b'q' | b'h' => u64::from(self.take(1)?[0]),
            b'r' | b'j' => u64::from(self.u32()?),
            _ => self.memo.len() as u64,
        };
        if matches!(op, b'g' | b'h' | b'j') {
            let id = *self.memo.get(&key).ok_or_else(|| self.wrong(format!("nothing was remembered as {key}")))?;
            self.stack.push(id);
        } else {
            let top = self.top()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    fn container(&mut self, op: u8) -> Result<()> {
        let node = match op {
            b')' => Node::Tuple(Vec::new()),
            0x85..=0x87 => {
                let count = usize::from(op - 0x84);
                let floor = self.marks.last().copied().unwrap_or(0);
                let start = self.stack.len().checked_sub(count).filter(|start| *start >= floor);
                let start = start.ok_or_else(|| self.empty())?;
                Node::Tuple(self.stack.split_off(start))
            }
            b't' => Node::Tuple(self.pop_to_mark()?),
            b']' => Node::List(Vec::new()),
            b'l' => Node::List(self.pop_to_mark()?),
            b'}' => Node::Dict(Vec::new()),
            b'd' => {
                let flat = self.pop_to_mark()?;
                Node::Dict(self.pairs(&flat)?)
            }
            0x8f => Node::Set(Vec::new()),
            _ => Node::Set(self.pop_to_mark()?),
        };
        self.push(node)
    }

    /// Opcodes that put something into the object below.
    fn fill(&mut self, op: u8) -> Result<()> {
        match op {
            b'b' => {
                let state = self.pop()?;
                match self.target()? {
                    Node::Call(call) => call.state = Some(state),
                    _ => return Err(bad("STACK", self.at, "a state for something that is no object")),
                }
            }
            b's' | b'u' => {
                let pairs = if op == b's' {
                    let value = self.pop()?;
                    vec![(self.pop()?, value)]
                } else {
                    let flat = self.pop_to_mark()?;
                    self.pairs(&flat)?
                };
                match self.target()? {
                    Node::Dict(entries) => entries.extend(pairs),
                    Node::Call(call) => call.entries.extend(pairs),
                    _ => return Err(bad("STACK", self.at, "entries for something that is no dictionary")),
                }
            }
            _ => {
                let items = if op == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
                match (op, self.target()?) {
                    (b'a' | b'e', Node::List(list)) | (0x90, Node::Set(list)) => list.extend(items),
                    (_, Node::Call(call)) => call.elements.extend(items),
                    _ => return Err(bad("STACK", self.at, "elements for something that is no list")),
                }
            }
        }
        Ok(())
    }

    fn object(&mut self, op: u8) -> Result<()> {
        let node = match op {
            b'c' => self.named()?,
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.nodes[id as usize] {
                    Node::Text(text) => Ok(text.clone()),
                    _ => Err(bad("VALUE", self.at, "a global whose name is no text")),
                };
                Node::Global { module: text(module)?, name: text(name)? }
            }
            b'Q' => Node::Persistent(self.pop()?),
            b'P' => {
                let line = self.line()?;
                let id = self.add(Node::Bytes(Cow::Borrowed(line)))?;
                Node::Persistent(id)
            }
            b'i' => {
                let class = self.named()?;
                let arguments = self.pop_to_mark()?;
                let function = self.add(class)?;
                self.call(function, arguments)?
            }
            b'o' => {
                let mut items = self.pop_to_mark()?;
                if items.is_empty() {
                    return Err(self.empty());
                }
                let function = items.remove(0);
                self.call(function, items)?
            }
            _ => {
                // keyword arguments of NEWOBJ_EX are kept as one further argument
                let keywords = if op == 0x92 { Some(self.pop()?) } else { None };
                let (arguments, function) = (self.pop()?, self.pop()?);
                match (keywords, &self.nodes[arguments as usize]) {
                    (Some(keywords), Node::Tuple(items)) => {
                        let items = items.iter().copied().chain([keywords]).collect();
                        self.call(function, items)?
                    }
                    _ => Node::Call(Box::new(Call { function, arguments, ..Call::default() })),
                }
            }
        };
        self.push(node)
    }

    fn call(&mut self, function: Id, arguments: Vec<Id>) -> Result<Node<'a>> {
        let arguments = self.add(Node::Tuple(arguments))?;
        Ok(Node::Call(Box::new(Call { function, arguments, ..Call::default() })))
    }

    /// The two lines that name a global.
    fn named(&mut self) -> Result<Node<'a>> {
        let (module, name) = (self.line()?, self.line()?);
        Ok(Node::Global { module: String::from_utf8_lossy(module), name: String::from_utf8_lossy(name) })
    }

    fn pairs(&self, flat: &[Id]) -> Result<Vec<(Id, Id)>> {
        if !flat.len().is_multiple_of(2) {
            return Err(bad("STACK", self.at, "a key without a value"));
        }
        Ok(flat.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    fn add(&mut self, node: Node<'a>) -> Result<Id> {
        if self.nodes.len() >= self.limits.values {
            let requested = self.nodes.len() as u64 + 1;
            return Err(Error::Limit { what: "pickled values", requested, limit: self.limits.values as u64 });
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }

    fn push(&mut self, node: Node<'a>) -> Result<()> {
        let id = self.add(node)?;
        self.stack.push(id);
        Ok(())
    }

    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.empty());
        }
        Ok(self.stack[self.stack.len() - 1])
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn target(&mut self) -> Result<&mut Node<'a>> {
        let top = self.top()?;
        Ok(&mut self.nodes[top as usize])
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let start = self.marks.pop().ok_or_else(|| bad("STACK", self.at, "no mark on the stack"))?;
        Ok(self.stack.split_off(start))
    }

    fn empty(&self) -> Error {
        bad("STACK", self.at, "the stack is empty")
    }

    fn wrong(&self, message: impl Into<String>) -> Error {
        bad("VALUE", self.at, message)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let left = self.bytes.len() - self.at;
        if count > left {
            return Err(bad("TRUNCATED", self.at, format!("{count} bytes expected, {left} left")));
        }
        self.at += count;
        Ok(&self.bytes[self.at - count..self.at])
    }

    fn u32(&mut self) -> Result<u32> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Bytes after a little-endian count of `width` bytes.
    fn counted(&mut self, width: usize) -> Result<&'a [u8]> {
        let count = self.take(width)?.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Up to the next line feed, which is left out.
    fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| bad("TRUNCATED", self.bytes.len(), "the file ends inside a line"))?;
        self.at += end + 1;
        Ok(&rest[..end])
    }
}

/// A two's complement number of any width.
fn wide(bytes: &[u8]) -> Node<'_> {
    if bytes.len() > 16 {
        return Node::WideInt(Cow::Borrowed(bytes));
    }
    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut all = [fill; 16];
    all[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i128::from_le_bytes(all))
}
