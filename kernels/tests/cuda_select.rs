//! Drawing for trainings: gradients of some splats instead of all, and harmonics up to a degree below that of the splats.

mod common;

use common::{device, flat, relative};
use gav_formats::synthetic::{SHELL_SEED, shell, shell_camera, uniform};
use gav_kernels::{
    cuda::{
        Buffer,
        raster::{Batch, Options, Planes, SplatGradients, Splats, View},
    },
    raster::{self, Footprint, Scene, Settings, ShapeGradients, Upstream},
};

/// What trainings draw with.
const SETTINGS: Settings = Settings { footprint: Footprint::Exact, ..Settings::DEFAULT };

fn noise(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64).map(|i| (2.0 * uniform(i, seed) - 1.0) as f32).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// The rows of `width` numbers that have a flag.
fn picked(values: &[f32], width: usize, flags: &[u32]) -> Vec<f64> {
    let rows = values.chunks_exact(width).zip(flags).filter(|(_, flag)| **flag != 0);
    rows.flat_map(|(row, _)| row.iter().map(|v| f64::from(*v))).collect()
}

#[test]
fn some_drawn_splats_get_the_gradients_they_get_among_all() {
    let Some(device) = device() else { return };
    let count = 6000;
    let splats = shell(count, 3, SHELL_SEED).splats;
    let scene = Scene::from(&splats);
    let there = Splats::upload(&device, &[scene]).unwrap();
    // scattered, a region, none, all, and one alone
    let selections: Vec<(&str, Vec<u32>)> = vec![
        ("scattered", (0..count as u64).map(|i| u32::from(uniform(i, 8) < 0.1)).collect()),
        ("region", splats.means.iter().map(|m| u32::from(m[1] > 0.05)).collect()),
        ("none", vec![0; count]),
        ("all", vec![1; count]),
        ("one", (0..count).map(|i| u32::from(i == 4321)).collect()),
    ];
    for (name, settings) in [("training", SETTINGS), ("default", Settings::DEFAULT), ("inria", Settings::INRIA)] {
        for [width, height] in [[130, 97], [64, 64]] {
            let camera = shell_camera(2, width, height);
            let view = View { scene: 0, camera: &camera, background: [1.0, 0.5, 0.0] };
            let options = Options { centers: true, select: true, ..Options::default() };
            let mut batch = Batch::new(&device, &there, &[view], &settings, options).unwrap();
            batch.draw(&there).unwrap();
            let upstream = Buffer::from_slice(&device, &noise((width * height * 3) as usize, 5)).unwrap();
            let planes = Planes { rgb: Some(&upstream), ..Planes::default() };
            let mut read = |flags: Option<&Buffer<u32>>| {
                let mut g = SplatGradients::new(&device, there.kind, batch.gradient_rows()).unwrap();
                match flags {
                    Some(flags) => batch.backward_of(&there, planes, flags, &mut g).unwrap(),
                    None => batch.backward(&there, planes, &mut g).unwrap(),
                }
                [&g.means, &g.shape, &g.scales, &g.logits, &g.color, &g.rest, &batch.centers].map(|b| b.read().unwrap())
            };
            let whole = read(None);
            for (which, flags) in &selections {
                let part = read(Some(&Buffer::from_slice(&device, flags).unwrap()));
                for (k, array) in
                    ["means", "rotations", "scales", "logits", "color", "rest", "centers"].iter().enumerate()
                {
                    let width = whole[k].len() / count;
                    let error = relative(picked(&part[k], width, flags), &picked(&whole[k], width, flags));
                    println!("{name} {which} {array}: {error:.1e}");
                    // sums in another order
                    assert!(error < 1e-4, "{name} {which} {array}: {error:e}");
                }
            }
        }
    }
}

#[test]
fn gradients_of_rotations_and_sizes_of_some_splats_equal_the_cpu() {
    let Some(device) = device() else { return };
    let count = 2500;
    let splats = shell(count, 2, SHELL_SEED).splats;
    let scene = Scene::from(&splats);
    let there = Splats::upload(&device, &[scene]).unwrap();
    let camera = shell_camera(5, 111, 75);
    let view = View { scene: 0, camera: &camera, background: [1.0; 3] };
    let options = Options { centers: true, select: true, ..Options::default() };
    let mut batch = Batch::new(&device, &there, &[view], &SETTINGS, options).unwrap();
    batch.draw(&there).unwrap();
    let upstream = noise(111 * 75 * 3, 9);
    let rgb = Buffer::from_slice(&device, &upstream).unwrap();
    let flags: Vec<u32> = splats.means.iter().map(|m| u32::from(m[0] > 0.0)).collect();
    let flags_there = Buffer::from_slice(&device, &flags).unwrap();
    let mut gradients = SplatGradients::new(&device, there.kind, count).unwrap();
    batch.backward_of(&there, Planes { rgb: Some(&rgb), ..Planes::default() }, &flags_there, &mut gradients).unwrap();
    let forward = raster::forward(&scene, &camera, &SETTINGS, view.background);
    let expected = forward.backward(&scene, &Upstream::rgb(&upstream));
    let ShapeGradients::RotationScale(rotations, scales) = &expected.shape else { panic!("no covariances here") };
    for (name, width, ours, expected) in [
        ("means", 3, &gradients.means, expected.means.as_flattened()),
        ("rotations", 4, &gradients.shape, rotations.as_flattened()),
        ("scales", 3, &gradients.scales, scales.as_flattened()),
        ("logits", 1, &gradients.logits, &expected.opacity_logits[..]),
        ("rest", 24, &gradients.rest, &expected.sh_rest[..]),
        ("centers", 2, &batch.centers, expected.centers.as_flattened()),
    ] {
        let error = relative(picked(&ours.read().unwrap(), width, &flags), &picked(expected, width, &flags));
        println!("{name}: {error:.1e}");
        assert!(error < 2e-3, "{name}: {error:e}");
    }
    assert!(
        batch.backward_of(&there, Planes::default(), &Buffer::zeros(&device, 10).unwrap(), &mut gradients).is_err()
    );
}

#[test]
fn harmonics_beyond_a_degree_are_not_looked_at() {
    let Some(device) = device() else { return };
    let count = 3000;
    let splats = shell(count, 3, SHELL_SEED).splats;
    let there = Splats::upload(&device, &[Scene::from(&splats)]).unwrap();
    let camera = shell_camera(1, 100, 90);
    let view = View { scene: 0, camera: &camera, background: [0.2; 3] };
    let mut batch =
        Batch::new(&device, &there, &[view], &SETTINGS, Options { select: true, ..Options::default() }).unwrap();
    let upstream = noise(100 * 90 * 3, 5);
    let rgb = Buffer::from_slice(&device, &upstream).unwrap();
    let flags = Buffer::from_slice(&device, &vec![1; count]).unwrap();
    assert!(batch.use_harmonics(4).is_err());
    for degree in [0, 1, 2, 3] {
        batch.use_harmonics(degree).unwrap();
        batch.draw(&there).unwrap();
        let mut cut = splats.clone();
        cut.set_sh_degree(degree);
        let scene = Scene::from(&cut);
        let forward = raster::forward(&scene, &camera, &SETTINGS, view.background);
        let expected = forward.backward(&scene, &Upstream::rgb(&upstream));
        let image = relative(wide(&batch.rgb.read().unwrap()), &wide(&forward.image.rgb));
        println!("degree {degree} picture: {image:.1e}");
        assert!(image < 1e-3, "{image:e}");
        for select in [false, true] {
            let mut gradients = SplatGradients::new(&device, there.kind, count).unwrap();
            let planes = Planes { rgb: Some(&rgb), ..Planes::default() };
            match select {
                false => batch.backward(&there, planes, &mut gradients).unwrap(),
                true => batch.backward_of(&there, planes, &flags, &mut gradients).unwrap(),
            }
            let kept = expected.sh_rest.len() / count;
            let rest = gradients.rest.read().unwrap();
            let rest: Vec<f64> = rest.chunks_exact(45).flat_map(|row| wide(&row[..kept])).collect();
            for (name, ours, expected) in [
                ("means", wide(&gradients.means.read().unwrap()), flat(&expected.means).collect::<Vec<_>>()),
                ("color", wide(&gradients.color.read().unwrap()), flat(&expected.color).collect()),
                ("rest", rest, wide(&expected.sh_rest)),
            ] {
                let error = relative(ours, &expected);
                println!("degree {degree} {select} {name}: {error:.1e}");
                // as in cuda.rs: single pixels on an edge
                assert!(error < 2e-3, "degree {degree} {name}: {error:e}");
            }
        }
    }
}
