//! PLY: the file of the reference trainer, its avatar dialects, and a general reader below them.
//!
//! | file | recognised by | becomes |
//! | --- | --- | --- |
//! | 3D Gaussians (INRIA and descendants) | `x … f_dc_* opacity scale_* rot_*` in any order and type | static avatar |
//! | 2D Gaussians | the same without `scale_2` | static, [`RenderModel::Surfel`] |
//! | GaussianAvatars | `binding_*` | triangle-bound; `flame_param.npz` beside it becomes a clip |
//! | STGA | `em_*`, `index` | triangle-bound with a world-space rest pose |
//! | RGBAvatar | `face_id`, `face_bary_*` | triangle-bound with blendshapes and their network |
//!
//! Files of static avatars are in RDF (x right, y down, z front), those of triangle-bound ones in the axes of FLAME
//! (RUB); [`ReadOptions::frame`] overrides that. Float bits survive reading and writing. Other scalar properties are
//! kept as user attributes, list properties and other elements are not.

mod comments;
pub mod compressed;
mod gaussian_avatars;
mod header;
mod rgb_avatar;
mod splats;
mod stga;
mod table;
mod write;

use std::{borrow::Cow, io::Write};

pub use header::{Element, Encoding, Header, MAX_HEADER_BYTES, Property, PropertyType};
pub use rgb_avatar::{driver as rgb_avatar_driver, driver_names as rgb_avatar_driver_names};
pub use splats::SURFEL_LOG_SCALE;
pub use table::{Column, List, Ply, Table};

use self::{
    comments::Comments,
    header::bad,
    splats::STANDARD,
    write::{SourceColumn, vector_columns, write_vertices},
};
use crate::{
    Avatar, Error, Frame, ReadOptions, RenderModel, Result, RigBase, Source, TriangleFrame, WriteOptions,
    sink::WriteSeek,
};

/// Axes of FLAME and of the data sets built on it: x to the viewer's right, y up, z out of the face.
const FLAME_FRAME: Frame = Frame::RUB;

/// Do these leading bytes begin a PLY file?
pub(crate) fn sniff(_name: &str, head: &[u8]) -> bool {
    header::is_ply(head)
}

/// Reads a PLY with splats, in any of the dialects of the [module's table](self).
///
/// # Errors
/// Those of [`Ply::parse`]; `HEADER` when a column is missing, `VALUE` for triangle numbers that are none.
pub fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let ply = Ply::parse(source, &options.limits)?;
    let comments = Comments::parse(&ply.header.comments);
    let table = ply.table("vertex").ok_or_else(|| bad("HEADER", 0, "no element `vertex`, so no splats"))?;
    let has = |name: &str| table.column(name).is_some();
    let mut avatar = if has("em_x") && has("index") {
        stga::read(table, options)?
    } else if has("face_id") && has("face_bary_0") {
        rgb_avatar::read(table, source, &comments, options)?
    } else if table.columns.iter().any(|c| c.name.starts_with("binding")) {
        gaussian_avatars::read(table, source, options)?
    } else {
        let (splats, render_model) = splats::read_splats(table, STANDARD, &options.limits)?;
        let mut avatar = Avatar::new(splats, Frame::RDF);
        avatar.render_model = render_model;
        avatar.attributes = splats::read_attributes(table, splats::is_splat_column, &options.limits)?;
        avatar
    };
    avatar.frame = options.frame.or(comments.frame).unwrap_or(avatar.frame);
    if avatar.render_model == RenderModel::Classic {
        avatar.render_model = comments.render_model.unwrap_or_default();
    }
    comments.into_meta(&mut avatar.meta);
    Ok(avatar)
}

/// Writes binary little-endian float32 in the order of the reference trainer, attributes last. A triangle-bound avatar
/// becomes the dialect of its frame; other rigs are not stored, their splats are written at rest.
///
/// # Errors
/// [`Error::Usage`] when two columns would share a name, when a triangle-bound avatar should change its axes, and for
/// what the dialect cannot hold.
pub fn write(avatar: &Avatar, sink: &mut dyn WriteSeek, options: &WriteOptions) -> Result<()> {
    let RigBase::Triangle(binding) = &avatar.rig.base else {
        return write_static(avatar, sink, options);
    };
    if let Some(frame) = options.frame.filter(|f| *f != avatar.frame) {
        return Err(Error::usage(format!(
            "cannot write a triangle-bound avatar with axes {frame}: its splats are local to a template with axes {}; make it static first",
            avatar.frame
        )));
    }
    let comments = comments::write(avatar, avatar.frame, FLAME_FRAME);
    match binding.frame {
        TriangleFrame::GaussianAvatars => gaussian_avatars::write(avatar, binding, comments, sink),
        TriangleFrame::Stga => stga::write(avatar, binding, comments, sink),
        TriangleFrame::RgbAvatar => rgb_avatar::write(avatar, binding, comments, sink),
    }
}

/// The files that belong beside the PLY: `flame_param.npz` for GaussianAvatars, otherwise none.
pub fn siblings(avatar: &Avatar, _options: &WriteOptions) -> Result<Vec<(String, Vec<u8>)>> {
    match &avatar.rig.base {
        RigBase::Triangle(binding) if binding.frame == TriangleFrame::GaussianAvatars => {
            gaussian_avatars::siblings(avatar)
        }
        _ => Ok(Vec::new()),
    }
}

fn write_static(avatar: &Avatar, sink: &mut dyn Write, options: &WriteOptions) -> Result<()> {
    let frame = options.frame.unwrap_or(Frame::RDF);
    let avatar = at_rest(avatar, frame)?;
    let mut columns = standard_columns(&avatar, 0);
    // a third scale that carries nothing is left out again, which is how surfel files are recognised
    let flat = avatar.render_model == RenderModel::Surfel
        && avatar.splats.log_scales.iter().all(|s| s[2].to_bits() == SURFEL_LOG_SCALE.to_bits());
    columns.retain(|c| !(flat && c.name == "scale_2"));
    columns.extend(splats::other_columns(&avatar.attributes));
    write_vertices(sink, comments::write(&avatar, frame, Frame::RDF), avatar.splats.len(), &columns)
}

/// `x y z nx ny nz f_dc_* f_rest_* opacity scale_* rot_*`: the order of the reference trainer.
fn standard_columns(avatar: &Avatar, least_degree: u8) -> Vec<SourceColumn<'_>> {
    let splats = &avatar.splats;
    let mut columns: Vec<_> = vector_columns(STANDARD.means, &splats.means).collect();
    columns.extend(splats::normal_columns(&avatar.attributes));
    columns.extend(splats::color_columns(splats, least_degree));
    columns.push(splats::opacity_column(splats));
    columns.extend(vector_columns(STANDARD.scales, &splats.log_scales));
    columns.extend(vector_columns(STANDARD.rotations, &splats.rotations));
    columns
}

/// The avatar with axes `frame` and world-space splats; a copy only when something must change.
///
/// # Errors
/// [`Error::Usage`] for a triangle-bound avatar without a stored rest pose.
pub(crate) fn at_rest(avatar: &Avatar, frame: Frame) -> Result<Cow<'_, Avatar>> {
    let bound = matches!(avatar.rig.base, RigBase::Triangle(_));
    if !bound && avatar.frame == frame {
        return Ok(Cow::Borrowed(avatar));
    }
    // rig, clips and mesh are not written: copying them would only cost time, and a skinned rig refuses mirrors
    let mut copy = Avatar::new(avatar.splats.clone(), avatar.frame);
    copy.render_model = avatar.render_model;
    copy.color_space = avatar.color_space;
    copy.attributes = avatar.attributes.clone();
    copy.meta = avatar.meta.clone();
    if bound {
        copy.rig = avatar.rig.clone();
        copy.rest = avatar.rest.clone();
        copy.make_static()?;
    }
    copy.reframe(frame)?;
    Ok(Cow::Owned(copy))
}
