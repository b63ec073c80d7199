//! `gav template`: the parametric meshes that avatars refer to, from the files that their authors publish.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use gav_formats::TemplateFamily;
use gav_models::{
    body::family_name,
    template::{Added, Extras, Kind, Manifest, Store},
};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, print_lines, refuse},
    text::{count, table},
};

const EXAMPLES: &str = "\
Examples:
  gav template add FLAME flame2023.pkl                                   from its pickle, once
  gav template add FLAME generic_model.pkl --uv head_template_mesh.obj   with texture coordinates, for RGBAvatar
  gav template add FLAME generic_model.pkl --eyelids l_eyelid.npy r_eyelid.npy
  gav template add SMPL-X SMPLX_NEUTRAL.npz
  gav template add CUSTOM body.npz --licence CC0-1.0                     may be passed on inside of avatars
  gav template list
  gav template show flame2023

Files are read without executing anything in them and are converted once to safetensors in $GAV_DATA/templates, or in
gav/templates of the platform's data folder; the originals may be deleted afterwards. Teeth need not be added: avatars that were
made with them get them.

Exit codes:
  0  everything was done
  1  a file could not be read, does not fit its family, or could not be converted; the others were
  2  the command line asks for something impossible; nothing was done";

/// Add, list and show the parametric meshes (FLAME, SMPL, SMPL-X) that avatars are bound to
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Add(Add),
    List(List),
    Show(Show),
}

/// What a file is said to be.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Family {
    /// FLAME 2020 or 2023, as the name of the file says
    #[value(name = "FLAME")]
    Flame,
    /// FLAME 2020 (generic_model.pkl)
    #[value(name = "FLAME2020")]
    Flame2020,
    /// FLAME 2023 (flame2023.pkl)
    #[value(name = "FLAME2023")]
    Flame2023,
    /// SMPL
    #[value(name = "SMPL")]
    Smpl,
    /// SMPL-X
    #[value(name = "SMPL-X", alias = "SMPLX")]
    SmplX,
    /// Any mesh whose arrays have the same names
    #[value(name = "CUSTOM")]
    Custom,
}

impl Family {
    fn kind(self) -> Kind {
        match self {
            Self::Flame => Kind::Flame,
            Self::Flame2020 => Kind::Flame2020,
            Self::Flame2023 => Kind::Flame2023,
            Self::Smpl => Kind::Smpl,
            Self::SmplX => Kind::SmplX,
            Self::Custom => Kind::Custom,
        }
    }
}

/// Convert official template files (.pkl, .npz, .safetensors) into the data folder
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Add {
    /// What the files are
    #[arg(value_name = "FAMILY", ignore_case = true)]
    family: Family,
    /// Template files, one template each
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Texture coordinates: an OBJ with the same faces, or a .npz with `vt` and `ft`
    #[arg(long, value_name = "FILE")]
    uv: Option<PathBuf>,
    /// Left and right eyelid, vertices × 3 each
    #[arg(long, num_args = 2, value_names = ["LEFT.npy", "RIGHT.npy"])]
    eyelids: Option<Vec<PathBuf>>,
    /// Name, instead of that of the file
    #[arg(long)]
    name: Option<String>,
    /// SPDX expression under which the template may be passed on inside of avatars; without it, it never is
    #[arg(long, value_name = "SPDX")]
    licence: Option<String>,
    /// One JSON object a line for each file
    #[arg(long)]
    json: bool,
}

/// Show which templates are there
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct List {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Show the joints, parameters, hashes and origin of a template
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Show {
    /// Its name, its file in the store, or how its hash starts
    #[arg(value_name = "NAME")]
    name: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = Store::user().map_err(|error| Failure::of(None, &error))?;
    match &arguments.what {
        What::Add(arguments) => add(&store, arguments),
        What::List(arguments) => list(&store, arguments),
        What::Show(arguments) => show(&store, arguments),
    }
}

fn add(store: &Store, arguments: &Add) -> Result<ExitCode> {
    if arguments.name.is_some() && arguments.files.len() > 1 {
        let text = format!("one --name for {} templates", arguments.files.len());
        return Err(refuse(text, "add them one by one"));
    }
    let eyelids = arguments.eyelids.as_ref().map(|paths| [paths[0].as_path(), paths[1].as_path()]);
    let extras = Extras {
        uv: arguments.uv.as_deref(),
        eyelids,
        name: arguments.name.as_deref(),
        licence: arguments.licence.as_deref(),
    };
    let mut out = io::stdout().lock();
    let mut failed = false;
    for file in &arguments.files {
        match store.add(arguments.family.kind(), file, &extras) {
            Ok(added) if arguments.json => {
                let manifest = manifest_json(&added.manifest);
                let line =
                    json!({"file": file, "path": added.path, "unchanged": added.unchanged, "manifest": manifest});
                writeln!(out, "{line}")?;
            }
            Ok(added) => writeln!(out, "{}: {}", file.display(), describe(&added))?,
            Err(error) => {
                failed = true;
                let failure = failure(file, &error);
                if arguments.json {
                    writeln!(out, "{}", json!({"file": file, "error": failure}))?;
                } else {
                    print_lines(&failure.message, failure.hint.as_deref());
                }
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The error with a hint that fits templates.
fn failure(file: &Path, error: &gav_models::Error) -> Failure {
    let mut failure = Failure::of(Some(file), error);
    let hint = match failure.code {
        _ if failure.message.contains("FLAME 2020 or FLAME 2023?") => "write FLAME2020 or FLAME2023 instead of FLAME",
        _ if failure.message.contains("expected for") => {
            "is it another family? CUSTOM takes meshes of any size whose arrays have the same names"
        }
        "UNKNOWN_FORMAT" => "templates are pickles, .npz or .safetensors",
        _ => return failure,
    };
    failure.hint = Some(hint.to_owned());
    failure
}

fn describe(added: &Added) -> String {
    let template = &added.manifest.template;
    let done = if added.unchanged { "was there already" } else { "added" };
    format!(
        "`{}`, {} of {} vertices and {} faces{}, {done}\n  arrays {}\n  faces  {}\n  licence: {}",
        template.name,
        family_name(template.family),
        count(template.vertex_count.into()),
        count(template.face_count.into()),
        with(&added.manifest),
        hex(&template.arrays_hash),
        hex(&template.faces_hash),
        notice(&added.manifest)
    )
}

/// What a copy has beside the body.
fn with(manifest: &Manifest) -> &'static str {
    match (manifest.uvs, manifest.eyelids) {
        (true, true) => " with texture coordinates and eyelids",
        (true, false) => " with texture coordinates",
        (false, true) => " with eyelids",
        (false, false) => "",
    }
}

/// What the licence of a template means here.
fn notice(manifest: &Manifest) -> String {
    let template = &manifest.template;
    if !template.licence.is_empty() {
        return format!("{}: avatars may hold it", template.licence);
    }
    let kept = "this copy is for you alone, gav never writes its vertices into a file";
    match template.family {
        TemplateFamily::Custom | TemplateFamily::None => format!("none given (--licence SPDX): {kept}"),
        family => {
            format!("{} is licensed for non-commercial use after registration at its site: {kept}", family_name(family))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn manifest_json(manifest: &Manifest) -> Value {
    let sources = manifest.sources.iter().map(|(name, sha256)| json!({"name": name, "sha256": sha256}));
    json!({"template": manifest.template, "joints": manifest.joints, "uvs": manifest.uvs, "eyelids": manifest.eyelids,
        "sources": sources.collect::<Vec<_>>()})
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn list(store: &Store, arguments: &List) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut failed = false;
    let heading = ["name", "family", "vertices", "faces", "joints", "with", "licence", "file"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (path, manifest) in store.list().map_err(|error| Failure::of(None, &error))? {
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                failed = true;
                print_lines(
                    &Failure::of(Some(&path), &error).message,
                    Some("remove the file and add the template again"),
                );
                continue;
            }
        };
        if arguments.json {
            writeln!(out, "{}", json!({"path": path, "manifest": manifest_json(&manifest)}))?;
            continue;
        }
        let template = &manifest.template;
        let licence = if template.licence.is_empty() { "not to be passed on" } else { &template.licence };
        rows.push(vec![
            template.name.clone(),
            family_name(template.family).to_owned(),
            count(template.vertex_count.into()),
            count(template.face_count.into()),
            manifest.joints.to_string(),
            with(&manifest).trim_start_matches(" with ").to_owned(),
            licence.to_owned(),
            stem(&path),
        ]);
    }
    if !arguments.json {
        let place = store.folder().display();
        match rows.len() {
            1 => writeln!(out, "{place}: no templates; `gav template add FAMILY FILE` adds one")?,
            _ => writeln!(out, "{place}\n\n{}", table(&rows))?,
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(store: &Store, arguments: &Show) -> Result<ExitCode> {
    let (path, manifest, body) = store.open_named(&arguments.name).map_err(|error| {
        let mut failure = Failure::of(None, &error);
        failure.hint = failure.hint.or_else(|| Some("`gav template list` shows what is there".to_owned()));
        failure
    })?;
    let mut out = io::stdout().lock();
    let joints = body.joint_names().iter().zip(body.parents()).map(|(name, parent)| {
        let parent = parent.map(|p| body.joint_names()[p as usize].clone());
        (name, parent)
    });
    if arguments.json {
        let joints: Vec<Value> = joints.map(|(name, parent)| json!({"name": name, "parent": parent})).collect();
        let groups: Vec<Value> = body.groups().iter().map(|(name, length)| json!([name, length])).collect();
        let line = json!({"path": path, "manifest": manifest_json(&manifest), "prefix": body.layout().prefix(),
            "groups": groups, "joints": joints});
        writeln!(out, "{line}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let template = &manifest.template;
    let sources: Vec<String> =
        manifest.sources.iter().map(|(name, hash)| format!("{name} ({})", &hash[..12])).collect();
    writeln!(out, "{}: {}{}", template.name, family_name(template.family), with(&manifest))?;
    writeln!(out, "file      {}", path.display())?;
    writeln!(out, "made from {}", sources.join(", "))?;
    writeln!(out, "arrays    {}", hex(&template.arrays_hash))?;
    writeln!(out, "faces     {}", hex(&template.faces_hash))?;
    writeln!(out, "licence   {}", notice(&manifest))?;
    writeln!(
        out,
        "size      {} vertices, {} faces",
        count(body.vertex_count() as u64),
        count(body.faces().len() as u64)
    )?;
    let mut rows = vec![vec!["parameters".to_owned(), "values".to_owned()]];
    let prefix = body.layout().prefix();
    rows.extend(body.groups().iter().map(|(name, length)| vec![format!("{prefix}{name}"), length.to_string()]));
    writeln!(out, "\n{}", table(&rows))?;
    let mut rows = vec![vec!["joint".to_owned(), "parent".to_owned()]];
    rows.extend(joints.map(|(name, parent)| vec![name.clone(), parent.unwrap_or_else(|| "–".to_owned())]));
    writeln!(out, "{}", table(&rows))?;
    Ok(ExitCode::SUCCESS)
}
