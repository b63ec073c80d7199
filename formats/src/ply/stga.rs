//! STGA: `em_*` columns local to a triangle, plain columns in world space, `index` the triangle.
//!
//! Column order: `x y z em_x em_y em_z nx ny nz f_dc_* f_rest_* opacity scale_* em_scale_* rot_* em_rot_* index`, all
//! float. The plain columns show the frame that was being trained, so any viewer opens the file.

use std::io::Write;

use super::{
    FLAME_FRAME,
    gaussian_avatars::flame_template,
    splats::{self, PoseNames, STANDARD},
    table::Table,
    write::{vector_columns, write_vertices},
};
use crate::{Avatar, Error, ReadOptions, Result, Rig, RigBase, TriangleBinding, TriangleFrame};

const LOCAL: PoseNames = PoseNames {
    means: ["em_x", "em_y", "em_z"],
    scales: ["em_scale_0", "em_scale_1", "em_scale_2"],
    rotations: ["em_rot_0", "em_rot_1", "em_rot_2", "em_rot_3"],
};

/// Reads the table of an STGA file: local splats, world-space rest pose, triangles.
pub(super) fn read(table: &Table, options: &ReadOptions) -> Result<Avatar> {
    let (splats, render_model) = splats::read_splats(table, LOCAL, &options.limits)?;
    let [index] = splats::find_all(table, ["index"])?;
    let triangles = splats::read_indices(table, index)?;
    let mut avatar = Avatar::new(splats, FLAME_FRAME);
    avatar.render_model = render_model;
    avatar.rest = Some(splats::read_pose(table, STANDARD)?);
    // STGA was published for FLAME without teeth, as tracked for GaussianAvatars
    avatar.template = Some(flame_template(&triangles, false));
    let binding = TriangleBinding { frame: TriangleFrame::Stga, triangles, barycentrics: None };
    avatar.rig = Rig { base: RigBase::Triangle(binding), blendshapes: None };
    let used = |name: &str| {
        let local = LOCAL.means.iter().chain(&LOCAL.scales).chain(&LOCAL.rotations).any(|n| *n == name);
        local || name == "index" || splats::is_splat_column(name)
    };
    avatar.attributes = splats::read_attributes(table, used, &options.limits)?;
    Ok(avatar)
}

/// Writes an STGA file.
///
/// # Errors
/// [`Error::Usage`] without a world-space rest pose, and for triangles beyond 2^24.
pub(super) fn write(
    avatar: &Avatar,
    binding: &TriangleBinding,
    comments: Vec<String>,
    sink: &mut dyn Write,
) -> Result<()> {
    let rest = avatar.rest.as_ref().ok_or_else(|| {
        Error::usage("an STGA PLY holds world-space columns, and this avatar has no stored rest pose to fill them")
    })?;
    let local = &avatar.splats;
    let mut columns: Vec<_> = vector_columns(STANDARD.means, &rest.means).collect();
    columns.extend(vector_columns(LOCAL.means, &local.means));
    columns.extend(splats::normal_columns(&avatar.attributes));
    columns.extend(splats::color_columns(local, 0));
    columns.push(splats::opacity_column(local));
    columns.extend(vector_columns(STANDARD.scales, &rest.log_scales));
    columns.extend(vector_columns(LOCAL.scales, &local.log_scales));
    columns.extend(vector_columns(STANDARD.rotations, &rest.rotations));
    columns.extend(vector_columns(LOCAL.rotations, &local.rotations));
    columns.push(splats::index_column("index", &binding.triangles)?);
    columns.extend(splats::other_columns(&avatar.attributes));
    write_vertices(sink, comments, local.len(), &columns)
}
