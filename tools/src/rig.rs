//! `gav rig`: makes rigged avatars. `sample` puts splats on the surface of a mesh that has joints.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, Subcommand};
use gav_formats::{
    Avatar, Error, Format, Limits, RigBase, Source, WriteOptions, format_by_path,
    gltf::{RiggedMesh, read_rigged_mesh},
    save,
};
use gav_models::{
    sample::{self, SurfacePoint},
    template::Store,
};
use serde_json::json;

use crate::{
    failure::{Failure, refuse},
    pictures::{linear_from_srgb, srgb_from_linear},
    reading::ReadArguments,
    score::decode::{Decoded, decode},
    text::{count, plural},
};

const EXAMPLES: &str = "\
Examples:
  gav rig sample character.glb -o character.gav           a skinned, textured glTF; its animations come along
  gav rig sample character.glb -o big.gav --splats 200000
  gav template add CUSTOM body.npz --licence CC0-1.0
  gav rig sample body -o body.gav                         a parametric body of the store, its expressions as morphs
  gav clip add body.gav walk.npz                          then give it motion

Exit codes:
  0  the avatar was written
  1  the input could not be read, or the output not written
  2  the command line asks for something impossible; nothing was done";

/// Make rigged avatars of meshes
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Sample(Sample),
}

/// Put splats on the surface of a skinned mesh
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Sample {
    /// A .glb or .gltf with a skinned mesh, or a template as `gav template list` names it
    #[arg(value_name = "MESH")]
    input: PathBuf,
    /// File to write
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Number of splats
    #[arg(short = 'n', long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    splats: u32,
    /// Colour of surfaces without texture
    #[arg(long, value_name = "RRGGBB", default_value = "d2a48c", value_parser = color)]
    color: [f32; 3],
    /// Keep the colours as they are, without soft light from above and the front
    #[arg(long)]
    flat: bool,
    /// Overwrite the output
    #[arg(short, long)]
    force: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArguments,
}

/// Share of light that comes from everywhere; the rest comes from [`LIGHT`].
const AMBIENT: f64 = 0.62;
/// Direction to the light, y up, z to the front: from above, the front and a little from the side.
const LIGHT: [f64; 3] = [0.30, 0.72, 0.62];

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Sample(arguments) => run_sample(arguments),
    }
}

fn run_sample(arguments: &Sample) -> Result<ExitCode> {
    let out = &arguments.output;
    let format = format_by_path(out).filter(|f| f.write.is_some()).ok_or_else(|| {
        refuse(format!("the ending of {} names no format that can be written", out.display()), "use .gav")
    })?;
    if out.symlink_metadata().is_ok() && !arguments.force {
        return Err(refuse(format!("{} exists", out.display()), "--force overwrites it"));
    }
    let options = arguments.read.options();
    let (mesh, licence) = input(&arguments.input, &options.limits)?;
    let at = |e: Error| Failure::at(&arguments.input, &e);
    let texture = mesh.texture.as_deref().map(|bytes| decode(&arguments.input, bytes, &options.limits)).transpose()?;
    let points = sample::points(&mesh.mesh, arguments.splats as usize).map_err(at)?;
    let paint = Paint { mesh: &mesh, texture: texture.as_ref(), plain: arguments.color, flat: arguments.flat };
    let splats = sample::splats(&mesh.mesh, &points, |point, normal| paint.color(point, normal));
    let mut avatar = sample::avatar(&mesh, &points, splats).map_err(at)?;
    avatar.meta.name = out.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    avatar.meta.licence = licence;
    write(arguments, &avatar, format)
}

/// The mesh, and the licence that is known of it.
fn input(path: &Path, limits: &Limits) -> Result<(RiggedMesh, String)> {
    if path.exists() {
        let source = Source::open(path).map_err(|e| Failure::at(path, &e))?;
        return Ok((read_rigged_mesh(&source, limits).map_err(|e| Failure::at(path, &e))?, String::new()));
    }
    let name = path.to_string_lossy();
    let store = Store::user().map_err(|e| Failure::of(None, &e))?;
    let (_, manifest, body) = store.open_named(&name).map_err(|e| {
        let hint = "give a .glb or .gltf, or the name of a template (`gav template list`)".to_owned();
        Failure { hint: Some(hint), ..Failure::of(None, &e) }
    })?;
    let mesh = sample::body_mesh(&body).map_err(|e| Failure::of(None, &e))?;
    Ok((mesh, manifest.template.licence))
}

/// Where the colour of a point comes from.
struct Paint<'a> {
    mesh: &'a RiggedMesh,
    texture: Option<&'a Decoded>,
    plain: [f32; 3],
    flat: bool,
}

impl Paint<'_> {
    /// Display colour of a point of a surface that looks to `normal`.
    fn color(&self, point: &SurfacePoint, normal: [f64; 3]) -> [f32; 3] {
        let uvs = &self.mesh.mesh.uvs;
        let [red, green, blue, _] = self.mesh.base_color;
        let color = match self.texture.filter(|_| !uvs.is_empty()) {
            None if self.mesh.base_color == [1.0; 4] => self.plain,
            None => [red, green, blue].map(srgb_from_linear),
            Some(texture) => {
                let face = self.mesh.mesh.faces[point.face as usize];
                let uv: [f32; 2] =
                    std::array::from_fn(|c| (0..3).map(|k| uvs[face[k] as usize][c] * point.weights[k]).sum());
                let texel = bilinear(texture, uv);
                let factor = [red, green, blue];
                if factor == [1.0; 3] {
                    texel
                } else {
                    std::array::from_fn(|c| srgb_from_linear(linear_from_srgb(texel[c]) * factor[c]))
                }
            }
        };
        if self.flat || self.texture.is_some() {
            return color;
        }
        let length = LIGHT.iter().map(|v| v * v).sum::<f64>().sqrt();
        let facing: f64 = (0..3).map(|c| normal[c] * LIGHT[c] / length).sum();
        let light = AMBIENT + (1.0 - AMBIENT) * (0.5 + 0.5 * facing);
        color.map(|v| (f64::from(v) * light) as f32)
    }
}

/// The texture at a coordinate, repeated beyond its borders; row 0 is at v = 0 as glTF has it.
fn bilinear(texture: &Decoded, [u, v]: [f32; 2]) -> [f32; 3] {
    let (width, height) = (texture.width as i64, texture.height as i64);
    let (x, y) = (u * width as f32 - 0.5, v * height as f32 - 0.5);
    let (fx, fy) = (x - x.floor(), y - y.floor());
    let texel = |dx: i64, dy: i64| {
        let (column, row) = ((x.floor() as i64 + dx).rem_euclid(width), (y.floor() as i64 + dy).rem_euclid(height));
        &texture.rgb[(row * width + column) as usize * 3..][..3]
    };
    let (a, b, c, d) = (texel(0, 0), texel(1, 0), texel(0, 1), texel(1, 1));
    std::array::from_fn(|k| (a[k] * (1.0 - fx) + b[k] * fx) * (1.0 - fy) + (c[k] * (1.0 - fx) + d[k] * fx) * fy)
}

fn write(arguments: &Sample, avatar: &Avatar, format: &Format) -> Result<ExitCode> {
    let path = &arguments.output;
    save(avatar, path, format, &WriteOptions::default()).map_err(|e| Failure::at(path, &e))?;
    let RigBase::Skinned { skeleton, morphs, .. } = &avatar.rig.base else {
        unreachable!("sample::avatar makes a skin")
    };
    let (joints, targets) = (skeleton.joints.len(), morphs.as_ref().map_or(0, |m| m.targets.len()));
    let bytes = path.metadata().map_or(0, |m| m.len());
    let mut out = io::stdout().lock();
    if arguments.json {
        let line = json!({"input": arguments.input, "file": path, "bytes": bytes, "splats": avatar.splats.len(),
            "joints": joints, "targets": targets, "clips": avatar.clips.len()});
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "{}: {} splats, {}, {}, {}, {}",
            path.display(),
            count(avatar.splats.len() as u64),
            plural(joints, "joint"),
            plural(targets, "morph target"),
            plural(avatar.clips.len(), "clip"),
            crate::text::bytes(bytes)
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn color(text: &str) -> Result<[f32; 3], String> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    let bad = || format!("`{text}` is no colour: six hexadecimal digits, such as d2a48c");
    if digits.len() != 6 || !digits.is_ascii() {
        return Err(bad());
    }
    let value = u32::from_str_radix(digits, 16).map_err(|_| bad())?;
    Ok([value >> 16, value >> 8 & 255, value & 255].map(|v| v as f32 / 255.0))
}
