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
    picture::{decode_mask8, decode_rgb8},
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
    let camera = [view.camera.width as usize, view.camera.height as usize];
    let check = |path: &Path, [width, height]: [usize; 2]| {
        if [width, height] == camera {
            return Ok(());
        }
        let message = format!("{width} × {height} pixels, {} × {} by its camera", camera[0], camera[1]);
        let source = gav_formats::Error::format("picture", "SIZE", 0, message);
        Err(Error::Picture { path: path.to_owned(), source })
    };
    check(path, [picture.width, picture.height])?;
    if let Some(path) = view.mask.as_ref().filter(|path| path.is_file()) {
        let (width, height, mask) = decode_mask8(path, &read(path, &limits)?, &limits)?;
        check(path, [width, height])?;
        picture.mask = Some(mask);
    }
    Ok(picture)
}

/// All bytes of a picture.
pub(super) fn read(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let failed = |source| Error::Picture { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(|e| failed(gav_formats::Error::io(path, e)))?.len();
    limits.check_bytes(length).map_err(failed)?;
    fs::read(path).map_err(|e| failed(gav_formats::Error::io(path, e)))
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use gav_formats::Camera;

    use super::*;

    /// Views of 2 × 2 pixels: 12 bytes each. `file` names what the decoder of the tests shall do.
    fn views(count: usize, file: impl Fn(usize) -> String) -> Vec<View> {
        let view = |k| View {
            camera: Camera { name: k_name(k), width: 2, height: 2, ..Camera::default() },
            image: Some(PathBuf::from(file(k))),
            ..View::default()
        };
        (0..count).map(view).collect()
    }

    fn k_name(k: usize) -> String {
        format!("{k:05}")
    }

    fn fake(view: &View, _: [f32; 3]) -> Result<Rgb8> {
        let name = view.image.as_ref().unwrap().to_string_lossy().into_owned();
        assert_ne!(name, "panic", "as a decoder does that has a fault");
        if name == "slow" {
            thread::sleep(Duration::from_millis(30));
        }
        if name == "broken" {
            return Err(refused(view, "CORRUPT", "no picture".to_owned()));
        }
        let number: u8 = view.camera.name.parse().unwrap();
        Ok(Rgb8 { width: 2, height: 2, rgb: vec![number; 12], mask: None })
    }

    fn ready(pictures: &Pictures) -> Vec<usize> {
        let state = pictures.shared.lock();
        let is_ready = |k: &usize| matches!(state.slots[*k], Slot::Ready(_));
        (0..state.slots.len()).filter(is_ready).collect()
    }

    /// Waits until nothing is to be done in the background.
    fn settle(pictures: &Pictures) {
        let mut state = pictures.shared.lock();
        while !state.queue.is_empty() || state.slots.iter().any(|s| matches!(s, Slot::Decoding)) {
            state = pictures.shared.changed.wait_timeout(state, Duration::from_millis(5)).unwrap().0;
        }
    }

    #[test]
    fn all_pictures_are_loaded_when_they_fit() {
        let pictures = Pictures::with_decoder(views(9, k_name), [1.0; 3], 108, fake);
        assert_eq!((pictures.len(), pictures.bytes(), pictures.fits()), (9, 108, true));
        let most = AtomicUsize::new(0);
        pictures.load_all(&|n| _ = most.fetch_max(n, Ordering::Relaxed)).unwrap();
        assert_eq!((most.into_inner(), ready(&pictures).len()), (9, 9));
        assert_eq!(pictures.get(7).unwrap().rgb, [7; 12]);
        let small = Pictures::with_decoder(views(9, k_name), [1.0; 3], 107, fake);
        let text = small.load_all(&|_| ()).unwrap_err().to_string();
        assert!(!small.fits() && text.contains("108") && text.contains("107"), "{text}");
    }

    #[test]
    fn the_budget_holds_and_what_is_wanted_stays() {
        let pictures = Pictures::with_decoder(views(10, k_name), [1.0; 3], 4 * 12 + 5, fake);
        pictures.prefetch(&[5, 6, 5, 7, 8, 9]);
        settle(&pictures);
        // a fifth picture would be too much
        assert_eq!(ready(&pictures), [5, 6, 7, 8]);
        // one that is not wanted is given and not kept
        assert_eq!(pictures.get(0).unwrap().rgb, [0; 12]);
        assert_eq!(ready(&pictures), [5, 6, 7, 8]);
        pictures.prefetch(&[8, 9]);
        settle(&pictures);
        // only what room is needed for goes
        assert_eq!(ready(&pictures).len(), 4);
        assert!([8, 9].iter().all(|k| ready(&pictures).contains(k)));
        for k in [1, 2, 3] {
            pictures.get(k).unwrap();
        }
        assert_eq!(ready(&pictures), [2, 3, 8, 9]);
    }

    #[test]
    fn who_asks_first_gets_it_while_others_wait() {
        let pictures = Pictures::with_decoder(views(6, |_| "slow".to_owned()), [1.0; 3], 72, fake);
        pictures.prefetch(&[0, 1, 2, 3, 4, 5]);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..6).rev().for_each(|k| assert_eq!(pictures.get(k).unwrap().rgb, [k as u8; 12])));
            }
        });
        assert_eq!(pictures.shared.lock().bytes, 72, "each is kept once");
    }

    #[test]
    fn a_failure_and_a_panic_stop_nobody() {
        let file = |k: usize| {
            if k == 1 {
                "broken"
            } else if k == 3 {
                "panic"
            } else {
                "slow"
            }
            .to_owned()
        };
        let pictures = Pictures::with_decoder(views(5, file), [1.0; 3], 60, fake);
        pictures.prefetch(&[3, 1, 0, 2, 4]);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for k in 0..5 {
                        assert_eq!(pictures.get(k).is_err(), k == 1 || k == 3);
                    }
                });
            }
        });
        settle(&pictures);
        assert_eq!(ready(&pictures), [0, 2, 4]);
        // the first in order, whichever thread was quickest
        assert!(pictures.load_all(&|_| ()).unwrap_err().to_string().starts_with("broken"));
        let work_left = Pictures::with_decoder(views(50, |_| "slow".to_owned()), [1.0; 3], 600, fake);
        work_left.prefetch(&(0..50).collect::<Vec<_>>());
        drop(work_left);
    }

    #[test]
    fn sizes_files_and_masks_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let png = |name: &str, side: u32, color: png::ColorType, data: &[u8]| {
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, side, side);
            encoder.set_color(color);
            encoder.write_header().unwrap().write_image_data(data).unwrap();
            fs::write(folder.path().join(name), &bytes).unwrap();
            folder.path().join(name)
        };
        let good =
            png("good.png", 2, png::ColorType::Rgba, &[10, 20, 30, 0, 10, 20, 30, 255, 0, 0, 0, 0, 9, 9, 9, 255]);
        let mask = png("mask.png", 2, png::ColorType::Grayscale, &[0, 255, 0, 255]);
        let large = png("large.png", 3, png::ColorType::Rgb, &[7; 27]);
        let camera = Camera { width: 2, height: 2, ..Camera::default() };
        let view = |image: Option<&PathBuf>, mask: Option<&PathBuf>| View {
            camera: camera.clone(),
            image: image.cloned(),
            mask: mask.cloned(),
            ..View::default()
        };
        let absent = folder.path().join("absent.png");
        let cut = folder.path().join("cut.png");
        fs::write(&cut, &fs::read(&good).unwrap()[..40]).unwrap();
        let list = vec![
            view(Some(&good), Some(&mask)),
            view(Some(&large), None),
            view(Some(&good), Some(&large)),
            view(Some(&absent), None),
            view(Some(&cut), None),
            view(None, None),
            view(Some(&good), Some(&absent)),
        ];
        let pictures = Pictures::new(list, [1.0, 0.0, 1.0], 1000);
        let first = pictures.get(0).unwrap();
        assert_eq!(first.rgb, [255, 0, 255, 10, 20, 30, 255, 0, 255, 9, 9, 9]);
        assert_eq!(first.mask.as_deref(), Some(&[0, 255, 0, 255][..]));
        let text = |k: usize| pictures.get(k).unwrap_err().to_string();
        for k in [1, 2] {
            assert!(
                text(k).contains("large.png") && text(k).contains("3 × 3 pixels, 2 × 2 by its camera"),
                "{}",
                text(k)
            );
        }
        assert!(text(3).contains("absent.png") && text(4).contains("cut.png"), "{} {}", text(3), text(4));
        assert!(text(5).contains("names no picture"));
        assert_eq!(pictures.get(6).unwrap().mask, None);
    }
}
