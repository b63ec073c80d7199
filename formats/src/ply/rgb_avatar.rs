//! RGBAvatar: splats in the tangent frame of a UV-mapped triangle, linear bases, and the network that weighs them.
//!
//! Column order: `x y z nx ny nz opacity scale_* rot_* f_dc_* f_rest_0..44 xyz_b_* rot_b_* f_dc_b_* weight_module`, all
//! float, then `int face_id` and `float face_bary_0..2`. Component c of basis k is column `3k + c` (`4k + c` for
//! rotations). `weight_module` holds the network, one number a row: per layer the weights row by row (outputs × inputs),
//! then the biases; zeros follow. Its sizes are 129-128-128-20 unless the header or `config.yaml` beside the file differ.

use std::io::Write;

use rayon::prelude::*;

use super::{
    FLAME_FRAME,
    comments::{self, Comments},
    header::bad,
    splats::{self, STANDARD, numbered},
    table::{Column, Table},
    write::{SourceColumn, vector_columns, write_vertices},
};
use crate::{
    Activation, Avatar, BlendWeights, Blendshapes, DType, Driver, Error, Mlp, MlpLayer, ReadOptions, Result, Rig,
    RigBase, Source, Template, TemplateFamily, TriangleBinding, TriangleFrame, rig::rig_limits,
};

/// Units of the two hidden layers.
const HIDDEN: usize = 128;
/// Parts of the control vector: name, length; 129 numbers with poses, the first 100 without.
const CONTROL: [(&str, u32); 7] = [
    ("expression", 100),
    ("neck_6d", 6),
    ("jaw_6d", 6),
    ("left_eye_6d", 6),
    ("right_eye_6d", 6),
    ("eyelids", 2),
    ("translation", 3),
];

/// Names of the `count` numbers that drive an RGBAvatar: 129 are FLAME expression and pose, 100 the expression alone, 29
/// the pose alone; others are numbered.
pub fn driver_names(count: usize) -> Vec<String> {
    let names = |parts: &[(&str, u32)]| {
        parts.iter().flat_map(|(part, length)| (0..*length).map(move |i| format!("flame.{part}.{i}"))).collect()
    };
    match count {
        129 => names(&CONTROL),
        100 => names(&CONTROL[..1]),
        29 => names(&CONTROL[1..]),
        _ => (0..count).map(|i| format!("theta.{i}")).collect(),
    }
}

/// Range and rest value of one of [`driver_names`]: 6D rotations rest at the first two rows of the identity.
pub fn driver(name: &str) -> Driver {
    let (min, max) = match name {
        n if n.starts_with("flame.expression.") => (-3.0, 3.0),
        n if n.starts_with("flame.eyelids.") => (0.0, 1.0),
        _ => (-1.0, 1.0),
    };
    let diagonal = name.ends_with("_6d.0") || name.ends_with("_6d.4");
    Driver { name: name.to_owned(), min, max, default: f32::from(u8::from(diagonal)) }
}

/// Reads the table of an RGBAvatar `model.ply`.
pub(super) fn read(table: &Table, source: &Source, comments: &Comments, options: &ReadOptions) -> Result<Avatar> {
    let (mut splats, render_model) = splats::read_splats(table, STANDARD, &options.limits)?;
    // the trainer uses degree 0 and pads the columns; keeping 45 zeros a splat would quadruple the splats
    if splats.sh_rest.par_iter().all(|v| v.to_bits() == 0) {
        splats.set_sh_degree(0);
    }
    let [face_id, b0, b1, b2] = splats::find_all(table, ["face_id", "face_bary_0", "face_bary_1", "face_bary_2"])?;
    let triangles = splats::read_indices(table, face_id)?;
    let rows = table.rows.chunks_exact(table.stride.max(1));
    let barycentrics = rows.map(|row| [b0, b1, b2].map(|c| c.f32(row))).collect();
    let blendshapes = read_blendshapes(table, source, comments, options)?;

    let mut avatar = Avatar::new(splats, FLAME_FRAME);
    avatar.render_model = render_model;
    avatar.template = Some(template(&triangles));
    if let Some(blendshapes) = &blendshapes {
        let names = match &blendshapes.weights {
            BlendWeights::Drivers(names) => names,
            BlendWeights::Mlp(mlp) => &mlp.inputs,
        };
        avatar.drivers = names.iter().map(|name| driver(name)).collect();
    }
    let binding = TriangleBinding { frame: TriangleFrame::RgbAvatar, triangles, barycentrics: Some(barycentrics) };
    avatar.rig = Rig { base: RigBase::Triangle(binding), blendshapes };
    let own = ["xyz_b_", "rot_b_", "f_dc_b_", "face_bary_"];
    let used = |name: &str| {
        let own = own.iter().any(|stem| name.starts_with(stem)) || name == "weight_module" || name == "face_id";
        own || splats::is_splat_column(name)
    };
    avatar.attributes = splats::read_attributes(table, used, &options.limits)?;
    Ok(avatar)
}

/// FLAME 2020 with the teeth that RGBAvatar adds, when the triangles fit.
fn template(triangles: &[u32]) -> Template {
    let faces = triangles.iter().max().map_or(0, |t| t.saturating_add(1));
    if faces > 10032 {
        let name = "unknown triangle mesh with UVs".to_owned();
        return Template { family: TemplateFamily::Custom, name, face_count: faces, ..Template::default() };
    }
    Template {
        family: TemplateFamily::Flame2020,
        name: "FLAME 2020 with the teeth and UVs of RGBAvatar".to_owned(),
        vertex_count: 5083,
        face_count: 10032,
        parameters: CONTROL.iter().map(|(part, length)| ((*part).to_owned(), *length)).collect(),
        how_to_obtain: "https://flame.is.tue.mpg.de (registration)".to_owned(),
        ..Template::default()
    }
}

fn read_blendshapes(
    table: &Table,
    source: &Source,
    comments: &Comments,
    options: &ReadOptions,
) -> Result<Option<Blendshapes>> {
    let (means, rotations, sh0) = (numbered(table, "xyz_b_"), numbered(table, "rot_b_"), numbered(table, "f_dc_b_"));
    let bases = (means.len() / 3).max(rotations.len() / 4).max(sh0.len() / 3);
    for (stem, found, width) in [("xyz_b_", means.len(), 3), ("rot_b_", rotations.len(), 4), ("f_dc_b_", sh0.len(), 3)]
    {
        if found != 0 && found != bases * width {
            let message = format!("{found} columns `{stem}*`, {} expected for {bases} bases", bases * width);
            return Err(bad("HEADER", table.offset, message));
        }
    }
    if bases == 0 {
        return Ok(None);
    }
    let columns = means.len() + rotations.len() + sh0.len();
    options.limits.check_bytes((table.count as u64).saturating_mul(4 * columns as u64))?;
    let flat: Vec<f32> = table
        .column("weight_module")
        .map_or(Vec::new(), |column| table.rows.chunks_exact(table.stride.max(1)).map(|row| column.f32(row)).collect());
    let weights = match network_sizes(&flat, bases, source, comments)? {
        None => BlendWeights::Drivers(driver_names(bases)),
        Some(sizes) => BlendWeights::Mlp(network(&flat, &sizes, table.offset)?),
    };
    Ok(Some(Blendshapes {
        bases: bases as u32,
        means: read_bases(table, &means),
        rotations: read_bases(table, &rotations),
        sh0: read_bases(table, &sh0),
        weights,
    }))
}

/// Columns `[k][c]` of each row to the basis-major array `[k][row][c]`.
fn read_bases<const W: usize>(table: &Table, columns: &[&Column]) -> Vec<[f32; W]> {
    let mut out = vec![[0.0; W]; columns.len() / W * table.count];
    out.par_chunks_mut(table.count.max(1)).zip(columns.par_chunks_exact(W)).for_each(|(plane, columns)| {
        for (value, row) in plane.iter_mut().zip(table.rows.chunks_exact(table.stride.max(1))) {
            *value = std::array::from_fn(|c| columns[c].f32(row));
        }
    });
    out
}

/// Layer sizes from input to output: from the header, else from `config.yaml`, else from the length of the network.
/// `None` when the bases are driven directly.
fn network_sizes(flat: &[f32], bases: usize, source: &Source, comments: &Comments) -> Result<Option<Vec<usize>>> {
    if let Some(sizes) = &comments.network {
        return Ok(Some(sizes.clone()));
    }
    let used = flat.iter().rposition(|v| *v != 0.0).map_or(0, |last| last + 1);
    let after_first_layer = HIDDEN + HIDDEN * HIDDEN + HIDDEN + HIDDEN * bases + bases;
    // trailing biases may be zero, hence the rounding up
    let deep = |inputs: usize| vec![inputs, HIDDEN, HIDDEN, bases];
    let guess = match used {
        0 => None,
        _ if used <= after_first_layer => Some(vec![used.saturating_sub(bases).div_ceil(bases), bases]),
        _ => Some(deep((used - after_first_layer).div_ceil(HIDDEN))),
    };
    let config = source.sibling("config.yaml")?;
    let text = config.as_ref().filter(|c| c.len() < 1 << 20).map(|c| String::from_utf8_lossy(c)).unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(':'))?;
        line.split('#').next().map(|v| v.trim().to_ascii_lowercase())
    };
    let Some(inputs) = value("num_basis_in").and_then(|v| v.parse::<usize>().ok()) else { return Ok(guess) };
    if value("use_weight_proj").is_some_and(|v| v == "false") {
        return Ok(None);
    }
    let linear = value("use_mlp_proj").is_some_and(|v| v == "false");
    Ok(Some(if linear { vec![inputs, bases] } else { deep(inputs) }))
}

/// Cuts the flat column into layers.
fn network(flat: &[f32], sizes: &[usize], offset: usize) -> Result<Mlp> {
    let wrong = |message: String| bad("VALUE", offset, message);
    let wide = sizes.iter().any(|s| *s == 0 || *s > rig_limits::MLP_WIDTH);
    if sizes.len() < 2 || sizes.len() > rig_limits::MLP_LAYERS + 1 || wide {
        return Err(wrong(format!("a network of the sizes {sizes:?}")));
    }
    let needed: usize = sizes.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum();
    if needed > flat.len() {
        let found = flat.len();
        return Err(wrong(format!(
            "`weight_module` has {found} rows, a network of the sizes {sizes:?} needs {needed}"
        )));
    }
    let mut rest = flat;
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at(count);
        rest = tail;
        head.to_vec()
    };
    let layers = sizes.windows(2).map(|pair| MlpLayer {
        weight: take(pair[0] * pair[1]),
        bias: take(pair[1]),
        activation: Activation::Relu,
    });
    let mut layers: Vec<MlpLayer> = layers.collect();
    if let Some(last) = layers.last_mut() {
        last.activation = Activation::None;
    }
    Ok(Mlp { inputs: driver_names(sizes[0]), layers })
}

/// Writes an RGBAvatar `model.ply`.
///
/// # Errors
/// [`Error::Usage`] for a network that is not ReLU between linear layers or has more parameters than there are splats.
pub(super) fn write(
    avatar: &Avatar,
    binding: &TriangleBinding,
    mut comments: Vec<String>,
    sink: &mut dyn Write,
) -> Result<()> {
    let splats = &avatar.splats;
    let none = Blendshapes::default();
    let blend = avatar.rig.blendshapes.as_ref().unwrap_or(&none);
    let mut flat = Vec::new();
    if let (BlendWeights::Mlp(mlp), true) = (&blend.weights, blend.bases > 0) {
        comments.push(comments::network(&flatten(mlp, &mut flat)?));
    }
    if flat.len() > splats.len() {
        return Err(Error::usage(format!(
            "the network has {} parameters and `weight_module` holds one per splat, of which there are {}",
            flat.len(),
            splats.len()
        )));
    }
    flat.resize(splats.len(), 0.0);
    let ids: Vec<i32> = binding
        .triangles
        .iter()
        .map(|t| i32::try_from(*t))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::usage("a triangle number above 2147483647 does not fit into `face_id`"))?;
    let missing = || Error::usage("an RGBAvatar binding without barycentric coordinates");
    let barycentrics = binding.barycentrics.as_ref().ok_or_else(missing)?;

    let mut columns: Vec<_> = vector_columns(STANDARD.means, &splats.means).collect();
    columns.extend(splats::normal_columns(&avatar.attributes));
    columns.push(splats::opacity_column(splats));
    columns.extend(vector_columns(STANDARD.scales, &splats.log_scales));
    columns.extend(vector_columns(STANDARD.rotations, &splats.rotations));
    columns.extend(splats::color_columns(splats, 3));
    let (bases, count) = (blend.bases as usize, splats.len());
    base_columns("xyz_b_", 3, bases, count, bytemuck::cast_slice(&blend.means), &mut columns);
    base_columns("rot_b_", 4, bases, count, bytemuck::cast_slice(&blend.rotations), &mut columns);
    base_columns("f_dc_b_", 3, bases, count, bytemuck::cast_slice(&blend.sh0), &mut columns);
    columns.push(SourceColumn::owned("weight_module", DType::F32, &flat));
    columns.push(SourceColumn::owned("face_id", DType::I32, &ids));
    columns.extend(vector_columns(["face_bary_0", "face_bary_1", "face_bary_2"], barycentrics));
    columns.extend(splats::other_columns(&avatar.attributes));
    write_vertices(sink, comments, count, &columns)
}

/// Appends the columns of all bases of one attribute; zeros when no basis moves it.
fn base_columns<'a>(
    stem: &str,
    width: usize,
    bases: usize,
    count: usize,
    data: &'a [u8],
    columns: &mut Vec<SourceColumn<'a>>,
) {
    for index in 0..bases * width {
        let (k, c) = (index / width, index % width);
        let name = format!("{stem}{index}");
        columns.push(if data.is_empty() {
            SourceColumn::zeros(name)
        } else {
            SourceColumn::strided(name, DType::F32, data, (k * count * width + c) * 4, 4 * width)
        });
    }
}

/// Appends the parameters of a network in file order; returns its sizes from input to output.
fn flatten(mlp: &Mlp, flat: &mut Vec<f32>) -> Result<Vec<usize>> {
    let mut sizes = vec![mlp.inputs.len()];
    for (index, layer) in mlp.layers.iter().enumerate() {
        let last = index + 1 == mlp.layers.len();
        if layer.activation != if last { Activation::None } else { Activation::Relu } {
            return Err(Error::usage(format!(
                "layer {index} of the network has the activation {:?}; RGBAvatar knows ReLU between linear layers",
                layer.activation
            )));
        }
        flat.extend(layer.weight.iter().chain(&layer.bias));
        sizes.push(layer.bias.len());
    }
    Ok(sizes)
}
