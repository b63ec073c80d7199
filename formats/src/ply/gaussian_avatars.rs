//! GaussianAvatars: splats local to a FLAME triangle, the triangle in `binding_0`, the performance in `flame_param.npz`.
//!
//! The side file holds `shape` (300), `static_offset` (1 × V × 3) and per frame `expr` (100), `rotation`, `neck_pose`,
//! `jaw_pose`, `translation` (3 each), `eyes_pose` (6) and `dynamic_offset` (V × 3, zero in practice), all float32.

use std::io::Write;

use super::{
    FLAME_FRAME,
    header::bad,
    splats::{self, STANDARD},
    standard_columns,
    table::Table,
    write::write_vertices,
};
use crate::{
    Avatar, Clip, Error, Limits, ReadOptions, Result, Rig, RigBase, Source, Template, TemplateFamily, Track,
    TriangleBinding, TriangleFrame,
    clips::flame_param::{self, DYNAMIC_OFFSET, FAMILY, GROUPS, SHAPE},
    npy::{NpyArray, read_npz, write_npz},
};

/// Name of the side file and, without its ending, of the clip that it becomes.
const SIDE_FILE: &str = "flame_param.npz";
const CLIP: &str = "flame_param";
/// Frames per second at which the official viewer plays.
const FRAMES_PER_SECOND: u32 = 25;
const STATIC_OFFSET: &str = "static_offset";

/// Reads the table and, when it lies beside the file, `flame_param.npz`.
pub(super) fn read(table: &Table, source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let (splats, render_model) = splats::read_splats(table, STANDARD, &options.limits)?;
    // the trainer reads every column with this prefix, but uses one
    let column = table.column("binding_0").or_else(|| table.columns.iter().find(|c| c.name.starts_with("binding")));
    let column = column.ok_or_else(|| bad("HEADER", table.offset, "no `binding_0`"))?;
    let triangles = splats::read_indices(table, column)?;
    let mut avatar = Avatar::new(splats, FLAME_FRAME);
    avatar.render_model = render_model;
    avatar.template = Some(flame_template(&triangles, true));
    let binding = TriangleBinding { frame: TriangleFrame::GaussianAvatars, triangles, barycentrics: None };
    avatar.rig = Rig { base: RigBase::Triangle(binding), blendshapes: None };
    let used = |name: &str| name == column.name || splats::is_splat_column(name);
    avatar.attributes = splats::read_attributes(table, used, &options.limits)?;
    if let Some(side) = source.sibling(SIDE_FILE)? {
        read_performance(&mut avatar, &side, &options.limits)?;
    }
    Ok(avatar)
}

/// FLAME as tracked for GaussianAvatars, with or without its added teeth, when the triangles fit; else an unknown mesh.
pub(super) fn flame_template(triangles: &[u32], teeth: bool) -> Template {
    let faces = triangles.iter().max().map_or(0, |t| t.saturating_add(1));
    let (name, vertex_count, face_count) = match faces {
        0..=9976 if !teeth => ("FLAME 2023", 5023, 9976),
        0..=10144 => ("FLAME 2023 with teeth", 5143, 10144),
        _ => {
            let name = "unknown triangle mesh".to_owned();
            return Template { family: TemplateFamily::Custom, name, face_count: faces, ..Template::default() };
        }
    };
    Template {
        family: TemplateFamily::Flame2023,
        name: name.to_owned(),
        vertex_count,
        face_count,
        parameters: GROUPS.iter().map(|(_, group, length)| ((*group).to_owned(), *length as u32)).collect(),
        how_to_obtain: "https://flame.is.tue.mpg.de (registration)".to_owned(),
        ..Template::default()
    }
}

/// Turns the side file into a clip and template constants.
fn read_performance(avatar: &mut Avatar, bytes: &[u8], limits: &Limits) -> Result<()> {
    let npz = read_npz(bytes, limits)?;
    let clip = Clip { name: CLIP.to_owned(), ticks_per_second: FRAMES_PER_SECOND, tracks: flame_param::tracks(&npz)? };
    if !clip.tracks.is_empty() {
        avatar.clips.push(clip);
    }
    if let Some(template) = &mut avatar.template {
        for name in [SHAPE, STATIC_OFFSET] {
            if let Some(array) = npz.get(name) {
                template.constants.push((name.to_owned(), array.to_f32()));
            }
        }
    }
    Ok(())
}

/// Writes the PLY: the standard columns, then `binding_0`.
pub(super) fn write(
    avatar: &Avatar,
    binding: &TriangleBinding,
    comments: Vec<String>,
    sink: &mut dyn Write,
) -> Result<()> {
    let mut columns = standard_columns(avatar, 0);
    columns.push(splats::index_column("binding_0", &binding.triangles)?);
    columns.extend(splats::other_columns(&avatar.attributes));
    write_vertices(sink, comments, avatar.splats.len(), &columns)
}

/// `flame_param.npz` with the clip of that name, or the first one that moves `flame.expression`; the keys of its
/// expression are the frames. Without clip and identity there is nothing to write.
pub(super) fn siblings(avatar: &Avatar) -> Result<Vec<(String, Vec<u8>)>> {
    let is = |track: &Track, group: &str| track.target.strip_prefix(FAMILY).unwrap_or(&track.target) == group;
    let moves = |clip: &&Clip| clip.tracks.iter().any(|t| is(t, "expression"));
    let named = avatar.clips.iter().find(|c| c.name == CLIP);
    let clip = named.or_else(|| avatar.clips.iter().find(moves));
    let constants = avatar.template.as_ref().map_or(&[][..], |t| &t.constants);
    let constant = |name: &str| constants.iter().find(|(n, _)| n == name).map(|(_, values)| values);
    if clip.is_none() && constant(SHAPE).is_none() {
        return Ok(Vec::new());
    }
    let tracks = clip.map_or(&[][..], |c| &c.tracks);
    let main = tracks.iter().find(|t| is(t, "expression")).or(tracks.first());
    let ticks = main.map_or_else(|| vec![0], |t| t.ticks.clone());
    let vertices = match constant(STATIC_OFFSET).map(Vec::len) {
        Some(length) if length > 0 && length % 3 == 0 => length / 3,
        _ => avatar.template.as_ref().map_or(5143, |t| t.vertex_count as usize),
    };
    let sampled = |group: &str, width: usize| -> Result<Vec<f32>> {
        let Some(track) = tracks.iter().find(|t| is(t, group)) else { return Ok(vec![0.0; ticks.len() * width]) };
        if track.width as usize != width {
            return Err(Error::usage(format!("track `{group}` has {} values per key, not {width}", track.width)));
        }
        Ok(ticks.iter().flat_map(|tick| track.sample(f64::from(*tick))).collect())
    };
    let mut members = Vec::new();
    let shape = constant(SHAPE).cloned().unwrap_or_else(|| vec![0.0; 300]);
    members.push((SHAPE.to_owned(), NpyArray::from_f32(vec![shape.len()], &shape)));
    for (member, group, width) in GROUPS {
        let values = sampled(group, width)?;
        members.push((member.to_owned(), NpyArray::from_f32(vec![ticks.len(), width], &values)));
    }
    let offset = constant(STATIC_OFFSET).filter(|v| v.len() == 3 * vertices).cloned();
    let offset = offset.unwrap_or_else(|| vec![0.0; 3 * vertices]);
    members.push((STATIC_OFFSET.to_owned(), NpyArray::from_f32(vec![1, vertices, 3], &offset)));
    let dynamic = sampled(DYNAMIC_OFFSET, 3 * vertices)?;
    members.push((DYNAMIC_OFFSET.to_owned(), NpyArray::from_f32(vec![ticks.len(), vertices, 3], &dynamic)));
    Ok(vec![(SIDE_FILE.to_owned(), write_npz(&members)?)])
}
