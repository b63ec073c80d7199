//! A budget of memory that the workers of a batch share, so that large assets wait for each other and small ones do not.

use std::{
    fs,
    sync::{Condvar, Mutex, PoisonError},
};

/// Memory for everything where the system does not say how much is free.
const UNKNOWN: u64 = 2 << 30;

/// Bytes that may be used at the same time.
pub(crate) struct Budget {
    total: u64,
    free: Mutex<u64>,
    changed: Condvar,
}

/// Bytes in use until this is dropped.
pub(crate) struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// Half of the memory that is free now.
    pub(crate) fn of_this_machine() -> Self {
        Self::new(free_memory().unwrap_or(UNKNOWN) / 2)
    }

    fn new(total: u64) -> Self {
        Self { total, free: Mutex::new(total), changed: Condvar::new() }
    }

    /// All of it.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Waits until `bytes` are free. What is larger than the whole budget waits for all of it.
    pub(crate) fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(self.total);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.changed.wait_while(free, |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Share { budget: self, bytes }
    }
}

impl Share<'_> {
    /// Keeps `bytes` only, when they turn out to be fewer.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let given_back = self.bytes.saturating_sub(bytes);
        self.bytes -= given_back;
        self.give(given_back);
    }

    fn give(&self, bytes: u64) {
        *self.budget.free.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        self.budget.changed.notify_all();
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.give(self.bytes);
    }
}

/// Memory that can be used without swapping, within the limit of the container.
fn free_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let machine = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024;
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let container = number("/sys/fs/cgroup/memory.max")
        .map(|limit| limit.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    Some(container.map_or(machine, |c| c.min(machine)))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn the_large_wait_until_there_is_room() {
        let (budget, done) = (Budget::new(100), AtomicBool::new(false));
        let mut first = budget.take(70);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _all = budget.take(1000);
                done.store(true, Ordering::SeqCst);
            });
            let _second = budget.take(30);
            first.shrink(50);
            thread::sleep(Duration::from_millis(20));
            assert!(!done.load(Ordering::SeqCst));
            drop(first);
        });
        assert!(done.load(Ordering::SeqCst));
        assert_eq!(*budget.free.lock().unwrap(), 100);
    }
}
