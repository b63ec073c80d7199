//! `gav info`: what is in a file.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use gav_formats::{
    Avatar, BlendWeights, ColorSpace, ReadOptions, RenderModel, RigBase, Source, TemplateFamily, gav::Reader,
};
use serde_json::{Map, Value, json};

use crate::{
    failure::{self, Failure},
    inputs::expand,
    reading::{Loaded, ReadArguments, load},
    text,
};

const EXAMPLES: &str = "\
Examples:
  gav info head.gav
  gav info captures --json | jq '{file, splats, bytes_per_splat}'

Exit codes:
  0  every file was read
  1  some file could not be read";

/// Show what is in a file: splats, rig, motion, sizes
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Files, folders or quoted patterns
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object a line for each file
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArguments,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let inputs = expand(&arguments.files, None)?;
    let options = arguments.read.options();
    let mut out = io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for (index, input) in inputs.iter().enumerate() {
        let facts = load(&input.path, &options).and_then(|loaded| {
            let chunks = chunk_sizes(&input.path, loaded.format.id, &options)?;
            Ok((facts(&input.path, &loaded, &chunks), chunks))
        });
        match facts {
            Ok((facts, _)) if arguments.json => writeln!(out, "{}", Value::Object(facts))?,
            Ok((facts, chunks)) => {
                if index > 0 {
                    writeln!(out)?;
                }
                print(&mut out, &facts, &chunks)?;
            }
            Err(failure) => {
                code = ExitCode::FAILURE;
                if arguments.json {
                    writeln!(out, "{}", json!({"file": input.path, "error": failure}))?;
                } else {
                    failure::print_lines(&failure.message, failure.hint.as_deref());
                }
            }
        }
    }
    Ok(code)
}

/// Stored bytes of each type of chunk of a `.gav`, in the order of the file; empty for other formats.
fn chunk_sizes(path: &Path, format: &str, options: &ReadOptions) -> Result<Vec<(String, u64)>, Failure> {
    let mut sizes: Vec<(String, u64)> = Vec::new();
    if format == "gav" {
        let failed = |e| Failure::at(path, &e);
        let source = Source::open(path).map_err(failed)?;
        for entry in Reader::with_options(&source, options).map_err(failed)?.entries() {
            let kind = String::from_utf8_lossy(&entry.kind).into_owned();
            match sizes.iter_mut().find(|(name, _)| *name == kind) {
                Some((_, bytes)) => *bytes += entry.stored_bytes,
                None => sizes.push((kind, entry.stored_bytes)),
            }
        }
    }
    Ok(sizes)
}

/// The facts, in the order in which they are printed.
fn facts(path: &Path, loaded: &Loaded, chunks: &[(String, u64)]) -> Map<String, Value> {
    let avatar = &loaded.avatar;
    let count = avatar.splats.len();
    let opaque = |logit: &&f32| **logit > 0.0;
    let value = json!({
        "file": path,
        "format": loaded.format.id,
        "format_name": loaded.format.name,
        "bytes": loaded.bytes,
        "bytes_per_splat": if count > 0 { json!(loaded.bytes as f64 / count as f64) } else { Value::Null },
        "splats": count,
        "opaque_splats": avatar.splats.opacity_logits.iter().filter(opaque).count(),
        "sh_degree": avatar.splats.sh_degree,
        "frame": avatar.frame.to_string(),
        "metres_per_unit": avatar.metres_per_unit,
        "color_space": match avatar.color_space {
            ColorSpace::SrgbRec709 => "sRGB Rec. 709",
            ColorSpace::LinearRec709 => "linear Rec. 709",
        },
        "render_model": match avatar.render_model {
            RenderModel::Classic => "classic",
            RenderModel::Antialiased => "antialiased",
            RenderModel::Surfel => "surfel",
        },
        "bounding_box": avatar.splats.bounds().map(|(low, high)| [low, high]),
        "rig_kind": avatar.rig.kind(),
        "rig": avatar.rig.name(),
        "rig_parts": rig_parts(avatar),
        "rest_pose": avatar.rest.is_some(),
        "template": avatar.template.as_ref().map(|t| json!({
            "family": family(t.family), "name": t.name, "vertices": t.vertex_count, "faces": t.face_count,
            "embedded": t.embedded, "licence": t.licence, "how_to_obtain": t.how_to_obtain,
        })),
        "mesh": avatar.mesh.as_ref().map(|m| json!({"vertices": m.positions.len(), "faces": m.faces.len()})),
        "drivers": avatar.drivers.iter().map(|d| &d.name).collect::<Vec<_>>(),
        "clips": avatar.clips.iter().map(|c| json!({"name": c.name, "seconds": c.seconds(), "tracks": c.tracks.len()}))
            .collect::<Vec<_>>(),
        "cameras": avatar.cameras.len(),
        "attributes": avatar.attributes.iter().map(|a| json!({"name": a.name, "type": format!("{:?}", a.dtype).to_lowercase(), "width": a.width}))
            .collect::<Vec<_>>(),
        "thumbnail_bytes": avatar.thumbnail.as_ref().map(|t| t.bytes.len()),
        "meta": avatar.meta,
        "chunks": chunks.iter().map(|(kind, bytes)| json!({"type": kind, "bytes": bytes})).collect::<Vec<_>>(),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn family(family: TemplateFamily) -> &'static str {
    match family {
        TemplateFamily::None => "none",
        TemplateFamily::Flame2020 => "FLAME 2020",
        TemplateFamily::Flame2023 => "FLAME 2023",
        TemplateFamily::SmplX => "SMPL-X",
        TemplateFamily::Smpl => "SMPL",
        TemplateFamily::Custom => "custom",
    }
}

/// Sizes of the parts of the rig, by name.
fn rig_parts(avatar: &Avatar) -> Map<String, Value> {
    let mut parts = Map::new();
    match &avatar.rig.base {
        RigBase::Static => {}
        RigBase::Skinned { skeleton, skin, morphs } => {
            parts.insert("joints".into(), skeleton.joints.len().into());
            let mean = skin.weights.len() as f64 / avatar.splats.len().max(1) as f64;
            parts.insert("influences_per_splat".into(), json!((mean * 100.0).round() / 100.0));
            if let Some(morphs) = morphs {
                parts.insert("morph_targets".into(), morphs.targets.len().into());
            }
        }
        RigBase::Triangle(binding) => {
            let mut used = binding.triangles.clone();
            used.sort_unstable();
            used.dedup();
            parts.insert("triangles_used".into(), used.len().into());
        }
        RigBase::Frames(frames) => {
            parts.insert("frames".into(), frames.ticks.len().into());
            parts.insert("ticks_per_second".into(), frames.ticks_per_second.into());
        }
    }
    if let Some(blend) = &avatar.rig.blendshapes {
        parts.insert("blendshapes".into(), blend.bases.into());
        if let BlendWeights::Mlp(mlp) = &blend.weights {
            let mut widths = vec![mlp.inputs.len()];
            widths.extend(mlp.layers.iter().map(|layer| layer.bias.len()));
            parts.insert("mlp".into(), json!(widths));
        }
    }
    parts
}

fn print(out: &mut impl Write, facts: &Map<String, Value>, chunks: &[(String, u64)]) -> Result<()> {
    let text = |key: &str| facts.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |key: &str| facts.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut line = |name: &str, value: String| -> Result<()> {
        if value.is_empty() { Ok(()) } else { Ok(writeln!(out, "  {name:<12}{value}")?) }
    };
    let bytes = number("bytes");
    let per_splat = facts["bytes_per_splat"].as_f64().map(|v| format!(" ({} B/splat)", text::significant(v)));
    line("file", text("file"))?;
    line("format", format!("{} – {}", text("format"), text("format_name")))?;
    line("size", text::bytes(bytes) + &per_splat.unwrap_or_default())?;
    let splats = format!("{}, {} of them opaque", text::count(number("splats")), text::count(number("opaque_splats")));
    line("splats", format!("{splats}, SH degree {}", number("sh_degree")))?;
    line("drawn as", format!("{}, {}", text("render_model"), text("color_space")))?;
    let unit = facts["metres_per_unit"].as_f64().unwrap_or(1.0);
    line("axes", format!("{}, 1 unit = {unit} m", text("frame")))?;
    line("box", facts["bounding_box"].as_array().map(|b| corners(b)).unwrap_or_default())?;
    let parts: Vec<String> = facts["rig_parts"]
        .as_object()
        .map(|parts| parts.iter().map(|(name, value)| format!("{} {value}", name.replace('_', " "))).collect())
        .unwrap_or_default();
    let rest = if facts["rest_pose"] == true { ", with rest pose" } else { "" };
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    line("rig", format!("{} (kind {}){parts}{rest}", text("rig"), number("rig_kind")))?;
    if let Some(template) = facts["template"].as_object() {
        let part = |key: &str| template.get(key).and_then(Value::as_str).unwrap_or_default();
        let embedded = if template["embedded"] == true { "embedded" } else { "not embedded" };
        let size = format!("{} vertices, {} faces", template["vertices"], template["faces"]);
        line("template", format!("{} {} ({size}, {embedded})", part("family"), part("name")))?;
        line("obtain", part("how_to_obtain").to_owned())?;
    }
    if let Some(mesh) = facts["mesh"].as_object() {
        line("mesh", format!("{} vertices, {} faces", mesh["vertices"], mesh["faces"]))?;
    }
    let list = |key: &str, show: fn(&Value) -> String| -> String {
        let values = facts[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let shown: Vec<String> = values.iter().take(6).map(show).collect();
        let more = if values.len() > shown.len() { format!(", … ({} in all)", values.len()) } else { String::new() };
        shown.join(", ") + &more
    };
    line("drivers", list("drivers", |v| v.as_str().unwrap_or_default().to_owned()))?;
    line(
        "clips",
        list("clips", |c| {
            let seconds = text::seconds(c["seconds"].as_f64().unwrap_or(0.0));
            format!("{} ({seconds})", c["name"].as_str().unwrap_or_default())
        }),
    )?;
    line("cameras", if number("cameras") > 0 { number("cameras").to_string() } else { String::new() })?;
    line(
        "attributes",
        list("attributes", |a| {
            format!(
                "{} ({} × {})",
                a["name"].as_str().unwrap_or_default(),
                a["width"],
                a["type"].as_str().unwrap_or_default()
            )
        }),
    )?;
    for (key, name) in
        [("name", "name"), ("generator", "written by"), ("licence", "licence"), ("attribution", "credit")]
    {
        line(name, facts["meta"][key].as_str().unwrap_or_default().to_owned())?;
    }
    if !chunks.is_empty() {
        let rows: Vec<Vec<String>> = std::iter::once(["chunk", "bytes", "share"].map(str::to_owned).to_vec())
            .chain(chunks.iter().map(|(kind, size)| {
                vec![kind.clone(), size.to_string(), format!("{:.1} %", 100.0 * *size as f64 / bytes.max(1) as f64)]
            }))
            .collect();
        write!(out, "{}", text::table(&rows).lines().map(|l| format!("  {l}\n")).collect::<String>())?;
    }
    Ok(())
}

/// `−0.1 … 0.2 × …`: the extent on each axis.
fn corners(bounds: &[Value]) -> String {
    let at = |corner: usize, axis: usize| bounds.get(corner).and_then(|c| c[axis].as_f64()).unwrap_or(0.0);
    let axes = ["x", "y", "z"].iter().enumerate();
    axes.map(|(k, name)| format!("{name} {:.4} to {:.4}", at(0, k), at(1, k))).collect::<Vec<_>>().join(", ")
}
