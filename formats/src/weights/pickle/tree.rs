//! The values of a pickle, in one arena: containers hold ids, so that shared and cyclic values need no special care.

use std::borrow::Cow;

/// Index of a node in its [`Tree`].
pub type Id = u32;

/// One value. Text and bytes are slices of the pickle wherever it holds them unescaped.
#[derive(Debug, Clone, PartialEq)]
pub enum Node<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of at most 128 bits.
    Int(i128),
    /// A wider integer: two's complement, little-endian.
    WideInt(Cow<'a, [u8]>),
    /// A floating point number.
    Float(f64),
    /// A `str`; lone surrogates are replaced by U+FFFD.
    Text(Cow<'a, str>),
    /// A `bytes`, a `bytearray`, or the `str` of Python 2.
    Bytes(Cow<'a, [u8]>),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A set or frozen set, in file order.
    Set(Vec<Id>),
    /// A dictionary, in file order; of equal keys the last one counts.
    Dict(Vec<(Id, Id)>),
    /// The name of a class or function.
    Global {
        /// Dotted module.
        module: Cow<'a, str>,
        /// Name inside the module.
        name: Cow<'a, str>,
    },
    /// An object that Python would have made by a call.
    Call(Box<Call>),
    /// A value kept outside the pickle, by its persistent id.
    Persistent(Id),
}

/// `function(*arguments)`, and what was put into the result afterwards.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Call {
    /// The class or function, usually a [`Node::Global`].
    pub function: Id,
    /// The arguments, usually a [`Node::Tuple`].
    pub arguments: Id,
    /// What `__setstate__` or `__dict__` would have received.
    pub state: Option<Id>,
    /// Elements appended to the object.
    pub elements: Vec<Id>,
    /// Entries set in the object.
    pub entries: Vec<(Id, Id)>,
}

/// A pickle's values.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) root: Id,
}

impl<'a> Tree<'a> {
    /// The id of the pickled value.
    pub fn root(&self) -> Id {
        self.root
    }

    /// The same values, independent of the bytes they were read from.
    pub fn into_owned(self) -> Tree<'static> {
        let text = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        let bytes = |bytes: Cow<'a, [u8]>| Cow::Owned(bytes.into_owned());
        let own = |node| match node {
            Node::None => Node::None,
            Node::Bool(value) => Node::Bool(value),
            Node::Int(value) => Node::Int(value),
            Node::WideInt(value) => Node::WideInt(bytes(value)),
            Node::Float(value) => Node::Float(value),
            Node::Text(value) => Node::Text(text(value)),
            Node::Bytes(value) => Node::Bytes(bytes(value)),
            Node::List(items) => Node::List(items),
            Node::Tuple(items) => Node::Tuple(items),
            Node::Set(items) => Node::Set(items),
            Node::Dict(entries) => Node::Dict(entries),
            Node::Global { module, name } => Node::Global { module: text(module), name: text(name) },
            Node::Call(call) => Node::Call(call),
            Node::Persistent(id) => Node::Persistent(id),
        };
        Tree { nodes: self.nodes.into_iter().map(own).collect(), root: self.root }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Always false: a pickle holds at least one value.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The value with this id, which must come from this tree.
    pub fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    /// The text of a `str`, or of the ASCII or UTF-8 bytes that Python 2 calls `str`.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            Node::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// An integer, if it fits.
    pub fn int<T: TryFrom<i128>>(&self, id: Id) -> Option<T> {
        if let Node::Int(value) = self.node(id) { T::try_from(*value).ok() } else { None }
    }

    /// The elements of a tuple or list.
    pub fn sequence(&self, id: Id) -> Option<&[Id]> {
        if let Node::Tuple(items) | Node::List(items) = self.node(id) { Some(items) } else { None }
    }

    /// The entries of a dictionary, or of a dictionary-like object such as an `OrderedDict`.
    pub fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.node(id) {
            Node::Dict(entries) => Some(entries),
            Node::Call(call) if !call.entries.is_empty() => Some(&call.entries),
            Node::Call(call) if self.is_global(call.function, "collections", "OrderedDict") => Some(&call.entries),
            _ => None,
        }
    }

    /// The value under a text key of a dictionary; the last one, as in Python.
    pub fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.entries(id)?.iter().rev().find(|(k, _)| self.text(*k) == Some(key)).map(|(_, value)| *value)
    }

    /// Module and name of a global.
    pub fn global(&self, id: Id) -> Option<(&str, &str)> {
        if let Node::Global { module, name } = self.node(id) { Some((module, name)) } else { None }
    }

    /// True for the global of this name.
    pub fn is_global(&self, id: Id, module: &str, name: &str) -> bool {
        self.global(id) == Some((module, name))
    }

    /// The call of a global: its module and name, the arguments, and what was set afterwards.
    pub fn call(&self, id: Id) -> Option<(&str, &str, &[Id], &Call)> {
        let Node::Call(call) = self.node(id) else { return None };
        let (module, name) = self.global(call.function)?;
        Some((module, name, self.sequence(call.arguments)?, call))
    }

    /// Bytes, also in the form in which Python 3 writes them for protocols 0 to 2: Latin-1 text to be encoded, or
    /// `__builtin__.bytes()` for none.
    pub fn bytes(&self, id: Id) -> Option<Cow<'_, [u8]>> {
        if let Node::Bytes(bytes) = self.node(id) {
            return Some(Cow::Borrowed(bytes));
        }
        match self.call(id)? {
            ("_codecs", "encode", [text, encoding], _) if self.text(*encoding) == Some("latin1") => {
                let narrow: Option<Vec<u8>> =
                    self.text(*text)?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
                narrow.map(Cow::Owned)
            }
            ("__builtin__" | "builtins", "bytes", [], _) => Some(Cow::Borrowed(&[])),
            _ => None,
        }
    }
}
