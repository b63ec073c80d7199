//! Carries out a plan: workers convert, the main thread keeps the record and reports.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use gav_formats::{Avatar, Provenance, sink::remove_leftovers};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::{
    Arguments,
    manifest::{Manifest, OutputState, output_state},
    plan::{Action, Item, Plan},
};
use crate::{
    failure::{self, Failure},
    reading::load,
    text,
};

/// What became of one item.
struct Done {
    splats: [usize; 2],
    bytes_in: u64,
    output: OutputState,
    seconds: f64,
}

/// Runs every item of the plan; failures are collected and reported at the end.
pub(super) fn carry_out(arguments: &Arguments, plan: Plan) -> Result<ExitCode> {
    let start = Instant::now();
    let Plan { items, mut manifests } = plan;
    let mut report = Report { arguments, out: io::stdout(), totals: Totals::default(), failed: Vec::new() };
    if arguments.dry_run {
        items.iter().for_each(|item| report.planned(item));
        report.finish(start);
        return Ok(ExitCode::SUCCESS);
    }
    let folders: BTreeSet<&Path> =
        items.iter().map(|i| parent(&i.output)).chain(manifests.keys().map(PathBuf::as_path)).collect();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        remove_leftovers(folder).map_err(|e| Failure::at(folder, &e))?;
    }
    for item in items.iter().filter(|i| i.action == Action::Convert) {
        if let Some(manifest) = manifests.get_mut(&item.root) {
            manifest.set(&item.key, item.entry.clone());
        }
    }
    save_all(&mut manifests, true)?;

    let work: Vec<&Item> = items.iter().filter(|i| i.action == Action::Convert).collect();
    items.iter().filter(|i| i.action == Action::Skip).for_each(|item| report.skipped(item));
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.map_or(processors, usize::from).min(work.len());
    let bars = Bars::new(work.len(), jobs, arguments.quiet || arguments.json);
    let next = AtomicUsize::new(0);
    let panics = Panics::watch();
    let (sender, receiver) = mpsc::channel();
    let recorded = thread::scope(|scope| {
        for worker in 0..jobs {
            let (sender, work, next, bars, panics) = (sender.clone(), &work, &next, &bars, &panics);
            scope.spawn(move || {
                while let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    bars.begin(worker, &item.input);
                    let outcome = panics.guard(&item.input, || convert(item, arguments));
                    if sender.send((*item, outcome)).is_err() {
                        return;
                    }
                }
                bars.end(worker);
            });
        }
        drop(sender);
        let mut recorded = Ok(());
        for (item, outcome) in receiver {
            if let (Ok(done), Some(manifest)) = (&outcome, manifests.get_mut(&item.root)) {
                let mut entry = item.entry.clone();
                entry.output = Some(done.output.clone());
                manifest.set(&item.key, entry);
                recorded = recorded.and(manifest.save(false));
            }
            bars.suspend(|| report.finished(item, outcome));
        }
        recorded
    });
    bars.clear();
    let recorded = recorded.and(save_all(&mut manifests, true));
    report.finish(start);
    recorded?;
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    gav_formats::save(&avatar, &item.output, item.format, &arguments.encode.options())
        .map_err(|e| Failure::at(&item.output, &e))?;
    let output = output_state(&item.output)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Done { splats: [before, avatar.splats.len()], bytes_in: loaded.bytes, output, seconds })
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

fn save_all(manifests: &mut BTreeMap<PathBuf, Manifest>, force: bool) -> Result<()> {
    manifests.values_mut().try_for_each(|m| m.save(force))
}

/// Turns panics of items into failures. While an item is worked on, the usual message on standard error is held back.
struct Panics {
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Items being worked on. A panic may come from any thread of the pool that their decoders share.
    guarded: AtomicUsize,
    /// Where the last panic was.
    place: Mutex<String>,
}

impl Panics {
    fn watch() -> Self {
        let (seen, usual) = (Arc::new(Seen::default()), panic::take_hook());
        let hook = seen.clone();
        panic::set_hook(Box::new(move |info| {
            if hook.guarded.load(Ordering::SeqCst) == 0 {
                return usual(info);
            }
            let text = info.location().map(ToString::to_string).unwrap_or_default();
            *hook.place.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }));
        Self { seen }
    }

    fn guard<T>(&self, input: &Path, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        self.seen.guarded.fetch_add(1, Ordering::SeqCst);
        let outcome = panic::catch_unwind(AssertUnwindSafe(work));
        self.seen.guarded.fetch_sub(1, Ordering::SeqCst);
        outcome.unwrap_or_else(|payload| {
            let place = self.seen.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let message = format!("{}: internal error: {} ({place})", input.display(), panic_text(&*payload));
            let hint = "this is a bug in gav: please report it together with the file".to_owned();
            Err(Failure { code: "PANIC", message, hint: Some(hint) })
        })
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown".to_owned())
        .replace('\n', " ")
}

/// Progress on a terminal: one bar for all, one line for each worker.
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    workers: Vec<ProgressBar>,
}

impl Bars {
    fn new(items: usize, jobs: usize, hidden: bool) -> Self {
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let all = MultiProgress::with_draw_target(target);
        let style =
            |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let total = all.add(ProgressBar::new(items as u64));
        total.set_style(style("{bar:32} {pos}/{len}  {elapsed} gone, {eta} to go"));
        let line = || {
            let bar = all.add(ProgressBar::new_spinner());
            bar.set_style(style("  {spinner} {wide_msg}"));
            if !all.is_hidden() {
                bar.enable_steady_tick(Duration::from_millis(120));
            }
            bar
        };
        let workers = (0..jobs).map(|_| line()).collect();
        Self { all, total, workers }
    }

    fn begin(&self, worker: usize, input: &Path) {
        self.workers[worker].set_message(input.display().to_string());
    }

    fn end(&self, worker: usize) {
        self.workers[worker].finish_and_clear();
    }

    fn suspend(&self, print: impl FnOnce()) {
        self.all.suspend(print);
        self.total.inc(1);
    }

    fn clear(&self) {
        let _ = self.all.clear();
    }
}

/// Sums over all items.
#[derive(Default)]
struct Totals {
    converted: usize,
    skipped: usize,
    planned: usize,
    bytes_in: u64,
    bytes_out: u64,
}

/// Lines for people or JSON lines for programs. A closed standard output does not stop the work.
struct Report<'a> {
    arguments: &'a Arguments,
    out: io::Stdout,
    totals: Totals,
    failed: Vec<Failure>,
}

impl Report<'_> {
    fn line(&mut self, item: &Item, status: &str, mut json: Value, text: &str) {
        if self.arguments.json {
            let head = json!({"type": "item", "status": status, "input": item.input, "output": item.output, "format": item.format.id});
            if let (Value::Object(head), Value::Object(tail)) = (head, &mut json) {
                let line: serde_json::Map<_, _> = head.into_iter().chain(std::mem::take(tail)).collect();
                let _ = writeln!(self.out, "{}", Value::Object(line));
            }
        } else if !self.arguments.quiet {
            let _ = writeln!(self.out, "{} -> {}  {text}", item.input.display(), item.output.display());
        }
    }

    fn planned(&mut self, item: &Item) {
        if item.action == Action::Skip {
            return self.skipped(item);
        }
        self.totals.planned += 1;
        self.line(item, "planned", json!({"bytes_in": item.entry.input_bytes}), "would be written");
    }

    fn skipped(&mut self, item: &Item) {
        self.totals.skipped += 1;
        self.line(item, "skipped", json!({"reason": "up to date"}), "is up to date");
    }

    fn finished(&mut self, item: &Item, outcome: Result<Done, Failure>) {
        let done = match outcome {
            Ok(done) => done,
            Err(failure) => {
                if self.arguments.json {
                    self.line(item, "failed", json!({"error": failure}), "");
                }
                return self.failed.push(failure);
            }
        };
        let bytes = done.output.output_bytes;
        self.totals.converted += 1;
        self.totals.bytes_in += done.bytes_in;
        self.totals.bytes_out += bytes;
        let [before, after] = done.splats;
        let splats = if before == after { String::new() } else { format!(", {before} -> {after} splats") };
        let text = format!(
            "{} -> {} ({} B/splat{splats}) in {}",
            text::bytes(done.bytes_in),
            text::bytes(bytes),
            text::significant(bytes as f64 / after.max(1) as f64),
            text::seconds(done.seconds)
        );
        let json = json!({"splats_in": before, "splats_out": after, "bytes_in": done.bytes_in, "bytes_out": bytes,
            "hash": format!("blake3:{}", done.output.output_hash), "seconds": done.seconds});
        self.line(item, "converted", json, &text);
    }

    fn finish(&mut self, start: Instant) {
        let (totals, seconds) = (&self.totals, start.elapsed().as_secs_f64());
        if self.arguments.json {
            let json = json!({"type": "summary", "converted": totals.converted, "skipped": totals.skipped,
                "planned": totals.planned, "failed": self.failed.len(), "bytes_in": totals.bytes_in,
                "bytes_out": totals.bytes_out, "seconds": seconds, "errors": self.failed});
            let _ = writeln!(self.out, "{json}");
        } else if !self.arguments.quiet && totals.converted + totals.skipped + totals.planned + self.failed.len() > 1 {
            let counts = [
                (totals.planned, "to be written"),
                (totals.converted, "written"),
                (totals.skipped, "up to date"),
                (self.failed.len(), "failed"),
            ];
            let counts: Vec<String> = counts
                .iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, what)| format!("{} {what}", text::count(*n as u64)))
                .collect();
            let sizes = if totals.converted > 0 {
                format!(": {} -> {}", text::bytes(totals.bytes_in), text::bytes(totals.bytes_out))
            } else {
                String::new()
            };
            let _ = writeln!(self.out, "{}{sizes} in {}", counts.join(", "), text::seconds(seconds));
        }
        let _ = self.out.flush();
        if !self.arguments.json {
            self.failed.iter().for_each(|f| failure::print_lines(&f.message, f.hint.as_deref()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_failure_of_its_item() {
        let panics = Panics::watch();
        let failure = panics.guard::<()>(Path::new("x.ply"), || panic!("index {} of 3", 7)).unwrap_err();
        assert_eq!(failure.code, "PANIC");
        assert!(failure.message.starts_with("x.ply: internal error: index 7 of 3 ("), "{}", failure.message);
        assert!(failure.message.contains("work.rs"), "{}", failure.message);
    }
}
