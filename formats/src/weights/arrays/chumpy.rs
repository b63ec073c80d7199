//! Values of chumpy, the automatic differentiation of the older body models.
//!
//! Source: `chumpy/ch.py` and `chumpy/reordering.py` of chumpy 0.70 (what they pickle).

use super::objects::{Object, Objects, bad};
use crate::{Result, npy::NpyArray};

/// The value of `Ch` (the array inside) or of `Select` (elements of another value), if the object is one.
pub(super) fn parse<'t>(objects: &mut Objects<'t, '_>, object: &Object<'t>) -> Result<Option<NpyArray>> {
    let (tree, state) = (objects.tree, object.call.state);
    let part = |name: &str| tree.get(state?, name);
    if object.is("chumpy", "Ch") {
        return objects.needed(part("x"), "the content of a chumpy value").map(Some);
    }
    if !object.is("chumpy.reordering", "Select") {
        return Ok(None);
    }
    let source = objects.needed(part("a"), "the source of a chumpy selection")?;
    let indices = objects.needed(part("idxs"), "the indices of a chumpy selection")?.to_i64()?;
    let shape = match part("preferred_shape") {
        Some(shape) => objects.needed(Some(shape), "the shape of a chumpy selection")?.to_i64()?,
        None => vec![indices.len() as i64],
    };
    let shape: Option<Vec<usize>> = shape.into_iter().map(|extent| usize::try_from(extent).ok()).collect();
    let size = source.dtype.size();
    let fits = |shape: &Vec<usize>| source.dtype.bytes_of(shape) == Some(indices.len() * size);
    let shape = shape.filter(fits).ok_or_else(|| bad("VALUE", "the shape of a chumpy selection does not fit"))?;
    objects.budget.spend(indices.len() * size)?;
    let mut data = Vec::with_capacity(indices.len() * size);
    for index in indices {
        let element = usize::try_from(index).ok().and_then(|index| source.data.chunks_exact(size).nth(index));
        let element = element
            .ok_or_else(|| bad("VALUE", format!("element {index} of a chumpy value of {} elements", source.len())))?;
        data.extend_from_slice(element);
    }
    Ok(Some(NpyArray { dtype: source.dtype, shape, data }))
}
