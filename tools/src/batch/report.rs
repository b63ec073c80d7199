//! Lines for people or JSON lines for programs. A closed standard output does not stop the work.

use std::{
    io::{self, Write},
    time::Instant,
};

use serde_json::{Map, Value, json};

use crate::{
    failure::{self, Failure},
    text,
};

/// What is said about the items of a batch, and about all of them at the end.
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    out: io::Stdout,
    start: Instant,
    done: usize,
    skipped: usize,
    planned: usize,
    failed: Vec<Failure>,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Done,
    Skipped,
    Planned,
}

impl Report {
    /// `json`: one object a line; `quiet`: errors only.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let (done, skipped, planned) = (0, 0, 0);
        Self { json, quiet, out: io::stdout(), start: Instant::now(), done, skipped, planned, failed: Vec::new() }
    }

    /// One item: `word` is its status in JSON, `head` says which it is, `tail` what became of it; `text` says both.
    pub(crate) fn item(&mut self, status: Status, word: &str, head: Value, tail: Value, text: &str) {
        match status {
            Status::Done => self.done += 1,
            Status::Skipped => self.skipped += 1,
            Status::Planned => self.planned += 1,
        }
        if self.json {
            self.line(&[json!({"type": "item", "status": word}), head, tail]);
        } else if !self.quiet {
            let _ = writeln!(self.out, "{text}");
        }
    }

    /// One item that failed; for people all failures come at the end.
    pub(crate) fn failure(&mut self, head: Value, failure: Failure) {
        if self.json {
            self.line(&[json!({"type": "item", "status": "failed"}), head, json!({"error": failure})]);
        }
        self.failed.push(failure);
    }

    /// The sums: `verb` is what was done in JSON, `sums` and `text` (such as `: 12 MB -> 3 MB`) what it added up to.
    pub(crate) fn finish(&mut self, verb: &str, sums: Value, text: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        let counts = [
            (self.planned, "to be written"),
            (self.done, "written"),
            (self.skipped, "up to date"),
            (self.failed.len(), "failed"),
        ];
        if self.json {
            let head = json!({"type": "summary", verb: self.done, "skipped": self.skipped, "planned": self.planned,
                "failed": self.failed.len()});
            self.line(&[head, sums, json!({"seconds": seconds, "errors": self.failed})]);
        } else if !self.quiet && counts.iter().map(|(n, _)| n).sum::<usize>() > 1 {
            let counts: Vec<String> = counts
                .iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, what)| format!("{} {what}", text::count(*n as u64)))
                .collect();
            let _ = writeln!(self.out, "{}{text} in {}", counts.join(", "), text::seconds(seconds));
        }
        let _ = self.out.flush();
        if !self.json {
            self.failed.iter().for_each(|f| failure::print_lines(&f.message, f.hint.as_deref()));
        }
    }

    /// How many items failed.
    pub(crate) fn failures(&self) -> usize {
        self.failed.len()
    }

    fn line(&mut self, parts: &[Value]) {
        let fields = parts.iter().filter_map(Value::as_object).flat_map(|o| o.iter());
        let object: Map<String, Value> = fields.map(|(k, v)| (k.clone(), v.clone())).collect();
        let _ = writeln!(self.out, "{}", Value::Object(object));
    }
}
