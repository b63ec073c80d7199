//! What a training step does beside drawing, on a device against the CPU: some splats instead of all, hinges, Adam over rows,
//! statistics, and steps that must not count. The hinges' golden values run on the CPU as well.

mod common;

use std::sync::Arc;

use common::{Golden, device, flat, largest, relative};
use gav_formats::{
    Camera, TriangleFrame,
    synthetic::{SHELL_SEED, shell, shell_camera, uniform},
};
use gav_kernels::{
    adam,
    cuda::{
        Buffer, Device,
        loss::{Loss, LossWeights},
        raster::{Batch, Options, Planes, SplatGradients, Splats, View},
        rig::{Binding, BindingArrays, GeometryBuffers},
        train::{Control, Density, HingeRows, RowAdam, RowTensor, Selection, Table, Taker, Targets, Which},
    },
    losses::{Hinges, hinges},
    raster::{self, Footprint, Scene, Settings, Upstream},
};

/// What trainings draw with.
const SETTINGS: Settings = Settings { footprint: Footprint::Exact, ..Settings::DEFAULT };

fn noise(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64).map(|i| (2.0 * uniform(i, seed) - 1.0) as f32).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn geometry(buffers: &[Buffer<f32>; 3]) -> GeometryBuffers<'_> {
    GeometryBuffers { means: &buffers[0], rotations: &buffers[1], log_scales: &buffers[2] }
}

/// A mesh without slivers with a splat or several on every triangle.
struct Bound {
    vertices: Vec<f32>,
    faces: Vec<[u32; 3]>,
    triangles: Vec<u32>,
    local: [Vec<f32>; 3],
}

impl Bound {
    fn new(splats: usize) -> Self {
        let (vertices, faces) = (noise(3 * 60, 5), 80u32);
        let faces: Vec<[u32; 3]> =
            (0..faces).map(|f| [f * 7 % 60, (f * 7 + 1 + f % 5) % 60, (f * 7 + 20 + f % 11) % 60]).collect();
        let triangles = (0..splats as u32).map(|i| i * 13 % 80).collect();
        let local = [noise(3 * splats, 10), noise(4 * splats, 11), noise(3 * splats, 12)];
        Self { vertices, faces, triangles, local }
    }

    fn binding(&self, device: &Arc<Device>, frame: TriangleFrame) -> Binding {
        let arrays = BindingArrays {
            frame,
            vertices: self.vertices.len() / 3,
            faces: &self.faces,
            corner_uvs: &[],
            triangles: &self.triangles,
            barycentrics: &[],
        };
        Binding::new(device, &arrays, 1).unwrap()
    }

    fn upload(&self, device: &Arc<Device>) -> [Buffer<f32>; 3] {
        [0, 1, 2].map(|k| Buffer::from_slice(device, &self.local[k]).unwrap())
    }
}

#[test]
fn some_bound_splats_get_the_bits_they_get_among_all() {
    let Some(device) = device() else { return };
    let splats = 500;
    let bound = Bound::new(splats);
    let flags: Vec<u32> = (0..splats as u64).map(|i| u32::from(uniform(i, 3) < 0.3)).collect();
    let mut some = Selection::all(&device, splats).unwrap();
    assert!(some.is_all());
    some.set(&flags).unwrap();
    assert_eq!(some.len(), flags.iter().sum::<u32>() as usize);
    assert!(some.set(&flags[1..]).is_err());
    let filled = |value: f32| [3, 4, 3].map(|width| Buffer::from_slice(&device, &vec![value; width * splats]).unwrap());
    for frame in [TriangleFrame::GaussianAvatars, TriangleFrame::Stga] {
        let binding = bound.binding(&device, frame);
        let mesh = Buffer::from_slice(&device, &bound.vertices).unwrap();
        let local = bound.upload(&device);
        let (all, again, part) = (filled(0.0), filled(0.0), filled(7.0));
        binding.forward(1, &mesh, &geometry(&local), &geometry(&all)).unwrap();
        binding.frames(&mesh).unwrap();
        binding.bind(&geometry(&local), &geometry(&again)).unwrap();
        binding.bind_rows(&some, &geometry(&local), &geometry(&part)).unwrap();
        let upstream = [noise(3 * splats, 20), noise(4 * splats, 21), noise(3 * splats, 22)]
            .map(|values| Buffer::from_slice(&device, &values).unwrap());
        let (by_all, by_part) = (filled(0.0), filled(7.0));
        let by_vertices = Buffer::new(&device, bound.vertices.len()).unwrap();
        binding.backward(1, &mesh, &geometry(&local), &geometry(&upstream), &geometry(&by_all), &by_vertices).unwrap();
        binding.bind_rows_backward(&some, &geometry(&local), &geometry(&upstream), &geometry(&by_part)).unwrap();
        for (k, width) in [3, 4, 3].into_iter().enumerate() {
            let whole = all[k].read().unwrap();
            assert_eq!(again[k].read().unwrap(), whole, "{frame:?} array {k}");
            for (name, whole, part) in [
                ("bound", whole, part[k].read().unwrap()),
                ("back", by_all[k].read().unwrap(), by_part[k].read().unwrap()),
            ] {
                for (row, flag) in flags.iter().enumerate() {
                    let at = row * width..(row + 1) * width;
                    let expected = if *flag != 0 { whole[at.clone()].to_vec() } else { vec![7.0; width] };
                    assert_eq!(part[at], expected, "{frame:?} {name}, array {k}, row {row}");
                }
            }
        }
    }
}

/// A step that has drawn and compared something, to be judged.
struct Drawn {
    batch: Batch,
    splats: Splats,
    loss: Loss,
    target: Buffer<f32>,
}

impl Drawn {
    fn new(device: &Arc<Device>, entries: usize) -> Self {
        let splats = shell(800, 0, SHELL_SEED).splats;
        let splats = Splats::upload(device, &[Scene::from(&splats)]).unwrap();
        let camera = shell_camera(0, 40, 30);
        let view = View { scene: 0, camera: &camera, background: [1.0; 3] };
        let mut batch =
            Batch::new(device, &splats, &[view], &SETTINGS, Options { entries, ..Options::default() }).unwrap();
        batch.forward(&splats).unwrap();
        let mut loss = Loss::new(device, 1, [40, 30, 3]).unwrap();
        let target = Buffer::from_slice(device, &noise(40 * 30 * 3, 1)).unwrap();
        loss.backward(&batch.rgb, &target, LossWeights::default()).unwrap();
        Self { batch, splats, loss, target }
    }
}

#[test]
fn adam_over_rows_equals_the_golden_values_and_the_cpu() {
    let Some(device) = device() else { return };
    let drawn = Drawn::new(&device, 0);
    if let Some(golden) = Golden::open("parity/stga/parity_selective_adam.safetensors") {
        let (grads, selected) = (golden.f32("grads"), golden.get("selected"));
        for name in ["masked", "release"] {
            let values = Buffer::from_slice(&device, &golden.f32("p0")).unwrap();
            let mut control = Control::new(&device).unwrap();
            let ours = RowAdam::new(&device, adam::Adam::default(), 8, &[3]).unwrap();
            let mut selection = Selection::all(&device, 8).unwrap();
            let expected = golden.get(&format!("{name}.params"));
            let mut worst = 0.0f64;
            for step in 0..40 {
                let flags: Vec<u32> = selected[step * 8..][..8].iter().map(|v| *v as u32).collect();
                selection.set(&flags).unwrap();
                let gradient = Buffer::from_slice(&device, &grads[step * 24..][..24]).unwrap();
                let tensor = RowTensor { values: &values, gradient: &gradient, columns: 3, spread: 3, rate: 0.005 };
                let which = if name == "masked" { Which::Rows(&selection) } else { Which::Released(&selection) };
                ours.check(&[tensor], which, &mut control).unwrap();
                control.judge(&drawn.batch, &drawn.loss).unwrap();
                ours.step(&[tensor], which, &control).unwrap();
                worst = worst.max(largest(&wide(&values.read().unwrap()), &expected[step * 24..][..24]));
            }
            println!("{name}: {worst:.1e}");
            // forty steps, each rounded
            assert!(worst < 5e-6, "{name}: {worst:e}");
            for (k, moment) in ["exp_avg", "exp_avg_sq"].into_iter().enumerate() {
                let error =
                    relative(wide(&ours.moments[0][k].read().unwrap()), &golden.get(&format!("{name}.{moment}")));
                assert!(error < 1e-5, "{name} {moment}: {error:e}");
            }
            assert_eq!(control.read().unwrap().step, 40);
        }
    }

    // tensors of all widths of a splat, some columns of the last one, and more rows than a block
    let (rows, widths) = (1700, [3, 4, 3, 1, 3, 45]);
    let constants = adam::Adam::default();
    let mut values = widths.map(|w| noise(rows * w, w as u64));
    let gradients = widths.map(|w| noise(rows * w, 100 + w as u64));
    let mut moments = widths.map(|w| [vec![0.0f32; rows * w], vec![0.0f32; rows * w]]);
    let there: Vec<_> = values.iter().map(|v| Buffer::from_slice(&device, v).unwrap()).collect();
    let gradients_there: Vec<_> = gradients.iter().map(|v| Buffer::from_slice(&device, v).unwrap()).collect();
    let mut control = Control::new(&device).unwrap();
    control.restart(10).unwrap();
    let ours = RowAdam::new(&device, constants, rows, &widths).unwrap();
    let mut selection = Selection::all(&device, rows).unwrap();
    let columns = [3, 4, 3, 1, 3, 24];
    for step in 11..15 {
        let flags: Vec<u32> = (0..rows as u64).map(|i| u32::from(uniform(i, u64::from(step)) < 0.4)).collect();
        selection.set(&flags).unwrap();
        let mut cpu = Vec::new();
        for (k, (values, [means, squares])) in values.iter_mut().zip(&mut moments).enumerate() {
            let rate = 0.01 * (k + 1) as f32;
            cpu.push(adam::Tensor { values, means, squares, gradient: &gradients[k], rate, mask: &flags });
        }
        constants.step(step, &mut cpu);
        let tensors: Vec<RowTensor<'_>> = (0..6)
            .map(|k| RowTensor {
                values: &there[k],
                gradient: &gradients_there[k],
                columns: columns[k],
                spread: 3,
                rate: 0.01 * (k + 1) as f32,
            })
            .collect();
        ours.check(&tensors, Which::Rows(&selection), &mut control).unwrap();
        control.judge(&drawn.batch, &drawn.loss).unwrap();
        ours.step(&tensors, Which::Rows(&selection), &control).unwrap();
    }
    let start = noise(rows * 45, 45);
    for (k, (ours, expected)) in there.iter().zip(&mut values).enumerate() {
        if k == 5 {
            for (row, first) in expected.chunks_exact_mut(45).zip(start.chunks_exact(45)) {
                row[24..].copy_from_slice(&first[24..]);
            }
        }
        let worst = largest(&wide(&ours.read().unwrap()), &wide(expected));
        println!("tensor {k}: {worst:.1e}");
        // four steps of up to 0.3 (early ones with late corrections are large), each rounded
        assert!(worst < 5e-6, "tensor {k}: {worst:e}");
    }
}

#[test]
fn one_row_with_a_gradient_moves_and_the_others_go_on() {
    let Some(device) = device() else { return };
    let drawn = Drawn::new(&device, 0);
    // a table of poses: three numbers of each nine are an axis times an angle
    let (rows, width, spread) = (5, 15, 9);
    let constants = adam::Adam::default();
    let mut values = noise(rows * width, 1);
    let (mut means, mut squares) = (vec![0.0; rows * width], vec![0.0; rows * width]);
    let there = Buffer::from_slice(&device, &values).unwrap();
    let mut control = Control::new(&device).unwrap();
    let ours = RowAdam::new(&device, constants, rows, &[width]).unwrap();
    for step in 1..=6u32 {
        let row = [1, 1, 4, 0, 4, 2][step as usize - 1];
        let compact = noise(width, 50 + u64::from(step));
        let mut gradient = vec![0.0; rows * width];
        gradient[row * width..][..width].copy_from_slice(&compact);
        let mut spaced = vec![f32::NAN; width / 3 * spread];
        for (i, v) in compact.iter().enumerate() {
            spaced[i / 3 * spread + i % 3] = *v;
        }
        constants.step(
            step,
            &mut [adam::Tensor {
                values: &mut values,
                means: &mut means,
                squares: &mut squares,
                gradient: &gradient,
                rate: 0.01,
                mask: &[],
            }],
        );
        let gradient = Buffer::from_slice(&device, &spaced).unwrap();
        let tensor = RowTensor { values: &there, gradient: &gradient, columns: width, spread, rate: 0.01 };
        ours.check(&[tensor], Which::One(row), &mut control).unwrap();
        control.judge(&drawn.batch, &drawn.loss).unwrap();
        ours.step(&[tensor], Which::One(row), &control).unwrap();
    }
    let worst = largest(&wide(&there.read().unwrap()), &wide(&values));
    println!("{worst:.1e}");
    assert!(worst < 2e-6, "{worst:e}");
    let totals = control.read().unwrap();
    assert_eq!((totals.step, totals.bad), (6, 0), "what lies between the groups is not looked at");
}

#[test]
fn steps_that_are_not_finite_or_lack_room_change_nothing() {
    let Some(device) = device() else { return };
    let (drawn, cut) = (Drawn::new(&device, 0), Drawn::new(&device, 10));
    let rows = 3000;
    let start = noise(rows * 4, 1);
    let values = Buffer::from_slice(&device, &start).unwrap();
    let mut bad = noise(rows * 4, 2);
    let good = Buffer::from_slice(&device, &bad).unwrap();
    bad[7777] = f32::INFINITY;
    let bad = Buffer::from_slice(&device, &bad).unwrap();
    let mut control = Control::new(&device).unwrap();
    let ours = RowAdam::new(&device, adam::Adam::default(), rows, &[4]).unwrap();
    let mut selection = Selection::all(&device, rows).unwrap();
    let mut run = |gradient: &Buffer<f32>, drawn: &Drawn, selection: Option<&Selection>| {
        let tensor = RowTensor { values: &values, gradient, columns: 4, spread: 3, rate: 0.1 };
        let which = selection.map_or(Which::All, Which::Rows);
        ours.check(&[tensor], which, &mut control).unwrap();
        control.judge(&drawn.batch, &drawn.loss).unwrap();
        ours.step(&[tensor], which, &control).unwrap();
        control.read().unwrap()
    };
    let totals = run(&bad, &drawn, None);
    assert_eq!((totals.step, totals.bad, totals.cut, totals.counted), (0, 1, 0, 0));
    let totals = run(&good, &cut, None);
    assert_eq!((totals.step, totals.bad, totals.cut, totals.counted), (0, 1, 1, 0));
    assert!(totals.entries > 10, "{totals:?}");
    assert_eq!(values.read().unwrap(), start);
    // a row that does not train may be what it wants
    let mut flags = vec![1; rows];
    flags[7777 / 4] = 0;
    selection.set(&flags).unwrap();
    let totals = run(&bad, &drawn, Some(&selection));
    assert_eq!((totals.step, totals.bad, totals.cut, totals.counted), (1, 1, 1, 1));
    let after = values.read().unwrap();
    assert_eq!(after[7776..7780], start[7776..7780]);
    assert_ne!(after[..4], start[..4]);
    let expected = drawn.loss.values.read().unwrap();
    assert!((totals.sums[0] - expected[0]).abs() < 1e-12 && (totals.sums[1] - expected[1]).abs() < 1e-12);
    // a picture that is not finite is a step that does not count
    let mut drawn = drawn;
    drawn.target = Buffer::from_slice(&device, &vec![f32::NAN; 40 * 30 * 3]).unwrap();
    drawn.loss.backward(&drawn.batch.rgb, &drawn.target, LossWeights::default()).unwrap();
    let totals = run(&good, &drawn, None);
    assert_eq!((totals.step, totals.bad), (1, 2));
    drawn.batch.draw(&drawn.splats).unwrap();
}

#[test]
fn hinges_equal_the_golden_values() {
    let Some(golden) = Golden::open("parity/stga/parity_binding.safetensors") else { return };
    let (means, log_scales) = (golden.rows64::<3>("local_xyz"), golden.rows64::<3>("local_log_scale"));
    let count = means.len();
    let visible: Vec<u32> = golden.get("visible").iter().map(|v| *v as u32).collect();
    for (name, flags) in [("ga", visible), ("stga", vec![1; count])] {
        let rows: Vec<u32> = (0..count as u32).filter(|i| flags[*i as usize] != 0).collect();
        let (values, by_means, by_log_scales) = (
            golden.get(&format!("{name}.reg_values")),
            golden.get(&format!("{name}.reg_grad_xyz")),
            golden.get(&format!("{name}.reg_grad_log_scale")),
        );
        let (mut a, mut b) = (vec![[0.0; 3]; count], vec![[0.0; 3]; count]);
        let ours = hinges(&Hinges::default(), &means, &log_scales, |_| 1.0, &rows, Some((&mut a, &mut b)));
        assert!(largest(&ours, &values) < 1e-12 && values.iter().all(|v| *v > 0.0), "{ours:?} {values:?}");
        assert!(largest(a.as_flattened(), &by_means) < 1e-14);
        assert!(largest(b.as_flattened(), &by_log_scales) < 1e-14);

        let Some(device) = device() else { continue };
        let triangles: Vec<u32> = golden.get("binding").iter().map(|v| *v as u32).collect();
        let faces: Vec<[u32; 3]> = golden.rows64::<3>("faces").iter().map(|f| f.map(|v| v as u32)).collect();
        let bound = Bound {
            vertices: golden.f32("verts"),
            faces,
            triangles,
            local: [golden.f32("local_xyz"), golden.f32("local_rot_wxyz"), golden.f32("local_log_scale")],
        };
        let frame = if name == "ga" { TriangleFrame::GaussianAvatars } else { TriangleFrame::Stga };
        let (binding, local) = (bound.binding(&device, frame), bound.upload(&device));
        let mut selection = Selection::all(&device, count).unwrap();
        selection.set(&flags).unwrap();
        // added to what is there
        let by_local = [3, 4, 3].map(|width| Buffer::from_slice(&device, &vec![0.5; width * count]).unwrap());
        let mut control = Control::new(&device).unwrap();
        let kernel = HingeRows::new(&device).unwrap();
        kernel
            .add(&Hinges::default(), &selection, None, &binding, &geometry(&local), &geometry(&by_local), &mut control)
            .unwrap();
        let drawn = Drawn::new(&device, 0);
        control.judge(&drawn.batch, &drawn.loss).unwrap();
        let sums = control.read().unwrap().sums;
        assert!(
            (sums[2] - values[0]).abs() < 1e-5 * values[0] && (sums[3] - values[1]).abs() < 1e-5 * values[1],
            "{sums:?}"
        );
        for (k, expected) in [(0, by_means), (2, by_log_scales)] {
            let found: Vec<f64> = wide(&by_local[k].read().unwrap()).iter().map(|v| v - 0.5).collect();
            // a half and what is added are rounded together
            assert!(largest(&found, &expected) < 3e-7, "{name} array {k}: {:e}", largest(&found, &expected));
        }
    }
}

#[test]
fn metric_hinges_and_statistics_equal_the_cpu() {
    let Some(device) = device() else { return };
    let count = 4000;
    let splats = shell(count, 1, SHELL_SEED).splats;
    let scene = Scene::from(&splats);
    let there = Splats::upload(&device, &[scene]).unwrap();
    let flags: Vec<u32> = (0..count as u64).map(|i| u32::from(uniform(i, 8) < 0.5)).collect();
    let mut selection = Selection::all(&device, count).unwrap();
    selection.set(&flags).unwrap();
    let bound = Bound::new(count);
    let (binding, local) = (bound.binding(&device, TriangleFrame::GaussianAvatars), bound.upload(&device));
    binding.frames(&Buffer::from_slice(&device, &bound.vertices).unwrap()).unwrap();
    let corners: &[[f32; 3]] = bound.vertices.as_chunks().0;
    let mesh = gav_kernels::rig::triangle::MeshRef { vertices: corners, faces: &bound.faces, corner_uvs: &[] };
    let frames = gav_kernels::rig::triangle::faces(TriangleFrame::GaussianAvatars, &mesh);

    for settings in [SETTINGS, Settings::DEFAULT, Settings::INRIA] {
        let mut density = Density::new(&device, count).unwrap();
        let mut control = Control::new(&device).unwrap();
        let mut expected = (vec![0.0f64; count], vec![0u32; count], vec![0u32; count]);
        for (number, close) in [(3usize, 1.0), (7, 2.5)] {
            let mut camera: Camera = shell_camera(number, 90, 70);
            // some splats lie beyond the border
            camera.focal = camera.focal.map(|f| f * close);
            let view = View { scene: 0, camera: &camera, background: [0.0; 3] };
            let options = Options { centers: true, select: true, ..Options::default() };
            let mut batch = Batch::new(&device, &there, &[view], &settings, options).unwrap();
            batch.draw(&there).unwrap();
            let target = noise(90 * 70 * 3, 3);
            let target_there = Buffer::from_slice(&device, &target).unwrap();
            let mut loss = Loss::new(&device, 1, [90, 70, 3]).unwrap();
            loss.backward(&batch.rgb, &target_there, LossWeights::default()).unwrap();
            let mut gradients = SplatGradients::new(&device, there.kind, count).unwrap();
            let planes = Planes { rgb: Some(&loss.gradient), ..Planes::default() };
            batch.backward_of(&there, planes, selection.flags(), &mut gradients).unwrap();
            density.footprints(&batch, &there, &selection, &mut control).unwrap();

            let forward = raster::forward(&scene, &camera, &settings, view.background);
            let radii = forward.radii(&scene);
            let found = density.radii.read().unwrap();
            let off = (0..count).filter(|i| flags[*i] != 0 && found[*i] != radii[*i]).count();
            // a radius is rounded up: one in a thousand may fall either way
            assert!(off <= count / 1000, "{off} radii differ");
            let seen = (0..count).filter(|i| flags[*i] != 0 && found[*i] > 0).count();
            println!("{seen} of {} are seen, {off} radii differ", selection.len());
            assert!(close == 1.0 || seen < selection.len());

            // hinges over what is seen, in metres
            let rules = Hinges {
                metric_centers: true,
                metric_sizes: true,
                centers_threshold: 0.2,
                sizes_threshold: 0.1,
                ..Hinges::<f32>::default()
            };
            let rows: Vec<u32> =
                (0..count as u32).filter(|i| flags[*i as usize] != 0 && found[*i as usize] > 0).collect();
            let by_local = [3, 4, 3].map(|width| Buffer::zeros(&device, width * count).unwrap());
            let before = control.read().unwrap().sums;
            HingeRows::new(&device)
                .unwrap()
                .add(
                    &rules,
                    &selection,
                    Some(&density.radii),
                    &binding,
                    &geometry(&local),
                    &geometry(&by_local),
                    &mut control,
                )
                .unwrap();
            let (mut by_means, mut by_log_scales) = (vec![[0.0f32; 3]; count], vec![[0.0f32; 3]; count]);
            let size = |row: usize| frames[bound.triangles[row] as usize].scale;
            let values = hinges(
                &rules,
                bound.local[0].as_chunks().0,
                bound.local[2].as_chunks().0,
                size,
                &rows,
                Some((&mut by_means, &mut by_log_scales)),
            );
            control.judge(&batch, &loss).unwrap();
            let after = control.read().unwrap().sums;
            for k in 0..2 {
                let ours = after[2 + k] - before[2 + k];
                assert!(values[k] > 0.0 && (ours - values[k]).abs() < 1e-5 * values[k], "{ours} {}", values[k]);
            }
            for (k, expected) in [(0, &by_means), (2, &by_log_scales)] {
                let error = relative(wide(&by_local[k].read().unwrap()), &flat(expected).collect::<Vec<_>>());
                assert!(error < 1e-5, "hinges, array {k}: {error:e}");
            }

            density.count(&batch, &there, &selection, &control).unwrap();
            let picture = loss.gradient.read().unwrap();
            let centers = forward.backward(&scene, &Upstream::rgb(&picture)).centers;
            for i in (0..count).filter(|i| flags[*i] != 0 && found[*i] > 0) {
                expected.0[i] += f64::from(centers[i][0] * 45.0).hypot(f64::from(centers[i][1] * 35.0));
                expected.1[i] += 1;
                expected.2[i] = expected.2[i].max(found[i]);
            }
        }
        let error = relative(wide(&density.pulls.read().unwrap()), &expected.0);
        println!("pulls: {error:.1e}");
        assert!(error < 2e-3, "{error:e}");
        assert_eq!(density.views.read().unwrap(), expected.1);
        assert_eq!(density.largest.read().unwrap(), expected.2);
        // a step that does not count is not counted
        let mut last = Drawn::new(&device, 10);
        control.judge(&last.batch, &last.loss).unwrap();
        assert!(density.count(&last.batch, &last.splats, &selection, &control).is_err());
        last.batch.draw(&last.splats).unwrap();
    }
}

#[test]
fn pictures_become_floats_and_rows_find_their_place() {
    let Some(device) = device() else { return };
    for count in [1usize, 3, 4, 1023, 40 * 30 * 3] {
        let bytes: Vec<u8> = (0..count as u64).map(|i| (uniform(i, 5) * 256.0) as u8).collect();
        let there = Buffer::from_slice(&device, &bytes).unwrap();
        let mut out = Buffer::new(&device, count).unwrap();
        let targets = Targets::new(&device).unwrap();
        targets.convert(&there, &mut out).unwrap();
        let expected: Vec<f32> = bytes.iter().map(|v| f32::from(*v) / 255.0).collect();
        assert_eq!(out.read().unwrap(), expected);
        assert!(targets.convert(&there, &mut Buffer::new(&device, count + 1).unwrap()).is_err());
    }
    let taker = Taker::new(&device).unwrap();
    let (expression, pose, translation, extras) =
        (noise(4 * 10, 1), noise(4 * 15, 2), noise(4 * 3, 3), noise(4 * 2, 4));
    let from = [&expression, &pose, &translation, &extras].map(|v| Buffer::from_slice(&device, v).unwrap());
    let to = [12, 45, 3].map(|n| Buffer::zeros(&device, n).unwrap());
    let table = |k: usize, width, to, first, spread| Table { from: &from[k], width, to, first, spread };
    let tables =
        [table(0, 10, &to[0], 0, 3), table(1, 15, &to[1], 0, 9), table(2, 3, &to[2], 0, 3), table(3, 2, &to[0], 10, 3)];
    for row in [0, 3, 1] {
        taker.take(row, &tables).unwrap();
        let found = to[0].read().unwrap();
        assert_eq!((&found[..10], &found[10..]), (&expression[row * 10..][..10], &extras[row * 2..][..2]));
        let found = to[1].read().unwrap();
        for i in 0..45 {
            let expected = if i % 9 < 3 { pose[row * 15 + i / 9 * 3 + i % 9] } else { 0.0 };
            assert_eq!(found[i], expected);
        }
        assert_eq!(to[2].read().unwrap(), &translation[row * 3..][..3]);
    }
    assert!(taker.take(4, &tables).is_err());
    assert!(taker.take(0, &[table(3, 2, &to[2], 2, 3)]).is_err());
}
