//! A panic while one item is worked on is the failure of that item.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::failure::Failure;

/// Turns panics of items into failures. While an item is worked on, the usual message on standard error is held back.
pub(super) struct Panics {
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
    pub(super) fn watch() -> Self {
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

    pub(super) fn guard<T>(&self, input: &Path, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_failure_of_its_item() {
        let panics = Panics::watch();
        let failure = panics.guard::<()>(Path::new("x.ply"), || panic!("index {} of 3", 7)).unwrap_err();
        assert_eq!(failure.code, "PANIC");
        assert!(failure.message.starts_with("x.ply: internal error: index 7 of 3 ("), "{}", failure.message);
        assert!(failure.message.contains("panics.rs"), "{}", failure.message);
    }
}
