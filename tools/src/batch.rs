//! What commands share that work on many items: a pool of workers, the record that `--resume` needs, names of outputs,
//! progress, reports.

pub(crate) mod bars;
pub(crate) mod memory;
mod panics;
pub(crate) mod place;
pub(crate) mod record;
pub(crate) mod report;

use std::{
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use self::{
    bars::{Bars, Line},
    panics::Panics,
};
use crate::failure::Failure;

/// Works on `items`, as many at a time as `bars` has lines; a panic is the failure of its item.
///
/// `finished` is called on this thread, in the order of completion.
pub(crate) fn each<T: Sync, R: Send>(
    items: &[T],
    bars: &Bars,
    input: impl Fn(&T) -> &Path + Sync,
    work: impl Fn(&T, &Line<'_>) -> Result<R, Failure> + Sync,
    mut finished: impl FnMut(&T, Result<R, Failure>),
) {
    let next = AtomicUsize::new(0);
    let panics = Panics::watch();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for worker in 0..bars.jobs() {
            let (sender, next, panics, input, work) = (sender.clone(), &next, &panics, &input, &work);
            scope.spawn(move || {
                let line = bars.line(worker);
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    line.show(&input(item).display());
                    let outcome = panics.guard(input(item), || work(item, &line));
                    if sender.send((item, outcome)).is_err() {
                        return;
                    }
                }
                line.end();
            });
        }
        drop(sender);
        for (item, outcome) in receiver {
            bars.suspend(|| finished(item, outcome));
        }
    });
    bars.clear();
}

/// Processors that this process may use.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
