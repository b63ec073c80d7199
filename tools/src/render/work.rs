//! Carries out a plan: workers draw, the main thread keeps the record, makes the sheet of all and reports.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::Result;
use gav_formats::sink::remove_leftovers;
use serde_json::{Value, json};

use super::{
    Arguments,
    draw::{Drawn, Showing, Stages, draw, write},
    plan::{Action, Item, Overview, Place, Plan, beside, targets},
};
use crate::{
    batch::{
        self,
        bars::Bars,
        memory::Budget,
        place::slashes,
        processors,
        record::{Entry, OutputState, files_state},
        report::{Report, Status},
    },
    device::Painter,
    failure::Failure,
    pictures::{
        sheet::{Cell, compose, grid},
        still,
    },
    text,
};

/// Assets worked on at the same time: drawing uses all processors already, reading and encoding fill the gaps.
const JOBS: usize = 4;
/// The same when a GPU draws: reading and encoding are all that processors do, and must keep up with it.
const DEVICE_JOBS: usize = 64;
/// Pictures of an asset on the sheet of all, and their longest side, when there are few assets.
const SHOWN_VIEWS: usize = 4;
const SHOWN_SIDE: usize = 192;
/// Memory of the pictures of that sheet; where it is not enough, there are fewer and smaller ones.
const SHOWN_BYTES: usize = 256 << 20;
const SMALLEST_SIDE: usize = 64;
/// Height of a sheet after which the next one begins.
const SHEET_HEIGHT: usize = 8192;

/// What became of one asset.
struct Done {
    drawn: Drawn,
    /// Absent for assets that are drawn for the sheet of all only.
    output: Option<OutputState>,
    seconds: f64,
}

/// Runs every item of the plan; failures are collected and reported at the end.
pub(super) fn carry_out(arguments: &Arguments, mut plan: Plan) -> Result<ExitCode> {
    let mut report = Report::new(arguments.json, arguments.quiet);
    if !arguments.json && !arguments.quiet {
        plan.look.cameras.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    }
    if arguments.dry_run {
        for item in &plan.items {
            match item.action {
                Action::Skip => skipped(&mut report, item, &plan),
                _ => planned(&mut report, item, &plan),
            }
        }
        finish(&mut report, [0; 2], None, &plan);
        return Ok(ExitCode::SUCCESS);
    }
    prepare(&mut plan)?;
    plan.items.iter().filter(|i| i.action == Action::Skip).for_each(|item| skipped(&mut report, item, &plan));
    let work: Vec<&Item> = plan.items.iter().filter(|i| i.action != Action::Skip).collect();
    let pictures = plan.look.cameras.count().map(|views| views * work.len());
    let painter = Painter::open(arguments.device, pictures.filter(|_| !plan.look.plays))?;
    if !arguments.json && !arguments.quiet && !work.is_empty() {
        eprintln!("device: {}", painter.label());
    }
    let most = if matches!(painter, Painter::Cpu) { JOBS } else { DEVICE_JOBS };
    let jobs = arguments.jobs.map_or(processors().min(most), usize::from).min(work.len());
    let bars = Bars::new(work.len(), jobs, arguments.quiet || arguments.json);
    let (budget, showing) = (Budget::of_this_machine(), plan.overview.is_some().then(|| showing(work.len())));
    let mut records = std::mem::take(&mut plan.records);
    let (mut recorded, mut sums, mut rows) = (Ok(()), [0; 2], BTreeMap::new());
    let mut stages = Stages::default();
    let look = &plan.look;
    let report = RefCell::new(report);
    batch::each(
        &work,
        &bars,
        |item| &item.input,
        |item, line| {
            let start = Instant::now();
            let drawn = draw(item, arguments, look, showing, (&budget, &painter), line)?;
            let written = item.action == Action::Write && !drawn.files.is_empty();
            let output = written.then(|| files_state(&item.root, drawn.files.clone())).transpose()?;
            Ok(Done { drawn, output, seconds: start.elapsed().as_secs_f64() })
        },
        |item, outcome| {
            let report = &mut *report.borrow_mut();
            let done = match outcome {
                Ok(done) => done,
                Err(failure) => return report.failure(head(item, look_targets(&plan, item)), failure),
            };
            if let Some(output) = &done.output {
                remove_stale(&item.root, &item.earlier, &output.output_files);
                if let Some(record) = records.get_mut(&item.root) {
                    record.set(&item.key, Entry { output: done.output.clone(), ..item.entry.clone() });
                    recorded = std::mem::replace(&mut recorded, Ok(())).and(record.save(false));
                }
                sums[1] += output.output_bytes;
            }
            sums[0] += done.drawn.views as u64;
            stages.add(done.drawn.stages);
            finished(report, item, &done, &plan);
            rows.insert(item.label.clone(), done.drawn.cells);
        },
    );
    let mut report = report.into_inner();
    if let Some(overview) = &plan.overview {
        match sheets(overview, rows) {
            Ok(output) => {
                remove_stale(&overview.root, &overview.earlier, &output.output_files);
                sums[1] += output.output_bytes;
                if let (0, Some(record)) = (report.failures(), records.get_mut(&overview.root)) {
                    record.set(&overview.key, Entry { output: Some(output), ..overview.entry.clone() });
                }
            }
            Err(failure) => report.failure(json!({"output": overview.path}), failure),
        }
    }
    let recorded = recorded.and(records.values_mut().try_for_each(|r| r.save(true)));
    finish(&mut report, sums, Some((&painter, stages)), &plan);
    recorded?;
    Ok(if report.failures() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Clears leftovers of killed runs and records what is about to be made.
fn prepare(plan: &mut Plan) -> Result<()> {
    let folders = plan.items.iter().flat_map(|item| match &item.place {
        Place::Exactly(path) => vec![parent(path)],
        Place::Base(base) => vec![base.as_path(), parent(base)],
    });
    for folder in folders.chain(plan.records.keys().map(PathBuf::as_path)).collect::<BTreeSet<_>>() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if folder.is_dir() {
            remove_leftovers(folder).map_err(|e| Failure::at(folder, &e))?;
        }
    }
    for item in plan.items.iter().filter(|i| i.action == Action::Write) {
        if let Some(record) = plan.records.get_mut(&item.root) {
            // the earlier files stay known until they are replaced
            let known = record.get(&item.key).and_then(|e| e.output.clone());
            let output = known.map(|o| OutputState { output_hash: String::new(), ..o });
            record.set(&item.key, Entry { output, ..item.entry.clone() });
        }
    }
    plan.records.values_mut().try_for_each(|r| r.save(true))
}

/// How many pictures of each asset the sheet of all has room for, and how large.
fn showing(assets: usize) -> Showing {
    let each = SHOWN_BYTES / assets.max(1);
    let bytes = |side: usize| side * side * 3;
    let views = (each / bytes(SHOWN_SIDE)).clamp(1, SHOWN_VIEWS);
    let side = (each as f64 / views as f64 / 3.0).sqrt() as usize;
    Showing { views, side: side.clamp(SMALLEST_SIDE, SHOWN_SIDE) }
}

/// Writes the sheet of all, in as many pages as it takes.
fn sheets(overview: &Overview, rows: BTreeMap<String, Vec<Cell>>) -> Result<OutputState, Failure> {
    let single = rows.values().all(|cells| cells.len() <= 1);
    let cells: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|(name, mut cells)| {
            if let Some(first) = cells.first_mut() {
                first.label = name;
            }
            cells
        })
        .collect();
    let flat: Vec<Cell>;
    let rows: Vec<&[Cell]> = if single {
        flat = cells.into_iter().flatten().collect();
        grid(&flat, None)
    } else {
        cells.iter().map(Vec::as_slice).collect()
    };
    let tallest = rows.iter().copied().flatten().map(|c| c.picture.height).max().unwrap_or(1);
    let per_page = (SHEET_HEIGHT / (tallest + 32)).max(1);
    let mut files = Vec::new();
    for (page, rows) in rows.chunks(per_page).enumerate() {
        let sheet = compose("", rows);
        let path = match page {
            0 => overview.path.clone(),
            _ => beside(&overview.path.with_extension(""), &format!("{}.png", page + 1)),
        };
        let failed = |message: String| Failure {
            code: "ENCODER",
            message: format!("{}: {message}", path.display()),
            hint: None,
        };
        write(&path, &still::rgb_png(sheet.width as u32, sheet.height as u32, &sheet.rgb).map_err(failed)?)?;
        files.push(slashes(path.strip_prefix(&overview.root).unwrap_or(&path)));
    }
    files_state(&overview.root, files)
}

/// Removes pictures that an earlier run made and this one did not, such as those of a longer turn.
fn remove_stale(root: &Path, earlier: &[String], now: &[String]) {
    for name in earlier.iter().filter(|name| !now.contains(name)) {
        let _ = fs::remove_file(root.join(name));
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Where the files of an asset are, or will be.
fn look_targets(plan: &Plan, item: &Item) -> Vec<PathBuf> {
    match (item.action, &plan.overview) {
        (Action::ShowOnly, Some(overview)) => vec![overview.path.clone()],
        _ => targets(&plan.look, &item.place),
    }
}

/// Which asset.
fn head(item: &Item, outputs: Vec<PathBuf>) -> Value {
    json!({"input": item.input, "outputs": outputs})
}

fn say(report: &mut Report, status: Status, word: &str, item: &Item, plan: &Plan, tail: Value, text: &str) {
    let outputs = look_targets(plan, item);
    let names: Vec<String> = outputs.iter().map(|p| p.display().to_string()).collect();
    let line = format!("{} -> {}  {text}", item.input.display(), names.join(", "));
    report.item(status, word, head(item, outputs), tail, &line);
}

fn planned(report: &mut Report, item: &Item, plan: &Plan) {
    let count = plan.look.cameras.count();
    let text = match count {
        Some(count) => format!("{} would be drawn", text::plural(count, "picture")),
        None => "would be drawn from its own cameras".to_owned(),
    };
    say(report, Status::Planned, "planned", item, plan, json!({"views": count}), &text);
}

fn skipped(report: &mut Report, item: &Item, plan: &Plan) {
    say(report, Status::Skipped, "skipped", item, plan, json!({"reason": "up to date"}), "is up to date");
}

fn finished(report: &mut Report, item: &Item, done: &Done, plan: &Plan) {
    let Drawn { files, views, splats, .. } = &done.drawn;
    let bytes = done.output.as_ref().map_or(0, |o| o.output_bytes);
    let text = format!(
        "{} of {}, {} in {}",
        text::plural(*views, "picture"),
        text::plural(*splats, "splat"),
        text::bytes(bytes),
        text::seconds(done.seconds)
    );
    let json = json!({"views": views, "splats": splats, "files": files, "bytes": bytes, "seconds": done.seconds});
    say(report, Status::Done, "rendered", item, plan, json, &text);
}

fn finish(report: &mut Report, [views, bytes]: [u64; 2], worked: Option<(&Painter, Stages)>, plan: &Plan) {
    let sums = json!({"views": views, "bytes": bytes, "device": worked.map(|(painter, _)| painter.kind()), "work_seconds": worked.map(|(_, stages)| stages), "warnings": plan.look.cameras.warnings,
        "sheet": plan.overview.as_ref().map(|o| &o.path)});
    let text = match views {
        0 => String::new(),
        _ => format!(": {}, {}", text::plural(views as usize, "picture"), text::bytes(bytes)),
    };
    report.finish("rendered", sums, &text);
}
