//! Arrays, scalars and element types of NumPy.
//!
//! Source: `ndarray.__reduce__`, `__reduce_ex__` and `__setstate__` of NumPy 1 and 2. An array is `_reconstruct(ndarray, (0,), b'b')`
//! with the state `(version, shape, dtype, is_fortran, data)`, or, since protocol 5, `_frombuffer(data, dtype, shape, order[, axes])`;
//! a dtype is `dtype(code, align, copy)` with the state `(version, byte order, subtype, names, fields, …)`.

use super::objects::{Object, Objects, bad};
use crate::{
    Result,
    npy::{NpyArray, NpyType},
    weights::pickle::{Id, Node},
};

/// What an array turns out to be.
pub(super) enum Parsed<'t> {
    Array(NpyArray),
    /// The elements of an array of objects.
    Objects(&'t [Id]),
    /// Elements that are no plain numbers.
    Other,
}

#[derive(Clone, Copy)]
enum Element {
    Number { dtype: NpyType, big_endian: bool },
    Object,
    Other,
}

/// The array, scalar or matrix that the object is, if it is one.
pub(super) fn parse<'t>(objects: &mut Objects<'t, '_>, object: &Object<'t>) -> Result<Option<Parsed<'t>>> {
    if !matches!(object.module.split('.').next(), Some("numpy")) {
        return Ok(None);
    }
    let core =
        |name: &str| object.name == name && matches!(object.module, "numpy.core.multiarray" | "numpy._core.multiarray");
    let numeric = matches!(object.module, "numpy.core.numeric" | "numpy._core.numeric");
    if core("_reconstruct") {
        array(objects, object).map(Some)
    } else if core("scalar") {
        let [dtype, data] = object.arguments else { return Err(wrong("scalar")) };
        filled(objects, *dtype, Vec::new(), false, *data).map(Some)
    } else if numeric && object.name == "_frombuffer" {
        buffer(objects, object.arguments).map(Some)
    } else {
        Ok(None)
    }
}

fn wrong(what: &str) -> crate::Error {
    bad("VALUE", format!("a call of NumPy's {what} that cannot be understood"))
}

fn array<'t>(objects: &mut Objects<'t, '_>, object: &Object<'t>) -> Result<Parsed<'t>> {
    let tree = objects.tree;
    // subclasses of ndarray may mean something else by their content
    let class = object.arguments.first().and_then(|id| tree.global(*id));
    match class {
        Some(("numpy", "ndarray" | "matrix") | ("numpy.matrixlib.defmatrix", "matrix")) => {}
        Some((module, name)) => return Err(bad("CLASS", format!("an array of the class `{module}.{name}`"))),
        None => return Err(wrong("_reconstruct")),
    }
    let state = object.call.state.and_then(|state| tree.sequence(state));
    let ([_, shape, dtype, fortran, data] | [shape, dtype, fortran, data]) =
        state.ok_or_else(|| wrong("_reconstruct"))?
    else {
        return Err(wrong("_reconstruct"));
    };
    let fortran = match tree.node(*fortran) {
        Node::Bool(fortran) => *fortran,
        Node::Int(fortran) => *fortran != 0,
        _ => return Err(wrong("_reconstruct")),
    };
    let shape = extents(objects, *shape).ok_or_else(|| wrong("_reconstruct"))?;
    filled(objects, *dtype, shape, fortran, *data)
}

fn buffer<'t>(objects: &mut Objects<'t, '_>, arguments: &[Id]) -> Result<Parsed<'t>> {
    let tree = objects.tree;
    let [data, dtype, shape, order, more @ ..] = arguments else { return Err(wrong("_frombuffer")) };
    let shape = extents(objects, *shape).ok_or_else(|| wrong("_frombuffer"))?;
    let fortran = match tree.text(*order) {
        Some("C") => false,
        Some("F") => true,
        // the shape is that of the memory, whose axes are then put into another order
        Some("K") => {
            let axes = more.first().and_then(|axes| extents(objects, *axes)).ok_or_else(|| wrong("_frombuffer"))?;
            return match filled(objects, *dtype, shape, false, *data)? {
                Parsed::Array(array) => permuted(objects, &array, &axes).map(Parsed::Array),
                other => Ok(other),
            };
        }
        _ => return Err(wrong("_frombuffer")),
    };
    filled(objects, *dtype, shape, fortran, *data)
}

/// `array.transpose(axes)`.
fn permuted(objects: &mut Objects<'_, '_>, array: &NpyArray, axes: &[usize]) -> Result<NpyArray> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    if sorted.len() != array.shape.len() || sorted.iter().enumerate().any(|(k, axis)| k != *axis) {
        return Err(wrong("_frombuffer"));
    }
    objects.budget.spend(array.data.len())?;
    let size = array.dtype.size();
    let mut strides = vec![size; array.shape.len()];
    for axis in (1..strides.len()).rev() {
        strides[axis - 1] = strides[axis] * array.shape[axis];
    }
    let shape: Vec<usize> = axes.iter().map(|axis| array.shape[*axis]).collect();
    let mut data = Vec::with_capacity(array.data.len());
    let mut index = vec![0usize; shape.len()];
    while data.len() < array.data.len() {
        let at: usize = index.iter().zip(axes).map(|(i, axis)| i * strides[*axis]).sum();
        data.extend_from_slice(&array.data[at..at + size]);
        for k in (0..shape.len()).rev() {
            index[k] += 1;
            if index[k] < shape[k] {
                break;
            }
            index[k] = 0;
        }
    }
    Ok(NpyArray { dtype: array.dtype, shape, data })
}

/// An array from its type, shape, order and elements.
fn filled<'t>(
    objects: &mut Objects<'t, '_>,
    dtype: Id,
    shape: Vec<usize>,
    fortran: bool,
    data: Id,
) -> Result<Parsed<'t>> {
    let tree = objects.tree;
    let (dtype, big_endian) = match element(objects, dtype)? {
        Element::Number { dtype, big_endian } => (dtype, big_endian),
        Element::Object => return Ok(tree.sequence(data).map_or(Parsed::Other, Parsed::Objects)),
        Element::Other => return Ok(Parsed::Other),
    };
    let raw = tree.bytes(data).ok_or_else(|| bad("VALUE", "the elements of an array are no bytes"))?;
    let size = dtype.bytes_of(&shape).filter(|size| *size == raw.len()).ok_or_else(|| {
        let message = format!("an array of the shape {shape:?} with {} bytes of {dtype:?}", raw.len());
        bad("VALUE", message)
    })?;
    objects.budget.spend(size)?;
    Ok(Parsed::Array(NpyArray::from_raw(dtype, big_endian, fortran, shape, raw.into_owned())))
}

fn element(objects: &Objects<'_, '_>, id: Id) -> Result<Element> {
    let tree = objects.tree;
    let wrong = || wrong("dtype");
    let object = objects.object(id).filter(|object| object.is("numpy", "dtype")).ok_or_else(wrong)?;
    let code = object.arguments.first().and_then(|code| tree.text(*code)).ok_or_else(wrong)?;
    if code.starts_with('O') {
        return Ok(Element::Object);
    }
    let Some(dtype) = NpyType::from_code(code) else { return Ok(Element::Other) };
    let mut big_endian = false;
    if let Some(state) = object.call.state {
        let [_, order, subtype, names, ..] = tree.sequence(state).unwrap_or_default() else { return Err(wrong()) };
        if [subtype, names].iter().any(|id| *tree.node(**id) != Node::None) {
            return Ok(Element::Other);
        }
        big_endian = match tree.text(*order) {
            Some("<" | "|" | "=") => false,
            Some(">") => true,
            _ => return Err(wrong()),
        };
    }
    Ok(Element::Number { dtype, big_endian })
}

/// The non-negative integers of a tuple; a tuple of one may be the number alone.
fn extents(objects: &Objects<'_, '_>, id: Id) -> Option<Vec<usize>> {
    let tree = objects.tree;
    match tree.sequence(id) {
        Some(items) if items.len() <= 32 => items.iter().map(|item| tree.int(*item)).collect(),
        Some(_) => None,
        None => tree.int(id).map(|extent| vec![extent]),
    }
}
