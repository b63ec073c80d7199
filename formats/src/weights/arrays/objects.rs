//! The walk over the values of a pickle: names for everything, arrays for what is one.

use std::collections::HashMap;

use super::{
    Arrays, Budget, SINGLE, array_of,
    numpy::{self, Parsed},
};
use crate::{
    Error, Result,
    npy::{NpyArray, NpyType},
    weights::{
        Limits, join,
        pickle::{Call, Id, Node, Tree},
        torch::{self, Container, Rebuild},
    },
};

/// Adds everything under the root of a pickle to `out`.
pub(super) fn collect(container: &Container<'_>, limits: &Limits, out: &mut Arrays) -> Result<()> {
    let tree = &container.tree;
    let mut walker = Objects {
        tree,
        rebuild: Rebuild::new(tree, &container.storages, "", limits),
        limits,
        budget: Budget { left: limits.array_bytes, limit: limits.array_bytes },
        visits: 0,
        depth: 0,
    };
    walker.visit(tree.root(), "", out)
}

pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Error {
    Error::format("pickle", code, 0, message)
}

/// An object: the class it is of, the arguments it was made with, and what was set afterwards.
pub(super) struct Object<'t> {
    pub module: &'t str,
    pub name: &'t str,
    pub arguments: &'t [Id],
    pub call: &'t Call,
}

impl Object<'_> {
    /// The class in full.
    pub fn class(&self) -> String {
        format!("{}.{}", self.module, self.name)
    }

    /// True when the class is `name` of a module that starts with `package`, wherever inside of it.
    pub fn is(&self, package: &str, name: &str) -> bool {
        let rest = self.module.strip_prefix(package);
        self.name == name && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

pub(super) struct Objects<'t, 'a> {
    pub tree: &'t Tree<'a>,
    rebuild: Rebuild<'t, 'a>,
    limits: &'t Limits,
    pub budget: Budget,
    visits: u32,
    depth: u32,
}

impl<'t> Objects<'t, '_> {
    /// Counts a step into a value. Every way into one comes through here, so that shared values cannot explode and cycles end.
    pub fn enter<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.count(1)?;
        self.depth += 1;
        if self.depth > self.limits.depth {
            let (requested, limit) = (self.depth.into(), self.limits.depth.into());
            return Err(Error::Limit { what: "depth of pickled values", requested, limit });
        }
        let result = step(self);
        self.depth -= 1;
        result
    }

    /// Counts values that are looked at without a step into them.
    fn count(&mut self, values: usize) -> Result<()> {
        let requested = u64::from(self.visits) + values as u64;
        let limit = u64::from(self.limits.visits);
        if requested > limit {
            return Err(Error::Limit { what: "pickled values visited", requested, limit });
        }
        self.visits = requested as u32;
        Ok(())
    }

    fn visit(&mut self, id: Id, name: &str, out: &mut Arrays) -> Result<()> {
        self.enter(|this| this.visit_value(id, name, out))
    }

    fn visit_value(&mut self, id: Id, name: &str, out: &mut Arrays) -> Result<()> {
        check_name(name.len())?;
        let tree = self.tree;
        match tree.node(id) {
            Node::None => return Ok(()),
            Node::Dict(entries) => return self.entries(entries, name, out),
            Node::Text(_) | Node::Bytes(_) => {
                let text = tree.text(id).map(str::to_owned);
                return self.keep(name, text.map_or(Found::Other, Found::Text), out);
            }
            _ => {}
        }
        if let Some(parsed) = self.array(id)? {
            let found = match parsed {
                Parsed::Array(array) => Found::Array(array),
                Parsed::Objects(items) => return self.items(items, name, out),
                Parsed::Other => Found::Other,
            };
            return self.keep(name, found, out);
        }
        match tree.node(id) {
            Node::List(items) | Node::Tuple(items) | Node::Set(items) => self.items(items, name, out),
            Node::Int(_) | Node::WideInt(_) => self.keep(name, Found::Other, out),
            Node::Call(_) => self.container(id, name, out),
            Node::Global { module, name: class } => {
                let message = format!("{} is the class or function `{module}.{class}`, no value", place(name));
                Err(bad("CLASS", message))
            }
            _ => Err(bad("CLASS", format!("{} refers to something outside of the file", place(name)))),
        }
    }

    /// Objects that hold others.
    fn container(&mut self, id: Id, name: &str, out: &mut Arrays) -> Result<()> {
        let Some(object) = self.object(id) else {
            return Err(bad("CLASS", format!("{} was made by a call of something without a name", place(name))));
        };
        match (object.module, object.name, object.arguments) {
            ("collections", "OrderedDict" | "defaultdict", arguments) => {
                // Python 2 writes the pairs as an argument
                if let ("OrderedDict", Some(pairs)) = (object.name, arguments.first()) {
                    let pairs = self.tree.sequence(*pairs).unwrap_or_default();
                    self.count(pairs.len())?;
                    for pair in pairs {
                        if let Some([key, value]) = self.tree.sequence(*pair) {
                            self.entries(&[(*key, *value)], name, out)?;
                        }
                    }
                }
                self.entries(&object.call.entries, name, out)
            }
            ("__builtin__" | "builtins", "set" | "frozenset" | "list" | "tuple", [items])
            | ("torch", "Size", [items]) => self.visit(*items, name, out),
            ("__builtin__" | "builtins", "set" | "frozenset" | "list" | "tuple" | "dict", []) => {
                self.items(&object.call.elements, name, out)?;
                self.entries(&object.call.entries, name, out)
            }
            // how Python 3 writes bytes for Python 2: numbers that way are read with their array
            ("_codecs", "encode", _) | ("__builtin__" | "builtins", "bytes" | "bytearray", _) => {
                self.keep(name, Found::Other, out)
            }
            _ => {
                let message =
                    format!("{} is an object of the class `{}`, which is not read", place(name), object.class());
                Err(bad("CLASS", message))
            }
        }
    }

    fn entries(&mut self, entries: &[(Id, Id)], name: &str, out: &mut Arrays) -> Result<()> {
        self.count(entries.len())?;
        for (key, _) in entries {
            check_name(self.tree.text(*key).map_or(0, str::len))?;
        }
        let keys: Vec<Option<String>> = entries.iter().map(|(key, _)| torch::name(self.tree, *key)).collect();
        // of equal keys the last one counts, as in Python
        let last: HashMap<&Option<String>, usize> = keys.iter().enumerate().map(|(index, key)| (key, index)).collect();
        for (index, (key, (_, value))) in keys.iter().zip(entries).enumerate() {
            match key {
                Some(text) if last[key] == index => self.visit(*value, &join(name, text), out)?,
                Some(_) => {}
                None => out.skipped.push(join(name, &format!("(key {index})"))),
            }
        }
        Ok(())
    }

    fn items(&mut self, items: &[Id], name: &str, out: &mut Arrays) -> Result<()> {
        items.iter().enumerate().try_for_each(|(index, item)| self.visit(*item, &join(name, &index.to_string()), out))
    }

    fn keep(&mut self, name: &str, found: Found, out: &mut Arrays) -> Result<()> {
        let name = if name.is_empty() { SINGLE } else { name };
        let twice = match found {
            Found::Array(array) => out.arrays.insert(name.to_owned(), array).is_some(),
            Found::Text(text) => {
                self.budget.spend(text.len())?;
                out.texts.insert(name.to_owned(), text).is_some()
            }
            Found::Other => {
                out.skipped.push(name.to_owned());
                false
            }
        };
        if twice { Err(bad("VALUE", format!("two values are called `{name}`"))) } else { Ok(()) }
    }

    /// The object that the node is, also when made without its constructor.
    pub fn object(&self, id: Id) -> Option<Object<'t>> {
        let (module, name, arguments, call) = self.tree.call(id)?;
        if let ("copy_reg" | "copyreg", "_reconstructor", [class, ..]) = (module, name, arguments) {
            let (module, name) = self.tree.global(*class)?;
            return Some(Object { module, name, arguments: &[], call });
        }
        Some(Object { module, name, arguments, call })
    }

    /// The array that the node is, if it is one: numbers and lists of them, arrays, matrices, tensors.
    pub fn array(&mut self, id: Id) -> Result<Option<Parsed<'t>>> {
        self.enter(|this| this.array_value(id))
    }

    fn array_value(&mut self, id: Id) -> Result<Option<Parsed<'t>>> {
        let tree = self.tree;
        if !matches!(tree.node(id), Node::Call(_) | Node::Persistent(_)) {
            return Ok(self.numbers(id)?.map(Parsed::Array));
        }
        if let Some(tensor) = self.rebuild.tensor(id)? {
            return array_of(&tensor, &mut self.budget).map(|array| Some(Parsed::Array(array)));
        }
        let Some(object) = self.object(id) else { return Ok(None) };
        // the attributes of an object are found by looking through them
        self.count(object.call.state.and_then(|state| tree.entries(state)).map_or(0, <[_]>::len))?;
        if let Some(parsed) = numpy::parse(self, &object)? {
            return Ok(Some(parsed));
        }
        let array = match super::sparse::parse(self, &object)? {
            Some(array) => Some(array),
            None => super::chumpy::parse(self, &object)?,
        };
        Ok(array.map(Parsed::Array))
    }

    /// As [`Objects::array`], for what must be one; `what` names it.
    pub fn needed(&mut self, id: Option<Id>, what: &str) -> Result<NpyArray> {
        let parsed = match id {
            Some(id) => self.array(id)?,
            None => None,
        };
        match parsed {
            Some(Parsed::Array(array)) => Ok(array),
            _ => Err(bad("VALUE", format!("{what} is no array of numbers"))),
        }
    }

    /// A number, or a list of numbers, or of lists of one length, and so on.
    fn numbers(&mut self, id: Id) -> Result<Option<NpyArray>> {
        let mut flat = Flat::default();
        let Some(shape) = self.flatten(id, &mut flat)? else { return Ok(None) };
        self.budget.spend(8 * flat.values.len())?;
        Ok(Some(flat.into_array(shape)))
    }

    fn flatten(&mut self, id: Id, flat: &mut Flat) -> Result<Option<Vec<usize>>> {
        let number = match self.tree.node(id) {
            Node::Bool(value) => Number { float: f64::from(u8::from(*value)), int: Some((*value).into()), flag: true },
            Node::Int(value) => match i64::try_from(*value) {
                Ok(value) => Number { float: value as f64, int: Some(value), flag: false },
                Err(_) => return Ok(None),
            },
            Node::Float(value) => Number { float: *value, int: None, flag: false },
            Node::List(items) | Node::Tuple(items) | Node::Set(items) => {
                let mut inner: Option<Vec<usize>> = None;
                for item in items {
                    match self.enter(|this| this.flatten(*item, flat))? {
                        Some(shape) if inner.as_ref().is_none_or(|inner| *inner == shape) => inner = Some(shape),
                        _ => return Ok(None),
                    }
                }
                let shape = [items.len()].into_iter().chain(inner.into_iter().flatten()).collect();
                return Ok(Some(shape));
            }
            _ => return Ok(None),
        };
        flat.values.push(number);
        Ok(Some(Vec::new()))
    }
}

enum Found {
    Array(NpyArray),
    Text(String),
    Other,
}

/// Names in files of data have at most some ten characters.
fn check_name(length: usize) -> Result<()> {
    let (requested, limit) = (length as u64, 1024);
    if requested > limit { Err(Error::Limit { what: "characters of a name", requested, limit }) } else { Ok(()) }
}

fn place(name: &str) -> String {
    if name.is_empty() { "the pickled value".to_owned() } else { format!("`{name}`") }
}

/// A number of Python; of an integer, `float` may be rounded.
struct Number {
    float: f64,
    int: Option<i64>,
    flag: bool,
}

#[derive(Default)]
struct Flat {
    values: Vec<Number>,
}

impl Flat {
    fn into_array(self, shape: Vec<usize>) -> NpyArray {
        let values = &self.values;
        if !values.is_empty() && values.iter().all(|number| number.flag) {
            let data = values.iter().map(|number| u8::from(number.float != 0.0)).collect();
            return NpyArray { dtype: NpyType::Bool, shape, data };
        }
        let ints: Option<Vec<i64>> = values.iter().map(|number| number.int).collect();
        match ints.filter(|ints| !ints.is_empty()) {
            Some(ints) => NpyArray::from_i64(shape, &ints),
            None => NpyArray::from_f64(shape, &values.iter().map(|number| number.float).collect::<Vec<_>>()),
        }
    }
}
