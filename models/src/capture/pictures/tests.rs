//! Budgets, prefetching and failures of pictures kept in memory.

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
    let good = png("good.png", 2, png::ColorType::Rgba, &[10, 20, 30, 0, 10, 20, 30, 255, 0, 0, 0, 0, 9, 9, 9, 255]);
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
        assert!(text(k).contains("large.png") && text(k).contains("3 × 3 pixels, 2 × 2 by its camera"), "{}", text(k));
    }
    assert!(text(3).contains("absent.png") && text(4).contains("cut.png"), "{} {}", text(3), text(4));
    assert!(text(5).contains("names no picture"));
    assert_eq!(pictures.get(6).unwrap().mask, None);
}
