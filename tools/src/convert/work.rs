//! Carries out a plan: workers convert, the main thread keeps the record and reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::Result;
use gav_formats::{Avatar, Error, Provenance, format_by_name, sink::remove_leftovers, to_bytes};
use serde_json::{Value, json};

use super::{
    Arguments,
    edits::EditArguments,
    plan::{Action, Item, Plan},
    rigs,
};
use crate::{
    batch::{
        self,
        bars::Bars,
        processors,
        record::{Entry, OutputState, Record, output_state},
        report::{Report, Status},
    },
    failure::Failure,
    reading::load,
    text,
};

/// What became of one item.
struct Done {
    splats: [usize; 2],
    bytes_in: u64,
    output: OutputState,
    seconds: f64,
    /// What the format could not hold.
    notes: Vec<String>,
}

/// Runs every item of the plan; failures are collected and reported at the end.
pub(super) fn carry_out(arguments: &Arguments, plan: Plan) -> Result<ExitCode> {
    let Plan { items, mut records } = plan;
    let mut report = Report::new(arguments.json, arguments.quiet);
    if arguments.dry_run {
        items.iter().for_each(|item| planned(&mut report, item));
        finish(&mut report, [0; 2]);
        return Ok(ExitCode::SUCCESS);
    }
    let folders: BTreeSet<&Path> =
        items.iter().map(|i| parent(&i.output)).chain(records.keys().map(PathBuf::as_path)).collect();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        remove_leftovers(folder).map_err(|e| Failure::at(folder, &e))?;
    }
    for item in items.iter().filter(|i| i.action == Action::Convert) {
        if let Some(record) = records.get_mut(&item.root) {
            record.set(&item.key, item.entry.clone());
        }
    }
    save_all(&mut records, true)?;

    let work: Vec<&Item> = items.iter().filter(|i| i.action == Action::Convert).collect();
    items.iter().filter(|i| i.action == Action::Skip).for_each(|item| skipped(&mut report, item));
    let jobs = arguments.jobs.map_or(processors(), usize::from).min(work.len());
    let bars = Bars::new(work.len(), jobs, arguments.quiet || arguments.json);
    let (mut recorded, mut sums) = (Ok(()), [0; 2]);
    batch::each(
        &work,
        &bars,
        |item| &item.input,
        |item, _| convert(item, arguments),
        |item, outcome| {
            let done = match outcome {
                Ok(done) => done,
                Err(failure) => return report.failure(head(item), failure),
            };
            if let Some(record) = records.get_mut(&item.root) {
                record.set(&item.key, Entry { output: Some(done.output.clone()), ..item.entry.clone() });
                recorded = std::mem::replace(&mut recorded, Ok(())).and(record.save(false));
            }
            sums[0] += done.bytes_in;
            sums[1] += done.output.output_bytes;
            finished(&mut report, item, &done);
        },
    );
    let recorded = recorded.and(save_all(&mut records, true));
    finish(&mut report, sums);
    recorded?;
    Ok(if report.failures() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads, edits and writes one item.
fn convert(item: &Item, arguments: &Arguments) -> Result<Done, Failure> {
    let start = Instant::now();
    let loaded = load(&item.input, &arguments.read.options())?;
    let mut avatar = loaded.avatar;
    let before = avatar.splats.len();
    arguments.edits.apply(&mut avatar).map_err(|e| Failure::at(&item.input, &e))?;
    if item.format.id == "gav" && loaded.format.id != "gav" {
        note_origin(&mut avatar, &item.input);
    }
    let mut options = arguments.write_options();
    let source = (arguments.encode.embed && item.format.id == "gltf").then(|| avatar.clone());
    let mut notes = rigs::prepare(&mut avatar, &item.input, item.format.id, arguments)?;
    if arguments.encode.embed && item.format.id == "gltf" {
        let unchanged = loaded.format.id == "gav" && arguments.edits == EditArguments::default();
        options.gltf.embed = Some(if unchanged {
            std::fs::read(&item.input).map_err(|e| Failure::at(&item.input, &Error::io(&item.input, e)))?
        } else {
            let gav = format_by_name("gav").expect("gav is a format");
            // the rig as it was, not as it was baked
            to_bytes(source.as_ref().unwrap_or(&avatar), gav, &options).map_err(|e| Failure::at(&item.output, &e))?
        });
    }
    match arguments.motion.frames.filter(|_| item.format.id == "gltf") {
        Some(count) => rigs::save_frames(&avatar, &item.input, &item.output, count, arguments, &options)?,
        None => {
            gav_formats::save(&avatar, &item.output, item.format, &options)
                .map_err(|e| Failure::at(&item.output, &e))?;
            if item.format.id == "gltf" {
                notes.extend(gav_formats::gltf::notes(&avatar, &options).map_err(|e| Failure::at(&item.output, &e))?);
            }
        }
    }
    let output = output_state(&item.output)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Done { splats: [before, avatar.splats.len()], bytes_in: loaded.bytes, output, seconds, notes })
}

/// Says in the metadata from which file the avatar came (its name only: paths are private).
fn note_origin(avatar: &mut Avatar, input: &Path) {
    avatar.meta.provenance.push(Provenance {
        action: "converted".to_owned(),
        agent: concat!("gav ", env!("CARGO_PKG_VERSION")).to_owned(),
        source: input.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        hash: String::new(),
    });
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn save_all(records: &mut BTreeMap<PathBuf, Record>, force: bool) -> Result<()> {
    records.values_mut().try_for_each(|r| r.save(force))
}

/// Which item.
fn head(item: &Item) -> Value {
    json!({"input": item.input, "output": item.output, "format": item.format.id})
}

fn say(report: &mut Report, status: Status, word: &str, item: &Item, tail: Value, text: &str) {
    let text = format!("{} -> {}  {text}", item.input.display(), item.output.display());
    report.item(status, word, head(item), tail, &text);
}

fn planned(report: &mut Report, item: &Item) {
    if item.action == Action::Skip {
        return skipped(report, item);
    }
    say(report, Status::Planned, "planned", item, json!({"bytes_in": item.entry.input_bytes}), "would be written");
}

fn skipped(report: &mut Report, item: &Item) {
    say(report, Status::Skipped, "skipped", item, json!({"reason": "up to date"}), "is up to date");
}

fn finished(report: &mut Report, item: &Item, done: &Done) {
    let bytes = done.output.output_bytes;
    let [before, after] = done.splats;
    let splats = if before == after { String::new() } else { format!(", {before} -> {after} splats") };
    let mut text = format!(
        "{} -> {} ({} B/splat{splats}) in {}",
        text::bytes(done.bytes_in),
        text::bytes(bytes),
        text::significant(bytes as f64 / after.max(1) as f64),
        text::seconds(done.seconds)
    );
    done.notes.iter().for_each(|note| text += &format!("\n  note: {note}"));
    let mut json = json!({"splats_in": before, "splats_out": after, "bytes_in": done.bytes_in, "bytes_out": bytes,
        "hash": format!("blake3:{}", done.output.output_hash), "seconds": done.seconds});
    if !done.notes.is_empty() {
        json["notes"] = json!(done.notes);
    }
    say(report, Status::Done, "converted", item, json, &text);
}

fn finish(report: &mut Report, [bytes_in, bytes_out]: [u64; 2]) {
    let sums = json!({"bytes_in": bytes_in, "bytes_out": bytes_out});
    let text = if bytes_out > 0 {
        format!(": {} -> {}", text::bytes(bytes_in), text::bytes(bytes_out))
    } else {
        String::new()
    };
    report.finish("converted", sums, &text);
}
