//! Splats in a PLY: from columns in any order and type to arrays, and back in the order of the reference trainer.

use rayon::prelude::*;

use super::{
    header::bad,
    table::{Column, Table},
    write::{SourceColumn, attribute_columns, vector_columns},
};
use crate::{DType, Error, Limits, RenderModel, Result, Splats, UserAttribute, conventions};

/// Third log-scale given to the splats of a file that has two: flat, but far from underflow.
pub const SURFEL_LOG_SCALE: f32 = -20.0;
/// Rows that one task decodes.
const TASK_ROWS: usize = 2048;

/// Which columns hold the pose of a splat; STGA writes it twice.
#[derive(Clone, Copy)]
pub(super) struct PoseNames {
    pub means: [&'static str; 3],
    pub scales: [&'static str; 3],
    pub rotations: [&'static str; 4],
}

/// The columns of the reference trainer.
pub(super) const STANDARD: PoseNames = PoseNames {
    means: ["x", "y", "z"],
    scales: ["scale_0", "scale_1", "scale_2"],
    rotations: ["rot_0", "rot_1", "rot_2", "rot_3"],
};

/// Means, rotations and log-scales as columns of a table.
struct Pose<'t> {
    means: [&'t Column; 3],
    rotations: [&'t Column; 4],
    /// `None` for surfels, which have two.
    scales: [Option<&'t Column>; 3],
}

/// Everything that [`Splats`] holds as columns of a table.
struct Layout<'t> {
    pose: Pose<'t>,
    opacity: &'t Column,
    sh0: [&'t Column; 3],
    /// `f_rest_0` and up: all of red, then green, then blue.
    rest: Vec<&'t Column>,
    degree: u8,
}

fn find<'t>(table: &'t Table, name: &str) -> Result<&'t Column> {
    table.column(name).ok_or_else(|| {
        bad("HEADER", table.offset, format!("element `{}` has no property `{name}`, so it holds no splats", table.name))
    })
}

pub(super) fn find_all<'t, const W: usize>(table: &'t Table, names: [&str; W]) -> Result<[&'t Column; W]> {
    let columns: Vec<&Column> = names.iter().map(|name| find(table, name)).collect::<Result<_>>()?;
    columns.try_into().map_err(|_| bad("HEADER", table.offset, format!("columns {names:?} not found")))
}

/// `stem0`, `stem1`, … as far as they go without a gap.
pub(super) fn numbered<'t>(table: &'t Table, stem: &str) -> Vec<&'t Column> {
    (0..).map_while(|k| table.column(&format!("{stem}{k}"))).collect()
}

/// SH degree of a number of `f_rest` columns.
pub(super) fn degree_of_rest(columns: usize, offset: usize) -> Result<u8> {
    (0..=4).find(|d| conventions::sh_rest_count(*d) * 3 == columns).ok_or_else(|| {
        let message = format!("{columns} `f_rest` properties; degrees 0 to 4 have 0, 9, 24, 45 or 72");
        bad("HEADER", offset, message)
    })
}

impl<'t> Pose<'t> {
    fn find(table: &'t Table, names: PoseNames) -> Result<Self> {
        let [s0, s1, s2] = names.scales;
        Ok(Self {
            means: find_all(table, names.means)?,
            rotations: find_all(table, names.rotations)?,
            scales: [Some(find(table, s0)?), Some(find(table, s1)?), table.column(s2)],
        })
    }
}

impl<'t> Layout<'t> {
    fn find(table: &'t Table, names: PoseNames) -> Result<Self> {
        let rest = numbered(table, "f_rest_");
        let total = table.columns.iter().filter(|c| c.name.starts_with("f_rest_")).count();
        if total != rest.len() {
            let message = format!("{total} `f_rest` properties, but `f_rest_{}` is missing", rest.len());
            return Err(bad("HEADER", table.offset, message));
        }
        Ok(Self {
            pose: Pose::find(table, names)?,
            opacity: find(table, "opacity")?,
            sh0: find_all(table, ["f_dc_0", "f_dc_1", "f_dc_2"])?,
            degree: degree_of_rest(rest.len(), table.offset)?,
            rest,
        })
    }

    fn all_float(&self) -> bool {
        let pose = self.pose.means.iter().chain(&self.pose.rotations).chain(self.pose.scales.iter().flatten());
        pose.chain(&self.sh0).chain(&self.rest).chain([&self.opacity]).all(|c| c.dtype == DType::F32)
    }
}

/// Reads the splats whose pose stands in the columns of `names`.
///
/// # Errors
/// `HEADER` when a column is missing or the number of `f_rest` columns belongs to no SH degree; limits.
pub(super) fn read_splats(table: &Table, names: PoseNames, limits: &Limits) -> Result<(Splats, RenderModel)> {
    let layout = Layout::find(table, names)?;
    limits.check_splats(table.count as u64, 56 + 4 * layout.rest.len() as u64)?;
    let mut splats = Splats::with_len(table.count, layout.degree);
    let blocks = split(&mut splats, layout.rest.len());
    // monomorphised twice: for float32 a column is a four-byte load at a known offset, without a switch on the type
    if layout.all_float() {
        blocks.into_par_iter().for_each(|block| decode::<true>(table, &layout, block));
    } else {
        blocks.into_par_iter().for_each(|block| decode::<false>(table, &layout, block));
    }
    let surfel = layout.pose.scales[2].is_none();
    Ok((splats, if surfel { RenderModel::Surfel } else { RenderModel::Classic }))
}

/// The arrays' parts that belong to one task.
struct Block<'s> {
    first: usize,
    means: &'s mut [[f32; 3]],
    rotations: &'s mut [[f32; 4]],
    log_scales: &'s mut [[f32; 3]],
    opacity: &'s mut [f32],
    sh0: &'s mut [[f32; 3]],
    rest: &'s mut [f32],
}

fn split(splats: &mut Splats, rest_width: usize) -> Vec<Block<'_>> {
    let mut rest = &mut splats.sh_rest[..];
    let means = splats.means.chunks_mut(TASK_ROWS);
    let others = splats.rotations.chunks_mut(TASK_ROWS).zip(splats.log_scales.chunks_mut(TASK_ROWS));
    let colours = splats.opacity_logits.chunks_mut(TASK_ROWS).zip(splats.sh0.chunks_mut(TASK_ROWS));
    let mut blocks = Vec::new();
    for (index, ((means, (rotations, log_scales)), (opacity, sh0))) in means.zip(others).zip(colours).enumerate() {
        let (own, remaining) = std::mem::take(&mut rest).split_at_mut(means.len() * rest_width);
        rest = remaining;
        blocks.push(Block { first: index * TASK_ROWS, means, rotations, log_scales, opacity, sh0, rest: own });
    }
    blocks
}

#[inline(always)]
fn value<const FLOAT: bool>(column: &Column, row: &[u8]) -> f32 {
    if FLOAT {
        let at = &row[column.offset..column.offset + 4];
        f32::from_le_bytes([at[0], at[1], at[2], at[3]])
    } else {
        column.f32(row)
    }
}

fn decode<const FLOAT: bool>(table: &Table, layout: &Layout, block: Block) {
    let (pose, coefficients) = (&layout.pose, layout.rest.len() / 3);
    for i in 0..block.means.len() {
        let row = table.row(block.first + i);
        let get = |column: &Column| value::<FLOAT>(column, row);
        block.means[i] = pose.means.map(get);
        block.rotations[i] = pose.rotations.map(get);
        block.log_scales[i] = pose.scales.map(|c| c.map_or(SURFEL_LOG_SCALE, get));
        block.opacity[i] = get(layout.opacity);
        block.sh0[i] = layout.sh0.map(get);
        let out = &mut block.rest[i * layout.rest.len()..][..layout.rest.len()];
        for (channel, plane) in layout.rest.chunks_exact(coefficients.max(1)).enumerate() {
            for (k, column) in plane.iter().enumerate() {
                out[k * 3 + channel] = get(column);
            }
        }
    }
}

/// Reads a second pose, such as the world-space one of an STGA file.
pub(super) fn read_pose(table: &Table, names: PoseNames) -> Result<crate::RestPose> {
    let pose = Pose::find(table, names)?;
    let rows = || table.rows.chunks_exact(table.stride.max(1));
    Ok(crate::RestPose {
        means: rows().map(|row| pose.means.map(|c| c.f32(row))).collect(),
        rotations: rows().map(|row| pose.rotations.map(|c| c.f32(row))).collect(),
        log_scales: rows().map(|row| pose.scales.map(|c| c.map_or(SURFEL_LOG_SCALE, |c| c.f32(row)))).collect(),
    })
}

/// Splats of a column of indices, such as `binding_0`, which trainers store as float.
pub(super) fn read_indices(table: &Table, column: &Column) -> Result<Vec<u32>> {
    let check = |(row, value): (usize, f64)| {
        if value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value) {
            return Ok(value as u32);
        }
        let offset = table.offset + row * table.stride + column.offset;
        Err(bad("VALUE", offset, format!("splat {row}: `{}` is {value}, not a triangle number", column.name)))
    };
    table.values(column).enumerate().map(check).collect()
}

/// All columns that `used` does not claim, as attributes: adjacent `stem_0`, `stem_1`, … of one type become one
/// attribute `stem`; normals become `normal`, unless they are all zero, as trainers write them.
pub(super) fn read_attributes(
    table: &Table,
    used: impl Fn(&str) -> bool,
    limits: &Limits,
) -> Result<Vec<UserAttribute>> {
    let mut left: Vec<&Column> = table.columns.iter().filter(|c| !used(&c.name)).collect();
    let mut attributes = Vec::new();
    limits.check_bytes((table.count * left.iter().map(|c| c.dtype.size()).sum::<usize>()) as u64)?;
    if let Ok(normal) = find_all(table, ["nx", "ny", "nz"])
        && normal.iter().all(|c| c.dtype == normal[0].dtype && !used(&c.name))
        && !left.iter().any(|c| c.name == "normal")
    {
        left.retain(|c| !normal.contains(c));
        if normal.iter().any(|c| table.values(c).any(|v| v != 0.0)) {
            attributes.push(gather(table, "normal", &normal));
        }
    }
    let mut rest = &left[..];
    while let [first, ..] = rest {
        let (name, width) = group(rest, &left, &attributes).unwrap_or((&first.name, 1));
        attributes.push(gather(table, name, &rest[..width]));
        rest = &rest[width..];
    }
    Ok(attributes)
}

/// Name and width of the vector at the front of `rest`, when there is one whose name is free.
fn group<'t>(rest: &[&'t Column], all: &[&Column], taken: &[UserAttribute]) -> Option<(&'t str, usize)> {
    let stem = rest[0].name.strip_suffix("_0").filter(|stem| !stem.is_empty())?;
    let width = rest
        .iter()
        .enumerate()
        .take_while(|(k, c)| c.dtype == rest[0].dtype && c.name == format!("{stem}_{k}"))
        .count();
    let free = !all.iter().any(|c| c.name == stem) && !taken.iter().any(|a| a.name == stem);
    // a vector called normal would be written as nx, ny, nz
    (width > 1 && free && !(stem == "normal" && width == 3)).then_some((stem, width))
}

fn gather(table: &Table, name: &str, columns: &[&Column]) -> UserAttribute {
    let mut data = Vec::with_capacity(table.count * columns.len() * columns[0].dtype.size());
    for row in table.rows.chunks_exact(table.stride.max(1)) {
        columns.iter().for_each(|c| data.extend_from_slice(&row[c.offset..][..c.dtype.size()]));
    }
    UserAttribute { name: name.to_owned(), dtype: columns[0].dtype, width: columns.len() as u32, data }
}

/// The names that [`read_splats`] takes.
pub(super) fn is_splat_column(name: &str) -> bool {
    let standard = STANDARD.means.iter().chain(&STANDARD.scales).chain(&STANDARD.rotations);
    standard.chain(&["opacity", "f_dc_0", "f_dc_1", "f_dc_2"]).any(|n| *n == name) || name.starts_with("f_rest_")
}

/// `nx`, `ny`, `nz`: the attribute `normal`, or zeros as the trainers write them.
pub(super) fn normal_columns(attributes: &[UserAttribute]) -> Vec<SourceColumn<'_>> {
    match attributes.iter().find(|a| is_normal(a)) {
        Some(normal) => attribute_columns(normal),
        None => ["nx", "ny", "nz"].map(SourceColumn::zeros).into(),
    }
}

/// The columns of all attributes but the normals.
pub(super) fn other_columns(attributes: &[UserAttribute]) -> impl Iterator<Item = SourceColumn<'_>> {
    attributes.iter().filter(|a| !is_normal(a)).flat_map(attribute_columns)
}

fn is_normal(attribute: &UserAttribute) -> bool {
    attribute.name == "normal" && attribute.width == 3
}

/// `f_dc_*`, then `f_rest_*` channel by channel, padded with zeros up to `least_degree`.
pub(super) fn color_columns(splats: &Splats, least_degree: u8) -> Vec<SourceColumn<'_>> {
    let mut columns: Vec<_> = vector_columns(["f_dc_0", "f_dc_1", "f_dc_2"], &splats.sh0).collect();
    let stored = splats.sh_rest_count();
    let written = stored.max(conventions::sh_rest_count(least_degree));
    let bytes = bytemuck::cast_slice(&splats.sh_rest);
    for index in 0..3 * written {
        let (channel, k) = (index / written, index % written);
        let name = format!("f_rest_{index}");
        columns.push(if k < stored {
            SourceColumn::strided(name, DType::F32, bytes, (k * 3 + channel) * 4, stored * 12)
        } else {
            SourceColumn::zeros(name)
        });
    }
    columns
}

/// `opacity`.
pub(super) fn opacity_column(splats: &Splats) -> SourceColumn<'_> {
    SourceColumn::strided("opacity", DType::F32, bytemuck::cast_slice(&splats.opacity_logits), 0, 4)
}

/// A column of triangle numbers as float32, as the trainers write them.
pub(super) fn index_column(name: &str, indices: &[u32]) -> Result<SourceColumn<'static>> {
    if let Some(large) = indices.iter().find(|i| **i >= 1 << 24) {
        return Err(Error::usage(format!(
            "triangle {large} cannot be written: `{name}` is a float, exact below 16777216"
        )));
    }
    let values: Vec<f32> = indices.iter().map(|i| *i as f32).collect();
    Ok(SourceColumn::owned(name, DType::F32, &values))
}
