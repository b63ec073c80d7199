//! `gav data convert`: a capture in the layout of another trainer.

use std::{
    collections::BTreeSet,
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, ValueEnum};
use gav_models::{
    Error,
    capture::{
        self, SelectionOptions,
        convert::{Conversion, ConvertOptions, Step, Target, Written},
    },
};
use serde_json::json;

use super::Reading;
use crate::{
    batch::{
        self,
        bars::Bars,
        processors,
        record::{Entry, Kind, OutputState, Record, fingerprint},
        report::{Report, Status},
    },
    failure::{Failure, refuse},
    text::plural,
};

/// Write a capture in the layout of another trainer
#[derive(Args)]
#[command(after_help = super::EXAMPLES)]
pub(crate) struct Convert {
    /// The folder of a capture
    folder: PathBuf,
    /// The folder to be made
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Layout: stga and insta from VHAP's, vhap from INSTA's
    #[arg(short, long, value_name = "LAYOUT")]
    to: Layout,
    /// stga: a face is trained in a time step when its corners are further than this from their place on the neutral face
    #[arg(long, value_name = "MM", default_value_t = 2.5, value_parser = millimetres)]
    select_threshold_mm: f32,
    /// stga: corners of a face that must be
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    select_min_vertices: u8,
    /// stga: instead of the threshold, the distance that this share of the vertices stays below, 0 to 1
    #[arg(long, value_name = "SHARE", conflicts_with = "select_threshold_mm", value_parser = share)]
    select_quantile: Option<f32>,
    /// insta: the camera that is taken; need not be said when there is one
    #[arg(long, value_name = "N")]
    camera: Option<u32>,
    /// Hard links to the pictures instead of copies
    #[arg(long)]
    link: bool,
    /// Time steps worked on at the same time [default: the processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Continue: skip time steps that an earlier run completed from the same files with the same options
    #[arg(long)]
    resume: bool,
    /// Write into a folder that holds something
    #[arg(short, long)]
    force: bool,
    /// One JSON object a line: every time step, then the sums
    #[arg(long)]
    json: bool,
    /// No progress bars, and no lines but errors
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, ValueEnum)]
enum Layout {
    Stga,
    Insta,
    Vhap,
}

fn millimetres(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|e| format!("{e}"))?;
    (0.0..=1000.0).contains(&value).then_some(value).ok_or_else(|| "0 to 1000 is expected".to_owned())
}

fn share(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|e| format!("{e}"))?;
    (0.0..=1.0).contains(&value).then_some(value).ok_or_else(|| "0 to 1 is expected".to_owned())
}

static RECORD: Kind = Kind { file: ".gav-data.json", field: "gav_data", what: "converted captures" };

/// Shares of faces between which a selection is sensible.
const SELECTED: [f64; 2] = [0.005, 0.6];

/// Runs the command.
pub(crate) fn run(convert: &Convert) -> Result<ExitCode> {
    let out = &convert.output;
    let holds_something = out.is_file() || fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if holds_something && !convert.force && !convert.resume {
        let hint = "--resume continues an earlier run, --force overwrites what is there";
        return Err(refuse(format!("{} is there already", out.display()), hint));
    }
    let failed = |e: Error| Failure::of(None, &e);
    let capture = convert.reading.open(&convert.folder)?;
    let target = match convert.to {
        Layout::Stga => Target::Stga,
        Layout::Insta => Target::Insta,
        Layout::Vhap => Target::Vhap,
    };
    let body = match capture::tracked_body(&capture, convert.reading.template.as_deref()).map_err(failed)? {
        Some(body) => body,
        None => {
            let message = format!("{}: {} has no tracked parameters", convert.folder.display(), capture.layout.name());
            return Err(refuse(message, "VHAP's layout becomes stga or insta, INSTA's becomes vhap"));
        }
    };
    let options = ConvertOptions {
        selection: SelectionOptions {
            threshold: 0.001 * convert.select_threshold_mm,
            min_vertices: convert.select_min_vertices,
            quantile: convert.select_quantile,
        },
        camera: convert.camera,
        link: convert.link,
    };
    let key = format!("{} {target:?} {options:?} {:?}", env!("CARGO_PKG_VERSION"), convert.reading.template);
    let conversion = Conversion::new(&capture, &body, out, target, options).map_err(failed)?;
    if !convert.json && !convert.quiet {
        let notes = capture.warnings.iter().chain(&conversion.warnings);
        notes.for_each(|warning| eprintln!("note: {warning}"));
    }
    write(convert, &conversion, &key)
}

/// What became of a step.
enum Outcome {
    Known,
    Fresh(Written, Entry),
}

fn write(convert: &Convert, conversion: &Conversion<'_>, options: &str) -> Result<ExitCode> {
    let mut record = Record::open(&convert.output, &RECORD)?;
    let steps: Vec<(&Step, Option<Entry>)> = conversion
        .steps()
        .iter()
        .map(|step| (step, record.get(&name(step)).filter(|_| convert.resume).cloned()))
        .collect();
    let jobs = convert.jobs.map_or(processors(), usize::from).min(steps.len());
    let bars = Bars::new(steps.len(), jobs, convert.quiet || convert.json);
    let mut report = Report::new(convert.json, convert.quiet);
    let (mut done, mut odd, mut saving) = (BTreeSet::new(), 0, Ok(()));
    batch::each(
        &steps,
        &bars,
        |(step, _)| &step.tracked,
        |(step, known), _| {
            let entry = planned(conversion, step, options);
            if known.as_ref().is_some_and(|known| is_current(&convert.output, known, &entry)) {
                return Ok(Outcome::Known);
            }
            let written = conversion.write(step).map_err(|e| Failure::of(Some(&step.tracked), &e))?;
            let bytes = bytes_of(&convert.output, &written.files).unwrap_or_default();
            let state =
                OutputState { output_bytes: bytes, output_hash: String::new(), output_files: written.files.clone() };
            Ok(Outcome::Fresh(written, Entry { output: Some(state), ..entry }))
        },
        |(step, _), result| {
            let head = json!({"timestep": step.timestep, "tracked": step.tracked});
            match result {
                Ok(Outcome::Known) => {
                    done.insert(step.number);
                    report.item(Status::Skipped, "skipped", head, json!({}), &format!("{}: up to date", title(step)));
                }
                Ok(Outcome::Fresh(written, entry)) => {
                    done.insert(step.number);
                    odd += usize::from(written.selected.is_some_and(|s| !(SELECTED[0]..=SELECTED[1]).contains(&s)));
                    record.set(&name(step), entry);
                    if saving.is_ok() {
                        saving = record.save(false);
                    }
                    let share = written.selected.map(|s| format!(", {:.1} % of the faces move", 100.0 * s));
                    let text = format!(
                        "{}: {}{}",
                        title(step),
                        plural(written.files.len(), "file"),
                        share.unwrap_or_default()
                    );
                    let tail = json!({"files": written.files, "selected": written.selected});
                    report.item(Status::Done, "converted", head, tail, &text);
                }
                Err(failure) => report.failure(head, failure),
            }
        },
    );
    saving?;
    record.save(true)?;
    if !done.is_empty()
        && let Err(error) = conversion.finish(&done)
    {
        report.failure(json!({"folder": convert.output}), Failure::of(None, &error));
    }
    if odd > 0 && !convert.json && !convert.quiet {
        let [least, most] = SELECTED.map(|s| 100.0 * s);
        let steps = plural(odd, "time step");
        eprintln!("warning: in {steps} fewer than {least} % or more than {most} % of the faces move");
    }
    report.finish("converted", json!({"odd_selections": odd, "notes": conversion.warnings}), "");
    Ok(if report.failures() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn name(step: &Step) -> String {
    format!("{:05}", step.number)
}

fn title(step: &Step) -> String {
    format!("time step {}", step.timestep)
}

/// What a step is made from.
fn planned(conversion: &Conversion<'_>, step: &Step, options: &str) -> Entry {
    let prints = conversion.sources(step).into_iter().filter_map(|path| fingerprint(path).ok());
    let (bytes, modified) = prints.fold((0, 0), |(a, b), (bytes, time)| (a + bytes, b.max(time)));
    let input = step.tracked.display().to_string();
    Entry { input, input_bytes: bytes, input_modified: modified, options: options.to_owned(), output: None }
}

/// Is everything there that an earlier run made of the same files with the same options?
fn is_current(folder: &Path, known: &Entry, planned: &Entry) -> bool {
    let Some(output) = &known.output else { return false };
    Entry { output: None, ..known.clone() } == *planned
        && bytes_of(folder, &output.output_files).is_ok_and(|bytes| bytes == output.output_bytes)
}

fn bytes_of(folder: &Path, files: &[String]) -> io::Result<u64> {
    files.iter().map(|file| Ok(fs::metadata(folder.join(file))?.len())).sum()
}
