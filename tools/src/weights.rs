//! `gav weights`: the networks of the metrics, from the files that their authors publish.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, Subcommand};
use gav_models::weights::store::{Added, Manifest, Part, Store};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, print_lines},
    text::table,
};

const EXAMPLES: &str = "\
Examples:
  gav weights list                                   what is there, what is missing, where to get it
  gav weights add vgg16-397923af.pth vgg.pth         for LPIPS-VGG
  gav weights add inception-2015-12-05.pkl           for FID, KID and Inception Score
  gav weights list --json | jq -r 'select(.path == null) | .part'

Files are read without executing anything in them and are converted once to safetensors in $GAV_DATA/weights, or in
gav/weights of the platform's data folder; the originals may be deleted afterwards.

Exit codes:
  0  everything was done
  1  a file could not be read, holds no known network, or could not be converted; the others were
  2  the command line asks for something impossible; nothing was done";

/// Add, and list, the weights of the networks that metrics need
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
}

/// Convert official weight files (.pth, .pt, .pkl, .safetensors) into the data folder
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Add {
    /// Weight files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object a line for each network found, or for each file that failed
    #[arg(long)]
    json: bool,
}

/// Show which weights are there, and where to get the others
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct List {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = Store::user().map_err(|error| Failure::of(None, &error))?;
    match &arguments.what {
        What::Add(arguments) => add(&store, arguments),
        What::List(arguments) => list(&store, arguments),
    }
}

fn add(store: &Store, arguments: &Add) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut failed = false;
    for file in &arguments.files {
        match store.add(file) {
            Ok(parts) => {
                for part in parts {
                    if arguments.json {
                        writeln!(
                            out,
                            "{}",
                            json!({"file": file, "path": part.path, "unchanged": part.unchanged,
                            "manifest": manifest_json(&part.manifest)})
                        )?;
                    } else {
                        writeln!(out, "{}: {}", file.display(), describe(&part))?;
                    }
                }
            }
            Err(error) => {
                failed = true;
                let mut failure = Failure::of(Some(file), &error);
                if matches!(failure.code, "UNKNOWN_FORMAT" | "NOT_POSSIBLE") {
                    failure.hint = Some("`gav weights list` says which files are known".to_owned());
                }
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

fn describe(added: &Added) -> String {
    let part = added.manifest.part;
    let origin = if added.manifest.official { "the published file" } else { "a file of unknown origin" };
    let done = if added.unchanged { "was there already" } else { "added" };
    format!("{} ({}) {done}, {origin}", part.id(), part.title())
}

fn manifest_json(manifest: &Manifest) -> Value {
    json!({"part": manifest.part.id(), "source": manifest.source, "sha256": manifest.sha256,
        "container": manifest.container, "official": manifest.official})
}

fn list(store: &Store, arguments: &List) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut failed = false;
    let mut rows = vec![["part", "what", "state", "made from"].map(str::to_owned).to_vec()];
    let mut missing = Vec::new();
    for part in Part::ALL {
        let manifest = store.manifest(part).unwrap_or_else(|error| {
            failed = true;
            let failure = Failure::of(None, &error);
            print_lines(&failure.message, Some("add the weight file again"));
            None
        });
        if arguments.json {
            let files = part
                .files()
                .iter()
                .map(|file| json!({"name": file.name, "from": file.source, "licence": file.licence}));
            writeln!(
                out,
                "{}",
                json!({"part": part.id(), "title": part.title(), "path": store.find(part).ok(),
                "manifest": manifest.as_ref().map(manifest_json), "files": files.collect::<Vec<_>>()})
            )?;
            continue;
        }
        let (state, source) = match &manifest {
            Some(manifest) if manifest.official => ("official", manifest.source.clone()),
            Some(manifest) => ("other file", manifest.source.clone()),
            None => ("missing", "–".to_owned()),
        };
        if manifest.is_none() {
            missing.push(part);
        }
        rows.push(vec![part.id().to_owned(), part.title().to_owned(), state.to_owned(), source]);
    }
    if !arguments.json {
        writeln!(out, "{}\n\n{}", store.folder().display(), table(&rows))?;
        if !missing.is_empty() {
            writeln!(out, "Missing; fetch one file for each part that is needed, then `gav weights add FILE`:")?;
        }
        for part in missing {
            for file in part.files() {
                writeln!(out, "  {:<12} {}: {} [{}]", part.id(), file.name, file.source, file.licence)?;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
