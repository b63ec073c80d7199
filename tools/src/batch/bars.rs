//! Progress of a batch on the terminal.

use std::{fmt::Display, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress on a terminal: one bar for all, one line for each worker.
pub(crate) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    workers: Vec<ProgressBar>,
}

impl Bars {
    /// For `items` items and `jobs` workers.
    pub(crate) fn new(items: usize, jobs: usize, hidden: bool) -> Self {
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

    /// Workers.
    pub(crate) fn jobs(&self) -> usize {
        self.workers.len()
    }

    /// The line of one worker.
    pub(crate) fn line(&self, worker: usize) -> Line<'_> {
        Line(&self.workers[worker])
    }

    /// One item is finished: calls `print` with the bars out of the way.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        self.all.suspend(print);
        self.total.inc(1);
    }

    /// Removes the bars.
    pub(crate) fn clear(&self) {
        let _ = self.all.clear();
    }
}

/// What one worker is doing.
pub(crate) struct Line<'a>(&'a ProgressBar);

impl Line<'_> {
    /// Says what the worker is doing.
    pub(crate) fn show(&self, what: &dyn Display) {
        if !self.0.is_hidden() {
            self.0.set_message(what.to_string());
        }
    }

    /// The worker has nothing left to do.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
