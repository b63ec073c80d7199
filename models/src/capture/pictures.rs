//! The pictures of a capture in memory, as bytes: all of them when they fit, else those that are wanted next.
//!
//! One mutex guards what is where, no lock is held while a file is decoded. Whoever needs a picture that nobody is decoding decodes it
//! itself, so nothing ever waits for work that has not begun.

use std::{
    collections::VecDeque,
    fs, panic,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use gav_formats::{Limits, cameras::View};
use rayon::prelude::*;

pub use crate::picture::Rgb8;
use crate::{
    Error, Result,
    picture::{decode_mask8, decode_rgb8, decode_straight8},
};

/// Threads that decode ahead: eight of them read 550 × 802 PNGs faster than any training consumes them.
const THREADS: usize = 8;

/// The decoded pictures of some views.
pub struct Pictures {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

type Decode = fn(&View, [f32; 3]) -> Result<Rgb8>;

struct Shared {
    views: Vec<View>,
    background: [f32; 3],
    budget: u64,
    decode: Decode,
    state: Mutex<State>,
    /// A slot changed, or there is work, or the end has come.
    changed: Condvar,
}

#[derive(Clone)]
enum Slot {
    Absent,
    /// Some thread is at it.
    Decoding,
    Ready(Arc<Rgb8>),
}

struct State {
    slots: Vec<Slot>,
    /// When each was last asked for.
    used: Vec<u64>,
    clock: u64,
    /// Bytes of all that is ready.
    bytes: u64,
    /// Will be asked for soon.
    wanted: Vec<bool>,
    /// Wanted and absent, nearest first.
    queue: VecDeque<usize>,
    closed: bool,
}

impl Pictures {
    /// The pictures of `views`, which keep their numbers. `background` goes behind pictures with alpha ([`decode_rgb8`]); `budget` is how many
    /// bytes of decoded pictures are kept.
    pub fn new(views: Vec<View>, background: [f32; 3], budget: u64) -> Self {
        Self::with_decoder(views, background, budget, decode)
    }

    /// The same with straight colours, not over any background, and their alpha as mask: what is behind them changes from step to step. A
    /// picture without alpha is refused, whatever mask its view names.
    pub fn straight(mut views: Vec<View>, budget: u64) -> Self {
        // the mask lies in the picture itself, and counts when bytes are
        views.iter_mut().for_each(|view| view.mask.clone_from(&view.image));
        Self::with_decoder(views, [0.0; 3], budget, decode_straight)
    }

    fn with_decoder(views: Vec<View>, background: [f32; 3], budget: u64, decode: Decode) -> Self {
        let count = views.len();
        let state = State {
            slots: vec![Slot::Absent; count],
            used: vec![0; count],
            clock: 0,
            bytes: 0,
            wanted: vec![false; count],
            queue: VecDeque::new(),
            closed: false,
        };
        let shared = Shared { views, background, budget, decode, state: Mutex::new(state), changed: Condvar::new() };
        Self { shared: Arc::new(shared), workers: Mutex::new(Vec::new()) }
    }

    /// Number of views.
    pub fn len(&self) -> usize {
        self.shared.views.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.shared.views.is_empty()
    }

    /// The views, in the order of their numbers.
    pub fn views(&self) -> &[View] {
        &self.shared.views
    }

    /// Bytes of all pictures, decoded, with the masks that their views name.
    pub fn bytes(&self) -> u64 {
        self.shared.views.iter().map(bytes_of).sum()
    }

    /// Do all of them fit into the budget?
    pub fn fits(&self) -> bool {
        self.bytes() <= self.shared.budget
    }

    /// Decodes all pictures on all processors. `progress` is told how many there are so far.
    ///
    /// # Errors
    /// Pictures that do not fit into the budget, with both numbers; those of [`Pictures::get`], of the first picture that has one.
    pub fn load_all(&self, progress: &(dyn Fn(usize) + Sync)) -> Result<()> {
        if !self.fits() {
            let (bytes, budget) = (self.bytes(), self.shared.budget);
            return Err(Error::usage(format!("{} pictures need {bytes} bytes, {budget} are allowed", self.len())));
        }
        let done = AtomicUsize::new(0);
        let failed = (0..self.len()).into_par_iter().map(|index| {
            let result = self.get(index);
            if result.is_ok() {
                progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            }
            result.err()
        });
        failed.find_first(Option::is_some).flatten().map_or(Ok(()), Err)
    }

    /// Decodes these in the background, nearest first, as many as the budget holds. Replaces what was asked for before; what is not among
    /// them is given up for the room it takes, least recently used first. Failures are left to [`Pictures::get`].
    ///
    /// # Panics
    /// When a number is not below [`Pictures::len`].
    pub fn prefetch(&self, upcoming: &[usize]) {
        let shared = &self.shared;
        let mut state = shared.lock();
        state.wanted.iter_mut().for_each(|w| *w = false);
        state.queue.clear();
        let (mut total, mut absent) = (0, 0);
        for &index in upcoming {
            let bytes = bytes_of(&shared.views[index]);
            if state.wanted[index] {
                continue;
            }
            if total + bytes > shared.budget {
                break;
            }
            total += bytes;
            state.wanted[index] = true;
            if !matches!(state.slots[index], Slot::Ready(_)) {
                absent += bytes;
            }
            if matches!(state.slots[index], Slot::Absent) {
                state.queue.push_back(index);
            }
        }
        state.make_room(shared.budget.saturating_sub(absent));
        let work = state.queue.len();
        drop(state);
        shared.changed.notify_all();
        self.start_workers(work);
    }

    fn start_workers(&self, work: usize) {
        let most = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        while workers.len() < most.min(work) {
            let shared = self.shared.clone();
            // without a thread the pictures are decoded when they are asked for
            let Ok(worker) = thread::Builder::new().name("pictures".to_owned()).spawn(move || shared.work()) else {
                break;
            };
            workers.push(worker);
        }
    }

    /// The picture of a view: at once when it is there, else when it is decoded.
    ///
    /// # Errors
    /// [`Error::Picture`] with the file: one that is missing or damaged, and one (or its mask) of another size than the camera, with both
    /// sizes. A view without a picture.
    ///
    /// # Panics
    /// When `index` is not below [`Pictures::len`].
    pub fn get(&self, index: usize) -> Result<Arc<Rgb8>> {
        let shared = &self.shared;
        let mut state = shared.lock();
        state.clock += 1;
        state.used[index] = state.clock;
        loop {
            match &state.slots[index] {
                Slot::Ready(picture) => return Ok(picture.clone()),
                Slot::Absent => break,
                Slot::Decoding => state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        state.slots[index] = Slot::Decoding;
        drop(state);
        shared.decode(index)
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.queue.clear();
        drop(state);
        self.shared.changed.notify_all();
        let workers = self.workers.get_mut().unwrap_or_else(PoisonError::into_inner);
        for worker in workers.drain(..) {
            // a worker cannot panic: what it calls is caught
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker does until the end.
    fn work(&self) {
        let mut state = self.lock();
        while !state.closed {
            let Some(index) = state.queue.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if matches!(state.slots[index], Slot::Absent) {
                state.slots[index] = Slot::Decoding;
                drop(state);
                // who asks for it finds the same failure
                let _ = self.decode(index);
                state = self.lock();
            }
        }
    }

    /// Decodes a picture whose slot this thread has marked, and keeps it when there is room.
    fn decode(&self, index: usize) -> Result<Arc<Rgb8>> {
        let view = &self.views[index];
        let attempt = panic::catch_unwind(|| (self.decode)(view, self.background));
        let result = attempt.unwrap_or_else(|_| Err(refused(view, "CORRUPT", "its decoder failed".to_owned())));
        let mut state = self.lock();
        let result = result.map(Arc::new);
        state.slots[index] = match &result {
            Ok(picture) => {
                state.bytes += held(picture);
                Slot::Ready(picture.clone())
            }
            Err(_) => Slot::Absent,
        };
        if state.bytes > self.budget {
            state.make_room(self.budget);
        }
        drop(state);
        self.changed.notify_all();
        result
    }
}

impl State {
    /// Gives up pictures that are not wanted, least recently used first, until no more than `bytes` are held.
    fn make_room(&mut self, bytes: u64) {
        let idle = |(index, slot): (usize, &Slot)| {
            (!self.wanted[index] && matches!(slot, Slot::Ready(_))).then_some((self.used[index], index))
        };
        let mut idle: Vec<(u64, usize)> = self.slots.iter().enumerate().filter_map(idle).collect();
        idle.sort_unstable();
        for (_, index) in idle {
            if self.bytes <= bytes {
                return;
            }
            if let Slot::Ready(picture) = std::mem::replace(&mut self.slots[index], Slot::Absent) {
                self.bytes -= held(&picture);
            }
        }
    }
}

/// Bytes of the picture of a view, with its mask.
fn bytes_of(view: &View) -> u64 {
    u64::from(view.camera.width) * u64::from(view.camera.height) * (3 + u64::from(view.mask.is_some()))
}

fn held(picture: &Rgb8) -> u64 {
    (picture.rgb.len() + picture.mask.as_ref().map_or(0, Vec::len)) as u64
}

fn refused(view: &View, code: &'static str, message: String) -> Error {
    let path = view.image.clone().unwrap_or_default();
    Error::Picture { path, source: gav_formats::Error::format("picture", code, 0, message) }
}

/// Reads the picture of a view and its mask. A mask that is named and not there is none: trainings that need masks say so.
fn decode(view: &View, background: [f32; 3]) -> Result<Rgb8> {
    let limits = Limits::default();
    let Some(path) = &view.image else {
        return Err(Error::usage(format!("view `{}` names no picture", view.camera.name)));
    };
    let mut picture = decode_rgb8(path, &read(path, &limits)?, background, &limits)?;
    let check = |path, size| check_size(view, path, size);
    check(path, [picture.width, picture.height])?;
    if let Some(path) = view.mask.as_ref().filter(|path| path.is_file()) {
        let (width, height, mask) = decode_mask8(path, &read(path, &limits)?, &limits)?;
        check(path, [width, height])?;
        picture.mask = Some(mask);
    }
    Ok(picture)
}

/// As [`decode`], for [`Pictures::straight`].
fn decode_straight(view: &View, _: [f32; 3]) -> Result<Rgb8> {
    let limits = Limits::default();
    let Some(path) = &view.image else {
        return Err(Error::usage(format!("view `{}` names no picture", view.camera.name)));
    };
    let picture = decode_straight8(path, &read(path, &limits)?, &limits)?;
    check_size(view, path, [picture.width, picture.height])?;
    if picture.mask.is_none() {
        return Err(refused(view, "NO_MATTE", "no alpha says what of it is background".to_owned()));
    }
    Ok(picture)
}

fn check_size(view: &View, path: &Path, [width, height]: [usize; 2]) -> Result<()> {
    let camera = [view.camera.width as usize, view.camera.height as usize];
    if [width, height] == camera {
        return Ok(());
    }
    let message = format!("{width} × {height} pixels, {} × {} by its camera", camera[0], camera[1]);
    let source = gav_formats::Error::format("picture", "SIZE", 0, message);
    Err(Error::Picture { path: path.to_owned(), source })
}

/// All bytes of a picture.
pub(super) fn read(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let failed = |source| Error::Picture { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(|e| failed(gav_formats::Error::io(path, e)))?.len();
    limits.check_bytes(length).map_err(failed)?;
    fs::read(path).map_err(|e| failed(gav_formats::Error::io(path, e)))
}

#[cfg(test)]
mod tests;
