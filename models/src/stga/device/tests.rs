//! Steps on a device against those of the CPU.

use std::{f64::consts::TAU, fs, path::Path, sync::Arc};

use gav_formats::{Camera, TemplateFamily, cameras::View, synthetic::uniform};
use gav_kernels::{
    cuda::{CudaError, Device},
    rig::triangle::{MeshRef, faces},
};

use super::{
    super::{
        CpuEngine, DataOptions, Dataset, Engine, Freeze, Motion, Options, Plan, Rates, SPLAT_TENSORS, State,
        StepReport, Tables, Tensor, Tracked, TrainView,
        density::{self, Rules},
        init,
        options::FrameName,
        widths,
    },
    DeviceEngine, Stock,
    room::Room,
};
use crate::{
    body::{Body, Parameters, Parts},
    capture::{Pictures, Split},
};

const TIMES: usize = 3;
const CAMERAS: usize = 3;

fn device() -> Option<Arc<Device>> {
    match Device::open(0) {
        Ok(device) => Some(device),
        Err(CudaError::NoDriver | CudaError::NoDevice { .. }) => {
            eprintln!("SKIPPED on CUDA: no device");
            None
        }
        Err(error) => panic!("a driver without a device that works: {error}"),
    }
}

fn noise(count: usize, seed: u64, size: f64) -> Vec<f32> {
    (0..count as u64).map(|i| (size * (2.0 * uniform(i, seed) - 1.0)) as f32).collect()
}

/// A ball of radius 0.1 with everything that a head has: expressions, eyelids, correctives, two joints.
fn body() -> Body<f32> {
    const ACROSS: usize = 14;
    const DOWN: usize = 9;
    let mut vertices = vec![[0.0, 0.1, 0.0], [0.0, -0.1, 0.0]];
    for row in 1..DOWN {
        for column in 0..ACROSS {
            let (down, around) = (0.5 * TAU * row as f64 / DOWN as f64, TAU * column as f64 / ACROSS as f64);
            vertices.push([down.sin() * around.cos(), down.cos(), down.sin() * around.sin()].map(|v| 0.1 * v as f32));
        }
    }
    let at = |row: usize, column: usize| (2 + row * ACROSS + column % ACROSS) as u32;
    let mut faces = Vec::new();
    for c in 0..ACROSS {
        faces.push([0, at(0, c + 1), at(0, c)]);
        faces.push([1, at(DOWN - 2, c), at(DOWN - 2, c + 1)]);
        for r in 0..DOWN - 2 {
            faces.push([at(r, c), at(r, c + 1), at(r + 1, c)]);
            faces.push([at(r, c + 1), at(r + 1, c + 1), at(r + 1, c)]);
        }
    }
    let count = vertices.len();
    let mut regressor = vec![0.0; 2 * count];
    (regressor[1], regressor[count]) = (1.0, 1.0);
    let lid = |seed| noise(3 * count, seed, 0.002).as_chunks::<3>().0.to_vec();
    Body::new(&Parts {
        family: TemplateFamily::Custom,
        name: "ball".into(),
        licence: "CC0-1.0".into(),
        shapedirs: noise(count * 3 * 7, 3, 0.004),
        identity_columns: 2,
        posedirs: noise(count * 3 * 9, 4, 0.002),
        extras: vec![("l_eyelid".to_owned(), lid(5)), ("r_eyelid".to_owned(), lid(6))],
        regressor,
        weights: (0..count).flat_map(|v| if v % 3 == 0 { [0.3, 0.7] } else { [1.0, 0.0] }).collect(),
        parents: vec![None, Some(0)],
        joint_names: vec!["root".into(), "top".into()],
        hands: None,
        uvs: Vec::new(),
        uv_faces: Vec::new(),
        vertices,
        faces,
    })
    .unwrap()
}

/// Pictures of two sizes, of something else than the ball.
fn capture(folder: &Path, options: &Options) -> Dataset {
    let body = body();
    let tensor = |width: usize, seed, size| Tensor::new(noise(TIMES * width, seed, size));
    let tables = Tables {
        expression: tensor(body.expression_count(), 11, 1.0),
        pose: tensor(3 * body.joint_count(), 12, 0.3),
        translation: tensor(3, 13, 0.01),
    };
    let fixed = (0..TIMES)
        .map(|t| Parameters { shape: vec![0.5, -0.7], extras: vec![0.2 * t as f32, 0.5], ..Parameters::default() })
        .collect();
    let tracked = Tracked { body, fixed, tables };
    let vertices: Vec<Vec<[f32; 3]>> =
        (0..TIMES).map(|t| tracked.body.pose(&tracked.parameters(&tracked.tables, t)).vertices).collect();
    let (mut views, mut files) = (Vec::new(), Vec::new());
    for (time, index) in (0..TIMES).flat_map(|t| (0..CAMERAS).map(move |c| (t, c))) {
        let [width, height] = if index == 2 { [61, 50] } else { [75, 58] };
        let (sine, cosine) = (0.6 * index as f64 - 0.4).sin_cos();
        let camera = Camera {
            name: format!("{index}"),
            width,
            height,
            focal: [120.0; 2],
            principal: [0.5 * f64::from(width), 0.5 * f64::from(height) + 2.0],
            camera_from_world: [[cosine, 0.0, -sine, 0.0], [0.0, -1.0, 0.0, 0.0], [-sine, 0.0, -cosine, 0.45]],
            ..Camera::default()
        };
        let rgb: Vec<u8> = (0..width * height)
            .flat_map(|p| {
                let (x, y) = (f64::from(p % width) - 36.0, f64::from(p / width) - 28.0);
                let inside = x * x + y * y < 500.0;
                let wave = 60.0 * (0.4 * x + 0.3 * time as f64).sin() * (0.3 * y).cos();
                [150.0 + wave, 110.0 - wave, 90.0 + 2.0 * y].map(|c| if inside { c as u8 } else { 255 })
            })
            .collect();
        let path = folder.join(format!("{time:05}_{index:02}.png"));
        let mut encoder = png::Encoder::new(fs::File::create(&path).unwrap(), width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&rgb).unwrap();
        files.push(View { camera: camera.clone(), image: Some(path), timestep: Some(time as u32), ..View::default() });
        views.push(TrainView { camera, time, split: Split::Train, camera_index: index as u32 });
    }
    Dataset {
        times: (0..TIMES as u32).collect(),
        views,
        pictures: Pictures::new(files, options.background, DataOptions::default().budget),
        motion: Motion {
            faces: tracked.body.faces().to_vec(),
            vertices,
            tracked: Some(tracked),
            selected: vec![Vec::new(); TIMES],
            neutral: 0,
        },
        extent: 1.0,
        warnings: Vec::new(),
    }
}

/// Three splats a triangle, turned, of unequal sizes, some beyond the thresholds of the hinges.
fn splats(data: &Dataset, options: &Options) -> State {
    let options = Options { init_grid_k: 1, ..options.clone() };
    let (mut splats, triangles) = init::on_mesh(&data.motion.vertices[0], &data.motion.faces, &options);
    let count = splats.len();
    let size = if options.frame == FrameName::Ga { 0.3 } else { 0.006 };
    let add = |rows: &mut [f32], values: Vec<f32>| rows.iter_mut().zip(values).for_each(|(to, v)| *to += v);
    add(splats.means.as_flattened_mut(), noise(3 * count, 21, size));
    add(splats.rotations.as_flattened_mut(), noise(4 * count, 22, 0.5));
    add(splats.log_scales.as_flattened_mut(), noise(3 * count, 23, 0.5));
    add(splats.sh0.as_flattened_mut(), noise(3 * count, 24, 0.8));
    add(&mut splats.sh_rest, noise(45 * count, 25, 0.1));
    splats.opacity_logits = noise(count, 26, 2.0);
    data.state(&splats, triangles, &options)
}

fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let far = sum(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let size = sum(&mut b.iter().map(|v| f64::from(*v)));
    if size == 0.0 { far.sqrt() } else { (far / size).sqrt() }
}

const RATES: Rates = Rates { splats: [1e-4, 2e-3, 3e-3, 4e-3, 5e-3, 6e-4], tables: [1e-3, 2e-4, 1e-4] };

/// Names, widths and tensors of a state.
fn tensors(state: &State) -> Vec<(&'static str, &Tensor)> {
    let named = SPLAT_TENSORS.into_iter().zip(&state.splats);
    named.chain(state.tables.iter().flat_map(Tables::named)).collect()
}

fn close(report: &StepReport, expected: &StepReport) {
    println!("{report:?} {expected:?}");
    assert_eq!((report.steps, report.skipped, report.cut), (expected.steps, expected.skipped, 0));
    let near = |a: f64, b: f64, limit: f64| assert!((a - b).abs() <= limit * b.abs(), "{a} {b}");
    // single pixels on the edge of a splat, and splats on the edge of the picture
    near(report.l1, expected.l1, 1e-3);
    near(report.ssim, expected.ssim, 1e-3);
    near(report.hinges, expected.hinges, 1e-3);
}

/// Steps on both machines; the faces of a local block are those of the ball's front.
fn compare(name: &str, options: &Options, local: bool) {
    let Some(device) = device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = capture(folder.path(), options);
    let start = splats(&data, options);
    let faces: Vec<bool> = data
        .motion
        .faces
        .iter()
        .map(|face| face.iter().any(|v| data.motion.vertices[0][*v as usize][2] > 0.06))
        .collect();
    let faces = local.then_some(&faces[..]);
    let mut cpu = CpuEngine::new(&data, options, start.clone());
    let mut ours = DeviceEngine::new(&device, &data, options, start.clone()).unwrap();
    println!("{name}: {:?}", ours.memory());
    for engine in [&mut cpu as &mut dyn Engine, &mut ours] {
        let trained = engine.block(1, faces).unwrap();
        assert!(trained > 0 && (trained < start.len()) == local, "{trained} of {}", start.len());
        engine.step(3, &RATES, 2).unwrap();
    }
    close(&ours.report().unwrap(), &cpu.report().unwrap());
    let (first, expected) = (ours.state().unwrap(), cpu.state().unwrap());
    assert_eq!((first.steps, &first.triangles, first.sh_degree), (1, &start.triangles, 3));
    for (k, ((part, ours), (_, expected))) in tensors(&first).into_iter().zip(tensors(&expected)).enumerate() {
        let errors = [relative(&ours.means, &expected.means), relative(&ours.squares, &expected.squares)];
        println!("{name} {part}: {:.1e} {:.1e}", errors[0], errors[1]);
        assert!(expected.means.iter().any(|v| *v != 0.0), "{name} {part}: nothing to compare");
        // pixels on the edge of a splat fall either way; what reaches the tables is a sum of much that cancels
        let limit = if k < SPLAT_TENSORS.len() { 5e-3 } else { 2e-2 };
        assert!(errors[0] < limit && errors[1] < 2.0 * limit, "{name} {part}: {errors:?}");
    }
    let (a, b) = (&first.statistics, &expected.statistics);
    let error = relative(&a.gradients, &b.gradients);
    println!("{name} statistics: {error:.1e}");
    assert!(error < 5e-3, "{error:e}");
    // a radius is rounded up, and may fall either way
    let off = a.radii.iter().zip(&b.radii).filter(|(a, b)| a != b).count();
    assert!(off <= 1 + start.len() / 500, "{off} radii");
    assert!(a.counts.iter().zip(&b.counts).filter(|(a, b)| a != b).count() <= off);

    // more views, of both sizes; another block; a picture of another time step in between
    for engine in [&mut cpu as &mut dyn Engine, &mut ours] {
        engine.step(5, &RATES, 2).unwrap();
        engine.step(4, &RATES, 3).unwrap();
        engine.block(2, None).unwrap();
        engine.step(6, &RATES, 3).unwrap();
        engine.block(0, faces).unwrap();
        engine.step(0, &RATES, 3).unwrap();
    }
    let camera = &data.views[5].camera;
    let (image, expected) = (ours.draw(camera, 1, 1).unwrap(), cpu.draw(camera, 1, 1).unwrap());
    assert_eq!((image.width, image.height), (expected.width, expected.height));
    let error = relative(&image.rgb, &expected.rgb);
    println!("{name} picture: {error:.1e}");
    assert!(error < 2e-3, "{error:e}");
    for engine in [&mut cpu as &mut dyn Engine, &mut ours] {
        engine.step(2, &RATES, 3).unwrap();
    }
    let (report, expected) = (ours.report().unwrap(), cpu.report().unwrap());
    println!("{report:?} {expected:?}");
    assert_eq!((report.steps, report.skipped, report.cut), (5, 0, 0));
    // first steps of Adam go by the sign of a gradient, however small it is
    assert!((report.l1 - expected.l1).abs() < 5e-3 * expected.l1 && (report.ssim - expected.ssim).abs() < 5e-3);
    let (last, expected) = (ours.state().unwrap(), cpu.state().unwrap());
    assert_eq!(last.steps, 6);
    for (((part, ours), (_, expected)), (_, start)) in
        tensors(&last).into_iter().zip(tensors(&expected)).zip(tensors(&start))
    {
        let moved = |t: &Tensor| t.values.iter().zip(&start.values).map(|(a, b)| a - b).collect::<Vec<_>>();
        let error = relative(&moved(ours), &moved(expected));
        println!("{name} {part} moved: {error:.1e}");
        // where a gradient is next to nothing, its sign is that of rounding: one of fifty goes the other way
        assert!(error < 0.3, "{name} {part}: {error:e}");
    }
}

#[test]
fn a_device_takes_local_steps_like_the_cpu() {
    let options = Options { threshold_xyz: 0.005, threshold_scale: 0.01, ..Options::stga() };
    compare("local", &options, true);
    compare("released", &Options { freeze: Freeze::Release, background: [0.2, 0.5, 0.9], ..options }, true);
}

#[test]
fn a_device_takes_global_steps_like_the_cpu() {
    let options = Options { threshold_xyz: 0.005, threshold_scale: 0.01, ..Options::stga() };
    compare("global", &options, false);
    compare("metric", &Options { metric_xyz: true, metric_scale: true, frame: FrameName::Ga, ..options }, true);
}

#[test]
fn a_device_takes_steps_of_gaussian_avatars_like_the_cpu() {
    let options = Options { threshold_xyz: 0.5, threshold_scale: 0.3, ..Options::gaussian_avatars() };
    compare("gaussian avatars", &options, false);
    compare("tables in a local block", &Options { finetune_flame: true, ..Options::stga() }, true);
}

#[test]
fn a_device_keeps_frozen_splats_bit_for_bit_and_goes_on_from_a_state() {
    let Some(device) = device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = Options::stga();
    let data = capture(folder.path(), &options);
    let mut engine = DeviceEngine::new(&device, &data, &options, splats(&data, &options)).unwrap();
    // a global block, so that Adam has something to remember
    engine.block(0, None).unwrap();
    (0..3).for_each(|view| engine.step(view, &RATES, 3).unwrap());
    let before = engine.state().unwrap();
    let faces: Vec<bool> = (0..data.motion.faces.len()).map(|f| f % 7 < 2).collect();
    engine.block(1, Some(&faces)).unwrap();
    (0..3).for_each(|_| (3..6).for_each(|view| engine.step(view, &RATES, 3).unwrap()));
    let after = engine.state().unwrap();
    assert_eq!(after.steps, 12);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for (k, width) in widths(3).into_iter().enumerate() {
        for (a, b) in [
            (&before.splats[k].values, &after.splats[k].values),
            (&before.splats[k].means, &after.splats[k].means),
            (&before.splats[k].squares, &after.splats[k].squares),
        ] {
            for (row, (a, b)) in a.chunks_exact(width).zip(b.chunks_exact(width)).enumerate() {
                if !faces[before.triangles[row] as usize] {
                    assert_eq!(bits(a), bits(b), "tensor {k} row {row}");
                }
            }
        }
    }
    assert_ne!(before.splats[0].values, after.splats[0].values);
    // as many splats, and fewer
    engine.set_state(before.clone()).unwrap();
    assert_eq!(engine.state().unwrap(), before);
    let rows: Vec<_> = (10..before.len()).map(|from| super::super::state::Row { from, fresh: from % 3 == 0 }).collect();
    let fewer = before.pick(&rows);
    engine.set_state(fewer.clone()).unwrap();
    assert_eq!(engine.state().unwrap(), fewer);
    assert_eq!(engine.block(2, None).unwrap(), fewer.len());
    engine.step(8, &RATES, 0).unwrap();
    let report = engine.report().unwrap();
    assert_eq!((report.steps, report.skipped, report.cut), (13, 0, 0), "steps before a new state are reported too");
    assert_eq!(engine.state().unwrap().steps, fewer.steps + 1);
}

#[test]
fn a_device_changes_its_splats_like_the_cpu() {
    let Some(device) = device() else { return };
    let folder = tempfile::tempdir().unwrap();
    for options in [Options::stga(), Options::gaussian_avatars()] {
        let data = capture(folder.path(), &options);
        let mut engine = DeviceEngine::new(&device, &data, &options, splats(&data, &options)).unwrap();
        engine.block(1, None).unwrap();
        (3..6).for_each(|view| engine.step(view, &RATES, 3).unwrap());
        let before = engine.state().unwrap();
        let survey = engine.survey().unwrap();
        assert_eq!(survey, before.survey());
        let mesh = MeshRef { vertices: &data.motion.vertices[0], faces: &data.motion.faces, corner_uvs: &[] };
        let frames = faces(options.frame.into(), &mesh);
        // about half of the splats, of which some are large
        let rules = Rules { gradient: 1e-4, dense: 0.006, ..Rules::new(&options, 1.0, 100) };
        let (list, changes) = density::control(&survey, options.frame.into(), &frames, &rules);
        assert!(changes.cloned > 0 && changes.split > 0, "{changes:?}");
        let plan = Plan { list: Some(list), cap: Some(density::reset_cap()) };
        engine.change(&plan).unwrap();
        assert_eq!(engine.state().unwrap(), before.changed(&plan));
        assert_eq!(engine.block(2, None).unwrap(), plan.list.unwrap().rows.len());
        engine.step(8, &RATES, 2).unwrap();
        let report = engine.report().unwrap();
        assert_eq!((report.steps, report.skipped, report.cut), (4, 0, 0));
        assert_eq!(engine.state().unwrap().steps, 4);
    }
}

#[test]
fn a_device_leaves_out_steps_that_are_not_finite() {
    let Some(device) = device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = Options::stga();
    let data = capture(folder.path(), &options);
    let mut start = splats(&data, &options);
    start.splats[2].values[33] = f32::NAN;
    let mut engine = DeviceEngine::new(&device, &data, &options, start.clone()).unwrap();
    engine.block(1, None).unwrap();
    (3..6).for_each(|view| engine.step(view, &RATES, 3).unwrap());
    let report = engine.report().unwrap();
    assert_eq!((report.steps, report.skipped), (0, 3));
    let after = engine.state().unwrap();
    assert_eq!((after.steps, &after.splats[0], &after.splats[5]), (0, &start.splats[0], &start.splats[5]));
    assert_eq!(after.statistics, start.statistics);
    // in a block that does not train it, it does no harm
    let bad = start.triangles[33 / 3] as usize;
    let faces: Vec<bool> = (0..data.motion.faces.len()).map(|f| f != bad).collect();
    engine.block(1, Some(&faces)).unwrap();
    (3..6).for_each(|view| engine.step(view, &RATES, 3).unwrap());
    let report = engine.report().unwrap();
    assert_eq!((report.steps, report.skipped), (3, 0));
}

#[test]
fn a_device_without_room_for_pictures_lets_them_pass() {
    let Some(device) = device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = capture(folder.path(), &Options::stga());
    let one = data.pictures.get(0).unwrap().rgb.len() as u64;
    let mut stock = Stock::new(data.views.len(), one);
    for view in [0, 1, 2, 1, 0, 2] {
        let found = stock.get(&device, &data.pictures, view).unwrap().read().unwrap();
        assert_eq!(found, data.pictures.get(view).unwrap().rgb, "view {view}");
    }
    assert_eq!(stock.bytes(), one);
}

#[test]
fn too_little_memory_is_said_with_numbers_and_a_way_out() {
    let room = Room::of(59, vec![[550, 802]], 7_000_000, 400_000_000);
    room.check(60_000, 0).unwrap();
    let error = room.check(500_000, 10_000_000).unwrap_err().to_string();
    for part in ["500000 splats", "400 MB", "tile lists", "pictures 10 MB", "--max-splats", "--device cpu"] {
        assert!(error.contains(part), "{error}");
    }
}
