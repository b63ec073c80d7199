//! SciPy's sparse matrices, made dense.

use super::objects::{Object, Objects, bad};
use crate::{
    Result,
    npy::{NpyArray, NpyType},
    weights::pickle::Id,
};

/// The matrix that the object is, if it is one: float32 stays, anything else becomes float64. Entries of the same place add up.
pub(super) fn parse<'t>(objects: &mut Objects<'t, '_>, object: &Object<'t>) -> Result<Option<NpyArray>> {
    let kind = ["csc", "csr", "coo"]
        .into_iter()
        .find(|kind| ["_matrix", "_array"].iter().any(|ending| object.is("scipy.sparse", &format!("{kind}{ending}"))));
    let Some(kind) = kind else { return Ok(None) };
    let state = object.call.state;
    let part = |objects: &Objects<'_, '_>, names: &[&str]| -> Option<Id> {
        names.iter().find_map(|name| objects.tree.get(state?, name))
    };
    let shape = part(objects, &["_shape", "shape"]);
    let shape = whole(objects, shape, "the shape of a sparse matrix")?;
    let [rows, columns] = shape[..] else {
        return Err(bad("VALUE", format!("a sparse matrix of the shape {shape:?}")));
    };
    let data = part(objects, &["data"]);
    let data = objects.needed(data, "the content of a sparse matrix")?;
    let values = data.to_f64();
    let places: Vec<(usize, usize)> = if kind == "coo" {
        let (mut row, mut column) = (part(objects, &["row"]), part(objects, &["col"]));
        // since SciPy 1.13 one tuple holds both
        let coords = part(objects, &["coords"]).and_then(|id| objects.tree.sequence(id));
        if let Some([first, second]) = coords {
            (row, column) = (Some(*first), Some(*second));
        }
        let row = whole(objects, row, "the rows of a sparse matrix")?;
        let column = whole(objects, column, "the columns of a sparse matrix")?;
        if row.len() != column.len() {
            return Err(bad("VALUE", format!("{} rows and {} columns of sparse entries", row.len(), column.len())));
        }
        row.into_iter().zip(column).collect()
    } else {
        let (starts, indices) = (part(objects, &["indptr"]), part(objects, &["indices"]));
        let starts = whole(objects, starts, "the starts of a sparse matrix")?;
        let indices = whole(objects, indices, "the indices of a sparse matrix")?;
        expand(&starts, &indices, kind == "csc")?
    };
    if places.len() != values.len() {
        return Err(bad("VALUE", format!("{} places for {} entries of a sparse matrix", places.len(), values.len())));
    }
    let size = NpyType::F64.bytes_of(&[rows, columns]);
    let size = size.ok_or_else(|| bad("VALUE", format!("a sparse matrix of the shape {shape:?}")))?;
    objects.budget.spend(size)?;
    let mut dense = vec![0.0; rows * columns];
    for ((row, column), value) in places.into_iter().zip(values) {
        if row >= rows || column >= columns {
            let message = format!("entry ({row}, {column}) of a sparse matrix of {rows} × {columns}");
            return Err(bad("VALUE", message));
        }
        dense[row * columns + column] += value;
    }
    Ok(Some(match data.dtype {
        NpyType::F32 => NpyArray::from_f32(vec![rows, columns], &dense.iter().map(|v| *v as f32).collect::<Vec<_>>()),
        _ => NpyArray::from_f64(vec![rows, columns], &dense),
    }))
}

/// Row and column of every entry.
fn expand(starts: &[usize], indices: &[usize], by_column: bool) -> Result<Vec<(usize, usize)>> {
    let mut places = Vec::with_capacity(indices.len());
    for (major, range) in starts.windows(2).enumerate() {
        let minors = indices.get(range[0]..range[1]).ok_or_else(|| {
            let message = format!("starts {} and {} among {} sparse entries", range[0], range[1], indices.len());
            bad("VALUE", message)
        })?;
        if places.len() != range[0] {
            return Err(bad("VALUE", format!("start {} after {} sparse entries", range[0], places.len())));
        }
        places.extend(minors.iter().map(|minor| if by_column { (*minor, major) } else { (major, *minor) }));
    }
    Ok(places)
}

fn whole(objects: &mut Objects<'_, '_>, id: Option<Id>, what: &str) -> Result<Vec<usize>> {
    let array = objects.needed(id, what)?;
    let wrong = || bad("VALUE", format!("{what} are no indices"));
    array.to_i64().map_err(|_| wrong())?.into_iter().map(|v| usize::try_from(v).map_err(|_| wrong())).collect()
}
